//! Folders that only their owner may enter.

#![expect(clippy::disallowed_methods, reason = "`os` is where files are touched")]

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// Names in a folder, which is made when there is none.
///
/// # Errors
/// When it cannot be made or read.
pub fn open_private(path: &Path) -> io::Result<Vec<String>> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.extend(entry?.file_name().into_string().ok());
    }
    Ok(names)
}
