//! Names of files in trees: any bytes, as the format writes them into JSON.
//!
//! restic writes a name as a Go string literal without its quotes, so that bytes that are not UTF-8 survive: `\xff`
//! stands for one such byte. Reading is strict; what cannot be read is not guessed.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// The text that stands for a name.
pub fn quote(name: &OsStr) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.as_bytes().utf8_chunks() {
        chunk.valid().chars().for_each(|character| quote_character(character, &mut text));
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").expect("writing to text does not fail");
        }
    }
    text
}

fn quote_character(character: char, text: &mut String) {
    let escape = match character {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\x07' => "\\a",
        '\x08' => "\\b",
        '\x0c' => "\\f",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\x0b' => "\\v",
        control if control < ' ' || control == '\x7f' => {
            return write!(text, "\\x{:02x}", u32::from(control)).expect("writing to text does not fail");
        }
        other if other != ' ' && (other.is_control() || other.is_whitespace() || other == '\u{fffd}') => {
            // U+FFFD is printable to Go, but its escape reads the same.
            if other == '\u{fffd}' {
                return text.push(other);
            }
            return write!(text, "\\u{:04x}", u32::from(other)).expect("writing to text does not fail");
        }
        other => return text.push(other),
    };
    text.push_str(escape);
}

/// The name that a text stands for; none when it is not such a text.
pub fn unquote(text: &str) -> Option<OsString> {
    if !text.contains('\\') {
        return Some(OsString::from(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let mut characters = rest[at + 1..].chars();
        let kind = characters.next()?;
        rest = characters.as_str();
        match kind {
            'a' => bytes.push(0x07),
            'b' => bytes.push(0x08),
            'f' => bytes.push(0x0c),
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            't' => bytes.push(b'\t'),
            'v' => bytes.push(0x0b),
            '\\' | '\'' | '"' => bytes.push(u8::try_from(kind).ok()?),
            'x' => bytes.push(u8::try_from(digits(&mut rest, 2, 16)?).ok()?),
            'u' => push(&mut bytes, digits(&mut rest, 4, 16)?)?,
            'U' => push(&mut bytes, digits(&mut rest, 8, 16)?)?,
            '0'..='7' => {
                let mut octal = &text[text.len() - rest.len() - 1..];
                bytes.push(u8::try_from(digits(&mut octal, 3, 8)?).ok()?);
                rest = octal;
            }
            _ => return None,
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(OsString::from_vec(bytes))
}

fn digits(rest: &mut &str, count: usize, radix: u32) -> Option<u32> {
    let (number, behind) = rest.split_at_checked(count)?;
    *rest = behind;
    number.chars().all(|digit| digit.is_digit(radix)).then(|| u32::from_str_radix(number, radix).ok())?
}

fn push(bytes: &mut Vec<u8>, code: u32) -> Option<()> {
    let character = char::from_u32(code)?;
    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_written_as_go_writes_them() {
        for (name, text) in [
            (&b"plain.txt"[..], "plain.txt"),
            ("Grüße, 世界 🙂".as_bytes(), "Grüße, 世界 🙂"),
            (b"two\nlines\t\"quoted\" back\\slash", r#"two\nlines\t\"quoted\" back\\slash"#),
            (b"\xff\xfe bytes \x7f\x01", r"\xff\xfe bytes \x7f\x01"),
            ("no\u{a0}break \u{2028}".as_bytes(), r"no\u00a0break \u2028"),
        ] {
            assert_eq!(quote(OsStr::from_bytes(name)), text);
            assert_eq!(unquote(text).unwrap().as_bytes(), name);
        }
    }

    #[test]
    fn what_go_would_not_read_is_not_read() {
        for text in [r"\", r"\q", r"\x1", r"\xgg", r"\u12", r"\ud800", r"\U00110000", r"\400", r"\x+1"] {
            assert_eq!(unquote(text), None, "{text}");
        }
        assert_eq!(unquote(r"\101\'").unwrap().as_bytes(), b"A'");
    }

    proptest! {
        #[test]
        fn every_name_survives(bytes: Vec<u8>) {
            let name = OsStr::from_bytes(&bytes);
            let unquoted = unquote(&quote(name)).unwrap();
            prop_assert_eq!(unquoted.as_os_str(), name);
        }

        #[test]
        fn no_text_stops_the_reader(text: String) {
            let _read = unquote(&text);
        }
    }
}
