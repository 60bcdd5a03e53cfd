//! `log-level`: how much the aggregator writes to its log, while it runs.

use campanile_common::api::LogLevel;
use clap::Args;
use ureq::http::Method;

use crate::context::Context;
use crate::exit::Exit;
use crate::{profile, render};

/// Options of `log-level`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile log-level
  campanile log-level debug
  campanile log-level info,campanile_aggregator::http=debug")]
pub struct Level {
    /// error, warn, info, debug, trace, or levels by part; without it the level in force is printed
    level: Option<String>,
}

/// Carries it out.
///
/// # Errors
/// When it fails.
pub fn run(context: &mut Context<'_>, arguments: &Level) -> anyhow::Result<Exit> {
    let client = profile::client(context)?;
    let level: LogLevel = match &arguments.level {
        Some(level) => client.send(Method::PUT, "/api/v1/log-level", &LogLevel { level: level.clone() })?,
        None => client.get("/api/v1/log-level", &[])?,
    };
    render::object(context, &level, &level.level, |context| Ok(writeln!(context.out, "{}", level.level)?))?;
    Ok(Exit::Fine)
}
