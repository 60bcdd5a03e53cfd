//! Judges what `doctor` found: each check is a line with what is so and, where something is wrong, what to do.

use std::path::Path;
use std::time::Duration;

use campanile_common::authority::Policy;
use campanile_common::id::{FleetId, NodeId};
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::config::ConfigPhase;

use crate::config::state::{State as ConfigState, StateError};
use crate::settings::UnitUse;

pub(super) use campanile_common::checkup::{Check, fail, ok, warn};

/// Orders are valid from a minute before they are made; half of that is worth a word.
const SKEW_WARN_MS: u64 = 30_000;
/// From here on this node refuses orders that were just made.
const SKEW_FAIL_MS: u64 = 60_000;
/// Below it nothing durable can be promised.
const SPACE_FAIL_BYTES: u64 = 16 * 1024 * 1024;
/// Below it the spool and the journal may run out of room.
const SPACE_WARN_BYTES: u64 = 256 * 1024 * 1024;
/// An authority that expires is renewed in time.
const AUTHORITY_WARN: Duration = Duration::from_secs(30 * 86_400);

pub(super) fn settings(problem: Option<&str>) -> Check {
    match problem {
        None => ok("settings", "can be used"),
        Some(problem) => fail(
            "settings",
            problem,
            "correct the file; a running agent keeps its last good settings until then; the rest was not looked at",
        ),
    }
}

pub(super) fn identity(found: Result<(&str, NodeId, FleetId), &str>) -> Check {
    match found {
        Ok((name, node, fleet)) => ok("identity", format!("{name} ({node}) of fleet {fleet}")),
        Err(problem) => fail("identity", problem, "without it this node reports nothing and takes no orders"),
    }
}

pub(super) fn certificate(issued: Timestamp, not_after: Timestamp, now: Timestamp) -> Check {
    let life = not_after.since(issued);
    if now > not_after {
        let advice = "it is renewed as soon as the aggregator is reached; after 30 days the node must be enrolled anew";
        return fail("certificate", format!("expired on {not_after}"), advice);
    }
    // Renewed from a quarter of its life on, with jitter: three quarters without a renewal is odd.
    if not_after.since(now) < life / 4 {
        let advice = "it should have been renewed: is the agent connected?";
        return warn("certificate", format!("valid until {not_after}"), advice);
    }
    ok("certificate", format!("valid until {not_after}"))
}

pub(super) fn agent(is_running: bool) -> Check {
    if is_running {
        ok("agent", "running")
    } else {
        fail("agent", "not running", "start it: systemctl enable --now campanile-agent")
    }
}

/// `skew_ms` is how far this node's clock is ahead of the aggregator's.
pub(super) fn clock(skew_ms: Option<i64>) -> Check {
    let Some(skew_ms) = skew_ms else {
        return ok(
            "clock",
            "not compared yet: the aggregator's time comes with its checkpoints, one a minute",
        );
    };
    let off = skew_ms.unsigned_abs();
    let side = if skew_ms < 0 { "behind" } else { "ahead of" };
    let detail = format!("{}.{} s {side} the aggregator's", off / 1000, off % 1000 / 100);
    let advice = "set it: is chrony or systemd-timesyncd running?";
    match off {
        SKEW_FAIL_MS.. => fail("clock", detail + ", so that new orders are refused", advice),
        SKEW_WARN_MS.. => warn("clock", detail, advice),
        _ => ok("clock", detail),
    }
}

pub(super) fn steward(found: Result<u32, String>, socket: &Path) -> Check {
    match found {
        Ok(running) => ok("steward", format!("answers at {}, {running} orders run", socket.display())),
        Err(problem) if problem.contains("Permission denied") => {
            warn("steward", problem, "run doctor as root or as the agent's user to ask it")
        }
        Err(problem) => fail(
            "steward",
            problem + "; this node takes no orders",
            "start it: systemctl enable --now campanile-steward.socket",
        ),
    }
}

pub(super) fn pin(has_steward: bool, exists: Result<bool, String>, path: &Path) -> Check {
    let advice =
        "enrol this node: campanile-agent enroll, as root (with --replace when it is enrolled already)";
    match exists {
        _ if has_steward => ok("pin", "the steward knows its fleet"),
        Ok(true) => ok("pin", format!("{} is there", path.display())),
        Ok(false) => fail("pin", format!("{} does not exist", path.display()), advice),
        Err(problem) => warn("pin", format!("{}: {problem}", path.display()), "run doctor as root to see it"),
    }
}

pub(super) fn policy(policy: &Policy, source: &str) -> Check {
    let detail = format!("{} ({source})", policy.explain().join("; "));
    if source.contains("cannot be used") {
        return fail("policy", detail, "correct the file: no order is taken until then");
    }
    ok("policy", detail)
}

pub(super) fn broken_policy(path: &Path, problem: &str) -> Check {
    let detail = format!("{} cannot be used: {}", path.display(), problem.trim_end().replace('\n', " "));
    fail("policy", detail, "correct the file: no order is taken until then")
}

pub(super) fn unseen_policy(path: &Path, problem: &str) -> Check {
    warn("policy", format!("{}: {problem}", path.display()), "run doctor as root to see it")
}

/// `steward` is the version that the steward has reached.
pub(super) fn authority(version: u64, expires: Timestamp, steward: Option<u64>, now: Timestamp) -> Check {
    let detail = format!("version {version}, valid until {expires}");
    let advice = "an operator must renew it";
    if now >= expires {
        return fail(
            "authority",
            format!("version {version} expired on {expires}: no order is taken"),
            advice,
        );
    }
    if steward.is_some_and(|steward| steward < version) {
        let steward = steward.unwrap_or_default();
        let detail = format!("{detail}, the steward has version {steward}");
        return warn(
            "authority",
            detail,
            "is the agent running? it tells the steward; see the steward's log",
        );
    }
    if expires.since(now) < AUTHORITY_WARN {
        return warn("authority", detail, advice);
    }
    ok("authority", detail)
}

pub(super) fn catalogue(version: Option<u64>) -> Check {
    match version {
        Some(version) => ok("catalogue", format!("version {version}")),
        None => ok("catalogue", "none, so no order of tier 1 is taken"),
    }
}

pub(super) fn units(has_units: bool, wanted: UnitUse) -> Check {
    match (has_units, wanted) {
        (true, _) => ok("units", "commands run in transient units of systemd"),
        (false, UnitUse::Never) => {
            ok("units", "commands run in process groups with limits, as the settings say")
        }
        (false, UnitUse::Auto) => warn(
            "units",
            "commands run in process groups with limits",
            "for transient units the steward must be root on a machine that systemd runs",
        ),
    }
}

/// How the node stands to its configuration.
pub(super) fn config(found: Result<&ConfigState, &StateError>) -> Check {
    let state = match found {
        Ok(state) => state,
        Err(StateError::Read { path, source }) if source.kind() == std::io::ErrorKind::PermissionDenied => {
            return warn("config", format!("{}: {source}", path.display()), "run doctor as root to see it");
        }
        Err(error) => {
            let advice = "no generation is taken until then; see the steward's log";
            return fail("config", error.to_string(), advice);
        }
    };
    let at = match (state.current, state.applied) {
        (Some((number, _)), Some(applied)) => format!("at generation {number} since {applied}"),
        (Some((number, _)), None) => format!("at generation {number}"),
        (None, _) => "no generation was applied yet".to_owned(),
    };
    let tried =
        state.tried.map_or_else(|| "the last apply".to_owned(), |(number, _)| format!("generation {number}"));
    let changes = match state.drifted_count {
        0 => String::new(),
        1 => ", 1 resource differs by another hand".to_owned(),
        count => format!(", {count} resources differ by another hand"),
    };
    let ended = match state.phase {
        ConfigPhase::Unconfigured | ConfigPhase::Applied => "",
        ConfigPhase::Applying => "is being applied",
        ConfigPhase::Confirming => "waits for its confirmation",
        ConfigPhase::Failed => "failed",
        ConfigPhase::Reverted => "was undone",
    };
    let has_failed = matches!(state.phase, ConfigPhase::Failed | ConfigPhase::Reverted);
    let ended = match (ended, state.detail.as_str()) {
        ("", _) => String::new(),
        (ended, "") => format!(", {tried} {ended}"),
        (ended, detail) => format!(", {tried} {ended}: {detail}"),
    };
    let detail = format!("{at}{ended}{changes}");
    match (has_failed, state.drifted_count) {
        (true, _) => warn("config", detail, "correct the bundle and apply it: campanile config apply"),
        (false, 0) => ok("config", detail),
        (false, _) => warn("config", detail, "see campanile config drift, then apply"),
    }
}

/// `found` are the bytes available and the size of the file system.
pub(super) fn space(folder: &Path, found: Result<(u64, u64), String>) -> Check {
    let place = folder.display();
    match found {
        Ok((available, size)) => {
            let mebibytes = available / (1024 * 1024);
            let detail = format!("{mebibytes} MiB are free for {place}");
            let is_nearly_full = available < size / 100;
            match available {
                ..SPACE_FAIL_BYTES => fail("space", detail, "free some: without it no order is taken"),
                ..SPACE_WARN_BYTES if is_nearly_full => warn("space", detail, "free some soon"),
                _ => ok("space", detail),
            }
        }
        Err(problem) => {
            warn("space", format!("{place}: {problem}"), "it is made by enroll and by the steward")
        }
    }
}

#[cfg(test)]
mod tests {
    use campanile_common::checkup::State;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn state(check: &Check) -> State {
        assert_eq!(check.advice.is_none(), check.state == State::Ok, "only what is wrong says what to do");
        check.state
    }

    #[test]
    fn a_line_says_how_it_came_out_and_what_to_do() {
        assert_eq!(agent(true).to_string(), "OK    agent        running");
        let line = agent(false).to_string();
        assert_eq!(line, "FAIL  agent        not running; start it: systemctl enable --now campanile-agent");
    }

    #[test]
    fn a_certificate_is_judged_by_its_renewal() {
        let issued = NOW - HOUR * 10;
        assert_eq!(state(&certificate(issued, issued + HOUR * 48, NOW)), State::Ok);
        assert_eq!(state(&certificate(issued, issued + HOUR * 13, NOW)), State::Warn);
        assert_eq!(state(&certificate(issued, issued + HOUR * 9, NOW)), State::Fail);
    }

    #[test]
    fn a_clock_off_by_what_orders_allow_fails() {
        assert_eq!(state(&clock(None)), State::Ok);
        assert_eq!(state(&clock(Some(-1200))), State::Ok);
        assert_eq!(state(&clock(Some(31_000))), State::Warn);
        assert_eq!(state(&clock(Some(-3_600_000))), State::Fail);
        assert!(clock(Some(-3_600_000)).detail.starts_with("3600.0 s behind"));
    }

    #[test]
    fn an_authority_warns_a_month_ahead_and_when_the_steward_lags() {
        let day = HOUR * 24;
        assert_eq!(state(&authority(3, NOW + day * 31, Some(3), NOW)), State::Ok);
        assert_eq!(state(&authority(3, NOW + day * 29, Some(3), NOW)), State::Warn);
        assert_eq!(state(&authority(3, NOW + day * 300, Some(2), NOW)), State::Warn);
        assert_eq!(state(&authority(3, NOW, Some(3), NOW)), State::Fail);
    }

    #[test]
    fn a_policy_is_explained_and_a_broken_one_fails() {
        let check = policy(&Policy::default(), "built in");
        assert_eq!(state(&check), State::Ok);
        assert!(check.detail.contains("orders up to tier 1") && check.detail.contains("built in"), "{check}");
        assert_eq!(state(&policy(&Policy::default(), "the policy x cannot be used: y")), State::Fail);
        assert_eq!(state(&broken_policy(Path::new("/p"), "line 1\n")), State::Fail);
    }

    #[test]
    fn a_steward_that_may_not_be_asked_is_no_failure() {
        let socket = Path::new("/run/s");
        assert_eq!(state(&steward(Ok(0), socket)), State::Ok);
        assert_eq!(
            state(&steward(Err("x: Permission denied (os error 13)".to_owned()), socket)),
            State::Warn
        );
        assert_eq!(state(&steward(Err("x: Connection refused".to_owned()), socket)), State::Fail);
    }

    #[test]
    fn a_configuration_that_was_undone_or_differs_wants_attention() {
        let digest = campanile_common::id::Digest::from_bytes([1; 32]);
        let mut found = ConfigState::default();
        assert_eq!(config(Ok(&found)).to_string(), "OK    config       no generation was applied yet");
        found.begin((4, digest));
        assert!(config(Ok(&found)).detail.ends_with(", generation 4 is being applied"));
        found.succeed((4, digest), NOW);
        let check = config(Ok(&found));
        assert_eq!((state(&check), check.detail), (State::Ok, format!("at generation 4 since {NOW}")));
        found.drifted_count = 2;
        let check = config(Ok(&found));
        assert_eq!(state(&check), State::Warn);
        assert!(check.detail.ends_with(", 2 resources differ by another hand"), "{check}");
        found.begin((5, digest));
        found.revert((5, digest), 1, "not confirmed");
        let check = config(Ok(&found));
        assert_eq!(state(&check), State::Warn);
        assert!(check.detail.contains(", generation 5 was undone: not confirmed, 2 resources"), "{check}");
        let path = Path::new("/p").to_owned();
        let damaged = StateError::Damaged { path: path.clone(), problem: "x".to_owned() };
        assert_eq!(state(&config(Err(&damaged))), State::Fail);
        let source = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        assert_eq!(state(&config(Err(&StateError::Read { path, source }))), State::Warn);
    }

    #[test]
    fn little_space_fails() {
        let (mebibyte, folder) = (1024 * 1024, Path::new("/x"));
        assert_eq!(state(&space(folder, Ok((mebibyte, 100 * mebibyte)))), State::Fail);
        assert_eq!(state(&space(folder, Ok((100 * mebibyte, 100_000 * mebibyte)))), State::Warn);
        assert_eq!(state(&space(folder, Ok((100 * mebibyte, 200 * mebibyte)))), State::Ok);
    }
}
