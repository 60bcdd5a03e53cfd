//! Owns what lives: sessions, signs of life, judgements. Publishes the fleet as everybody sees it.

mod culprits;
mod publish;
mod reach;
mod transport;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use campanile_common::api::{Liveness, NodeHealth, NodeState, ProcessInfo};
use campanile_common::health::{BackupTrouble, Judge, Thresholds, Verdict};
use campanile_common::id::NodeId;
use campanile_common::time::Timestamp;
use campanile_common::wire::hello::{Refusal, RefusalCode};
use campanile_daemon::watchdog::Pulse;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::liveness::LivenessSettings;
use super::presence::Presence;
use super::registry::Registry;
use super::session::{ConfigState, LinkStats, NodeEvent, SessionCommand, SessionSeed};
use super::sessions::{SessionAbilities, Sessions};
use super::view::SessionFacts;
use super::{FleetView, vitals};
use crate::event::Events;
use crate::os::clock::Clock;
use crate::series::RecentSeries;

/// How often silence is looked for: a node turns late or offline at most so long after it should.
const LIVENESS_STEP: Duration = Duration::from_millis(100);
/// How often nodes are judged.
const JUDGE_STEP: Duration = Duration::from_secs(1);

/// Settings of the task.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeTaskSettings {
    /// When silent nodes are late and offline.
    pub liveness: LivenessSettings,
    /// When values are bad.
    pub thresholds: Arc<Thresholds>,
}

struct Session {
    commands: mpsc::Sender<SessionCommand>,
    facts: SessionFacts,
}

struct Live {
    presence: Presence,
    /// How to reach the session of `presence`.
    session: Option<Session>,
    last_heartbeat: Option<Timestamp>,
    vitals: vitals::VitalsReader,
    judge: Judge,
    verdict: Option<Verdict>,
    shown: vitals::Shown,
    sessions: u64,
    processes: Option<Vec<ProcessInfo>>,
    /// How far the node's clock is from ours, in milliseconds; network delay included.
    clock_skew_ms: i64,
    config: ConfigState,
    backups: Vec<BackupTrouble>,
}

/// Owns what lives.
pub struct NodeTask {
    registry: Registry,
    series: RecentSeries,
    events: Events,
    clock: Clock,
    settings: NodeTaskSettings,
    inbox: mpsc::Receiver<NodeEvent>,
    own_inbox: mpsc::Receiver<(NodeId, Vec<ProcessInfo>)>,
    own_sender: mpsc::Sender<(NodeId, Vec<ProcessInfo>)>,
    fleet: watch::Sender<Arc<FleetView>>,
    sessions: Sessions,
    live: HashMap<NodeId, Live>,
    started: Instant,
    /// When the fleet was last shown, counted from the start, and whether it changed since.
    published: Duration,
    is_stale: bool,
    readings_before: u64,
    readings_per_second: Option<f64>,
}

impl NodeTask {
    /// A task that has not begun; the receiver shows an empty fleet until it does.
    pub fn new(
        registry: Registry,
        series: RecentSeries,
        events: Events,
        clock: Clock,
        settings: NodeTaskSettings,
        inbox: mpsc::Receiver<NodeEvent>,
    ) -> (Self, watch::Receiver<Arc<FleetView>>) {
        let (fleet, receiver) = watch::channel(Arc::default());
        let (own_sender, own_inbox) = mpsc::channel(64);
        let task = Self {
            registry,
            series,
            events,
            clock,
            settings,
            inbox,
            own_inbox,
            own_sender,
            fleet,
            sessions: Sessions::default(),
            live: HashMap::new(),
            started: Instant::now(),
            published: Duration::ZERO,
            is_stale: false,
            readings_before: 0,
            readings_per_second: None,
        };
        (task, receiver)
    }

    /// Who is connected, for whoever has to reach nodes.
    pub fn sessions(&self) -> Sessions {
        self.sessions.clone()
    }

    /// Works until cancelled.
    pub async fn run(mut self, pulse: Pulse, stop: CancellationToken) {
        self.started = Instant::now();
        self.readings_before = self.series.readings_total();
        let mut look = tokio::time::interval(LIVENESS_STEP);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut judge = tokio::time::interval(JUDGE_STEP);
        judge.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = pulse.next() => {}
                event = self.inbox.recv() => match event {
                    Some(event) => self.handle(event).await,
                    None => return,
                },
                Some((node, processes)) = self.own_inbox.recv() => {
                    if let Some(live) = self.live.get_mut(&node) {
                        live.processes = Some(processes);
                    }
                }
                _ = judge.tick() => self.judge_all(),
                _ = look.tick() => if self.look_for_silence() || self.is_stale { self.publish() },
            }
        }
    }

    async fn handle(&mut self, event: NodeEvent) {
        match event {
            NodeEvent::Begin { seed, answer } => {
                let decision = self.begin(seed);
                // A session that went away meanwhile says so by itself.
                drop(answer.send(decision));
            }
            NodeEvent::Heartbeat { node, session, sampled, stats } => {
                if self.heartbeat(node, session, sampled, stats) {
                    self.look_at(node);
                    self.publish_soon();
                }
            }
            NodeEvent::Transport { node, session, told } => self.transport(node, session, told),
            NodeEvent::Facts { node, agent_version, facts } => {
                if let Err(error) = self.registry.note_facts(node, &facts, &agent_version).await {
                    tracing::warn!(%node, %error, "facts not kept");
                }
            }
            NodeEvent::Config { node, state } => self.live(node).config = state,
            NodeEvent::Backups { node, troubles } => self.live(node).backups = troubles,
            NodeEvent::Ended { node, session, is_orderly } => {
                let Some(live) = self.live.get_mut(&node) else { return };
                if live.presence.ended(session, is_orderly) {
                    live.session = None;
                    self.sessions.ended(node);
                    if self.look_at(node) {
                        self.publish_soon();
                    }
                }
            }
            NodeEvent::Changed { node, kind, answer } => {
                self.publish();
                let view = self.fleet.borrow();
                let shown = view.nodes.iter().find(|view| view.node.node_id == node);
                if let Some(view) = shown {
                    self.events.publish(kind, Some(node), &view.node);
                }
                drop(answer.send(shown.map(|view| view.node.clone())));
            }
            NodeEvent::CloseSession { node, reason } => {
                let session = self.live.get(&node).and_then(|live| live.session.as_ref());
                if let Some(session) = session {
                    // Full: the session is stuck and ends by its idle timeout.
                    drop(session.commands.try_send(SessionCommand::Close(reason)));
                }
            }
            NodeEvent::Ask { node, request, answer } => self.ask(node, request, answer),
            NodeEvent::AskStream { node, request, replies } => self.ask_stream(node, request, replies),
            NodeEvent::Deliver { node, slip } => self.deliver(node, slip),
            NodeEvent::Settings(settings) => {
                for live in self.live.values_mut() {
                    live.judge.set_thresholds(Arc::clone(&settings.thresholds));
                }
                self.settings = settings;
            }
            NodeEvent::Offer { node, offer, answer } => {
                // Where it cannot be passed on, the dropped channel says so.
                drop(self.pass(node, SessionCommand::Offer { offer, answer }));
            }
            NodeEvent::Broadcast(message) => {
                for session in self.live.values().filter_map(|live| live.session.as_ref()) {
                    drop(session.commands.try_send(SessionCommand::Send(message.clone())));
                }
            }
        }
    }

    fn live(&mut self, node: NodeId) -> &mut Live {
        let thresholds = &self.settings.thresholds;
        self.live.entry(node).or_insert_with(|| Live {
            presence: Presence::default(),
            session: None,
            last_heartbeat: None,
            vitals: vitals::VitalsReader::default(),
            judge: Judge::new(Arc::clone(thresholds)),
            verdict: None,
            shown: vitals::Shown::default(),
            sessions: 0,
            processes: None,
            clock_skew_ms: 0,
            config: ConfigState::default(),
            backups: Vec::new(),
        })
    }

    fn begin(&mut self, seed: SessionSeed) -> Result<(), Refusal> {
        let (now, up) = (self.clock.now(), self.started.elapsed());
        let node = seed.node;
        let live = self.live(node);
        if let Err(in_use) = live.presence.begin(up, seed.session, seed.instance) {
            if in_use.is_suspect {
                let here = live.session.as_ref().map(|current| current.facts.remote_address.as_str());
                tracing::error!(%node, here, there = %seed.remote_address,
                    "two agents use one identity: its key was copied");
                let body = serde_json::json!({ "nodeId": node });
                self.events.publish("node.clone-suspected", Some(node), &body);
            }
            let reason = "another agent with this identity is connected; if the machine was copied, enrol the copy \
                          with a token of its own";
            return Err(Refusal { code: RefusalCode::IdentityInUse, reason: reason.to_owned() });
        }
        if let Some(old) = live.session.take() {
            let reason = campanile_common::wire::v1::control::GoodbyeReason::Superseded;
            drop(old.commands.try_send(SessionCommand::Close(reason)));
        }
        live.session = Some(Session {
            commands: seed.commands,
            facts: SessionFacts {
                remote_address: seed.remote_address,
                transport: seed.transport,
                told: Default::default(),
                protocol_version: seed.protocol_version,
                agent_version: seed.agent_version,
                connected_at: now,
                stats: LinkStats::default(),
            },
        });
        live.sessions += 1;
        self.sessions.began(node, SessionAbilities { takes_orders: seed.takes_orders });
        Ok(())
    }

    /// Notes a sign of life; true when the node was not online before.
    fn heartbeat(&mut self, node: NodeId, session: u64, sampled: Timestamp, stats: LinkStats) -> bool {
        let (now, up) = (self.clock.now(), self.started.elapsed());
        let live = self.live(node);
        if !live.presence.heard(up, session) {
            return false;
        }
        if let Some(current) = &mut live.session {
            current.facts.stats = stats;
        }
        live.last_heartbeat = Some(now);
        // Saturating: the node may say any time at all.
        live.clock_skew_ms = sampled.as_millis().cast_signed().saturating_sub(now.as_millis().cast_signed());
        live.presence.liveness() != Liveness::Online
    }

    /// Judges one node's liveness; true when it changed.
    fn look_at(&mut self, node: NodeId) -> bool {
        let up = self.started.elapsed();
        let settings = self.settings.liveness;
        let live = self.live(node);
        let Some(before) = live.presence.look(up, &settings) else { return false };
        let found = live.presence.liveness();
        tracing::info!(%node, ?before, now = ?found, "liveness changed");
        self.judge(node);
        true
    }

    fn look_for_silence(&mut self) -> bool {
        let mut has_changed = false;
        for node in self.registry.active_ids() {
            has_changed |= self.look_at(node);
        }
        has_changed
    }

    fn judge(&mut self, node: NodeId) {
        let now = self.clock.now();
        let (current, previous) = self.series.newest_two(node);
        let live = self.live(node);
        let vitals = current.map(|current| {
            let mut vitals = live.vitals.read(previous.as_deref(), &current);
            vitals.clock_skew_seconds = Some(milliseconds_to_seconds(live.clock_skew_ms));
            vitals.drifted_resources = live.config.drifted;
            vitals.reverted_generation = live.config.reverted.map(|number| number.to_string());
            vitals.backups.clone_from(&live.backups);
            vitals
        });
        live.shown = vitals.as_ref().map(vitals::shown).unwrap_or_default();
        let before = live.verdict.as_ref().map(|verdict| verdict.status);
        let verdict = live.judge.observe(now, live.presence.liveness(), vitals.as_ref());
        let status = verdict.status;
        live.verdict = Some(verdict);
        if before == Some(status) {
            return;
        }
        tracing::info!(%node, ?before, now = ?status, "status changed");
        let causes = live.verdict.iter().flat_map(|verdict| &verdict.causes);
        let reasons: Vec<_> = causes.take(3).map(|cause| cause.summary.clone()).collect();
        let liveness = live.presence.liveness();
        let body =
            serde_json::json!({ "nodeId": node, "status": status, "liveness": liveness, "reasons": reasons });
        self.events.publish("node.status-changed", Some(node), &body);
        if matches!(status, NodeHealth::Warning | NodeHealth::Critical) {
            self.ask_for_culprits(node);
        }
    }

    fn judge_all(&mut self) {
        for node in self.registry.active_ids() {
            self.judge(node);
        }
        let readings = self.series.readings_total();
        self.readings_per_second = Some(count(readings - self.readings_before));
        self.readings_before = readings;
        self.publish();
        let view = self.fleet.borrow().clone();
        let nodes: Vec<_> = view
            .nodes
            .iter()
            .filter(|view| view.node.state == NodeState::Active)
            .map(|view| {
                serde_json::json!({
                    "nodeId": view.node.node_id, "liveness": view.node.liveness, "status": view.node.status,
                    "score": view.node.score, "cpuPercent": view.usage.cpu_percent,
                    "memoryPercent": view.usage.memory_percent, "diskPercent": view.usage.disk_percent,
                })
            })
            .collect();
        self.events.publish(
            "fleet.judged",
            None,
            &serde_json::json!({ "score": view.score, "nodes": nodes }),
        );
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate")]
const fn count(number: u64) -> f64 {
    number as f64
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a clock that is off by 285 million years may be off by a little more"
)]
fn milliseconds_to_seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}
