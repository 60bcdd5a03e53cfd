//! Changes of labels as people write them: `key=value` sets, `key-` removes.

use std::collections::BTreeMap;

use campanile_common::label::{LabelError, Labels};

/// What is to become of a node's labels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelChange(BTreeMap<String, Option<String>>);

/// Text that is no change of labels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelChangeError {
    /// Neither form.
    #[error("`{0}` is neither key=value, to set a label, nor key-, to remove one")]
    Form(String),
    /// Key or value is not well formed.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// The same key twice.
    #[error("the label `{0}` is changed twice")]
    Twice(String),
    /// Nothing at all.
    #[error("nothing to change; give key=value to set a label or key- to remove one")]
    Nothing,
}

impl LabelChange {
    /// Reads the words of a command line.
    ///
    /// # Errors
    /// When one is no change, or two are for the same label.
    pub fn parse(words: &[String]) -> Result<Self, LabelChangeError> {
        let mut changes = BTreeMap::new();
        for word in words {
            let (key, value) = read(word)?;
            if changes.insert(key.clone(), value).is_some() {
                return Err(LabelChangeError::Twice(key));
            }
        }
        if changes.is_empty() { Err(LabelChangeError::Nothing) } else { Ok(Self(changes)) }
    }

    /// As the API takes it.
    pub const fn as_patch(&self) -> &BTreeMap<String, Option<String>> {
        &self.0
    }

    /// True when `labels` are already as they would become.
    pub fn is_done(&self, labels: &Labels) -> bool {
        self.0.iter().all(|(key, value)| labels.get(key) == value.as_deref())
    }
}

fn read(word: &str) -> Result<(String, Option<String>), LabelChangeError> {
    let mut check = Labels::default();
    if let Some((key, value)) = word.split_once('=') {
        check.set(key, value)?;
        return Ok((key.to_owned(), Some(value.to_owned())));
    }
    let key = word.strip_suffix('-').ok_or_else(|| LabelChangeError::Form(word.to_owned()))?;
    // Any well-formed value serves to check the key.
    check.set(key, "x")?;
    Ok((key.to_owned(), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<LabelChange, LabelChangeError> {
        LabelChange::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn words_set_and_remove() {
        let change = parse(&["tier=gold", "old-", "a-b=c"]).unwrap();
        let expected = [("a-b", Some("c")), ("old", None), ("tier", Some("gold"))]
            .map(|(key, value)| (key.to_owned(), value.map(str::to_owned)));
        assert_eq!(change.as_patch(), &BTreeMap::from(expected));
    }

    #[test]
    fn what_is_neither_is_refused() {
        assert_eq!(parse(&["tier"]), Err(LabelChangeError::Form("tier".to_owned())));
        assert_eq!(parse(&[]), Err(LabelChangeError::Nothing));
        assert_eq!(parse(&["a=1", "a-"]), Err(LabelChangeError::Twice("a".to_owned())));
        for words in [["-"], ["=x"], ["a="], ["a=b c"], ["a--"]] {
            assert!(matches!(parse(&words), Err(LabelChangeError::Label(_))), "{words:?}");
        }
    }

    #[test]
    fn a_change_that_changes_nothing_is_seen() {
        let labels: Labels = "tier=gold".parse().unwrap();
        assert!(parse(&["tier=gold", "old-"]).unwrap().is_done(&labels));
        assert!(!parse(&["tier=tin"]).unwrap().is_done(&labels));
        assert!(!parse(&["tier-"]).unwrap().is_done(&labels));
    }
}
