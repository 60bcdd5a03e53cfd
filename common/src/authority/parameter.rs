//! Typed parameters of the catalogue's commands, and the templates that their values go into.

use serde::{Deserialize, Serialize};

use super::action::is_unit_name;

/// Longest value of a parameter, in bytes.
const VALUE_BYTES_MAX: usize = 1024;

/// What values a parameter takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum ParameterKind {
    /// A whole number from `min` to `max`.
    Integer {
        /// Least.
        min: i64,
        /// Greatest.
        max: i64,
    },
    /// One of these.
    Choice(Vec<String>),
    /// Letters, digits and `._-@:`, not beginning with `-`, at most 128.
    Name,
    /// An absolute path without `..`, beneath this folder.
    Path {
        /// The folder.
        beneath: String,
    },
    /// The name of a unit.
    Unit,
}

/// A parameter of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// Its values.
    pub kind: ParameterKind,
    /// Taken when none is given; without it the parameter must be given.
    #[serde(default)]
    pub default: Option<String>,
    /// For people.
    #[serde(default)]
    pub description: String,
}

impl ParameterKind {
    /// What its values are, for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Self::Choice(values) => format!("one of {}", values.join(", ")),
            Self::Name => "a name of letters, digits and ._-@:".to_owned(),
            Self::Path { beneath } => format!("a path beneath {beneath}"),
            Self::Unit => "the name of a unit, e.g. nginx.service".to_owned(),
        }
    }

    pub(super) fn accepts(&self, value: &str) -> bool {
        if value.len() > VALUE_BYTES_MAX || value.contains(char::is_control) {
            return false;
        }
        match self {
            Self::Integer { min, max } => {
                let number: Option<i64> = value.parse().ok();
                // One number has one spelling.
                number.is_some_and(|number| (min..=max).contains(&&number) && number.to_string() == value)
            }
            Self::Choice(values) => values.iter().any(|known| known == value),
            Self::Name => {
                let allowed = |c: char| c.is_ascii_alphanumeric() || "._-@:".contains(c);
                !value.is_empty()
                    && value.len() <= 128
                    && !value.starts_with('-')
                    && value.chars().all(allowed)
            }
            Self::Path { beneath } => {
                let inside = value.strip_prefix(beneath.trim_end_matches('/'));
                inside.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                    && value.starts_with('/')
                    && !value.split('/').any(|part| part == ".." || part == ".")
            }
            Self::Unit => is_unit_name(value),
        }
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Integer { min, max } if min > max => Err("its least value is above its greatest"),
            Self::Choice(values) if values.is_empty() => Err("it has no values to choose from"),
            Self::Path { beneath } if !beneath.starts_with('/') => Err("its folder is not absolute"),
            _ => Ok(()),
        }
    }
}

/// A part of a template.
pub(super) enum Piece<'a> {
    Text(&'a str),
    Parameter(&'a str),
}

/// Cuts a template at its `{name}`s; none when a brace is left open.
pub(super) fn split(word: &str) -> Option<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}')?;
        pieces.extend([Piece::Text(before), Piece::Parameter(name)]);
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    Some(pieces)
}
