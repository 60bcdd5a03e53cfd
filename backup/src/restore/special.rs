//! Links, devices and named pipes: made under a temporary name, given their details, renamed.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, fstat, mknodat, symlinkat};
use rustix::io::Errno;

use super::Problem;
use super::decide::type_of;
use super::details::{Details, Restorer};
use crate::beneath::{file_type, make_anew, open_in, put_in_place, remove_one, temporary};
use crate::tree::{Node, NodeKind};

/// Makes what `node` is, in the place of what is there. Details that could not be set are told.
pub(super) fn restore(
    folder: &OwnedFd,
    node: &Node,
    details: &Details,
    may_replace: bool,
    restorer: Restorer,
) -> Result<Vec<Problem>, Problem> {
    let temporary = temporary(&node.name);
    make_anew(folder, &temporary, || make(folder, &temporary, node)).map_err(failed("make it"))?;
    let restored = set_details(folder, &temporary, node, details, restorer).and_then(|problems| {
        let put = put_in_place(folder, &temporary, &node.name, may_replace);
        put.map(|()| problems).map_err(failed("put it in place"))
    });
    if restored.is_err() {
        // What is left has a name of ours; that it cannot be removed changes nothing about the failure.
        remove_one(folder, &temporary).ok();
    }
    restored
}

fn make(folder: &OwnedFd, temporary: &OsStr, node: &Node) -> Result<(), Errno> {
    match (node.kind, type_of(node.kind)) {
        (NodeKind::Symlink, _) => symlinkat(node.target(), folder, temporary),
        (NodeKind::File | NodeKind::Directory, _) | (_, None) => Err(Errno::INVAL),
        (_, Some(kind)) => mknodat(folder, temporary, kind, Mode::from_raw_mode(0o600), node.device),
    }
}

/// By a handle that is compared first: whoever may write the folder may have put something else there, and would have
/// its owner changed.
fn set_details(
    folder: &OwnedFd,
    temporary: &OsStr,
    node: &Node,
    details: &Details,
    restorer: Restorer,
) -> Result<Vec<Problem>, Problem> {
    let held = open_in(folder, temporary, OFlags::PATH, Mode::empty()).map_err(failed("open it"))?;
    let stat = fstat(&held).map_err(failed("look at it"))?;
    let is_ours = Some(file_type(&stat)) == type_of(node.kind)
        && stat.st_nlink == 1
        && stat.st_uid == restorer.uid
        && stat.st_rdev == node.device;
    if !is_ours {
        return Err(failed("go on with it, for somebody else replaced it")(Errno::STALE));
    }
    Ok(details.set_unopened(&held, node.kind == NodeKind::Symlink, restorer))
}

fn failed(doing: &'static str) -> impl Fn(Errno) -> Problem {
    move |errno| Problem::Io { doing, source: errno.into() }
}
