//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

/// Most agents: what one enrolment token can be good for.
const AGENTS_MAX: u32 = 10_000;
const SECONDS_MAX: u64 = 3600;

/// What to do.
#[derive(Debug)]
pub(crate) struct Options {
    /// A fleet made by `campanile dev up`.
    pub(crate) dir: PathBuf,
    pub(crate) agents: u32,
    /// How long the steady state is measured.
    pub(crate) duration: Duration,
    /// Time between two samples of an agent.
    pub(crate) interval: Duration,
    /// UDP sockets that the agents share.
    pub(crate) sockets: u32,
    /// Whether the aggregator is killed at the end.
    pub(crate) restart: bool,
}

impl Options {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let (mut dir, mut agents, mut seconds) = (None, 1000, 30);
        let (mut interval_ms, mut sockets, mut restart) = (10_000_u64, 4, false);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--dir" => dir = Some(PathBuf::from(value()?)),
                "--agents" => agents = value()?.parse().context("--agents")?,
                "--seconds" => seconds = value()?.parse().context("--seconds")?,
                "--interval-ms" => interval_ms = value()?.parse().context("--interval-ms")?,
                "--sockets" => sockets = value()?.parse().context("--sockets")?,
                "--restart" => restart = true,
                other => bail!(
                    "unknown argument {other}; use swarm --dir D --agents N --seconds S [--interval-ms I] \
                     [--sockets K] [--restart]"
                ),
            }
        }
        ensure!((1..=AGENTS_MAX).contains(&agents), "--agents: give 1 to {AGENTS_MAX}");
        ensure!((1..=SECONDS_MAX).contains(&seconds), "--seconds: give 1 to {SECONDS_MAX}");
        ensure!((100..=600_000).contains(&interval_ms), "--interval-ms: give 100 to 600000");
        ensure!((1..=64).contains(&sockets), "--sockets: give 1 to 64");
        Ok(Self {
            dir: dir.context("--dir: name the directory of `campanile dev up`")?,
            agents,
            duration: Duration::from_secs(seconds),
            interval: Duration::from_millis(interval_ms),
            sockets,
            restart,
        })
    }
}
