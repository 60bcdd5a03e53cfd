//! What every store refuses before it looks at a transaction.

use std::collections::BTreeSet;

use super::{Compare, StateError, Transaction, Write};

/// Longest key.
pub const KEY_BYTES_MAX: usize = 512;
/// Most comparisons and most writes of one transaction: etcd's default.
pub const TRANSACTION_OPERATIONS_MAX: usize = 128;
/// Most bytes of keys and values in one transaction; etcd's default is half as much again, with its own framing.
pub const TRANSACTION_BYTES_MAX: usize = 1024 * 1024;

impl Transaction {
    /// Holds the transaction against the limits.
    pub(super) fn check(&self) -> Result<(), StateError> {
        if self.compares.len() > TRANSACTION_OPERATIONS_MAX || self.writes.len() > TRANSACTION_OPERATIONS_MAX
        {
            return invalid(format!(
                "a transaction has at most {TRANSACTION_OPERATIONS_MAX} comparisons and as many writes"
            ));
        }
        for Compare::Absent(key) | Compare::At(key, _) in &self.compares {
            check_key(key)?;
        }
        let mut bytes = 0;
        let mut written = BTreeSet::new();
        for write in &self.writes {
            let (Write::Put { key, .. } | Write::Delete { key }) = write;
            check_key(key)?;
            // The order of two writes to one key differs between stores.
            if !written.insert(key) {
                return invalid(format!("a transaction writes `{key}` twice"));
            }
            bytes += key.len();
            if let Write::Put { value, .. } = write {
                bytes += value.len();
            }
        }
        if bytes > TRANSACTION_BYTES_MAX {
            return invalid(format!("a transaction of {bytes} bytes is over {TRANSACTION_BYTES_MAX}"));
        }
        Ok(())
    }
}

fn invalid(detail: String) -> Result<(), StateError> {
    Err(StateError::Invalid { detail })
}

/// Printable ASCII keeps the order of keys the same in every store, and an upper bound of a prefix easy.
fn check_key(key: &str) -> Result<(), StateError> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        let detail = format!("a key is 1 to {KEY_BYTES_MAX} printable ASCII characters, not {key:?}");
        return invalid(detail);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, bytes: usize) -> Write {
        Write::put(key, vec![0; bytes])
    }

    fn is_refused(transaction: &Transaction) -> bool {
        matches!(transaction.check(), Err(StateError::Invalid { .. }))
    }

    #[test]
    fn what_is_outside_the_limits_is_refused() {
        for writes in [
            vec![put("", 1)],
            vec![put("with space", 1)],
            vec![put("ä", 1)],
            vec![put(&"k".repeat(KEY_BYTES_MAX + 1), 1)],
            vec![put("k", TRANSACTION_BYTES_MAX)],
            vec![put("k", 1), Write::Delete { key: "k".to_owned() }],
            (0..=TRANSACTION_OPERATIONS_MAX).map(|index| put(&index.to_string(), 1)).collect(),
        ] {
            assert!(is_refused(&Transaction { compares: Vec::new(), writes }));
        }
        let compares = vec![Compare::Absent("\n".to_owned())];
        assert!(is_refused(&Transaction { compares, writes: Vec::new() }));
    }

    #[test]
    fn what_is_just_within_the_limits_is_taken() {
        let writes = vec![put(&"k".repeat(KEY_BYTES_MAX), TRANSACTION_BYTES_MAX - KEY_BYTES_MAX)];
        assert!(Transaction { compares: Vec::new(), writes }.check().is_ok());
    }
}
