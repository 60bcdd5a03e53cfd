//! When drills and checks are due on a node, by an owner that starts nothing.

use campanile_common::api::BackupResult;
use campanile_common::backup::UtcOffset;
use campanile_common::id::NodeId;

use super::*;
use crate::backup::runs::{Run, RunEnd, StartedBy};

const MINUTE: Duration = Duration::from_secs(60);

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn seat() -> Seat {
    Seat::new(NodeId::from_bytes([1; 8]), &"etc".parse().unwrap(), UtcOffset::UTC)
}

fn daily() -> Schedule {
    use campanile_common::backup::When;
    use campanile_common::recurrence::Recurrence;
    Schedule {
        when: When::Recurring(Recurrence::parse("0 3 * * *").unwrap()),
        splay: Duration::ZERO,
        window: None,
    }
}

fn drilled(result: BackupResult, snapshot: Option<&str>, started: Timestamp) -> History {
    let end = RunEnd {
        time: started,
        result,
        snapshot: snapshot.map(str::to_owned),
        duration_ms: 1,
        detail: String::new(),
    };
    let mut history = History::new(at("2026-03-01T00:00:00Z"));
    history.runs.push(Run { started, by: StartedBy::Schedule, end: Some(end) });
    history
}

fn due(history: &History, now: &str) -> Option<Timestamp> {
    drill_due(&daily(), history, at("2026-03-01T00:00:00Z"), &seat(), at(now))
}

#[test]
fn the_first_drill_waits_for_its_time() {
    let history = History::new(at("2026-03-10T12:00:00Z"));
    assert_eq!(due(&history, "2026-03-10T12:00:00Z"), Some(at("2026-03-11T03:00:00Z")));
    // It was missed: at once.
    assert_eq!(due(&history, "2026-03-12T12:00:00Z"), Some(at("2026-03-11T03:00:00Z")));
    let awake = at("2026-03-12T12:00:00Z");
    let spread = drill_due(&daily(), &history, awake, &seat(), awake).unwrap();
    assert!(spread >= awake && spread < awake + CATCH_UP_SPLAY, "{spread}");
}

#[test]
fn a_verdict_waits_for_the_next_time_and_what_was_cut_is_tried_again() {
    let began = at("2026-03-10T03:00:00Z");
    let next = Some(at("2026-03-11T03:00:00Z"));
    let now = "2026-03-10T03:01:00Z";
    assert_eq!(due(&drilled(BackupResult::Ok, Some("s"), began), now), next);
    assert_eq!(due(&drilled(BackupResult::Failed, Some("s"), began), now), next);
    assert_eq!(due(&drilled(BackupResult::Failed, None, began), now), Some(began + MINUTE * 5));
    assert_eq!(due(&drilled(BackupResult::Stopped, None, began), now), Some(began + MINUTE));
}

#[test]
fn a_clock_that_was_ahead_does_not_put_a_drill_off() {
    let ahead = drilled(BackupResult::Ok, Some("s"), at("2036-03-10T03:00:00Z"));
    assert_eq!(due(&ahead, "2026-03-10T12:00:00Z"), Some(at("2026-03-11T03:00:00Z")));
}

#[test]
fn a_share_is_read_within_the_window_of_its_policy() {
    use campanile_common::backup::Window;
    let noon = at("2026-03-10T12:00:00Z");
    let mut rounds = Rounds::new(noon, Duration::from_secs(86_400));
    let schedule = Schedule { window: Window::parse("22:00-04:00"), ..daily() };
    rounds.begin(1, 1, StartedBy::Schedule, noon);
    let run = rounds.runs[0].clone();
    let end = RunEnd {
        time: noon,
        result: BackupResult::Ok,
        snapshot: None,
        duration_ms: 1,
        detail: String::new(),
    };
    rounds.finish(&run, end, Some(0));
    assert_eq!(check_due(&rounds, &schedule, &seat(), noon), at("2026-03-11T00:00:00Z"));
    let closed = Schedule { window: Window::parse("02:00-04:00"), ..daily() };
    assert_eq!(check_due(&rounds, &closed, &seat(), noon), at("2026-03-11T02:00:00Z"));
}
