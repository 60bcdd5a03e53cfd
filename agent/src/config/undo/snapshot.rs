//! What a path was before an apply.

use campanile_common::config::part_digest;
use campanile_common::id::Digest;
use serde::{Deserialize, Serialize};

use crate::os::beneath::{BeneathError, NodeKind, Root};

/// Longest file that is replaced: its old bytes are kept while that is done.
const FILE_BYTES_MAX: usize = 64 << 20;

/// What was at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Was {
    /// Nothing.
    Absent,
    /// A regular file; its bytes are kept.
    File { offset: u64, length: u64, digest: Digest, mode: u32, uid: u32, gid: u32 },
    /// A directory.
    Directory { mode: u32, uid: u32, gid: u32 },
    /// A symbolic link.
    Link { target: String },
    /// Something that is never changed; it stands for itself.
    Other,
}

impl Was {
    /// True when both are the same to whoever looks; where old bytes are kept does not count.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::File { digest, mode, uid, gid, .. },
                Self::File { digest: digest2, mode: mode2, uid: uid2, gid: gid2, .. },
            ) => (digest, mode, uid, gid) == (digest2, mode2, uid2, gid2),
            _ => self == other,
        }
    }
}

/// What is at a path now, with the bytes of a file. Their place in what is kept is the caller's to set.
pub(crate) fn observe(root: &Root, path: &str) -> Result<(Was, Option<Vec<u8>>), BeneathError> {
    let Some(stat) = root.stat(path)? else { return Ok((Was::Absent, None)) };
    let (mode, uid, gid) = (stat.mode, stat.uid, stat.gid);
    match stat.kind {
        NodeKind::File => {
            let bytes = root.read(path, FILE_BYTES_MAX)?;
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let was = Was::File { offset: 0, length, digest: part_digest(&bytes), mode, uid, gid };
            Ok((was, Some(bytes)))
        }
        NodeKind::Directory => Ok((Was::Directory { mode, uid, gid }, None)),
        NodeKind::Link => Ok((Was::Link { target: root.read_link(path)? }, None)),
        NodeKind::Other => Ok((Was::Other, None)),
    }
}
