//! Keep rules over calendars, and the reasons they give.

use proptest::prelude::*;

use super::*;

const DAY: i64 = 86_400;

fn time(text: &str) -> FileTime {
    FileTime::from_rfc3339(text).unwrap()
}

fn now() -> FileTime {
    time("2030-01-01T00:00:00Z")
}

fn candidates(times: &[&str]) -> Vec<Candidate<usize>> {
    let of = |(key, text): (usize, &&str)| Candidate { key, time: time(text), tags: Vec::new() };
    times.iter().enumerate().map(of).collect()
}

fn kept(rules: &KeepRules, times: &[&str]) -> Vec<usize> {
    let decision = decide(rules, candidates(times), now());
    assert_eq!(decision.keep.len() + decision.forget.len(), times.len());
    decision.keep.into_iter().map(|(candidate, _)| candidate.key).collect()
}

const TIMES: [&str; 8] = [
    "2026-05-03T10:14:00Z",
    "2026-05-03T10:01:00Z",
    "2026-05-03T09:59:00Z",
    "2026-05-02T23:00:00Z",
    "2026-04-30T12:00:00Z",
    "2026-04-26T12:00:00Z",
    "2025-12-31T12:00:00Z",
    "2025-12-29T12:00:00Z",
];

#[test]
fn the_newest_of_each_period_is_kept() {
    let rules = KeepRules { last: 2, ..KeepRules::default() };
    assert_eq!(kept(&rules, &TIMES), [0, 1]);
    let rules = KeepRules { hourly: 3, ..KeepRules::default() };
    assert_eq!(kept(&rules, &TIMES), [0, 2, 3]);
    let rules = KeepRules { daily: 2, ..KeepRules::default() };
    assert_eq!(kept(&rules, &TIMES), [0, 3]);
    // 3 May 2026 is a Sunday; the last two of 2025 are of the first week of 2026.
    let rules = KeepRules { weekly: 3, ..KeepRules::default() };
    assert_eq!(kept(&rules, &TIMES), [0, 5, 6]);
    let rules = KeepRules { monthly: 2, ..KeepRules::default() };
    assert_eq!(kept(&rules, &TIMES), [0, 4]);
    let rules = KeepRules { yearly: 2, ..KeepRules::default() };
    assert_eq!(kept(&rules, &TIMES), [0, 6]);
}

#[test]
fn a_rule_with_some_left_keeps_the_oldest_too() {
    let rules = KeepRules { yearly: 5, ..KeepRules::default() };
    assert_eq!(kept(&rules, &TIMES), [0, 6, 7]);
    let decision = decide(&rules, candidates(&TIMES), now());
    assert_eq!(decision.keep[1].1, [Reason::Newest(Period::Year)]);
    assert_eq!(decision.keep[2].1, [Reason::Oldest(Period::Year)]);
}

#[test]
fn durations_count_from_the_newest_that_is_not_of_the_future() {
    let rules = KeepRules { within: "7d".parse().unwrap(), ..KeepRules::default() };
    assert_eq!(kept(&rules, &TIMES), [0, 1, 2, 3, 4, 5]);
    let mut times = TIMES.to_vec();
    times.push("2031-01-01T00:00:00Z");
    assert_eq!(kept(&rules, &times), [8, 0, 1, 2, 3, 4, 5]);
    let rules = KeepRules { within_daily: "1m".parse().unwrap(), ..KeepRules::default() };
    assert_eq!(kept(&rules, &TIMES), [0, 3, 4, 5]);
}

#[test]
fn a_month_before_the_31st_is_counted_on() {
    let rules = KeepRules { within: "1m".parse().unwrap(), ..KeepRules::default() };
    let times = ["2026-03-31T12:00:00Z", "2026-03-03T12:00:01Z", "2026-03-03T12:00:00Z"];
    assert_eq!(kept(&rules, &times), [0, 1]);
}

#[test]
fn tags_keep_by_lists() {
    let mut all = candidates(&TIMES[..3]);
    all[0].tags = vec!["a".to_owned()];
    all[1].tags = vec!["a".to_owned(), "b".to_owned()];
    let keep = |tags: &[&[&str]]| {
        let list = |list: &&[&str]| list.iter().map(|tag| (*tag).to_owned()).collect();
        let rules = KeepRules { tags: tags.iter().map(list).collect(), ..KeepRules::default() };
        let decision = decide(&rules, all.clone(), now());
        decision.keep.into_iter().map(|(candidate, _)| candidate.key).collect::<Vec<_>>()
    };
    assert_eq!(keep(&[&["a", "b"]]), [1]);
    assert_eq!(keep(&[&["a"]]), [0, 1]);
    assert_eq!(keep(&[&[], &["b"]]), [1, 2]);
}

#[test]
fn without_rules_all_are_kept_and_with_any_each_has_its_reasons() {
    assert_eq!(kept(&KeepRules::default(), &TIMES).len(), 8);
    let rules = KeepRules { last: 1, daily: 1, within: "1h".parse().unwrap(), ..KeepRules::default() };
    let decision = decide(&rules, candidates(&TIMES), now());
    let reasons: Vec<_> = decision.keep[0].1.iter().map(ToString::to_string).collect();
    assert_eq!(reasons, ["within 1h", "last snapshot", "daily snapshot"]);
}

#[test]
fn groups_are_machines_and_their_paths_in_any_order() {
    let snapshot = |hostname: &str, paths: &[&str]| -> Snapshot {
        let json = serde_json::json!({
            "time": "2026-05-03T10:14:00Z", "tree": crate::id::ObjectId::of(b"tree").to_string(),
            "paths": paths, "hostname": hostname,
        });
        serde_json::from_value(json).unwrap()
    };
    let groups = groups([
        (1, snapshot("a", &["/etc", "/srv"])),
        (2, snapshot("a", &["/srv", "/etc"])),
        (3, snapshot("a", &["/srv"])),
        (4, snapshot("b", &["/srv"])),
    ]);
    let keys: Vec<Vec<i32>> =
        groups.values().map(|group| group.iter().map(|one| one.key).collect()).collect();
    assert_eq!(keys, [vec![1, 2], vec![3], vec![4]]);
}

#[test]
fn spans_are_read_as_written_and_nothing_else_is() {
    for text in ["1y6m14d12h", "2d", "", "400d"] {
        assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
    }
    for text in ["5", "d", "-1d", "1w", "1d1d", "99999999999d", "1 d"] {
        assert!(text.parse::<Span>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn every_snapshot_is_judged_once_and_any_counting_rule_keeps_the_newest(
        offsets in prop::collection::vec(0..900 * DAY, 1..60),
        counts in prop::array::uniform6(0_u32..5),
        days in 0_u32..500,
    ) {
        let [last, hourly, daily, weekly, monthly, yearly] = counts;
        let within = Span { days, ..Span::default() };
        let rules = KeepRules { last, hourly, daily, weekly, monthly, yearly, within, ..KeepRules::default() };
        let all: Vec<_> = offsets
            .iter()
            .enumerate()
            .map(|(key, offset)| Candidate {
                key,
                time: FileTime { seconds: 1_700_000_000 + offset, nanoseconds: 0 },
                tags: Vec::new(),
            })
            .collect();
        let newest = all.iter().map(|one| (one.time, one.key)).max().unwrap();
        let decision = decide(&rules, all, now());
        let kept: Vec<_> = decision.keep.iter().map(|(one, _)| (one.time, one.key)).collect();
        prop_assert_eq!(kept.len() + decision.forget.len(), offsets.len());
        prop_assert_eq!(kept[0], newest);
        prop_assert!(kept.is_sorted_by(|left, right| left > right));
        let bound = counts.iter().sum::<u32>() as usize;
        prop_assert!(rules.is_empty() || days > 0 || kept.len() <= bound);
    }

    #[test]
    fn no_moment_and_no_span_stops_the_calendar(
        seconds: i64, nanoseconds: u32, years: u32, months: u32, days: u32, hours: u32,
    ) {
        let moment = Moment::new(FileTime { seconds, nanoseconds });
        let span = Span { years, months, days, hours };
        prop_assert!(moment.before(span) <= moment);
        for period in [Period::Hour, Period::Day, Period::Week, Period::Month, Period::Year] {
            moment.number(period, 0);
        }
    }
}
