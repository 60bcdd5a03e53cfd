//! A policy as this program needs it: what is saved, where to, for whom, and what runs around it. Pure.
//!
//! When it runs is for others.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use campanile_backup::save::{Marker, PatternError, Rules};
use campanile_common::backup::{
    self, Files, Keep, Policy, PolicyFileError, PolicyName, PolicyNameError, policy_from_file,
};
use campanile_common::unit::ByteCount;

use super::target::Target;

/// Marks the snapshots of this program.
pub(super) const PROGRAM_TAG: &str = "campanile";
/// In the command of a drill, the folder of what was restored.
const DRILL_FOLDER: &str = "{}";

/// What a policy asks of this program.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) name: PolicyName,
    pub(super) source: Source,
    pub(super) rules: Rules,
    pub(super) before: Vec<Vec<String>>,
    pub(super) after: Vec<Vec<String>>,
    pub(super) hook_timeout: Duration,
    pub(super) target: Target,
    /// Which of its snapshots stay.
    pub(super) keep: Keep,
    /// Who can open the repository beside this node.
    pub(super) escrow: Vec<String>,
    /// Bytes a second.
    pub(super) read_limit: Option<NonZeroU64>,
    /// Bytes a second.
    pub(super) write_limit: Option<NonZeroU64>,
    drill: Vec<String>,
}

/// What is saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// Files and folders.
    Paths(Vec<PathBuf>),
    /// What a command writes, as one file.
    Command { argv: Vec<String>, file_name: String },
}

/// A policy that cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum JobError {
    /// Named after nothing.
    #[error(transparent)]
    Name(#[from] PolicyNameError),
    /// Not in order.
    #[error(transparent)]
    File(#[from] PolicyFileError),
    /// A pattern that is not understood.
    #[error("its `exclude` is not understood")]
    Pattern(#[from] PatternError),
}

impl Job {
    /// Reads the file of the policy called `name`.
    pub(super) fn parse(json: &[u8], name: &str) -> Result<Self, JobError> {
        Ok(Self::new(policy_from_file(&name.parse()?, json)?)?)
    }

    fn new(policy: Policy) -> Result<Self, PatternError> {
        let (source, rules) = match policy.source {
            backup::Source::Files(files) => {
                let rules = rules(&files)?;
                (Source::Paths(files.paths.into_iter().map(PathBuf::from).collect()), rules)
            }
            backup::Source::Command { argv, file_name } => {
                (Source::Command { argv, file_name }, Rules::default())
            }
        };
        let limit = |limit: Option<ByteCount>| limit.and_then(|bytes| NonZeroU64::new(bytes.0));
        Ok(Self {
            source,
            rules,
            before: policy.hooks.before,
            after: policy.hooks.after,
            hook_timeout: policy.hooks.timeout,
            target: policy.target.into(),
            keep: policy.keep,
            escrow: policy.escrow,
            read_limit: limit(policy.read_limit),
            write_limit: limit(policy.write_limit),
            drill: policy.drill.map(|drill| drill.command).unwrap_or_default(),
            name: policy.name,
        })
    }

    /// What looks at what a drill restored to `folder`; none where the policy has no such command.
    pub(super) fn drill_command(&self, folder: &str) -> Option<Vec<String>> {
        let put = |word: &String| word.replace(DRILL_FOLDER, folder);
        (!self.drill.is_empty()).then(|| self.drill.iter().map(put).collect())
    }
}

fn rules(files: &Files) -> Result<Rules, PatternError> {
    let mut rules = Rules::new(files.exclude.iter().map(String::as_bytes))?;
    if files.exclude_caches {
        rules = rules.exclude_caches();
    }
    for name in &files.exclude_if_present {
        rules = rules.exclude_if_present(Marker { name: name.clone().into_bytes(), header: Vec::new() });
    }
    if let Some(most) = files.exclude_larger_than {
        rules = rules.exclude_larger_than(most.0);
    }
    Ok(if files.one_file_system { rules.one_file_system() } else { rules })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(mut keys: Value) -> Result<Job, JobError> {
        keys["keep"] = json!({ "last": 3 });
        keys["schedule"] = json!("@daily");
        let file = json!({ "format": 1, "name": "files", "policy": keys });
        Job::parse(file.to_string().as_bytes(), "files")
    }

    #[test]
    fn a_policy_becomes_what_is_saved_and_how() {
        let job = parse(json!({
            "paths": ["/etc", "/srv"], "exclude": ["*.tmp"], "exclude_caches": true,
            "exclude_larger_than": "1 MiB", "one_file_system": true, "target": "dir:/backup",
            "read_limit": "20 MiB/s", "run_before": [["sync"]], "hook_timeout": "1h30m",
            "drill": { "schedule": "@weekly", "command": ["check", "{}/srv"] },
        }));
        let job = job.unwrap();
        assert_eq!(job.source, Source::Paths(vec!["/etc".into(), "/srv".into()]));
        assert!(job.rules.excludes(b"/etc/a.tmp", false, 1) && job.rules.excludes(b"/etc/a", false, 1 << 21));
        assert!(job.rules.is_one_file_system() && job.rules.markers().len() == 1);
        assert_eq!((job.read_limit, job.write_limit), (NonZeroU64::new(20 << 20), None));
        assert_eq!((job.hook_timeout.as_secs(), job.before.len()), (5400, 1));
        assert_eq!((&job.target, job.keep.last), (&Target::Folder("/backup".into()), 3));
        assert_eq!(job.drill_command("/d").unwrap(), ["check", "/d/srv"]);
        let job =
            parse(json!({ "command": ["pg_dump"], "file_name": "db.sql", "target": "dir:/b" })).unwrap();
        assert!(matches!(&job.source, Source::Command { file_name, .. } if file_name == "db.sql"));
        assert_eq!(job.drill_command("/d"), None);
    }

    #[test]
    fn a_policy_that_cannot_be_carried_out_says_why() {
        let error = parse(json!({ "paths": ["etc"], "target": "dir:/b" })).unwrap_err();
        assert!(matches!(error, JobError::File(PolicyFileError::Invalid { .. })), "{error}");
        assert!(matches!(Job::parse(b"{}", "../x"), Err(JobError::Name(_))));
        let pattern = parse(json!({ "paths": ["/etc"], "exclude": ["[a"], "target": "dir:/b" }));
        assert!(matches!(pattern, Err(JobError::Pattern(_))), "{pattern:?}");
    }
}
