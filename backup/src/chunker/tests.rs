//! Boundaries by the definition, and by whatever way content is read.

use proptest::prelude::*;

use super::*;
use crate::fixture::noise;

const POLYNOMIAL: Polynomial = Polynomial(0x3d_a335_8b4d_c173);

/// Gives at most so many bytes a call.
struct Slow<'b>(&'b [u8], usize);

impl Source for Slow<'_> {}

/// Knows which of its bytes are zero, as a file with holes does, and counts those that are read.
struct Holes<'b>(&'b [u8], u64);

impl Read for Holes<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = Slow(self.0, usize::MAX).read(buffer)?;
        self.0 = &self.0[length..];
        self.1 += length as u64;
        Ok(length)
    }
}

impl Source for Holes<'_> {
    fn zeros(&mut self) -> io::Result<u64> {
        // Holes begin and end at pages.
        let zeros = self.0.chunks(4096).take_while(|page| page.iter().all(|byte| *byte == 0));
        Ok(zeros.map(|page| page.len() as u64).sum())
    }

    fn skip(&mut self, bytes: u64) {
        self.0 = &self.0[usize::try_from(bytes).unwrap()..];
    }
}

fn cut_holes(bytes: &[u8]) -> (Vec<Vec<u8>>, u64) {
    let tables = Tables::new(POLYNOMIAL).unwrap();
    let mut chunker = Chunker::new(&tables);
    let mut reader = Holes(bytes, 0);
    let mut chunks = Vec::new();
    while let Some(chunk) = chunker.next_chunk(&mut reader).unwrap() {
        chunks.push(chunk.bytes().to_vec());
    }
    (chunks, reader.1)
}

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.0.len().min(self.1).min(buffer.len());
        buffer[..length].copy_from_slice(&self.0[..length]);
        self.0 = &self.0[length..];
        Ok(length)
    }
}

fn cut(bytes: &[u8], piece: usize) -> Vec<Vec<u8>> {
    let tables = Tables::new(POLYNOMIAL).unwrap();
    let mut chunker = Chunker::new(&tables);
    let mut reader = Slow(bytes, piece);
    let mut chunks = Vec::new();
    while let Some(chunk) = chunker.next_chunk(&mut reader).unwrap() {
        chunks.push(chunk.bytes().to_vec());
    }
    chunks
}

/// The definition, computed at one position by division.
fn fingerprint(window: &[u8]) -> u64 {
    window.iter().fold(0, |sum, byte| Polynomial(sum << 8 | u64::from(*byte)).modulo(POLYNOMIAL).0)
}

#[test]
fn chunks_end_where_the_fingerprint_says_and_nowhere_else() {
    let bytes = noise(6 << 20, 7);
    let mut start = 0;
    for chunk in cut(&bytes, usize::MAX) {
        let end = start + chunk.len();
        for at in start + CHUNK_BYTES_MIN..=end.min(start + CHUNK_BYTES_MIN + 40_000) {
            let is_boundary = fingerprint(&bytes[at - WINDOW_BYTES..at]) & SPLIT_MASK == 0;
            assert!(!is_boundary || at == end, "a boundary at {at} was passed");
        }
        let is_boundary = fingerprint(&bytes[end - WINDOW_BYTES..end]) & SPLIT_MASK == 0;
        assert!(is_boundary || end == bytes.len());
        start = end;
    }
    assert_eq!(start, bytes.len());
}

#[test]
fn content_without_boundaries_is_cut_at_the_largest_size() {
    // All zero: the fingerprint is zero, which is a boundary at the smallest size.
    assert!(cut(&vec![0; 2 << 20], 4096).iter().all(|chunk| chunk.len() == CHUNK_BYTES_MIN));
    let ones = cut(&vec![1; 20 << 20], usize::MAX);
    assert_eq!(ones.iter().map(Vec::len).collect::<Vec<_>>(), [8 << 20, 8 << 20, 4 << 20]);
}

#[test]
fn a_byte_put_in_front_changes_the_first_chunk_alone() {
    let bytes = noise(12 << 20, 3);
    let shifted = [&[42], bytes.as_slice()].concat();
    let (before, after) = (cut(&bytes, usize::MAX), cut(&shifted, usize::MAX));
    let common = after.iter().filter(|chunk| before.contains(chunk)).count();
    assert!(before.len() >= 5 && common >= before.len() - 2, "{common} of {}", before.len());
}

#[test]
fn nothing_is_cut_of_nothing() {
    assert!(cut(&[], 1).is_empty());
    assert_eq!(cut(b"abc", 1), [b"abc"]);
}

#[test]
fn a_boundary_is_found_wherever_in_a_stretch_it_lies() {
    let tables = Tables::new(POLYNOMIAL).unwrap();
    // A window that is a boundary, found once and planted again.
    let bytes = noise(CHUNK_BYTES_MAX, 5);
    let end = tables.one_by_one(&bytes, 0).unwrap() + WINDOW_BYTES;
    let window = bytes[end - WINDOW_BYTES..end].to_vec();
    let stretch = LANES * LANE_BYTES;
    for at in [1, 2, 63, 64, LANE_BYTES - 1, LANE_BYTES, LANE_BYTES + 1, 3 * LANE_BYTES, stretch, stretch + 1]
    {
        for second in [at, LANE_BYTES + 70, 3 * LANE_BYTES + 1] {
            let mut planted = vec![1; CHUNK_BYTES_MIN + stretch + 100];
            for at in [at, second] {
                let end = CHUNK_BYTES_MIN + at;
                planted[end - WINDOW_BYTES..end].copy_from_slice(&window);
            }
            let first = tables.one_by_one(&planted[CHUNK_BYTES_MIN - WINDOW_BYTES..], 0);
            let first = first.map(|length| CHUNK_BYTES_MIN + length);
            assert_eq!(tables.boundary(&planted, &mut 0, true), first, "{at} and {second}");
            assert!(first.is_some());
        }
    }
}

#[test]
fn a_long_hole_is_not_read() {
    let bytes = [noise(700_000, 9), vec![0; 40 << 20], noise(100_000, 10)].concat();
    let (chunks, read) = cut_holes(&bytes);
    assert_eq!(chunks, cut(&bytes, usize::MAX));
    assert!(read < 4 << 20, "{read} bytes were read");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn holes_change_no_chunk(seed: u64, parts in proptest::collection::vec((0_usize..1 << 20, 0_usize..3 << 20), 1..4)) {
        let mut bytes = Vec::new();
        for (number, (content, hole)) in parts.into_iter().enumerate() {
            bytes.extend(noise(content, seed.wrapping_add(number as u64)));
            bytes.resize(bytes.len() + hole, 0);
        }
        prop_assert_eq!(cut_holes(&bytes).0, cut(&bytes, usize::MAX));
    }

    #[test]
    fn chunks_do_not_depend_on_how_content_is_read(seed: u64, length in 0_usize..5 << 20, piece in 1000_usize..3 << 20) {
        let bytes = noise(length, seed);
        let chunks = cut(&bytes, piece);
        prop_assert_eq!(chunks.concat(), bytes.clone());
        prop_assert_eq!(chunks, cut(&bytes, usize::MAX));
    }
}
