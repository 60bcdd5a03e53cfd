//! Policies that are due, fail, are cut, follow changes, and stand back; clocks that are set.

use campanile_common::api::BackupResult;
use campanile_common::backup::{PolicyName, UtcOffset, Window};
use campanile_common::id::NodeId;
use campanile_common::recurrence::Recurrence;

use super::*;
use crate::backup::runs::{RunEnd, Runs, StartedBy};

const NOON: &str = "2026-03-10T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn schedule(text: &str, window: Option<&str>) -> Schedule {
    let when = match text {
        "continuous" => When::Continuous,
        text => When::Recurring(Recurrence::parse(text).unwrap()),
    };
    Schedule { when, splay: Duration::ZERO, window: window.map(|text| Window::parse(text).unwrap()) }
}

fn name() -> PolicyName {
    "etc".parse().unwrap()
}

/// One run that began then, took so long and ended so.
fn ran(started: Timestamp, took: Duration, result: BackupResult, snapshot: Option<&str>) -> History {
    let mut runs = Runs::default();
    runs.keep(&[name()].into(), at("2026-01-01T00:00:00Z"));
    runs.begin(&name(), StartedBy::Schedule, started);
    let end = RunEnd {
        time: started + took,
        result,
        snapshot: snapshot.map(str::to_owned),
        duration_ms: u64::try_from(took.as_millis()).unwrap(),
        detail: String::new(),
    };
    runs.finish(&name(), started, end);
    runs.policies.remove(&name()).unwrap()
}

fn fine(started: Timestamp) -> History {
    ran(started, seconds(1), BackupResult::Ok, Some("s"))
}

fn failed(started: Timestamp) -> History {
    ran(started, seconds(1), BackupResult::Failed, None)
}

fn clock(schedule: &Schedule, history: &History, now: Timestamp) -> Option<Timestamp> {
    let seat = Seat::new(NodeId::from_bytes([7; 8]), &name(), UtcOffset::UTC);
    by_clock(&Facts { schedule, history, awake: at("2026-01-01T00:00:00Z"), seat: &seat }, now)
}

fn touched(first: Timestamp, last: Timestamp) -> Attention {
    Attention::Watched { touched: Some((first, last)) }
}

#[test]
fn a_policy_is_due_when_its_schedule_says_and_after_a_restart_no_earlier() {
    let (daily, noon) = (schedule("30 2 * * *", None), at(NOON));
    let history = fine(at("2026-03-10T02:30:00Z"));
    let due = at("2026-03-11T02:30:00Z");
    assert_eq!(clock(&daily, &history, noon), Some(due));
    // Read back from the disk a minute later it is the same.
    assert_eq!(clock(&daily, &history, noon + seconds(60)), Some(due));
    assert!(clock(&daily, &history, due + seconds(1)).unwrap() <= due + seconds(1));
}

#[test]
fn what_failed_is_tried_again_before_it_is_due_and_in_the_window_alone() {
    let started = at("2026-03-10T02:30:00Z");
    let end = started + seconds(1);
    let history = failed(started);
    let retried = clock(&schedule("30 2 * * *", None), &history, end + seconds(10));
    assert_eq!(retried, Some(end + seconds(300)));
    // The next due time takes over.
    let often = clock(&schedule("@every 2m", None), &history, end + seconds(10));
    assert_eq!(often, Some(at("2026-03-10T02:32:00Z")));
    let night = schedule("30 2 * * *", Some("02:00-02:33"));
    assert_eq!(clock(&night, &history, end + seconds(10)), Some(at("2026-03-11T02:00:00Z")));
}

#[test]
fn a_run_that_was_cut_is_tried_again_within_a_minute() {
    let started = at(NOON);
    let history = ran(started, seconds(30), BackupResult::Stopped, None);
    let next = clock(&schedule("@daily", None), &history, started + seconds(31));
    assert_eq!(next, Some(started + seconds(90)));
}

#[test]
fn a_clock_that_was_set_back_does_not_stop_a_policy() {
    let (now, ahead) = (at(NOON), at("2036-03-10T12:00:00Z"));
    assert_eq!(clock(&schedule("@hourly", None), &fine(ahead), now), Some(at("2026-03-10T13:00:00Z")));
    let retried = clock(&schedule("@yearly", None), &failed(ahead), now).unwrap();
    assert_eq!(retried, now + seconds(300));
    let follows = schedule("continuous", None);
    let changed = by_change(&follows, &fine(ahead), touched(now, now), now).unwrap();
    assert!(changed <= now + CHANGES_APART, "{changed}");
}

#[test]
fn a_change_is_saved_within_a_minute_and_one_after_another_is_not_saved_one_by_one() {
    let (follows, noon) = (schedule("continuous", None), at(NOON));
    let long_ago = fine(noon - seconds(600));
    let when = |history, attention| by_change(&follows, history, attention, noon + seconds(1));
    assert_eq!(when(&long_ago, touched(noon, noon)), Some(noon + SETTLE));
    // Who never stops is saved as well.
    let busy = touched(noon, noon + seconds(19));
    assert_eq!(when(&long_ago, busy), Some(noon + SETTLE_MAX));
    // What changed right after a run began.
    let just_now = fine(noon);
    let latest = when(&just_now, touched(noon, noon)).unwrap();
    assert!(latest.since(noon) <= seconds(30), "{latest}");
    assert_eq!(when(&long_ago, Attention::Watched { touched: None }), None);
    assert_eq!(by_change(&schedule("@daily", None), &long_ago, touched(noon, noon), noon), None);
}

#[test]
fn files_that_cannot_be_watched_are_looked_at_each_minute_and_half_of_the_time_at_most() {
    let (follows, noon) = (schedule("continuous", None), at(NOON));
    let when = |took| {
        let history = ran(noon, took, BackupResult::Ok, None);
        by_change(&follows, &history, Attention::Blind, noon + took).unwrap().since(noon)
    };
    assert_eq!(when(seconds(1)), SCAN_INTERVAL);
    assert_eq!(when(seconds(600)), seconds(1200));
}

#[test]
fn changes_do_not_hasten_a_policy_that_fails() {
    let (follows, noon) = (schedule("continuous", None), at(NOON));
    let next = by_change(&follows, &failed(noon), touched(noon, noon), noon + seconds(2));
    assert_eq!(next, Some(noon + seconds(301)));
}

#[test]
fn looks_that_found_nothing_do_not_put_off_the_hourly_snapshot() {
    let (follows, noon) = (schedule("continuous", None), at(NOON));
    let mut history = fine(noon);
    let idle = ran(noon + seconds(3000), seconds(1), BackupResult::Ok, None);
    history.runs.extend(idle.runs);
    assert_eq!(clock(&follows, &history, noon + seconds(3002)), Some(noon + seconds(3600)));
}

#[test]
fn a_machine_under_pressure_is_let_be_for_an_hour_at_most() {
    let text = "some avg10=61.50 avg60=2.00 avg300=0.00 total=1\nfull avg10=99.00 avg60=0 avg300=0 total=1\n";
    let (io, noon, daily) = (pressure(text), at(NOON), schedule("@daily", None));
    assert_eq!((io, pressure("")), (Some(61.5), None));
    let stands = |now, pressure| stands_back(&daily, noon, now, pressure);
    let standing = stands(noon, [None, io]).unwrap();
    assert_eq!(standing.until, noon + seconds(30));
    let last = noon + seconds(3600);
    assert!(
        standing.reason.contains("disks (62 %)") && standing.reason.contains(&last.to_string()),
        "{standing:?}"
    );
    assert_eq!(stands(noon + seconds(3599), [None, io]).unwrap().until, last);
    assert_eq!(stands(last, [None, io]), None);
    assert!(stands(noon, [Some(61.5), Some(1.0)]).is_none() && stands(noon, [None, None]).is_none());
}

#[test]
fn what_is_saved_often_is_not_late_for_a_machine_under_pressure() {
    let (noon, often) = (at(NOON), schedule("@every 2m", None));
    let busy = [Some(99.0), None];
    assert_eq!(stands_back(&often, noon, noon + seconds(20), busy).unwrap().until, noon + seconds(30));
    assert_eq!(stands_back(&often, noon, noon + seconds(30), busy), None);
}
