//! Takes over settings that change while the agent runs: what can change at once does, the rest is named in the log.
//!
//! The folder of the settings file and that of its drop-ins are watched, since editors put another file in its place;
//! SIGHUP does the same by hand. Settings that cannot be used change nothing: the last good ones stay in force, and the
//! log, the samples, and with them the health of this node, say so until the file is mended.

use std::path::{Path, PathBuf};
use std::time::Duration;

use campanile_daemon::watchdog::Pulse;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::LOG_LEVEL_FILE;
use crate::metrics::spool::SpoolLimits;
use crate::metrics::task::{MetricsEvent, MetricsSettings};
use crate::os::log::LogLevel;
use crate::os::watch::FolderWatch;
use crate::settings::{SETTINGS_PATH, Settings, SettingsError};

/// Files count as written when nothing happened to them for so long.
const QUIET: Duration = Duration::from_millis(200);
/// Who never stops writing does not keep the agent from looking.
const QUIET_WAIT_MAX: Duration = Duration::from_secs(1);

/// Follows the settings.
pub(super) struct Reloader {
    /// As the command line named it.
    config: Option<PathBuf>,
    at_start: Settings,
    in_force: Settings,
    /// Why those as written are refused.
    error: Option<String>,
    /// Keys that wait for the next start, as last logged.
    waiting: Vec<&'static str>,
    level: LogLevel,
    metrics: mpsc::Sender<MetricsEvent>,
    hangup: Signal,
    watch: Option<FolderWatch>,
    settling: Option<Settling>,
}

/// Files are being written.
#[derive(Clone, Copy)]
struct Settling {
    began: Instant,
    last: Instant,
}

impl Reloader {
    /// Follows `config`, which was read as `settings`. Call it within a runtime.
    pub(super) fn new(
        config: Option<&Path>,
        settings: Settings,
        level: LogLevel,
        metrics: mpsc::Sender<MetricsEvent>,
    ) -> std::io::Result<Self> {
        let mut reloader = Self {
            config: config.map(Path::to_owned),
            at_start: settings.clone(),
            in_force: settings,
            error: None,
            waiting: Vec::new(),
            level,
            metrics,
            hangup: signal(SignalKind::hangup())?,
            watch: None,
            settling: None,
        };
        reloader.watch_folders();
        Ok(reloader)
    }

    /// Works until cancelled.
    pub(super) async fn run(mut self, pulse: Pulse, stop: CancellationToken) {
        // What changed between reading and watching is seen now.
        self.look().await;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = pulse.next() => {}
                _ = self.hangup.recv() => self.hung_up().await,
                () = changed(self.watch.as_ref(), &mut self.settling, self.config.as_deref()) => self.look().await,
            }
        }
    }

    /// Watches what is there now; folders that come and go are followed by the folder above them.
    fn watch_folders(&mut self) {
        let path = self.config.as_deref().unwrap_or(Path::new(SETTINGS_PATH));
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let watch = self.watch.take().map_or_else(FolderWatch::new, Ok);
        match watch.and_then(|watch| watch.add(folder).map(|()| watch)) {
            Ok(watch) => {
                // Absent is usual; when it comes, the folder above tells.
                drop(watch.add(&path.with_extension("d")));
                self.watch = Some(watch);
            }
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "settings are not watched: send SIGHUP after a change");
            }
        }
    }

    /// A level that `log-level` left is taken over; without one everything is read anew, and the level of the file is in
    /// force again.
    async fn hung_up(&mut self) {
        let file = self.in_force.state_dir.join(LOG_LEVEL_FILE);
        let asked = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
        drop(std::fs::remove_file(&file));
        if let Some(level) = asked {
            self.level.set(level);
            tracing::info!(%level, "log level changed");
            return;
        }
        self.look().await;
        self.level.set(self.in_force.log_level);
        tracing::info!(level = %self.in_force.log_level, "log level changed");
    }

    async fn look(&mut self) {
        self.watch_folders();
        match Settings::load(self.config.as_deref()) {
            Ok(settings) => self.take_over(settings).await,
            Err(error) => self.refuse(&error).await,
        }
    }

    async fn take_over(&mut self, settings: Settings) {
        if self.error.take().is_some() {
            tracing::info!("settings can be used again");
            drop(self.metrics.send(MetricsEvent::SettingsError(None)).await);
        }
        let waiting = settings.waiting(&self.at_start);
        if waiting != self.waiting {
            if !waiting.is_empty() {
                let keys = waiting.join(", ");
                tracing::warn!(
                    keys,
                    "settings changed that take effect at the next start of agent and steward"
                );
            }
            self.waiting = waiting;
        }
        // A level that was set by hand stays until the file names another.
        if settings.log_level != self.in_force.log_level {
            self.level.set(settings.log_level);
            tracing::info!(level = %settings.log_level, "log level changed");
        }
        let sampling = sampling(&settings);
        if sampling != self::sampling(&self.in_force) {
            tracing::info!(
                interval = ?sampling.interval, spool_bytes = sampling.limits.bytes.0,
                spool_age = ?sampling.limits.age, filesystem_exclude = ?sampling.filesystem_exclude,
                "settings changed"
            );
            // A closed channel means that the agent stops.
            drop(self.metrics.send(MetricsEvent::Settings(sampling)).await);
        }
        self.in_force = Settings { state_dir: self.at_start.state_dir.clone(), ..settings };
    }

    async fn refuse(&mut self, error: &SettingsError) {
        let brief = error.brief();
        if self.error.as_ref() == Some(&brief) {
            return;
        }
        tracing::warn!(error = brief, "settings refused: the last good ones stay in force");
        self.error = Some(brief.clone());
        drop(self.metrics.send(MetricsEvent::SettingsError(Some(brief))).await);
    }
}

fn sampling(settings: &Settings) -> MetricsSettings {
    MetricsSettings {
        interval: settings.interval,
        limits: SpoolLimits { bytes: settings.spool_bytes, age: settings.spool_age },
        filesystem_exclude: settings.filesystem_exclude.clone(),
    }
}

/// Waits until settings have changed and are quiet. Losing the future loses nothing: what it knows is in `settling`.
async fn changed(watch: Option<&FolderWatch>, settling: &mut Option<Settling>, config: Option<&Path>) {
    let Some(watch) = watch else { return std::future::pending().await };
    let path = config.unwrap_or(Path::new(SETTINGS_PATH));
    let names = [path.to_owned(), path.with_extension("d")];
    let is_settings = |name: &[u8]| {
        let is_named = |path: &PathBuf| path.file_name().is_some_and(|own| own.as_encoded_bytes() == name);
        names.iter().any(is_named) || name.ends_with(b".toml")
    };
    loop {
        let Some(found) = *settling else {
            if let Err(error) = watch.changed(is_settings).await {
                tracing::warn!(%error, "settings are not watched any more: send SIGHUP after a change");
                return std::future::pending().await;
            }
            let now = Instant::now();
            *settling = Some(Settling { began: now, last: now });
            continue;
        };
        let due = (found.last + QUIET).min(found.began + QUIET_WAIT_MAX);
        match tokio::time::timeout_at(due, watch.changed(is_settings)).await {
            Ok(Ok(())) => *settling = Some(Settling { last: Instant::now(), ..found }),
            Ok(Err(_)) | Err(_) => {
                *settling = None;
                return;
            }
        }
    }
}
