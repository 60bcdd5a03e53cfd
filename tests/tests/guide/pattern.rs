//! Whether a command printed what the guide shows. A line `...` stands for any lines, `...` in a line for any text,
//! `<word>` for one word. How many blanks stand between words counts for nothing.

enum Piece {
    Text(String),
    Word,
    Any,
}

fn pieces(line: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = line;
    let mut text = String::new();
    while let Some(c) = rest.chars().next() {
        let word = rest.strip_prefix('<').and_then(|rest| rest.split_once('>'));
        let is_word =
            |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        let (piece, behind) = match word {
            _ if rest.starts_with("...") => (Some(Piece::Any), &rest[3..]),
            Some((name, behind)) if is_word(name) => (Some(Piece::Word), behind),
            _ => (None, &rest[c.len_utf8()..]),
        };
        match piece {
            Some(piece) => {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
                pieces.push(piece);
            }
            None => text.push(c),
        }
        rest = behind;
    }
    pieces.push(Piece::Text(text));
    pieces
}

fn fits_line(pieces: &[Piece], found: &str) -> bool {
    let Some((piece, rest)) = pieces.split_first() else { return found.is_empty() };
    let mut ends = found.char_indices().map(|(start, c)| start + c.len_utf8());
    match piece {
        Piece::Text(text) => found.strip_prefix(text.as_str()).is_some_and(|found| fits_line(rest, found)),
        Piece::Any => std::iter::once(0).chain(ends).any(|end| fits_line(rest, &found[end..])),
        Piece::Word => {
            let length = found.find(' ').unwrap_or(found.len());
            ends.by_ref().take_while(|end| *end <= length).any(|end| fits_line(rest, &found[end..]))
        }
    }
}

fn squeezed(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// True when `found` is what `expected` says.
pub(crate) fn fits(expected: &[String], found: &[&str]) -> bool {
    let Some((line, rest)) = expected.split_first() else { return found.is_empty() };
    if line.trim() == "..." {
        return (0..=found.len()).any(|skipped| fits(rest, &found[skipped..]));
    }
    found.split_first().is_some_and(|(first, below)| {
        fits_line(&pieces(&squeezed(line)), &squeezed(first)) && fits(rest, below)
    })
}

#[test]
fn output_fits_its_pattern_and_no_other() {
    let fit = |expected: &str, found: &str| {
        let expected: Vec<String> = expected.lines().map(str::to_owned).collect();
        fits(&expected, &found.lines().collect::<Vec<_>>())
    };
    assert!(fit("NAME   STATE\nnode-01 <state>\n...", "NAME  STATE\nnode-01  online\nnode-02  online"));
    assert!(fit("took <time>, ...", "took 3.4s, 12 files"));
    assert!(fit("...\nlast", "a\nb\nlast"));
    assert!(fit("<score> of 100", "98 of 100"));
    assert!(!fit("<word>", "two words"));
    assert!(!fit("<word>", ""));
    assert!(!fit("a\nb", "a"));
    assert!(!fit("a", "a\nb"));
    assert!(!fit("...\nlast", "last\nmore"));
}
