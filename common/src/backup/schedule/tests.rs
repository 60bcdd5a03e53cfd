//! Due times over nights, windows, splay, clocks that jump and nodes that were off.

use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn schedule(text: &str, splay_s: u64, window: Option<&str>) -> Schedule {
    Schedule {
        when: When::Recurring(Recurrence::parse(text).unwrap()),
        splay: Duration::from_secs(splay_s),
        window: window.map(|text| Window::parse(text).unwrap()),
    }
}

fn seat(node: u8, offset_s: i32) -> Seat {
    Seat::new(NodeId::from_bytes([node; 8]), &"etc".parse().unwrap(), UtcOffset::from_seconds(offset_s))
}

const DAILY: &str = "30 2 * * *";

#[test]
fn times_are_those_of_the_clock_on_the_wall() {
    let daily = schedule(DAILY, 0, None);
    let next = |offset, after| daily.next_due(at(after), &seat(1, offset)).unwrap();
    assert_eq!(next(0, "2026-03-01T02:29:59Z"), at("2026-03-01T02:30:00Z"));
    assert_eq!(next(0, "2026-03-01T02:30:00Z"), at("2026-03-02T02:30:00Z"));
    assert_eq!(next(2 * 3600, "2026-03-01T00:00:00Z"), at("2026-03-01T00:30:00Z"));
    assert_eq!(next(-5 * 3600, "2026-03-01T02:30:00Z"), at("2026-03-01T07:30:00Z"));
    let leap = schedule("0 12 29 2 *", 0, None);
    assert_eq!(leap.next_due(at("2096-03-01T00:00:00Z"), &seat(1, 0)), Some(at("2104-02-29T12:00:00Z")));
    let every = schedule("@every 6h", 0, None);
    assert_eq!(every.next_due(at("2026-03-01T06:00:00Z"), &seat(1, 0)), Some(at("2026-03-01T12:00:00Z")));
}

#[test]
fn each_node_and_each_policy_has_its_own_share_of_the_splay_and_keeps_it() {
    let spread = schedule(DAILY, 3600, None);
    let base = at("2026-03-01T02:30:00Z");
    let mut shares = Vec::new();
    for node in 0..100 {
        let seat = seat(node, 0);
        let first = spread.next_due(at("2026-03-01T00:00:00Z"), &seat).unwrap();
        let second = spread.next_due(first, &seat).unwrap();
        assert_eq!(second.since(first), Duration::from_secs(86_400));
        assert!(first >= base && first.since(base) < Duration::from_secs(3600));
        shares.push(first.since(base));
    }
    shares.sort();
    let widest = shares.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(widest < Duration::from_secs(400) && shares[0] != shares[99], "{widest:?}");
    let of = |name: &str| Seat::new(NodeId::from_bytes([7; 8]), &name.parse().unwrap(), UtcOffset::UTC);
    assert_ne!(of("etc").share_of(spread.splay), of("home").share_of(spread.splay));
}

#[test]
fn what_is_due_while_the_window_is_closed_waits_until_it_opens() {
    let windowed = schedule("0 12 * * *", 0, Some("01:00-05:00"));
    let next = |after| windowed.next_due(at(after), &seat(1, 0)).unwrap();
    assert_eq!(next("2026-03-01T00:00:00Z"), at("2026-03-02T01:00:00Z"));
    let over_midnight = schedule("@every 6h", 0, Some("22:00-04:00"));
    let next = |after| over_midnight.next_due(at(after), &seat(1, 0)).unwrap();
    assert_eq!(next("2026-03-01T19:00:00Z"), at("2026-03-02T00:00:00Z"));
    assert_eq!(next("2026-03-02T00:00:00Z"), at("2026-03-02T22:00:00Z"));
    // By the node's clock.
    let shifted = schedule("0 12 * * *", 0, Some("01:00-05:00"));
    assert_eq!(
        shifted.next_due(at("2026-03-01T00:00:00Z"), &seat(1, 3600)),
        Some(at("2026-03-02T00:00:00Z"))
    );
}

#[test]
fn a_window_is_read_and_nonsense_is_not() {
    assert_eq!(Window::parse("01:00-05:00").unwrap().length(), Duration::from_secs(4 * 3600));
    assert_eq!(Window::parse("22:30-00:15").unwrap().length(), Duration::from_secs(105 * 60));
    assert_eq!(Window::parse("00:30-24:00").unwrap().length(), Duration::from_secs(1410 * 60));
    for text in
        ["", "1:00-5:00", "01:00", "01:00-01:00", "00:00-24:00", "25:00-26:00", "01:60-02:00", "+1:00-02:00"]
    {
        assert_eq!(Window::parse(text), None, "{text}");
    }
}

#[test]
fn missed_runs_are_made_up_for_once() {
    let daily = schedule(DAILY, 0, None);
    let now = at("2026-03-10T12:00:00Z");
    let past = |last| Past { last: Some(at(last)), since: at("2026-01-01T00:00:00Z"), awake: now };
    let seat = seat(1, 0);
    // A week of runs was missed.
    let start = daily.next_start(&past("2026-03-03T02:30:00Z"), now, &seat).unwrap();
    assert!(start <= now, "{start}");
    // It ran: the next is an ordinary one.
    let ran = Past { last: Some(now), ..past("2026-03-03T02:30:00Z") };
    assert_eq!(daily.next_start(&ran, now, &seat), Some(at("2026-03-11T02:30:00Z")));
}

#[test]
fn a_fleet_that_comes_back_at_once_is_spread() {
    let daily = schedule(DAILY, 3600, None);
    let now = at("2026-03-10T12:00:00Z");
    let past = Past { last: Some(at("2026-03-03T02:30:00Z")), since: at("2026-01-01T00:00:00Z"), awake: now };
    let starts: Vec<Timestamp> =
        (0..100).map(|node| daily.next_start(&past, now, &seat(node, 0)).unwrap()).collect();
    assert!(starts.iter().all(|start| start.since(now) < CATCH_UP_SPLAY_MAX));
    assert!(starts.iter().filter(|start| start.since(now) > Duration::from_secs(60)).count() > 80);
}

#[test]
fn missed_runs_wait_for_the_window_and_are_spread_when_it_opens() {
    let windowed = schedule(DAILY, 1800, Some("01:00-05:00"));
    let awake = at("2026-03-10T12:00:00Z");
    let past = Past { last: Some(at("2026-03-03T02:45:00Z")), since: at("2026-01-01T00:00:00Z"), awake };
    let (opens, spread) = (at("2026-03-11T01:00:00Z"), Duration::from_secs(1800));
    for node in 0..20 {
        let seat = seat(node, 0);
        let planned = windowed.next_start(&past, awake, &seat).unwrap();
        assert!(planned >= opens && planned.since(opens) < spread, "{planned}");
        // Looked at again once it is open, it is the same.
        assert_eq!(windowed.next_start(&past, at("2026-03-11T01:00:00Z"), &seat), Some(planned));
        assert!(windowed.next_start(&past, at("2026-03-11T01:31:00Z"), &seat).unwrap() <= planned);
    }
}

#[test]
fn a_new_policy_runs_soon_and_a_clock_that_was_ahead_stops_nothing() {
    let daily = schedule(DAILY, 1800, None);
    let now = at("2026-03-10T12:00:00Z");
    let seat = seat(3, 0);
    let new = Past { last: None, since: now, awake: at("2026-03-01T00:00:00Z") };
    assert_eq!(daily.next_start(&new, now, &seat), Some(now + seat.share_of(daily.splay)));
    let ahead = Past { last: Some(at("2040-01-01T00:00:00Z")), ..new };
    let next = daily.next_start(&ahead, now, &seat).unwrap();
    assert!(next > now && next.since(now) <= Duration::from_secs(86_400));
}

#[test]
fn the_interval_counts_the_wait_for_the_window() {
    let hours = |schedule: Schedule| schedule.interval().as_secs() / 3600;
    assert_eq!(hours(schedule("@hourly", 0, None)), 1);
    assert_eq!(hours(schedule("@hourly", 0, Some("00:00-23:00"))), 2);
    assert_eq!(hours(schedule("@every 6h", 0, Some("01:00-05:00"))), 24);
    assert_eq!(hours(schedule(DAILY, 0, Some("01:00-05:00"))), 24);
    assert_eq!(hours(schedule("@weekly", 0, Some("01:00-05:00"))), 168);
    assert_eq!(hours(Schedule { when: When::Continuous, splay: Duration::ZERO, window: None }), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn due_times_are_later_lie_in_the_window_and_come_within_the_interval(
        start_s in 1_700_000_000_u64..1_900_000_000,
        text in prop::sample::select(vec!["@hourly", "30 2 * * *", "@every 6h", "0 9 * * mon-fri", "@weekly"]),
        splay_s in 0_u64..7200,
        window in prop::option::of((0_u16..1440, 1_u16..1440)),
        (node, offset_s) in (any::<u8>(), -43_200_i32..50_400),
    ) {
        let window = window.map(|(start, length)| Window { start, end: (start + length) % 1440 });
        let schedule = Schedule { window, ..schedule(text, splay_s, None) };
        let seat = seat(node, offset_s);
        let after = Timestamp::from_millis(start_s * 1000);
        let due = schedule.next_due(after, &seat).unwrap();
        prop_assert!(due > after);
        if let Some(window) = window {
            let is_open = matches!(window.opening(seat.zone.shown(due)), Opening::Open { .. });
            prop_assert!(is_open, "{}", due);
        }
        let next = schedule.next_due(due, &seat).unwrap();
        prop_assert!(next > due);
        let day = Duration::from_secs(86_400);
        prop_assert!(next.since(due) <= schedule.interval().max(day) + day, "{} {}", due, next);
        let past = Past { last: Some(due), since: after, awake: after };
        prop_assert_eq!(schedule.next_start(&past, due, &seat), Some(next));
    }
}
