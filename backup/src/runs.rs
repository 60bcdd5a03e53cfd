//! Neighbouring blobs of a pack are read together, so that a store is asked seldom and never for much at once.

use std::ops::Range;

use crate::pack::Entry;

/// So much is read at once, or one blob when it is longer.
pub(crate) const RUN_BYTES: u64 = 4 << 20;
/// Bytes between two blobs that are read and thrown away rather than asked around.
const GAP_BYTES_MAX: u64 = 64 << 10;

/// The bytes of a pack from the first of `run` to the end of its last.
pub(crate) fn range(run: &[Entry]) -> Range<u64> {
    let start = run.first().map_or(0, |entry| u64::from(entry.offset));
    let end = run.iter().map(end).max().unwrap_or(0);
    start..end
}

fn end(entry: &Entry) -> u64 {
    u64::from(entry.offset) + u64::from(entry.length)
}

/// The sealed bytes of `entry` within `bytes`, which were read from `start`; none when it lies outside.
pub(crate) fn sealed<'a>(entry: &Entry, start: u64, bytes: &'a mut [u8]) -> Option<&'a mut [u8]> {
    let from = usize::try_from(u64::from(entry.offset).checked_sub(start)?).ok()?;
    let length = usize::try_from(entry.length).ok()?;
    bytes.get_mut(from..from.checked_add(length)?)
}

/// Cuts entries, which are in the order of their offsets, into runs.
pub(crate) fn runs(entries: &[Entry]) -> impl Iterator<Item = &[Entry]> {
    let mut rest = entries;
    std::iter::from_fn(move || {
        let first = rest.first()?;
        let start = u64::from(first.offset);
        let mut reached = end(first);
        let more = rest[1..].iter().take_while(|entry| {
            let is_near = u64::from(entry.offset) <= reached + GAP_BYTES_MAX;
            reached = reached.max(end(entry));
            is_near && reached - start <= RUN_BYTES
        });
        let count = 1 + more.count();
        let (run, behind) = rest.split_at(count);
        rest = behind;
        Some(run)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ObjectId;
    use crate::pack::{Blob, BlobKind};

    fn entry(offset: u32, length: u32) -> Entry {
        let blob = Blob { kind: BlobKind::Data, id: ObjectId::of(&offset.to_le_bytes()) };
        Entry { blob, offset, length, uncompressed: None }
    }

    #[test]
    fn neighbours_go_together_up_to_a_limit_and_gaps_are_left_out() {
        let entries = [
            entry(0, 100),
            entry(150, 100),
            entry(1_000_000, 5_000_000),
            entry(6_000_000, 4_000_000),
            entry(10_000_000, 194_304),
            entry(10_194_304, 1),
        ];
        let cut: Vec<_> = runs(&entries).map(range).collect();
        assert_eq!(cut, [0..250, 1_000_000..6_000_000, 6_000_000..10_194_304, 10_194_304..10_194_305]);
        assert_eq!(runs(&[]).count(), 0);
    }

    #[test]
    fn a_blob_outside_of_what_was_read_is_not_there() {
        let mut bytes = [0; 10];
        assert!(sealed(&entry(7, 3), 5, &mut bytes).is_some_and(|sealed| sealed.len() == 3));
        assert!(sealed(&entry(4, 3), 5, &mut bytes).is_none());
        assert!(sealed(&entry(13, 3), 5, &mut bytes).is_none());
    }
}
