//! The aggregator's settings: a TOML file, drop-ins beside it, checked values. The only reader of either.

mod backup;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use campanile_common::health::Thresholds;
use serde::Deserialize;

use crate::backup::BackupSettings;
use crate::config::KeepPolicy;
use crate::node::LivenessSettings;
use crate::os::log::{self, LogLevelError};
use crate::os::settings_file::{self, FileError};
use crate::self_backup::SelfBackupSettings;
use backup::{RawBackup, RawSelfBackup};

/// Where the settings are looked for when no file is named.
pub const SETTINGS_PATH: &str = "/etc/campanile/aggregator.toml";

/// Where the aggregator's own package puts the packages that it serves.
const PACKAGES_DIR: &str = "/usr/share/campanile/packages";

/// Settings as written; what is absent takes its default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSettings {
    state_dir: Option<PathBuf>,
    listen: Option<SocketAddr>,
    addresses: Option<Vec<String>>,
    log_level: Option<String>,
    log_format: Option<LogFormat>,
    confine: Option<bool>,
    #[serde(default)]
    liveness: RawLiveness,
    #[serde(default)]
    certificates: RawCertificates,
    #[serde(default)]
    config: RawConfig,
    #[serde(default)]
    backup: RawBackup,
    #[serde(default)]
    self_backup: RawSelfBackup,
    #[serde(default)]
    packages: RawPackages,
    thresholds: Option<Thresholds>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLiveness {
    interval_ms: Option<u64>,
    late_ms: Option<u64>,
    offline_ms: Option<u64>,
    grace_ms: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCertificates {
    lifetime_s: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPackages {
    dir: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    keep_generations: Option<u32>,
    keep_days: Option<u32>,
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
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The fleet's files, state and samples.
    pub state_dir: PathBuf,
    /// UDP for agents, TCP for people.
    pub listen: SocketAddr,
    /// `host:port` as agents and people reach it; tokens carry them, the certificate names their hosts.
    pub addresses: Vec<String>,
    /// A level or directives.
    pub log_level: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Whether the process confines itself.
    pub is_confined: bool,
    /// When silent nodes are late and offline.
    pub liveness: LivenessSettings,
    /// Life of the leaf certificates.
    pub certificate_lifetime: Duration,
    /// How much history of the configuration is kept.
    pub config: KeepPolicy,
    /// Where backups are stored and within which limits.
    pub backup: BackupSettings,
    /// Backups of the aggregator itself; none where no recipient is set.
    pub self_backup: Option<SelfBackupSettings>,
    /// Packages that nodes are installed from.
    pub packages_dir: PathBuf,
    /// When values are bad.
    pub thresholds: Thresholds,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Unreadable or malformed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The log level cannot be read.
    #[error("setting `log_level` cannot be used")]
    LogLevel(#[from] LogLevelError),
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
    /// A value that cannot be used.
    #[error("setting `{key}` cannot be used: {detail}")]
    Refused {
        /// Which.
        key: &'static str,
        /// Why.
        detail: String,
    },
}

impl SettingsError {
    /// One line: which file, where in it, what is wrong.
    pub fn brief(&self) -> String {
        match self {
            Self::File(error) => error.brief(),
            Self::LogLevel(error) => format!("{self}: {error}"),
            Self::Range { .. } | Self::Refused { .. } => self.to_string(),
        }
    }
}

impl Settings {
    /// Reads `path` and its drop-ins (`aggregator.d/*.toml` beside `aggregator.toml`, later names win). Without a path,
    /// the usual file, or the defaults where there is none.
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

    /// Keys that differ from those the aggregator was started with and are only read at its start.
    pub fn waiting(&self, at_start: &Self) -> Vec<&'static str> {
        // Taken apart, so that a new setting has to be put on one of the two sides.
        let Self {
            state_dir,
            listen,
            addresses,
            log_level: _,
            log_format,
            is_confined,
            liveness,
            certificate_lifetime,
            thresholds: _,
            config,
            backup,
            self_backup,
            packages_dir,
        } = self;
        let differ = [
            ("state_dir", *state_dir != at_start.state_dir),
            ("listen", *listen != at_start.listen),
            ("addresses", *addresses != at_start.addresses),
            ("log_format", *log_format != at_start.log_format),
            ("confine", *is_confined != at_start.is_confined),
            ("liveness", liveness.interval != at_start.liveness.interval),
            ("certificates", *certificate_lifetime != at_start.certificate_lifetime),
            ("config", *config != at_start.config),
            ("backup", *backup != at_start.backup),
            ("self_backup", *self_backup != at_start.self_backup),
            ("packages", *packages_dir != at_start.packages_dir),
        ];
        differ.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
    }

    /// When nodes are late and offline while the aggregator goes on: as written, unless the interval itself differs.
    /// Agents keep the interval that they were told, so the limits that belong to another would call them all late.
    pub fn liveness_now(&self, at_start: &Self) -> LivenessSettings {
        let fits = self.liveness.interval == at_start.liveness.interval;
        if fits { self.liveness } else { at_start.liveness }
    }

    /// Hosts of [`Settings::addresses`], for the certificate.
    pub fn hosts(&self) -> Vec<String> {
        let mut hosts: Vec<String> = self.addresses.iter().filter_map(|address| host_of(address)).collect();
        hosts.extend(["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()]);
        hosts.sort();
        hosts.dedup();
        hosts
    }
}

/// True when nobody said how the aggregator is reached, so that only its own machine does.
pub fn is_addresses_default(addresses: &[String], listen: SocketAddr) -> bool {
    *addresses == usual_addresses(listen)
}

fn usual_addresses(listen: SocketAddr) -> Vec<String> {
    vec![format!("localhost:{}", listen.port())]
}

fn host_of(address: &str) -> Option<String> {
    let (host, port) = address.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| host.to_owned())
}

impl RawSettings {
    fn check(self) -> Result<Settings, SettingsError> {
        let liveness = self.liveness.check()?;
        let lifetime_s = self.certificates.lifetime_s.unwrap_or(48 * 3600);
        within(
            "certificates.lifetime_s",
            lifetime_s,
            10,
            90 * 86_400,
            "give 10 to 7776000 (90 days); 172800 (48 hours) is the default",
        )?;
        let listen = self.listen.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 8443)));
        let addresses = self.addresses.unwrap_or_else(|| usual_addresses(listen));
        if addresses.is_empty() || addresses.len() > 8 {
            let value = format!("a list of {}", addresses.len());
            return Err(SettingsError::Range { key: "addresses", value, rule: "give 1 to 8" });
        }
        if let Some(address) = addresses.iter().find(|address| host_of(address).is_none()) {
            let value = format!("`{address}`");
            return Err(SettingsError::Range { key: "addresses", value, rule: "give host:port" });
        }
        let log_level = self.log_level.unwrap_or_else(|| "info".to_owned());
        log::parse(&log_level)?;
        let thresholds = self.thresholds.unwrap_or_default();
        let state_dir = self.state_dir.unwrap_or_else(|| "/var/lib/campanile/aggregator".into());
        let backup = self.backup.check(&state_dir)?;
        Ok(Settings {
            state_dir,
            listen,
            addresses,
            log_level,
            log_format: self.log_format.unwrap_or(LogFormat::Json),
            is_confined: self.confine.unwrap_or(true),
            liveness,
            certificate_lifetime: Duration::from_secs(lifetime_s),
            config: self.config.check()?,
            backup,
            self_backup: self.self_backup.check()?,
            packages_dir: self.packages.dir.unwrap_or_else(|| PACKAGES_DIR.into()),
            thresholds,
        })
    }
}

impl RawLiveness {
    fn check(self) -> Result<LivenessSettings, SettingsError> {
        let interval = self.interval_ms.unwrap_or(1000);
        let late = self.late_ms.unwrap_or(2 * interval);
        let offline = self.offline_ms.unwrap_or(3 * interval);
        let grace = self.grace_ms.unwrap_or(10_000);
        within("liveness.interval_ms", interval, 100, 3_600_000, "give 100 to 3600000 (an hour)")?;
        within("liveness.late_ms", late, interval + 1, 7_200_000, "give more than interval_ms")?;
        within("liveness.offline_ms", offline, late + 1, 86_400_000, "give more than late_ms")?;
        within("liveness.grace_ms", grace, offline, 86_400_000, "give at least offline_ms")?;
        let [interval, late, offline, grace] = [interval, late, offline, grace].map(Duration::from_millis);
        Ok(LivenessSettings { interval, late, offline, grace })
    }
}

impl RawConfig {
    fn check(self) -> Result<KeepPolicy, SettingsError> {
        let usual = KeepPolicy::default();
        let generations = self.keep_generations.unwrap_or(usual.generations);
        let days = self.keep_days.unwrap_or(usual.days);
        within(
            "config.keep_generations",
            generations.into(),
            2,
            10_000,
            "give 2 to 10000; 100 is the default",
        )?;
        within("config.keep_days", days.into(), 1, 36_500, "give 1 to 36500; 365 is the default")?;
        Ok(KeepPolicy { generations, days })
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
        let path = folder.path().join("aggregator.toml");
        std::fs::write(&path, text).unwrap();
        Settings::load(Some(&path))
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let settings = load("").unwrap();
        assert_eq!(settings.listen.port(), 8443);
        assert_eq!(settings.liveness.late, Duration::from_secs(2));
        assert_eq!(settings.liveness.offline, Duration::from_secs(3));
        assert_eq!(settings.certificate_lifetime, Duration::from_secs(48 * 3600));
    }

    #[test]
    fn what_is_read_at_the_start_alone_is_named() {
        let at_start = load("").unwrap();
        let other = load("listen = \"127.0.0.1:1\"\nlog_level = \"debug\"\n[thresholds.cpu]\nwarning = 60.0")
            .unwrap();
        assert_eq!(other.waiting(&at_start), ["listen", "addresses"], "level and thresholds change at once");
    }

    #[test]
    fn limits_of_another_interval_wait_with_it() {
        let at_start = load("").unwrap();
        let slower = load("liveness = { offline_ms = 9000 }").unwrap();
        assert_eq!(slower.liveness_now(&at_start).offline, Duration::from_secs(9));
        let other = load("liveness = { interval_ms = 200 }").unwrap();
        assert_eq!(other.liveness_now(&at_start), at_start.liveness);
        assert_eq!(other.waiting(&at_start), ["liveness"]);
    }

    #[test]
    fn hosts_come_from_the_addresses() {
        let settings = load("addresses = [\"mon.example:8443\", \"[2001:db8::1]:8443\"]").unwrap();
        assert_eq!(settings.hosts(), ["127.0.0.1", "2001:db8::1", "::1", "localhost", "mon.example"]);
    }

    #[test]
    fn values_that_contradict_each_other_are_refused() {
        assert!(load("liveness = { late_ms = 5000, offline_ms = 4000 }").is_err());
        assert!(load("addresses = [\"no-port\"]").is_err());
        assert!(load("addresses = []").is_err());
        assert!(load("log_level = \"loud\"").is_err());
        assert!(load("listn = \"0.0.0.0:1\"").is_err());
    }

    #[test]
    fn a_self_backup_needs_a_recipient_and_a_folder() {
        const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
        assert_eq!(load("").unwrap().self_backup, None);
        let on = |more: &str| load(&format!("[self_backup]\nrecipients = [\"{RECIPIENT}\"]\n{more}"));
        let settings = on("dir = \"/srv/copies\"").unwrap().self_backup.unwrap();
        assert_eq!((settings.keep, settings.dir.to_str()), (7, Some("/srv/copies")));
        for (text, key) in [
            ("", "self_backup.dir"),
            ("dir = \"copies\"", "self_backup.dir"),
            ("dir = \"/srv\"\nkeep = 0", "self_backup.keep"),
            ("dir = \"/srv\"\nschedule = \"daily\"", "self_backup.schedule"),
            ("dir = \"/srv\"\nevery = 1", "every"),
        ] {
            let error = on(text).unwrap_err().brief();
            assert!(error.contains(key), "{text}: {error}");
        }
        let wrong = load("[self_backup]\nrecipients = [\"ssh-ed25519 AAAA\"]").unwrap_err().to_string();
        assert!(wrong.contains("`ssh-ed25519 AAAA` is no age recipient"), "{wrong}");
    }
}
