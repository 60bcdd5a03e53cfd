//! States of systemd's units, as `systemctl` tells them, where systemd runs.
//!
//! Five series a unit, as node_exporter has them, would be a thousand on most machines; here are the counts of each
//! state and one series per failed unit.

use std::path::{Path, PathBuf};
use std::time::Duration;

use campanile_common::sample::Scale;

use super::readings::{Devices, Family, Readings, Scalars};
use super::seldom::Seldom;
use super::{CollectError, Collector, Outcome, Round};
use crate::os::child::{ChildError, output};
use crate::os::proc_fs::exists;

/// Most failed units named.
pub const FAILED_UNITS_MAX: usize = 64;
const INTERVAL: Duration = Duration::from_secs(30);
/// `systemctl` takes some 20 ms; its own patience with a hanging bus is 25 s.
const CHILD_DEADLINE: Duration = Duration::from_secs(10);
const DEADLINE: Duration = Duration::from_secs(25);
/// A machine with 5,000 units writes half of it.
const OUTPUT_BYTES_MAX: usize = 1024 * 1024;
const STATES: [&str; 5] = ["activating", "active", "deactivating", "failed", "inactive"];

static UNITS: &[Family] = &[Family::gauge("node_systemd_units", Scale::ONE)];
static FAILED: &[Family] = &[Family::gauge("node_systemd_unit_state", Scale::ONE)];
static RUNNING: &[Family] = &[Family::gauge("node_systemd_system_running", Scale::ONE)];

/// What `systemctl` said.
#[derive(Debug, PartialEq, Eq)]
struct Units {
    /// One count per state of [`STATES`].
    counts: [i64; STATES.len()],
    failed: Vec<String>,
    is_running: bool,
}

/// Collector `systemd`.
#[derive(Debug)]
pub struct Systemd {
    systemctl: PathBuf,
    /// Exists where systemd is the init.
    mark: PathBuf,
    answer: Seldom<Option<Result<Units, ChildError>>>,
    units: Devices,
    failed: Devices,
    running: Scalars,
}

impl Systemd {
    /// Asks this program, where this `/run` shows that systemd runs.
    pub fn new(run_root: &Path, systemctl: PathBuf) -> Self {
        Self {
            systemctl,
            mark: run_root.join("systemd/system"),
            answer: Seldom::new("systemd", INTERVAL, DEADLINE),
            units: Devices::new(UNITS, STATES.len()),
            failed: Devices::new(FAILED, FAILED_UNITS_MAX),
            running: Scalars::new(RUNNING),
        }
    }
}

impl Collector for Systemd {
    fn name(&self) -> &'static str {
        "systemd"
    }

    fn collect(&mut self, round: &mut Round<'_>, readings: &mut Readings) -> Result<Outcome, CollectError> {
        let answer = self.answer.poll(round, || {
            let (systemctl, mark) = (self.systemctl.clone(), self.mark.clone());
            move || exists(&mark).then(|| ask(&systemctl))
        })?;
        let units = match answer {
            None | Some(None) => return Ok(Outcome::Absent),
            Some(Some(Ok(units))) => units,
            Some(Some(Err(error))) => {
                return Err(CollectError::Failed { what: "systemctl", reason: error.to_string() });
            }
        };
        self.units.rewind();
        for (state, count) in STATES.into_iter().zip(units.counts) {
            if let Some(slot) = self.units.slot(readings, state, |state| vec![("state", state)]) {
                readings.set(slot, 0, count);
            }
        }
        self.failed.rewind();
        for name in &units.failed {
            let labels = |name| vec![("name", name), ("state", "failed")];
            if let Some(slot) = self.failed.slot(readings, name, labels) {
                readings.set(slot, 0, 1);
            }
        }
        self.running.set(readings, 0, units.is_running.into());
        Ok(Outcome::Complete)
    }

    fn forget(&mut self) {
        self.units.forget();
        self.failed.forget();
        self.running.forget();
    }
}

fn ask(systemctl: &Path) -> Result<Units, ChildError> {
    let listing = ["list-units", "--all", "--plain", "--full", "--no-legend", "--no-pager"];
    let listing = output(systemctl, &listing, CHILD_DEADLINE, OUTPUT_BYTES_MAX)?;
    let state = output(systemctl, &["is-system-running"], CHILD_DEADLINE, OUTPUT_BYTES_MAX)?;
    Ok(read(&String::from_utf8_lossy(&listing), &String::from_utf8_lossy(&state)))
}

/// Lines are `unit load active sub description`; versions before 246 put a dot before failed ones all the same.
fn read(listing: &str, state: &str) -> Units {
    let mut units =
        Units { counts: [0; STATES.len()], failed: Vec::new(), is_running: state.trim() == "running" };
    for line in listing.lines() {
        let mut fields = line.split_ascii_whitespace().skip_while(|field| !field.contains('.'));
        let (Some(name), Some(_load), Some(active)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let active = if matches!(active, "reloading" | "refreshing") { "active" } else { active };
        let Some(index) = STATES.iter().position(|state| *state == active) else { continue };
        units.counts[index] += 1;
        if active == "failed" {
            units.failed.push(name.to_owned());
        }
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_are_counted_by_state_and_failed_ones_named() {
        let listing = "\
ssh.service                 loaded    active   running OpenSSH server
nfs.mount                   loaded    failed   failed  /mnt/nfs
apt-daily.timer             loaded    active   waiting Daily apt
cron.service                not-found inactive dead    cron.service
nginx.service               loaded    reloading reload-notify nginx
● old.service               loaded    failed   failed  with the dot of older versions
";
        let units = read(listing, "degraded\n");
        assert_eq!(units.counts, [0, 3, 0, 2, 1]);
        assert_eq!(units.failed, ["nfs.mount", "old.service"]);
        assert!(!units.is_running);
        assert!(read("", "running\n").is_running);
    }

    proptest! {
        #[test]
        fn garbage_is_read_without_a_panic(listing in any::<String>(), state in any::<String>()) {
            let _ = read(&listing, &state);
        }
    }
}
