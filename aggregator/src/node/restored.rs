//! What a roster of the past means for keys that were certified since.
//!
//! Agents renew their certificates, with new keys, several times a day. An aggregator that was restored from a backup knows
//! the keys of then, and would turn away every node that renewed since. So it takes a key that its own CA certified for
//! that node between the backup and the restore, when the certificate ends later than the one it knows: each node goes
//! forward only, and a certificate of any other time opens nothing that the roster does not have.

use campanile_common::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::state::{Keys, Record, StateError, Store, Write, read_json, to_json};

/// The time that a restored aggregator has no memory of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    /// When the backup was made.
    pub from: Timestamp,
    /// When it was restored.
    pub until: Timestamp,
}

impl Record for Restored {}

/// When the certificate of a peer was issued, and when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// When the CA made it.
    pub issued: Timestamp,
    /// Its last second.
    pub ends: Timestamp,
}

impl Restored {
    /// The write that keeps it; one commit with the audit entry of the restore.
    pub fn write(self, keys: &Keys) -> Write {
        Write::put(key(keys), to_json(&self))
    }

    pub(super) async fn read(store: &Store, keys: &Keys) -> Result<Option<Self>, StateError> {
        Ok(read_json::<Self>(&**store, &key(keys)).await?.map(|(restored, _)| restored))
    }

    /// Whether a key that the roster does not have counts, where the one that it has ends at `known`.
    pub(super) fn vouches_for(self, certificate: Validity, known: Timestamp) -> bool {
        // Certificates tell whole seconds.
        let (from, until) = (self.from.as_secs(), self.until.as_secs());
        (from..=until).contains(&certificate.issued.as_secs()) && certificate.ends.as_secs() > known.as_secs()
    }
}

fn key(keys: &Keys) -> String {
    keys.of("restored", "latest")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_millis(second * 1000)
    }

    #[test]
    fn a_certificate_of_the_lost_time_counts_when_it_ends_later_than_the_known_one() {
        let restored = Restored { from: at(1000), until: at(2000) };
        let certificate = |issued| Validity { issued: at(issued), ends: at(issued + 500) };
        assert!(restored.vouches_for(certificate(1000), at(1400)));
        assert!(restored.vouches_for(certificate(2000), at(1400)));
        assert!(!restored.vouches_for(certificate(999), at(1400)), "before: the roster tells");
        assert!(!restored.vouches_for(certificate(2001), at(1400)), "after: the roster tells");
        assert!(!restored.vouches_for(certificate(1500), at(2000)), "not later than the known one");
        assert!(!restored.vouches_for(certificate(1500), at(2100)), "older than the known one");
    }
}
