//! The log: to standard error, as JSON or for people, with a level that can be changed while the agent runs.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, fmt, reload};

/// Changes the level of the running log.
#[derive(Debug, Clone)]
pub struct LogLevel(reload::Handle<LevelFilter, Registry>);

impl LogLevel {
    /// Sets the level.
    pub fn set(&self, level: LevelFilter) {
        // Fails only when the log is gone, which is at the very end.
        drop(self.0.reload(level));
    }
}

/// Starts the log.
pub fn start(level: LevelFilter, is_json: bool) -> LogLevel {
    let (filter, handle) = reload::Layer::new(level);
    let lines = if is_json {
        fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed()
    } else {
        fmt::layer().with_ansi(false).with_target(false).with_writer(std::io::stderr).boxed()
    };
    tracing_subscriber::registry().with(filter).with(lines).init();
    LogLevel(handle)
}
