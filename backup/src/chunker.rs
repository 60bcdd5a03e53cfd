//! Cuts content where a rolling fingerprint says so, so that equal stretches of two files become equal chunks wherever
//! they lie. The boundaries are those of restic's chunker with the same polynomial: a fingerprint of the last 64 bytes
//! whose lowest 20 bits are zero ends a chunk, not before 512 KiB and not after 8 MiB.

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
    fn append(&self, fingerprint: u64, byte: u8) -> u64 {
        let index = (fingerprint >> self.shift) as u8;
        (fingerprint << 8 | u64::from(byte)) ^ self.reducing[usize::from(index)]
    }

    /// Where a chunk that starts `bytes` ends; `bytes.len()` when the content ends first, and none when more bytes have
    /// to be seen. `scanned` is what an earlier call with a shorter prefix has seen already.
    fn boundary(&self, bytes: &[u8], scan: &mut Scan) -> Option<usize> {
        let bytes = &bytes[..bytes.len().min(CHUNK_BYTES_MAX)];
        if bytes.len() < CHUNK_BYTES_MIN {
            return None;
        }
        let mut fingerprint = scan.fingerprint;
        let mut at = scan.at;
        if at == 0 {
            let window = &bytes[CHUNK_BYTES_MIN - WINDOW_BYTES..CHUNK_BYTES_MIN];
            fingerprint = window.iter().fold(0, |sum, byte| self.append(sum, *byte));
            at = CHUNK_BYTES_MIN;
            if fingerprint & SPLIT_MASK == 0 {
                return Some(at);
            }
        }
        let entering = bytes[at..].iter();
        let leaving = bytes[at - WINDOW_BYTES..].iter();
        for (offset, (entering, leaving)) in entering.zip(leaving).enumerate() {
            fingerprint = self.append(fingerprint, *entering) ^ self.leaving[usize::from(*leaving)];
            if fingerprint & SPLIT_MASK == 0 {
                return Some(at + offset + 1);
            }
        }
        *scan = Scan { at: bytes.len(), fingerprint };
        (bytes.len() == CHUNK_BYTES_MAX).then_some(CHUNK_BYTES_MAX)
    }
}

/// How far the present chunk has been looked at.
#[derive(Debug, Clone, Copy, Default)]
struct Scan {
    at: usize,
    fingerprint: u64,
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
        Self { tables, buffer: Vec::new(), start: 0, end: 0, is_at_end: false }
    }

    /// Begins anew, with another reader's content.
    pub fn reset(&mut self) {
        (self.start, self.end, self.is_at_end) = (0, 0, false);
    }

    /// The next chunk; none at the end of the content.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn next_chunk(&mut self, reader: &mut impl Read) -> io::Result<Option<&[u8]>> {
        let mut scan = Scan::default();
        loop {
            let held = &self.buffer[self.start..self.end];
            let boundary = match self.tables.boundary(held, &mut scan) {
                None if self.is_at_end => Some(held.len()),
                found => found,
            };
            match boundary {
                Some(0) => return Ok(None),
                Some(length) => {
                    let chunk = self.start..self.start + length;
                    self.start = chunk.end;
                    return Ok(Some(&self.buffer[chunk]));
                }
                None => self.read_more(reader)?,
            }
        }
    }

    fn read_more(&mut self, reader: &mut impl Read) -> io::Result<()> {
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
            chunks.push(chunk.to_vec());
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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn chunks_do_not_depend_on_how_content_is_read(seed: u64, length in 0_usize..5 << 20, piece in 1000_usize..3 << 20) {
            let bytes = noise(length, seed);
            let chunks = cut(&bytes, piece);
            prop_assert_eq!(chunks.concat(), bytes.clone());
            prop_assert_eq!(chunks, cut(&bytes, usize::MAX));
        }
    }
}
