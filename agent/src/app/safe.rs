//! Safe mode: identity, link and a sample that says so, which is the heartbeat. Nothing else runs that could end the
//! agent: no collector, no spool, no way to the steward.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use campanile_common::authority::RunId;
use campanile_common::id::InstanceId;
use campanile_common::sample::Sample;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::config::ConfigOffer;
use campanile_common::wire::v1::order::{Deliver, OrderReply};
use campanile_common::wire::v1::request::{Reply, Request};
use campanile_daemon::watchdog::{Pulse, Watchdog};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::hub::{Hub, Renewal};
use super::starts::Starts;
use super::witness::Witness;
use super::{LINK_EVENTS_MAX, drain, link_identity, phase};
use crate::identity::Identity;
use crate::link::{self, Duties, Intake, LinkChannels, LinkSettings};
use crate::metrics::own::Manner;
use crate::metrics::sampler::{Sampler, SamplerSettings};
use crate::metrics::task::MetricsEvent;
use crate::order::{OrderTask, Standing};
use crate::os::{clock, random};
use crate::settings::Settings;

/// How often the wall clock is held against the time of the next try.
const LOOK: Duration = Duration::from_secs(1);

/// Why safe mode ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// The agent was told to stop.
    Stopped,
    /// Everything is to be started.
    ForEverything,
}

/// Shows that the node is there until it is time to do everything, or to stop.
pub(super) async fn run(
    settings: &Settings,
    starts: &Starts,
    manner: Manner,
    try_at: Timestamp,
) -> anyhow::Result<Left> {
    let reason = manner.safe_mode.clone().unwrap_or_default();
    let identity = Identity::load(&settings.state_dir)?;
    let instance = InstanceId::from_bytes(random::bytes());
    let mut sampler = Sampler::with_collectors(SamplerSettings::new(instance), Vec::new());
    sampler.set_manner(manner);
    let facts = sampler.facts();
    tracing::error!(node = %identity.node, reason, %try_at, "agent in safe mode: it reports no figures and takes no orders");
    let (stop, mut watchdog) = (CancellationToken::new(), Watchdog::from_unit());
    let (metrics, metrics_events) = mpsc::channel(LINK_EVENTS_MAX);
    let (events, link_events) = mpsc::channel(LINK_EVENTS_MAX);
    let (command_sender, commands) = mpsc::channel(4);
    let (identity_sender, identity_receiver) = watch::channel(link_identity(&identity)?);
    let channels = LinkChannels {
        identity: identity_receiver,
        events,
        commands,
        duties: Arc::new(NoDuties { reason }),
        pulse: watchdog.pulse("link"),
    };
    // Its task is not run: what is handed to it is given back as to be asked for again.
    let orders = OrderTask::new(&settings.steward.socket, &settings.state_dir, Standing::default()).1;
    let beat = Heartbeat { sampler, interval: settings.interval, phase: phase(&identity, settings.interval) };
    let hub = Hub {
        witness: Witness::new(&settings.state_dir),
        orders,
        state_dir: settings.state_dir.clone(),
        renewal: Renewal::new(&identity),
        identity,
        identity_sender,
        metrics,
        commands: command_sender,
    };
    let mut tasks = JoinSet::new();
    let (for_hub, for_beat) = (watchdog.pulse("hub"), watchdog.pulse("heartbeat"));
    let ways = super::ways::link_ways(settings)?;
    let link_settings = LinkSettings { instance, interval: settings.interval, facts, ways };
    tasks.spawn(link::run(link_settings, channels, stop.clone()));
    tasks.spawn(hub.run(link_events, for_hub));
    tasks.spawn(beat.run(metrics_events, for_beat, stop.clone()));
    tasks.spawn(watchdog.run(stop.clone()));
    drop(sd_notify::notify(&[sd_notify::NotifyState::Ready]));
    let left = wait(&mut tasks, starts, try_at).await;
    drain(&mut tasks, &stop).await;
    left
}

/// Until a signal, or the time to do everything.
async fn wait(tasks: &mut JoinSet<()>, starts: &Starts, try_at: Timestamp) -> anyhow::Result<Left> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(Left::Stopped),
            _ = interrupt.recv() => return Ok(Left::Stopped),
            // `safe-mode off` says so.
            _ = hangup.recv() => if starts.safe_mode().is_none() {
                return Ok(Left::ForEverything);
            },
            () = tokio::time::sleep(LOOK) => if clock::now() >= try_at {
                return Ok(Left::ForEverything);
            },
            Some(ended) = tasks.join_next() => {
                anyhow::bail!("a part of the agent ended unexpectedly in safe mode: {ended:?}")
            }
        }
    }
}

/// Sends a sample of what the agent says of itself, for as long as there is a session to take it. None is kept.
struct Heartbeat {
    sampler: Sampler,
    interval: Duration,
    phase: Duration,
}

impl Heartbeat {
    async fn run(mut self, mut events: mpsc::Receiver<MetricsEvent>, pulse: Pulse, stop: CancellationToken) {
        let mut live: Option<mpsc::Sender<Sample>> = None;
        let mut due = tokio::time::Instant::now() + self.phase;
        let mut sequence = 0;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = pulse.next() => {}
                event = events.recv() => match event {
                    Some(MetricsEvent::Opened { live: sender, .. }) => live = Some(sender),
                    Some(MetricsEvent::Closed) => live = None,
                    Some(MetricsEvent::Interval(interval)) => self.interval = interval,
                    // Nothing is late: what the spool holds stays there. A link that does not listen has gone.
                    Some(MetricsEvent::NextBatch(answer)) => drop(answer.send(Vec::new())),
                    Some(
                        MetricsEvent::Acked(_) | MetricsEvent::Settings(_) | MetricsEvent::SettingsError(_),
                    ) => {}
                    None => return,
                },
                () = tokio::time::sleep_until(due) => {
                    let sample = self.sampler.sample(sequence, clock::now());
                    // Full means a stalled link, which the next heartbeat may find better.
                    live.as_ref().map(|live| live.try_send(sample).is_ok());
                    sequence += 1;
                    // No burst after a stall.
                    due = (due + self.interval).max(tokio::time::Instant::now());
                }
            }
        }
    }
}

/// Does nothing that the aggregator asks for, and says why.
struct NoDuties {
    reason: String,
}

impl Duties for NoDuties {
    fn answer(
        &self,
        request: Request,
        replies: mpsc::Sender<Reply>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let reply = match request {
            Request::Ping => Reply::Pong,
            _ => Reply::Failed(format!("the agent is in safe mode {}", self.reason)),
        };
        Box::pin(async move { drop(replies.send(reply).await) })
    }

    /// Ends without an outcome: it is delivered again.
    fn deliver(&self, _: Box<Deliver>) -> mpsc::Receiver<OrderReply> {
        mpsc::channel(1).1
    }

    fn reported(&self, _: RunId) {}

    fn offer(&self, _: ConfigOffer) -> Intake {
        Intake { answers: mpsc::channel(1).1, pieces: mpsc::channel(1).0 }
    }
}
