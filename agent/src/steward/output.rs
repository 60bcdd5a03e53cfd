//! What one execution wrote: kept up to a limit, counted past it.
//!
//! Whoever shows it asks for the chunk at an offset, as often as it likes: a broken connection loses nothing, and a
//! slow one holds nobody up.

use campanile_common::wire::v1::order::{OUTPUT_CHUNK_BYTES_MAX, OutputChunk, OutputStream};

/// Most changes between the two streams: each costs more memory than a byte of output. What comes after counts as
/// past the limit.
const PARTS_MAX: usize = 16_384;

/// Output of both streams, in the order in which it was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct KeptOutput {
    bytes: Vec<u8>,
    /// Where each stretch of one stream ends.
    parts: Vec<(OutputStream, usize)>,
    bytes_max: usize,
    is_full: bool,
    written: u64,
}

impl KeptOutput {
    pub(super) fn new(bytes_max: u32) -> Self {
        Self { bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX), ..Self::default() }
    }

    /// Takes what was read.
    pub(super) fn push(&mut self, stream: OutputStream, bytes: &[u8]) {
        self.written += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if self.is_full || bytes.is_empty() {
            return;
        }
        let is_same = self.parts.last().is_some_and(|(last, _)| *last == stream);
        if !is_same && self.parts.len() == PARTS_MAX {
            self.is_full = true;
            return;
        }
        let room = self.bytes_max - self.bytes.len();
        // Nothing is kept behind a gap.
        self.is_full = bytes.len() > room;
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let end = self.bytes.len();
        match self.parts.last_mut() {
            Some((last, place)) if *last == stream => *place = end,
            _ if room > 0 => self.parts.push((stream, end)),
            _ => {}
        }
    }

    /// The chunk that begins at `offset`; none at the end.
    pub(super) fn chunk(&self, offset: u64) -> Option<OutputChunk> {
        let start = usize::try_from(offset).ok().filter(|start| *start < self.bytes.len())?;
        let index = self.parts.partition_point(|(_, end)| *end <= start);
        let (stream, end) = *self.parts.get(index)?;
        let end = end.min(start + OUTPUT_CHUNK_BYTES_MAX);
        Some(OutputChunk { offset, stream, bytes: self.bytes[start..end].to_vec() })
    }

    /// All of it.
    pub(super) fn chunks(&self) -> impl Iterator<Item = OutputChunk> {
        let mut offset = 0;
        std::iter::from_fn(move || {
            let chunk = self.chunk(offset)?;
            offset += length(&chunk);
            Some(chunk)
        })
    }

    /// Bytes kept.
    pub(super) fn kept(&self) -> u64 {
        u64::try_from(self.bytes.len()).unwrap_or(u64::MAX)
    }

    /// Bytes written, kept or not.
    pub(super) fn written(&self) -> u64 {
        self.written
    }
}

/// Bytes of a chunk.
pub(super) fn length(chunk: &OutputChunk) -> u64 {
    u64::try_from(chunk.bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use OutputStream::{Stderr, Stdout};
    use proptest::prelude::*;

    #[test]
    fn what_is_past_the_limit_is_counted_and_nothing_is_kept_behind_it() {
        let mut output = KeptOutput::new(4);
        output.push(Stdout, b"abc");
        output.push(Stderr, b"def");
        output.push(Stdout, b"g");
        assert_eq!((output.kept(), output.written()), (4, 7));
        let chunks: Vec<_> = output.chunks().map(|chunk| (chunk.offset, chunk.stream, chunk.bytes)).collect();
        assert_eq!(chunks, [(0, Stdout, b"abc".to_vec()), (3, Stderr, b"d".to_vec())]);
        assert_eq!(output.chunk(4), None);
    }

    #[test]
    fn nothing_is_kept_where_nothing_may_be() {
        let mut output = KeptOutput::new(0);
        output.push(Stdout, b"abc");
        assert_eq!((output.kept(), output.written(), output.chunk(0)), (0, 3, None));
    }

    #[test]
    fn streams_that_alternate_for_ever_are_bounded() {
        let mut output = KeptOutput::new(1 << 20);
        for _ in 0..PARTS_MAX {
            output.push(Stdout, b"a");
            output.push(Stderr, b"b");
        }
        assert_eq!(output.parts.len(), PARTS_MAX);
        assert_eq!(output.written(), 2 * u64::try_from(PARTS_MAX).unwrap());
    }

    proptest! {
        #[test]
        fn chunks_put_together_are_what_was_written(
            pieces in proptest::collection::vec((any::<bool>(), 1_usize..40_000), 0..12),
        ) {
            let mut output = KeptOutput::new(1 << 20);
            let (mut streams, mut next) = ([Vec::new(), Vec::new()], 0_u8);
            for (is_error, count) in pieces {
                let bytes: Vec<u8> = (0..count).map(|_| { next = next.wrapping_add(7); next }).collect();
                output.push(if is_error { Stderr } else { Stdout }, &bytes);
                streams[usize::from(is_error)].extend(bytes);
            }
            let mut found = [Vec::new(), Vec::new()];
            for chunk in output.chunks() {
                prop_assert!(chunk.bytes.len() <= OUTPUT_CHUNK_BYTES_MAX);
                found[usize::from(chunk.stream == Stderr)].extend(chunk.bytes);
            }
            prop_assert_eq!(found, streams);
        }
    }
}
