//! What is remembered of runs, and when they are tried again.

use super::*;

const NOON: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

fn name() -> PolicyName {
    "etc".parse().unwrap()
}

fn end(time: Timestamp, result: BackupResult, snapshot: Option<&str>) -> RunEnd {
    let snapshot = snapshot.map(str::to_owned);
    RunEnd { time, result, snapshot, duration_ms: 1, detail: String::new() }
}

/// Runs that began a minute apart and took no time.
fn of(results: &[(StartedBy, BackupResult, Option<&str>)]) -> Runs {
    let mut runs = Runs::default();
    for ((by, result, snapshot), time) in results.iter().zip((0..).map(|count| NOON + minutes(count))) {
        runs.begin(&name(), *by, time);
        runs.finish(&name(), time, end(time, *result, *snapshot));
    }
    runs
}

fn failed(count: usize) -> Runs {
    of(&vec![(StartedBy::Schedule, BackupResult::Failed, None); count])
}

fn retry(runs: &Runs) -> Option<Duration> {
    let history = &runs.policies[&name()];
    let now = NOON + minutes(60 * 24);
    history.retry(now).map(|retry| retry.since(history.last().unwrap().started))
}

#[test]
fn failures_are_tried_again_later_each_time_and_an_hour_apart_at_most() {
    let pauses: Vec<_> = (1..7).map(|count| retry(&failed(count)).unwrap().as_secs() / 60).collect();
    assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
    let cut = of(&[(StartedBy::Schedule, BackupResult::Stopped, None)]);
    assert_eq!(retry(&cut), Some(minutes(1)));
}

#[test]
fn what_went_well_since_ends_the_failures_and_those_of_orders_are_not_tried_again() {
    let (ok, failed) = (BackupResult::Ok, BackupResult::Failed);
    let by_order = of(&[(StartedBy::Order, failed, None)]);
    assert_eq!((retry(&by_order), by_order.policies[&name()].failure()), (None, None));
    let mended = of(&[(StartedBy::Schedule, failed, None), (StartedBy::Order, ok, Some("s"))]);
    assert_eq!(retry(&mended), None);
    let still = of(&[(StartedBy::Schedule, failed, None), (StartedBy::Order, failed, None)]);
    assert!(retry(&still).is_some());
}

#[test]
fn a_clock_that_was_set_back_does_not_put_a_retry_off() {
    let runs = failed(1);
    let now = NOON - minutes(60 * 24 * 365);
    assert_eq!(runs.policies[&name()].retry(now), Some(now + minutes(5)));
}

#[test]
fn looks_that_found_nothing_are_one_entry_and_put_no_run_off() {
    let idle = (StartedBy::Schedule, BackupResult::Ok, None);
    let runs = of(&[(StartedBy::Schedule, BackupResult::Ok, Some("s")), idle, idle, idle]);
    let history = &runs.policies[&name()];
    assert_eq!((history.runs.len(), history.last().unwrap().started), (2, NOON + minutes(3)));
    assert_eq!(history.last_started(), Some(NOON));
}

#[test]
fn the_last_runs_are_kept_and_those_of_policies_that_are_gone_are_not() {
    let mut runs = failed(RUNS_KEPT + 7);
    assert_eq!(runs.policies[&name()].runs.len(), RUNS_KEPT);
    assert_eq!(runs.policies[&name()].runs[0].started, NOON + minutes(7));
    let other: PolicyName = "home".parse().unwrap();
    runs.keep(&[other.clone()].into(), NOON);
    assert_eq!(runs.policies, [(other, History::new(NOON))].into());
}

#[test]
fn a_run_without_an_end_was_cut_once_nothing_runs() {
    let mut runs = Runs::default();
    runs.begin(&name(), StartedBy::Schedule, NOON);
    assert!(runs.policies[&name()].is_open());
    runs.settle(None, NOON + minutes(3));
    let history = &runs.policies[&name()];
    let end = history.failure().unwrap();
    assert_eq!((end.result, end.duration_ms), (BackupResult::Stopped, 180_000));
    assert!(end.detail.contains("killed") && !history.is_open());
    // Whoever tells of its end afterwards comes too late.
    let told = runs.clone();
    runs.finish(&name(), NOON, self::end(NOON, BackupResult::Ok, Some("s")));
    assert_eq!(runs, told);
}

#[test]
fn drills_and_checks_of_a_clock_that_was_ahead_are_as_old_as_now() {
    let mut runs = Runs::default();
    let (ahead, by) = (NOON + minutes(60 * 24 * 365), StartedBy::Schedule);
    runs.begin_drill(&name(), by, ahead);
    runs.finish_drill(&name(), ahead, end(ahead, BackupResult::Ok, Some("s")));
    runs.keep_checks(&[("aggregator".to_owned(), minutes(60 * 24))].into(), ahead);
    assert!(runs.pull_back(NOON));
    let drills = &runs.drills[&name()];
    assert_eq!((drills.since, drills.last().unwrap().started), (NOON, NOON));
    let rounds = &runs.checks["aggregator"];
    let due = rounds.due(NOON, Duration::ZERO);
    assert_eq!(
        (due, rounds.due(NOON + minutes(30), Duration::ZERO)),
        (NOON, NOON),
        "time alone puts nothing off"
    );
    assert!(!runs.pull_back(NOON));
}
