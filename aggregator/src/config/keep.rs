//! Which generations stay. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use campanile_common::id::Digest;
use campanile_common::time::Timestamp;

use super::record::GenerationRecord;

/// Drafts are there to be planned now.
const DRAFT_KEEP: Duration = Duration::from_secs(3600);
/// Drafts that are kept; past it the oldest goes.
const DRAFTS_MAX: usize = 64;
/// How long a generation waits for the signatures of further operators.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(86_400);
/// Most generations that wait; past it the next is refused. Those that were overtaken are not counted, and go first.
pub(super) const WAITING_MAX: usize = 16;
const DAY: Duration = Duration::from_secs(86_400);

/// How much history is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepPolicy {
    /// Releases.
    pub generations: u32,
    /// Days.
    pub days: u32,
}

impl Default for KeepPolicy {
    fn default() -> Self {
        Self { generations: 100, days: 365 }
    }
}

/// Generations that go. `pinned` stay: the head, the one before it, and what nodes are at or on their way to.
pub(super) fn gone<'a>(
    all: impl Iterator<Item = &'a GenerationRecord>,
    head: Option<Digest>,
    pinned: &BTreeSet<Digest>,
    policy: KeepPolicy,
    now: Timestamp,
) -> Vec<Digest> {
    let (mut waiting, all): (Vec<_>, Vec<_>) = all.partition(|record| record.is_waiting());
    let (mut releases, mut drafts): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|record| record.is_release());
    waiting.sort_by_key(|record| (record.is_overtaken(head), std::cmp::Reverse(record.submitted)));
    releases.sort_by_key(|record| std::cmp::Reverse(record.point.number));
    drafts.sort_by_key(|record| std::cmp::Reverse(record.submitted));
    let age = |record: &GenerationRecord| now.since(record.submitted);
    let releases_max = usize::try_from(policy.generations).unwrap_or(usize::MAX);
    let old_releases = releases
        .into_iter()
        .enumerate()
        .filter(|(index, record)| *index >= releases_max || age(record) > DAY * policy.days)
        .filter(|(_, record)| !pinned.contains(&record.point.digest));
    let old_drafts = drafts
        .into_iter()
        .enumerate()
        .filter(|(index, record)| *index >= DRAFTS_MAX || age(record) > DRAFT_KEEP);
    let old_waiting = waiting
        .into_iter()
        .enumerate()
        .filter(|(index, record)| *index >= WAITING_MAX || age(record) > WAIT_MAX);
    old_releases.chain(old_drafts).chain(old_waiting).map(|(_, record)| record.point.digest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::record::Point;
    use campanile_common::config::Purpose;

    fn record(number: u8, purpose: Purpose, hours: u64) -> GenerationRecord {
        GenerationRecord {
            point: Point { number: number.into(), digest: Digest::from_bytes([number; 32]) },
            parent: None,
            purpose,
            created: Timestamp::from_millis(0),
            submitted: Timestamp::from_millis(hours * 3_600_000),
            submitted_by: String::new(),
            author: String::new(),
            operators: Vec::new(),
            signatures_needed: 0,
            message: String::new(),
            layers: Vec::new(),
            secrets: Vec::new(),
            members: 0,
            signed: Digest::from_bytes([0; 32]),
        }
    }

    fn numbers(all: &[GenerationRecord], pinned: &[u8], policy: KeepPolicy, hour: u64) -> Vec<u8> {
        let pinned = pinned.iter().map(|number| Digest::from_bytes([*number; 32])).collect();
        let now = Timestamp::from_millis(hour * 3_600_000);
        let mut gone: Vec<u8> =
            gone(all.iter(), None, &pinned, policy, now).iter().map(|digest| digest.as_bytes()[0]).collect();
        gone.sort_unstable();
        gone
    }

    #[test]
    fn releases_go_by_number_and_by_age_but_not_what_a_node_is_at() {
        let all: Vec<_> = (1..=6).map(|number| record(number, Purpose::Release, number.into())).collect();
        let policy = KeepPolicy { generations: 3, days: 10 };
        assert_eq!(numbers(&all, &[6, 5], policy, 7), [1, 2, 3]);
        assert_eq!(numbers(&all, &[6, 5, 2], policy, 7), [1, 3]);
        assert_eq!(numbers(&all, &[6, 5], policy, 24 * 20), [1, 2, 3, 4]);
        assert_eq!(numbers(&all, &[6, 5], KeepPolicy::default(), 7), [0_u8; 0]);
    }

    #[test]
    fn a_draft_stays_an_hour_and_only_so_many_of_them() {
        let young = record(200, Purpose::Draft, 10);
        let old = record(201, Purpose::Draft, 8);
        assert_eq!(numbers(&[young.clone(), old], &[], KeepPolicy::default(), 10), [201]);
        let all: Vec<_> = (0..70).map(|number| record(number, Purpose::Draft, number.into())).collect();
        let policy = KeepPolicy::default();
        assert_eq!(numbers(&all, &[], policy, 0).len(), 6, "all are of the future but for the first");
        assert!(numbers(&all, &[], policy, 0).contains(&0));
    }
    #[test]
    fn what_lacks_signatures_waits_a_day_and_what_was_overtaken_goes_first() {
        let lacking = |number, purpose, hours| {
            let parent = Some(Digest::from_bytes([number - 1; 32]));
            GenerationRecord { signatures_needed: 2, parent, ..record(number, purpose, hours) }
        };
        let policy = KeepPolicy { generations: 1, days: 0 };
        let young = lacking(3, Purpose::Release, 30);
        let draft = lacking(4, Purpose::Draft, 20);
        let old = lacking(5, Purpose::Release, 1);
        assert_eq!(
            numbers(&[young, draft, old], &[], policy, 30),
            [5],
            "no matter what policy says of releases"
        );
        let mut all: Vec<_> = (0..WAITING_MAX).map(|_| lacking(3, Purpose::Release, 1)).collect();
        all.push(lacking(9, Purpose::Release, 5));
        let head = Some(Digest::from_bytes([2; 32]));
        let now = Timestamp::from_millis(5 * 3_600_000);
        let gone = gone(all.iter(), head, &BTreeSet::new(), policy, now);
        assert_eq!(gone, [Digest::from_bytes([9; 32])], "the newest of all, but its parent is no head");
    }
}
