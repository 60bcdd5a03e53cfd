//! Judges what ran of this node's backup policies.

use std::time::Duration;

use campanile_common::api::BackupResult;
use campanile_common::time::Timestamp;

use super::check::{Check, ok, warn};
use crate::backup::ledger::LedgerError;
use crate::backup::rounds::Rounds;
use crate::backup::runs::{History, Runs};

/// A run that stands back from a busy machine begins an hour late; one that waits for another, a little later.
const OVERDUE: Duration = Duration::from_secs(2 * 3600);
const NAME: &str = "backup";
const SEE: &str = "see campanile-agent backup runs";

/// Nothing to say where there are no policies.
pub(super) fn check(found: &Result<Runs, LedgerError>, now: Timestamp) -> Option<Check> {
    let runs = match found {
        Ok(runs) if runs.policies.is_empty() => return None,
        Ok(runs) => runs,
        Err(LedgerError::Read { path, source }) if source.kind() == std::io::ErrorKind::PermissionDenied => {
            return Some(warn(NAME, format!("{}: {source}", path.display()), "run doctor as root to see it"));
        }
        Err(error) => return Some(warn(NAME, error.to_string(), "see the steward's log")),
    };
    if !runs.denied.is_empty() {
        let detail = format!("nothing runs by its schedule: {}", runs.denied);
        return Some(warn(NAME, detail, "allow class `backup` in the node policy, or take the policies off"));
    }
    let policies =
        runs.policies.iter().filter_map(|(name, history)| Some(format!("{name} {}", wrong(history, now)?)));
    let drills = runs
        .drills
        .iter()
        .filter_map(|(name, history)| Some(format!("the drill of {name} {}", wrong_drill(history, now)?)));
    let checks = runs.checks.iter().filter_map(|(target, rounds)| {
        Some(format!("the repository {target} {}", wrong_check(rounds, now)?))
    });
    let wrong: Vec<String> = policies.chain(drills).chain(checks).collect();
    Some(match (wrong.is_empty(), runs.policies.len()) {
        (true, 1) => ok(NAME, "1 policy, in time"),
        (true, count) => ok(NAME, format!("{count} policies, in time")),
        (false, _) => warn(NAME, wrong.join("; "), SEE),
    })
}

fn wrong(history: &History, now: Timestamp) -> Option<String> {
    if !history.problem.is_empty() {
        return Some(format!("cannot run: {}", history.problem));
    }
    if let Some(end) = history.failure() {
        let (result, time, detail) = (end.result.as_str(), end.time, &end.detail);
        return Some(format!("{result} at {time}: {detail}"));
    }
    let next = history.next.filter(|next| !history.is_open() && now.since(*next) > OVERDUE)?;
    Some(format!("has been due since {next} and did not run: is the steward running?"))
}

/// Whoever began it: a drill tells of the backup, not of the schedule.
fn wrong_drill(history: &History, now: Timestamp) -> Option<String> {
    if let Some(end) = history.last_end().filter(|end| end.result != BackupResult::Ok) {
        let (result, time, detail) = (end.result.as_str(), end.time, &end.detail);
        return Some(format!("{result} at {time}: {detail}"));
    }
    let next = history.next.filter(|next| !history.is_open() && now.since(*next) > OVERDUE)?;
    Some(format!("has been due since {next} and did not run: is the steward running?"))
}

fn wrong_check(rounds: &Rounds, now: Timestamp) -> Option<String> {
    if let Some(end) = rounds.damage() {
        return Some(format!("is damaged: {}", end.detail));
    }
    if let Some(end) = rounds.failure() {
        return Some(format!("could not be checked at {}: {}", end.time, end.detail));
    }
    let cycle = Duration::from_secs(rounds.cycle_s);
    let since = rounds.coverage(now).complete_since.unwrap_or(rounds.since);
    (now.since(since) > cycle + OVERDUE && rounds.next.is_some())
        .then(|| format!("was not read within its cycle, but since {since}: is the node on long enough?"))
}

#[cfg(test)]
mod tests {
    use campanile_common::checkup::State;

    use super::*;
    use crate::backup::runs::{RunEnd, StartedBy};

    const NOON: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn runs(result: BackupResult) -> Runs {
        let (mut runs, name) = (Runs::default(), "etc".parse().unwrap());
        runs.begin(&name, StartedBy::Schedule, NOON);
        let (snapshot, detail) = (None, "the disk is full".to_owned());
        runs.finish(&name, NOON, RunEnd { time: NOON, result, snapshot, duration_ms: 1, detail });
        runs.policies.get_mut(&name).unwrap().next = Some(NOON + OVERDUE);
        runs
    }

    fn judged(runs: Runs, now: Timestamp) -> (State, String) {
        let check = check(&Ok(runs), now).unwrap();
        (check.state, check.detail)
    }

    #[test]
    fn a_policy_that_failed_or_is_overdue_is_named() {
        assert!(check(&Ok(Runs::default()), NOON).is_none());
        let fine = runs(BackupResult::Ok);
        assert_eq!(judged(fine.clone(), NOON + OVERDUE), (State::Ok, "1 policy, in time".to_owned()));
        let (state, detail) = judged(fine.clone(), NOON + OVERDUE * 3);
        assert!(state == State::Warn && detail.starts_with("etc has been due since"), "{detail}");
        let (state, detail) = judged(runs(BackupResult::Failed), NOON);
        assert!(state == State::Warn && detail.contains("the disk is full"), "{detail}");
        let mut denied = fine;
        denied.denied = "no".to_owned();
        let (state, detail) = judged(denied, NOON);
        assert!(state == State::Warn && detail.ends_with("no"), "{detail}");
    }

    #[test]
    fn a_drill_that_failed_and_a_repository_that_is_damaged_are_named() {
        let mut runs = runs(BackupResult::Ok);
        let (etc, by) = ("etc".parse().unwrap(), StartedBy::Order);
        let end = |result| {
            let detail = "2 files are not as the snapshot says".to_owned();
            RunEnd { time: NOON, result, snapshot: Some("s".to_owned()), duration_ms: 1, detail }
        };
        runs.begin_drill(&etc, by, NOON);
        runs.finish_drill(&etc, NOON, end(BackupResult::Failed));
        let (state, detail) = judged(runs.clone(), NOON);
        assert!(state == State::Warn && detail.starts_with("the drill of etc failed at"), "{detail}");
        runs.begin_drill(&etc, by, NOON);
        runs.finish_drill(&etc, NOON, end(BackupResult::Ok));
        runs.keep_checks(&[("aggregator".to_owned(), Duration::from_secs(86_400))].into(), NOON);
        assert_eq!(judged(runs.clone(), NOON).0, State::Ok);
        let rounds = runs.checks.get_mut("aggregator").unwrap();
        rounds.begin(1, 1, StartedBy::Schedule, NOON);
        let run = rounds.runs[0].clone();
        rounds.finish(&run, end(BackupResult::Failed), Some(1));
        let (state, detail) = judged(runs, NOON);
        assert!(
            state == State::Warn && detail.starts_with("the repository aggregator is damaged"),
            "{detail}"
        );
    }
}
