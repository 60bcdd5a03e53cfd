//! The tar format, as far as a list of plain files needs it: POSIX ustar, headers of 512 bytes, files padded to as much.

/// Headers are so long; files are padded to a multiple of it.
pub(super) const BLOCK: usize = 512;
/// Longest name: a longer one would have to be split.
pub(super) const NAME_BYTES_MAX: usize = 100;
/// Longest file that eleven octal digits tell: 8 GiB.
pub(super) const FILE_BYTES_MAX: u64 = 0o777_7777_7777;

const CHECKSUM: std::ops::Range<usize> = 148..156;
const SIZE: std::ops::Range<usize> = 124..136;
const MAGIC: std::ops::Range<usize> = 257..265;
const TYPE: usize = 156;

/// One file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) bytes: u64,
}

/// The header of a file that only its owner may read; none when name or length do not fit.
pub(super) fn header(member: &Member, modified_s: u64) -> Option<[u8; BLOCK]> {
    if member.name.len() > NAME_BYTES_MAX || member.bytes > FILE_BYTES_MAX {
        return None;
    }
    let mut block = [0; BLOCK];
    block[..member.name.len()].copy_from_slice(member.name.as_bytes());
    block[100..108].copy_from_slice(b"0000600\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    block[SIZE].copy_from_slice(octal(member.bytes).as_bytes());
    block[136..148].copy_from_slice(octal(modified_s.min(FILE_BYTES_MAX)).as_bytes());
    block[TYPE] = b'0';
    block[MAGIC].copy_from_slice(b"ustar\x0000");
    let sum = format!("{:06o}\0 ", checksum(&block));
    block[CHECKSUM].copy_from_slice(sum.as_bytes());
    Some(block)
}

fn octal(number: u64) -> String {
    format!("{number:011o}\0")
}

/// The sum of all bytes, its own place counted as spaces.
fn checksum(block: &[u8; BLOCK]) -> u32 {
    let own = CHECKSUM;
    (0..BLOCK).map(|at| if own.contains(&at) { u32::from(b' ') } else { u32::from(block[at]) }).sum()
}

/// Reads a header; none when it is not one of a plain file as [`header`] writes it.
pub(super) fn read_header(block: &[u8; BLOCK]) -> Option<Member> {
    let number = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).ok()?.trim_end_matches(['\0', ' ']);
        u64::from_str_radix(text, 8).ok()
    };
    let is_known = block[TYPE] == b'0' && block[MAGIC].starts_with(b"ustar");
    if !is_known || number(&block[CHECKSUM])? != u64::from(checksum(block)) {
        return None;
    }
    let name = block[..NAME_BYTES_MAX].split(|byte| *byte == 0).next()?;
    Some(Member { name: String::from_utf8(name.to_vec()).ok()?, bytes: number(&block[SIZE])? })
}

/// Bytes between the end of a file and the next header.
pub(super) fn padding(bytes: u64) -> usize {
    let block = BLOCK as u64;
    usize::try_from((block - bytes % block) % block).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, bytes: u64) -> Member {
        Member { name: name.to_owned(), bytes }
    }

    #[test]
    fn a_header_reads_back() {
        for bytes in [0, 1, 511, 512, FILE_BYTES_MAX] {
            let member = member(&"n".repeat(NAME_BYTES_MAX), bytes);
            assert_eq!(read_header(&header(&member, 1_700_000_000).unwrap()), Some(member));
        }
    }

    #[test]
    fn what_does_not_fit_has_no_header() {
        assert_eq!(header(&member(&"n".repeat(NAME_BYTES_MAX + 1), 0), 0), None);
        assert_eq!(header(&member("n", FILE_BYTES_MAX + 1), 0), None);
    }

    #[test]
    fn a_changed_byte_is_no_header() {
        let good = header(&member("fleet.json", 300), 5).unwrap();
        for at in 0..BLOCK {
            let mut block = good;
            block[at] = block[at].wrapping_add(1);
            assert_eq!(read_header(&block), None, "byte {at}");
        }
    }

    #[test]
    fn files_end_at_a_block() {
        assert_eq!([0, 1, 511, 512, 513].map(padding), [0, 511, 1, 0, 511]);
    }
}
