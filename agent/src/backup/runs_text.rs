//! What ran and when, as a table for people. Pure.

use campanile_common::time::Timestamp;

use super::rounds::{CheckRun, Rounds};
use super::runs::{History, Run, RunEnd, Runs, StartedBy};

/// Digits of a snapshot's name that people need.
const SHORT: usize = 8;

/// A line for each policy, each drill and each repository, with the reason below it where something is wrong.
pub fn table(runs: &Runs, now: Timestamp) -> String {
    let mut text =
        lines("POLICY", "SNAPSHOT", runs.policies.iter().map(|(name, history)| row(name.as_str(), history)));
    let drills: Vec<_> = runs.drills.iter().map(|(name, history)| row(name.as_str(), history)).collect();
    if !drills.is_empty() {
        text.push('\n');
        text.push_str(&lines("DRILL", "SNAPSHOT", drills.into_iter()));
    }
    if !runs.checks.is_empty() {
        text.push('\n');
        let checks = runs.checks.iter().map(|(target, rounds)| check_row(target, rounds, now));
        text.push_str(&lines("CHECK", "READ", checks));
    }
    let of_policies =
        runs.policies.iter().filter_map(|(name, history)| Some((name.to_string(), reason(history)?)));
    let of_drills =
        runs.drills.iter().filter_map(|(name, history)| Some((format!("drill of {name}"), reason(history)?)));
    let of_checks = runs
        .checks
        .iter()
        .filter_map(|(target, rounds)| Some((format!("check of {target}"), check_reason(rounds)?)));
    for (name, reason) in of_policies.chain(of_drills).chain(of_checks) {
        text.push_str(&format!("{name}: {reason}\n"));
    }
    if !runs.denied.is_empty() {
        text.push_str(&format!("nothing runs by its schedule: {}\n", runs.denied));
    }
    text
}

/// Rows in columns that are as wide as they must be.
fn lines(what: &str, made: &str, rows: impl Iterator<Item = [String; 7]>) -> String {
    let mut all = vec![[what, "LAST", "BY", "RESULT", "TOOK", made, "NEXT"].map(str::to_owned)];
    all.extend(rows);
    let rows = all;
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

const NONE: &str = "-";

const fn by(by: StartedBy) -> &'static str {
    match by {
        StartedBy::Schedule => "schedule",
        StartedBy::Order => "order",
        StartedBy::Hand => "hand",
    }
}

fn shown(time: Option<Timestamp>) -> String {
    time.map_or_else(|| NONE.to_owned(), |time| time.to_string())
}

fn took(end: Option<&RunEnd>) -> String {
    let seconds = |end: &RunEnd| format!("{}.{} s", end.duration_ms / 1000, end.duration_ms % 1000 / 100);
    end.map_or_else(|| NONE.to_owned(), seconds)
}

fn result(is_there: bool, end: Option<&RunEnd>) -> String {
    match (is_there, end) {
        (false, _) => NONE.to_owned(),
        (true, None) => "runs".to_owned(),
        (true, Some(end)) => end.result.as_str().to_owned(),
    }
}

/// How a repository is read: how many of its shares were within the cycle.
fn check_row(target: &str, rounds: &Rounds, now: Timestamp) -> [String; 7] {
    let (last, coverage) = (rounds.runs.last(), rounds.coverage(now));
    let end = last.and_then(|run| run.end.as_ref());
    [
        target.to_owned(),
        shown(last.map(|run| run.started)),
        last.map_or(NONE, |run: &CheckRun| by(run.by)).to_owned(),
        result(last.is_some(), end),
        took(end),
        format!("{}/{}", coverage.read, coverage.shares),
        shown(rounds.next),
    ]
}

fn check_reason(rounds: &Rounds) -> Option<String> {
    let wrong = rounds.damage().map(|end| {
        format!("{}; when it is mended, `campanile-agent backup check` looks at everything", end.detail)
    });
    wrong.or_else(|| rounds.failure().map(|end| end.detail.clone()))
}

fn row(name: &str, history: &History) -> [String; 7] {
    let last = history.last();
    let end = last.and_then(|run| run.end.as_ref());
    let snapshot = end.and_then(|end| end.snapshot.as_deref());
    [
        name.to_owned(),
        shown(last.map(|run| run.started)),
        last.map_or(NONE, |run: &Run| by(run.by)).to_owned(),
        result(last.is_some(), end),
        took(end),
        snapshot.map_or_else(|| NONE.to_owned(), |id| id.get(..SHORT).unwrap_or(id).to_owned()),
        shown(history.next),
    ]
}

/// What is wrong with a policy's runs; nothing, where all is well.
fn reason(history: &History) -> Option<String> {
    if !history.problem.is_empty() {
        return Some(history.problem.clone());
    }
    if !history.waits.is_empty() {
        return Some(history.waits.clone());
    }
    let end = history.last()?.end.as_ref().filter(|end| !end.detail.is_empty())?;
    Some(end.detail.clone())
}

#[cfg(test)]
mod tests {
    use campanile_common::api::BackupResult;

    use super::super::runs::RunEnd;
    use super::*;

    #[test]
    fn each_policy_is_a_line_and_what_is_wrong_is_said_below() {
        let (noon, mut runs) = (Timestamp::from_millis(1_800_000_000_000), Runs::default());
        let (etc, work) = ("etc".parse().unwrap(), "work".parse().unwrap());
        runs.keep(&["new".parse().unwrap()].into(), noon);
        for (name, result, snapshot, detail) in [
            (&etc, BackupResult::Ok, Some("0123456789"), ""),
            (&work, BackupResult::Failed, None, "the disk is full"),
        ] {
            runs.begin(name, StartedBy::Schedule, noon);
            let (snapshot, detail) = (snapshot.map(str::to_owned), detail.to_owned());
            runs.finish(name, noon, RunEnd { time: noon, result, snapshot, duration_ms: 1250, detail });
        }
        runs.begin(&etc, StartedBy::Order, noon);
        if let Some(history) = runs.policies.get_mut(&work) {
            history.next = Some(noon);
        }
        if let Some(history) = runs.policies.get_mut(&etc) {
            "the machine waits for its disks".clone_into(&mut history.waits);
        }
        let expected = "\
POLICY  LAST                      BY        RESULT  TOOK   SNAPSHOT  NEXT
etc     2027-01-15T08:00:00.000Z  order     runs    -      -         -
new     -                         -         -       -      -         -
work    2027-01-15T08:00:00.000Z  schedule  failed  1.2 s  -         2027-01-15T08:00:00.000Z
etc: the machine waits for its disks
work: the disk is full
";
        assert_eq!(table(&runs, noon), expected);
    }
    #[test]
    fn drills_and_the_reading_of_repositories_have_tables_of_their_own() {
        let (noon, mut runs) = (Timestamp::from_millis(1_800_000_000_000), Runs::default());
        let etc = "etc".parse().unwrap();
        runs.keep(&[etc].into(), noon);
        let (etc, by) = ("etc".parse().unwrap(), StartedBy::Schedule);
        runs.begin_drill(&etc, by, noon);
        let end = |result, detail: &str| RunEnd {
            time: noon,
            result,
            snapshot: None,
            duration_ms: 2000,
            detail: detail.to_owned(),
        };
        runs.finish_drill(&etc, noon, end(BackupResult::Failed, "no room"));
        let cycle = std::time::Duration::from_secs(7 * 86_400);
        runs.keep_checks(&[("aggregator".to_owned(), cycle)].into(), noon);
        let rounds = runs.checks.get_mut("aggregator").unwrap();
        rounds.begin(1, 7, by, noon);
        let run = rounds.runs[0].clone();
        rounds.finish(&run, end(BackupResult::Failed, "pack 4f0c is damaged"), Some(1));
        let expected = "\
POLICY  LAST  BY  RESULT  TOOK  SNAPSHOT  NEXT
etc     -     -   -       -     -         -

DRILL  LAST                      BY        RESULT  TOOK   SNAPSHOT  NEXT
etc    2027-01-15T08:00:00.000Z  schedule  failed  2.0 s  -         -

CHECK       LAST                      BY        RESULT  TOOK   READ  NEXT
aggregator  2027-01-15T08:00:00.000Z  schedule  failed  2.0 s  1/7   -
drill of etc: no room
check of aggregator: pack 4f0c is damaged; when it is mended, `campanile-agent backup check` looks at everything
";
        assert_eq!(table(&runs, noon), expected);
    }
}
