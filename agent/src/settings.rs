//! The agent's settings: a TOML file, drop-ins beside it, checked values. The only reader of either.

mod way;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use campanile_common::unit::ByteCount;
use serde::Deserialize;

use crate::os::settings_file::{self, FileError};
use crate::start::SafeModeSettings;
pub use way::{ProxySetting, SecretSource, WaySettings};
use way::{RawTransport, RawWay};

/// Where the settings are looked for when no file is named.
pub const SETTINGS_PATH: &str = "/etc/campanile/agent.toml";

/// Settings as written; what is absent takes its default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSettings {
    state_dir: Option<PathBuf>,
    proc_root: Option<PathBuf>,
    sys_root: Option<PathBuf>,
    interval_ms: Option<u64>,
    log_level: Option<String>,
    log_format: Option<LogFormat>,
    policy: Option<PathBuf>,
    transport: Option<RawTransport>,
    quic_retry_s: Option<u64>,
    proxy: Option<String>,
    proxy_user: Option<String>,
    proxy_password: Option<String>,
    confine: Option<bool>,
    #[serde(default)]
    safe_mode: RawSafeMode,
    #[serde(default)]
    spool: RawSpool,
    #[serde(default)]
    filesystem: RawFilesystem,
    #[serde(default)]
    steward: RawSteward,
    #[serde(default)]
    config: RawConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    root: Option<PathBuf>,
    check_interval_s: Option<u64>,
    #[serde(default)]
    programs: BTreeMap<String, PathBuf>,
}

/// Settings of the part that makes this node what its configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSettings {
    /// Everything that is configured lies beneath it; `/` on an installed node.
    pub root: PathBuf,
    /// How often the node is compared with its configuration, beside being watched.
    pub check_interval: Duration,
    /// Programs by their usual name (`apt-get`, `nft`...) that are somewhere else.
    pub programs: BTreeMap<String, PathBuf>,
}

impl StewardSettings {
    /// Where the policies of backups are kept, a file each.
    pub fn policies_dir(&self) -> PathBuf {
        self.state_dir.join("backup/policies")
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSteward {
    state_dir: Option<PathBuf>,
    socket: Option<PathBuf>,
    run_user: Option<String>,
    units: Option<UnitUse>,
    systemctl: Option<PathBuf>,
    systemd_run: Option<PathBuf>,
    journalctl: Option<PathBuf>,
}

/// Whether commands run in transient units of systemd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnitUse {
    /// Where systemd runs the machine and the steward is root.
    Auto,
    /// Never: in process groups with limits.
    Never,
}

/// Settings of the steward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StewardSettings {
    /// Its pinned authority, catalogue, journal and audit chain; readable by the steward alone.
    pub state_dir: PathBuf,
    /// The socket on which it takes what `run` hands it.
    pub socket: PathBuf,
    /// The user that `run` runs as; only it, and the steward's own user, may connect.
    pub run_user: Option<String>,
    /// Whether commands run in transient units.
    pub units: UnitUse,
    /// The program of that name.
    pub systemctl: PathBuf,
    /// The program of that name.
    pub systemd_run: PathBuf,
    /// The program of that name.
    pub journalctl: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSafeMode {
    starts: Option<u32>,
    within_s: Option<u64>,
    retry_s: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSpool {
    bytes_max: Option<u64>,
    age_max_s: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFilesystem {
    exclude: Option<Vec<String>>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Checked settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Identity, spool, checkpoints.
    pub state_dir: PathBuf,
    /// Where `/proc` is.
    pub proc_root: PathBuf,
    /// Where `/sys` is.
    pub sys_root: PathBuf,
    /// Time between two samples until an aggregator says otherwise.
    pub interval: Duration,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: tracing::level_filters::LevelFilter,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Most bytes the spool takes.
    pub spool_bytes: ByteCount,
    /// Samples older than this leave the spool.
    pub spool_age: Duration,
    /// Mount points that are not sampled.
    pub filesystem_exclude: Vec<String>,
    /// The node policy.
    pub policy: PathBuf,
    /// Settings of the way to the aggregator.
    pub way: WaySettings,
    /// Whether the daemons confine themselves.
    pub is_confined: bool,
    /// When the agent starts in safe mode.
    pub safe_mode: SafeModeSettings,
    /// Settings of the steward.
    pub steward: StewardSettings,
    /// Settings of the configuration.
    pub config: ConfigSettings,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Unreadable or malformed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A value outside its range.
    #[error("setting `{key}` is {value}; {rule}")]
    Range {
        /// Which.
        key: &'static str,
        /// What it is.
        value: String,
        /// What it must be.
        rule: &'static str,
    },
}

impl SettingsError {
    /// One line: which file, where in it, what is wrong.
    pub fn brief(&self) -> String {
        match self {
            Self::File(error) => error.brief(),
            Self::Range { .. } => self.to_string(),
        }
    }
}

impl Settings {
    /// Reads `path` and its drop-ins (`agent.d/*.toml` beside `agent.toml`, later names win). Without a path, the
    /// usual file, or the defaults where there is none.
    ///
    /// # Errors
    /// When a file is unreadable, has an unknown key or a value outside its range.
    pub fn load(path: Option<&Path>) -> Result<Self, SettingsError> {
        let usual = Path::new(SETTINGS_PATH);
        let raw: RawSettings = match path {
            Some(path) => settings_file::read(path)?,
            None => match settings_file::read(usual) {
                Err(FileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    RawSettings::default()
                }
                other => other?,
            },
        };
        raw.check()
    }

    /// Keys that differ from those the agent was started with and are only read at its start.
    pub fn waiting(&self, at_start: &Self) -> Vec<&'static str> {
        // Taken apart, so that a new setting has to be put on one of the two sides.
        let Self {
            state_dir,
            proc_root,
            sys_root,
            interval: _,
            log_level: _,
            log_format,
            spool_bytes: _,
            spool_age: _,
            filesystem_exclude: _,
            policy,
            way,
            is_confined,
            safe_mode,
            steward,
            config,
        } = self;
        let differ = [
            ("state_dir", *state_dir != at_start.state_dir),
            ("proc_root", *proc_root != at_start.proc_root),
            ("sys_root", *sys_root != at_start.sys_root),
            ("log_format", *log_format != at_start.log_format),
            ("policy", *policy != at_start.policy),
            ("transport, proxy", *way != at_start.way),
            ("confine", *is_confined != at_start.is_confined),
            ("safe_mode", *safe_mode != at_start.safe_mode),
            ("steward", *steward != at_start.steward),
            ("config", *config != at_start.config),
        ];
        differ.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
    }
}

impl RawSettings {
    fn check(self) -> Result<Settings, SettingsError> {
        let interval_ms = self.interval_ms.unwrap_or(1000);
        within(
            "interval_ms",
            interval_ms,
            100,
            3_600_000,
            "give 100 (ten times a second) to 3600000 (an hour)",
        )?;
        let bytes_max = self.spool.bytes_max.unwrap_or(32 * 1024 * 1024);
        within(
            "spool.bytes_max",
            bytes_max,
            1 << 20,
            1 << 34,
            "give 1048576 (1 MiB) to 17179869184 (16 GiB)",
        )?;
        let age_max_s = self.spool.age_max_s.unwrap_or(72 * 3600);
        within("spool.age_max_s", age_max_s, 60, 366 * 86_400, "give 60 (a minute) to 31622400 (366 days)")?;
        let level = self.log_level.unwrap_or_else(|| "info".to_owned());
        let log_level = level.parse().map_err(|_| SettingsError::Range {
            key: "log_level",
            value: format!("`{level}`"),
            rule: "give error, warn, info, debug or trace",
        })?;
        let way = RawWay {
            transport: self.transport,
            quic_retry_s: self.quic_retry_s,
            proxy: self.proxy,
            proxy_user: self.proxy_user,
            proxy_password: self.proxy_password,
        };
        Ok(Settings {
            state_dir: self.state_dir.unwrap_or_else(|| "/var/lib/campanile/agent".into()),
            proc_root: self.proc_root.unwrap_or_else(|| "/proc".into()),
            sys_root: self.sys_root.unwrap_or_else(|| "/sys".into()),
            interval: Duration::from_millis(interval_ms),
            log_level,
            log_format: self.log_format.unwrap_or(LogFormat::Json),
            spool_bytes: ByteCount(bytes_max),
            spool_age: Duration::from_secs(age_max_s),
            filesystem_exclude: self.filesystem.exclude.unwrap_or_default(),
            policy: self.policy.unwrap_or_else(|| "/etc/campanile/policy.toml".into()),
            way: way.check()?,
            is_confined: self.confine.unwrap_or(true),
            safe_mode: self.safe_mode.check()?,
            steward: self.steward.with_defaults(),
            config: self.config.check()?,
        })
    }
}

impl RawSafeMode {
    fn check(self) -> Result<SafeModeSettings, SettingsError> {
        let starts = self.starts.unwrap_or(5);
        let within_s = self.within_s.unwrap_or(300);
        let retry_s = self.retry_s.unwrap_or(3600);
        within("safe_mode.starts", starts.into(), 0, 100, "give 1 to 100, or 0 for none; 5 is the default")?;
        within("safe_mode.within_s", within_s, 10, 86_400, "give 10 to 86400 (a day); 300 is the default")?;
        within("safe_mode.retry_s", retry_s, 1, 86_400, "give 1 to 86400 (a day); 3600 is the default")?;
        let (within, retry) = (Duration::from_secs(within_s), Duration::from_secs(retry_s));
        Ok(SafeModeSettings { starts, within, retry })
    }
}

impl RawConfig {
    fn check(self) -> Result<ConfigSettings, SettingsError> {
        let check_interval_s = self.check_interval_s.unwrap_or(600);
        within("config.check_interval_s", check_interval_s, 1, 86_400, "give 1 to 86400 (a day)")?;
        let root = self.root.unwrap_or_else(|| "/".into());
        if !root.is_absolute() {
            let value = format!("`{}`", root.display());
            return Err(SettingsError::Range { key: "config.root", value, rule: "give an absolute path" });
        }
        Ok(ConfigSettings {
            root,
            check_interval: Duration::from_secs(check_interval_s),
            programs: self.programs,
        })
    }
}

impl RawSteward {
    fn with_defaults(self) -> StewardSettings {
        let path = |given: Option<PathBuf>, usual: &str| given.unwrap_or_else(|| usual.into());
        StewardSettings {
            state_dir: path(self.state_dir, "/var/lib/campanile/steward"),
            socket: path(self.socket, "/run/campanile/steward.sock"),
            run_user: self.run_user,
            units: self.units.unwrap_or(UnitUse::Auto),
            systemctl: path(self.systemctl, "/usr/bin/systemctl"),
            systemd_run: path(self.systemd_run, "/usr/bin/systemd-run"),
            journalctl: path(self.journalctl, "/usr/bin/journalctl"),
        }
    }
}

fn within(
    key: &'static str,
    value: u64,
    least: u64,
    most: u64,
    rule: &'static str,
) -> Result<(), SettingsError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(SettingsError::Range { key, value: value.to_string(), rule })
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests lay out the files that are read")]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Settings, SettingsError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        std::fs::write(&path, text).unwrap();
        Settings::load(Some(&path))
    }

    fn full_text(error: &SettingsError) -> String {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        text
    }

    #[test]
    fn the_empty_file_is_the_defaults() {
        let settings = load("").unwrap();
        assert_eq!(settings.interval, Duration::from_secs(1));
        assert_eq!(settings.spool_bytes, ByteCount::mebibytes(32));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_keys_there_are() {
        let text = full_text(&load("interval_ms = 1000\nspool.byte_max = 1\n").unwrap_err());
        assert!(text.contains("line 2") && text.contains("byte_max") && text.contains("bytes_max"), "{text}");
    }

    #[test]
    fn a_value_outside_its_range_says_what_it_may_be() {
        let text = full_text(&load("interval_ms = 5\n").unwrap_err());
        assert_eq!(text, "setting `interval_ms` is 5; give 100 (ten times a second) to 3600000 (an hour)");
    }

    #[test]
    fn what_is_read_at_the_start_alone_is_named() {
        let (before, after) = (load("").unwrap(), load("interval_ms = 2000\nlog_format = \"text\"").unwrap());
        assert_eq!(after.waiting(&before), ["log_format"], "the interval changes at once");
        let steward = load("[steward]\nrun_user = \"x\"\n[config]\ncheck_interval_s = 5").unwrap();
        assert_eq!(steward.waiting(&before), ["steward", "config"]);
        assert!(before.waiting(&before).is_empty());
    }

    #[test]
    fn a_problem_is_told_on_one_line_with_its_place() {
        let brief = load("interval_ms = 1000\nspool.byte_max = 1\n").unwrap_err().brief();
        assert!(brief.contains("agent.toml: line 2, column 7: unknown field `byte_max`"), "{brief}");
        assert!(!brief.contains('\n'));
        let brief = Settings::load(Some(Path::new("/nonexistent/agent.toml"))).unwrap_err().brief();
        assert!(brief.starts_with("/nonexistent/agent.toml cannot be read: "), "{brief}");
    }

    #[test]
    fn malformed_text_and_missing_files_are_errors() {
        assert!(load("interval_ms = = 1").is_err());
        assert!(Settings::load(Some(Path::new("/nonexistent/agent.toml"))).is_err());
    }

    #[test]
    fn drop_ins_win_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        std::fs::write(&path, "interval_ms = 1000\n[spool]\nage_max_s = 100\n").unwrap();
        std::fs::create_dir(folder.path().join("agent.d")).unwrap();
        std::fs::write(folder.path().join("agent.d/10-a.toml"), "interval_ms = 2000\n").unwrap();
        std::fs::write(folder.path().join("agent.d/20-b.toml"), "interval_ms = 3000\n").unwrap();
        let settings = Settings::load(Some(&path)).unwrap();
        assert_eq!(settings.interval, Duration::from_secs(3));
        assert_eq!(settings.spool_age, Duration::from_secs(100), "what no drop-in names stays");
    }
}
