//! After the enrolment: starts the services where systemd has them, and waits until the aggregator has seen the node.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use campanile_common::time::Timestamp;

use crate::app::doctor::service;
use crate::app::link_state::LinkState;
use crate::os::clock;
use crate::os::stopwatch::{Stopwatch, pause};
use crate::settings::Settings;

/// How long a node may take from its start to its first session.
const ONLINE_TIMEOUT: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Starts what enrolment was waited for, and says when the node is online.
pub(super) fn start(settings: &Settings, config: Option<&Path>, since: Stopwatch) -> anyhow::Result<()> {
    if !service::is_installed(settings) || !rustix::process::geteuid().is_root() {
        let config = config.map(|config| format!(" --config {}", config.display())).unwrap_or_default();
        println!("start it: campanile-agent run{config}");
        return Ok(());
    }
    let before = clock::now();
    let status = Command::new(&settings.steward.systemctl)
        .args(["enable", "--quiet", "--now"])
        .args(service::UNITS)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {}", settings.steward.systemctl.display()))?;
    ensure!(
        status.success(),
        "this node is enrolled, and its services do not start: see campanile-agent doctor"
    );
    wait_online(&settings.state_dir, before)?;
    println!("online after {:.1} s", since.elapsed().as_secs_f64());
    Ok(())
}

fn wait_online(state_dir: &Path, before: Timestamp) -> anyhow::Result<()> {
    let watch = Stopwatch::start();
    let is_online =
        || LinkState::load(state_dir).is_some_and(|found| found.is_connected && found.since >= before);
    while !is_online() {
        ensure!(
            watch.elapsed() < ONLINE_TIMEOUT,
            "this node is enrolled and its agent runs, but has no session with the aggregator after {} s: see \
             campanile-agent doctor",
            ONLINE_TIMEOUT.as_secs()
        );
        pause(LOOK_INTERVAL);
    }
    Ok(())
}
