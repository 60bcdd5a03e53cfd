//! Lines of a node's receipt journal.

use campanile_common::backup::{PolicyName, StoredObject};
use campanile_common::id::Digest;
use campanile_common::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Why something waits for a person. Names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Suspicion {
    /// A proposal names the newest snapshot, or all.
    Newest,
    /// More snapshots were to go within a day than this node usually lets go.
    ManySnapshots,
    /// Hardly any index would be left.
    Indexes,
    /// The newest snapshots hold far less than those before.
    SizeFall,
    /// A snapshot brought far more new bytes than those before.
    Growth,
    /// Nearly all bytes of a snapshot are new, as when everything was encrypted.
    NewShare,
    /// More objects in an hour than are taken.
    Flood,
    /// Bytes came under a name that is not theirs.
    WrongHash,
    /// Something that is stored is damaged or gone.
    Damage,
}

impl Suspicion {
    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::ManySnapshots => "many-snapshots",
            Self::Indexes => "indexes",
            Self::SizeFall => "size-fall",
            Self::Growth => "growth",
            Self::NewShare => "new-share",
            Self::Flood => "flood",
            Self::WrongHash => "wrong-hash",
            Self::Damage => "damage",
        }
    }
}

/// What a receipt of some kinds holds beside size and time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The hash of `config`, which its name does not tell.
    Content(Digest),
    /// What a snapshot needs.
    Closure(Closure),
}

/// The packs that a snapshot needs, as the node said when it appended it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closure {
    /// How many.
    pub packs: u64,
    /// Their bytes together.
    pub bytes: u64,
    /// Of those, bytes that came after the snapshot before.
    pub new_bytes: u64,
    /// The hash of the list.
    pub digest: Digest,
    /// The policy that made the snapshot, by the node's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyName>,
}

/// How a person settled what waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Settlement {
    /// It was as it should be.
    Released,
    /// The proposal was dropped.
    Refused,
}

/// What is wrong with a stored object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flaw {
    /// Its file is gone.
    Missing,
    /// Its bytes are not those that it was named for.
    Damaged,
    /// It cannot be read.
    Unreadable,
}

impl Flaw {
    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Damaged => "damaged",
            Self::Unreadable => "unreadable",
        }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "kebab-case")]
pub(super) enum Record {
    /// An object was received and is durable.
    Stored {
        object: StoredObject,
        size: u64,
        at: Timestamp,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bound: Option<Bound>,
    },
    /// It was let go, and can be brought back for a while.
    Trashed { object: StoredObject, at: Timestamp, until: Timestamp },
    /// It was brought back.
    Restored { object: StoredObject },
    /// Its time in the trash was over.
    Gone { object: StoredObject },
    /// Something waits for a person; deletions wait with it.
    Held {
        id: u64,
        at: Timestamp,
        reasons: Vec<Suspicion>,
        detail: String,
        /// Objects of the proposal; 0 where nothing was proposed.
        proposed: u64,
    },
    /// A person settled it.
    Settled { id: u64, at: Timestamp, settlement: Settlement },
    /// Objects behind `after` up to `last` were read back and are what they were named for, or have a finding.
    Verified { after: Option<StoredObject>, last: StoredObject, at: Timestamp },
    /// Everything was read back once.
    CycleEnded { at: Timestamp },
    /// An object is not what it should be.
    Found { object: StoredObject, at: Timestamp, flaw: Flaw },
    /// It is again.
    Healed { object: StoredObject },
    /// Everything before this line was synced before it was written.
    Synced,
}

impl Record {
    /// With its checksum, as a line.
    pub(super) fn to_line(&self) -> Vec<u8> {
        let json = serde_json::to_vec(self).expect("records are JSON objects");
        let mut line = format!("{:08x} ", crc32fast::hash(&json)).into_bytes();
        line.extend_from_slice(&json);
        line.push(b'\n');
        line
    }

    /// Reads a line without its end; none when it is damaged.
    pub(super) fn from_line(line: &[u8]) -> Option<Self> {
        let (checksum, json) = line.split_at_checked(9)?;
        let checksum = std::str::from_utf8(checksum.strip_suffix(b" ")?).ok()?;
        let checksum = u32::from_str_radix(checksum, 16).ok()?;
        if checksum != crc32fast::hash(json) {
            return None;
        }
        serde_json::from_slice(json).ok()
    }
}

#[cfg(test)]
mod tests {
    use campanile_common::backup::StoredKind;

    use super::*;

    #[test]
    fn a_line_reads_back_and_every_changed_byte_is_found() {
        let object = StoredObject::new(StoredKind::Pack, Digest::from_bytes([7; 32]));
        let record = Record::Stored { object, size: 5, at: Timestamp::from_millis(1), bound: None };
        let line = record.to_line();
        let line = line.strip_suffix(b"\n").unwrap();
        assert_eq!(Record::from_line(line), Some(record));
        for place in 0..line.len() {
            let mut changed = line.to_vec();
            changed[place] ^= 1;
            assert_eq!(Record::from_line(&changed), None, "byte {place}");
        }
        assert_eq!(Record::from_line(b""), None);
    }
}
