//! What a policy permits.

use super::*;
use crate::authority::fixture::{open_policy, restart, run, words};

fn permit(policy: &Policy, tier: Tier, action: &Action) -> Result<(), DenialCode> {
    let command = match action {
        Action::Run(command) => Some(command),
        _ => None,
    };
    policy.permit(tier, action, command, "root").map_err(|denial| denial.code)
}

#[test]
fn what_a_package_installs_looks_and_backs_up_and_nothing_else() {
    let policy = Policy::default();
    assert_eq!(permit(&policy, Tier::Change, &run("true")), Err(DenialCode::PolicyTier));
    assert_eq!(permit(&policy, Tier::Routine, &restart("web.service")), Err(DenialCode::PolicyClass));
    assert!(policy.permit_observing("web.service").is_ok());
}

#[test]
fn a_free_command_takes_the_shell_class_unless_it_is_listed() {
    let mut policy = open_policy();
    policy.classes = [Class::Command].into();
    policy.commands.allow = vec![CommandPattern::new("uname **"), CommandPattern::new("/bin/cat /proc/*")];
    assert_eq!(permit(&policy, Tier::Change, &run("uname -r")), Ok(()));
    assert_eq!(permit(&policy, Tier::Change, &run("/bin/cat /proc/uptime")), Ok(()));
    for forbidden in
        ["unamex", "/bin/cat /etc/shadow", "/bin/cat /proc/uptime /etc/shadow", "cat /proc/uptime"]
    {
        assert_eq!(
            permit(&policy, Tier::Change, &run(forbidden)),
            Err(DenialCode::PolicyClass),
            "{forbidden}"
        );
    }
    policy.classes = [Class::Shell].into();
    assert_eq!(permit(&policy, Tier::Change, &run("unamex")), Ok(()));
    assert_eq!(permit(&policy, Tier::Routine, &restart("web.service")), Err(DenialCode::PolicyClass));
}

#[test]
fn units_and_users_are_asked_for_by_name() {
    let mut policy = open_policy();
    policy.units.change = vec!["web-*.service".to_owned()];
    policy.units.observe = vec!["web-*".to_owned()];
    policy.commands.users = vec!["www-*".to_owned()];
    assert_eq!(permit(&policy, Tier::Routine, &restart("web-1.service")), Ok(()));
    assert_eq!(permit(&policy, Tier::Routine, &restart("ssh.service")), Err(DenialCode::PolicyUnit));
    assert!(policy.permit_observing("web-1.service").is_ok());
    assert_eq!(policy.permit_observing("ssh.service").unwrap_err().code, DenialCode::PolicyUnit);
    let as_user = |user: Option<&str>| {
        let user = user.map(str::to_owned);
        Action::Run(Command { argv: words("true"), user, stdin: Vec::new() })
    };
    assert_eq!(permit(&policy, Tier::Change, &as_user(Some("www-data"))), Ok(()));
    assert_eq!(permit(&policy, Tier::Change, &as_user(Some("root"))), Err(DenialCode::PolicyUser));
    assert_eq!(permit(&policy, Tier::Change, &as_user(None)), Err(DenialCode::PolicyUser), "root by default");
}

#[test]
fn a_critical_command_takes_tier_3() {
    let mut policy = open_policy();
    policy.commands.critical = vec![CommandPattern::new("reboot **")];
    assert_eq!(permit(&policy, Tier::Change, &run("reboot")), Err(DenialCode::PolicyCommand));
    assert_eq!(permit(&policy, Tier::Critical, &run("reboot --force")), Ok(()));
    assert_eq!(permit(&policy, Tier::Change, &run("rebooting")), Ok(()));
}

#[test]
fn a_pattern_matches_whole_command_lines() {
    let matches = |pattern: &str, line: &str| CommandPattern::new(pattern).matches(&words(line));
    assert!(matches("**", "anything at all"));
    assert!(matches("systemctl is-active *", "systemctl is-active nginx"));
    assert!(!matches("systemctl is-active *", "systemctl is-active nginx ssh"));
    assert!(matches("systemctl **", "systemctl"));
    assert!(!matches("systemctl", "systemctl stop"));
    assert!(!matches("", ""));
}

#[test]
fn the_explanation_says_what_is_allowed() {
    let text = Policy::default().explain().join("\n");
    assert!(text.contains("tier 1") && text.contains("observe, backup") && !text.contains("any command"));
    let text = open_policy().explain().join("\n");
    assert!(text.contains("tier 3") && text.contains("any command that an operator signs"));
}
