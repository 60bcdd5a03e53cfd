//! Label selectors: one language for naming nodes in every verb.
//!
//! Terms joined by commas must all hold: `role=web`, `region!=us`, `role in (web,db)`, `tier notin (x,y)`,
//! `gpu` (has the label), `!gpu` (has not). Values may hold the globs `*` and `?`. The key `name` stands for the
//! node's name and `id` for its id. The empty selector selects everything.

use std::fmt;
use std::str::FromStr;

use crate::label::Labels;

/// Longest selector text, in bytes.
const SELECTOR_BYTES_MAX: usize = 4096;

/// A parsed selector.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector {
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    Has(String),
    HasNot(String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
}

/// Text that is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// A term cannot be read.
    #[error("cannot read `{term}` in the selector; write key=value, key!=value, key, !key or key in (a,b)")]
    Term {
        /// The term.
        term: String,
    },
    /// Parentheses do not match.
    #[error("a parenthesis in the selector is not closed")]
    Parenthesis,
    /// Longer than allowed.
    #[error("the selector is longer than {SELECTOR_BYTES_MAX} bytes")]
    TooLong,
}

/// What a selector is held against.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The node's id as text.
    pub id: &'a str,
    /// The node's name.
    pub name: &'a str,
    /// The node's labels.
    pub labels: &'a Labels,
}

impl Subject<'_> {
    fn value(&self, key: &str) -> Option<&str> {
        match key {
            "name" => Some(self.name),
            "id" => Some(self.id),
            _ => self.labels.get(key),
        }
    }
}

impl Selector {
    /// True when it selects every node.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// True when this surely selects no node that `wider` does not: it repeats every term of it. A false answer may be
    /// wrong, a true one is not.
    pub fn is_within(&self, wider: &Self) -> bool {
        wider.terms.iter().all(|term| self.terms.contains(term))
    }

    /// True when every term holds for the node.
    pub fn matches(&self, subject: &Subject<'_>) -> bool {
        self.terms.iter().all(|term| match term {
            Term::Has(key) => subject.value(key).is_some(),
            Term::HasNot(key) => subject.value(key).is_none(),
            Term::In(key, globs) => {
                subject.value(key).is_some_and(|value| globs.iter().any(|glob| glob_matches(glob, value)))
            }
            // As in Kubernetes, a node without the label is not one of those values.
            Term::NotIn(key, globs) => {
                !subject.value(key).is_some_and(|value| globs.iter().any(|glob| glob_matches(glob, value)))
            }
        })
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        if text.len() > SELECTOR_BYTES_MAX {
            return Err(SelectorError::TooLong);
        }
        let terms = split_terms(text)?.into_iter().map(parse_term).collect::<Result<_, _>>()?;
        Ok(Self { terms })
    }
}

/// Cuts at the commas outside parentheses.
fn split_terms(text: &str) -> Result<Vec<&str>, SelectorError> {
    let (mut terms, mut depth, mut start) = (Vec::new(), 0_u32, 0);
    for (index, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1).ok_or(SelectorError::Parenthesis)?,
            ',' if depth == 0 => {
                terms.push(text[start..index].trim());
                start = index + 1;
            }
            _ => {}
        }
    }
    if depth > 0 {
        return Err(SelectorError::Parenthesis);
    }
    terms.push(text[start..].trim());
    if terms == [""] {
        terms.clear();
    }
    Ok(terms)
}

fn parse_term(term: &str) -> Result<Term, SelectorError> {
    let error = || SelectorError::Term { term: term.to_owned() };
    let key = |text: &str| {
        let text = text.trim();
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
        if !text.is_empty() && text.chars().all(fits) { Ok(text.to_owned()) } else { Err(error()) }
    };
    let glob = |text: &str| {
        let text = text.trim();
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '*' | '?');
        if !text.is_empty() && text.chars().all(fits) { Ok(text.to_owned()) } else { Err(error()) }
    };
    let globs = |list: &str| list.split(',').map(glob).collect::<Result<Vec<_>, _>>();
    if let Some(rest) = term.strip_suffix(')') {
        let (head, list) = rest.split_once('(').ok_or_else(error)?;
        let (name, word) = head.trim_end().rsplit_once(char::is_whitespace).ok_or_else(error)?;
        return match word {
            "in" => Ok(Term::In(key(name)?, globs(list)?)),
            "notin" => Ok(Term::NotIn(key(name)?, globs(list)?)),
            _ => Err(error()),
        };
    }
    if let Some((name, value)) = term.split_once("!=") {
        return Ok(Term::NotIn(key(name)?, vec![glob(value)?]));
    }
    if let Some((name, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        return Ok(Term::In(key(name)?, vec![glob(value)?]));
    }
    match term.strip_prefix('!') {
        Some(name) => Ok(Term::HasNot(key(name)?)),
        None => Ok(Term::Has(key(term)?)),
    }
}

/// Prints in the form that parses to the same selector.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            match term {
                Term::Has(key) => f.write_str(key)?,
                Term::HasNot(key) => write!(f, "!{key}")?,
                Term::In(key, globs) if globs.len() == 1 => write!(f, "{key}={}", globs[0])?,
                Term::NotIn(key, globs) if globs.len() == 1 => write!(f, "{key}!={}", globs[0])?,
                Term::In(key, globs) => write!(f, "{key} in ({})", globs.join(","))?,
                Term::NotIn(key, globs) => write!(f, "{key} notin ({})", globs.join(","))?,
            }
        }
        Ok(())
    }
}

/// `*` stands for any text, `?` for any one character. Linear: after a mismatch only the last star moves.
pub(crate) fn glob_matches(glob: &str, text: &str) -> bool {
    let (glob, text) = (glob.as_bytes(), text.as_bytes());
    let (mut g, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if g < glob.len() && glob[g] == b'*' {
            star = Some((g, t));
            g += 1;
        } else if g < glob.len() && (glob[g] == b'?' || glob[g] == text[t]) {
            g += 1;
            t += 1;
        } else if let Some((star_g, star_t)) = star {
            star = Some((star_g, star_t + 1));
            g = star_g + 1;
            t = star_t + 1;
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn selects(selector: &str, labels: &str) -> bool {
        let labels: Labels = labels.parse().unwrap();
        let subject = Subject { id: "00ff", name: "web-1", labels: &labels };
        selector.parse::<Selector>().unwrap().matches(&subject)
    }

    #[test]
    fn every_form_selects_what_it_says() {
        for (selector, labels, expected) in [
            ("", "role=web", true),
            ("role=web", "role=web", true),
            ("role==web", "role=web", true),
            ("role=web", "role=db", false),
            ("role=w*", "role=web", true),
            ("role=*eb", "role=web", true),
            ("role=w?b", "role=web", true),
            ("role=w?", "role=web", false),
            ("region!=us", "region=eu", true),
            ("region!=us", "role=web", true),
            ("region!=us*", "region=us-east", false),
            ("gpu", "gpu=yes", true),
            ("gpu", "role=web", false),
            ("!gpu", "role=web", true),
            ("role in (web, db)", "role=db", true),
            ("role notin (web,db)", "role=db", false),
            ("role=web,region=eu", "role=web,region=eu", true),
            ("role=web,region=eu", "role=web,region=us", false),
            ("name=web-*", "role=x", true),
            ("id=00*", "role=x", true),
        ] {
            assert_eq!(selects(selector, labels), expected, "{selector} on {labels}");
        }
    }

    #[test]
    fn a_selector_is_within_one_whose_terms_it_repeats() {
        for (narrow, wide, expected) in [
            ("", "", true),
            ("role=web", "", true),
            ("", "role=web", false),
            ("zone=a,role=web", "role=web", true),
            ("role=web", "role=web,zone=a", false),
            ("role=w*", "role=web", false),
            ("role!=web", "role=web", false),
        ] {
            let (narrow, wide): (Selector, Selector) = (narrow.parse().unwrap(), wide.parse().unwrap());
            assert_eq!(narrow.is_within(&wide), expected, "{narrow} in {wide}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_term_that_is_wrong() {
        for text in ["=web", "role=", "role=web,", "a b", "role in web", "role in (a", "role)", "a=b c", "!"]
        {
            assert!(text.parse::<Selector>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_prints_parses_to_the_same(text in "[a-z!=, ()*?]{0,40}") {
            if let Ok(selector) = text.parse::<Selector>() {
                prop_assert_eq!(selector.to_string().parse::<Selector>().unwrap(), selector);
            }
        }

        #[test]
        fn matching_ends_on_any_glob(glob in "[a*?]{0,40}", text in "a{0,60}") {
            let _matched: bool = glob_matches(&glob, &text);
        }
    }
}
