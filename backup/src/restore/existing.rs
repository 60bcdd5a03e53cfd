//! Looks at what is there: whether it is what the snapshot says, down to its content when that is asked for.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use ring::digest::{Context, SHA256};
use rustix::fs::{Mode, OFlags, readlinkat};
use rustix::io::{Errno, read};

use super::details::Details;
use crate::beneath::open_in;
use crate::index::Index;
use crate::pack::{Blob, BlobKind};
use crate::tree::{Node, NodeKind};

/// Read at a time: what a processor's cache holds.
const READ_BYTES: usize = 128 << 10;

/// Whether what is in `folder` under the name of `node`, and right by its `stat`, is right altogether. What cannot be
/// read is not.
pub(super) fn is_right(folder: &OwnedFd, node: &Node, details: &Details, index: Option<&Index>) -> bool {
    match node.kind {
        NodeKind::File => is_right_file(folder, node, details, index).unwrap_or(false),
        NodeKind::Symlink => has_target(folder, &node.name, node.target().as_bytes()),
        _ => true,
    }
}

fn has_target(folder: &OwnedFd, name: &OsStr, target: &[u8]) -> bool {
    readlinkat(folder, name, Vec::new()).is_ok_and(|found| found.as_bytes() == target)
}

/// With an `index`, its content is read and hashed.
fn is_right_file(
    folder: &OwnedFd,
    node: &Node,
    details: &Details,
    index: Option<&Index>,
) -> Result<bool, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = open_in(folder, &node.name, flags, Mode::empty())?;
    if !details.has_attributes(&file) {
        return Ok(false);
    }
    let Some(index) = index else { return Ok(true) };
    let mut buffer = vec![0; READ_BYTES];
    for id in node.content.iter().flatten() {
        let Some(location) = index.find(Blob { kind: BlobKind::Data, id: *id }) else { return Ok(false) };
        let mut left = location.entry.plain_length();
        let mut context = Context::new(&SHA256);
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let count = match read(&file, buffer.get_mut(..room).unwrap_or_default()) {
                Ok(0) => return Ok(false),
                Err(Errno::INTR) => continue,
                count => count?,
            };
            context.update(buffer.get(..count).unwrap_or_default());
            left -= count as u64;
        }
        if context.finish().as_ref() != id.0 {
            return Ok(false);
        }
    }
    // It may have grown since its length was seen.
    Ok(read(&file, buffer.get_mut(..1).unwrap_or_default())? == 0)
}
