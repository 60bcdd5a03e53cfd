//! Reads the kernel's text: fields between blanks, numbers, lines. Works on bytes, since nothing promises UTF-8,
//! and never fails on garbage: what is no number is none.

/// Lines without their ends.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// The parts of a line between blanks.
pub fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b' ' || *byte == b'\t').filter(|field| !field.is_empty())
}

/// A number without sign; none past the largest `i64`.
pub fn number(field: &[u8]) -> Option<i64> {
    if field.is_empty() {
        return None;
    }
    field.iter().try_fold(0_i64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| i64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// A number that may have a sign.
pub fn signed(field: &[u8]) -> Option<i64> {
    match field.strip_prefix(b"-") {
        Some(digits) => number(digits).map(|value| -value),
        None => number(field),
    }
}

/// A number with `places` digits after its point, as an integer in that unit: `0.52` is 52 hundredths.
/// Further digits are cut off.
pub fn fixed(field: &[u8], places: usize) -> Option<i64> {
    let (negative, field) = match field.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, field),
    };
    let mut parts = field.splitn(2, |byte| *byte == b'.');
    let mut value = number(parts.next()?)?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    for place in 0..places {
        let digit = fraction.get(place).map_or(0, |byte| i64::from(byte - b'0'));
        value = value.checked_mul(10)?.checked_add(digit)?;
    }
    Some(if negative { -value } else { value })
}

/// The value of `key` in a line of the form `key value ...`.
pub fn value_of(text: &[u8], key: &[u8]) -> Option<i64> {
    lines(text).find_map(|line| {
        let mut fields = fields(line);
        (fields.next()? == key).then(|| fields.next().and_then(number))?
    })
}

/// Whether `pattern` covers `path`: the path itself or a folder above it matches, `*` standing for any text.
pub fn covers(pattern: &str, path: &str) -> bool {
    let pattern = if pattern.len() > 1 { pattern.trim_end_matches('/') } else { pattern };
    let above =
        path.char_indices().filter(|(index, c)| *c == '/' && *index > 0).map(|(index, _)| &path[..index]);
    above.chain([path]).any(|path| matches(pattern.as_bytes(), path.as_bytes()))
}

/// Whether the whole of `text` is `pattern`, `*` standing for any text.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at_pattern, mut at_text) = (0, 0);
    // Where to go on when a star turns out to stand for more.
    let mut retry = None;
    while at_text < text.len() {
        if pattern.get(at_pattern) == Some(&b'*') {
            retry = Some((at_pattern + 1, at_text));
            at_pattern += 1;
        } else if pattern.get(at_pattern) == Some(&text[at_text]) {
            at_pattern += 1;
            at_text += 1;
        } else if let Some((after_star, from)) = retry {
            (at_pattern, at_text) = (after_star, from + 1);
            retry = Some((after_star, from + 1));
        } else {
            return false;
        }
    }
    pattern[at_pattern..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_past_the_range_are_none() {
        assert_eq!(number(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(number(b"9223372036854775808"), None);
        assert_eq!(number(b""), None);
        assert_eq!(number(b"1x"), None);
        assert_eq!(signed(b"-5000"), Some(-5000));
    }

    #[test]
    fn fixed_numbers_are_cut_to_their_unit() {
        for (text, places, value) in
            [("0.52", 2, 52), ("12", 2, 1200), ("1.5", 2, 150), ("-0.000001234", 9, -1234), ("3.999", 2, 399)]
        {
            assert_eq!(fixed(text.as_bytes(), places), Some(value), "{text}");
        }
        assert_eq!(fixed(b"1.x", 2), None);
        assert_eq!(fixed(b".5", 2), None);
    }

    #[test]
    fn a_pattern_covers_what_is_below_it() {
        assert!(covers("/var/lib/docker", "/var/lib/docker/overlay2/x"));
        assert!(covers("/mnt/*", "/mnt/nfs"));
        assert!(covers("/srv/", "/srv"));
        assert!(covers("*/merged", "/a/b/merged"));
        assert!(!covers("/var/lib/docker", "/var/lib/docker-data"));
        assert!(!covers("/", "/home"));
        assert!(covers("/", "/"));
    }

    proptest! {
        #[test]
        fn garbage_is_read_without_a_panic(text in any::<Vec<u8>>(), places in 0_usize..30) {
            for line in lines(&text) {
                for field in fields(line) {
                    let _ = (number(field), signed(field), fixed(field, places), value_of(&text, field));
                }
            }
        }

        #[test]
        fn numbers_read_back(value in any::<i64>().prop_filter("sign and digits", |v| *v != i64::MIN)) {
            prop_assert_eq!(signed(value.to_string().as_bytes()), Some(value));
        }

        #[test]
        fn a_star_stands_for_any_text(before in "[a-c]{0,5}", middle in "[a-c]{0,5}", after in "[a-c]{0,5}") {
            let pattern = format!("{before}*{after}");
            let text = format!("{before}{middle}{after}");
            prop_assert!(matches(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
