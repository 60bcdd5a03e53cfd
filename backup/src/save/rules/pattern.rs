//! One pattern, over bytes: names need not be text.

/// A pattern that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the pattern `{}` is not understood: {reason}", .pattern.escape_ascii())]
pub struct PatternError {
    /// As it was given.
    pub pattern: Vec<u8>,
    /// What is wrong.
    pub reason: &'static str,
}

/// A pattern that was parsed.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    /// As it was given.
    pub(super) text: Vec<u8>,
    /// What it matches is kept after all.
    pub(super) is_taken_back: bool,
    is_anchored: bool,
    is_for_folders: bool,
    parts: Vec<Part>,
}

/// Of a pattern, between two slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// `**`: any number of folders.
    Folders,
    /// One name.
    Name(Vec<Token>),
}

/// What stands for characters of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// This one.
    Symbol(u32),
    /// `?`
    Any,
    /// `*`
    Many,
    /// `[...]`: one within these, or with `true` one that is not.
    Class(bool, Vec<(u32, u32)>),
}

/// A character, or a byte that is not part of one: those are beyond all characters.
fn symbol(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let first = *bytes.first()?;
    if first.is_ascii() {
        return Some((u32::from(first), &bytes[1..]));
    }
    let chunk = bytes[..bytes.len().min(4)].utf8_chunks().next()?;
    match chunk.valid().chars().next() {
        Some(character) => Some((u32::from(character), &bytes[character.len_utf8()..])),
        None => Some((0x0011_0000 + u32::from(first), &bytes[1..])),
    }
}

impl Pattern {
    pub(super) fn parse(text: &[u8]) -> Result<Self, PatternError> {
        let refused = |reason| PatternError { pattern: text.to_vec(), reason };
        let (is_taken_back, rest) = match text.strip_prefix(b"!") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let is_anchored = rest.starts_with(b"/");
        let is_for_folders = rest.ends_with(b"/");
        let mut parts = Vec::new();
        for part in split(rest).filter(|part| !part.is_empty()) {
            let part = if part == b"**" { Part::Folders } else { Part::Name(tokens(part).map_err(refused)?) };
            // Two of them say no more than one.
            if part != Part::Folders || parts.last() != Some(&Part::Folders) {
                parts.push(part);
            }
        }
        if parts.is_empty() {
            return Err(refused("it names nothing"));
        }
        if !is_anchored && parts[0] != Part::Folders {
            parts.insert(0, Part::Folders);
        }
        Ok(Self { text: text.to_vec(), is_taken_back, is_anchored, is_for_folders, parts })
    }

    /// Whether it is about this absolute path.
    pub(super) fn matches(&self, path: &[u8], is_folder: bool) -> bool {
        if self.is_for_folders && !is_folder {
            return false;
        }
        // Most patterns are about a name alone, and most names do not match.
        if let (false, [Part::Folders, Part::Name(tokens)]) = (self.is_anchored, self.parts.as_slice()) {
            let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            return !name.is_empty() && name_matches(tokens, name);
        }
        let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
        path_matches(&self.parts, &names)
    }
}

/// At slashes that are not within a class. A class holds no slash that matters, as no name does.
fn split(pattern: &[u8]) -> impl Iterator<Item = &[u8]> {
    pattern.split(|byte| *byte == b'/')
}

fn tokens(mut rest: &[u8]) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::new();
    while let Some((first, behind)) = symbol(rest) {
        rest = behind;
        tokens.push(match char::from_u32(first) {
            Some('*') => {
                if tokens.last() == Some(&Token::Many) {
                    continue;
                }
                Token::Many
            }
            Some('?') => Token::Any,
            Some('[') => class(&mut rest)?,
            Some('\\') => Token::Symbol(next(&mut rest).ok_or("nothing follows its `\\`")?),
            _ => Token::Symbol(first),
        });
    }
    Ok(tokens)
}

fn next(rest: &mut &[u8]) -> Option<u32> {
    let (first, behind) = symbol(rest)?;
    *rest = behind;
    Some(first)
}

/// What follows a `[`.
fn class(rest: &mut &[u8]) -> Result<Token, &'static str> {
    const OPEN: &str = "a `[` has no `]`";
    let is_inverted = matches!(rest.first(), Some(b'!' | b'^'));
    if is_inverted {
        *rest = &rest[1..];
    }
    let mut ranges = Vec::new();
    loop {
        let is_end = rest.first() == Some(&b']') && !ranges.is_empty();
        let first = member(rest).ok_or(OPEN)?;
        if is_end {
            return Ok(Token::Class(is_inverted, ranges));
        }
        let is_range = rest.first() == Some(&b'-') && rest.get(1).is_some_and(|byte| *byte != b']');
        let last = if is_range {
            *rest = &rest[1..];
            member(rest).ok_or(OPEN)?
        } else {
            first
        };
        if first > last {
            return Err("a range in `[...]` runs backwards");
        }
        ranges.push((first, last));
    }
}

fn member(rest: &mut &[u8]) -> Option<u32> {
    match next(rest)? {
        0x5c => next(rest),
        other => Some(other),
    }
}

/// Without recursion: of the places that a `*` may reach to, only the last one's is ever tried again.
fn name_matches(tokens: &[Token], name: &[u8]) -> bool {
    let (mut at, mut rest) = (0, name);
    let mut again: Option<(usize, &[u8])> = None;
    loop {
        let step = match (tokens.get(at), symbol(rest)) {
            (None, None) => return true,
            (Some(Token::Many), _) => {
                again = Some((at + 1, rest));
                Some(rest)
            }
            (Some(token), Some((symbol, behind))) => token.is_about(symbol).then_some(behind),
            (None, Some(_)) | (Some(_), None) => None,
        };
        match (step, again) {
            (Some(behind), _) => (at, rest) = (at + 1, behind),
            (None, Some((after, from))) => {
                let Some((_, behind)) = symbol(from) else { return false };
                again = Some((after, behind));
                (at, rest) = (after, behind);
            }
            (None, None) => return false,
        }
    }
}

impl Token {
    fn is_about(&self, symbol: u32) -> bool {
        match self {
            Self::Symbol(own) => *own == symbol,
            Self::Any | Self::Many => true,
            Self::Class(is_inverted, ranges) => {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&symbol)) != *is_inverted
            }
        }
    }
}

/// The same with names for characters and `**` for `*`.
fn path_matches(parts: &[Part], names: &[&[u8]]) -> bool {
    let (mut at, mut name) = (0, 0);
    let mut again: Option<(usize, usize)> = None;
    loop {
        let step = match (parts.get(at), names.get(name)) {
            (None, None) => return true,
            (Some(Part::Folders), _) => {
                again = Some((at + 1, name));
                Some(name)
            }
            (Some(Part::Name(tokens)), Some(bytes)) => name_matches(tokens, bytes).then_some(name + 1),
            (None, Some(_)) | (Some(_), None) => None,
        };
        match (step, again) {
            (Some(behind), _) => (at, name) = (at + 1, behind),
            (None, Some((after, from))) if from < names.len() => {
                again = Some((after, from + 1));
                (at, name) = (after, from + 1);
            }
            (None, _) => return false,
        }
    }
}
