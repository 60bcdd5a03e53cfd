//! The log: to standard error, as JSON or for people, with a level that can be changed while the aggregator runs.

use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

/// Reads and changes the level of the running log.
#[derive(Debug, Clone)]
pub struct LogControl {
    handle: reload::Handle<EnvFilter, Registry>,
    current: Arc<Mutex<String>>,
}

/// Directives that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{directives}` is no log level; give error, warn, info, debug, trace or directives such as info,quinn=debug"
)]
pub struct LogLevelError {
    directives: String,
}

impl LogControl {
    /// The directives in force.
    pub fn get(&self) -> String {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts other directives in force.
    ///
    /// # Errors
    /// When they cannot be read; the old ones stay.
    pub fn set(&self, directives: &str) -> Result<(), LogLevelError> {
        let filter = parse(directives)?;
        // Fails only when the log is gone, which is at the very end.
        drop(self.handle.reload(filter));
        directives.clone_into(&mut self.current.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }
}

/// Checks directives.
///
/// # Errors
/// When they cannot be read.
pub fn parse(directives: &str) -> Result<EnvFilter, LogLevelError> {
    let error = || LogLevelError { directives: directives.to_owned() };
    // A bare word that is no level would be taken for the name of a module.
    let is_level = |word: &str| word.parse::<tracing::level_filters::LevelFilter>().is_ok();
    if directives.split(',').any(|part| !part.contains('=') && !is_level(part.trim())) {
        return Err(error());
    }
    directives.parse().map_err(|_| error())
}

/// Starts the log.
///
/// # Errors
/// When the directives cannot be read.
pub fn start(directives: &str, is_json: bool) -> Result<LogControl, LogLevelError> {
    let (filter, handle) = reload::Layer::new(parse(directives)?);
    let lines = if is_json {
        fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed()
    } else {
        fmt::layer().with_ansi(false).with_writer(std::io::stderr).boxed()
    };
    tracing_subscriber::registry().with(filter).with(lines).init();
    Ok(LogControl { handle, current: Arc::new(Mutex::new(directives.to_owned())) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_refused() {
        assert!(parse("debgu").is_err());
        assert!(parse("info,campanile_aggregator::http=debug").is_ok());
    }
}
