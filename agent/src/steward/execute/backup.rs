//! The command line of the program that saves, verifies and restores, as an order asks for it. Pure.
//!
//! The program reads the policy from this node's own files: an order names one and nothing else of it.

use campanile_common::authority::{BackupAction, RestorePlace};

/// Arguments of this program; `settings` are those that name its settings file, `output_bytes` is what may be printed.
pub(in crate::steward) fn arguments(
    action: &BackupAction,
    output_bytes: u32,
    settings: Vec<String>,
) -> Vec<String> {
    let mut arguments = vec!["backup".to_owned()];
    let mut operands = Vec::new();
    match action {
        BackupAction::Run { .. } => arguments.push("run".to_owned()),
        BackupAction::Drill { .. } => arguments.push("drill".to_owned()),
        BackupAction::Check { part, of, .. } => {
            arguments.extend(["check".to_owned(), "--share".to_owned(), format!("{part}/{of}")]);
        }
        BackupAction::List { snapshot, path, .. } => {
            // One word, so that it is no flag whatever it looks like.
            arguments.extend(["list".to_owned(), format!("--files={snapshot}")]);
            operands.extend(path.iter().cloned());
        }
        BackupAction::Diff { before, after, .. } => {
            arguments.push("diff".to_owned());
            operands.extend([before.clone(), after.clone()]);
        }
        BackupAction::Restore { snapshot, paths, to, .. } => {
            arguments.push("restore".to_owned());
            arguments.extend(place(to));
            operands.push(snapshot.clone());
            operands.extend(paths.iter().cloned());
        }
        BackupAction::RestoreFrom { source, snapshot, paths, to, is_tried, .. } => {
            arguments.extend(["restore".to_owned(), "--from-node".to_owned(), source.to_string()]);
            arguments.extend(place(to));
            arguments.extend(is_tried.then(|| "--try".to_owned()));
            operands.push(snapshot.clone());
            operands.extend(paths.iter().cloned());
        }
        BackupAction::Dump { snapshot, path, recipient, .. } => {
            arguments.extend(["dump".to_owned(), format!("--recipient={recipient}")]);
            arguments.push(format!("--most={output_bytes}"));
            operands.extend([snapshot.clone(), path.clone()]);
        }
    }
    arguments.extend(["--policy".to_owned(), action.policy().to_string()]);
    arguments.extend(settings);
    if !operands.is_empty() {
        // Whatever an operand looks like, it is none of the flags.
        arguments.push("--".to_owned());
        arguments.extend(operands);
    }
    arguments
}

fn place(to: &RestorePlace) -> Vec<String> {
    match to {
        RestorePlace::Folder(folder) => vec!["--to".to_owned(), folder.clone()],
        RestorePlace::InPlace => vec!["--in-place".to_owned()],
    }
}

/// What the program reads from standard input: what others on this machine could see among its arguments.
pub(in crate::steward) fn input(action: &BackupAction) -> Vec<u8> {
    match action {
        BackupAction::RestoreFrom { sealed, .. } => sealed.clone(),
        BackupAction::Run { .. }
        | BackupAction::Check { .. }
        | BackupAction::Drill { .. }
        | BackupAction::Restore { .. }
        | BackupAction::List { .. }
        | BackupAction::Diff { .. }
        | BackupAction::Dump { .. } => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_common::backup::PolicyName;

    fn line(action: &BackupAction) -> String {
        arguments(action, 9000, vec!["--config".to_owned(), "/etc/agent.toml".to_owned()]).join(" ")
    }

    #[test]
    fn an_order_becomes_a_command_line_in_which_operands_are_no_flags() {
        let policy: PolicyName = "files".parse().unwrap();
        let action = BackupAction::Run { policy: policy.clone() };
        assert_eq!(line(&action), "backup run --policy files --config /etc/agent.toml");
        let action = BackupAction::Check { policy: policy.clone(), part: 2, of: 7 };
        assert_eq!(line(&action), "backup check --share 2/7 --policy files --config /etc/agent.toml");
        let (snapshot, path) = ("latest".to_owned(), Some("/etc".to_owned()));
        let action = BackupAction::List { policy: policy.clone(), snapshot, path };
        assert_eq!(
            line(&action),
            "backup list --files=latest --policy files --config /etc/agent.toml -- /etc"
        );
        let (before, after) = ("4f0c".to_owned(), "latest".to_owned());
        let action = BackupAction::Diff { policy: policy.clone(), before, after };
        assert_eq!(line(&action), "backup diff --policy files --config /etc/agent.toml -- 4f0c latest");
        let (snapshot, paths) = ("latest".to_owned(), vec!["/etc".to_owned()]);
        let to = RestorePlace::Folder("/srv/r".to_owned());
        let source = campanile_common::id::NodeId::from_bytes([7; 8]);
        let action = BackupAction::RestoreFrom {
            source,
            policy: policy.clone(),
            snapshot: snapshot.clone(),
            paths: Vec::new(),
            to: RestorePlace::InPlace,
            sealed: b"sealed".to_vec(),
            is_tried: true,
        };
        let said = line(&action);
        assert_eq!(
            said,
            "backup restore --from-node 0707070707070707 --in-place --try --policy files --config /etc/agent.toml -- latest"
        );
        assert_eq!(input(&action), b"sealed", "and none of it among the arguments");
        let (path, recipient) = ("/etc/hosts".to_owned(), "age1x".to_owned());
        let action =
            BackupAction::Dump { policy: policy.clone(), snapshot: snapshot.clone(), path, recipient };
        assert_eq!(
            line(&action),
            "backup dump --recipient=age1x --most=9000 --policy files --config /etc/agent.toml -- latest /etc/hosts"
        );
        assert!(input(&action).is_empty());
        let action = BackupAction::Restore { policy, snapshot, paths, to };
        assert_eq!(
            line(&action),
            "backup restore --to /srv/r --policy files --config /etc/agent.toml -- latest /etc"
        );
    }
}
