//! Agents: what `campanile_agent` does around its custody of samples and its end of a session, in virtual time.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use campanile_agent::metrics::custody::Custody;
use campanile_agent::metrics::spool::{Spool, SpoolLimits};
use campanile_common::backoff::Backoff;
use campanile_common::connection::{
    AgentEffect, AgentEvent, AgentSession, End as SessionEnd, OUTBOX_SAMPLES_MAX,
};
use campanile_common::id::{InstanceId, NodeId};
use campanile_common::sample::{Gap, GapReason, Position, Sample};
use campanile_common::unit::ByteCount;
use campanile_common::wire::hello::{Hello, VERSION_MAX, VERSION_MIN};
use campanile_common::wire::v1::control::GoodbyeReason;

use crate::net::{End, IDLE_TIMEOUT, KEEP_ALIVE, Quality};
use crate::oracle;
use crate::session::Link;
use crate::world::{Event, FLEET, World};
use campanile_tests::random::Random;

pub(crate) const INTERVAL: u64 = 1000;
/// A spool holds this when nothing is to be evicted.
const SPOOL_BYTES: u64 = 32 * 1024 * 1024;
/// A spool that evicts: room for a segment, as the spool wants it, and little more.
const SPOOL_BYTES_SMALL: u64 = 257 * 1024;
/// Longest time for one handshake, as the link has it.
const CONNECT_TIMEOUT: u64 = 5000;

/// One agent and the machine it runs on.
pub(crate) struct Agent {
    index: usize,
    pub(crate) node: NodeId,
    /// Counts starts.
    pub(crate) life: u32,
    pub(crate) instance: InstanceId,
    /// None while it does not run.
    pub(crate) custody: Option<Custody>,
    spool: PathBuf,
    limits: SpoolLimits,
    first_tick: u64,
    next_tick: u64,
    pub(crate) clock_offset_ms: i64,
    pub(crate) quality: Quality,
    /// How many faults cut its path now, and how many times it was cut or mended.
    pub(crate) cuts: u32,
    pub(crate) silence: u64,
    pub(crate) mended_at: u64,
    pub(crate) frozen_until: u64,
    pub(crate) is_disk_full: bool,
    pub(crate) link: Option<usize>,
    backoff: Backoff,
}

impl Agent {
    pub(crate) fn new(index: usize, folder: &Path, random: &mut Random) -> Self {
        let is_small = random.once_in(6);
        let bytes = ByteCount(if is_small { SPOOL_BYTES_SMALL } else { SPOOL_BYTES });
        Self {
            index,
            node: NodeId::from_bytes((index as u64 + 1).to_be_bytes()),
            life: 0,
            instance: InstanceId::from_bytes([0; 8]),
            custody: None,
            spool: folder.join(format!("spool-{index}")),
            limits: SpoolLimits { bytes, age: Duration::from_secs(72 * 3600) },
            first_tick: 0,
            next_tick: 0,
            clock_offset_ms: 0,
            quality: Quality::draw(random),
            cuts: 0,
            silence: 0,
            mended_at: 0,
            frozen_until: 0,
            is_disk_full: false,
            link: None,
            backoff: Backoff::default(),
        }
    }

    pub(crate) fn outbox(&self) -> impl Iterator<Item = Position> {
        self.custody.iter().flat_map(|custody| custody.outbox().positions())
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.custody.as_ref().is_some_and(|custody| custody.spool().is_empty())
    }

    pub(crate) fn describe(&self) -> String {
        let spool = self.custody.as_ref().map(|custody| custody.spool().bytes());
        format!("agent {} link {:?} spool {spool:?}", self.index, self.link)
    }

    fn spool_off(&self) -> PathBuf {
        self.spool.with_extension("off")
    }

    /// The disk takes no new file. One that is being written goes on: what fails there is the spool's own test.
    pub(crate) fn fill_disk(&mut self) {
        self.is_disk_full = true;
        std::fs::rename(&self.spool, self.spool_off()).expect("a folder beside it");
    }

    pub(crate) fn free_disk(&mut self) {
        if std::mem::take(&mut self.is_disk_full) {
            std::fs::rename(self.spool_off(), &self.spool).expect("nobody made another");
        }
    }

    /// A write that a kill cut short.
    fn tear_spool(&self) {
        let files = std::fs::read_dir(&self.spool).expect("the spool's folder");
        let newest = files.map(|file| file.expect("a file").path()).max();
        if let Some(newest) = newest {
            append(&newest, &[40, 0, 0, 0, 1, 2, 3, 4, 5, 6]);
        }
    }
}

pub(crate) fn append(path: &Path, bytes: &[u8]) {
    let mut file = std::fs::File::options().append(true).open(path).expect("it was just listed");
    file.write_all(bytes).expect("room for a few bytes");
}

impl World {
    pub(crate) fn start_agent(&mut self, index: usize) {
        let agent = &mut self.agents[index];
        if agent.custody.is_some() {
            return;
        }
        agent.free_disk();
        agent.life += 1;
        agent.instance = InstanceId::from_bytes(self.random.number().to_be_bytes());
        let (spool, damaged) = Spool::open(&agent.spool, agent.limits).expect("its own folder");
        assert!(damaged.is_empty(), "a write cut short is no damage: {damaged:?}");
        agent.custody = Some(Custody::new(spool));
        agent.next_tick = 0;
        agent.first_tick = self.now + self.random.between(100, 900);
        agent.backoff = Backoff::default();
        let (life, first_tick) = (agent.life, agent.first_tick);
        let run = u64::from_be_bytes(*agent.instance.as_bytes());
        self.oracle.begin(agent.node, agent.instance, agent.limits.bytes.0 == SPOOL_BYTES_SMALL);
        self.trace.note(self.now, "agent starts", index, run);
        self.at(first_tick, Event::Tick { agent: index, life });
        self.at(self.now, Event::Dial { agent: index, life });
    }

    /// SIGKILL: memory is gone, the disk is not.
    pub(crate) fn kill_agent(&mut self, index: usize) {
        let is_torn = self.random.once_in(2);
        let agent = &mut self.agents[index];
        let Some(custody) = agent.custody.take() else { return };
        self.oracle.killed(custody.outbox().positions(), custody.spool().gaps_in_memory());
        drop(custody);
        if is_torn && !agent.is_disk_full {
            agent.tear_spool();
        }
        self.trace.note(self.now, "agent is killed", index, 0);
        if let Some(link) = self.agents[index].link.take() {
            self.end_silently(link, End::Agent);
        }
    }

    pub(crate) fn stop_agent(&mut self, index: usize) {
        if self.agents[index].custody.is_none() {
            return;
        }
        self.trace.note(self.now, "agent stops", index, 0);
        if let Some(link) = self.agents[index].link
            && self.links[link].is_some()
        {
            self.agent_event(link, AgentEvent::Stop(GoodbyeReason::Stopping));
        }
        let agent = &mut self.agents[index];
        agent.link = None;
        let Some(mut custody) = agent.custody.take() else { return };
        if custody.flush().is_err() {
            assert!(agent.is_disk_full, "a disk with room takes what is left");
            self.oracle.killed(std::iter::empty(), custody.spool().gaps_in_memory());
        }
    }

    pub(crate) fn tick(&mut self, index: usize, life: u32) {
        let schema = self.schema.clone();
        let agent = &mut self.agents[index];
        if agent.life != life {
            return;
        }
        let Some(custody) = &mut agent.custody else { return };
        if self.now < agent.frozen_until {
            let until = agent.frozen_until;
            self.at(until, Event::Tick { agent: index, life });
            return;
        }
        let instance = agent.instance;
        let missed = (self.now - (agent.first_tick + agent.next_tick * INTERVAL)) / INTERVAL;
        if missed > 0 {
            let (first, last) = (agent.next_tick, agent.next_tick + missed - 1);
            let gap = Gap { instance, first, last, reason: GapReason::Stalled };
            self.oracle.missed(gap);
            custody.missed(gap);
            agent.next_tick += missed;
        }
        let position = Position { instance, sequence: agent.next_tick };
        agent.next_tick += 1;
        let due = agent.first_tick + agent.next_tick * INTERVAL;
        let time = self.clock(self.agents[index].clock_offset_ms);
        let readings = oracle::readings(position, &schema);
        self.oracle.sampled(position, time);
        if self.agents[index].is_disk_full {
            self.oracle.disk_full(instance);
        }
        let custody = self.agents[index].custody.as_mut().expect("it runs");
        custody.take(Sample { position, time, schema, readings });
        let waiting = custody.outbox().len();
        assert!(waiting <= OUTBOX_SAMPLES_MAX, "{waiting} samples wait in memory");
        self.trace.note(self.now, "tick", index, (position.sequence << 8) + waiting as u64);
        self.at(due, Event::Tick { agent: index, life });
        if let Some(link) = self.agents[index].link {
            self.pump_live(link);
        }
    }

    pub(crate) fn dial(&mut self, index: usize, life: u32) {
        let agent = &self.agents[index];
        if agent.life != life || agent.custody.is_none() || agent.link.is_some() {
            return;
        }
        if self.now < agent.frozen_until {
            let until = agent.frozen_until;
            self.at(until, Event::Dial { agent: index, life });
            return;
        }
        let round_trip = 2 * agent.quality.delay(&mut self.random);
        self.at(self.now + round_trip, Event::Handshake { agent: index, life, dialled: self.now });
    }

    /// The handshake ends, or its packets went nowhere and are sent again.
    pub(crate) fn handshake(&mut self, index: usize, life: u32, dialled: u64) {
        let agent = &mut self.agents[index];
        if agent.life != life || agent.custody.is_none() {
            return;
        }
        let tried = self.now - dialled;
        if agent.cuts == 0 && self.aggregator.is_up {
            return self.connected(index, dialled);
        }
        if tried >= CONNECT_TIMEOUT {
            agent.backoff.session_ended(Duration::from_millis(tried));
            let wait = millis(agent.backoff.next_wait(self.random.number()));
            self.trace.note(self.now, "unreachable", index, wait);
            self.at(self.now + wait, Event::Dial { agent: index, life });
            return;
        }
        let again = [1000, 3000, CONNECT_TIMEOUT].into_iter().find(|again| *again > tried);
        let when = dialled + again.unwrap_or(CONNECT_TIMEOUT);
        let when = when.max(agent.frozen_until);
        self.at(when, Event::Handshake { agent: index, life, dialled });
    }

    fn connected(&mut self, index: usize, dialled: u64) {
        let agent = &self.agents[index];
        let node = agent.node;
        let hello = Hello {
            fleet: FLEET,
            node: agent.node,
            instance: agent.instance,
            version_min: VERSION_MIN,
            version_max: VERSION_MAX,
            capabilities: vec!["top".to_owned()],
            agent_version: "0.1.0".to_owned(),
            authority_version: 1,
            interval_ms: 1000,
            clock: self.clock(agent.clock_offset_ms),
        };
        let (state, effects) = AgentSession::open(self.steady(), &hello);
        let number = self.links.len();
        let window = usize::try_from(self.random.between(120, 3000)).expect("small");
        let aggregator = self.accept(node);
        self.links.push(Some(Link::new(index, dialled, window, state, aggregator)));
        self.agents[index].link = Some(number);
        self.trace.note(self.now, "connected", index, number as u64);
        self.agent_effects(number, effects);
    }

    /// The agent's end of a session is over: what was not acknowledged is spilled, and it dials again.
    pub(crate) fn agent_session_over(&mut self, link: usize, end: Option<&SessionEnd>) {
        let Some(held) = &mut self.links[link] else { return };
        let (index, dialled, was_told) =
            (held.net.agent, held.agent.dialled, held.agent.live.take().is_some());
        let agent = &mut self.agents[index];
        if agent.link != Some(link) {
            return;
        }
        agent.link = None;
        let Some(custody) = &mut agent.custody else { return };
        if was_told {
            custody.closed();
        }
        agent.backoff.session_ended(Duration::from_millis(self.now - dialled));
        let number = self.random.number();
        let wait = match end {
            None => number % 250,
            Some(SessionEnd::Goodbye {
                reason: GoodbyeReason::Renewed | GoodbyeReason::Stopping, ..
            }) => 0,
            Some(SessionEnd::Goodbye { return_after, .. }) if !return_after.is_zero() => {
                millis(*return_after)
            }
            Some(SessionEnd::Refused(refusal)) => {
                assert!(refusal.code.is_retryable(), "{refusal}");
                millis(agent.backoff.next_wait(number))
            }
            Some(SessionEnd::Goodbye { .. } | SessionEnd::OpeningTimeout) => {
                millis(agent.backoff.next_wait(number))
            }
            Some(SessionEnd::Protocol(problem)) => panic!("protocol error at agent {index}: {problem}"),
        };
        let life = agent.life;
        self.trace.note(self.now, "agent's session over", index, wait);
        self.at(self.now + wait, Event::Dial { agent: index, life });
    }

    /// Gives the agent's machine one event and carries out what it says.
    pub(crate) fn agent_event(&mut self, link: usize, event: AgentEvent) {
        let now = self.steady();
        let Some(held) = &mut self.links[link] else { return };
        let effects = held.agent.state.apply(now, event);
        self.agent_effects(link, effects);
    }

    pub(crate) fn agent_effects(&mut self, link: usize, effects: Vec<AgentEffect>) {
        for effect in effects {
            let Some(held) = &mut self.links[link] else { return };
            assert!(!held.agent.is_ended, "{effect:?} after the end");
            match effect {
                AgentEffect::Send(bytes) => self.send_control(link, End::Agent, &bytes),
                AgentEffect::Established(welcome) => {
                    assert_eq!(welcome.version, VERSION_MAX);
                    self.established(link, welcome.durable);
                }
                AgentEffect::Acked(ack) => self.acked(link, &ack),
                AgentEffect::End(end) => {
                    held.agent.is_ended = true;
                    self.close(link, End::Agent);
                    self.agent_session_over(link, Some(&end));
                }
                AgentEffect::Certificate { .. }
                | AgentEffect::Authority(_)
                | AgentEffect::Checkpoint(_)
                | AgentEffect::Catalogue(_) => {
                    panic!("nobody sends {effect:?} here");
                }
            }
        }
    }

    /// When an end that hears nothing from now on gives up: it last heard at most a keep-alive ago.
    pub(crate) fn gives_up_at(&mut self) -> u64 {
        self.now + IDLE_TIMEOUT - self.random.below(KEEP_ALIVE)
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("short")
}
