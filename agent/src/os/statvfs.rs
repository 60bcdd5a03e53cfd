//! What a file system holds. The call hangs as long as a dead NFS server does: never on a thread that matters.

use std::io;

/// Space and inodes of one file system, in bytes and numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Its size.
    pub size_bytes: u64,
    /// Unused.
    pub free_bytes: u64,
    /// Unused and not kept back for root.
    pub avail_bytes: u64,
    /// Inodes.
    pub files: u64,
    /// Unused inodes.
    pub files_free: u64,
}

/// Asks the file system mounted at `mount_point`.
///
/// # Errors
/// What the file system says.
pub fn space(mount_point: &str) -> io::Result<Space> {
    let found = rustix::fs::statvfs(mount_point)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Space {
        size_bytes: bytes(found.f_blocks),
        free_bytes: bytes(found.f_bfree),
        avail_bytes: bytes(found.f_bavail),
        files: found.f_files,
        files_free: found.f_ffree,
    })
}
