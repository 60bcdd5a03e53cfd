//! The file of a policy on its node: what the bundle says of it, as JSON for programs and people.
//!
//! Only what was said is in it: a key that is left out means what the program that reads it takes by default, as it does
//! in a bundle.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::policy::{Policy, PolicyName};
use super::read::PolicyError;
use crate::config::Backup;

/// Longest file of a policy.
pub const POLICY_BYTES_MAX: usize = 1024 * 1024;
const FORMAT: u16 = 1;

/// A file that holds no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFileError {
    /// Not what was written.
    #[error("the file of the policy is damaged: {0}; `campanile config apply` writes it anew")]
    Damaged(String),
    /// Of a newer program.
    #[error("the file of the policy has format {found}, newest known is {FORMAT}; install the newer agent")]
    TooNew {
        /// Its format.
        found: u16,
    },
    /// It is one, and says something that cannot be done.
    #[error("the policy `{name}` cannot be used: {error}")]
    Invalid {
        /// Which.
        name: PolicyName,
        /// What is wrong.
        error: PolicyError,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u16,
    name: PolicyName,
    policy: Map<String, Value>,
}

/// The text of the file.
pub fn policy_to_file(name: &PolicyName, said: &Backup) -> String {
    let object = |backup: &Backup| match serde_json::to_value(backup) {
        Ok(Value::Object(keys)) => keys,
        _ => Map::new(),
    };
    let usual = object(&Backup::default());
    let policy = object(said).into_iter().filter(|(key, value)| usual.get(key) != Some(value)).collect();
    let file = File { format: FORMAT, name: name.clone(), policy };
    let mut text = serde_json::to_string_pretty(&file).expect("keys are text");
    text.push('\n');
    text
}

/// Reads the file of the policy with this name.
///
/// # Errors
/// When it is damaged, of another policy, of a newer program, or says what cannot be done.
pub fn policy_from_file(name: &PolicyName, bytes: &[u8]) -> Result<Policy, PolicyFileError> {
    #[derive(Deserialize)]
    struct Format {
        format: u16,
    }
    let damaged = |error: serde_json::Error| PolicyFileError::Damaged(error.to_string());
    if bytes.len() > POLICY_BYTES_MAX {
        return Err(PolicyFileError::Damaged(format!("it has more than {POLICY_BYTES_MAX} bytes")));
    }
    let Format { format } = serde_json::from_slice(bytes).map_err(damaged)?;
    if format > FORMAT {
        return Err(PolicyFileError::TooNew { found: format });
    }
    let file: File = serde_json::from_slice(bytes).map_err(damaged)?;
    if file.name != *name {
        return Err(PolicyFileError::Damaged(format!("it is that of `{}`", file.name)));
    }
    let said: Backup = serde_json::from_value(Value::Object(file.policy)).map_err(damaged)?;
    Policy::read(file.name, &said).map_err(|error| PolicyFileError::Invalid { name: name.clone(), error })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said() -> Backup {
        serde_json::from_value(json!({
            "paths": ["/etc"], "schedule": "@daily", "keep": {"daily": 7, "within": "48h"}, "target": "dir:/srv/b",
            "drill": {"schedule": "@monthly"},
        }))
        .unwrap()
    }

    #[test]
    fn a_policy_is_read_as_it_was_written_and_only_what_was_said_is_in_its_file() {
        let name: PolicyName = "etc".parse().unwrap();
        let text = policy_to_file(&name, &said());
        let expected = json!({"format": 1, "name": "etc", "policy": {
            "paths": ["/etc"], "schedule": "@daily", "keep": {"daily": 7, "within": "48h"}, "target": "dir:/srv/b",
            "drill": {"schedule": "@monthly"},
        }});
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
        let read = policy_from_file(&name, text.as_bytes()).unwrap();
        assert_eq!(read, Policy::read(name, &said()).unwrap());
    }

    #[test]
    fn a_damaged_file_is_named_and_never_taken_for_a_policy() {
        let name: PolicyName = "etc".parse().unwrap();
        let text = policy_to_file(&name, &said());
        let read = |text: &str| policy_from_file(&name, text.as_bytes()).unwrap_err();
        for text in ["", "{}", &text[..text.len() / 2], &text.replace("\"paths\"", "\"path\"")] {
            assert!(matches!(read(text), PolicyFileError::Damaged(_)), "{text}");
        }
        assert!(matches!(read(&text.replace("\"etc\"", "\"home\"")), PolicyFileError::Damaged(_)));
        assert_eq!(
            read(&text.replace("\"format\": 1", "\"format\": 9")),
            PolicyFileError::TooNew { found: 9 }
        );
        let invalid = read(&text.replace("@daily", "@dayly"));
        assert!(
            matches!(invalid, PolicyFileError::Invalid { ref error, .. } if error.key == "schedule"),
            "{invalid}"
        );
    }
}
