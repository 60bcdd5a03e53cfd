//! What a second place lacks, and what it may let go of. Pure: two accounts in, a list of work out.
//!
//! A second place never loses what the first one lost: it lets go only of what lies in the trash of the first, and of
//! nothing at all while it has a snapshot that the first does not know. What it lets go of stays in its own trash.

use std::collections::BTreeSet;
use std::time::Duration;

use campanile_common::backup::{StoredKind, StoredObject};
use campanile_common::time::Timestamp;

use crate::backup::account::Account;

/// What is to be done for a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Work {
    /// To be copied to the second place, in this order: a snapshot comes after what it needs.
    pub(super) copy: Vec<StoredObject>,
    /// Bytes of that.
    pub(super) copy_bytes: u64,
    /// Damaged in the first place and whole in the second: to be copied back.
    pub(super) heal: Vec<StoredObject>,
    /// To be let go of in the second place, to be brought back until then.
    pub(super) let_go: Vec<(StoredObject, Timestamp)>,
    /// Snapshots that the second place has and the first does not know any more, in no trash either.
    pub(super) lost: Vec<StoredObject>,
}

/// Compares what a node has in the first place with what it has in the second. What goes stays in the second place's trash
/// for `keep`.
pub(super) fn compare(first: &Account, second: &Account, keep: Duration, now: Timestamp) -> Work {
    let is_whole = |account: &Account, object: &StoredObject| {
        account.objects.contains_key(object) && !account.findings.contains_key(object)
    };
    let lacking = first
        .objects
        .iter()
        .filter(|(object, _)| !first.findings.contains_key(object) && !is_whole(second, object));
    let mut copy: Vec<_> =
        lacking.map(|(object, receipt)| (order(object.kind), receipt.received, *object)).collect();
    copy.sort_unstable();
    let size = |object: &StoredObject| first.objects.get(object).map_or(0, |receipt| receipt.size);
    let copy: Vec<StoredObject> = copy.into_iter().map(|(_, _, object)| object).collect();
    let copy_bytes = copy.iter().map(size).sum();
    let heal = first.findings.keys().filter(|object| is_whole(second, object)).copied().collect();
    let is_known =
        |object: &StoredObject| first.objects.contains_key(object) || first.trash.contains_key(object);
    let snapshots = second.of_kind(StoredKind::Snapshot, None);
    let snapshots = snapshots.map(|(id, _)| StoredObject::new(StoredKind::Snapshot, id));
    let lost: Vec<StoredObject> = snapshots.filter(|snapshot| !is_known(snapshot)).collect();
    let let_go = if lost.is_empty() {
        let going: BTreeSet<StoredObject> = first.trash.keys().copied().collect();
        let until = now + keep;
        going
            .into_iter()
            .filter(|object| second.objects.contains_key(object))
            .map(|object| (object, until))
            .collect()
    } else {
        Vec::new()
    };
    Work { copy, copy_bytes, heal, let_go, lost }
}

/// What opens the repository, what blobs lie in, where they lie, then who needs them.
const fn order(kind: StoredKind) -> u8 {
    match kind {
        StoredKind::Config => 0,
        StoredKind::Key => 1,
        StoredKind::Pack => 2,
        StoredKind::Index => 3,
        StoredKind::Snapshot => 4,
    }
}

#[cfg(test)]
mod tests {
    use campanile_common::backup::StoredKind::{Config, Index, Key, Pack, Snapshot};
    use campanile_common::id::Digest;

    use super::*;
    use crate::backup::record::{Flaw, Record};

    const KEEP: Duration = Duration::from_secs(100);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn object(kind: StoredKind, number: u8) -> StoredObject {
        StoredObject::new(kind, Digest::from_bytes([number; 32]))
    }

    fn stored(object: StoredObject, seconds: u64) -> Record {
        Record::Stored { object, size: 10, at: at(seconds), bound: None }
    }

    fn compared(first: &[Record], second: &[Record]) -> Work {
        compare(&Account::replay(first), &Account::replay(second), KEEP, at(1000))
    }

    #[test]
    fn what_is_lacking_is_copied_and_a_snapshot_last() {
        let (late, early) = (object(Snapshot, 1), object(Snapshot, 9));
        let objects = [late, object(Index, 1), object(Pack, 2), object(Key, 1), object(Config, 0), early];
        let first: Vec<Record> =
            objects.iter().zip([9, 3, 2, 1, 1, 4]).map(|(object, at)| stored(*object, at)).collect();
        let work = compared(&first, &[stored(object(Key, 1), 1)]);
        assert_eq!(work.copy, [object(Config, 0), object(Pack, 2), object(Index, 1), early, late]);
        assert_eq!(work.copy_bytes, 50);
        assert_eq!(compared(&first, &first), Work::default());
    }

    #[test]
    fn what_is_damaged_in_one_place_comes_from_the_other() {
        let (one, other) = (object(Pack, 1), object(Pack, 2));
        let both = [stored(one, 1), stored(other, 1)];
        let found = |object| Record::Found { object, at: at(5), flaw: Flaw::Damaged };
        let first = [&both[..], &[found(one)]].concat();
        let second = [&both[..], &[found(other)]].concat();
        let work = compared(&first, &second);
        assert_eq!((work.copy, work.heal), (vec![other], vec![one]));
        let work = compared(&first, &[&both[..], &[found(one)]].concat());
        assert_eq!((work.copy, work.heal), (vec![], vec![]), "damaged in both: nothing to copy from");
    }

    #[test]
    fn only_what_the_first_place_let_go_of_goes_and_nothing_while_it_lacks_a_snapshot() {
        let (pack, snapshot, index) = (object(Pack, 1), object(Snapshot, 1), object(Index, 1));
        let both = [stored(pack, 1), stored(snapshot, 2), stored(index, 2)];
        let trashed = |object| Record::Trashed { object, at: at(50), until: at(90) };
        let first = [&both[..], &[trashed(snapshot), trashed(pack)]].concat();
        let work = compared(&first, &both);
        assert_eq!(work.let_go, [(snapshot, at(1100)), (pack, at(1100))]);
        // Emptied, set back or made anew: the second place keeps everything.
        let work = compared(&[stored(index, 2)], &both);
        assert_eq!((work.let_go, work.lost), (vec![], vec![snapshot]));
        let work = compared(&[stored(index, 2), stored(pack, 1), trashed(pack)], &both);
        assert_eq!((work.let_go, work.lost), (vec![], vec![snapshot]));
    }
}
