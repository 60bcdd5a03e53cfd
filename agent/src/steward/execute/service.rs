//! Acts on a unit, and waits for it to be healthy: what the guard of a service order runs.
//!
//! A program of its own beneath the guard, so that its time limit and its end are those of any command.

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use campanile_common::authority::ServiceVerb;

use crate::os::child::{self, ChildError};
use crate::os::stopwatch::{Stopwatch, pause};

/// How long a unit must stay active to count as healthy, or half the wait where that is shorter.
const STABLE_FOR: Duration = Duration::from_secs(2);
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
const LOOK_DEADLINE: Duration = Duration::from_secs(10);
const STATE_BYTES_MAX: usize = 16 * 1024;

/// Carries out `systemctl VERB UNIT`, then waits until the unit has been active for two seconds without a break.
/// What happens goes to standard output. The exit code: that of `systemctl`, or 1 when the unit is not healthy in
/// time.
///
/// # Errors
/// When `systemctl` cannot be run.
pub fn run(
    systemctl: &Path,
    verb: &str,
    unit: &str,
    wait_healthy: Option<Duration>,
) -> Result<u8, ChildError> {
    let failed = |source| ChildError::Run { program: systemctl.display().to_string(), source };
    let status =
        Command::new(systemctl).args([verb, "--", unit]).stdin(Stdio::null()).status().map_err(failed)?;
    // What was stopped is not waited for.
    let wait = wait_healthy.filter(|_| status.success() && verb != ServiceVerb::Stop.as_str());
    let Some(wait) = wait else { return Ok(code_of(status)) };
    let (watch, mut last, mut since) = (Stopwatch::start(), String::new(), Duration::ZERO);
    loop {
        let state = state(systemctl, unit)?;
        let now = watch.elapsed();
        // A restart in between shows by another process, and begins anew.
        if state != last {
            println!("{unit}: {state}");
            last.clone_from(&state);
            since = now;
        }
        if state.starts_with("failed ") {
            // What restarts by itself is `activating` in between; this stays as it is.
            println!("{unit}: failed after {:.1} s", now.as_secs_f64());
            return Ok(1);
        }
        if state.starts_with("active ") && now.saturating_sub(since) >= STABLE_FOR.min(wait / 2) {
            println!("{unit}: healthy after {:.1} s", now.as_secs_f64());
            return Ok(0);
        }
        if now >= wait {
            println!("{unit}: not healthy within {:.1} s", wait.as_secs_f64());
            return Ok(1);
        }
        pause(LOOK_INTERVAL);
    }
}

fn code_of(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// `active (running, pid 7)`: an automatic restart in between shows by its process.
fn state(systemctl: &Path, unit: &str) -> Result<String, ChildError> {
    let arguments = ["show", "-p", "ActiveState,SubState,MainPID,NRestarts", "--", unit];
    let text = child::output(systemctl, &arguments, LOOK_DEADLINE, STATE_BYTES_MAX)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or("unknown").to_owned()
    };
    let (sub, pid, restarts) = (field("SubState"), field("MainPID"), field("NRestarts"));
    Ok(format!("{} ({sub}, process {pid}, restarts {restarts})", field("ActiveState")))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests lay out programs")]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// A `systemctl` that acts as the script says; `$1` is the verb.
    fn fake(script: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("systemctl");
        let there = folder.path().display();
        std::fs::write(&path, format!("#!/bin/sh\nF={there}\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        (folder, path)
    }

    #[test]
    fn the_exit_code_is_that_of_systemctl() {
        let (_folder, systemctl) = fake("exit 5");
        assert_eq!(run(&systemctl, "stop", "a.service", None).unwrap(), 5);
        assert_eq!(run(&systemctl, "stop", "a.service", Some(Duration::ZERO)).unwrap(), 5);
    }

    #[test]
    fn a_unit_that_stays_active_is_healthy() {
        let (_folder, systemctl) = fake("[ $1 = show ] && echo ActiveState=active; exit 0");
        assert_eq!(run(&systemctl, "restart", "a.service", Some(Duration::from_millis(300))).unwrap(), 0);
    }

    #[test]
    fn a_unit_that_fails_after_its_start_is_not_healthy() {
        let (_folder, systemctl) = fake(
            "[ $1 = show ] || exit 0\nif [ -e $F/seen ]; then echo ActiveState=failed; else echo \
             ActiveState=active; touch $F/seen; fi",
        );
        assert_eq!(run(&systemctl, "restart", "a.service", Some(Duration::from_millis(600))).unwrap(), 1);
    }
}
