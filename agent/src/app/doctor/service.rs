//! The units of systemd, where the package installed them.

use std::path::Path;
use std::time::Duration;

use super::check::{Check, fail, ok, warn};
use crate::os::child;
use crate::settings::Settings;

/// What `enroll` enables and starts. The steward starts when somebody speaks to its socket.
pub(in crate::app) const UNITS: [&str; 2] = ["campanile-steward.socket", "campanile-agent.service"];
/// Where packages put them.
const UNIT_FOLDERS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
/// The state folder of the packaged agent: one with another is not the one that systemd runs.
const STATE_DIR: &str = "/var/lib/campanile/agent";
/// Oldest systemd that knows all that the units say.
const VERSION_LEAST: u32 = 251;
const DEADLINE: Duration = Duration::from_secs(5);
const OUTPUT_BYTES_MAX: usize = 16 * 1024;
const NAME: &str = "systemd";

/// True where systemd runs the agent of these settings.
pub(in crate::app) fn is_installed(settings: &Settings) -> bool {
    let is_there = |unit: &str| UNIT_FOLDERS.iter().any(|folder| Path::new(folder).join(unit).exists());
    settings.state_dir == Path::new(STATE_DIR)
        && Path::new("/run/systemd/system").is_dir()
        && UNITS.iter().all(|unit| is_there(unit))
}

/// Whether the units are there, enabled and active. Nothing to say where something else runs the agent.
pub(super) fn check(settings: &Settings) -> Option<Check> {
    if !is_installed(settings) {
        return None;
    }
    let ask = |arguments: &[&str]| {
        let said = child::output(&settings.steward.systemctl, arguments, DEADLINE, OUTPUT_BYTES_MAX);
        said.map(|said| String::from_utf8_lossy(&said).into_owned())
    };
    let [socket, agent] = UNITS;
    let properties = "--property=Id,LoadState,UnitFileState,ActiveState";
    Some(match (ask(&["show", properties, socket, agent]), ask(&["--version"])) {
        (Ok(units), Ok(version)) => judge(&units, &version),
        (Err(error), _) | (_, Err(error)) => {
            warn(NAME, error.to_string(), "is systemd well? see systemctl status")
        }
    })
}

/// `units` is what `systemctl show` says, a paragraph for each.
fn judge(units: &str, version: &str) -> Check {
    for unit in units.split("\n\n").filter(|unit| !unit.trim().is_empty()) {
        let value = |key: &str| {
            unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default().trim()
        };
        let id = value("Id");
        match (value("LoadState"), value("ActiveState"), value("UnitFileState")) {
            ("masked", ..) => return fail(NAME, format!("{id} is masked"), format!("systemctl unmask {id}")),
            (load, ..) if load != "loaded" => {
                return fail(
                    NAME,
                    format!("{id} is not loaded ({load})"),
                    "systemctl daemon-reload, or install the package",
                );
            }
            (_, active, _) if active != "active" => {
                let advice = format!("systemctl enable --now {id}; why it ended: journalctl -u {id}");
                return fail(NAME, format!("{id} is {active}"), advice);
            }
            (_, _, "enabled" | "static" | "enabled-runtime") => {}
            (_, _, state) => {
                return warn(
                    NAME,
                    format!("{id} runs and is {state}: not after a restart"),
                    format!("systemctl enable {id}"),
                );
            }
        }
    }
    let number = version.split_whitespace().nth(1).and_then(|word| {
        word.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>().ok()
    });
    match number {
        Some(number) if number < VERSION_LEAST => warn(
            NAME,
            format!("units run, under version {number}"),
            format!("it ignores limits that the units set, {VERSION_LEAST} knows them"),
        ),
        Some(number) => ok(NAME, format!("units are enabled and run, under version {number}")),
        None => ok(NAME, "units are enabled and run"),
    }
}

#[cfg(test)]
mod tests {
    use campanile_common::checkup::State;

    use super::*;

    fn unit(load: &str, file: &str, active: &str) -> String {
        format!("Id=campanile-agent.service\nLoadState={load}\nActiveState={active}\nUnitFileState={file}\n")
    }

    #[test]
    fn a_unit_that_is_missing_stopped_or_not_enabled_is_named_with_what_to_do() {
        let version = "systemd 252 (252.39-1~deb12u1)\n";
        let good = unit("loaded", "enabled", "active");
        for (second, state, advice) in [
            (good.clone(), State::Ok, ""),
            (unit("not-found", "", "inactive"), State::Fail, "install"),
            (unit("masked", "masked", "inactive"), State::Fail, "unmask"),
            (unit("loaded", "enabled", "failed"), State::Fail, "journalctl"),
            (unit("loaded", "disabled", "active"), State::Warn, "systemctl enable"),
        ] {
            let check = judge(&format!("{good}\n{second}"), version);
            assert_eq!(check.state, state, "{check}");
            assert!(check.advice.unwrap_or_default().contains(advice));
        }
        assert_eq!(judge(&good, "systemd 249 (249)").state, State::Warn);
    }
}
