//! Judges how the daemons of this node run: how far they are confined, and whether the agent is in safe mode.

use campanile_common::api::Confinement;

use super::check::{Check, ok, warn};

pub(super) fn safe_mode(reason: Option<String>) -> Check {
    match reason {
        None => ok("safe mode", "off"),
        Some(reason) => warn(
            "safe mode",
            format!("on {reason}; no figures are reported and no orders taken"),
            "look at `journalctl -u campanile-agent`, then `campanile-agent safe-mode off`",
        ),
    }
}

/// `last` is what the daemon kept when it started last.
pub(super) fn confinement(daemon: &str, last: Option<Confinement>, is_running: bool) -> Check {
    let name = "confinement";
    match last {
        _ if !is_running => ok(name, format!("{daemon}: does not run")),
        None => ok(name, format!("{daemon}: not known; root can see it")),
        // Whether it should be more is its owner's to say: a kernel may not have it, a steward without units cannot.
        Some(found) => ok(name, format!("{daemon}: {found}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safe_mode_is_a_warning_with_the_way_out() {
        assert_eq!(safe_mode(None).to_string(), "OK    safe mode    off");
        let shown = safe_mode(Some("since 2026: last 5 runs ended with: killed".to_owned())).to_string();
        assert!(shown.starts_with("WARN") && shown.contains("campanile-agent safe-mode off"), "{shown}");
    }

    #[test]
    fn how_far_a_daemon_is_confined_is_told() {
        let found = Confinement {
            layers: vec![campanile_common::api::ConfinementLayer::new("landlock", true, "abi 6")],
        };
        assert!(confinement("agent", Some(found), true).to_string().ends_with("agent: landlock: abi 6"));
        assert!(confinement("agent", None, false).to_string().ends_with("does not run"));
    }
}
