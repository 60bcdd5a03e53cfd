//! What ran and when, as a table for people. Pure.

use campanile_common::time::Timestamp;

use super::runs::{History, Run, Runs, StartedBy};

/// Digits of a snapshot's name that people need.
const SHORT: usize = 8;

/// A line for each policy, with the reason below it where something is wrong.
pub fn table(runs: &Runs) -> String {
    let mut rows = vec![["POLICY", "LAST", "BY", "RESULT", "TOOK", "SNAPSHOT", "NEXT"].map(str::to_owned)];
    rows.extend(runs.policies.iter().map(|(name, history)| row(name.as_str(), history)));
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
    let reasons = runs.policies.iter().filter_map(|(name, history)| Some((name, reason(history)?)));
    for (name, reason) in reasons {
        text.push_str(&format!("{name}: {reason}\n"));
    }
    if !runs.denied.is_empty() {
        text.push_str(&format!("nothing runs by its schedule: {}\n", runs.denied));
    }
    text
}

fn row(name: &str, history: &History) -> [String; 7] {
    let none = || "-".to_owned();
    let time = |time: Option<Timestamp>| time.map_or_else(none, |time| time.to_string());
    let last = history.last();
    let end = last.and_then(|run| run.end.as_ref());
    let by = last.map_or("-", |run: &Run| match run.by {
        StartedBy::Schedule => "schedule",
        StartedBy::Order => "order",
        StartedBy::Hand => "hand",
    });
    let result = match (last, end) {
        (None, _) => none(),
        (Some(_), None) => "runs".to_owned(),
        (Some(_), Some(end)) => end.result.as_str().to_owned(),
    };
    let snapshot = end.and_then(|end| end.snapshot.as_deref());
    [
        name.to_owned(),
        time(last.map(|run| run.started)),
        by.to_owned(),
        result,
        end.map_or_else(none, |end| format!("{}.{} s", end.duration_ms / 1000, end.duration_ms % 1000 / 100)),
        snapshot.map_or_else(none, |id| id.get(..SHORT).unwrap_or(id).to_owned()),
        time(history.next),
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
        assert_eq!(table(&runs), expected);
    }
}
