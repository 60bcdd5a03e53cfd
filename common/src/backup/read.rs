//! From what a bundle says of a backup to a [`Policy`]: units, times and rules are understood here, once.

use std::collections::BTreeSet;
use std::time::Duration;

use bech32::Bech32;
use bech32::primitives::decode::CheckedHrpstring;

use super::policy::{Drill, Files, Hooks, Keep, Policy, PolicyName, Source};
use super::schedule::{Schedule, When, Window};
use super::target::{Access, Target};
use crate::config::{Backup, DrillKeys, KeepKeys};
use crate::recurrence::Recurrence;
use crate::unit::{ByteCount, format_duration, parse_duration};

/// Most paths, patterns, commands around a run, and recipients.
const PATHS_MAX: usize = 1024;
const PATTERNS_MAX: usize = 4096;
const HOOKS_MAX: usize = 32;
const ESCROW_MAX: usize = 16;
/// Longest path, pattern or argument.
const TEXT_BYTES_MAX: usize = 4096;
/// Most of any count of snapshots.
const KEEP_MAX: u32 = 10_000;
const SPLAY_MAX: Duration = Duration::from_secs(86_400);
const HOOK_TIMEOUT: Duration = Duration::from_secs(600);
const HOOK_TIMEOUT_MAX: Duration = Duration::from_secs(86_400);
/// Without `splay` nodes are spread over a tenth of the interval, over so long at most.
const SPLAY_DEFAULT_MAX: Duration = Duration::from_secs(1800);
/// Without `max_age` nothing is late before this, however short the interval.
const MAX_AGE_LEAST: Duration = Duration::from_secs(900);
const MAX_AGE_MAX: Duration = Duration::from_secs(10 * 366 * 86_400);
/// Without `check_cycle` everything is decrypted once within it.
const CHECK_CYCLE: Duration = Duration::from_secs(30 * 86_400);
/// A share of a repository is read a day, at most.
const CHECK_CYCLE_LEAST: Duration = Duration::from_secs(86_400);
const CHECK_CYCLE_MAX: Duration = Duration::from_secs(366 * 86_400);
/// A limit below it would make a backup of anything take for ever.
const LIMIT_LEAST: ByteCount = ByteCount(16 * 1024);
/// Bytes of an X25519 recipient.
const RECIPIENT_BYTES: usize = 32;

/// What is wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct PolicyError {
    /// The key that is wrong.
    pub key: &'static str,
    /// What is wrong, and what to give.
    pub problem: String,
}

pub(super) fn wrong<T>(key: &'static str, problem: impl Into<String>) -> Result<T, PolicyError> {
    Err(PolicyError { key, problem: problem.into() })
}

pub(super) fn rule(holds: bool, key: &'static str, problem: &str) -> Result<(), PolicyError> {
    if holds { Ok(()) } else { wrong(key, problem) }
}

impl Policy {
    /// Reads what a bundle says of the backup with this name.
    ///
    /// # Errors
    /// At the first key that is wrong.
    pub fn read(name: PolicyName, said: &Backup) -> Result<Self, PolicyError> {
        let source = read_source(said)?;
        let schedule = read_schedule(said)?;
        if schedule.when == When::Continuous {
            let is_command = matches!(source, Source::Command { .. });
            rule(
                !is_command,
                "schedule",
                "`continuous` follows changes of `paths`; give times for a command",
            )?;
        }
        let target = read_target(said)?;
        let escrow = read_escrow(&said.escrow)?;
        if !matches!(target, Target::Folder(_)) && escrow.is_empty() {
            return wrong(
                "escrow",
                format!(
                    "give at least one age recipient: without one nobody can restore what is in `{target}` once this \
                     node is lost"
                ),
            );
        }
        let quota = size("quota", said.quota.as_deref())?;
        let counts = target == Target::Aggregator || quota.is_none();
        rule(counts, "quota", "only the aggregator's store has quotas; leave it out for other targets")?;
        Ok(Self {
            name,
            source,
            hooks: read_hooks(said)?,
            keep: read_keep(&said.keep)?,
            max_age: read_max_age(said.max_age.as_deref(), &schedule)?,
            schedule,
            target,
            escrow,
            read_limit: rate("read_limit", said.read_limit.as_deref())?,
            write_limit: rate("write_limit", said.write_limit.as_deref())?,
            quota,
            drill: said.drill.as_ref().map(read_drill).transpose()?,
            check_cycle: read_check_cycle(said.check_cycle.as_deref())?,
        })
    }
}

/// Without control characters, and not too long.
pub(super) fn is_text(text: &str) -> bool {
    (1..=TEXT_BYTES_MAX).contains(&text.len()) && !text.contains(|c: char| c.is_control())
}

/// Absolute, without `.`, `..`, empty parts and a slash at the end, or `/` itself.
pub(super) fn is_plain_path(path: &str) -> bool {
    let is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    is_text(path) && (path == "/" || path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_plain)))
}

fn is_file_name(name: &str) -> bool {
    is_text(name) && !name.contains('/') && name != "." && name != ".."
}

fn is_program(argv: &[String]) -> bool {
    let is_word = |word: &String| word.len() <= TEXT_BYTES_MAX && !word.contains('\0');
    argv.first().is_some_and(|program| is_text(program)) && argv.iter().all(is_word)
}

fn read_source(said: &Backup) -> Result<Source, PolicyError> {
    match (said.paths.is_empty(), said.command.is_empty()) {
        (true, true) => {
            return wrong("paths", "say what is backed up: `paths`, or a `command` with a `file_name`");
        }
        (false, false) => {
            return wrong(
                "command",
                "give `paths` or `command`, not both; make a second policy for the other",
            );
        }
        (false, true) => {}
        (true, false) => return read_command(said),
    }
    rule(said.file_name.is_none(), "file_name", "it goes with `command`; `paths` keep their names")?;
    rule(said.paths.len() <= PATHS_MAX, "paths", "more than 1024; name a folder above them")?;
    rule(
        said.paths.iter().all(|path| is_plain_path(path)),
        "paths",
        "absolute paths without `.`, `..` and a slash at the end, e.g. [\"/etc\", \"/srv/www\"]",
    )?;
    let is_once = said.paths.iter().collect::<BTreeSet<_>>().len() == said.paths.len();
    rule(is_once, "paths", "one of them is there twice")?;
    rule(said.exclude.len() <= PATTERNS_MAX, "exclude", "more than 4096 patterns")?;
    rule(
        said.exclude.iter().all(|pattern| is_text(pattern) && pattern != "!"),
        "exclude",
        "patterns of paths on one line each, e.g. [\"*.tmp\", \"/var/cache/**\"]",
    )?;
    let markers = said.exclude_if_present.iter().all(|name| is_file_name(name));
    rule(markers, "exclude_if_present", "names of files without `/`, e.g. [\".nobackup\"]")?;
    Ok(Source::Files(Files {
        paths: said.paths.clone(),
        exclude: said.exclude.clone(),
        exclude_caches: said.exclude_caches,
        exclude_if_present: said.exclude_if_present.clone(),
        exclude_larger_than: size("exclude_larger_than", said.exclude_larger_than.as_deref())?,
        one_file_system: said.one_file_system,
    }))
}

fn read_command(said: &Backup) -> Result<Source, PolicyError> {
    rule(is_program(&said.command), "command", "program and arguments, e.g. [\"pg_dump\", \"--all\"]")?;
    for (key, is_said) in [
        ("exclude", !said.exclude.is_empty()),
        ("exclude_caches", said.exclude_caches),
        ("exclude_if_present", !said.exclude_if_present.is_empty()),
        ("exclude_larger_than", said.exclude_larger_than.is_some()),
        ("one_file_system", said.one_file_system),
    ] {
        rule(!is_said, key, "it goes with `paths`; what a command writes is taken as a whole")?;
    }
    let file_name = said.file_name.clone().filter(|name| is_file_name(name));
    let Some(file_name) = file_name else {
        return wrong("file_name", "name the file that the command's output becomes, e.g. \"main.sql\"");
    };
    Ok(Source::Command { argv: said.command.clone(), file_name })
}

fn read_hooks(said: &Backup) -> Result<Hooks, PolicyError> {
    for (key, hooks) in [("run_before", &said.run_before), ("run_after", &said.run_after)] {
        rule(hooks.len() <= HOOKS_MAX, key, "more than 32 commands; put them into one")?;
        let are_programs = hooks.iter().all(|argv| is_program(argv));
        rule(
            are_programs,
            key,
            "a list of commands, each program and arguments, e.g. [[\"sync\", \"-f\", \"/srv\"]]",
        )?;
    }
    let timeout = duration("hook_timeout", said.hook_timeout.as_deref())?.unwrap_or(HOOK_TIMEOUT);
    let is_fit = !timeout.is_zero() && timeout <= HOOK_TIMEOUT_MAX;
    rule(is_fit, "hook_timeout", "from 1s to 1d")?;
    Ok(Hooks { before: said.run_before.clone(), after: said.run_after.clone(), timeout })
}

fn read_schedule(said: &Backup) -> Result<Schedule, PolicyError> {
    let text = said.schedule.as_deref().map_or("", str::trim);
    if text.is_empty() {
        return wrong(
            "schedule",
            "say when: five fields as in cron (`30 2 * * *`), `@daily`, `@every 6h`, or `continuous`",
        );
    }
    if text == "continuous" {
        let problem = "`continuous` follows changes; it has no splay and no window";
        rule(said.splay.is_none(), "splay", problem)?;
        rule(said.window.is_none(), "window", problem)?;
        let when = Schedule { when: When::Continuous, splay: Duration::ZERO, window: None };
        return Ok(Schedule { splay: default_splay(&when), ..when });
    }
    let recurrence = Recurrence::parse(text).or_else(|error| wrong("schedule", error.to_string()))?;
    let window = match said.window.as_deref() {
        None => None,
        Some(text) => match Window::parse(text.trim()) {
            Some(window) => Some(window),
            None => return wrong("window", format!("`{text}` is no part of a day, e.g. \"01:00-05:00\"")),
        },
    };
    let schedule = Schedule { when: When::Recurring(recurrence), splay: Duration::ZERO, window };
    let splay = duration("splay", said.splay.as_deref())?.unwrap_or_else(|| default_splay(&schedule));
    rule(splay <= SPLAY_MAX, "splay", "a day at most")?;
    Ok(Schedule { splay, ..schedule })
}

fn default_splay(schedule: &Schedule) -> Duration {
    (schedule.interval() / 10).min(SPLAY_DEFAULT_MAX)
}

fn read_keep(said: &KeepKeys) -> Result<Keep, PolicyError> {
    let KeepKeys { last, hourly, daily, weekly, monthly, yearly, within } = said;
    let within = duration("keep", within.as_deref())?;
    let keep = Keep {
        last: *last,
        hourly: *hourly,
        daily: *daily,
        weekly: *weekly,
        monthly: *monthly,
        yearly: *yearly,
        within,
    };
    let counts = [*last, *hourly, *daily, *weekly, *monthly, *yearly];
    let has_any = counts.iter().any(|count| *count > 0) || within.is_some_and(|within| !within.is_zero());
    rule(has_any, "keep", "say which snapshots are kept, e.g. { daily = 7, weekly = 4, monthly = 12 }")?;
    rule(counts.iter().all(|count| *count <= KEEP_MAX), "keep", "at most 10000 of anything")?;
    rule(within != Some(Duration::ZERO), "keep", "`within` is a time, e.g. \"48h\", or left out")?;
    Ok(keep)
}

fn read_max_age(text: Option<&str>, schedule: &Schedule) -> Result<Duration, PolicyError> {
    let interval = schedule.interval();
    let Some(max_age) = duration("max_age", text)? else {
        return Ok((interval + interval / 2).max(MAX_AGE_LEAST));
    };
    if max_age < interval {
        let interval = format_duration(interval);
        return wrong("max_age", format!("up to {interval} pass between two runs; give more than that"));
    }
    rule(max_age <= MAX_AGE_MAX, "max_age", "ten years at most")?;
    Ok(max_age)
}

fn read_target(said: &Backup) -> Result<Target, PolicyError> {
    let access = Access {
        credentials: said.credentials.as_deref(),
        identity: said.identity.as_deref(),
        known_hosts: said.known_hosts.as_deref(),
    };
    Target::read(said.target.as_deref().unwrap_or("aggregator"), access)
}

/// Recipients in order: who can read a repository does not depend on how a bundle lists them.
fn read_escrow(said: &[String]) -> Result<Vec<String>, PolicyError> {
    rule(said.len() <= ESCROW_MAX, "escrow", "more than 16 recipients")?;
    for recipient in said {
        // A checksum is part of it: a slip would be noticed only when somebody needs to restore.
        let is_key = CheckedHrpstring::new::<Bech32>(recipient).is_ok_and(|checked| {
            checked.hrp().as_str() == "age" && checked.byte_iter().count() == RECIPIENT_BYTES
        });
        if !is_key || recipient.bytes().any(|byte| byte.is_ascii_uppercase()) {
            let problem = "is no age recipient (`age1` and 58 more characters); copy it from `age-keygen -y`";
            return wrong("escrow", format!("`{recipient}` {problem}"));
        }
    }
    Ok(said.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect())
}

fn read_drill(said: &DrillKeys) -> Result<Drill, PolicyError> {
    let text = said.schedule.as_deref().unwrap_or_default();
    let recurrence = match Recurrence::parse(text) {
        Ok(recurrence) => recurrence,
        Err(error) => return wrong("drill", format!("its schedule: {error}")),
    };
    let is_fit = said.command.is_empty() || is_program(&said.command);
    rule(is_fit, "drill", "its command: program and arguments, `{}` for the folder of what was restored")?;
    let schedule = Schedule { when: When::Recurring(recurrence), splay: Duration::ZERO, window: None };
    let schedule = Schedule { splay: default_splay(&schedule), ..schedule };
    Ok(Drill { schedule, command: said.command.clone() })
}

fn read_check_cycle(text: Option<&str>) -> Result<Duration, PolicyError> {
    let cycle = duration("check_cycle", text)?.unwrap_or(CHECK_CYCLE);
    let is_fit = (CHECK_CYCLE_LEAST..=CHECK_CYCLE_MAX).contains(&cycle);
    rule(is_fit, "check_cycle", "from 1d to 366d")?;
    Ok(cycle)
}

fn duration(key: &'static str, text: Option<&str>) -> Result<Option<Duration>, PolicyError> {
    let Some(text) = text else { return Ok(None) };
    match parse_duration(text.trim()) {
        Some(duration) => Ok(Some(duration)),
        None => wrong(key, format!("`{text}` is no time; give whole numbers of w, d, h, m, s, e.g. \"36h\"")),
    }
}

fn size(key: &'static str, text: Option<&str>) -> Result<Option<ByteCount>, PolicyError> {
    let Some(text) = text else { return Ok(None) };
    match text.parse::<ByteCount>() {
        Ok(ByteCount(0)) => wrong(key, "more than nothing; leave it out for no limit"),
        Ok(size) => Ok(Some(size)),
        Err(error) => wrong(key, error.to_string()),
    }
}

fn rate(key: &'static str, text: Option<&str>) -> Result<Option<ByteCount>, PolicyError> {
    let Some(text) = text else { return Ok(None) };
    let read = text.trim().strip_suffix("/s").and_then(|text| text.parse::<ByteCount>().ok());
    match read {
        Some(rate) if rate >= LIMIT_LEAST => Ok(Some(rate)),
        Some(_) => wrong(key, "at least 16 KiB/s; leave it out for no limit"),
        None => wrong(key, format!("`{text}` is no rate, e.g. \"20 MiB/s\"")),
    }
}

#[cfg(test)]
mod tests;
