//! Cuts content where a rolling fingerprint says so, so that equal stretches of two files become equal chunks wherever
//! they lie. The boundaries are those of restic's chunker with the same polynomial: a fingerprint of the last 64 bytes
//! whose lowest 20 bits are zero ends a chunk, not before 512 KiB and not after 8 MiB.
//!
//! A fingerprint depends on the byte before it, and a processor waits for each. Four stretches are therefore looked at
//! side by side, and the first boundary of the four counts. Long runs of zeros have one answer, which is known.

use std::array;
use std::io::{self, Read};

use crate::polynomial::Polynomial;

/// Bytes that a fingerprint covers.
const WINDOW_BYTES: usize = 64;
/// No chunk but a file's last one is shorter.
pub const CHUNK_BYTES_MIN: usize = 512 << 10;
/// No chunk is longer.
pub const CHUNK_BYTES_MAX: usize = 8 << 20;
/// Zero in the fingerprint at a boundary: one position in 2^20.
const SPLIT_MASK: u64 = (1 << 20) - 1;
/// Asked of the reader at a time.
const READ_BYTES: usize = 512 << 10;
/// Positions of a stretch: long beside the 64 bytes that each begins with, short beside a chunk.
const LANE_BYTES: usize = 16 << 10;
/// Stretches that are looked at side by side.
const LANES: usize = 4;
/// The chunk that a run of zeros is cut into: their fingerprint is zero, a boundary at the smallest size.
pub static ZEROS: [u8; CHUNK_BYTES_MIN] = [0; CHUNK_BYTES_MIN];

/// Content that is cut. What can be read may also say that zeros come, and be spared making them.
pub trait Source: Read {
    /// How many zeros come next, as far as that is known without reading.
    ///
    /// # Errors
    /// When it cannot be told.
    fn zeros(&mut self) -> io::Result<u64> {
        Ok(0)
    }

    /// Passes over so many of them.
    fn skip(&mut self, _bytes: u64) {}
}

/// A reader that knows nothing of what comes.
#[derive(Debug)]
pub struct Plain<R>(pub R);

impl<R: Read> Read for Plain<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read> Source for Plain<R> {}

/// A chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunk<'b> {
    /// Bytes.
    Content(&'b [u8]),
    /// [`CHUNK_BYTES_MIN`] zeros.
    Zeros,
}

impl<'b> Chunk<'b> {
    /// Its bytes.
    pub fn bytes(self) -> &'b [u8] {
        match self {
            Self::Content(bytes) => bytes,
            Self::Zeros => &ZEROS,
        }
    }
}

/// What is computed once for a repository's polynomial.
#[derive(Debug, Clone)]
pub struct Tables {
    /// What a byte that leaves the window, after one more shift, adds to the fingerprint.
    leaving: [u64; 256],
    /// Reduces the eight bits above the degree, and cancels them.
    reducing: [u64; 256],
    shift: u32,
}

impl Tables {
    /// Tables for `polynomial`; none when its degree is out of what fits 64 bits with a byte to spare.
    pub fn new(polynomial: Polynomial) -> Option<Self> {
        let degree = polynomial.degree().filter(|degree| (16..=55).contains(degree))?;
        let mut tables = Self { leaving: [0; 256], reducing: [0; 256], shift: degree - 8 };
        for byte in 0..=u8::MAX {
            let high = u64::from(byte) << degree;
            tables.reducing[usize::from(byte)] = Polynomial(high).modulo(polynomial).0 | high;
        }
        for byte in 0..=u8::MAX {
            let alone = tables.append(0, byte);
            tables.leaving[usize::from(byte)] = (0..WINDOW_BYTES).fold(alone, |sum, _| tables.append(sum, 0));
        }
        Some(tables)
    }

    /// The fingerprint with one byte more. The fingerprint is linear, so that a byte that leaves is simply added.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the fingerprint is below 2^degree: eight bits are left"
    )]
    #[inline(always)]
    fn append(&self, fingerprint: u64, byte: u8) -> u64 {
        let index = (fingerprint >> self.shift) as u8;
        (fingerprint << 8 | u64::from(byte)) ^ self.reducing[usize::from(index)]
    }

    /// The fingerprint one position on.
    #[inline(always)]
    fn roll(&self, fingerprint: u64, entering: u8, leaving: u8) -> u64 {
        self.append(fingerprint, entering) ^ self.leaving[usize::from(leaving)]
    }

    fn fingerprint(&self, window: &[u8]) -> u64 {
        window.iter().fold(0, |sum, byte| self.append(sum, *byte))
    }

    /// Where a chunk that starts `bytes` ends; none when there is no boundary in them, or more bytes have to be seen
    /// first. `passed` is up to where an earlier call with a shorter prefix has found none. With `is_all`, nothing
    /// comes behind `bytes`.
    fn boundary(&self, bytes: &[u8], passed: &mut usize, is_all: bool) -> Option<usize> {
        let is_all = is_all || bytes.len() >= CHUNK_BYTES_MAX;
        let bytes = &bytes[..bytes.len().min(CHUNK_BYTES_MAX)];
        if bytes.len() < CHUNK_BYTES_MIN {
            return None;
        }
        if *passed == 0 {
            let window = &bytes[CHUNK_BYTES_MIN - WINDOW_BYTES..CHUNK_BYTES_MIN];
            if self.fingerprint(window) & SPLIT_MASK == 0 {
                return Some(CHUNK_BYTES_MIN);
            }
            *passed = CHUNK_BYTES_MIN;
        }
        while let Some(stretch) =
            bytes[*passed - WINDOW_BYTES..].first_chunk::<{ WINDOW_BYTES + LANES * LANE_BYTES }>()
        {
            if let Some(length) = self.side_by_side(stretch) {
                return Some(*passed + length);
            }
            *passed += LANES * LANE_BYTES;
        }
        if !is_all {
            return None;
        }
        let rest = self.one_by_one(&bytes[*passed - WINDOW_BYTES..], 0);
        let found = rest.map(|length| *passed + length);
        *passed = bytes.len();
        found.or((bytes.len() == CHUNK_BYTES_MAX).then_some(CHUNK_BYTES_MAX))
    }

    /// How many bytes behind the first window the first boundary is, of those after the first `from` positions.
    fn one_by_one(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let bytes = &bytes[from..];
        let mut fingerprint = self.fingerprint(&bytes[..WINDOW_BYTES]);
        let found = bytes[WINDOW_BYTES..].iter().zip(bytes).position(|(entering, leaving)| {
            fingerprint = self.roll(fingerprint, *entering, *leaving);
            fingerprint & SPLIT_MASK == 0
        });
        found.map(|at| from + at + 1)
    }

    /// The same for all of a stretch, whose four parts are looked at in step.
    fn side_by_side(&self, bytes: &[u8; WINDOW_BYTES + LANES * LANE_BYTES]) -> Option<usize> {
        let part = |start: usize| -> &[u8; LANE_BYTES] {
            bytes[start..].first_chunk().expect("the parts lie within the stretch")
        };
        let leaving: [_; LANES] = array::from_fn(|lane| part(lane * LANE_BYTES));
        let entering: [_; LANES] = array::from_fn(|lane| part(lane * LANE_BYTES + WINDOW_BYTES));
        let [mut a, mut b, mut c, mut d] = leaving.map(|lane| self.fingerprint(&lane[..WINDOW_BYTES]));
        let at = (0..LANE_BYTES).position(|at| {
            a = self.roll(a, entering[0][at], leaving[0][at]);
            b = self.roll(b, entering[1][at], leaving[1][at]);
            c = self.roll(c, entering[2][at], leaving[2][at]);
            d = self.roll(d, entering[3][at], leaving[3][at]);
            a & SPLIT_MASK == 0 || b & SPLIT_MASK == 0 || c & SPLIT_MASK == 0 || d & SPLIT_MASK == 0
        })?;
        let lane = [a, b, c, d].iter().position(|fingerprint| fingerprint & SPLIT_MASK == 0)?;
        // The parts in front have been seen as far as `at` alone.
        let before = (0..lane).find_map(|lane| {
            let start = lane * LANE_BYTES;
            let found = self.one_by_one(&bytes[start..start + WINDOW_BYTES + LANE_BYTES], at + 1);
            found.map(|length| start + length)
        });
        before.or(Some(lane * LANE_BYTES + at + 1))
    }
}

/// Cuts what a reader gives. Its buffer is kept from file to file and holds one chunk and what was read behind it.
#[derive(Debug)]
pub struct Chunker<'t> {
    tables: &'t Tables,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    is_at_end: bool,
}

impl<'t> Chunker<'t> {
    /// A chunker with an empty buffer.
    pub fn new(tables: &'t Tables) -> Self {
        // Memory that is not written to costs nothing; a buffer that grows would be held twice.
        let buffer = Vec::with_capacity(CHUNK_BYTES_MAX + READ_BYTES);
        Self { tables, buffer, start: 0, end: 0, is_at_end: false }
    }

    /// Begins anew, with another reader's content.
    pub fn reset(&mut self) {
        (self.start, self.end, self.is_at_end) = (0, 0, false);
    }

    /// The next chunk; none at the end of the content.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn next_chunk(&mut self, reader: &mut impl Source) -> io::Result<Option<Chunk<'_>>> {
        if self.skip_zeros(reader)? {
            return Ok(Some(Chunk::Zeros));
        }
        let mut passed = 0;
        loop {
            let held = &self.buffer[self.start..self.end];
            let boundary = match self.tables.boundary(held, &mut passed, self.is_at_end) {
                None if self.is_at_end => Some(held.len()),
                found => found,
            };
            match boundary {
                Some(0) => return Ok(None),
                Some(length) => {
                    let chunk = self.start..self.start + length;
                    self.start = chunk.end;
                    let bytes = &self.buffer[chunk];
                    let is_zero = bytes.len() == CHUNK_BYTES_MIN && *bytes == ZEROS;
                    return Ok(Some(if is_zero { Chunk::Zeros } else { Chunk::Content(bytes) }));
                }
                None => self.read_more(reader)?,
            }
        }
    }

    /// Whether the next chunk is known to be all zero, by what was read and what the reader knows; it is passed then.
    fn skip_zeros(&mut self, reader: &mut impl Source) -> io::Result<bool> {
        let held = &self.buffer[self.start..self.end];
        let Some(missing) = CHUNK_BYTES_MIN.checked_sub(held.len()).filter(|missing| *missing > 0) else {
            return Ok(false);
        };
        let missing = missing as u64;
        if self.is_at_end || reader.zeros()? < missing || *held != ZEROS[..held.len()] {
            return Ok(false);
        }
        reader.skip(missing);
        self.start = self.end;
        Ok(true)
    }

    fn read_more(&mut self, reader: &mut impl Source) -> io::Result<()> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.buffer.len() < self.end + READ_BYTES {
            self.buffer.resize(self.end + READ_BYTES, 0);
        }
        match reader.read(&mut self.buffer[self.end..]) {
            Ok(0) => self.is_at_end = true,
            Ok(length) => self.end += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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
        for at in
            [1, 2, 63, 64, LANE_BYTES - 1, LANE_BYTES, LANE_BYTES + 1, 3 * LANE_BYTES, stretch, stretch + 1]
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
}
