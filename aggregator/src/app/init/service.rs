//! The aggregator as a service of systemd, where it is installed as one.

use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::settings::SETTINGS_PATH;

/// The service.
pub(super) const UNIT: &str = "campanile-aggregator.service";
/// Where packages put it.
const UNIT_FOLDERS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// Whether systemd runs the aggregator that is set up here.
#[derive(Debug)]
pub(super) struct Service {
    is_installed: bool,
}

impl Service {
    /// Looks for it. Other settings than the usual are those of another aggregator.
    pub(super) fn of(config: Option<&Path>) -> Self {
        let is_usual = config.is_none_or(|config| config == Path::new(SETTINGS_PATH));
        let is_there = UNIT_FOLDERS.iter().any(|folder| Path::new(folder).join(UNIT).exists());
        let has_systemd = Path::new("/run/systemd/system").is_dir();
        Self { is_installed: is_usual && is_there && has_systemd && rustix::process::geteuid().is_root() }
    }

    pub(super) const fn is_installed(&self) -> bool {
        self.is_installed
    }

    /// Starts it, now and whenever the machine starts, and returns when it serves: systemd waits for its word.
    pub(super) fn start(&self, port: u16) -> anyhow::Result<()> {
        let is_started = run(&["enable", "--now", UNIT])?;
        if is_started && TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(());
        }
        let log = Command::new("journalctl")
            .args(["-u", UNIT, "-n", "8", "-o", "cat", "--no-pager"])
            .stdin(Stdio::null())
            .output();
        let log = log.map(|done| String::from_utf8_lossy(&done.stdout).into_owned()).unwrap_or_default();
        bail!(
            "the fleet is founded, and {UNIT} does not serve; its log ends:\n{log}\nRun this again once it does"
        )
    }
}

fn run(arguments: &[&str]) -> anyhow::Result<bool> {
    let status =
        Command::new("systemctl").args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).status();
    Ok(status.context("cannot run systemctl")?.success())
}

/// How it is started by hand.
pub(super) fn serve_line(service: &Service, config: Option<&Path>) -> String {
    if service.is_installed {
        return format!("systemctl enable --now {UNIT}");
    }
    let config = config.map(|config| format!(" --config {}", config.display())).unwrap_or_default();
    format!("campanile-aggregator serve{config}")
}
