//! `--allow`: the node policy as whoever enrols wants it. Never written over what a person wrote.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use campanile_common::authority::{Class, Policy, Tier};
use similar::TextDiff;

use crate::os::file;

/// What the package puts in place.
const PACKAGED: &str = include_str!("../../../../packaging/files/policy.toml");
/// Who reads it: the steward, and whoever runs `doctor`.
const MODE: u32 = 0o644;

/// What is to be written, found out before a token is spent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// It is as it is wanted, or nothing is wanted.
    Nothing,
    /// This text.
    Write(PathBuf, String),
}

/// Looks at the policy and decides.
///
/// # Errors
/// When a person changed it, or nothing can be written there.
pub(super) fn plan(path: &Path, allow: &[Class], is_replaced: bool) -> anyhow::Result<Plan> {
    if allow.is_empty() {
        return Ok(Plan::Nothing);
    }
    let found = match std::fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read the policy {}", path.display()));
        }
    };
    let wanted = text(&allow.iter().copied().collect());
    match found {
        Some(found) if found == wanted => return Ok(Plan::Nothing),
        Some(found) if !is_replaced && !is_ours(&found) => bail!(
            "{} was changed by hand, and --allow writes over nobody's work. It would do this:\n{}Change it by hand, or \
             give --replace-policy; nothing was done",
            path.display(),
            difference(&found, &wanted)
        ),
        Some(_) | None => {}
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).with_context(|| {
        format!("the policy {} cannot be written: run this as root; nothing was done", path.display())
    })?;
    Ok(Plan::Write(path.to_owned(), wanted))
}

impl Plan {
    /// Writes it, as a whole.
    pub(super) fn carry_out(&self) -> anyhow::Result<()> {
        let Self::Write(path, text) = self else { return Ok(()) };
        file::replace_with_mode(path, text.as_bytes(), MODE).with_context(|| {
            format!("this node is enrolled, and its policy {} was not written", path.display())
        })
    }
}

/// True for what the package, or an earlier `--allow`, wrote.
fn is_ours(found: &str) -> bool {
    found == PACKAGED || toml::from_str::<Policy>(found).is_ok_and(|policy| text(&policy.classes) == found)
}

fn difference(before: &str, after: &str) -> String {
    TextDiff::from_lines(before, after).unified_diff().context_radius(1).to_string()
}

/// The policy that allows these classes, and looking in any case.
fn text(classes: &BTreeSet<Class>) -> String {
    let mut classes = classes.clone();
    classes.insert(Class::Observe);
    let tier = if classes.iter().all(|class| matches!(class, Class::Observe | Class::Backup)) {
        Tier::Routine
    } else {
        Tier::Change
    };
    let quoted: Vec<String> = classes.iter().map(|class| format!("\"{}\"", class.as_str())).collect();
    let notes: String =
        classes.iter().filter_map(|class| note(*class)).map(|note| format!("# {note}\n")).collect();
    format!(
        "# What this node accepts, whoever asks. Written once, by `campanile-agent enroll --allow`; from now on it is root's\n\
         # alone, never written over the network, and kept by upgrades.\n\
         #\n\
         # highest_tier: 0 observe, 1 routine, 2 change, 3 critical\n{notes}\n\
         highest_tier = {tier}\n\
         classes = [{}]\n",
        quoted.join(", ")
    )
}

/// What a class takes, where its name does not say it.
const fn note(class: Class) -> Option<&'static str> {
    match class {
        Class::Observe | Class::Backup => None,
        Class::Config => Some("config: the fleet's configuration, when an operator signed it"),
        Class::Command => Some(
            "command: commands of the signed catalogue; services under units.change and free commands under commands.allow, \
             once they are listed",
        ),
        Class::Shell => Some("shell: any command that an operator signed"),
        Class::Rollout => Some("rollout: no order of this release needs it; it is there for those that will"),
        Class::Update => Some("update: no order of this release needs it; it is there for those that will"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const ALLOWED: [Class; 3] = [Class::Config, Class::Command, Class::Rollout];

    fn written(found: Option<&str>) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        if let Some(text) = found {
            std::fs::write(&path, text).unwrap();
        }
        (folder, path)
    }

    #[test]
    fn what_is_written_is_a_policy_of_just_these_classes_and_the_tier_that_they_need() {
        for (classes, tier) in [(&ALLOWED[..], Tier::Change), (&[Class::Backup], Tier::Routine)] {
            let (_folder, path) = written(None);
            plan(&path, classes, false).unwrap().carry_out().unwrap();
            let policy: Policy = toml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            let expected: BTreeSet<Class> = classes.iter().copied().chain([Class::Observe]).collect();
            assert_eq!((policy.classes, policy.highest_tier), (expected, tier));
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o644);
        }
    }

    #[test]
    fn what_the_package_or_an_earlier_enrolment_wrote_is_replaced() {
        let (_folder, path) = written(Some(PACKAGED));
        plan(&path, &[Class::Backup], false).unwrap().carry_out().unwrap();
        plan(&path, &ALLOWED, false).unwrap().carry_out().unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("\"rollout\""));
        assert_eq!(plan(&path, &ALLOWED, false).unwrap(), Plan::Nothing, "it is as wanted");
    }

    #[test]
    fn what_a_person_wrote_is_kept_unless_they_say_otherwise() {
        let theirs = "highest_tier = 1\nclasses = [\"observe\"]\n";
        let (_folder, path) = written(Some(theirs));
        let error = plan(&path, &ALLOWED, false).unwrap_err().to_string();
        assert!(error.contains("-highest_tier = 1") && error.contains("+highest_tier = 2"), "{error}");
        assert_eq!(plan(&path, &[], false).unwrap(), Plan::Nothing, "nothing was asked for");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), theirs);
        plan(&path, &ALLOWED, true).unwrap().carry_out().unwrap();
        assert_ne!(std::fs::read_to_string(&path).unwrap(), theirs);
    }

    #[test]
    fn a_damaged_policy_is_somebodys_work_too() {
        let (_folder, path) = written(Some("highest_tier = \n"));
        assert!(plan(&path, &ALLOWED, false).is_err());
    }
}
