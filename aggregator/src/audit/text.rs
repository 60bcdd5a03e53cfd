//! Text as the audit log keeps it: bounded, and nothing in it that moves a terminal's cursor or turns its text around.

/// Bytes of an actor: a kind and a name or id.
pub(super) const ACTOR_BYTES_MAX: usize = 128;
/// Bytes of an action.
pub(super) const ACTION_BYTES_MAX: usize = 64;
/// Bytes of a target.
pub(super) const TARGET_BYTES_MAX: usize = 256;
/// Bytes of the detail.
pub(super) const DETAIL_BYTES_MAX: usize = 1024;

/// Stands for what was cut off.
const CUT: char = '…';

/// `text` with control characters escaped and at most `bytes_max` long.
pub(super) fn bounded(text: &str, bytes_max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(bytes_max));
    // Not all of an endless text is looked at.
    for c in text.chars() {
        let start = out.len();
        if is_plain(c) {
            out.push(c);
        } else {
            out.extend(c.escape_unicode());
        }
        if out.len() > bytes_max {
            out.truncate(start);
            while out.len() + CUT.len_utf8() > bytes_max {
                out.pop();
            }
            out.push(CUT);
            break;
        }
    }
    out
}

/// Neither a control character nor one that changes direction or begins a line.
fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_direction_characters_are_escaped() {
        assert_eq!(bounded("a\u{1b}[2J\n\u{202e}b", 100), "a\\u{1b}[2J\\u{a}\\u{202e}b");
        assert_eq!(bounded("größe web-1", 100), "größe web-1");
    }

    #[test]
    fn long_text_is_cut_between_characters_and_says_so() {
        assert_eq!(bounded("abcdef", 6), "abcdef");
        assert_eq!(bounded("abcdefg", 6), "abc…");
        for length in 3..40 {
            let cut = bounded(&"ä\n€".repeat(20), length);
            assert!(cut.len() <= length && cut.ends_with(CUT), "{cut}");
        }
    }
}
