//! Runs one session over QUIC: feeds `common::connection` and carries out what it says.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use campanile_common::connection::{AgentEffect, AgentEvent, AgentSession, End, LaneItem};
use campanile_common::sample::Sample;
use campanile_common::wire::frame::FrameDecoder;
use campanile_common::wire::hello::{
    CAPABILITY_RENEW_ONLY, CAPABILITY_TRANSPORT, Hello, VERSION_MAX, VERSION_MIN, Welcome,
};
use campanile_common::wire::v1::control::{Ack, GoodbyeReason, Lane};
use campanile_common::wire::v1::sample::{Block, SampleEncoder};
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::route::Route;
use super::{LinkChannels, LinkCommand, LinkEvent, LinkIdentity, LinkSettings, stream};
use crate::os::clock;

/// Live samples between the sampler and the stream. Full means a stalled link: the sampler spools instead.
const LIVE_SAMPLES_MAX: usize = 8;
/// How often an empty spool is looked at again: samples are spooled during a session when the link stalls.
const SPOOL_LOOK: Duration = Duration::from_secs(10);
/// Longest wait for the acknowledgement of a batch; past it the session is stuck.
const BATCH_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a goodbye may take to arrive.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);
/// Lane of control messages and live samples: before outcomes, late samples and all else.
const PRIORITY_CONTROL: i32 = 2;
/// Lane of late samples: after all else.
const PRIORITY_BACKFILL: i32 = -1;

/// How a session or an attempt at one ended.
#[derive(Debug)]
pub(super) enum SessionEnd {
    /// By the protocol.
    Ended(End),
    /// The connection went away.
    Lost(String),
    /// It never came to be.
    Unreachable(String),
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(End::Refused(refusal)) => write!(f, "{refusal}"),
            Self::Ended(End::Goodbye { reason, .. }) => write!(f, "goodbye: {reason:?}"),
            Self::Ended(End::Protocol(text)) => write!(f, "protocol error: {text}"),
            Self::Ended(End::OpeningTimeout) => {
                f.write_str("the aggregator did not open the session in time")
            }
            Self::Lost(text) => write!(f, "connection lost: {text}"),
            Self::Unreachable(text) => write!(f, "not reachable: {text}"),
        }
    }
}

/// Runs a session on a fresh connection until it ends.
pub(super) async fn session(
    connection: &Connection,
    settings: &LinkSettings,
    identity: &LinkIdentity,
    (dialled, route): (Instant, Route),
    channels: &mut LinkChannels,
    stop: &CancellationToken,
) -> SessionEnd {
    let (send, receive) = match connection.open_bi().await {
        Ok(streams) => streams,
        Err(error) => return SessionEnd::Lost(error.to_string()),
    };
    // Fails only when the stream is gone, which the first write finds.
    drop(send.set_priority(PRIORITY_CONTROL));
    let hello = Hello {
        fleet: identity.fleet,
        node: identity.node,
        instance: settings.instance,
        version_min: VERSION_MIN,
        version_max: VERSION_MAX,
        capabilities: ["top", "orders", CAPABILITY_TRANSPORT].map(str::to_owned).to_vec(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        authority_version: identity.authority_version,
        interval_ms: u32::try_from(settings.interval.as_millis()).unwrap_or(u32::MAX),
        clock: clock::now(),
    };
    let (state, effects) = AgentSession::open(clock::now(), &hello);
    let (backfill_acks, _) = watch::channel(None);
    let mut driver = Driver {
        connection,
        settings,
        dialled,
        route,
        state,
        send,
        tasks: JoinSet::new(),
        backfill_acks,
        is_told: false,
    };
    let end = driver.run(receive, effects, channels, stop).await;
    if driver.is_told {
        // A closed channel means that the agent stops.
        drop(channels.events.send(LinkEvent::Closed).await);
    }
    connection.close(0_u32.into(), b"");
    end
}

struct Driver<'a> {
    connection: &'a Connection,
    settings: &'a LinkSettings,
    dialled: Instant,
    route: Route,
    state: AgentSession,
    send: SendStream,
    /// Writers of samples and answers; they end with the session.
    tasks: JoinSet<Result<(), String>>,
    backfill_acks: watch::Sender<Option<Ack>>,
    /// The rest of the agent knows of the session.
    is_told: bool,
}

impl Driver<'_> {
    async fn run(
        &mut self,
        mut receive: RecvStream,
        first: Vec<AgentEffect>,
        channels: &mut LinkChannels,
        stop: &CancellationToken,
    ) -> SessionEnd {
        if let Some(end) = self.carry_out(first, channels).await {
            return end;
        }
        let mut decoder = FrameDecoder::default();
        let mut buffer = [0; 2048];
        let deadline = tokio::time::sleep(campanile_common::connection::OPENING_TIMEOUT);
        tokio::pin!(deadline);
        loop {
            let event = tokio::select! {
                read = receive.read(&mut buffer) => match read {
                    Ok(Some(length)) => {
                        decoder.push(&buffer[..length]);
                        if let Some(end) = self.frames(&mut decoder, channels).await {
                            return end;
                        }
                        continue;
                    }
                    Ok(None) => return SessionEnd::Lost("the aggregator closed the control stream".to_owned()),
                    Err(error) => return SessionEnd::Lost(error.to_string()),
                },
                streams = self.connection.accept_bi(), if self.state.is_open() => match streams {
                    Ok((send, receive)) => {
                        let duties = Arc::clone(&channels.duties);
                        self.tasks.spawn(async move {
                            stream::serve(send, receive, &*duties).await;
                            Ok(())
                        });
                        continue;
                    }
                    Err(error) => return SessionEnd::Lost(error.to_string()),
                },
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok(Ok(())) => continue,
                    Ok(Err(error)) => return SessionEnd::Lost(error),
                    Err(error) => return SessionEnd::Lost(format!("a stream task failed: {error}")),
                },
                command = channels.commands.recv() => match command {
                    Some(LinkCommand::Renew(request)) => AgentEvent::Renew(request),
                    Some(LinkCommand::Config(report)) => AgentEvent::Config(report),
                    Some(LinkCommand::Proof(report)) => AgentEvent::Proof(report),
                    Some(LinkCommand::Goodbye(reason)) => AgentEvent::Stop(reason),
                    None => AgentEvent::Stop(GoodbyeReason::Stopping),
                },
                event = self.route.next() => event,
                () = stop.cancelled() => AgentEvent::Stop(GoodbyeReason::Stopping),
                () = &mut deadline, if self.state.deadline().is_some() => AgentEvent::Tick,
                () = channels.pulse.next() => continue,
            };
            let effects = self.state.apply(clock::now(), event);
            if let Some(end) = self.carry_out(effects, channels).await {
                return end;
            }
        }
    }

    async fn frames(&mut self, decoder: &mut FrameDecoder, channels: &LinkChannels) -> Option<SessionEnd> {
        loop {
            let frame = match decoder.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => return None,
                Err(error) => return Some(SessionEnd::Ended(End::Protocol(error.to_string()))),
            };
            let effects = self.state.apply(clock::now(), AgentEvent::Frame(frame));
            if let Some(end) = self.carry_out(effects, channels).await {
                return Some(end);
            }
        }
    }

    async fn carry_out(&mut self, effects: Vec<AgentEffect>, channels: &LinkChannels) -> Option<SessionEnd> {
        for effect in effects {
            let event = match effect {
                AgentEffect::Send(bytes) => {
                    if let Err(error) = self.send.write_all(&bytes).await {
                        return Some(SessionEnd::Lost(error.to_string()));
                    }
                    continue;
                }
                AgentEffect::Established(welcome) => self.established(&welcome, channels).await,
                AgentEffect::Acked(ack) => LinkEvent::Acked(ack),
                AgentEffect::Certificate { certificate, not_after } => {
                    LinkEvent::Certificate { certificate, not_after }
                }
                AgentEffect::Authority(signed) => LinkEvent::Authority(signed),
                AgentEffect::Checkpoint(checkpoint) => LinkEvent::Checkpoint(checkpoint),
                AgentEffect::Catalogue(signed) => LinkEvent::Catalogue(signed),
                AgentEffect::End(end) => {
                    // What was sent last must arrive before the connection is closed over it.
                    if self.send.finish().is_ok() {
                        drop(tokio::time::timeout(GOODBYE_TIMEOUT, self.send.stopped()).await);
                    }
                    return Some(SessionEnd::Ended(end));
                }
            };
            let acked = match &event {
                LinkEvent::Acked(ack) if ack.lane == Lane::Backfill => Some(*ack),
                _ => None,
            };
            if channels.events.send(event).await.is_err() {
                return Some(SessionEnd::Lost("the agent stops".to_owned()));
            }
            // Only after the release is on its way, so that the next batch is asked for behind it.
            if acked.is_some() {
                self.backfill_acks.send_replace(acked);
            }
        }
        None
    }

    async fn established(&mut self, welcome: &Welcome, channels: &LinkChannels) -> LinkEvent {
        let must_renew = welcome.capabilities.iter().any(|name| name == CAPABILITY_RENEW_ONLY);
        let (live, samples) = mpsc::channel(LIVE_SAMPLES_MAX);
        if !must_renew {
            self.tasks.spawn(write_samples(self.connection.clone(), samples));
            let acks = self.backfill_acks.subscribe();
            self.tasks.spawn(backfill(self.connection.clone(), channels.events.clone(), acks));
            self.tell(AgentEvent::Facts(self.settings.facts.clone())).await;
            self.route.is_told = welcome.capabilities.iter().any(|name| name == CAPABILITY_TRANSPORT);
            if let Some(report) = self.route.report() {
                self.tell(AgentEvent::Transport(report)).await;
            }
        }
        self.is_told = true;
        let interval = Duration::from_millis(welcome.interval_ms.into());
        let (dialled, transport) = (self.dialled, self.route.transport);
        tracing::info!(aggregator = %welcome.aggregator, version = welcome.version, %transport, must_renew, "link up");
        LinkEvent::Opened { live, interval, durable: welcome.durable, must_renew, dialled, transport }
    }

    async fn tell(&mut self, event: AgentEvent) {
        for effect in self.state.apply(clock::now(), event) {
            if let AgentEffect::Send(bytes) = effect {
                // A failure shows on the next read as well.
                drop(self.send.write_all(&bytes).await);
            }
        }
    }
}

/// The live stream: every sample is a heartbeat.
async fn write_samples(connection: Connection, mut samples: mpsc::Receiver<Sample>) -> Result<(), String> {
    let mut send = connection.open_uni().await.map_err(|error| error.to_string())?;
    send.set_priority(PRIORITY_CONTROL).map_err(|error| error.to_string())?;
    let mut encoder = SampleEncoder::default();
    let mut bytes = Block::Open(Lane::Control).to_bytes().map_err(|error| error.to_string())?;
    while let Some(sample) = samples.recv().await {
        encoder.encode(&sample, &mut bytes).map_err(|error| error.to_string())?;
        send.write_all(&bytes).await.map_err(|error| error.to_string())?;
        bytes.clear();
    }
    Ok(())
}

/// Late samples, a batch at a time, each acknowledged before the next is asked for.
async fn backfill(
    connection: Connection,
    events: mpsc::Sender<LinkEvent>,
    mut acks: watch::Receiver<Option<Ack>>,
) -> Result<(), String> {
    let mut stream: Option<(SendStream, SampleEncoder)> = None;
    loop {
        let (answer, batch) = oneshot::channel();
        if events.send(LinkEvent::NextBatch(answer)).await.is_err() {
            return Ok(());
        }
        let Ok(items) = batch.await else { return Ok(()) };
        let Some(last) = items.last().map(LaneItem::end) else {
            tokio::time::sleep(SPOOL_LOOK).await;
            continue;
        };
        let mut bytes = Vec::new();
        if stream.is_none() {
            let send = connection.open_uni().await.map_err(|error| error.to_string())?;
            send.set_priority(PRIORITY_BACKFILL).map_err(|error| error.to_string())?;
            bytes = Block::Open(Lane::Backfill).to_bytes().map_err(|error| error.to_string())?;
            stream = Some((send, SampleEncoder::default()));
        }
        let (send, encoder) = stream.as_mut().expect("just made");
        for item in &items {
            match item {
                LaneItem::Sample(sample) => encoder.encode(sample, &mut bytes),
                LaneItem::Gap(gap) => Block::Gap(*gap).to_bytes().map(|gap| bytes.extend(gap)),
            }
            .map_err(|error| error.to_string())?;
        }
        send.write_all(&bytes).await.map_err(|error| error.to_string())?;
        let is_last = |ack: &Option<Ack>| {
            ack.is_some_and(|ack| ack.instance == last.instance && ack.sequence == last.sequence)
        };
        let acked = tokio::time::timeout(BATCH_TIMEOUT, acks.wait_for(is_last)).await;
        match acked {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Ok(()),
            Err(_) => return Err("late samples were not acknowledged in time".to_owned()),
        }
    }
}
