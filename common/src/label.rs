//! Labels: what a node is called and grouped by. Given by tokens and operators, never by the node itself.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest label key or value, in bytes; Kubernetes' limit for a value.
pub const LABEL_BYTES_MAX: usize = 63;
/// Most labels one node may carry.
pub const LABELS_MAX: usize = 64;

/// A node's labels, in order of their keys.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Labels(BTreeMap<String, String>);

/// A label that is not well formed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// Key or value has a character outside the allowed set, or is too long.
    #[error(
        "`{text}` cannot be a label {part}: 1 to {LABEL_BYTES_MAX} of letters, digits, `-`, `_`, `.` or `/`, starting and ending with a letter or digit"
    )]
    Malformed {
        /// `key` or `value`.
        part: &'static str,
        /// What was given.
        text: String,
    },
    /// Not of the form `key=value`.
    #[error("`{text}` is not of the form key=value")]
    NoEquals {
        /// What was given.
        text: String,
    },
    /// More labels than a node may carry.
    #[error("{count} labels are more than the {LABELS_MAX} a node may carry")]
    TooMany {
        /// How many were given.
        count: usize,
    },
}

impl Labels {
    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// All pairs in order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets one label.
    ///
    /// # Errors
    /// When key or value is not well formed, or the node would carry too many.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), LabelError> {
        check("key", key)?;
        check("value", value)?;
        if !self.0.contains_key(key) && self.0.len() >= LABELS_MAX {
            return Err(LabelError::TooMany { count: self.0.len() + 1 });
        }
        self.0.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    /// Takes one label away; false when there was none.
    pub fn remove(&mut self, key: &str) -> bool {
        self.0.remove(key).is_some()
    }
}

impl TryFrom<BTreeMap<String, String>> for Labels {
    type Error = LabelError;

    fn try_from(map: BTreeMap<String, String>) -> Result<Self, LabelError> {
        let mut labels = Self::default();
        for (key, value) in &map {
            labels.set(key, value)?;
        }
        Ok(labels)
    }
}

impl From<Labels> for BTreeMap<String, String> {
    fn from(labels: Labels) -> Self {
        labels.0
    }
}

/// `a=1,b=2`, in order of keys.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.iter().enumerate() {
            write!(f, "{}{key}={value}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// Reads `a=1,b=2`; the empty text is no labels.
impl FromStr for Labels {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let mut labels = Self::default();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| LabelError::NoEquals { text: pair.to_owned() })?;
            labels.set(key.trim(), value.trim())?;
        }
        Ok(labels)
    }
}

fn check(part: &'static str, text: &str) -> Result<(), LabelError> {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    let well_formed = text.len() <= LABEL_BYTES_MAX
        && text.chars().all(inner)
        && edge(text.chars().next())
        && edge(text.chars().next_back());
    if well_formed { Ok(()) } else { Err(LabelError::Malformed { part, text: text.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_print_in_order_and_parse_back() {
        let labels: Labels = "zone=b, role=web".parse().unwrap();
        assert_eq!(labels.to_string(), "role=web,zone=b");
        assert_eq!(labels.to_string().parse::<Labels>().unwrap(), labels);
    }

    #[test]
    fn odd_characters_are_refused() {
        for text in ["role", "=x", "role=", "ro le=x", "role=a*", "-a=b"] {
            assert!(text.parse::<Labels>().is_err(), "{text}");
        }
    }
}
