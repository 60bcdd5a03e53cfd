//! Which release is settled, and who is offered it to go to it without an order: nodes that were away or were enrolled
//! later. Pure.
//!
//! A node that undid a generation is not led into the same trap again at once: it is offered it once more after
//! [`REVERTED_WAIT`], whether an order or an offer had led it there. A node that undid it twice takes it by an order alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use campanile_common::id::{Digest, NodeId};
use campanile_common::wire::v1::config::{ConfigPhase, ConfigReport};

use super::record::Point;

/// Offers under way at once.
const OFFERS_MAX: usize = 16;
/// First wait before the same node is offered the same release again; doubled up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_secs(10);
const RETRY_MAX: Duration = Duration::from_secs(3600);
/// How long a node that undid a release is left alone with it: time for somebody to look, and for a network to heal.
const REVERTED_WAIT: Duration = Duration::from_secs(600);

/// A node that a release lists.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member<'a> {
    /// What it said last.
    pub(super) report: Option<&'a ConfigReport>,
    /// It is of the fleet still.
    pub(super) is_active: bool,
    /// The order that came to its end was for it.
    pub(super) is_target: bool,
    /// And went well there.
    pub(super) is_applied: bool,
}

/// True where a release is not in doubt because of this member: it is at it, or was only away. What it undid is in doubt
/// until it went well there.
pub(super) fn is_well(release: Digest, member: Member<'_>) -> bool {
    let is_at = member.report.and_then(|report| report.current).is_some_and(|(_, digest)| digest == release);
    let has_reverted = member.report.is_some_and(|report| has_reverted(report, release));
    !member.is_active || is_at || member.is_applied || (member.is_target && !has_reverted)
}

/// The release was the last that the node tried, and it undid it.
fn has_reverted(report: &ConfigReport, release: Digest) -> bool {
    report.phase == ConfigPhase::Reverted && report.tried.is_some_and(|(_, digest)| digest == release)
}

/// A connected node that said how it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) node: NodeId,
    pub(super) report: &'a ConfigReport,
    /// An order that is not over applies a generation to it.
    pub(super) is_target: bool,
}

#[derive(Debug, Clone, Copy)]
struct Attempt {
    to: Digest,
    again: Duration,
    count: u32,
}

/// Offers so far.
#[derive(Debug, Default)]
pub(super) struct Following {
    attempts: BTreeMap<NodeId, Attempt>,
    /// Since when it is known that a node undid a release.
    reverted: BTreeMap<NodeId, (Digest, Duration)>,
    under_way: BTreeSet<NodeId>,
}

impl Following {
    /// Nodes to which the release is to be offered now.
    pub(super) fn next<'a>(
        &mut self,
        now: Duration,
        settled: Point,
        candidates: impl Iterator<Item = Candidate<'a>>,
    ) -> Vec<NodeId> {
        let mut chosen = Vec::new();
        for Candidate { node, report, is_target } in candidates {
            if self.under_way.len() >= OFFERS_MAX {
                break;
            }
            let is_behind = report.current.is_none_or(|(number, _)| number < settled.number);
            let is_busy = matches!(report.phase, ConfigPhase::Applying | ConfigPhase::Confirming);
            let has_given_up =
                report.is_given_up && report.tried.is_none_or(|(_, tried)| tried == settled.digest);
            let waits = self
                .attempts
                .get(&node)
                .is_some_and(|attempt| attempt.to == settled.digest && now < attempt.again)
                || self.is_just_reverted(now, settled.digest, node, report);
            let is_out = is_busy || is_target || has_given_up || waits || !report.denied.is_empty();
            if !is_behind || is_out || self.under_way.contains(&node) {
                continue;
            }
            let count = match self.attempts.get(&node) {
                Some(attempt) if attempt.to == settled.digest => attempt.count + 1,
                _ => 0,
            };
            let wait = RETRY_MIN.saturating_mul(1 << count.min(16)).min(RETRY_MAX);
            self.attempts.insert(node, Attempt { to: settled.digest, again: now + wait, count });
            self.under_way.insert(node);
            chosen.push(node);
        }
        chosen
    }

    fn is_just_reverted(
        &mut self,
        now: Duration,
        settled: Digest,
        node: NodeId,
        report: &ConfigReport,
    ) -> bool {
        if !has_reverted(report, settled) {
            self.reverted.remove(&node);
            return false;
        }
        let known = self.reverted.entry(node).or_insert((settled, now));
        if known.0 != settled {
            *known = (settled, now);
        }
        now < known.1 + REVERTED_WAIT
    }

    /// An offer came to its end.
    pub(super) fn ended(&mut self, node: NodeId) {
        self.under_way.remove(&node);
    }

    /// The node has a new session: what broke before counts no more. What it undid does.
    pub(super) fn begins_anew(&mut self, node: NodeId) {
        self.attempts.remove(&node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLED: Point = Point { number: 5, digest: Digest::from_bytes([5; 32]) };

    fn at(number: u64) -> ConfigReport {
        let current = Some((number, Digest::from_bytes([1; 32])));
        ConfigReport { current, phase: ConfigPhase::Applied, ..ConfigReport::default() }
    }

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 8])
    }

    fn is_offered(report: &ConfigReport, is_target: bool) -> bool {
        let candidate = Candidate { node: node(1), report, is_target };
        !Following::default().next(Duration::ZERO, SETTLED, [candidate].into_iter()).is_empty()
    }

    #[test]
    fn who_is_behind_and_idle_is_offered_the_release_and_nobody_else() {
        assert!(is_offered(&ConfigReport::default(), false), "enrolled later");
        assert!(is_offered(&at(4), false));
        assert!(!is_offered(&at(5), false));
        assert!(!is_offered(&at(6), false), "a canary of the next one");
        assert!(!is_offered(&at(4), true), "an order is at it");
        assert!(!is_offered(&ConfigReport { phase: ConfigPhase::Confirming, ..at(4) }, false));
        assert!(!is_offered(&ConfigReport { denied: "the policy says no".to_owned(), ..at(4) }, false));
        let tried = |digest| ConfigReport { is_given_up: true, tried: Some((5, digest)), ..at(4) };
        assert!(!is_offered(&tried(SETTLED.digest), false));
        assert!(is_offered(&tried(Digest::from_bytes([4; 32])), false), "it gave up another one");
    }

    #[test]
    fn the_same_node_is_asked_less_and_less_often() {
        let (report, mut following, mut waits) = (at(4), Following::default(), Vec::new());
        let mut last = 0;
        for second in 0..4000 {
            let candidate = Candidate { node: node(1), report: &report, is_target: false };
            if !following.next(Duration::from_secs(second), SETTLED, [candidate].into_iter()).is_empty() {
                waits.push(second - last);
                last = second;
                following.ended(node(1));
            }
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 320, 640, 1280]);
        following.begins_anew(node(1));
        let candidate = Candidate { node: node(1), report: &report, is_target: false };
        assert_eq!(following.next(Duration::from_secs(4000), SETTLED, [candidate].into_iter()), [node(1)]);
    }

    fn undid(digest: Digest) -> ConfigReport {
        ConfigReport { phase: ConfigPhase::Reverted, tried: Some((5, digest)), ..at(4) }
    }

    #[test]
    fn a_node_that_undid_the_release_is_left_alone_with_it_for_a_while_also_in_a_new_session() {
        let (report, mut following) = (undid(SETTLED.digest), Following::default());
        let candidate = Candidate { node: node(1), report: &report, is_target: false };
        let mut offered = Vec::new();
        for second in 100..1000 {
            following.begins_anew(node(1));
            if !following.next(Duration::from_secs(second), SETTLED, [candidate].into_iter()).is_empty() {
                offered.push(second);
            }
        }
        assert_eq!(offered, [700], "ten minutes after it was known, and it is under way since");
        assert!(is_offered(&undid(Digest::from_bytes([4; 32])), false), "it undid another one");
    }

    #[test]
    fn each_time_that_a_node_undid_the_release_counts_anew() {
        let (report, other, mut following) = (undid(SETTLED.digest), at(4), Following::default());
        let busy = ConfigReport { phase: ConfigPhase::Applying, ..report.clone() };
        let mut next = |second, report| {
            let candidate = Candidate { node: node(1), report, is_target: false };
            let is_offered =
                !following.next(Duration::from_secs(second), SETTLED, [candidate].into_iter()).is_empty();
            following.ended(node(1));
            is_offered
        };
        assert!(!next(0, &report) && !next(500, &busy));
        assert!(!next(550, &report) && !next(1149, &report) && next(1150, &report));
        assert!(next(2000, &other));
    }

    #[test]
    fn a_release_is_in_doubt_where_a_node_undid_it_until_it_went_well_there() {
        let (release, newer) = (SETTLED.digest, Digest::from_bytes([6; 32]));
        let member = |report: Option<&ConfigReport>, is_target, is_applied| {
            is_well(release, Member { report, is_active: true, is_target, is_applied })
        };
        let (at_it, reverted) = (ConfigReport { current: Some((5, release)), ..at(5) }, undid(release));
        assert!(!member(None, false, false), "nobody asked it");
        assert!(member(None, true, false), "it was away");
        assert!(member(Some(&at_it), false, false));
        assert!(!member(Some(&reverted), true, false), "it was away, and had undone it before");
        assert!(member(Some(&reverted), true, true), "it said so just before");
        assert!(member(Some(&undid(newer)), true, false), "it undid another one");
        let undid_newer =
            ConfigReport { phase: ConfigPhase::Reverted, tried: Some((6, newer)), ..at_it.clone() };
        assert!(member(Some(&undid_newer), false, false));
        let gone = Member { report: Some(&reverted), is_active: false, is_target: false, is_applied: false };
        assert!(is_well(release, gone));
    }

    #[test]
    fn only_so_many_are_under_way_at_once() {
        let (report, mut following) = (at(4), Following::default());
        let all =
            || (0..100).map(|number| Candidate { node: node(number), report: &report, is_target: false });
        let first = following.next(Duration::ZERO, SETTLED, all());
        assert_eq!(first.len(), OFFERS_MAX);
        assert!(following.next(Duration::ZERO, SETTLED, all()).is_empty());
        following.ended(first[0]);
        assert_eq!(following.next(Duration::ZERO, SETTLED, all()), [node(16)]);
    }
}
