//! Starting a development fleet, and stopping it again whatever happens.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use campanile_common::api::{CreatedToken, Liveness, Node, TokenRequest};
use campanile_common::fleet::CA_FILE;
use data_encoding::BASE64URL_NOPAD;
use ureq::http::Method;
use zeroize::Zeroizing;

use super::down;
use super::enroll::{self, Job};
use super::layout::{self, Layout, PlannedNode};
use super::{Up, programs};
use crate::client::Client;
use crate::context::Context;
use crate::exit::{Exit, Interrupted};
use crate::fleet;
use crate::keyring::WorkFactor;
use crate::os::signal::StopRequest;
use crate::os::{clock, file, process, random};

/// Tried first when no port is given.
const PORT: u16 = 8443;
/// How long one step of the start may take on a busy machine.
const STEP: Duration = Duration::from_secs(60);
/// How much longer for each node.
const STEP_PER_NODE: Duration = Duration::from_secs(2);
/// How often we look whether a step is done.
const LOOK: Duration = Duration::from_millis(200);
/// How often progress is told, and after how long first.
const PROGRESS: Duration = Duration::from_secs(2);
/// The passphrase lies beside the key and is as random as a key itself: slow guessing would only slow down its owner.
const WORK: WorkFactor = WorkFactor::Fixed(4);
/// How long an enrolment token of the start is valid.
const TOKEN_SECONDS: u64 = 3600;

pub(super) fn run(context: &mut Context<'_>, arguments: &Up) -> anyhow::Result<Exit> {
    let programs = programs::find(arguments.bin_dir.as_deref(), context.environment)?;
    let stop = StopRequest::listen().context("cannot listen for signals")?;
    let nodes = layout::plan_nodes(arguments.nodes);
    Layout::check_sockets(&arguments.dir, &nodes)?;
    let port = choose_port(arguments.port)?;
    let mut fleet = Fleet {
        layout: Layout::claim(&arguments.dir)?,
        port,
        stop,
        children: BTreeMap::new(),
        is_kept: false,
        told: Instant::now(),
    };
    let link = match fleet.bring_up(context, &programs, &nodes) {
        Ok(link) => link,
        Err(error) => {
            return Err(match fleet.take_down() {
                Ok(()) => error,
                Err(left) => error.context(format!("and not all of it could be removed ({left:#})")),
            });
        }
    };
    announce(context, &fleet, &link, arguments.detach)?;
    if arguments.detach {
        fleet.is_kept = true;
        return Ok(Exit::Fine);
    }
    let ended = fleet.watch(context);
    fleet.take_down()?;
    ended
}

fn announce(context: &mut Context<'_>, fleet: &Fleet, link: &str, detached: bool) -> anyhow::Result<()> {
    let dir = layout::shell_quoted(&fleet.layout.root().to_string_lossy());
    writeln!(context.out, "url      https://127.0.0.1:{}", fleet.port)?;
    writeln!(context.out, "sign in  {link}")?;
    writeln!(context.out, "\n. {dir}/env\ncampanile node ls")?;
    context.out.flush()?;
    let end = if detached { format!("campanile dev down --dir {dir}") } else { "Ctrl-C".to_owned() };
    context.hint(&format!("\nto stop it and remove what it made: {end}"))?;
    Ok(())
}

/// A development fleet while it is started by us. Dropped without being kept, it is stopped and removed.
struct Fleet {
    layout: Layout,
    port: u16,
    stop: StopRequest,
    /// Daemons by what they are called: `aggregator`, a node's name, or that followed by `steward`.
    children: BTreeMap<String, Child>,
    is_kept: bool,
    told: Instant,
}

impl Fleet {
    /// Starts everything; gives the one-time link to sign in with.
    fn bring_up(
        &mut self,
        context: &mut Context<'_>,
        programs: &programs::Programs,
        nodes: &[PlannedNode],
    ) -> anyhow::Result<String> {
        self.found(context)?;
        let token = self.ask_aggregator(
            &programs.aggregator,
            &["api-token", "--name", "dev", "--role", "admin", "--ttl", "7d"],
        )?;
        let link = self.ask_aggregator(&programs.aggregator, &["signin-link", "--person", "admin"])?;
        let environment = Zeroizing::new(layout::environment(&self.layout, self.port, &token));
        file::write_new(&self.layout.path("env"), environment.as_bytes(), file::SECRET)?;
        file::write_new(&self.layout.path("token"), token.as_bytes(), file::SECRET)?;

        let log = self.layout.path("aggregator/aggregator.log");
        let settings = self.layout.aggregator_settings();
        self.start("aggregator", &programs.aggregator, "serve", &settings, &log)?;
        let client = self.client(token)?;
        self.wait_ready(context, &client)?;
        self.enroll_all(context, &programs.agent, &client, nodes)?;
        self.wait_online(context, &client, nodes)?;
        Ok(link)
    }

    /// Makes the fleet and the aggregator's settings.
    fn found(&self, context: &mut Context<'_>) -> anyhow::Result<()> {
        for folder in ["aggregator", "operator", "nodes"] {
            file::make_private_dir(&self.layout.path(folder))?;
        }
        let passphrase = Zeroizing::new(BASE64URL_NOPAD.encode(&random::bytes::<24>()));
        let line = Zeroizing::new(format!("{}\n", passphrase.as_str()));
        file::write_new(&self.layout.path("operator/passphrase"), line.as_bytes(), file::SECRET)?;
        let made = fleet::create(&fleet::Plan {
            name: "dev",
            operator: "dev",
            aggregator_dir: Some(&self.layout.aggregator_state()),
            operator_dir: &self.layout.path("operator"),
            passphrase: &passphrase,
            work: WORK,
            recovery_keys: 1,
            now: clock::now(),
        })?;
        let settings = layout::aggregator_settings(&self.layout, self.port);
        file::write_new(&self.layout.aggregator_settings(), settings.as_bytes(), file::SECRET)?;
        context.hint(&format!("fleet {} in {}", made.fleet.fleet_id, self.layout.root().display()))?;
        Ok(())
    }

    /// Runs one of the aggregator's local verbs; gives what it prints.
    fn ask_aggregator(&self, program: &Path, arguments: &[&str]) -> anyhow::Result<String> {
        let settings = self.layout.aggregator_settings();
        let log = self.layout.path("aggregator/aggregator.log");
        let (verb, rest) = arguments.split_first().expect("a verb is given");
        let mut line = vec![OsStr::new(verb), OsStr::new("--config"), settings.as_os_str()];
        line.extend(rest.iter().map(OsStr::new));
        let deadline = Instant::now() + STEP;
        let keep_waiting = || Instant::now() < deadline && !self.stop.is_asked();
        let done = process::run(program, &line, b"", &log, keep_waiting);
        self.check_stop()?;
        let (status, printed) = done.with_context(|| format!("cannot run {} {verb}", program.display()))?;
        if !status.success() || printed.trim().is_empty() {
            bail!("{} {verb} failed ({status}):\n{}", program.display(), process::tail(&log));
        }
        Ok(printed.trim().to_owned())
    }

    fn client(&self, token: String) -> anyhow::Result<Client> {
        let ca = file::read(&self.layout.path("operator").join(CA_FILE))?;
        let url = format!("https://127.0.0.1:{}", self.port);
        Ok(Client::new(&url, &ca, Some(Zeroizing::new(token)), STEP)?)
    }

    fn start(
        &mut self,
        what: &str,
        program: &Path,
        verb: &str,
        settings: &Path,
        log: &Path,
    ) -> anyhow::Result<()> {
        let arguments = [OsStr::new(verb), OsStr::new("--config"), settings.as_os_str()];
        let child = process::start(program, &arguments, log)
            .with_context(|| format!("cannot start {}", program.display()))?;
        // The number alone: scripts do `kill $(cat agent.pid)`.
        let pid_file = log.with_extension("pid");
        let written = file::replace(&pid_file, format!("{}\n", child.id()).as_bytes(), file::PUBLIC);
        self.children.insert(what.to_owned(), child);
        Ok(written?)
    }

    fn wait_ready(&mut self, context: &mut Context<'_>, client: &Client) -> anyhow::Result<()> {
        let deadline = Instant::now() + STEP;
        loop {
            self.check_stop()?;
            self.check_aggregator()?;
            let Err(error) = client.order(Method::GET, "/readyz") else { return Ok(()) };
            if Instant::now() >= deadline {
                let log = process::tail(&self.layout.path("aggregator/aggregator.log"));
                return Err(anyhow!("its log ends with:\n{log}")
                    .context(error)
                    .context("the aggregator does not become ready"));
            }
            self.tell(context, "waiting for the aggregator")?;
            process::pause(LOOK);
        }
    }

    /// Enrols the nodes, a few at a time, and starts each as soon as it is enrolled.
    fn enroll_all(
        &mut self,
        context: &mut Context<'_>,
        agent: &Path,
        client: &Client,
        nodes: &[PlannedNode],
    ) -> anyhow::Result<()> {
        let mut groups: BTreeMap<String, Vec<&PlannedNode>> = BTreeMap::new();
        for node in nodes {
            groups.entry(node.labels.to_string()).or_default().push(node);
        }
        let mut jobs = Vec::new();
        for group in groups.into_values() {
            self.check_stop()?;
            let request = TokenRequest {
                labels: group[0].labels.clone(),
                ttl_seconds: TOKEN_SECONDS,
                uses: u32::try_from(group.len())?,
                name: None,
            };
            let created: CreatedToken = client
                .send(Method::POST, "/api/v1/tokens", &request)
                .context("cannot make an enrolment token")?;
            jobs.extend(group.iter().map(|node| Job::new(&self.layout, &node.name, &created.token)));
        }
        let stop = self.stop.clone();
        let mut done = 0;
        enroll::all(agent, jobs, STEP + STEP_PER_NODE * u32::try_from(nodes.len())?, &stop, |job| {
            let settings = self.layout.node(&job.node, "agent.toml");
            // Enrolling has pinned the authority for the steward. It comes first, so that `run` finds its socket.
            let steward_log = self.layout.node(&job.node, "steward.log");
            self.start(&format!("{} steward", job.node), agent, "steward", &settings, &steward_log)?;
            let log = self.layout.node(&job.node, "agent.log");
            self.start(&job.node, agent, "run", &settings, &log)?;
            done += 1;
            self.tell(context, &format!("{done} of {} nodes enrolled", nodes.len()))
        })?;
        self.check_stop()
    }

    fn wait_online(
        &mut self,
        context: &mut Context<'_>,
        client: &Client,
        nodes: &[PlannedNode],
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + STEP + STEP_PER_NODE * u32::try_from(nodes.len())?;
        loop {
            self.check_stop()?;
            self.check_aggregator()?;
            let listed: Vec<Node> = client.pages("/api/v1/nodes", &[])?;
            let online = |node: &Node| node.liveness == Liveness::Online;
            let count = listed.iter().filter(|node| online(node)).count();
            if count == nodes.len() {
                return Ok(());
            }
            let missing: Vec<&str> = nodes
                .iter()
                .filter(|node| !listed.iter().any(|found| online(found) && found.name == node.name))
                .map(|node| node.name.as_str())
                .collect();
            if Instant::now() >= deadline {
                return Err(self.not_online(&missing));
            }
            self.check_agents(&missing)?;
            self.tell(context, &format!("{count} of {} nodes online", nodes.len()))?;
            process::pause(LOOK);
        }
    }

    fn not_online(&self, missing: &[&str]) -> anyhow::Error {
        let mut text = format!("{} of the nodes did not come online: {}", missing.len(), missing.join(", "));
        if let Some(first) = missing.first() {
            let log = process::tail(&self.layout.node(first, "agent.log"));
            write!(text, "\nthe log of {first} ends with:\n{log}").expect("text takes text");
        }
        anyhow!(text)
    }

    /// Fails when one of the `awaited` agents, or its steward, has ended.
    fn check_agents(&mut self, awaited: &[&str]) -> anyhow::Result<()> {
        for node in awaited {
            for (what, name, log) in [
                ("agent", (*node).to_owned(), "agent.log"),
                ("steward", format!("{node} steward"), "steward.log"),
            ] {
                let Some(child) = self.children.get_mut(&name) else { continue };
                if let Some(status) = child.try_wait()? {
                    let log = process::tail(&self.layout.node(node, log));
                    bail!("the {what} of {node} ended ({status}); its log ends with:\n{log}");
                }
            }
        }
        Ok(())
    }

    fn check_aggregator(&mut self) -> anyhow::Result<()> {
        let Some(child) = self.children.get_mut("aggregator") else { return Ok(()) };
        if let Some(status) = child.try_wait()? {
            let log = process::tail(&self.layout.path("aggregator/aggregator.log"));
            bail!("the aggregator ended ({status}); its log ends with:\n{log}");
        }
        Ok(())
    }

    fn check_stop(&self) -> anyhow::Result<()> {
        if self.stop.is_asked() { Err(Interrupted.into()) } else { Ok(()) }
    }

    /// Tells how far we are, not more often than every two seconds.
    fn tell(&mut self, context: &mut Context<'_>, text: &str) -> anyhow::Result<()> {
        if self.told.elapsed() >= PROGRESS {
            context.hint(text)?;
            self.told = Instant::now();
        }
        Ok(())
    }

    /// Until a stop is asked for, here or by `dev down`. Agents may come and go: that is what it is for.
    fn watch(&mut self, context: &mut Context<'_>) -> anyhow::Result<Exit> {
        while !self.stop.is_asked() {
            if let Err(error) = self.check_aggregator() {
                // `dev down` is at work and removes everything itself.
                self.is_kept = self.layout.is_stopping();
                return if self.is_kept { Ok(Exit::Fine) } else { Err(error) };
            }
            let mut ended = Vec::new();
            for (name, child) in &mut self.children {
                if let Some(status) = child.try_wait()? {
                    ended.push((name.clone(), status));
                }
            }
            for (name, status) in ended {
                self.children.remove(&name);
                context.hint(&format!("{name}: {status}"))?;
            }
            process::pause(LOOK);
        }
        Ok(Exit::Fine)
    }

    /// Stops everything and removes it. What `dev down` does at the same time is not done twice.
    fn take_down(&mut self) -> anyhow::Result<()> {
        if std::mem::replace(&mut self.is_kept, true) {
            return Ok(());
        }
        down::stop(&self.layout)?;
        for child in self.children.values_mut() {
            // Ended by now; this only lets the kernel forget it.
            child.wait()?;
        }
        self.layout.remove()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Err(error) = self.take_down() {
            eprintln!("campanile: cannot stop all of {}: {error:#}", self.layout.root().display());
        }
    }
}

/// A port of the loopback that is free for both UDP and TCP.
fn choose_port(asked: Option<u16>) -> anyhow::Result<u16> {
    if let Some(port) = asked {
        return is_free(port)
            .then_some(port)
            .ok_or_else(|| anyhow!("port {port} is taken; give another --port or none"));
    }
    if is_free(PORT) {
        return Ok(PORT);
    }
    // The kernel's choice for TCP is rarely taken for UDP, but may be.
    for _ in 0..16 {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        if is_free(port) {
            return Ok(port);
        }
    }
    bail!("found no port that is free for UDP and TCP; give one with --port")
}

fn is_free(port: u16) -> bool {
    let address = (Ipv4Addr::LOCALHOST, port);
    TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_taken_on_either_protocol_is_not_free() {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(choose_port(Some(tcp.local_addr().unwrap().port())).is_err());
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(choose_port(Some(udp.local_addr().unwrap().port())).is_err());
    }

    #[test]
    fn without_a_wish_a_free_port_is_found() {
        assert!(is_free(choose_port(None).unwrap()));
    }
}
