//! Output of a run on one node as it is kept: framed pieces, one behind the other.
//!
//! ```text
//! stream u8 (1 stdout, 2 stderr) | length u32 | bytes        integers little-endian
//! ```
//!
//! Nodes send output again from its first byte after a broken stream; what is there already is passed over.

use campanile_common::wire::v1::order::{OutputChunk, OutputStream};

/// Bytes before the content of a piece.
const HEADER_BYTES: usize = 5;

/// A piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Bytes kept before it, of both streams together.
    pub offset: u64,
    /// Where it came from.
    pub stream: OutputStream,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Where a reader stands in one node's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    /// Framed bytes passed.
    pub(super) framed: u64,
    /// Bytes of content passed.
    pub(super) content: u64,
}

/// What is new of a chunk when `kept` bytes are there and at most `most` are kept; none when nothing is. A chunk
/// that leaves a gap is not taken: it comes again in order.
pub(super) fn fresh(chunk: &OutputChunk, kept: u64, most: u64) -> Option<&[u8]> {
    let known = kept.checked_sub(chunk.offset)?;
    let bytes = chunk.bytes.get(usize::try_from(known).ok()?..)?;
    let room = usize::try_from(most.saturating_sub(kept)).unwrap_or(usize::MAX);
    let bytes = &bytes[..bytes.len().min(room)];
    (!bytes.is_empty()).then_some(bytes)
}

/// Appends a framed piece.
pub(super) fn frame(stream: OutputStream, bytes: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(bytes.len()).expect("a chunk fits a frame of the link");
    out.push(match stream {
        OutputStream::Stdout => 1,
        OutputStream::Stderr => 2,
    });
    out.extend(length.to_le_bytes());
    out.extend(bytes);
}

/// The whole pieces at the cursor, which moves behind them, up to about `most` bytes. What is damaged ends them.
pub(super) fn read(framed: &[u8], cursor: &mut Cursor, most: usize) -> Vec<Piece> {
    let (mut rest, mut pieces, mut taken) = (framed, Vec::new(), 0);
    while taken < most
        && let Some((header, behind)) = rest.split_first_chunk::<HEADER_BYTES>()
    {
        let [kind, length @ ..] = *header;
        let stream = match kind {
            1 => OutputStream::Stdout,
            2 => OutputStream::Stderr,
            _ => break,
        };
        let Ok(length) = usize::try_from(u32::from_le_bytes(length)) else { break };
        let Some((bytes, behind)) = behind.split_at_checked(length) else { break };
        pieces.push(Piece { offset: cursor.content, stream, bytes: bytes.to_vec() });
        cursor.content += length as u64;
        cursor.framed += (HEADER_BYTES + length) as u64;
        (rest, taken) = (behind, taken + length);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chunk(offset: u64, bytes: &[u8]) -> OutputChunk {
        OutputChunk { offset, stream: OutputStream::Stdout, bytes: bytes.to_vec() }
    }

    #[test]
    fn output_that_comes_again_is_kept_once() {
        assert_eq!(fresh(&chunk(0, b"abc"), 0, 100), Some(&b"abc"[..]));
        assert_eq!(fresh(&chunk(0, b"abc"), 2, 100), Some(&b"c"[..]));
        assert_eq!(fresh(&chunk(0, b"abc"), 3, 100), None);
        assert_eq!(fresh(&chunk(0, b"abc"), 9, 100), None);
        assert_eq!(fresh(&chunk(5, b"abc"), 3, 100), None, "a gap");
    }

    #[test]
    fn a_node_that_sends_more_than_is_kept_is_cut_off() {
        assert_eq!(fresh(&chunk(0, b"abcdef"), 0, 4), Some(&b"abcd"[..]));
        assert_eq!(fresh(&chunk(4, b"ef"), 4, 4), None);
    }

    proptest! {
        #[test]
        fn pieces_read_back_in_steps_of_any_size(
            texts in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 1..20)), 0..10),
            most in 1_usize..40,
        ) {
            let mut framed = Vec::new();
            for (is_error, bytes) in &texts {
                let stream = if *is_error { OutputStream::Stderr } else { OutputStream::Stdout };
                frame(stream, bytes, &mut framed);
            }
            let (mut cursor, mut found) = (Cursor::default(), Vec::new());
            loop {
                let from = usize::try_from(cursor.framed).unwrap();
                let pieces = read(&framed[from..], &mut cursor, most);
                if pieces.is_empty() {
                    break;
                }
                found.extend(pieces);
            }
            let mut offset = 0;
            prop_assert_eq!(found.len(), texts.len());
            for (piece, (is_error, bytes)) in found.iter().zip(&texts) {
                prop_assert_eq!(piece.offset, offset);
                prop_assert_eq!(piece.stream == OutputStream::Stderr, *is_error);
                prop_assert_eq!(&piece.bytes, bytes);
                offset += bytes.len() as u64;
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            drop(read(&bytes, &mut Cursor::default(), 1000));
        }
    }
}
