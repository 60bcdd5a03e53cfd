//! Since when each policy of a node is known, and what it let the store go of before. Pure.
//!
//! A policy that keeps less than before, or is gone, counts at once for what a node is meant to have; what was kept until
//! then stays kept for as long as the floor says. So neither a slip nor a stolen signature takes away at once what was
//! promised.

use std::collections::BTreeMap;
use std::time::Duration;

use campanile_common::backup::{Keep, PolicyName};
use campanile_common::time::Timestamp;

/// What is remembered of a policy of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// When the aggregator first knew that the node has it.
    pub since: Timestamp,
    /// Which snapshots it keeps, or kept last.
    pub keep: Keep,
    /// What it kept before it kept less, and when that changed.
    pub former: Option<(Keep, Timestamp)>,
    /// When the node had it no more.
    pub gone: Option<Timestamp>,
}

/// Those of a node.
pub type Standings = BTreeMap<PolicyName, Standing>;

impl Standing {
    /// What is kept of its snapshots. `usual`: what is kept where no policy says anything.
    pub fn keeps(&self, usual: &Keep, floor: Duration, now: Timestamp) -> Keep {
        let keep = match self.gone {
            None => self.keep,
            Some(at) if now < at + floor => self.keep.raised_to(usual),
            Some(_) => return *usual,
        };
        self.live_former(floor, now).map_or(keep, |(former, _)| keep.raised_to(&former))
    }

    fn live_former(&self, floor: Duration, now: Timestamp) -> Option<(Keep, Timestamp)> {
        self.former.filter(|(_, at)| now < *at + floor)
    }

    fn turned(&self, keep: Keep, floor: Duration, now: Timestamp) -> Self {
        let since = if self.gone.is_some() { now } else { self.since };
        let live = self.live_former(floor, now);
        let former = if keep.covers(&self.keep) {
            live
        } else {
            Some((live.map_or(self.keep, |(former, _)| self.keep.raised_to(&former)), now))
        };
        Self { since, keep, former, gone: None }
    }
}

/// What is remembered once a node has `policies`.
pub(super) fn turned<'a>(
    before: &Standings,
    policies: impl IntoIterator<Item = (&'a PolicyName, Keep)>,
    floor: Duration,
    now: Timestamp,
) -> Standings {
    let mut after: Standings = policies
        .into_iter()
        .map(|(name, keep)| {
            let new = Standing { since: now, keep, former: None, gone: None };
            (name.clone(), before.get(name).map_or(new, |known| known.turned(keep, floor, now)))
        })
        .collect();
    for (name, known) in before {
        let gone = known.gone.unwrap_or(now);
        if now < gone + floor {
            after.entry(name.clone()).or_insert(Standing { gone: Some(gone), ..*known });
        }
    }
    after
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const FLOOR: Duration = Duration::from_secs(30 * 86_400);
    const USUAL: Keep = Keep { last: 3, hourly: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0, within: None };

    fn day(number: u32) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000) + DAY * number
    }

    fn daily(daily: u32) -> Keep {
        Keep { daily, ..Keep::default() }
    }

    fn etc() -> PolicyName {
        "etc".parse().unwrap()
    }

    fn turn(before: &Standings, keep: Option<Keep>, number: u32) -> Standings {
        let name = etc();
        turned(before, keep.map(|keep| (&name, keep)), FLOOR, day(number))
    }

    fn kept(standings: &Standings, number: u32) -> Keep {
        standings[&etc()].keeps(&USUAL, FLOOR, day(number))
    }

    #[test]
    fn a_policy_is_known_since_it_was_first_seen_whatever_changes_of_it() {
        let first = turn(&Standings::new(), Some(daily(7)), 1);
        let later = turn(&turn(&first, Some(daily(9)), 5), Some(daily(2)), 9);
        assert_eq!(later[&etc()].since, day(1));
        let back = turn(&turn(&later, None, 10), Some(daily(2)), 11);
        assert_eq!(back[&etc()].since, day(11), "it was taken away in between");
    }

    #[test]
    fn a_shorter_rule_counts_once_the_floor_has_passed_and_a_longer_one_at_once() {
        let first = turn(&Standings::new(), Some(daily(7)), 0);
        let shorter = turn(&first, Some(daily(2)), 10);
        assert_eq!((kept(&shorter, 10), kept(&shorter, 39)), (daily(7), daily(7)));
        assert_eq!(kept(&shorter, 40), daily(2));
        let longer = turn(&first, Some(daily(14)), 10);
        assert_eq!((kept(&longer, 10), longer[&etc()].former), (daily(14), None));
    }

    #[test]
    fn shortening_bit_by_bit_gains_nothing() {
        let mut standings = turn(&Standings::new(), Some(daily(30)), 0);
        for step in 1..20 {
            standings = turn(&standings, Some(daily(30 - step)), step);
        }
        assert_eq!(kept(&standings, 48), daily(30));
        assert_eq!(kept(&standings, 49), daily(11));
    }

    #[test]
    fn what_a_policy_kept_that_is_gone_stays_for_the_floor_and_is_then_forgotten() {
        let gone = turn(&turn(&Standings::new(), Some(daily(7)), 0), None, 10);
        assert_eq!(kept(&gone, 39), daily(7).raised_to(&USUAL));
        assert_eq!(kept(&gone, 40), USUAL);
        assert_eq!(turn(&gone, None, 39), gone);
        assert!(turn(&gone, None, 40).is_empty());
    }
}
