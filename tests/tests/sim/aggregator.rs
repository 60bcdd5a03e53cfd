//! The aggregator: what its tasks do around what is pending, presence and the judges, in virtual time.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use campanile_aggregator::node::LivenessSettings;
use campanile_aggregator::node::presence::Presence;
use campanile_aggregator::series::pending::{self, Pending, WAITING_MAX};
use campanile_aggregator::series::{Journal, RecentSeries, SessionKey, TakenItem};
use campanile_common::api::{Liveness, NodeHealth};
use campanile_common::connection::{AggregatorEvent, AggregatorSession, LaneItem};
use campanile_common::health::{Judge, Thresholds, Vitals};
use campanile_common::id::{AggregatorId, NodeId};
use campanile_common::sample::Position;
use campanile_common::wire::hello::{Hello, Refusal, RefusalCode, Welcome};
use campanile_common::wire::v1::control::{Control, GoodbyeReason, Lane};

use crate::agent::append;
use crate::net::End;
use crate::session::AggregatorEnd;
use crate::world::{AGENTS, Event, FLEET, World};

const LATE: u64 = 2000;
const OFFLINE: u64 = 3000;
const GRACE: u64 = 10_000;
/// How often silence is looked for, and nodes are judged.
const LOOK_STEP: u64 = 100;
const JUDGE_STEP: u64 = 1000;
/// A session on a whole path is heard of after so long, whatever its packets meet.
const SURELY_HEARD: u64 = 3500;

const SETTINGS: LivenessSettings = LivenessSettings {
    interval: Duration::from_millis(1000),
    late: Duration::from_millis(LATE),
    offline: Duration::from_millis(OFFLINE),
    grace: Duration::from_millis(GRACE),
};

/// One node as this run of the aggregator knows it.
struct Node {
    presence: Presence,
    judge: Judge,
    /// The truth: when it was last heard, and whether it said goodbye after that.
    heard: Option<u64>,
    said_goodbye: bool,
}

/// The aggregator and its disk.
pub(crate) struct Aggregator {
    folder: PathBuf,
    pub(crate) is_up: bool,
    /// Counts starts.
    pub(crate) run: u64,
    started: u64,
    pub(crate) clock_offset_ms: i64,
    pub(crate) is_disk_full: bool,
    pub(crate) recent: RecentSeries,
    journal: Option<Journal>,
    pending: Pending,
    nodes: Vec<Node>,
    next_session: u64,
    /// Links by session.
    sessions: BTreeMap<u64, usize>,
}

impl Aggregator {
    pub(crate) fn new(folder: PathBuf) -> Self {
        let recent = RecentSeries::default();
        Self {
            folder,
            is_up: false,
            run: 0,
            started: 0,
            clock_offset_ms: 0,
            is_disk_full: false,
            pending: Pending::new(recent.clone()),
            recent,
            journal: None,
            nodes: Vec::new(),
            next_session: 1,
            sessions: BTreeMap::new(),
        }
    }

    pub(crate) fn all_online(&self) -> bool {
        self.is_up && self.nodes.iter().all(|node| node.presence.liveness() == Liveness::Online)
    }

    pub(crate) fn describe(&self) -> String {
        let states = self.nodes.iter().map(|node| format!("{:?}", node.presence.liveness()));
        format!("up {}, nodes {:?}", self.is_up, states.collect::<Vec<_>>())
    }

    fn newest_segment(&self) -> Option<PathBuf> {
        let files = std::fs::read_dir(&self.folder).expect("the journal's folder");
        files.map(|file| file.expect("a file").path()).max()
    }
}

fn index_of(node: NodeId) -> usize {
    usize::try_from(u64::from_be_bytes(*node.as_bytes()) - 1).expect("small")
}

impl World {
    fn up(&self) -> Duration {
        Duration::from_millis(self.now - self.aggregator.started)
    }

    pub(crate) fn start_aggregator(&mut self) {
        let wall = self.clock(self.aggregator.clock_offset_ms);
        let aggregator = &mut self.aggregator;
        if aggregator.is_up {
            return;
        }
        aggregator.is_up = true;
        aggregator.run += 1;
        aggregator.started = self.now;
        aggregator.recent = RecentSeries::default();
        aggregator.pending = Pending::new(aggregator.recent.clone());
        aggregator.sessions.clear();
        let mut found: BTreeMap<Position, bool> = BTreeMap::new();
        let oracle = &mut self.oracle;
        let (journal, damaged) = pending::open(&aggregator.folder, &aggregator.recent, wall, |node, item| {
            if let LaneItem::Sample(sample) = item {
                oracle.check_sample(node, sample);
                found.insert(sample.position, true);
            }
        })
        .expect("its own folder");
        assert!(damaged.is_empty(), "a write cut short is no damage: {damaged:?}");
        aggregator.journal = Some(journal);
        self.oracle.check_disk(&found);
        let thresholds = Arc::new(Thresholds::default());
        aggregator.nodes = (0..AGENTS)
            .map(|_| Node {
                presence: Presence::default(),
                judge: Judge::new(Arc::clone(&thresholds)),
                heard: None,
                said_goodbye: false,
            })
            .collect();
        let run = aggregator.run;
        self.trace.note(self.now, "aggregator starts", 0, found.len() as u64);
        self.at(self.now, Event::Look { run });
        self.at(self.now, Event::Judge { run });
    }

    /// SIGKILL; a write may be under way: then it is on disk and not acknowledged.
    pub(crate) fn kill_aggregator(&mut self, is_torn: bool) {
        if !self.aggregator.is_up {
            return;
        }
        self.trace.note(self.now, "aggregator is killed", 0, u64::from(is_torn));
        if is_torn {
            let items = self.aggregator.pending.begin();
            self.write(&items);
        }
        self.aggregator.journal = None;
        if is_torn && let Some(newest) = self.aggregator.newest_segment() {
            append(&newest, &[40, 0, 0, 0, 1, 2, 3, 4, 5, 6]);
        }
        self.down();
    }

    /// An orderly restart: agents are told when to come back, what was taken is synced.
    pub(crate) fn stop_aggregator(&mut self) {
        if !self.aggregator.is_up {
            return;
        }
        self.trace.note(self.now, "aggregator stops", 0, 0);
        let sessions: Vec<usize> = self.aggregator.sessions.values().copied().collect();
        for link in sessions {
            let return_after = Duration::from_millis(100 + self.random.below(400));
            self.aggregator_event(
                link,
                AggregatorEvent::Stop { reason: GoodbyeReason::Restarting, return_after },
            );
        }
        let items = self.aggregator.pending.begin();
        self.write(&items);
        self.aggregator.journal = None;
        self.down();
    }

    fn down(&mut self) {
        self.aggregator.is_up = false;
        for link in 0..self.links.len() {
            self.end_silently(link, End::Aggregator);
        }
    }

    /// Writes to the disk; false while it is full.
    fn write(&mut self, items: &[TakenItem]) -> bool {
        let (up, wall) = (self.up(), self.clock(self.aggregator.clock_offset_ms));
        let aggregator = &mut self.aggregator;
        if aggregator.is_disk_full {
            return false;
        }
        let Some(journal) = &mut aggregator.journal else { return false };
        pending::write(journal, &aggregator.recent, items, up, wall).expect("a disk with room");
        for taken in items {
            self.oracle.written(taken.node, &taken.item);
        }
        true
    }

    /// A connection was accepted.
    pub(crate) fn accept(&mut self, node: NodeId) -> AggregatorEnd {
        let session = self.aggregator.next_session;
        self.aggregator.next_session += 1;
        AggregatorEnd::new(AggregatorSession::new(self.steady(), FLEET, node), node, session)
    }

    /// Whether an agent may come in.
    pub(crate) fn admit(&mut self, link: usize, hello: &Hello) -> Result<Welcome, Refusal> {
        let up = self.up();
        let clock = self.clock(self.aggregator.clock_offset_ms);
        let Some(held) = &mut self.links[link] else { panic!("a session without a link") };
        let (session, node) = (held.aggregator.session, held.aggregator.node);
        let presence = &mut self.aggregator.nodes[index_of(node)].presence;
        let superseded = presence.session();
        if presence.begin(up, session, hello.instance).is_err() {
            let reason = "another agent with this identity is connected".to_owned();
            return Err(Refusal { code: RefusalCode::IdentityInUse, reason });
        }
        held.aggregator.is_begun = true;
        self.aggregator.sessions.insert(session, link);
        if let Some(old) = superseded.and_then(|old| self.aggregator.sessions.get(&old).copied()) {
            let (reason, return_after) = (GoodbyeReason::Superseded, Duration::ZERO);
            self.aggregator_event(old, AggregatorEvent::Stop { reason, return_after });
        }
        Ok(Welcome {
            aggregator: AggregatorId::from_bytes([1; 8]),
            version: 0,
            capabilities: vec!["top".to_owned()],
            interval_ms: 1000,
            durable: self.aggregator.recent.accounted_to(node, hello.instance),
            authority_version: 1,
            clock,
        })
    }

    pub(crate) fn session_ended(&mut self, node: NodeId, session: u64, is_orderly: bool) {
        self.aggregator.sessions.remove(&session);
        self.aggregator.pending.forget(SessionKey(session));
        if !self.aggregator.is_up {
            return;
        }
        let held = &mut self.aggregator.nodes[index_of(node)];
        if held.presence.ended(session, is_orderly) {
            held.said_goodbye = is_orderly;
        }
    }

    /// An item was read from a stream of samples.
    pub(crate) fn taken(&mut self, session: u64, node: NodeId, lane: Lane, item: LaneItem) {
        let up = self.up();
        if let (LaneItem::Sample(sample), Lane::Control) = (&item, lane) {
            self.oracle.check_sample(node, sample);
            let held = &mut self.aggregator.nodes[index_of(node)];
            if held.presence.heard(up, session) {
                held.heard = Some(self.now);
                held.said_goodbye = false;
            }
        }
        let pending = &mut self.aggregator.pending;
        let before = pending.due();
        pending.take(up, TakenItem { session: SessionKey(session), node, lane, item });
        assert!(pending.len() <= WAITING_MAX, "{} items wait for the disk", pending.len());
        let due = pending.due();
        if due != before {
            self.schedule_sync();
        }
    }

    fn schedule_sync(&mut self) {
        let aggregator = &self.aggregator;
        if let Some(due) = aggregator.pending.due() {
            let (when, run) = (aggregator.started + crate::agent::millis(due), aggregator.run);
            self.at(when, Event::Sync { run });
        }
    }

    /// Syncs what is due, and acknowledges it.
    pub(crate) fn sync(&mut self, run: u64) {
        let is_due = self.aggregator.pending.due().is_some_and(|due| due <= self.up());
        if !self.aggregator.is_up || self.aggregator.run != run || !is_due {
            return;
        }
        let items = self.aggregator.pending.begin();
        self.trace.note(self.now, "sync", 0, items.len() as u64);
        if !self.write(&items) {
            let up = self.up();
            self.aggregator.pending.refused(up, items);
            return self.schedule_sync();
        }
        for (session, ack) in self.aggregator.pending.written(&items) {
            if let Some(link) = self.aggregator.sessions.get(&session.0).copied() {
                self.aggregator_event(link, AggregatorEvent::Send(Control::Ack(ack)));
            }
        }
    }

    /// Looks for silence, and checks every verdict against the truth.
    pub(crate) fn look(&mut self, run: u64) {
        if !self.aggregator.is_up || self.aggregator.run != run {
            return;
        }
        let up = self.up();
        for index in 0..AGENTS {
            let node = &mut self.aggregator.nodes[index];
            if node.presence.look(up, &SETTINGS).is_some() {
                let liveness = node.presence.liveness();
                self.trace.note(self.now, "liveness", index, liveness as u64);
            }
            self.check_liveness(index);
        }
        self.at(self.now + LOOK_STEP, Event::Look { run });
    }

    fn check_liveness(&self, index: usize) {
        let node = &self.aggregator.nodes[index];
        let found = node.presence.liveness();
        let silence = node.heard.map(|heard| self.now - heard);
        let up = self.now - self.aggregator.started;
        let expected = match silence {
            _ if node.said_goodbye => Liveness::Offline,
            Some(silence) if silence < LATE => Liveness::Online,
            Some(silence) if silence < OFFLINE => Liveness::Late,
            None if up < GRACE => Liveness::Late,
            Some(_) | None => Liveness::Offline,
        };
        assert_eq!(found, expected, "agent {index}, silent for {silence:?} ms, aggregator up {up} ms");
        if found == Liveness::Offline && self.surely_sends(index) {
            panic!("agent {index} sends and is called offline");
        }
    }

    /// Its session and its path have been whole for long enough.
    fn surely_sends(&self, index: usize) -> bool {
        let agent = &self.agents[index];
        let Some(held) = agent.link.and_then(|link| self.links[link].as_ref()) else { return false };
        let since = |when: u64| self.now.saturating_sub(when) >= SURELY_HEARD;
        held.agent.established.is_some_and(since)
            && held.net.is_alive(End::Aggregator)
            && agent.cuts == 0
            && since(agent.mended_at)
            && since(held.aggregator.reads_from)
            && self.now >= held.aggregator.reads_from
    }

    /// Judges every node: what is healthy and heard stays healthy, whatever clocks show.
    pub(crate) fn judge(&mut self, run: u64) {
        if !self.aggregator.is_up || self.aggregator.run != run {
            return;
        }
        let wall = self.clock(self.aggregator.clock_offset_ms);
        let vitals = Vitals { time: wall, cpu_percent: Some(5.0), ..Vitals::default() };
        for (index, node) in self.aggregator.nodes.iter_mut().enumerate() {
            let liveness = node.presence.liveness();
            let verdict = node.judge.observe(wall, liveness, Some(&vitals));
            let expected = match liveness {
                Liveness::Online => NodeHealth::Healthy,
                Liveness::Late => NodeHealth::Warning,
                Liveness::Offline => NodeHealth::Offline,
            };
            assert_eq!(verdict.status, expected, "agent {index} is {liveness:?}");
        }
        self.at(self.now + JUDGE_STEP, Event::Judge { run });
    }
}
