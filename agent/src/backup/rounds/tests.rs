//! A repository is read within its cycle, whatever happens in between.

use super::*;

const DAY: Duration = Duration::from_secs(86_400);
const NOON: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn end(time: Timestamp, result: BackupResult) -> RunEnd {
    RunEnd { time, result, snapshot: None, duration_ms: 1000, detail: String::new() }
}

/// Reads the next share, with so many findings; none when it cannot be read.
fn read(rounds: &mut Rounds, findings: Option<u64>, now: Timestamp) {
    let (part, of) = (rounds.next_share(), rounds.count());
    let by = StartedBy::Schedule;
    let run = CheckRun { started: now, by, part, of, end: None, findings: None };
    rounds.begin(part, of, by, now);
    let result = if findings == Some(0) { BackupResult::Ok } else { BackupResult::Failed };
    rounds.finish(&run, end(now, result), findings);
}

/// Follows the plan, hour by hour, while the node is on.
fn follow(rounds: &mut Rounds, hours: std::ops::Range<u32>) {
    for hour in hours {
        let now = NOON + Duration::from_secs(3600) * hour;
        while rounds.due(now, Duration::ZERO) <= now {
            read(rounds, Some(0), now);
        }
    }
}

#[test]
fn every_share_is_read_again_within_the_cycle() {
    for days in [1, 2, 7, 30, 120] {
        let cycle = DAY * days;
        let mut rounds = Rounds::new(NOON, cycle);
        let mut longest = Duration::ZERO;
        for hour in 0..24 * days * 3 {
            let now = NOON + Duration::from_secs(3600) * hour;
            follow(&mut rounds, hour..hour + 1);
            if let Some(since) = rounds.coverage(now).complete_since {
                longest = longest.max(now.since(since));
            }
        }
        assert!(!longest.is_zero() && longest < cycle, "{days}: {longest:?}");
        let coverage = rounds.coverage(NOON + cycle * 3);
        assert_eq!((coverage.read, coverage.findings), (coverage.shares, 0), "{days}");
    }
}

#[test]
fn what_was_missed_is_made_up_for_at_once_and_spread_again() {
    let mut rounds = Rounds::new(NOON, DAY * 30);
    follow(&mut rounds, 0..24 * 40);
    // Off for 20 days.
    let back = 24 * 60;
    follow(&mut rounds, back..back + 1);
    let now = NOON + DAY * 60;
    let oldest = rounds.coverage(now).complete_since.unwrap();
    assert!(now.since(oldest) < DAY * 30, "{oldest}");
    follow(&mut rounds, back + 1..back + 24 * 30);
    let read: std::collections::BTreeSet<Option<Timestamp>> =
        rounds.shares.iter().map(|share| share.read).collect();
    assert!(read.len() > 25, "they are read one after another again: {read:?}");
}

#[test]
fn a_repository_that_cannot_be_read_is_tried_again_later_each_time() {
    let mut rounds = Rounds::new(NOON, DAY * 30);
    assert_eq!(rounds.due(NOON, DAY), NOON + DAY * 30 / 31, "spread over the first step");
    let mut pauses = Vec::new();
    let mut now = NOON;
    for _ in 0..6 {
        read(&mut rounds, None, now);
        let due = rounds.due(now, Duration::ZERO);
        pauses.push(due.since(now).as_secs() / 60);
        now = due;
    }
    assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
    assert!(rounds.failure().is_some() && rounds.coverage(now).read == 0);
    read(&mut rounds, Some(0), now);
    assert_eq!((rounds.failure(), rounds.due(now, Duration::ZERO)), (None, now + DAY * 30 / 31));
}

#[test]
fn damage_stays_until_what_was_damaged_is_read_well_or_everything_is() {
    let mut rounds = Rounds::new(NOON, DAY * 2);
    read(&mut rounds, Some(3), NOON);
    assert_eq!(rounds.coverage(NOON).findings, 3);
    read(&mut rounds, Some(0), NOON + DAY);
    assert!(rounds.damage().is_some(), "the other share is well");
    let by = StartedBy::Hand;
    let whole = CheckRun { started: NOON + DAY, by, part: 1, of: 1, end: None, findings: None };
    rounds.begin(1, 1, by, NOON + DAY);
    rounds.finish(&whole, end(NOON + DAY, BackupResult::Ok), Some(0));
    let coverage = rounds.coverage(NOON + DAY);
    assert_eq!((coverage.findings, coverage.complete_since), (0, Some(NOON + DAY)));
    assert_eq!(rounds.damage(), None);
}

#[test]
fn another_cycle_forgets_nothing_and_a_share_of_others_counts_for_nothing() {
    let mut rounds = Rounds::new(NOON, DAY * 3);
    for day in 0..3 {
        read(&mut rounds, Some(0), NOON + DAY * day);
    }
    rounds.fit(DAY * 7);
    assert_eq!((rounds.count(), rounds.coverage(NOON + DAY * 3).complete_since), (7, Some(NOON)));
    let by = StartedBy::Order;
    let run = CheckRun { started: NOON + DAY * 4, by, part: 2, of: 5, end: None, findings: None };
    rounds.begin(2, 5, by, NOON + DAY * 4);
    rounds.finish(&run, end(NOON + DAY * 4, BackupResult::Ok), Some(0));
    assert_eq!(rounds.coverage(NOON + DAY * 4).complete_since, Some(NOON));
    assert!(!rounds.is_open());
}

#[test]
fn a_check_without_an_end_was_cut_and_is_tried_again() {
    let mut rounds = Rounds::new(NOON, DAY);
    rounds.begin(1, 1, StartedBy::Schedule, NOON);
    assert!(rounds.is_open());
    rounds.settle("it was killed", NOON + Duration::from_secs(60));
    assert!(!rounds.is_open() && rounds.failure().unwrap().detail == "it was killed");
    assert_eq!(rounds.due(NOON + DAY, Duration::ZERO), NOON + Duration::from_secs(360));
}
