//! How `ssh` is called, and what its complaints mean. Pure.

use campanile_common::backup::{SftpLogin, SftpPlace};

/// Most of a complaint that is told.
const COMPLAINT_CHARS_MAX: usize = 500;

/// Asks nobody anything, takes no unknown machine, forwards nothing, and notices within a minute when the line is dead.
const OPTIONS: &[&str] = &[
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "ConnectTimeout=30",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "PermitLocalCommand=no",
    "ControlMaster=no",
    "ControlPath=none",
    "RequestTTY=no",
    "LogLevel=ERROR",
];

/// The arguments of `ssh`.
pub(super) fn arguments(place: &SftpPlace, login: &SftpLogin) -> Vec<String> {
    let mut options: Vec<String> = OPTIONS.iter().map(|&option| option.to_owned()).collect();
    if let Some(path) = &login.identity {
        options.push(format!("IdentityFile={path}"));
        options.push("IdentitiesOnly=yes".to_owned());
    }
    if let Some(path) = &login.known_hosts {
        options.push(format!("UserKnownHostsFile={path}"));
        options.push("GlobalKnownHostsFile=/dev/null".to_owned());
    }
    let mut arguments: Vec<String> =
        options.into_iter().flat_map(|option| ["-o".to_owned(), option]).collect();
    for (flag, value) in [("-p", place.port.map(|port| port.to_string())), ("-l", place.user.clone())] {
        arguments.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value]));
    }
    arguments.extend(["-s", "--", &place.host, "sftp"].map(str::to_owned));
    arguments
}

/// Why a connection is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) reason: String,
    /// Another attempt would end in the same way.
    pub(super) is_lasting: bool,
}

impl Cut {
    pub(super) fn passing(reason: String) -> Self {
        Self { reason, is_lasting: false }
    }

    pub(super) fn lasting(reason: String) -> Self {
        Self { reason, is_lasting: true }
    }

    /// What `ssh` said at its end.
    pub(super) fn of_complaint(complaint: &str) -> Self {
        let shown = shown(complaint);
        let advice = ADVICE.iter().find(|(mark, _)| complaint.contains(mark));
        match advice {
            Some((_, advice)) => Self::lasting(format!("{advice} ({shown})")),
            None if shown.is_empty() => Self::passing("the connection was cut".to_owned()),
            None => Self::passing(shown),
        }
    }
}

/// What will not pass by itself, and what to do. The first that fits.
const ADVICE: &[(&str, &str)] = &[
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "it has another host key than the known one: find out why before you put the new one into `known_hosts`",
    ),
    (
        "Host key verification failed",
        "its host key is not known: put it into the file that `known_hosts` names, or into /etc/ssh/ssh_known_hosts",
    ),
    ("no such identity", "the private key that `identity` names is not there: put it there, for root alone"),
    ("UNPROTECTED PRIVATE KEY FILE", "the private key that `identity` names is open to others: `chmod 600`"),
    (
        "Permission denied",
        "it does not let this node in: put the public key into its `authorized_keys`, and name the private one as `identity`",
    ),
    ("subsystem request failed", "it offers no SFTP: `Subsystem sftp internal-sftp` in its sshd_config"),
    ("Bad configuration option", "the configuration of ssh on this node cannot be used"),
    ("Bad owner or permissions", "the configuration of ssh on this node is open to others"),
];

/// In one line.
fn shown(complaint: &str) -> String {
    let lines = complaint.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('@'));
    let line = lines.collect::<Vec<_>>().join("; ");
    let from = line.chars().count().saturating_sub(COMPLAINT_CHARS_MAX);
    line.chars().skip(from).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_is_called_so_that_it_asks_nobody_and_takes_no_name_for_an_option() {
        let place: SftpPlace = "sftp://backup@vault:2222//srv/x".parse().unwrap();
        let login = SftpLogin {
            identity: Some("/etc/campanile/key".to_owned()),
            known_hosts: Some("/etc/campanile/known_hosts".to_owned()),
        };
        let line = arguments(&place, &login).join(" ");
        for part in [
            "-o BatchMode=yes -o StrictHostKeyChecking=yes ",
            " -o IdentityFile=/etc/campanile/key -o IdentitiesOnly=yes ",
            " -o UserKnownHostsFile=/etc/campanile/known_hosts -o GlobalKnownHostsFile=/dev/null ",
        ] {
            assert!(line.contains(part), "{line}");
        }
        assert!(line.ends_with(" -p 2222 -l backup -s -- vault sftp"), "{line}");
        let plain = arguments(&"sftp:vault:/srv".parse().unwrap(), &SftpLogin::default()).join(" ");
        assert!(plain.ends_with(" -s -- vault sftp") && !plain.contains("Identit"), "{plain}");
    }

    #[test]
    fn what_ssh_complains_of_is_told_with_what_to_do() {
        let of = Cut::of_complaint;
        let unknown =
            of("No ED25519 host key is known for [127.0.0.1]:2222\r\nHost key verification failed.\r\n");
        assert!(unknown.is_lasting && unknown.reason.contains("`known_hosts`"), "{unknown:?}");
        let denied = of("root@vault: Permission denied (publickey).");
        assert!(denied.is_lasting && denied.reason.contains("`authorized_keys`"), "{denied:?}");
        let refused = of("ssh: connect to host vault port 22: Connection refused\n");
        assert!(!refused.is_lasting && refused.reason.ends_with("Connection refused"), "{refused:?}");
        assert_eq!(of("  \n"), Cut::passing("the connection was cut".to_owned()));
    }
}
