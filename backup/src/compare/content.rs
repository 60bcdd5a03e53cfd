//! Whether a file of the machine that was not touched since it was saved has the content it had.

use std::os::fd::OwnedFd;

use ring::digest::{Context, SHA256};
use rustix::fs::{FileType, Mode, OFlags, Stat, fstat};
use rustix::io::{Errno, read};

use super::Progress;
use crate::beneath::{file_type, open_in, stat_in};
use crate::index::Index;
use crate::pack::{Blob, BlobKind};
use crate::tree::{FileTime, Node};

/// Why a live file says nothing.
pub(super) enum Silent {
    Changed,
    Unread,
    Cancelled,
}

/// Whether length and times are those of the snapshot.
fn is_untouched(node: &Node, stat: &Stat) -> bool {
    let time =
        |seconds, nanoseconds: u64| FileTime { seconds, nanoseconds: nanoseconds.try_into().unwrap_or(0) };
    file_type(stat) == FileType::RegularFile
        && u64::try_from(stat.st_size).is_ok_and(|size| size == node.size)
        && time(stat.st_mtime, stat.st_mtime_nsec) == node.mtime
        && time(stat.st_ctime, stat.st_ctime_nsec) == node.ctime
}

/// Whether a live file that was not touched since has the content of the snapshot.
pub(super) fn same_content(
    folder: &OwnedFd,
    node: &Node,
    index: &Index,
    buffer: &mut [u8],
    progress: &dyn Progress,
) -> Result<bool, Silent> {
    let unread = |_: Errno| Silent::Unread;
    let stat = stat_in(folder, &node.name).map_err(unread)?;
    if !stat.is_some_and(|stat| is_untouched(node, &stat)) {
        return Err(Silent::Changed);
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    // Whose file it is may read it without leaving a trace; others may not ask for that.
    let file = match open_in(folder, &node.name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => open_in(folder, &node.name, flags, Mode::empty()),
        opened => opened,
    };
    let file = match file {
        Err(Errno::NOENT | Errno::LOOP) => return Err(Silent::Changed),
        file => file.map_err(unread)?,
    };
    let is_same = has_content(&file, node, index, buffer, progress)?;
    // It may have been changed since it was looked at, or may not be the one that was.
    let stat = fstat(&file).map_err(unread)?;
    if is_untouched(node, &stat) { Ok(is_same) } else { Err(Silent::Changed) }
}

fn has_content(
    file: &OwnedFd,
    node: &Node,
    index: &Index,
    buffer: &mut [u8],
    progress: &dyn Progress,
) -> Result<bool, Silent> {
    for id in node.content.iter().flatten() {
        // What the repository lacks was told by the restore.
        let Some(location) = index.find(Blob { kind: BlobKind::Data, id: *id }) else {
            return Err(Silent::Unread);
        };
        let mut left = location.entry.plain_length();
        let mut context = Context::new(&SHA256);
        while left > 0 {
            if progress.is_cancelled() {
                return Err(Silent::Cancelled);
            }
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let count = match read(file, buffer.get_mut(..room).unwrap_or_default()) {
                Ok(0) => return Ok(false),
                Err(Errno::INTR) => continue,
                count => count.map_err(|_| Silent::Unread)?,
            };
            context.update(buffer.get(..count).unwrap_or_default());
            left -= count as u64;
            progress.read(count as u64);
        }
        if context.finish().as_ref() != id.0 {
            return Ok(false);
        }
    }
    Ok(true)
}
