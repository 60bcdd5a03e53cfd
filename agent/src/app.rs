//! Composition root: builds every part, wires the channels, owns the tasks, drains.

#![expect(clippy::disallowed_methods, reason = "a root reads the files that its commands name")]

mod backup;
mod bounds;
mod confinement;
mod doctor;
mod duty;
mod enroll;
mod hub;
mod link_state;
mod reload;
mod safe;
mod starts;
mod ways;
mod witness;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use campanile_common::id::InstanceId;
use campanile_common::wire::v1::request::StewardDescription;
use campanile_daemon::watchdog::Watchdog;
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cli::{Cli, Command, ConfigWork, GuardWork, SafeModeChange};
use crate::config;
use crate::config::task::{Trust, Work};
use crate::identity::enroll::EnrollError;
use crate::identity::{Identity, tls};
use crate::link::{self, LinkChannels, LinkIdentity, LinkSettings};
use crate::metrics::own::Manner;
use crate::metrics::sampler::{Sampler, SamplerSettings};
use crate::metrics::spool::{Spool, SpoolLimits};
use crate::metrics::task::MetricsTask;
use crate::order::{OrderTask, Standing};
use crate::os::lock::{self, Lock};
use crate::os::log::{self, LogLevel};
use crate::os::{clock, random, release};
use crate::settings::{LogFormat, Settings};
use crate::start::{self, Mode, Record};
use crate::steward::pin;
pub use backup::store_backend;
use duty::AgentDuties;
use hub::{Hub, Renewal};
use reload::Reloader;
use starts::Starts;
use witness::Witness;

/// Name of the file that `log-level` leaves for the running agent, in its state folder.
const LOG_LEVEL_FILE: &str = "log-level";
/// Events of the link that wait for the agent's other parts; they are handled in microseconds.
const LINK_EVENTS_MAX: usize = 32;
/// Why a daemon is not confined whose settings say so.
const UNCONFINED: &str = "the setting `confine` is false";

/// Runs one command.
///
/// # Errors
/// What went wrong, for a person to read.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    if let Command::Guard { work } = cli.command {
        return run_guard(work, cli.config.as_deref());
    }
    let settings = match Settings::load(cli.config.as_deref()) {
        Ok(settings) => settings,
        Err(error) => {
            if let Command::Doctor(arguments) = cli.command {
                return doctor::run(Err(&error), arguments.is_json());
            }
            return Err(error.into());
        }
    };
    match cli.command {
        Command::Guard { .. } => unreachable!("a guard reads no settings"),
        Command::Steward => run_steward(&settings, cli.config.as_deref()),
        Command::Run => run_agent(&settings, cli.config.as_deref()),
        Command::Enroll(arguments) => enroll::run(&settings, cli.config.as_deref(), &arguments),
        Command::KeepIdentity { replace } => enroll::keep(&settings, replace),
        Command::Status { json } => status(&settings, json),
        Command::Doctor(arguments) => doctor::run(Ok(&settings), arguments.is_json()),
        Command::Backup { work } => std::process::exit(i32::from(backup::run(work, &settings))),
        Command::SafeMode { change: SafeModeChange::Off } => starts::leave(&settings),
        Command::SafeMode { change: SafeModeChange::Status } => starts::show(&settings),
        Command::LogLevel { level } => {
            let file = settings.state_dir.join(LOG_LEVEL_FILE);
            std::fs::write(&file, level.to_string())
                .with_context(|| format!("cannot write {}", file.display()))?;
            Ok(lock::signal_holder(&settings.state_dir, Signal::HUP)?)
        }
    }
}

/// Where what the steward starts is beneath it, its bounds would be theirs: a command, a configuration, a restore.
fn run_steward(settings: &Settings, config: Option<&Path>) -> anyhow::Result<()> {
    crate::steward::task::run(settings, config, |has_units| {
        let bounds = match (settings.is_confined, has_units) {
            (true, true) => Ok(bounds::of_steward(settings)),
            (true, false) => Err("without units of systemd, orders run beneath this process"),
            (false, _) => Err(UNCONFINED),
        };
        confinement::begin(&settings.steward.state_dir, bounds);
    })
}

/// A guard reads no settings: the steward tells it everything. Only the program of the configuration does.
fn run_guard(work: Option<GuardWork>, settings: Option<&Path>) -> anyhow::Result<()> {
    match work {
        None => Ok(crate::steward::execute::guard::run()?),
        Some(GuardWork::Service { systemctl, verb, unit, wait_ms }) => {
            let wait = wait_ms.map(Duration::from_millis);
            let code = crate::steward::execute::service::run(&systemctl, &verb, &unit, wait)?;
            std::process::exit(i32::from(code))
        }
        Some(GuardWork::Config { work }) => {
            let code = run_config(work, &Settings::load(settings)?);
            std::process::exit(i32::from(code))
        }
    }
}

fn run_config(work: ConfigWork, settings: &Settings) -> u8 {
    let pinned = pin::trusted(&settings.steward.state_dir);
    let trust = pinned.map(|(node, authority)| Trust { node, authority }).map_err(|error| error.to_string());
    let work = match work {
        ConfigWork::Plan { generation } => Work::Plan(generation),
        ConfigWork::Apply { generation, confirm, confirm_within } => Work::Apply {
            generation,
            is_confirmed: confirm,
            confirm_within: Duration::from_secs(confirm_within.into()),
        },
        ConfigWork::Check { enforce } => Work::Check { is_enforcing: enforce },
        ConfigWork::Recover => Work::Recover,
        ConfigWork::Guardian => Work::Guardian,
    };
    config::task::run(work, settings, trust)
}

/// The exit code for an error: 5 when the aggregator refused, 1 otherwise.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<EnrollError>() {
        Some(EnrollError::Refused(_)) => 5,
        _ => 1,
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    // One thread: the agent's work is a millisecond a second, and every thread costs memory.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .thread_keep_alive(Duration::from_secs(1))
        .build()
        .context("cannot start the runtime")
}

fn sampler(settings: &Settings, instance: InstanceId) -> Sampler {
    let mut sampling = SamplerSettings::new(instance);
    sampling.proc_root.clone_from(&settings.proc_root);
    sampling.sys_root.clone_from(&settings.sys_root);
    sampling.filesystem_exclude.extend(settings.filesystem_exclude.iter().cloned());
    Sampler::new(sampling)
}

fn status(settings: &Settings, is_json: bool) -> anyhow::Result<()> {
    let identity = Identity::load(&settings.state_dir)?;
    let is_running = lock::is_held(&settings.state_dir);
    let authority = identity.authority()?;
    let steward = runtime()?.block_on(doctor::describe(settings)).ok();
    if is_json {
        let value = serde_json::json!({
            "nodeId": identity.node, "name": identity.name, "fleetId": identity.fleet,
            "fleet": authority.document().fleet_name, "authorityVersion": authority.document().version,
            "certificateExpiresAt": identity.not_after, "addresses": identity.addresses, "isRunning": is_running,
            "steward": steward.map(|found| serde_json::json!({
                "authorityVersion": found.authority_version, "catalogueVersion": found.catalogue_version,
                "highestTier": found.policy.highest_tier.number(), "policySource": found.policy_source,
                "running": found.running,
            })),
        });
        println!("{value}");
    } else {
        println!("node         {} ({})", identity.name, identity.node);
        println!("fleet        {} ({})", authority.document().fleet_name, identity.fleet);
        println!("authority    version {}", authority.document().version);
        println!("certificate  valid until {}", identity.not_after);
        println!("aggregators  {}", identity.addresses.join(", "));
        println!("agent        {}", if is_running { "running" } else { "not running" });
        println!(
            "steward      {}",
            steward.map_or_else(|| NO_STEWARD.to_owned(), |found| steward_line(&found))
        );
    }
    Ok(())
}

/// What `status` says where no steward answers.
const NO_STEWARD: &str = "does not answer: this node takes no orders; `campanile-agent doctor` tells more";

fn steward_line(found: &StewardDescription) -> String {
    let StewardDescription { authority_version, running, policy, .. } = found;
    let tier = policy.highest_tier;
    format!("running, authority version {authority_version}, takes tiers up to {tier}, {running} orders run")
}

fn run_agent(settings: &Settings, config: Option<&Path>) -> anyhow::Result<()> {
    let level = log::start(settings.log_level, settings.log_format == LogFormat::Json);
    let _lock = Lock::take_after_predecessor(&settings.state_dir)?;
    release::enter(&settings.state_dir)?;
    let bounds = settings.is_confined.then(|| bounds::of_run(settings, config));
    let confinement = confinement::begin(&settings.state_dir, bounds.ok_or(UNCONFINED));
    let starts = Starts::new(&settings.state_dir);
    if let Mode::Safe { reason, try_at } = starts.begin(settings.safe_mode) {
        let manner = Manner { confinement: confinement.clone(), safe_mode: Some(reason) };
        if runtime()?.block_on(safe::run(settings, &starts, manner, try_at))? == safe::Left::Stopped {
            return Ok(());
        }
        starts.change(|record| record.start_everything(clock::now()));
    }
    let manner = Manner { confinement, safe_mode: None };
    let ended = do_everything(settings, config, level, manner, &starts);
    starts.change(|record| match &ended {
        Ok(()) => record.stopped(),
        Err(error) => record.failed(&format!("{error:#}")),
    });
    ended
}

fn do_everything(
    settings: &Settings,
    config: Option<&Path>,
    level: LogLevel,
    manner: Manner,
    starts: &Starts,
) -> anyhow::Result<()> {
    let identity = Identity::load(&settings.state_dir)?;
    let instance = InstanceId::from_bytes(random::bytes());
    let limits = SpoolLimits { bytes: settings.spool_bytes, age: settings.spool_age };
    let (spool, damaged) = Spool::open(&settings.state_dir.join("spool"), limits)?;
    for path in damaged {
        tracing::warn!(path = %path.display(), "spool segment damaged: what is behind the damage is lost");
    }
    let agent = Agent { settings: settings.clone(), identity, instance, spool };
    runtime()?.block_on(agent.run(config, level, manner, starts))
}

struct Agent {
    settings: Settings,
    identity: Identity,
    instance: InstanceId,
    spool: Spool,
}

impl Agent {
    async fn run(
        self,
        config: Option<&Path>,
        level: LogLevel,
        manner: Manner,
        starts: &Starts,
    ) -> anyhow::Result<()> {
        let Self { settings, identity, instance, spool } = self;
        let stop = CancellationToken::new();
        let mut watchdog = Watchdog::from_unit();
        let mut sampler = sampler(&settings, instance);
        sampler.set_manner(manner);
        let facts = sampler.facts();
        tracing::info!(node = %identity.node, name = identity.name, %instance, "agent started");
        let (metrics_sender, metrics_events) = mpsc::channel(LINK_EVENTS_MAX);
        let phase = phase(&identity, settings.interval);
        let metrics = MetricsTask::new(sampler, spool, instance, settings.interval, phase, metrics_events);
        let (link_sender, link_events) = mpsc::channel(LINK_EVENTS_MAX);
        let (command_sender, commands) = mpsc::channel(4);
        let (identity_sender, identity_receiver) = watch::channel(link_identity(&identity)?);
        let standing = Standing { authority: identity.authority.as_slice().into(), catalogue: None };
        let (orders, order_handle) = OrderTask::new(&settings.steward.socket, &settings.state_dir, standing);
        let witness = Witness::new(&settings.state_dir);
        let duties = AgentDuties::new(settings.proc_root.clone(), witness.clone(), order_handle.clone());
        let channels = LinkChannels {
            identity: identity_receiver,
            events: link_sender,
            commands,
            duties: Arc::new(duties),
            pulse: watchdog.pulse("link"),
        };
        let ways = ways::link_ways(&settings)?;
        let link_settings = LinkSettings { instance, interval: settings.interval, facts, ways };
        let reloader = Reloader::new(config, settings.clone(), level, metrics_sender.clone())?;
        let hub = Hub {
            witness,
            orders: order_handle,
            state_dir: settings.state_dir.clone(),
            renewal: Renewal::new(&identity),
            identity,
            identity_sender,
            metrics: metrics_sender,
            commands: command_sender,
        };
        let mut tasks = JoinSet::new();
        let pulses = ["metrics", "hub", "orders", "settings"].map(|name| watchdog.pulse(name));
        let [for_metrics, for_hub, for_orders, for_settings] = pulses;
        tasks.spawn(metrics.run(for_metrics, stop.clone()));
        tasks.spawn(link::run(link_settings, channels, stop.clone()));
        tasks.spawn(hub.run(link_events, for_hub));
        tasks.spawn(orders.run(for_orders, stop.clone()));
        tasks.spawn(reloader.run(for_settings, stop.clone()));
        tasks.spawn(watchdog.run(stop.clone()));
        drop(sd_notify::notify(&[sd_notify::NotifyState::Ready]));
        let ended = wait(&mut tasks, starts).await;
        drain(&mut tasks, &stop).await;
        ended
    }
}

/// Until a signal says stop, or a part ends that should not.
async fn wait(tasks: &mut JoinSet<()>, starts: &Starts) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let good = tokio::time::sleep(start::GOOD_AFTER);
    tokio::pin!(good);
    let mut is_good = false;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            () = &mut good, if !is_good => {
                is_good = true;
                let starts = starts.clone();
                // Lost, the next start counts this run as one that was not good.
                drop(tokio::task::spawn_blocking(move || starts.change(Record::went_well)));
            }
            Some(ended) = tasks.join_next() => {
                anyhow::bail!("a part of the agent ended unexpectedly: {ended:?}")
            }
        }
    }
}

/// Tells every part to stop, and waits for them, but not for ever.
async fn drain(tasks: &mut JoinSet<()>, stop: &CancellationToken) {
    drop(sd_notify::notify(&[sd_notify::NotifyState::Stopping]));
    stop.cancel();
    let drained =
        tokio::time::timeout(Duration::from_secs(5), async { while tasks.join_next().await.is_some() {} });
    if drained.await.is_err() {
        tracing::warn!("not all parts stopped in time");
    }
    tracing::info!("agent stopped");
}

/// Where in the interval this node samples: by its id, so that a fleet spreads, and away from the edges of the
/// second, so that each second holds one sample.
fn phase(identity: &Identity, interval: Duration) -> Duration {
    let [a, b, ..] = *identity.node.as_bytes();
    interval / 10 + interval * u32::from(u16::from_be_bytes([a, b])) * 8 / (10 * 65_536)
}

fn link_identity(identity: &Identity) -> anyhow::Result<LinkIdentity> {
    Ok(LinkIdentity {
        fleet: identity.fleet,
        node: identity.node,
        addresses: identity.addresses.clone(),
        tls: Arc::new(tls::link_config(identity)?),
        authority_version: identity.authority()?.document().version,
    })
}
