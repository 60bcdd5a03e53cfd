//! A policy as this program needs it: what is saved, where to, for whom, and what runs around it. Pure.
//!
//! When it runs and how long its snapshots are kept is for others to read: keys that are not known here are passed over.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use campanile_backup::save::{Marker, PatternError, Rules};
use campanile_common::authority::is_backup_name;
use serde::Deserialize;

use super::target::{Target, TargetError};

/// How long a hook may take when the policy does not say.
const HOOK_TIMEOUT: Duration = Duration::from_secs(600);

/// A policy as it is stored.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Stored {
    name: Option<String>,
    paths: Vec<String>,
    exclude: Vec<String>,
    exclude_caches: bool,
    exclude_if_present: Vec<String>,
    exclude_larger_than: Option<String>,
    one_file_system: bool,
    command: Vec<String>,
    file_name: Option<String>,
    before: Vec<Vec<String>>,
    after: Vec<Vec<String>>,
    hook_timeout: Option<String>,
    target: String,
    escrow: Vec<String>,
    read_limit: Option<String>,
    write_limit: Option<String>,
    drill: StoredDrill,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StoredDrill {
    command: Vec<String>,
}

impl Default for Stored {
    fn default() -> Self {
        Self {
            name: None,
            paths: Vec::new(),
            exclude: Vec::new(),
            exclude_caches: false,
            exclude_if_present: Vec::new(),
            exclude_larger_than: None,
            one_file_system: false,
            command: Vec::new(),
            file_name: None,
            before: Vec::new(),
            after: Vec::new(),
            hook_timeout: None,
            target: "aggregator".to_owned(),
            escrow: Vec::new(),
            read_limit: None,
            write_limit: None,
            drill: StoredDrill::default(),
        }
    }
}

/// What a policy asks of this program.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) name: String,
    pub(super) source: Source,
    pub(super) rules: Rules,
    pub(super) before: Vec<Vec<String>>,
    pub(super) after: Vec<Vec<String>>,
    pub(super) hook_timeout: Duration,
    pub(super) target: Target,
    /// Who can open the repository beside this node.
    pub(super) escrow: Vec<String>,
    /// Bytes a second.
    pub(super) read_limit: Option<NonZeroU64>,
    /// Bytes a second.
    pub(super) write_limit: Option<NonZeroU64>,
    /// Tries what a drill restored.
    pub(super) drill: Vec<String>,
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
    /// Not in the form.
    #[error("it is not a backup policy: {0}")]
    Malformed(#[source] serde_json::Error),
    /// No name.
    #[error("`{0}` is no name of a backup policy: letters, digits and ._- are")]
    Name(String),
    /// Nothing, or two things, to save.
    #[error("it must have either `paths` or a `command` with its `file_name`")]
    Source,
    /// A path that is not absolute.
    #[error("its path `{0}` is not absolute")]
    Path(String),
    /// A command of no words.
    #[error("one of its commands names no program")]
    Command,
    /// No size.
    #[error("its `{key}` is `{value}`: give a size such as `100 MiB`, or for a limit `20 MiB/s`")]
    Size {
        /// Which key.
        key: &'static str,
        /// What it is.
        value: String,
    },
    /// No time.
    #[error("its `hook_timeout` is `{0}`: give a time such as `90s`, `10m` or `1h`")]
    Time(String),
    /// A pattern that is not understood.
    #[error("its `exclude` is not understood")]
    Pattern(#[source] PatternError),
    /// Nowhere to save to.
    #[error(transparent)]
    Target(#[from] TargetError),
}

impl Job {
    /// Reads a policy. `name` is what it is called where it does not say.
    pub(super) fn parse(json: &[u8], name: &str) -> Result<Self, JobError> {
        let stored: Stored = serde_json::from_slice(json).map_err(JobError::Malformed)?;
        let name = stored.name.clone().unwrap_or_else(|| name.to_owned());
        if !is_backup_name(&name) {
            return Err(JobError::Name(name));
        }
        let commands = [&stored.before, &stored.after];
        if commands.into_iter().flatten().any(Vec::is_empty) {
            return Err(JobError::Command);
        }
        let hook_timeout = stored
            .hook_timeout
            .as_deref()
            .map(|text| duration(text).ok_or_else(|| JobError::Time(text.to_owned())));
        let limit = |key, text: &Option<String>| {
            let bytes = text.as_deref().map(|text| size(key, text.trim_end_matches("/s"))).transpose()?;
            Ok::<_, JobError>(bytes.and_then(NonZeroU64::new))
        };
        Ok(Self {
            source: source(&stored)?,
            rules: rules(&stored)?,
            hook_timeout: hook_timeout.transpose()?.unwrap_or(HOOK_TIMEOUT),
            target: stored.target.parse()?,
            read_limit: limit("read_limit", &stored.read_limit)?,
            write_limit: limit("write_limit", &stored.write_limit)?,
            name,
            before: stored.before,
            after: stored.after,
            escrow: stored.escrow,
            drill: stored.drill.command,
        })
    }

    /// Marks its snapshots.
    pub(super) fn tag(&self) -> String {
        policy_tag(&self.name)
    }
}

/// Marks the snapshots of a policy.
pub(super) fn policy_tag(name: &str) -> String {
    format!("{POLICY_TAG}{name}")
}

/// What the tag of a policy begins with.
pub(super) const POLICY_TAG: &str = "policy:";
/// Marks the snapshots of this program.
pub(super) const PROGRAM_TAG: &str = "campanile";

fn source(stored: &Stored) -> Result<Source, JobError> {
    match (stored.paths.is_empty(), stored.command.is_empty(), &stored.file_name) {
        (false, true, None) => {
            if let Some(path) = stored.paths.iter().find(|path| !path.starts_with('/')) {
                return Err(JobError::Path(path.clone()));
            }
            Ok(Source::Paths(stored.paths.iter().map(PathBuf::from).collect()))
        }
        (true, false, Some(file_name)) => {
            Ok(Source::Command { argv: stored.command.clone(), file_name: file_name.clone() })
        }
        _ => Err(JobError::Source),
    }
}

fn rules(stored: &Stored) -> Result<Rules, JobError> {
    let patterns = stored.exclude.iter().map(String::as_bytes);
    let mut rules = Rules::new(patterns).map_err(JobError::Pattern)?;
    if stored.exclude_caches {
        rules = rules.exclude_caches();
    }
    for name in &stored.exclude_if_present {
        rules = rules.exclude_if_present(Marker { name: name.clone().into_bytes(), header: Vec::new() });
    }
    if let Some(most) = &stored.exclude_larger_than {
        rules = rules.exclude_larger_than(size("exclude_larger_than", most)?);
    }
    Ok(if stored.one_file_system { rules.one_file_system() } else { rules })
}

/// `100 MiB`
fn size(key: &'static str, text: &str) -> Result<u64, JobError> {
    let read = || {
        let text = text.trim();
        let (count, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        let power = units.iter().position(|known| *known == unit.trim_start())?;
        let factor = 1024_u64.checked_pow(u32::try_from(power).ok()?)?;
        count.parse::<u64>().ok()?.checked_mul(factor)
    };
    read().ok_or_else(|| JobError::Size { key, value: text.to_owned() })
}

/// `1h30m`
fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut seconds) = (text, 0_u64);
    if text.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let unit = match rest[digits..].chars().next()? {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return None,
        };
        seconds = seconds.checked_add(rest[..digits].parse::<u64>().ok()?.checked_mul(unit)?)?;
        rest = &rest[digits + 1..];
    }
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Job, JobError> {
        Job::parse(json.as_bytes(), "files")
    }

    #[test]
    fn a_policy_is_read_and_what_is_not_for_this_program_is_passed_over() {
        let job = parse(
            r#"{"paths": ["/etc", "/srv"], "exclude": ["*.tmp"], "exclude_caches": true,
                "exclude_larger_than": "1 MiB", "one_file_system": true, "target": "dir:/backup",
                "escrow": ["age1x"], "read_limit": "20 MiB/s", "before": [["sync"]], "hook_timeout": "1h30m",
                "schedule": "@daily", "keep": {"last": 3}, "drill": {"schedule": "@daily", "command": ["true"]}}"#,
        );
        let job = job.unwrap();
        assert_eq!(job.source, Source::Paths(vec!["/etc".into(), "/srv".into()]));
        assert!(job.rules.excludes(b"/etc/a.tmp", false, 1) && job.rules.excludes(b"/etc/a", false, 1 << 21));
        assert!(job.rules.is_one_file_system() && job.rules.markers().len() == 1);
        assert_eq!(job.read_limit, NonZeroU64::new(20 << 20));
        assert_eq!(job.hook_timeout, Duration::from_secs(5400));
        assert_eq!((job.tag().as_str(), job.drill.as_slice()), ("policy:files", &["true".to_owned()][..]));
        let job = parse(r#"{"name": "db", "command": ["pg_dump"], "file_name": "db.sql"}"#).unwrap();
        assert_eq!((job.name.as_str(), &job.target), ("db", &Target::Aggregator));
    }

    #[test]
    fn a_policy_that_cannot_be_carried_out_says_why() {
        for (json, said) in [
            ("[]", "not a backup policy"),
            ("{}", "either `paths` or a `command`"),
            (r#"{"paths": ["/a"], "command": ["x"], "file_name": "y"}"#, "either"),
            (r#"{"command": ["x"]}"#, "file_name"),
            (r#"{"paths": ["etc"]}"#, "`etc` is not absolute"),
            (r#"{"paths": ["/a"], "exclude_larger_than": "much"}"#, "`exclude_larger_than` is `much`"),
            (r#"{"paths": ["/a"], "write_limit": "20 Mbit"}"#, "write_limit"),
            (r#"{"paths": ["/a"], "hook_timeout": "10"}"#, "hook_timeout"),
            (r#"{"paths": ["/a"], "before": [[]]}"#, "names no program"),
            (r#"{"paths": ["/a"], "target": "ftp:x"}"#, "ftp:x"),
            (r#"{"name": "../x", "paths": ["/a"]}"#, "no name"),
        ] {
            let error = parse(json).unwrap_err().to_string();
            assert!(error.contains(said), "{json}: {error}");
        }
    }
}
