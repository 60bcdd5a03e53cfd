//! Due times over changes of the clocks, leap days and calendars, and texts that are refused.

use super::*;
use proptest::prelude::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn when(text: &str, zone: &str) -> When {
    When::parse(text, Some(zone), at("2026-01-01T00:00:00Z")).unwrap()
}

/// The due times after `after`, as many as there are expected.
fn due(when: &When, after: &str, expected: &[&str]) {
    let mut last = at(after);
    for text in expected {
        last = when.next(last).unwrap();
        assert_eq!(last, at(text), "after {after}");
    }
}

#[test]
fn fields_take_values_ranges_lists_steps_and_names() {
    due(&when("30 3 * * *", "UTC"), "2026-03-01T03:30:00Z", &["2026-03-02T03:30:00Z"]);
    let weekdays = when("0 9 * * mon-fri", "UTC");
    due(&weekdays, "2026-05-29T09:00:00Z", &["2026-06-01T09:00:00Z", "2026-06-02T09:00:00Z"]);
    let steps = when("5-20/5,50 0 1 1,JUL *", "UTC");
    due(
        &steps,
        "2026-01-01T00:04:59Z",
        &[
            "2026-01-01T00:05:00Z",
            "2026-01-01T00:10:00Z",
            "2026-01-01T00:15:00Z",
            "2026-01-01T00:20:00Z",
            "2026-01-01T00:50:00Z",
            "2026-07-01T00:05:00Z",
        ],
    );
    due(
        &when("7/25 * * * *", "UTC"),
        "2026-01-01T00:00:00Z",
        &["2026-01-01T00:07:00Z", "2026-01-01T00:32:00Z"],
    );
    for sunday in ["0 0 * * 0", "0 0 * * 7", "0 0 * * sun", "@weekly"] {
        due(&when(sunday, "UTC"), "2026-11-16T00:00:00Z", &["2026-11-22T00:00:00Z"]);
    }
}

#[test]
fn either_day_suffices_when_both_are_restricted() {
    // The 13th, and every Friday.
    let when = when("0 0 13 * fri", "UTC");
    due(&when, "2026-11-06T00:00:00Z", &["2026-11-13T00:00:00Z", "2026-11-20T00:00:00Z"]);
    due(&when, "2026-12-11T00:00:00Z", &["2026-12-13T00:00:00Z"]);
}

#[test]
fn a_time_that_the_clocks_skip_is_due_when_they_go_on() {
    // 29 March 2026 in Rome: 02:00 becomes 03:00, at 01:00 UTC.
    let rome = when("30 2 * * *", "Europe/Rome");
    due(
        &rome,
        "2026-03-27T12:00:00Z",
        &["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
    );
    // What is due at 03:00 anyway is due once.
    let twice = when("30 2,3 * * *", "Europe/Rome");
    due(&twice, "2026-03-28T12:00:00Z", &["2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"]);
    let on_the_hour = when("0 2,3 * * *", "Europe/Rome");
    due(&on_the_hour, "2026-03-28T12:00:00Z", &["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"]);
}

#[test]
fn a_time_that_comes_twice_is_due_the_first_time() {
    // 25 October 2026 in Rome: 03:00 becomes 02:00, at 01:00 UTC.
    let rome = when("30 2 * * *", "Europe/Rome");
    due(&rome, "2026-10-24T12:00:00Z", &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
}

#[test]
fn with_any_hour_nothing_moves_when_the_clocks_change() {
    let rome = when("*/30 * * * *", "Europe/Rome");
    due(
        &rome,
        "2026-03-29T00:15:00Z",
        &["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"],
    );
    due(
        &rome,
        "2026-10-25T00:00:00Z",
        &["2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"],
    );
}

#[test]
fn a_leap_day_comes_when_it_comes() {
    let leap = when("0 12 29 2 *", "UTC");
    due(&leap, "2026-01-01T00:00:00Z", &["2028-02-29T12:00:00Z", "2032-02-29T12:00:00Z"]);
    // 2100 is no leap year.
    due(&leap, "2096-03-01T00:00:00Z", &["2104-02-29T12:00:00Z"]);
}

#[test]
fn a_day_that_a_zone_skipped_is_due_when_the_next_begins() {
    // Samoa had no 30 December 2011.
    due(&when("0 9 30 12 *", "Pacific/Apia"), "2011-12-01T00:00:00Z", &["2011-12-30T10:00:00Z"]);
}

#[test]
fn every_counts_from_its_anchor() {
    let every = when("@every 90m", "UTC");
    due(&every, "2026-01-01T00:00:00Z", &["2026-01-01T01:30:00Z", "2026-01-01T03:00:00Z"]);
    due(&every, "2025-06-01T00:00:00Z", &["2026-01-01T01:30:00Z"]);
    due(&every, "2026-01-01T01:29:59.999Z", &["2026-01-01T01:30:00Z"]);
    assert_eq!(
        every.latest(at("2026-01-01T00:00:00Z"), at("2026-01-01T05:00:00Z")),
        Some(at("2026-01-01T04:30:00Z"))
    );
    assert_eq!(every.latest(at("2026-01-01T04:30:00Z"), at("2026-01-01T05:00:00Z")), None);
    assert_eq!(every.latest(at("2025-01-01T04:30:00Z"), at("2025-12-01T05:00:00Z")), None);
}

#[test]
fn the_latest_due_time_is_found_however_long_ago_the_first_was() {
    let nightly = when("30 2 * * *", "Europe/Rome");
    let latest = |after: &str, until: &str| nightly.latest(at(after), at(until));
    assert_eq!(latest("2026-01-01T00:00:00Z", "2026-10-25T00:30:00Z"), Some(at("2026-10-25T00:30:00Z")));
    assert_eq!(latest("2026-01-01T00:00:00Z", "2026-10-25T00:29:59Z"), Some(at("2026-10-24T00:30:00Z")));
    assert_eq!(latest("2026-10-25T00:30:00Z", "2026-10-25T23:00:00Z"), None);
    assert_eq!(latest("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"), Some(at("2026-03-29T01:00:00Z")));
}

#[test]
fn the_shortest_interval_sees_the_change_of_the_clocks() {
    let shortest = |text: &str, zone: &str| {
        when(text, zone).shortest_interval(at("2026-06-01T00:00:00Z")).map(|gap| gap.as_secs())
    };
    assert_eq!(shortest("0 3 * * *", "UTC"), Some(86_400));
    assert_eq!(shortest("0 3 * * *", "Europe/Rome"), Some(82_800));
    assert_eq!(shortest("*/5 * * * *", "Europe/Rome"), Some(300));
    assert_eq!(shortest("* * * * *", "UTC"), Some(60));
    assert_eq!(shortest("0,50 * * * *", "UTC"), Some(600));
    assert_eq!(shortest("@every 90m", "UTC"), Some(5_400));
    assert_eq!(shortest("0 0 29 2 *", "UTC"), None);
}

#[test]
fn what_says_no_time_is_refused_with_the_reason() {
    let error = |text: &str| When::parse(text, None, Timestamp::default()).unwrap_err();
    assert!(matches!(error("0 0 31 2 *"), WhenError::Recurrence(RecurrenceError::Never(_))));
    assert!(matches!(error("0 0 31 apr,jun *"), WhenError::Recurrence(RecurrenceError::Never(_))));
    for text in ["", "0 0 * *", "0 0 * * * *", "@reboot", "@every", "@fortnightly"] {
        assert!(matches!(error(text), WhenError::Recurrence(RecurrenceError::Form(_))), "{text}");
    }
    for text in [
        "@every 59s",
        "@every 367d",
        "@every 5",
        "@every m",
        "@every -5m",
        "@every 5x",
        "@every 99999999999999999999d",
    ] {
        assert!(matches!(error(text), WhenError::Recurrence(RecurrenceError::Every(_))), "{text}");
    }
    for text in [
        "60 0 * * *",
        "0 24 * * *",
        "0 0 0 * *",
        "0 0 32 * *",
        "0 0 * 13 *",
        "0 0 * * 8",
        "20-10 0 * * *",
        "*/0 * * * *",
        "a * * * *",
        "1,,2 * * * *",
        "+1 * * * *",
        "0 0 * * monday",
        "-1 0 * * *",
        "*/99 * * * *",
    ] {
        assert!(matches!(error(text), WhenError::Recurrence(RecurrenceError::Field { .. })), "{text}");
    }
    assert!(error("20-10 0 * * *").to_string().contains("the minute `20-10`"));
    let zone = When::parse("0 0 * * *", Some("Europe/Rom"), Timestamp::default()).unwrap_err();
    assert_eq!(zone, WhenError::TimeZone("Europe/Rom".to_owned()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn due_times_rise_and_the_latest_is_the_one_before_the_next(
        minute in 0_u8..60, hour in prop::option::of(0_u8..24), start in 1_700_000_000_u64..1_900_000_000,
    ) {
        let hour = hour.map_or_else(|| "*".to_owned(), |hour| hour.to_string());
        let when = when(&format!("{minute} {hour} * * *"), "Europe/Rome");
        let start = Timestamp::from_millis(start * 1000);
        let first = when.next(start).unwrap();
        let second = when.next(first).unwrap();
        prop_assert!(start < first && first < second);
        prop_assert_eq!(when.latest(start, second - Duration::from_millis(1)), Some(first));
        prop_assert_eq!(when.latest(start, second), Some(second));
    }

    #[test]
    fn any_text_is_read_or_refused_without_a_panic(text in "[-@*/, 0-9a-z]{0,24}") {
        if let Ok(when) = When::parse(&text, None, Timestamp::default()) {
            let now = Timestamp::from_millis(1_800_000_000_000);
            prop_assert!(when.next(now).is_none_or(|next| next > now));
        }
    }
}
