//! Whether a policy's keep rules are due, and which snapshots they let go. Pure.

use std::time::Duration;

use campanile_backup::forget::{self, Candidate, KeepRules, Span};
use campanile_backup::id::ObjectId;
use campanile_backup::snapshot::Snapshot;
use campanile_backup::tree::FileTime;
use campanile_common::backup::{Keep, PolicyName};
use campanile_common::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A day, less what the time of a daily run wavers by.
const INTERVAL: Duration = Duration::from_secs(22 * 3600);

/// When the rules were followed last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// When that began.
    pub(super) begun: Timestamp,
    /// Whether it came to its end: else something may be left that nobody needs.
    pub(super) is_done: bool,
}

/// Whether the rules are followed after this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// They were, less than a day ago.
    No,
    /// They are.
    Yes {
        /// What was begun last did not come to its end.
        is_unfinished: bool,
    },
}

/// Due once a day; a record from the future, of a clock that was wrong, holds nothing up.
pub(super) fn due(record: Option<Record>, now: Timestamp) -> Due {
    match record {
        None => Due::Yes { is_unfinished: false },
        Some(Record { begun, .. }) if begun <= now && now.since(begun) < INTERVAL => Due::No,
        Some(Record { is_done, .. }) => Due::Yes { is_unfinished: !is_done },
    }
}

/// The snapshots of a policy that its rules let go, oldest first.
pub(super) fn let_go(
    snapshots: Vec<(ObjectId, Snapshot)>,
    policy: &PolicyName,
    keep: &Keep,
    now: FileTime,
) -> Vec<ObjectId> {
    let tag = policy.tag();
    let of_policy = snapshots.into_iter().filter(|(_, snapshot)| snapshot.tags.contains(&tag));
    let candidates =
        of_policy.map(|(key, snapshot)| Candidate { key, time: snapshot.time, tags: snapshot.tags });
    let decision = forget::decide(&rules(keep), candidates.collect(), now);
    decision.forget.into_iter().rev().map(|candidate| candidate.key).collect()
}

fn rules(keep: &Keep) -> KeepRules {
    let Keep { last, hourly, daily, weekly, monthly, yearly, within } = *keep;
    let hours = within.map_or(0, |within| within.as_secs().div_ceil(3600));
    let within = Span { hours: u32::try_from(hours).unwrap_or(u32::MAX), ..Span::default() };
    KeepRules { last, hourly, daily, weekly, monthly, yearly, within, ..KeepRules::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn at(hours: u64) -> Timestamp {
        Timestamp::from_millis(1_777_000_000_000 + hours * HOUR)
    }

    #[test]
    fn rules_are_followed_once_a_day_and_after_a_clock_was_wrong() {
        let done = |hours| Some(Record { begun: at(hours), is_done: true });
        assert_eq!(due(None, at(0)), Due::Yes { is_unfinished: false });
        assert_eq!(due(done(100), at(100)), Due::No);
        assert_eq!(due(done(100), at(121)), Due::No);
        // A daily run that comes a little earlier than the day before.
        assert_eq!(due(done(100), at(123)), Due::Yes { is_unfinished: false });
        assert_eq!(due(done(100), at(99)), Due::Yes { is_unfinished: false });
    }

    #[test]
    fn what_was_cut_is_not_tried_at_every_run_and_is_known_when_it_is() {
        let cut = Some(Record { begun: at(100), is_done: false });
        assert_eq!(due(cut, at(101)), Due::No);
        assert_eq!(due(cut, at(124)), Due::Yes { is_unfinished: true });
    }

    fn snapshot(hours: i64, tag: &str) -> (ObjectId, Snapshot) {
        let time = FileTime { seconds: 1_777_000_000 + hours * 3600, nanoseconds: 0 };
        let snapshot = Snapshot {
            time,
            parent: None,
            tree: ObjectId([0; 32]),
            paths: vec!["/etc".to_owned()],
            hostname: "web-1".to_owned(),
            username: String::new(),
            uid: 0,
            gid: 0,
            excludes: Vec::new(),
            tags: vec!["campanile".to_owned(), tag.to_owned()],
            original: None,
            program_version: String::new(),
            summary: None,
        };
        (ObjectId::of(format!("{hours} {tag}").as_bytes()), snapshot)
    }

    fn gone(keep: Keep) -> Vec<ObjectId> {
        let own = (0..10).map(|hours| snapshot(hours, "policy:etc"));
        let others = (0..10).map(|hours| snapshot(hours, "policy:www"));
        let now = FileTime { seconds: 1_777_000_000 + 100 * 3600, nanoseconds: 0 };
        let_go(own.chain(others).collect(), &"etc".parse().unwrap(), &keep, now)
    }

    #[test]
    fn a_policy_lets_go_of_its_own_snapshots_alone_the_oldest_first() {
        let expected: Vec<ObjectId> = (0..7).map(|hours| snapshot(hours, "policy:etc").0).collect();
        assert_eq!(gone(Keep { last: 3, ..Keep::default() }), expected);
    }

    #[test]
    fn a_time_is_rounded_up_to_hours_and_rules_add_up() {
        let within = Some(Duration::from_secs(2 * 3600 + 1));
        let kept = 10 - gone(Keep { within, ..Keep::default() }).len();
        assert_eq!(kept, 3);
        let kept = 10 - gone(Keep { within, last: 5, ..Keep::default() }).len();
        assert_eq!(kept, 5);
        assert!(gone(Keep::default()).is_empty(), "without rules all stay");
    }
}
