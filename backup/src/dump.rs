//! The content of one file, written wherever it is wanted: for a download, or to look at it.
//!
//! Memory: one blob at a time. Each is compared with its identifier before a byte of it is written.

use std::io::{self, Write};
use std::ops::Range;

use crate::index::Index;
use crate::pack::{Blob, BlobKind};
use crate::repository::{Repository, RepositoryError};
use crate::tree::{Node, NodeKind};

/// Content that was not written, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// Only files have content.
    #[error("this is no regular file: only those have content")]
    NotAFile,
    /// A blob is damaged, missing or unreadable.
    #[error("a part of the content cannot be read")]
    Repository(#[from] RepositoryError),
    /// The other side does not take it.
    #[error("the content cannot be written")]
    Write(#[source] io::Error),
}

/// Writes the content of `node`, or the bytes of it in `range`, and tells how many they were: fewer where the file ends
/// before the range does.
///
/// # Errors
/// When not all of it was written.
pub fn dump(
    repository: &Repository,
    index: &Index,
    node: &Node,
    range: Option<Range<u64>>,
    out: &mut dyn Write,
) -> Result<u64, DumpError> {
    if node.kind != NodeKind::File {
        return Err(DumpError::NotAFile);
    }
    let range = range.unwrap_or(0..u64::MAX);
    let (mut start, mut written) = (0, 0);
    for id in node.content.iter().flatten() {
        if start >= range.end {
            break;
        }
        let blob = Blob { kind: BlobKind::Data, id: *id };
        let location = index.find(blob).ok_or(RepositoryError::NoBlob(blob))?;
        let length = location.entry.plain_length();
        // Saturating: lengths come from an index, and their sum may be anything.
        let end = start + length.min(u64::MAX - start);
        if end > range.start {
            let plain = repository.read_located(location)?;
            let first = usize::try_from(range.start.saturating_sub(start)).unwrap_or(usize::MAX);
            let last = usize::try_from(range.end - start).unwrap_or(usize::MAX).min(plain.len());
            let wanted = plain.get(first..last).unwrap_or_default();
            out.write_all(wanted).map_err(DumpError::Write)?;
            written += wanted.len() as u64;
        }
        start = end;
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Made, noise};

    #[test]
    fn a_file_is_dumped_whole_or_in_part() {
        let content = noise(3_000_000, 7);
        let mut made = Made::new();
        let node = made.file("file", &content);
        let (repository, index) = made.finish(vec![node.clone()]).0;
        let mut out = Vec::new();
        assert_eq!(dump(&repository, &index, &node, None, &mut out).unwrap(), 3_000_000);
        assert!(out == content);
        for range in
            [0..1, 999_999..1_000_001, 5..2_999_999, 2_999_999..9_000_000, 8..8, 4_000_000..5_000_000]
        {
            let mut out = Vec::new();
            let count = dump(&repository, &index, &node, Some(range.clone()), &mut out).unwrap();
            let end = range.end.min(3_000_000);
            let start = range.start.min(end);
            let at = |offset: u64| usize::try_from(offset).unwrap();
            assert!(count == end - start && out == content[at(start)..at(end)], "{range:?}");
        }
    }

    #[test]
    fn what_is_no_file_and_what_is_not_there_is_refused() {
        let mut made = Made::new();
        let node = made.file("file", b"content");
        let link = Node::bare("link".into(), NodeKind::Symlink);
        let (repository, _) = made.finish(vec![node.clone(), link.clone()]).0;
        let none = Index::default();
        let dumped = dump(&repository, &none, &link, None, &mut Vec::new());
        assert!(matches!(dumped, Err(DumpError::NotAFile)));
        let dumped = dump(&repository, &none, &node, None, &mut Vec::new());
        assert!(matches!(dumped, Err(DumpError::Repository(RepositoryError::NoBlob(_)))));
    }
}
