//! What is let go, and what a person has to look at first.

use super::super::record::{Bound, Closure, Record, Settlement};
use super::*;

const DAY_MS: u64 = 86_400_000;
/// Some day long after the epoch.
const START: u64 = 20_000;

fn day(number: u64) -> Timestamp {
    Timestamp::from_millis((START + number) * DAY_MS + 3_600_000)
}

fn id(number: u64) -> Digest {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    Digest::from_bytes(bytes)
}

fn rules() -> Rules {
    Rules::usual(Retention { keep_last: 3, weekly: 4, monthly: 6, ..Retention::default() })
}

fn snapshot(number: u64, at: Timestamp, bytes: u64, new_bytes: u64) -> Record {
    let closure = Closure { packs: 1, bytes, new_bytes, digest: id(0), policy: None };
    let object = StoredObject::new(StoredKind::Snapshot, id(number));
    Record::Stored { object, size: 300, at, bound: Some(Bound::Closure(closure)) }
}

fn plain(kind: StoredKind, number: u64, size: u64, at: Timestamp) -> Record {
    Record::Stored { object: StoredObject::new(kind, id(number)), size, at, bound: None }
}

/// A snapshot a day from day 0 on.
fn daily(days: u64) -> Account {
    Account::replay(
        &(0..days).map(|number| snapshot(number, day(number), 1 << 30, 1 << 20)).collect::<Vec<_>>(),
    )
}

fn propose(snapshots: impl IntoIterator<Item = u64>) -> Proposal {
    Proposal { snapshots: snapshots.into_iter().map(id).collect(), ..Proposal::default() }
}

fn decided(proposal: &Proposal, account: &Account, now: Timestamp) -> Decision {
    let staying = staying(proposal, account, &rules(), now);
    decide(proposal, account, &staying, &BTreeSet::new(), now, false)
}

#[test]
fn a_snapshot_goes_when_the_rules_and_the_floor_let_it_go() {
    let account = daily(100);
    let decision = decided(&propose([1, 2]), &account, day(100));
    assert!(decision.hold.is_empty());
    assert_eq!(decision.delete.len(), 2);
}

#[test]
fn what_the_rules_keep_or_the_floor_covers_stays() {
    let account = daily(100);
    // 75 to 92 are of the last weeks, and not the newest of theirs; within the floor.
    let decision = decided(&propose([75, 76, 95]), &account, day(100));
    assert!(decision.delete.is_empty(), "{decision:?}");
    let reasons: Vec<StayReason> = decision.stay.iter().map(|(_, reason)| *reason).collect();
    assert!(reasons.contains(&StayReason::Floor) && reasons.contains(&StayReason::Kept), "{reasons:?}");
}

#[test]
fn the_newest_stays_and_to_name_it_holds_everything() {
    let account = daily(100);
    let decision = decided(&propose([1, 99]), &account, day(100));
    assert_eq!(decision.hold, [Suspicion::Newest]);
    assert_eq!(decision.stay[0].1, StayReason::Newest);
}

#[test]
fn all_at_once_is_held() {
    let account = daily(100);
    let decision = decided(&propose(0..100), &account, day(100));
    assert!(decision.hold.contains(&Suspicion::Newest) && decision.hold.contains(&Suspicion::ManySnapshots));
}

#[test]
fn many_small_proposals_of_one_day_count_together() {
    let mut account = daily(100);
    let now = day(100);
    let mut gone = 0;
    for number in 0..60 {
        let decision = decided(&propose([number]), &account, now);
        if !decision.hold.is_empty() {
            assert_eq!(decision.hold, [Suspicion::ManySnapshots]);
            break;
        }
        for object in decision.delete {
            gone += 1;
            account.apply(&Record::Trashed { object, at: now, until: day(130) });
        }
    }
    assert_eq!(gone, SNAPSHOTS_A_DAY_MIN);
}

#[test]
fn times_that_a_node_invents_count_for_nothing() {
    // A flood of snapshots of one day: by receipt they are of one day, and push nothing older out of its slot.
    let mut account = daily(40);
    for number in 0..500 {
        account.apply(&snapshot(1000 + number, day(40) + Duration::from_secs(number), 1 << 30, 0));
    }
    let kept_before =
        rules().keep_of(None).keeps(&daily(40).history().iter().map(|s| s.received).collect::<Vec<_>>());
    let proposal = propose(0..40);
    let stays = staying(&proposal, &account, &rules(), day(41));
    // One more day is there, so one slot of the days, a week or a month may move on; nothing else does.
    let lost = (0..40).filter(|number| {
        let was_kept = kept_before[usize::try_from(*number).unwrap()];
        was_kept && !stays.contains_key(&id(*number))
    });
    assert_eq!(lost.count(), 0, "within the floor nothing goes");
}

#[test]
fn a_pack_that_a_staying_snapshot_needs_stays() {
    let mut account = daily(100);
    account.apply(&plain(StoredKind::Pack, 7, 10, day(1)));
    account.apply(&plain(StoredKind::Pack, 8, 10, day(1)));
    let proposal = Proposal { packs: vec![id(7), id(8), id(9)], ..Proposal::default() };
    let needed = BTreeSet::from([id(7)]);
    let decision = decide(&proposal, &account, &BTreeMap::new(), &needed, day(100), false);
    assert_eq!(decision.delete, [StoredObject::new(StoredKind::Pack, id(8))]);
    assert_eq!(decision.stay, [(StoredObject::new(StoredKind::Pack, id(7)), StayReason::Needed)]);
}

#[test]
fn an_index_goes_behind_its_successor_and_never_nearly_all_of_them() {
    let mut account = daily(10);
    for number in 0..4 {
        account.apply(&plain(StoredKind::Index, number, 1000, day(number)));
    }
    let all = Proposal { indexes: (0..4).map(id).collect(), ..Proposal::default() };
    let decision = decided(&all, &account, day(50));
    assert_eq!(decision.stay, [(StoredObject::new(StoredKind::Index, id(3)), StayReason::Newest)]);
    assert!(decision.hold.is_empty(), "a quarter stays");
    account.apply(&plain(StoredKind::Index, 4, 10, day(5)));
    let all = Proposal { indexes: (0..5).map(id).collect(), ..Proposal::default() };
    assert_eq!(decided(&all, &account, day(50)).hold, [Suspicion::Indexes]);
}

#[test]
fn what_waits_makes_everything_wait_until_a_person_has_looked() {
    let mut account = daily(100);
    let held = Record::Held {
        id: 0,
        at: day(100),
        reasons: vec![Suspicion::WrongHash],
        detail: String::new(),
        proposed: 0,
    };
    account.apply(&held);
    assert_eq!(decided(&propose([1]), &account, day(100)).hold, [Suspicion::WrongHash]);
    account.apply(&Record::Settled { id: 0, at: day(100), settlement: Settlement::Refused });
    assert!(decided(&propose([1]), &account, day(100)).hold.is_empty());
}

#[test]
fn a_fall_a_jump_and_everything_new_are_seen() {
    let gib = 1 << 30;
    let usual: Vec<SnapshotFacts> = (0..20)
        .map(|number| SnapshotFacts {
            id: id(number),
            received: day(number),
            bytes: 10 * gib,
            new_bytes: gib / 10,
            policy: None,
        })
        .collect();
    let with = |bytes, new_bytes| {
        let mut history = usual.clone();
        history.push(SnapshotFacts { id: id(99), received: day(99), bytes, new_bytes, policy: None });
        history
    };
    assert!(unusual_snapshot(&usual, None).is_empty());
    assert!(unusual_snapshot(&with(6 * gib, gib / 5), None).is_empty());
    assert_eq!(unusual_snapshot(&with(4 * gib, 0), None), [Suspicion::SizeFall]);
    assert_eq!(unusual_snapshot(&with(12 * gib, 2 * gib), None), [Suspicion::Growth]);
    assert_eq!(unusual_snapshot(&with(10 * gib, 10 * gib), None), [Suspicion::Growth, Suspicion::NewShare]);
    assert!(unusual_snapshot(&with(4 * gib, 0), Some(day(99))).is_empty(), "a person has looked");
    assert!(unusual_snapshot(&usual[..2], None).is_empty(), "too few to compare with");
}

#[test]
fn after_a_person_has_looked_the_new_size_is_the_usual_one() {
    let facts = |number, bytes| SnapshotFacts {
        id: id(number),
        received: day(number),
        bytes,
        new_bytes: 0,
        policy: None,
    };
    let mut history: Vec<SnapshotFacts> = (0..10).map(|number| facts(number, 1000)).collect();
    history.push(facts(10, 100));
    assert_eq!(unusual_snapshot(&history, None), [Suspicion::SizeFall]);
    history.push(facts(11, 100));
    assert!(unusual_snapshot(&history, Some(day(10))).is_empty());
    history.extend([facts(12, 100), facts(13, 10)]);
    assert_eq!(unusual_snapshot(&history, Some(day(10))), [Suspicion::SizeFall]);
}

fn of_policy(number: u64, at: Timestamp, policy: Option<&str>) -> Record {
    let policy = policy.map(|name| name.parse().unwrap());
    let closure = Closure { packs: 1, bytes: 1 << 20, new_bytes: 1 << 10, digest: id(0), policy };
    let object = StoredObject::new(StoredKind::Snapshot, id(number));
    Record::Stored { object, size: 300, at, bound: Some(Bound::Closure(closure)) }
}

/// A snapshot of `etc`, one of `db` and one of no policy each day: numbers 3n, 3n + 1, 3n + 2.
fn three_groups(days: u64) -> Account {
    let of_day = |number: u64| {
        [Some("etc"), Some("db"), None].into_iter().zip(3 * number..).map(move |(policy, id)| {
            let minutes = Duration::from_secs(60 * (id % 3));
            of_policy(id, day(number) + minutes, policy)
        })
    };
    Account::replay(&(0..days).flat_map(of_day).collect::<Vec<_>>())
}

fn known(name: &str, keep: Keep) -> Standings {
    use super::super::standing::Standing;
    [(name.parse().unwrap(), Standing { since: day(0), keep, former: None, gone: None })].into()
}

#[test]
fn each_policy_keeps_for_itself_and_the_rest_is_kept_by_the_settings() {
    let account = three_groups(100);
    let standings = known("etc", Keep { daily: 50, ..Keep::default() });
    let rules = Rules::of(Retention { keep_last: 3, ..Retention::default() }, &standings, day(100));
    let stays = staying(&propose(0..300), &account, &rules, day(100));
    let reason = |number| stays.get(&id(number)).copied();
    // Day 55, 45 days ago: within the fifty days of `etc`; the settings keep seven, and the last of each week.
    assert_eq!(reason(3 * 55), Some(StayReason::Kept));
    assert_eq!((reason(3 * 55 + 1), reason(3 * 55 + 2)), (None, None));
    assert_eq!(reason(3 * 45), None);
    for newest in [297, 298, 299] {
        assert_eq!(reason(newest), Some(StayReason::Newest));
    }
    // A policy that keeps nearly nothing: the floor covers what the rules let go of.
    let rules = Rules::of(Retention::default(), &known("db", Keep { last: 1, ..Keep::default() }), day(100));
    let stays = staying(&propose(0..300), &account, &rules, day(100));
    assert_eq!(stays.get(&id(3 * 72 + 1)), Some(&StayReason::Floor));
    assert_eq!(stays.get(&id(3 * 69 + 1)), None);
}

#[test]
fn the_newest_of_every_group_stays_though_all_others_are_newer() {
    let mut records = vec![of_policy(1000, day(0), Some("old")), of_policy(1001, day(0), None)];
    records.extend((1..200).map(|number| of_policy(number, day(number), Some("etc"))));
    let account = Account::replay(&records);
    let decision = decided(&propose([1000]), &account, day(200));
    assert_eq!(decision.stay[0].1, StayReason::Newest);
    assert_eq!(decision.hold, [Suspicion::Newest], "nobody lets go of the last one by the rules");
}
