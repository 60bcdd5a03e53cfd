//! The aggregator under test: its process, its memory and processor time, its interface for people.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use campanile_cli::client::Client;
use campanile_common::api::{CreatedToken, Liveness, Node, TokenRequest};
use campanile_common::label::Labels;
use campanile_common::token::Token;
use rustix::process::{Pid, Signal, kill_process};
use ureq::http::Method;

const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

/// Processor time so far and memory now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) cpu_ms: f64,
    pub(crate) resident_kib: f64,
}

/// The aggregator of a development fleet.
pub(crate) struct Aggregator {
    folder: PathBuf,
    program: PathBuf,
    pid: i32,
    client: Client,
}

impl Aggregator {
    /// Finds the one of the fleet in `dir`.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Self> {
        let folder = dir.join("aggregator").canonicalize().context("--dir: no fleet there")?;
        let environment = environment(&dir.join("env"))?;
        let value = |name: &str| environment.get(name).with_context(|| format!("{name} is not in DIR/env"));
        let ca = fs::read(value("CAMPANILE_CA")?)?;
        let token = value("CAMPANILE_TOKEN")?.clone();
        let client = Client::new(value("CAMPANILE_URL")?, &ca, Some(token.into()), PATIENCE)?;
        let pid: i32 = fs::read_to_string(folder.join("aggregator.pid"))?.trim().parse()?;
        let program = fs::read_link(format!("/proc/{pid}/exe")).context("the aggregator does not run")?;
        Ok(Self { folder, program, pid, client })
    }

    /// Makes the fleet's interval this, which takes a restart where it changes something.
    pub(crate) fn set_interval(&mut self, interval: Duration) -> anyhow::Result<()> {
        let drop_ins = self.folder.join("aggregator.d");
        fs::create_dir_all(&drop_ins)?;
        let text = format!(
            "[liveness]\ninterval_ms = {}\ngrace_ms = {}\n",
            interval.as_millis(),
            10_000.max(interval.as_millis() * 4)
        );
        fs::write(drop_ins.join("swarm.toml"), text)?;
        self.signal(Signal::TERM)?;
        self.start()
    }

    /// A token for so many nodes.
    pub(crate) fn token(&self, uses: u32) -> anyhow::Result<Token> {
        let request = TokenRequest { labels: Labels::default(), ttl_seconds: 3600, uses, name: None };
        let created: CreatedToken = self.client.send(Method::POST, "/api/v1/tokens", &request)?;
        Ok(created.token.parse()?)
    }

    /// Nodes of the swarm that are shown as online.
    pub(crate) fn online(&self) -> anyhow::Result<f64> {
        let nodes: Vec<Node> = self.client.pages("/api/v1/nodes", &[])?;
        let is_ours = |node: &&Node| node.name.starts_with("swarm-") && node.liveness == Liveness::Online;
        Ok(f64::from(u32::try_from(nodes.iter().filter(is_ours).count())?))
    }

    /// What it has used, from `/proc`.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        let fields = stat.rsplit_once(')').context("an odd stat file")?.1;
        // Fields 14 and 15 of the file, counted from the one behind the name, which is field 3.
        let ticks: Vec<u32> =
            fields.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
        let ticks_per_second = u32::try_from(rustix::param::clock_ticks_per_second())?;
        let cpu_ms = f64::from(ticks.iter().sum::<u32>()) * 1000.0 / f64::from(ticks_per_second);
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let resident_kib: u32 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(Usage { cpu_ms, resident_kib: resident_kib.into() })
    }

    /// Kills it as a crash would.
    pub(crate) fn kill(&self) -> anyhow::Result<()> {
        self.signal(Signal::KILL)
    }

    /// Starts it again and waits until it is ready.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        let log = OpenOptions::new().append(true).create(true).open(self.folder.join("aggregator.log"))?;
        let child = Command::new(&self.program)
            .args(["serve", "--config"])
            .arg(self.folder.join("aggregator.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.pid = i32::try_from(child.id())?;
        fs::write(self.folder.join("aggregator.pid"), format!("{}\n", self.pid))?;
        wait_for("the aggregator is ready", || self.client.order(Method::GET, "/readyz").is_ok())
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill_process(Pid::from_raw(self.pid).context("no pid")?, signal)?;
        wait_for("the aggregator ends", || !self.is_running())
    }

    fn is_running(&self) -> bool {
        // Our own child stays as a zombie, whose memory is gone.
        fs::read_to_string(format!("/proc/{}/status", self.pid)).is_ok_and(|text| text.contains("VmRSS:"))
    }
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        ensure!(Instant::now() < deadline, "not within {} s: {what}", PATIENCE.as_secs());
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Reads `export NAME='value'` lines.
fn environment(path: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let pairs = text.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
    Ok(pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').replace(r"'\''", "'"))).collect())
}
