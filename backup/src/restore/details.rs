//! Mode, owner, times and attributes: set on what was made, and compared with what is there.
//!
//! The order matters: a change of owner drops set-id bits and capabilities, an ACL changes the group's bits, and
//! everything but the times changes the times.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use rustix::fs::{
    AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chmod, chownat, fchmod, fchown, fgetxattr,
    flistxattr, fremovexattr, fsetxattr, futimens, setxattr, utimensat,
};
use rustix::io::Errno;

use super::Problem;
use crate::tree::{Attribute, FileTime, Node};

/// The kernel's limit for a list of names and for a value.
const ATTRIBUTE_BYTES_MAX: usize = 64 << 10;

/// What is set on what is restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Details {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: FileTime,
    pub(super) atime: FileTime,
    pub(super) attributes: Box<[Attribute]>,
    /// Set-id bits were left out, for the owner is not set.
    pub(super) lost_set_id: bool,
}

/// Who restores.
#[derive(Debug, Clone, Copy)]
pub(super) struct Restorer {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Whether owners are set.
    pub(super) owner: bool,
}

impl Restorer {
    /// This process; owners are set by root alone.
    pub(super) fn this(owner: bool) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        Self { uid, gid: rustix::process::getegid().as_raw(), owner: owner && uid == 0 }
    }
}

impl Details {
    /// What is set for `node`.
    pub(super) fn of(node: &mut Node, restorer: Restorer) -> Self {
        let mut mode = node.mode.unix();
        if !restorer.owner {
            // A program that ran as somebody else must not run as whoever restores it.
            if node.uid != restorer.uid {
                mode &= !0o4000;
            }
            if node.gid != restorer.gid {
                mode &= !0o2000;
            }
        }
        Self {
            mode,
            uid: node.uid,
            gid: node.gid,
            mtime: node.mtime,
            atime: node.atime,
            attributes: std::mem::take(&mut node.extended_attributes).into_boxed_slice(),
            lost_set_id: mode != node.mode.unix(),
        }
    }

    /// Sets them on a file or folder that is open; what could not be set is told.
    #[must_use]
    pub(super) fn set(&self, file: &OwnedFd, restorer: Restorer) -> Vec<Problem> {
        let mut problems = self.lost();
        let mut mode = self.mode;
        if restorer.owner {
            let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
            if let Err(errno) = fchown(file, Some(uid), Some(gid)) {
                problems.push(detail("owner", errno));
                mode &= !0o6000;
            }
        }
        self.set_attributes(file, &mut problems);
        if let Err(errno) = fchmod(file, Mode::from_raw_mode(mode)) {
            problems.push(detail("mode", errno));
        }
        if let Err(errno) = futimens(file, &self.times()) {
            problems.push(detail("times", errno));
        }
        problems
    }

    /// The same for what was opened as a mere path: a link, which has no mode, a device or a pipe.
    #[must_use]
    pub(super) fn set_unopened(&self, held: &OwnedFd, is_link: bool, restorer: Restorer) -> Vec<Problem> {
        let mut problems = self.lost();
        let mut mode = self.mode;
        if restorer.owner {
            let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
            if let Err(errno) = chownat(held, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH) {
                problems.push(detail("owner", errno));
                mode &= !0o6000;
            }
        }
        // Leads to what is held and no further, also when that is a link.
        let path = format!("/proc/self/fd/{}", held.as_raw_fd());
        for attribute in &self.attributes {
            let set = setxattr(&path, attribute.name.as_str(), &attribute.value, XattrFlags::empty());
            if let Err(errno) = set {
                problems.push(detail(&attribute.name, errno));
            }
        }
        if !is_link && let Err(errno) = chmod(&path, Mode::from_raw_mode(mode)) {
            problems.push(detail("mode", errno));
        }
        if let Err(errno) = utimensat(held, "", &self.times(), AtFlags::EMPTY_PATH) {
            problems.push(detail("times", errno));
        }
        problems
    }

    /// Whether an open file has the attributes.
    pub(super) fn has_attributes(&self, file: &OwnedFd) -> bool {
        let wanted: BTreeMap<&str, &[u8]> =
            self.attributes.iter().map(|attribute| (attribute.name.as_str(), &*attribute.value)).collect();
        let has = |name: &str, value: &[u8]| attribute(file, name).is_ok_and(|found| found == value);
        wanted.iter().all(|(name, value)| has(name, value))
            && removable(file).iter().all(|name| wanted.contains_key(name.as_str()))
    }

    fn lost(&self) -> Vec<Problem> {
        if self.lost_set_id { vec![Problem::SetId] } else { Vec::new() }
    }

    fn set_attributes(&self, file: &OwnedFd, problems: &mut Vec<Problem>) {
        for attribute in &self.attributes {
            let set = fsetxattr(file, attribute.name.as_str(), &attribute.value, XattrFlags::empty());
            if let Err(errno) = set {
                problems.push(detail(&attribute.name, errno));
            }
        }
        // What a folder's default ACL gave to a new file, or what a folder had before.
        for name in removable(file) {
            let is_wanted = self.attributes.iter().any(|attribute| attribute.name == name);
            if !is_wanted && let Err(errno) = fremovexattr(file, name.as_str()) {
                problems.push(detail(&name, errno));
            }
        }
    }

    fn times(&self) -> Timestamps {
        let spec = |time: FileTime| Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanoseconds) };
        Timestamps { last_access: spec(self.atime), last_modification: spec(self.mtime) }
    }
}

fn detail(what: &str, errno: Errno) -> Problem {
    Problem::Detail { detail: what.to_owned(), source: io::Error::from(errno) }
}

/// Names of attributes that belong to the user and to ACLs; others (labels, capabilities) are the system's to give.
fn removable(file: impl AsFd) -> Vec<String> {
    let mut small = [0_u8; 512];
    let listed = flistxattr(&file, &mut small);
    let bytes = match listed {
        Ok(length) => small.get(..length).unwrap_or_default().to_vec(),
        Err(Errno::RANGE) => {
            let mut large = vec![0_u8; ATTRIBUTE_BYTES_MAX];
            let length = flistxattr(&file, large.as_mut_slice()).unwrap_or(0);
            large.truncate(length);
            large
        }
        // A file system without attributes has none to remove.
        Err(_) => return Vec::new(),
    };
    let names = bytes.split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok());
    let is_ours = |name: &&str| name.starts_with("user.") || name.starts_with("system.posix_acl_");
    names.filter(is_ours).map(str::to_owned).collect()
}

fn attribute(file: impl AsFd, name: &str) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0_u8; ATTRIBUTE_BYTES_MAX];
    let length = fgetxattr(file, name, value.as_mut_slice())?;
    value.truncate(length);
    Ok(value)
}
