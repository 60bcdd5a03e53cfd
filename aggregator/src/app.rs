//! Composition root: builds every part, wires the channels, owns the tasks, drains.

mod as_owner;
mod backups;
mod bounds;
mod certificate;
mod checkpoint;
mod config;
mod doctor;
mod due_runs;
mod in_force;
mod init;
mod local;
mod reload;
mod self_backup;
mod sockets;
mod stored;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use campanile_common::api::Confinement;
use campanile_common::fleet::FleetFile;
use campanile_common::id::Digest;
use campanile_daemon::watchdog::Watchdog;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::audit::Audit;
use crate::cli::{Cli, Command, InitOutput};
use crate::event::Events;
use crate::http::{self, AgentDoor, AuthorityTerm, FleetInfo, LogLevelHandle, Readiness, Services};
use crate::identity::Ca;
use crate::listener::{Context, ListenerTask};
use crate::node::{NodeTask, NodeTaskSettings, Nodes, Registry, TokenPins};
use crate::order::Outputs;
use crate::os::clock::Clock;
use crate::os::file;
use crate::os::log::{self, LogControl};
use crate::os::process;
use crate::packages::{Packages, Site};
use crate::self_backup::SelfBackupTask;
use crate::series::{Ingest, IngestTask, RecentSeries};
use crate::settings::{LogFormat, Settings};
use crate::state::{Keys, Store};
use reload::Reloader;
use stored::Stored;

/// Events of sessions that wait for the node task, which handles one in microseconds.
const NODE_EVENTS_MAX: usize = 4096;
/// How long everything may take to stop; systemd waits longer.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// SQLite, password hashes, the journal.
const BLOCKING_THREADS_MAX: usize = 8;

/// Runs one command.
///
/// # Errors
/// What went wrong, for a person to read.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    // Libraries that do not take a provider as an argument use this one; it is set once, here.
    drop(rustls::crypto::ring::default_provider().install_default());
    let settings = match (Settings::load(cli.config.as_deref()), &cli.command) {
        (Err(error), Command::Doctor { output }) => {
            return doctor::run(Err(&error), *output == InitOutput::Json);
        }
        (settings, _) => settings?,
    };
    if !matches!(cli.command, Command::Serve) {
        return local::run(cli.command, &settings, cli.config.as_deref());
    }
    // Before there are threads: each would stay as free as it was.
    let confinement = bounds::confine(&settings, cli.config.as_deref());
    let runtime = runtime()?;
    let log = log::start(&settings.log_level, settings.log_format == LogFormat::Json)?;
    tracing::info!(level = %confinement, "confined: what fails for want of permission may be refused by that");
    runtime.block_on(serve(settings, cli.config.as_deref(), (log, confinement)))
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

fn secret(state_dir: &Path, name: &str) -> anyhow::Result<[u8; 32]> {
    let path = state_dir.join(name);
    file::secret(&path).with_context(|| format!("cannot use {}", path.display()))
}

/// Every part, built and wired, none running.
struct Parts {
    access: Access,
    readiness: Readiness,
    /// Tell the agents and the people what changed in TLS.
    certificates: certificate::Certificates,
    fleet: FleetFile,
    clock: Clock,
    audit: Audit,
    nodes: Nodes,
    node_task: NodeTask,
    work: due_runs::Tasks,
    ingest_task: IngestTask,
    listener: ListenerTask,
    https: Https,
    follower: in_force::Follower,
    self_backup: SelfBackupTask,
    backups: backups::Tasks,
}

/// What the aggregator tells of its own log and settings.
struct OwnState {
    log_level: LogLevelHandle,
    settings_error: watch::Receiver<Option<String>>,
    confinement: Confinement,
    /// Its settings file, as the command line named it.
    config: Option<PathBuf>,
}

/// What serves people.
struct Https {
    socket: TcpListener,
    tls: watch::Receiver<Arc<rustls::ServerConfig>>,
    services: Services,
    agents: AgentDoor,
}

impl Parts {
    async fn build(settings: &Settings, own: OwnState) -> anyhow::Result<Self> {
        let Stored { fleet, store, keys, audit, access, clock } = Stored::open(settings).await?;
        let (ca, events, series) = (load_ca(settings, &fleet)?, Events::default(), RecentSeries::default());
        let in_force = in_force::open(settings, &fleet, (&store, &keys), &audit, &events, &clock).await?;
        let ((agents, people), (socket, endpoint, door)) = sockets::bind(settings, &ca, &fleet, &clock)?;
        let (ingest_task, ingest) = open_journal(&settings.state_dir, &series, &clock)?;
        let (followed, term, pin) = in_force::followed(&in_force);
        let (nodes, node_task) =
            node_parts((settings, &fleet), (&store, &keys, &audit), &series, &events, &clock, &ca, pin)
                .await?;
        let opened = config::open(settings, (&store, &keys), &audit, &events, &clock, &in_force).await?;
        let (config, reach, told) =
            (opened.config.clone(), (&nodes, node_task.sessions()), (&events, &audit));
        let (files, readiness) = ((open_outputs(settings)?, opened), Readiness::waiting("starting"));
        let kept = backups::open(settings, (&store, &keys), &config, &nodes, &clock, told, &in_force).await?;
        let work = due_runs::open((store, keys), files, &audit, reach, &events, &clock, &in_force).await?;
        let own_copies = self_backup::open(settings, &own, (&fleet, &clock), (&audit, &events));
        let services = Services {
            access: access.clone(),
            audit: audit.clone(),
            nodes: nodes.clone(),
            authorities: in_force.authorities.clone(),
            catalogues: in_force.catalogues.clone(),
            freezer: in_force.freezer.clone(),
            schedules: in_force.schedules,
            orders: work.orders.clone(),
            config: config.clone(),
            backups: kept.store.clone(),
            series: series.clone(),
            events,
            fleet: fleet_info(&fleet, &clock, own.confinement, term),
            log_level: own.log_level,
            settings_error: own.settings_error,
            readiness: readiness.clone(),
            self_backup: own_copies.1,
            packages: packages(settings, &fleet, &ca),
            clock: clock.clone(),
        };
        let context = Context::new(
            fleet.clone(),
            Arc::clone(&ca),
            in_force.authorities,
            in_force.freezer,
            nodes.clone(),
            series,
            ingest,
            clock.clone(),
            settings.liveness.interval,
            in_force.catalogues.subscribe_signed(),
            config,
            (kept.store, work.orders),
        );
        Ok(Self {
            access,
            readiness,
            certificates: certificate::Certificates { agents: agents.0, people: people.0, ca },
            fleet,
            clock,
            audit,
            nodes: nodes.clone(),
            node_task,
            work: work.tasks,
            ingest_task,
            listener: ListenerTask::new(endpoint, Arc::new(context), agents.1, door.1),
            https: Https { socket, tls: people.1, services, agents: door.0 },
            follower: followed.with(nodes),
            self_backup: own_copies.0,
            backups: kept.tasks,
        })
    }
}

fn load_ca(settings: &Settings, fleet: &FleetFile) -> anyhow::Result<Arc<Ca>> {
    Ok(Arc::new(Ca::load(&settings.state_dir, fleet.fleet_id, settings.certificate_lifetime)?))
}

/// What nodes of the fleet are installed from.
fn packages(settings: &Settings, fleet: &FleetFile, ca: &Ca) -> Packages {
    let (fleet, addresses) = (fleet.fleet_name.clone(), settings.addresses.clone());
    Packages::new(settings.packages_dir.clone(), Site { fleet, addresses, ca: ca.pem().to_owned() })
}

fn fleet_info(
    fleet: &FleetFile,
    clock: &Clock,
    confinement: Confinement,
    authority: watch::Receiver<AuthorityTerm>,
) -> FleetInfo {
    FleetInfo {
        name: fleet.fleet_name.clone(),
        id: fleet.fleet_id,
        aggregator_version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: clock.now(),
        confinement,
        authority,
    }
}

fn open_outputs(settings: &Settings) -> anyhow::Result<Outputs> {
    let folder = settings.state_dir.join("outputs");
    Outputs::open(&folder).with_context(|| format!("cannot use {}", folder.display()))
}

fn open_journal(
    state_dir: &Path,
    series: &RecentSeries,
    clock: &Clock,
) -> anyhow::Result<(IngestTask, Ingest)> {
    let folder = state_dir.join("series");
    let (task, ingest, damaged) = IngestTask::open(&folder, series.clone(), clock.clone())?;
    for path in damaged {
        tracing::error!(path = %path.display(), "sample journal damaged: what is behind the damage is lost");
    }
    Ok((task, ingest))
}

async fn node_parts(
    (settings, fleet): (&Settings, &FleetFile),
    (store, keys, audit): (&Store, &Keys, &Audit),
    series: &RecentSeries,
    events: &Events,
    clock: &Clock,
    ca: &Ca,
    authority: watch::Receiver<Digest>,
) -> anyhow::Result<(Nodes, NodeTask)> {
    let registry = Registry::open(Arc::clone(store), keys.clone(), audit.clone(), clock.clone()).await?;
    let (sender, inbox) = mpsc::channel(NODE_EVENTS_MAX);
    let task_settings =
        NodeTaskSettings { liveness: settings.liveness, thresholds: Arc::new(settings.thresholds.clone()) };
    let (task, view) =
        NodeTask::new(registry.clone(), series.clone(), events.clone(), clock.clone(), task_settings, inbox);
    let pins = TokenPins {
        fleet: fleet.fleet_id,
        addresses: settings.addresses.clone(),
        ca_key: ca.key_digest(),
        authority,
    };
    Ok((Nodes::new(registry, sender, view, pins, clock.clone()), task))
}

async fn serve(
    settings: Settings,
    config: Option<&Path>,
    (log, confinement): (LogControl, Confinement),
) -> anyhow::Result<()> {
    let open_files_max = process::raise_open_files();
    tracing::debug!(open_files_max, "file descriptors");
    let state_dir = &settings.state_dir;
    let Some(_lock) =
        file::lock(state_dir).with_context(|| format!("cannot use state folder {}", state_dir.display()))?
    else {
        anyhow::bail!("another aggregator serves from {}; stop it first", state_dir.display());
    };
    let (error, settings_error) = watch::channel(None);
    let (log_level, config_file) = (log_level_handle(&log), config.map(Path::to_owned));
    let own = OwnState { log_level, settings_error, confinement, config: config_file };
    let parts = Parts::build(&settings, own).await?;
    let reloader = Reloader::new(
        config,
        settings.clone(),
        log,
        (parts.nodes.clone(), parts.https.services.events.clone(), error),
    )?;
    let Https { socket, tls, services, agents } = parts.https;
    let address = socket.local_addr()?;
    // Sessions first, then what they report to, so that nothing acknowledged is lost on the way down.
    let mut watchdog = Watchdog::from_unit();
    let (stop_edge, stop_core) = (CancellationToken::new(), CancellationToken::new());
    let mut edge: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let mut core: JoinSet<()> = JoinSet::new();
    core.spawn(parts.node_task.run(watchdog.pulse("nodes"), stop_core.clone()));
    parts.work.spawn(&mut core, &stop_core);
    core.spawn(parts.ingest_task.run(watchdog.pulse("samples"), stop_core.clone()));
    core.spawn(checkpoint::send(parts.audit, parts.access.clone(), parts.nodes, stop_core.clone()));
    core.spawn(parts.follower.run(stop_core.clone()));
    core.spawn(parts.self_backup.run(stop_core.clone()));
    parts.backups.spawn(&mut core, &stop_core);
    core.spawn(reloader.run(stop_core.clone()));
    core.spawn(certificate::renew(
        parts.certificates,
        parts.fleet,
        settings.clone(),
        parts.clock,
        stop_core.clone(),
    ));
    edge.spawn(finish(parts.listener.run(watchdog.pulse("listener"), stop_edge.clone())));
    let http_stop = stop_edge.clone();
    edge.spawn(async move { Ok(http::serve(socket, tls, services, agents, http_stop).await?) });
    if let Some(created) = parts.access.ensure_first_person().await? {
        // The only secret that is ever printed: there is no default password to find instead.
        eprintln!("first sign-in: {}", local::link_url(&settings, &created.link));
    }
    core.spawn(watchdog.run(stop_core.clone()));
    parts.readiness.set_ready();
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "aggregator ready");
    drop(sd_notify::notify(&[sd_notify::NotifyState::Ready]));
    let ended = wait(&mut edge, &mut core).await;
    parts.readiness.set_waiting("stopping");
    drop(sd_notify::notify(&[sd_notify::NotifyState::Stopping]));
    stop_edge.cancel();
    drain(&mut edge, "listeners").await;
    stop_core.cancel();
    drain(&mut core, "stores").await;
    tracing::info!("aggregator stopped");
    ended
}

async fn finish(task: impl Future<Output = ()>) -> anyhow::Result<()> {
    task.await;
    Ok(())
}

fn log_level_handle(log: &LogControl) -> LogLevelHandle {
    let (get, set) = (log.clone(), log.clone());
    LogLevelHandle::new(move || get.get(), move |level| set.set(level).map_err(|error| error.to_string()))
}

/// Until a signal says stop, or a part ends that should not.
async fn wait(edge: &mut JoinSet<anyhow::Result<()>>, core: &mut JoinSet<()>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        Some(ended) = edge.join_next() => {
            ended.context("a listener failed")?.and(Err(anyhow::anyhow!("a listener ended")))
        }
        Some(ended) = core.join_next() => {
            Err(anyhow::anyhow!("a part of the aggregator ended unexpectedly: {ended:?}"))
        }
    }
}

async fn drain<T: 'static>(tasks: &mut JoinSet<T>, what: &'static str) {
    let ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIMEOUT, ended).await.is_err() {
        tracing::warn!(what, "not stopped in time");
    }
}
