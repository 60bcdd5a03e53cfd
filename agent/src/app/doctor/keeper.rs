//! Whether something keeps the clock right. How far it is off now is another check.

use std::path::Path;
use std::time::Duration;

use super::check::{Check, ok, warn};
use crate::os::child;

const NAME: &str = "time-sync";
const TIMEDATECTL: &str = "/usr/bin/timedatectl";
const DEADLINE: Duration = Duration::from_secs(5);
const OUTPUT_BYTES_MAX: usize = 1024;

/// Asks systemd, which knows it of the kernel, whoever keeps the clock. Nothing to say where it cannot be asked.
pub(super) fn check() -> Option<Check> {
    let arguments = ["show", "--property=NTPSynchronized", "--value"];
    let said = child::output(Path::new(TIMEDATECTL), &arguments, DEADLINE, OUTPUT_BYTES_MAX).ok()?;
    judge(&String::from_utf8_lossy(&said))
}

fn judge(said: &str) -> Option<Check> {
    match said.trim() {
        "yes" => Some(ok(NAME, "the clock is kept right")),
        "no" => Some(warn(
            NAME,
            "nothing keeps the clock right",
            "timedatectl set-ntp true, or install chrony: certificates and orders are valid by the clock",
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use campanile_common::checkup::State;

    use super::*;

    #[test]
    fn a_clock_that_nothing_keeps_is_worth_a_word() {
        assert_eq!(judge("yes\n").unwrap().state, State::Ok);
        assert_eq!(judge("no\n").unwrap().state, State::Warn);
        assert!(judge("").is_none(), "systemd did not answer");
    }
}
