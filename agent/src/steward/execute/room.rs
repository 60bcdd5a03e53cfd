//! What the program of backups may do in its unit: as much as the work needs. Pure.
//!
//! The properties are those of `systemd/campanile-backup@.service`, the file that the tests judge; there is no second
//! list of them. What runs commands that somebody named (hooks, a source that is a command, `sftp`) or writes anywhere
//! (a restore, a drill) is not confined by its unit.

use std::path::{Path, PathBuf};

use campanile_common::authority::BackupAction;
use campanile_common::backup::{Policy, Source, Target};

/// The file that is judged.
const TEMPLATE: &str = include_str!("../../../../systemd/campanile-backup@.service");
/// Of a unit that is started by hand.
const OF_TEMPLATE_ALONE: [&str; 2] = ["Type=", "ExecStart="];
/// Takes back the three lines of the template that leave out the network.
const NETWORK: [&str; 3] =
    ["PrivateNetwork=no", "IPAddressDeny=", "RestrictAddressFamilies=AF_INET AF_INET6"];
/// Writes where the repository is another user's.
const FOREIGN_FOLDER: &str = "CapabilityBoundingSet=CAP_DAC_READ_SEARCH CAP_DAC_OVERRIDE";
const SCRATCH: [&str; 2] = ["/tmp", "/var/tmp"];
/// The oldest service manager that knows all of the properties.
const SYSTEMD_MIN: u32 = 247;

/// What a unit lets its program do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::steward) enum Room {
    /// What root may.
    Open,
    /// Read everything, write what is named.
    Reader {
        /// Speak to the network.
        has_network: bool,
        /// Folders, beside the steward's own.
        writes: Vec<PathBuf>,
        /// What it reads is in the machine's own `/tmp`.
        sees_scratch: bool,
    },
}

impl Room {
    /// What work of this policy needs; `None` where the policy cannot be read, and the program says so itself.
    pub(in crate::steward) fn of(action: &BackupAction, policy: Option<&Policy>) -> Self {
        let Some(policy) = policy else { return Self::Open };
        let is_save = match action {
            BackupAction::Run { .. } => true,
            BackupAction::Check { .. }
            | BackupAction::List { .. }
            | BackupAction::Diff { .. }
            | BackupAction::Dump { .. } => false,
            BackupAction::Restore { .. } | BackupAction::RestoreFrom { .. } | BackupAction::Drill { .. } => {
                return Self::Open;
            }
        };
        let has_hooks = !policy.hooks.before.is_empty() || !policy.hooks.after.is_empty();
        let sees_scratch = match &policy.source {
            Source::Command { .. } if is_save => return Self::Open,
            Source::Files(files) => files.paths.iter().any(|path| touches_scratch(Path::new(path))),
            Source::Command { .. } => false,
        };
        if is_save && has_hooks {
            return Self::Open;
        }
        match &policy.target {
            Target::Aggregator | Target::S3 { .. } => {
                Self::Reader { has_network: true, writes: Vec::new(), sees_scratch }
            }
            Target::Folder(folder) => {
                Self::Reader { has_network: false, writes: vec![folder.into()], sees_scratch }
            }
            Target::Sftp { .. } => Self::Open,
        }
    }

    /// Properties for `systemd-run`, as the file of the unit would have them.
    pub(super) fn properties(&self, state_dir: &Path) -> Vec<String> {
        let Self::Reader { has_network, writes, sees_scratch } = self else { return Vec::new() };
        let replaced: &[&str] = if *has_network { &NETWORK } else { &[] };
        let mut replaced: Vec<&str> = replaced.to_vec();
        if *sees_scratch {
            replaced.push("PrivateTmp=no");
        }
        if !writes.is_empty() {
            replaced.push(FOREIGN_FOLDER);
        }
        let key = |line: &str| line.split_once('=').map(|(key, _)| key.to_owned());
        let is_replaced = |line: &&str| replaced.iter().any(|other| key(other) == key(line));
        let mut properties: Vec<String> =
            judged().filter(|line| !is_replaced(line)).map(str::to_owned).collect();
        // An empty list is what there is without the line.
        properties.extend(replaced.iter().filter(|line| !line.ends_with('=')).map(|line| (*line).to_owned()));
        let folders = [state_dir].into_iter().chain(writes.iter().map(PathBuf::as_path));
        properties.extend(folders.map(|folder| format!("ReadWritePaths=-{}", folder.display())));
        properties
    }
}

/// The lines of the template that count for every unit.
fn judged() -> impl Iterator<Item = &'static str> {
    let service = TEMPLATE.lines().skip_while(|line| *line != "[Service]").skip(1);
    let lines = service.take_while(|line| !line.starts_with('['));
    lines.map(str::trim).filter(|line| {
        let is_property = !line.is_empty() && !line.starts_with('#');
        is_property && !OF_TEMPLATE_ALONE.iter().any(|alone| line.starts_with(alone))
    })
}

fn touches_scratch(path: &Path) -> bool {
    SCRATCH.iter().any(|scratch| path.starts_with(scratch) || Path::new(scratch).starts_with(path))
}

/// Whether a service manager that calls itself so (`systemd 252 (252.39-1)`) knows all of the properties.
pub(in crate::steward) fn is_known_to(version: &str) -> bool {
    let number = version.split_whitespace().nth(1).and_then(|word| word.parse::<u32>().ok());
    version.starts_with("systemd ") && number.is_some_and(|number| number >= SYSTEMD_MIN)
}

#[cfg(test)]
mod tests {
    use campanile_common::backup::policy_from_file;
    use serde_json::{Value, json};

    use super::*;

    fn policy(mut keys: Value) -> Policy {
        keys["keep"] = json!({ "last": 3 });
        keys["schedule"] = json!("@daily");
        keys["escrow"] = json!(["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"]);
        let file = json!({ "format": 1, "name": "files", "policy": keys });
        policy_from_file(&"files".parse().unwrap(), file.to_string().as_bytes()).unwrap()
    }

    fn run() -> BackupAction {
        BackupAction::Run { policy: "files".parse().unwrap() }
    }

    fn files(target: &str) -> Policy {
        policy(json!({ "paths": ["/etc"], "target": target }))
    }

    #[test]
    fn a_unit_has_every_property_of_the_file_that_is_judged() {
        let room = Room::Reader { has_network: false, writes: Vec::new(), sees_scratch: false };
        let properties = room.properties(Path::new("/var/lib/campanile/steward"));
        let service = TEMPLATE.split("[Service]\n").nth(1).unwrap();
        let mut count = 0;
        for line in service.lines().filter(|line| line.contains('=') && !line.starts_with('#')) {
            if !line.starts_with("Type=") && !line.starts_with("ExecStart=") {
                assert!(properties.iter().any(|property| property == line), "{line}");
                count += 1;
            }
        }
        assert!(count > 30 && properties.len() == count + 1, "{properties:?}");
    }

    #[test]
    fn a_repository_on_this_node_needs_its_folder_and_no_network() {
        let properties = Room::of(&run(), Some(&files("dir:/srv/backup"))).properties(Path::new("/state"));
        for line in
            ["ReadWritePaths=-/state", "ReadWritePaths=-/srv/backup", "PrivateNetwork=yes", FOREIGN_FOLDER]
        {
            assert!(properties.iter().any(|property| property == line), "{line}");
        }
        assert!(!properties.iter().any(|line| line == "CapabilityBoundingSet=CAP_DAC_READ_SEARCH"));
    }

    #[test]
    fn one_elsewhere_needs_the_network_and_nothing_else_more() {
        let properties = Room::of(&run(), Some(&files("aggregator"))).properties(Path::new("/state"));
        let of = |key: &str| properties.iter().filter(|line| line.starts_with(key)).collect::<Vec<_>>();
        assert_eq!(of("RestrictAddressFamilies="), ["RestrictAddressFamilies=AF_INET AF_INET6"]);
        assert_eq!(of("PrivateNetwork="), ["PrivateNetwork=no"]);
        assert!(of("IPAddressDeny=").is_empty());
        assert_eq!(of("CapabilityBoundingSet="), ["CapabilityBoundingSet=CAP_DAC_READ_SEARCH"]);
    }

    #[test]
    fn what_is_saved_of_tmp_is_the_machines_own() {
        for (path, sees) in
            [("/", true), ("/var", true), ("/tmp/x", true), ("/etc", false), ("/tmpfiles", false)]
        {
            let room = Room::of(&run(), Some(&policy(json!({ "paths": [path], "target": "dir:/b" }))));
            let lines = room.properties(Path::new("/state"));
            assert_eq!(lines.contains(&"PrivateTmp=no".to_owned()), sees, "{path}");
        }
    }

    #[test]
    fn what_runs_commands_or_writes_anywhere_is_not_confined_by_its_unit() {
        let name = || "files".parse().unwrap();
        let hooks = policy(json!({ "paths": ["/etc"], "target": "dir:/b", "run_before": [["sync"]] }));
        let command = policy(json!({ "command": ["pg_dump"], "file_name": "db", "target": "dir:/b" }));
        assert_eq!(Room::of(&run(), Some(&hooks)), Room::Open);
        assert_eq!(Room::of(&run(), Some(&command)), Room::Open);
        assert_eq!(Room::of(&run(), None), Room::Open);
        let drill = BackupAction::Drill { policy: name() };
        assert_eq!(Room::of(&drill, Some(&files("dir:/b"))), Room::Open);
        let check = BackupAction::Check { policy: name(), part: 1, of: 7 };
        assert!(
            matches!(Room::of(&check, Some(&hooks)), Room::Reader { has_network: false, .. }),
            "no hook runs"
        );
        assert!(Room::Open.properties(Path::new("/state")).is_empty());
    }

    #[test]
    fn an_old_service_manager_is_recognised() {
        assert!(is_known_to("systemd 252 (252.39-1~deb12u2)\n+PAM") && is_known_to("systemd 247 (247)"));
        assert!(!is_known_to("systemd 239 (239-82.el8)") && !is_known_to("") && !is_known_to("upstart 300"));
    }
}
