//! Which run does everything, and which is in safe mode.

#![expect(clippy::disallowed_methods, reason = "tests damage the file")]

use super::*;

const SETTINGS: SafeModeSettings =
    SafeModeSettings { starts: 3, within: Duration::from_secs(300), retry: Duration::from_secs(3600) };

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis((1_000_000 + seconds) * 1000)
}

fn begin(record: &mut Record, seconds: u64) -> Mode {
    record.begin("1", SETTINGS, at(seconds))
}

/// Runs that are killed a second after they began, the last of them begun at `seconds`.
fn crashed(count: u64, seconds: u64) -> Record {
    let mut record = Record::default();
    for run in 0..count {
        assert_eq!(begin(&mut record, seconds + 1 + run - count), Mode::Full);
    }
    record
}

fn is_safe(mode: &Mode) -> bool {
    matches!(mode, Mode::Safe { .. })
}

#[test]
fn runs_that_end_abnormally_one_after_the_other_lead_to_safe_mode() {
    let mut record = crashed(3, 10);
    record.failed("no\nsuch disk");
    let Mode::Safe { reason, try_at } = begin(&mut record, 11) else { panic!("{record:?}") };
    assert!(reason.contains("last 3 runs ended with: killed, or crashed; no such disk"), "{reason}");
    assert_eq!(try_at, at(3611));
    assert_eq!(record.safe_mode(at(12)).as_ref(), Some(&reason));
    assert!(is_safe(&begin(&mut record, 12)), "and it stays so from start to start");
}

#[test]
fn fewer_or_slower_ones_do_not() {
    assert_eq!(begin(&mut crashed(2, 10), 11), Mode::Full);
    assert_eq!(begin(&mut crashed(3, 10), 400), Mode::Full);
    let mut never = crashed(3, 10);
    assert_eq!(never.begin("1", SafeModeSettings { starts: 0, ..SETTINGS }, at(11)), Mode::Full);
}

#[test]
fn a_good_minute_or_an_ordered_stop_begins_the_count_anew() {
    for heal in [Record::went_well, Record::stopped] {
        let mut record = crashed(3, 10);
        heal(&mut record);
        assert_eq!(begin(&mut record, 11), Mode::Full);
    }
}

#[test]
fn everything_is_tried_after_an_hour_and_then_after_twice_as_long() {
    let mut record = crashed(3, 10);
    assert!(is_safe(&begin(&mut record, 11)));
    assert_eq!(begin(&mut record, 3611), Mode::Full, "once");
    let Mode::Safe { try_at, .. } = begin(&mut record, 3612) else { panic!("{record:?}") };
    assert_eq!(try_at, at(3612 + 7200));
    assert_eq!(begin(&mut record, 3612 + 7200), Mode::Full);
    record.went_well();
    assert_eq!(record.safe_mode(at(20_000)), None);
}

#[test]
fn a_try_that_is_stopped_by_order_is_no_failure() {
    let mut record = crashed(3, 10);
    begin(&mut record, 11);
    begin(&mut record, 3611);
    record.stopped();
    assert_eq!(begin(&mut record, 3620), Mode::Full, "it is tried again");
}

#[test]
fn another_version_and_a_person_lead_out_of_it() {
    let mut record = crashed(3, 10);
    begin(&mut record, 11);
    let mut left = record.clone();
    assert!(left.leave() && !left.leave());
    assert_eq!(begin(&mut left, 12), Mode::Full);
    assert_eq!(record.begin("2", SETTINGS, at(12)), Mode::Full);
    assert_eq!(record.safe_mode(at(12)), None);
}

#[test]
fn a_wait_has_an_end() {
    let mut record = crashed(3, 10);
    let mut now = at(11);
    for _ in 0..20 {
        let Mode::Safe { try_at, .. } = record.begin("1", SETTINGS, now) else { panic!("{record:?}") };
        assert!(try_at.since(now) <= RETRY_MAX);
        assert_eq!(record.begin("1", SETTINGS, try_at), Mode::Full);
        now = try_at + Duration::from_secs(1);
    }
}

#[test]
fn a_record_is_what_it_was_and_a_damaged_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::new(folder.path());
    assert_eq!(ledger.read().unwrap().runs, []);
    let mut record = crashed(3, 10);
    begin(&mut record, 11);
    ledger.write(&record).unwrap();
    assert_eq!(ledger.read().unwrap(), record);
    std::fs::write(folder.path().join("starts.json"), b"{\"format\":1").unwrap();
    assert!(matches!(ledger.read(), Err(LedgerError::Damaged { .. })));
    let nowhere = Ledger::new(&folder.path().join("gone"));
    assert!(matches!(nowhere.write(&record), Err(LedgerError::Write { .. })));
}
