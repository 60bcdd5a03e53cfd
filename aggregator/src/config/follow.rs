//! Who is offered the settled release to go to it without an order: nodes that were away or were enrolled later. Pure.

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
                .is_some_and(|attempt| attempt.to == settled.digest && now < attempt.again);
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

    /// An offer came to its end.
    pub(super) fn ended(&mut self, node: NodeId) {
        self.under_way.remove(&node);
    }

    /// The node has a new session: what broke before counts no more.
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
