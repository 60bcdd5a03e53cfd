//! A year in the hands of a thief who has all of a node's credentials, by an invented clock.

use std::collections::BTreeMap;

use super::*;

/// Days before the theft, with a snapshot each.
const HONEST: u64 = 90;
const YEAR: u64 = 365;
/// What a thief tries in turn.
const ATTACKS: u64 = 8;

/// A node that was backed up once a day: a large pack that all snapshots need, and one of each day.
struct Node {
    vault: Arc<Vault>,
    base: StoredObject,
    honest: Vec<(Digest, StoredObject)>,
}

fn content(number: u64) -> Vec<u8> {
    format!("{number:04}").repeat(64).into_bytes()
}

fn honest(folder: &Path) -> Node {
    let vault = open(folder, day(0));
    let base = put(&vault, StoredKind::Pack, &b"base".repeat(4096), day(0));
    let mut honest = Vec::new();
    for number in 0..HONEST {
        let pack = put(&vault, StoredKind::Pack, &content(number), day(number));
        let snapshot =
            append(&vault, format!("honest {number}").as_bytes(), &[base, pack], day(number)).unwrap();
        put(&vault, StoredKind::Index, format!("index {number}").as_bytes(), day(number));
        honest.push((snapshot, pack));
    }
    Node { vault, base, honest }
}

impl Node {
    /// Honest snapshots that cannot be restored: neither in their place nor in the trash, or with a pack that is not.
    fn lost(&self) -> Vec<Digest> {
        let is_there = |object: StoredObject| {
            let held = self
                .vault
                .with(|account| account.objects.contains_key(&object) || account.trash.contains_key(&object));
            let root = self.vault.root.join(layout_of(object));
            let trash = self.vault.root.join(crate::backup::layout::trash(object));
            held && (root.exists() || trash.exists())
        };
        let is_lost = |(snapshot, pack): &&(Digest, StoredObject)| {
            let snapshot = StoredObject::new(StoredKind::Snapshot, *snapshot);
            !(is_there(snapshot) && is_there(*pack) && is_there(self.base))
        };
        self.honest.iter().filter(is_lost).map(|(snapshot, _)| *snapshot).collect()
    }

    fn has_alarm(&self) -> bool {
        self.vault.with(|account| !account.open_reasons().is_empty())
    }

    fn propose(&self, proposal: &Proposal, now: Timestamp) {
        drop(self.vault.propose(proposal, &rules(), now).unwrap());
    }

    fn all(&self) -> Proposal {
        self.vault.with(|account| {
            let ids = |kind| account.of_kind(kind, None).map(|(id, _)| id).collect();
            Proposal {
                snapshots: ids(StoredKind::Snapshot),
                indexes: ids(StoredKind::Index),
                packs: ids(StoredKind::Pack),
            }
        })
    }
}

/// What a thief tries, one a day in turn.
fn attack(node: &Node, kind: u64, now: Timestamp) {
    let vault = &node.vault;
    let oldest = node.honest[usize::try_from(kind).unwrap() % node.honest.len()];
    match kind % ATTACKS {
        0 => node.propose(&node.all(), now),
        1 => node.propose(&Proposal { snapshots: vec![oldest.0], ..Proposal::default() }, now),
        2 => {
            let packs = ids(&[node.base, oldest.1]);
            node.propose(&Proposal { packs, ..Proposal::default() }, now);
        }
        3 => {
            let indexes = node.all().indexes;
            node.propose(&Proposal { indexes, ..Proposal::default() }, now);
        }
        4 => {
            // Overwrites, under the object's own name and as another kind.
            drop(put_as(vault, node.base, b"overwritten", now));
            drop(put_as(vault, StoredObject::CONFIG, b"overwritten", now));
            let wrong = named(StoredKind::Pack, &now.as_millis().to_le_bytes());
            drop(put_as(vault, wrong, b"overwritten", now));
        }
        5 => {
            // A flood of snapshots that need nothing, to push the others out of the rules.
            for number in 0..5 {
                let later = now + Duration::from_secs(number);
                drop(append(vault, format!("{} {number}", now.as_millis()).as_bytes(), &[], later));
            }
        }
        6 => {
            let begun = begin(vault, named(StoredKind::Pack, b"cut"), 1000, None, now);
            if let Ok(begun) = begun {
                drop(take(begun, &[b"cut"], now));
            }
        }
        _ => {
            let snapshots: Vec<Digest> = node.honest.iter().take(15).map(|(snapshot, _)| *snapshot).collect();
            for snapshot in snapshots {
                node.propose(&Proposal { snapshots: vec![snapshot], ..Proposal::default() }, now);
            }
        }
    }
}

/// In memory where there is such a file system: a year has many syncs.
fn memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn try_everything(first: u64, days: u64) {
    let folder = memory();
    let mut node = honest(folder.path());
    for number in 0..days {
        let now = day(HONEST + number);
        attack(&node, first + number, now);
        drop(node.vault.expire(now).unwrap());
        assert_eq!(node.lost(), Vec::<Digest>::new(), "day {number}, first attack {first}");
        assert!(number < 8 || node.has_alarm(), "no alarm by day {number}, first attack {first}");
        if number % 97 == 5 {
            // The aggregator restarts now and then.
            node.vault = open(folder.path(), now);
        }
    }
    let alarms: Vec<&str> =
        node.vault.with(|account| account.open_reasons().into_iter().map(|reason| reason.as_str()).collect());
    eprintln!(
        "red team: {days} days with all credentials of a node ({ATTACKS} kinds of attack: proposals of all, the oldest, \
         packs, indexes and one by one; overwrites, floods, uploads cut short): 0 of {HONEST} snapshots lost; alarms: {}",
        alarms.join(", ")
    );
    // And a person can bring everything back.
    drop(node.vault.undelete(None).unwrap());
    let stored = node.vault.with(|account| account.history());
    for (snapshot, _) in &node.honest {
        assert!(stored.iter().any(|facts| facts.id == *snapshot));
    }
}

#[test]
fn a_thief_who_tries_everything_loses_nothing_in_a_year_and_is_told_of() {
    try_everything(1, YEAR);
}

#[test]
fn whatever_a_thief_tries_first_nothing_is_lost() {
    for first in 0..ATTACKS {
        try_everything(first, 40);
    }
}

#[test]
fn a_thief_who_does_only_what_is_usual_ages_nothing_out_before_the_policy_does() {
    let folder = memory();
    let node = honest(folder.path());
    let mut let_go: BTreeMap<Digest, Timestamp> = BTreeMap::new();
    let received: BTreeMap<Digest, Timestamp> =
        node.vault.with(|account| account.history().iter().map(|facts| (facts.id, facts.received)).collect());
    for number in 0..YEAR {
        let now = day(HONEST + number);
        // One snapshot a day, as large as the others, of worthless bytes; and a proposal of all that may go.
        let pack = put(&node.vault, StoredKind::Pack, &content(HONEST + number), now);
        append(&node.vault, format!("false {number}").as_bytes(), &[node.base, pack], now).unwrap();
        let honest = node.honest.iter().map(|(snapshot, _)| *snapshot);
        let mut snapshots: Vec<Digest> = honest.take(5).filter(|id| !let_go.contains_key(id)).collect();
        if number % 2 == 0 {
            let rest = node.honest.iter().map(|(snapshot, _)| *snapshot);
            snapshots = rest.filter(|id| !let_go.contains_key(id)).take(4).collect();
        }
        snapshots.sort_unstable();
        node.propose(&Proposal { snapshots, packs: Vec::new(), indexes: Vec::new() }, now);
        let gone =
            node.vault.with(|account| account.trash.keys().map(|object| object.id).collect::<Vec<_>>());
        for id in gone {
            let_go.entry(id).or_insert(now);
        }
        drop(node.vault.expire(now).unwrap());
        for lost in node.lost() {
            // Gone for good: the floor twice, once from the receipt and once in the trash.
            let floor = Duration::from_millis(rules().floor_ms());
            assert!(let_go[&lost] >= received[&lost] + floor && now >= let_go[&lost] + floor);
        }
    }
    // Day 88 is the last of its month, and twelve months are kept: it goes when the policy lets it go, and no sooner.
    let last = node.honest[88].0;
    assert!(let_go.get(&last).is_none_or(|at| *at >= day(HONEST + 330)), "{:?}", let_go.get(&last));
    assert!(let_go.len() > 60, "the usual was let go as it should be: {}", let_go.len());
    assert!(!node.has_alarm());
}
