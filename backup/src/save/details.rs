//! An entry of a tree, made of what the kernel says about a file.

use std::ffi::OsString;

use rustix::fs::{FileType, Stat};

use super::owner::Owners;
use crate::tree::{FileTime, GoMode, Node, NodeKind};

/// What is recorded beside the kernel's own words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recording<'o> {
    pub(super) owners: &'o Owners,
    /// The time of last access as it is, not the time of the last change in its place.
    pub(super) with_atime: bool,
}

pub(super) fn kind(stat: &Stat) -> NodeKind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => NodeKind::File,
        FileType::Directory => NodeKind::Directory,
        FileType::Symlink => NodeKind::Symlink,
        FileType::BlockDevice => NodeKind::BlockDevice,
        FileType::CharacterDevice => NodeKind::CharacterDevice,
        FileType::Fifo => NodeKind::Fifo,
        FileType::Socket => NodeKind::Socket,
        FileType::Unknown => NodeKind::Irregular,
    }
}

pub(super) fn mode(stat: &Stat) -> GoMode {
    GoMode::new(kind(stat), stat.st_mode & 0o7777)
}

pub(super) fn mtime(stat: &Stat) -> FileTime {
    time(stat.st_mtime, stat.st_mtime_nsec)
}

pub(super) fn ctime(stat: &Stat) -> FileTime {
    time(stat.st_ctime, stat.st_ctime_nsec)
}

pub(super) fn size(stat: &Stat) -> u64 {
    stat.st_size.try_into().unwrap_or(0)
}

/// Whether fewer blocks belong to a file than its size needs.
pub(super) fn has_holes(stat: &Stat) -> bool {
    let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
    blocks.saturating_mul(512) < size(stat)
}

#[allow(
    clippy::useless_conversion,
    reason = "the kernel's number has 32 bits on some processors and 64 on others"
)]
fn links(stat: &Stat) -> u64 {
    stat.st_nlink.into()
}

fn time(seconds: i64, nanoseconds: u64) -> FileTime {
    FileTime { seconds, nanoseconds: nanoseconds.try_into().unwrap_or(0) }
}

/// The entry, without what has to be read for it: content, the target of a link, attributes. Fields that a kind of
/// file does not have are left out as restic leaves them out.
pub(super) fn node(name: OsString, stat: &Stat, recording: Recording<'_>) -> Node {
    let kind = kind(stat);
    let mut node = Node::bare(name, kind);
    node.mode = mode(stat);
    node.mtime = mtime(stat);
    node.ctime = ctime(stat);
    node.atime = if recording.with_atime { time(stat.st_atime, stat.st_atime_nsec) } else { node.mtime };
    (node.uid, node.gid) = (stat.st_uid, stat.st_gid);
    node.user.push_str(recording.owners.user(stat.st_uid));
    node.group.push_str(recording.owners.group(stat.st_gid));
    (node.inode, node.device_id) = (stat.st_ino, stat.st_dev);
    match kind {
        NodeKind::File => (node.size, node.links) = (size(stat), links(stat)),
        NodeKind::Symlink => node.links = links(stat),
        NodeKind::BlockDevice | NodeKind::CharacterDevice => {
            (node.device, node.links) = (stat.st_rdev, links(stat));
        }
        NodeKind::Directory | NodeKind::Fifo | NodeKind::Socket | NodeKind::Irregular => {}
    }
    node
}
