//! Records: JSON with a format number, `{"v":1,...}`, so that a later program knows what it reads and an earlier
//! one refuses what it does not.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Revision, StateError, StateStore};

/// A stored structure and the format in which this program writes it.
pub trait Record: Serialize + DeserializeOwned {
    /// Rises when the structure changes in a way that an older program would misread.
    const FORMAT: u16 = 1;
}

#[derive(Serialize)]
struct Written<'a, T> {
    v: u16,
    #[serde(flatten)]
    body: &'a T,
}

#[derive(Deserialize)]
struct Format {
    v: u64,
}

/// The bytes of a record.
///
/// # Panics
/// When the structure is no JSON object: it then cannot be stored at all.
pub fn to_json<T: Record>(record: &T) -> Vec<u8> {
    serde_json::to_vec(&Written { v: T::FORMAT, body: record }).expect("records are JSON objects")
}

/// Reads a record's bytes; `key` names it in errors.
///
/// # Errors
/// When it is damaged or of a format that this program does not know.
pub(crate) fn from_json<T: Record>(key: &str, bytes: &[u8]) -> Result<T, StateError> {
    let unreadable =
        |error: serde_json::Error| StateError::Unreadable { key: key.to_owned(), detail: error.to_string() };
    let Format { v } = serde_json::from_slice(bytes).map_err(unreadable)?;
    if v != u64::from(T::FORMAT) {
        return Err(StateError::UnknownFormat { key: key.to_owned(), found: v, known: T::FORMAT });
    }
    serde_json::from_slice(bytes).map_err(unreadable)
}

/// Reads one record and the commit that last wrote it; none when there is none.
///
/// # Errors
/// When the store fails, or the record is damaged or of a format that this program does not know.
pub async fn read_json<T: Record>(
    store: &dyn StateStore,
    key: &str,
) -> Result<Option<(T, Revision)>, StateError> {
    let Some(entry) = store.get(key).await? else { return Ok(None) };
    Ok(Some((from_json(key, &entry.value)?, entry.revision)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        name: String,
    }

    impl Record for Sample {}

    #[test]
    fn a_record_reads_back_and_carries_its_format() {
        let sample = Sample { name: "a".to_owned() };
        let bytes = to_json(&sample);
        assert_eq!(bytes, br#"{"v":1,"name":"a"}"#);
        assert_eq!(from_json::<Sample>("k", &bytes).unwrap(), sample);
    }

    #[test]
    fn an_unknown_format_is_refused_by_name() {
        let error = from_json::<Sample>("node/1", br#"{"v":2,"renamed":"a"}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the record node/1 has format 2, newest known is 1; install the newer aggregator"
        );
    }

    #[test]
    fn damage_is_an_error_and_not_an_empty_record() {
        for bytes in [&b""[..], b"{}", b"null", br#"{"v":1}"#, br#"{"v":1,"name":"#, b"\xff"] {
            assert!(matches!(from_json::<Sample>("k", bytes), Err(StateError::Unreadable { .. })));
        }
    }
}
