//! Frames as a broken or hostile peer sends them.

use campanile_common::wire::frame::{BODY_BYTES_MAX, HEADER_BYTES};

use campanile_tests::random::Random;

/// Longest body of random bytes; long ones decode like short ones and cost more.
const RANDOM_BODY_BYTES_MAX: usize = 200;

/// Kinds in use, so that most random frames get past the header.
const KINDS: [u8; 25] =
    [1, 2, 3, 16, 17, 18, 19, 20, 21, 22, 23, 32, 33, 48, 49, 64, 65, 66, 67, 80, 81, 82, 83, 84, 255];

/// Bytes without any form; half of them begin as a frame does.
pub(crate) fn garbage(random: &mut Random) -> Vec<u8> {
    let count = random.index(64);
    let mut bytes = random.bytes(count);
    if random.index(2) == 0 {
        bytes.splice(0..0, [0xCA, 0x3B]);
    }
    bytes
}

/// A well-formed header of any version and kind before a random body.
pub(crate) fn random_body(random: &mut Random) -> Vec<u8> {
    // Short ones by far the most: a body that a message fills to its last byte is short.
    let longest = 1 + random.index(RANDOM_BODY_BYTES_MAX);
    let count = random.index(longest) / (1 + random.index(8));
    let mut body = random.bytes(count);
    // Small numbers are lengths and variants that fit; pure noise rarely gets past a first field.
    if random.index(2) == 0 {
        for byte in &mut body {
            *byte &= 0x07;
        }
    }
    let version = if random.index(16) == 0 { random.byte() } else { u8::from(random.index(4) != 0) };
    let kind = if random.index(8) == 0 { random.byte() } else { *random.one_of(&KINDS) };
    framed(version, kind, &body)
}

/// A good frame with something broken.
pub(crate) fn mutated(random: &mut Random, good: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = random.one_of(good).clone();
    for _ in 0..=random.index(3) {
        mutate_once(random, &mut bytes, good);
    }
    bytes
}

fn mutate_once(random: &mut Random, bytes: &mut Vec<u8>, good: &[Vec<u8>]) {
    if bytes.len() <= HEADER_BYTES {
        bytes.extend_from_slice(random.one_of(good).as_slice());
    }
    let body = HEADER_BYTES + random.index(bytes.len() - HEADER_BYTES);
    match random.index(10) {
        0 => flip(random, bytes),
        1 => bytes[body] = random.byte(),
        2 => bytes.truncate(body),
        3 => lie_about_length(random, bytes),
        4 => bytes[2] = random.byte(),
        5 => bytes[3] = *random.one_of(&KINDS),
        6 => {
            // A body that goes on behind its message.
            let extra = 1 + random.index(9);
            bytes.extend(random.bytes(extra));
            fix_length(bytes);
        }
        7 => {
            // The longest number of its kind where a length or a count may be.
            let number = huge_number(random);
            bytes.splice(body..=body, number);
            fix_length(bytes);
        }
        8 => {
            bytes.drain(body..);
            fix_length(bytes);
        }
        _ => {
            let other = random.one_of(good).clone();
            let from = HEADER_BYTES + random.index(other.len() - HEADER_BYTES);
            bytes.truncate(body);
            bytes.extend_from_slice(&other[from..]);
            fix_length(bytes);
        }
    }
}

fn flip(random: &mut Random, bytes: &mut [u8]) {
    let index = random.index(bytes.len());
    bytes[index] ^= 1 << random.index(8);
}

fn lie_about_length(random: &mut Random, bytes: &mut [u8]) {
    let length = match random.index(4) {
        0 => u32::MAX,
        1 => u32::try_from(BODY_BYTES_MAX + 1).expect("a frame's limit has 17 bits"),
        2 => u32::try_from(random.index(BODY_BYTES_MAX)).expect("a frame's limit has 17 bits"),
        _ => u32::from_le_bytes([random.byte(), random.byte(), random.byte(), random.byte()]),
    };
    bytes[4..HEADER_BYTES].copy_from_slice(&length.to_le_bytes());
}

/// A variable-length number of the codec: 251 to 254 announce 2, 4, 8 or 16 bytes.
fn huge_number(random: &mut Random) -> Vec<u8> {
    let (mark, width) = *random.one_of(&[(251_u8, 2), (252, 4), (253, 8), (254, 16)]);
    let fill = if random.index(2) == 0 { 0xFF } else { random.byte() };
    let mut number = vec![mark];
    number.extend(std::iter::repeat_n(fill, width));
    number
}

fn fix_length(bytes: &mut [u8]) {
    let length = u32::try_from(bytes.len().saturating_sub(HEADER_BYTES)).unwrap_or(u32::MAX);
    bytes[4..HEADER_BYTES].copy_from_slice(&length.to_le_bytes());
}

/// A frame of any version, kind and body, with a true length.
pub(crate) fn framed(version: u8, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xCA, 0x3B, version, kind, 0, 0, 0, 0];
    bytes.extend_from_slice(body);
    fix_length(&mut bytes);
    bytes
}
