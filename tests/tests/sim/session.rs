//! Sessions: what the drivers at both ends do between a connection's streams and the state machines.

use std::collections::VecDeque;

use campanile_common::connection::{
    AgentEvent, AgentSession, AggregatorEffect, AggregatorEvent, AggregatorSession, End as SessionEnd,
    LaneItem, LaneReader,
};
use campanile_common::id::NodeId;
use campanile_common::sample::{Position, Sample};
use campanile_common::wire::frame::FrameDecoder;
use campanile_common::wire::v1::control::{Ack, Facts, GoodbyeReason, Lane};
use campanile_common::wire::v1::sample::{Block, SampleEncoder};
use tokio::sync::mpsc;

use crate::net::{Connection, End, Stream};
use crate::world::{Event, World};

/// As the link has them.
const LIVE_SAMPLES_MAX: usize = 8;
const SPOOL_LOOK: u64 = 10_000;
const BATCH_TIMEOUT: u64 = 60_000;
/// Longest wait for a goodbye to arrive before the connection is closed over it.
const GOODBYE_TIMEOUT: u64 = 500;

/// A connection and both ends of the session on it.
pub(crate) struct Link {
    pub(crate) net: Connection,
    /// Unread bytes of live samples past which the sender waits.
    window: usize,
    pub(crate) agent: AgentEnd,
    pub(crate) aggregator: AggregatorEnd,
}

pub(crate) struct AgentEnd {
    pub(crate) state: AgentSession,
    decoder: FrameDecoder,
    pub(crate) dialled: u64,
    pub(crate) is_ended: bool,
    /// When the session stood.
    pub(crate) established: Option<u64>,
    /// Where the sampler's live samples come out.
    pub(crate) live: Option<mpsc::Receiver<Sample>>,
    live_encoder: Option<SampleEncoder>,
    /// Sent live, in order, not acknowledged yet.
    sent_live: VecDeque<Position>,
    backfill_encoder: Option<SampleEncoder>,
    /// The batch under way.
    batch: Vec<LaneItem>,
    /// Counts batches and looks, to tell timers of earlier ones.
    turn: u64,
}

pub(crate) struct AggregatorEnd {
    pub(crate) state: AggregatorSession,
    pub(crate) node: NodeId,
    pub(crate) session: u64,
    decoder: FrameDecoder,
    is_ended: bool,
    /// Streams of samples are read.
    pub(crate) is_begun: bool,
    /// Nothing is read from them before this.
    pub(crate) reads_from: u64,
    lanes: [(FrameDecoder, LaneReader); 2],
}

impl AggregatorEnd {
    pub(crate) fn new(state: AggregatorSession, node: NodeId, session: u64) -> Self {
        Self {
            state,
            node,
            session,
            decoder: FrameDecoder::default(),
            is_ended: false,
            is_begun: false,
            reads_from: 0,
            lanes: Default::default(),
        }
    }
}

impl Link {
    pub(crate) fn new(
        agent: usize,
        dialled: u64,
        window: usize,
        state: AgentSession,
        aggregator: AggregatorEnd,
    ) -> Self {
        let end = AgentEnd {
            state,
            decoder: FrameDecoder::default(),
            dialled,
            is_ended: false,
            established: None,
            live: None,
            live_encoder: None,
            sent_live: VecDeque::new(),
            backfill_encoder: None,
            batch: Vec::new(),
            turn: 0,
        };
        Self { net: Connection::new(agent), window, agent: end, aggregator }
    }
}

impl World {
    fn send(&mut self, link: usize, stream: Stream, bytes: &[u8]) {
        let Some(held) = &mut self.links[link] else { return };
        let quality = self.agents[held.net.agent].quality;
        let arrivals = held.net.send(self.now, stream, bytes, &quality, &mut self.random);
        for arrival in arrivals {
            self.at(arrival, Event::Arrive { link, stream: stream as u8 });
        }
    }

    pub(crate) fn send_control(&mut self, link: usize, end: End, bytes: &[u8]) {
        let stream = if end == End::Agent { Stream::ControlUp } else { Stream::ControlDown };
        self.send(link, stream, bytes);
    }

    /// Bytes reached the end that reads them, unless the path is cut: then they come when it is mended.
    pub(crate) fn arrive(&mut self, link: usize, stream: Stream) {
        let Some(held) = &mut self.links[link] else { return };
        let is_lane = matches!(stream, Stream::Live | Stream::Backfill);
        if !held.net.is_alive(stream.reader()) || self.agents[held.net.agent].cuts > 0 {
            return;
        }
        if is_lane && (!held.aggregator.is_begun || self.now < held.aggregator.reads_from) {
            if held.aggregator.is_begun {
                let from = held.aggregator.reads_from;
                self.at(from, Event::Arrive { link, stream: stream as u8 });
            }
            return;
        }
        while let Some(piece) = self.links[link].as_mut().and_then(|held| held.net.arrived(self.now, stream))
        {
            self.trace.note(self.now, "arrives", link, ((stream as u64) << 32) + piece.len() as u64);
            match stream {
                Stream::ControlDown => self.read_at_agent(link, &piece),
                Stream::ControlUp => self.read_at_aggregator(link, &piece),
                Stream::Live => self.read_lane(link, 0, &piece),
                Stream::Backfill => self.read_lane(link, 1, &piece),
            }
        }
        if stream == Stream::Live {
            self.pump_live(link);
        }
    }

    fn read_at_agent(&mut self, link: usize, piece: &[u8]) {
        if let Some(held) = &mut self.links[link] {
            held.agent.decoder.push(piece);
        }
        while let Some(held) = &mut self.links[link] {
            if held.agent.is_ended {
                return;
            }
            let Some(frame) = held.agent.decoder.next().expect("whole frames were sent") else { return };
            self.agent_event(link, AgentEvent::Frame(frame));
        }
    }

    fn read_at_aggregator(&mut self, link: usize, piece: &[u8]) {
        if let Some(held) = &mut self.links[link] {
            held.aggregator.decoder.push(piece);
        }
        while let Some(held) = &mut self.links[link] {
            if held.aggregator.is_ended {
                return;
            }
            let Some(frame) = held.aggregator.decoder.next().expect("whole frames were sent") else { return };
            self.aggregator_event(link, AggregatorEvent::Frame(frame));
        }
    }

    fn read_lane(&mut self, link: usize, lane: usize, piece: &[u8]) {
        if let Some(held) = &mut self.links[link] {
            held.aggregator.lanes[lane].0.push(piece);
        }
        while let Some(held) = &mut self.links[link] {
            if held.aggregator.is_ended {
                return;
            }
            let (node, session) = (held.aggregator.node, held.aggregator.session);
            let (decoder, reader) = &mut held.aggregator.lanes[lane];
            let Some(frame) = decoder.next().expect("whole frames were sent") else { return };
            let item = reader.frame(&frame).expect("agents keep the protocol");
            if let (Some(item), Some(lane)) = (item, reader.lane()) {
                self.taken(session, node, lane, item);
            }
        }
    }

    /// The agent's end stands: samples may go.
    pub(crate) fn established(&mut self, link: usize, durable: Option<u64>) {
        let Some(held) = &mut self.links[link] else { return };
        assert!(held.agent.established.is_none(), "established twice");
        let (sender, receiver) = mpsc::channel(LIVE_SAMPLES_MAX);
        held.agent.established = Some(self.now);
        held.agent.live = Some(receiver);
        let index = held.net.agent;
        self.trace.note(self.now, "established", index, link as u64);
        self.agent_event(link, AgentEvent::Facts(Facts::default()));
        let instance = self.agents[index].instance;
        let known = durable.map(|sequence| Position { instance, sequence });
        self.agents[index].custody.as_mut().expect("a session of a running agent").opened(sender, known);
        self.ask_backfill(link);
    }

    /// Live samples out of the channel onto the stream, as far as the peer reads.
    pub(crate) fn pump_live(&mut self, link: usize) {
        loop {
            let Some(held) = &mut self.links[link] else { return };
            if held.net.under_way(Stream::Live) >= held.window || held.agent.is_ended {
                return;
            }
            let Some(sample) = held.agent.live.as_mut().and_then(|live| live.try_recv().ok()) else { return };
            let mut bytes = Vec::new();
            let encoder = held.agent.live_encoder.get_or_insert_with(|| {
                bytes = Block::Open(Lane::Control).to_bytes().expect("short");
                SampleEncoder::default()
            });
            encoder.encode(&sample, &mut bytes).expect("short");
            held.agent.sent_live.push_back(sample.position);
            self.send(link, Stream::Live, &bytes);
        }
    }

    /// The next batch of late samples, if there are any.
    fn ask_backfill(&mut self, link: usize) {
        let Some(held) = &mut self.links[link] else { return };
        held.agent.turn += 1;
        let (turn, index) = (held.agent.turn, held.net.agent);
        let Some(custody) = self.agents[index].custody.as_mut() else { return };
        let items = custody.next_batch();
        if items.is_empty() {
            self.at(self.now + SPOOL_LOOK, Event::BackfillLook { link, turn });
            return;
        }
        let Some(held) = &mut self.links[link] else { return };
        let mut bytes = Vec::new();
        let encoder = held.agent.backfill_encoder.get_or_insert_with(|| {
            bytes = Block::Open(Lane::Backfill).to_bytes().expect("short");
            SampleEncoder::default()
        });
        for item in &items {
            match item {
                LaneItem::Sample(sample) => encoder.encode(sample, &mut bytes).expect("short"),
                LaneItem::Gap(gap) => bytes.extend(Block::Gap(*gap).to_bytes().expect("short")),
            }
        }
        self.trace.note(self.now, "late batch", index, items.len() as u64);
        held.agent.batch = items;
        self.send(link, Stream::Backfill, &bytes);
        self.at(self.now + BATCH_TIMEOUT, Event::BackfillTimeout { link, turn });
    }

    pub(crate) fn backfill_look(&mut self, link: usize, turn: u64) {
        let is_due =
            |held: &Link| held.agent.turn == turn && !held.agent.is_ended && held.net.is_alive(End::Agent);
        if self.links[link].as_ref().is_some_and(is_due) {
            self.ask_backfill(link);
        }
    }

    /// Late samples were not acknowledged in time: the agent gives the session up.
    pub(crate) fn backfill_timeout(&mut self, link: usize, turn: u64) {
        let is_due = |held: &Link| held.agent.turn == turn && !held.agent.batch.is_empty();
        if self.links[link].as_ref().is_some_and(is_due) {
            self.trace.note(self.now, "batch timeout", link, turn);
            self.close(link, End::Agent);
            self.agent_session_over(link, None);
        }
    }

    /// An acknowledgement came: everything that it covers is on the aggregator's disk.
    pub(crate) fn acked(&mut self, link: usize, ack: &Ack) {
        let Some(held) = &mut self.links[link] else { return };
        let index = held.net.agent;
        self.trace.note(self.now, "acknowledged", index, ack.sequence);
        let mut is_batch_done = false;
        match ack.lane {
            Lane::Control => {
                let covered = |position: &Position| {
                    position.instance == ack.instance && position.sequence <= ack.sequence
                };
                while let Some(position) = held.agent.sent_live.pop_front_if(|position| covered(position)) {
                    self.oracle.acknowledged_tick(position);
                }
            }
            Lane::Backfill => {
                let last = Position { instance: ack.instance, sequence: ack.sequence };
                let found = held.agent.batch.iter().rposition(|item| item.end() == last);
                for item in &held.agent.batch[..found.map_or(0, |found| found + 1)] {
                    self.oracle.acknowledged(item);
                }
                is_batch_done = held.agent.batch.last().is_some_and(|item| item.end() == last);
            }
            Lane::Outcome | Lane::Alert => panic!("an acknowledgement of {:?}", ack.lane),
        }
        if is_batch_done {
            held.agent.batch.clear();
        }
        let custody = self.agents[index].custody.as_mut().expect("a session of a running agent");
        let before: Vec<Position> = custody.outbox().positions().collect();
        custody.acked(ack);
        let kept: std::collections::BTreeSet<Position> = custody.outbox().positions().collect();
        for position in before.into_iter().filter(|position| !kept.contains(position)) {
            self.oracle.acknowledged_tick(position);
        }
        if is_batch_done {
            self.ask_backfill(link);
        }
    }

    /// Gives the aggregator's machine one event and carries out what it says.
    pub(crate) fn aggregator_event(&mut self, link: usize, event: AggregatorEvent) {
        let now = self.steady();
        let Some(held) = &mut self.links[link] else { return };
        let mut effects = VecDeque::from(held.aggregator.state.apply(now, event));
        while let Some(effect) = effects.pop_front() {
            let Some(held) = &mut self.links[link] else { return };
            assert!(!held.aggregator.is_ended, "{effect:?} after the end");
            match effect {
                AggregatorEffect::Send(bytes) => self.send_control(link, End::Aggregator, &bytes),
                AggregatorEffect::Admit(hello) => {
                    let decision = self.admit(link, &hello);
                    let Some(held) = &mut self.links[link] else { return };
                    effects.extend(held.aggregator.state.apply(now, AggregatorEvent::Decided(decision)));
                }
                AggregatorEffect::Established => self.lanes_open(link),
                AggregatorEffect::Facts(_) => {
                    assert!(held.aggregator.is_begun, "facts before the session stands")
                }
                AggregatorEffect::Renew(_)
                | AggregatorEffect::Config(_)
                | AggregatorEffect::Proof(_)
                | AggregatorEffect::Transport(_) => {
                    panic!("nobody renews, is configured or tells of its transport here")
                }
                AggregatorEffect::End(end) => {
                    if let SessionEnd::Protocol(problem) = &end {
                        panic!("protocol error at the aggregator: {problem}");
                    }
                    held.aggregator.is_ended = true;
                    self.close(link, End::Aggregator);
                    self.aggregator_session_over(link, Some(&end));
                }
            }
        }
    }

    /// What came on streams of samples and was not read yet is read now.
    pub(crate) fn lanes_open(&mut self, link: usize) {
        for stream in [Stream::Live, Stream::Backfill] {
            self.at(self.now, Event::Arrive { link, stream: stream as u8 });
        }
    }

    /// The aggregator's end of a session is over.
    pub(crate) fn aggregator_session_over(&mut self, link: usize, end: Option<&SessionEnd>) {
        let Some(held) = &mut self.links[link] else { return };
        if !std::mem::take(&mut held.aggregator.is_begun) {
            return;
        }
        let is_orderly = matches!(
            end,
            Some(SessionEnd::Goodbye {
                reason: GoodbyeReason::Stopping | GoodbyeReason::Rebooting | GoodbyeReason::Retired,
                ..
            })
        );
        let (node, session) = (held.aggregator.node, held.aggregator.session);
        self.trace.note(self.now, "session over", held.net.agent, u64::from(is_orderly));
        self.session_ended(node, session, is_orderly);
    }

    /// An end closes the connection: the other learns of it behind what was sent before.
    pub(crate) fn close(&mut self, link: usize, end: End) {
        let Some(held) = &mut self.links[link] else { return };
        if !held.net.end(end) {
            return;
        }
        let control = if end == End::Agent { Stream::ControlUp } else { Stream::ControlDown };
        let told = held.net.last_arrival(control).clamp(self.now, self.now + GOODBYE_TIMEOUT);
        let delay = self.agents[held.net.agent].quality.delay(&mut self.random);
        self.at(told + delay, Event::Closed { link, is_agent: end != End::Agent });
    }

    /// The peer's close reaches an end, unless the path is cut: then silence tells.
    pub(crate) fn closed(&mut self, link: usize, end: End) {
        let Some(held) = &self.links[link] else { return };
        if self.agents[held.net.agent].cuts > 0 {
            let when = self.gives_up_at();
            self.at(when, Event::Idle { link, is_agent: end == End::Agent, silence: None });
            return;
        }
        self.lost(link, end);
    }

    /// An end goes away without a word.
    pub(crate) fn end_silently(&mut self, link: usize, end: End) {
        let Some(held) = &mut self.links[link] else { return };
        if !held.net.end(end) {
            return;
        }
        match end {
            End::Agent => held.agent.is_ended = true,
            End::Aggregator => held.aggregator.is_ended = true,
        }
        let when = self.gives_up_at();
        self.at(when, Event::Idle { link, is_agent: end != End::Agent, silence: None });
    }

    /// An end may have heard nothing for the idle timeout.
    pub(crate) fn idle(&mut self, link: usize, end: End, silence: Option<u64>) {
        let Some(held) = &self.links[link] else { return };
        if silence.is_none_or(|silence| self.agents[held.net.agent].silence == silence) {
            self.lost(link, end);
        }
    }

    /// The connection is over for one end.
    fn lost(&mut self, link: usize, end: End) {
        let Some(held) = &mut self.links[link] else { return };
        if held.net.is_alive(end) {
            self.trace.note(self.now, "lost", link, end as u64);
            self.end_silently(link, end);
            match end {
                End::Agent => self.agent_session_over(link, None),
                End::Aggregator => self.aggregator_session_over(link, None),
            }
        }
        if let Some(held) = &self.links[link]
            && !held.net.is_alive(End::Agent)
            && !held.net.is_alive(End::Aggregator)
        {
            self.links[link] = None;
        }
    }
}
