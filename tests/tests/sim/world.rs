//! One fleet in one thread: the queue of what happens next, and the clock that it moves.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::Path;

use campanile_common::id::FleetId;
use campanile_common::sample::{Scale, Schema, Series, SeriesKind};
use campanile_common::time::Timestamp;

use crate::agent::Agent;
use crate::aggregator::Aggregator;
use crate::fault::Fault;
use crate::net::{End, Stream};
use crate::oracle::Oracle;
use crate::session::Link;
use crate::trace::Trace;
use campanile_tests::random::Random;

pub(crate) const AGENTS: usize = 28;
pub(crate) const FLEET: FleetId = FleetId::from_bytes([7; 16]);
/// Virtual zero on a clock that is right.
const EPOCH_MS: u64 = 1_800_000_000_000;
/// Longest time until a healed fleet is whole again: the longest back-off and the handshake before it, the wait for
/// a lost acknowledgement of late samples, and the look at the spool that follows.
const HEALED_WITHIN: u64 = 150_000;

/// What happens at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    Tick {
        agent: usize,
        life: u32,
    },
    Dial {
        agent: usize,
        life: u32,
    },
    Handshake {
        agent: usize,
        life: u32,
        dialled: u64,
    },
    Arrive {
        link: usize,
        stream: u8,
    },
    /// An end heard nothing for the idle timeout; `silence` numbers the cut of the path that it is about.
    Idle {
        link: usize,
        is_agent: bool,
        silence: Option<u64>,
    },
    Closed {
        link: usize,
        is_agent: bool,
    },
    BackfillLook {
        link: usize,
        turn: u64,
    },
    BackfillTimeout {
        link: usize,
        turn: u64,
    },
    Sync {
        run: u64,
    },
    Look {
        run: u64,
    },
    Judge {
        run: u64,
    },
    Fault(Fault),
    Undo(Fault),
}

/// Everything there is.
pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) random: Random,
    pub(crate) trace: Trace,
    queue: BinaryHeap<Reverse<(u64, u64, Event)>>,
    order: u64,
    pub(crate) agents: Vec<Agent>,
    pub(crate) aggregator: Aggregator,
    /// By number; none once both ends are gone.
    pub(crate) links: Vec<Option<Link>>,
    pub(crate) oracle: Oracle,
    pub(crate) schema: Schema,
    pub(crate) chaos_ends: u64,
    pub(crate) is_healed: bool,
    pub(crate) steps: u64,
}

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Outcome {
    pub(crate) hash: u64,
    pub(crate) steps: u64,
    pub(crate) durable: u64,
    pub(crate) declared: u64,
    pub(crate) lost: u64,
    pub(crate) again: u64,
    pub(crate) healed_in: u64,
}

impl World {
    pub(crate) fn new(seed: u64, folder: &Path, is_shown: bool) -> Self {
        let mut random = Random::of_case(0, seed);
        let series = |name: &str| Series {
            name: name.to_owned(),
            labels: Vec::new(),
            kind: SeriesKind::Gauge,
            scale: Scale::ONE,
        };
        let agents = (0..AGENTS).map(|index| Agent::new(index, folder, &mut random)).collect();
        let aggregator = Aggregator::new(folder.join("series"));
        let mut world = Self {
            now: 0,
            random,
            trace: Trace::new(is_shown),
            queue: BinaryHeap::new(),
            order: 0,
            agents,
            aggregator,
            links: Vec::new(),
            oracle: Oracle::default(),
            schema: vec![series("node_load1"), series("node_load5"), series("node_load15")].into(),
            chaos_ends: 0,
            is_healed: false,
            steps: 0,
        };
        world.start_aggregator();
        for agent in 0..AGENTS {
            world.start_agent(agent);
        }
        world
    }

    /// Lives through the chaos, heals everything, and sees that all comes right.
    pub(crate) fn run(mut self) -> Outcome {
        let chaos = self.random.between(35_000, 60_000);
        self.chaos_ends = chaos;
        self.draw_faults();
        self.run_until(chaos);
        self.heal();
        while !self.is_whole() {
            let late = self.now > chaos + HEALED_WITHIN;
            assert!(!late, "not whole {} s after everything healed: {}", HEALED_WITHIN / 1000, self.lack());
            self.run_until(self.now + 500);
        }
        self.check_end();
        let oracle = &self.oracle;
        Outcome {
            hash: self.trace.hash(),
            steps: self.steps,
            durable: oracle.durable,
            declared: oracle.declared,
            lost: oracle.lost,
            again: oracle.again,
            healed_in: self.now - chaos,
        }
    }

    fn run_until(&mut self, end: u64) {
        while let Some(Reverse((at, _, event))) = self.queue.pop() {
            if at > end {
                self.order += 1;
                self.queue.push(Reverse((at, self.order, event)));
                break;
            }
            self.now = at;
            self.steps += 1;
            self.handle(event);
        }
        self.now = end;
    }

    pub(crate) fn at(&mut self, when: u64, event: Event) {
        self.order += 1;
        self.queue.push(Reverse((when.max(self.now), self.order, event)));
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Tick { agent, life } => self.tick(agent, life),
            Event::Dial { agent, life } => self.dial(agent, life),
            Event::Handshake { agent, life, dialled } => self.handshake(agent, life, dialled),
            Event::Arrive { link, stream } => self.arrive(link, Stream::ALL[usize::from(stream)]),
            Event::Idle { link, is_agent, silence } => self.idle(link, end_of(is_agent), silence),
            Event::Closed { link, is_agent } => self.closed(link, end_of(is_agent)),
            Event::BackfillLook { link, turn } => self.backfill_look(link, turn),
            Event::BackfillTimeout { link, turn } => self.backfill_timeout(link, turn),
            Event::Sync { run } => self.sync(run),
            Event::Look { run } => self.look(run),
            Event::Judge { run } => self.judge(run),
            Event::Fault(fault) => self.begin_fault(fault),
            Event::Undo(fault) => self.end_fault(fault),
        }
    }

    /// What a clock that is off by so much shows.
    pub(crate) const fn clock(&self, offset_ms: i64) -> Timestamp {
        Timestamp::from_millis((EPOCH_MS + self.now).saturating_add_signed(offset_ms))
    }

    /// A clock that nobody sets.
    pub(crate) const fn steady(&self) -> Timestamp {
        Timestamp::from_millis(self.now)
    }

    /// Every node is online, and nothing waits but what was sampled in the last seconds.
    fn is_whole(&self) -> bool {
        self.aggregator.all_online()
            && self.agents.iter().all(Agent::is_drained)
            && self.unsettled().is_none()
    }

    fn unsettled(&self) -> Option<campanile_common::sample::Position> {
        let held: std::collections::BTreeSet<_> = self.agents.iter().flat_map(Agent::outbox).collect();
        self.oracle.unsettled(|position| held.contains(&position))
    }

    fn lack(&self) -> String {
        let agents = self.agents.iter().filter(|agent| !agent.is_drained()).map(Agent::describe);
        format!(
            "{}; spools: {:?}; nowhere: {:?}",
            self.aggregator.describe(),
            agents.collect::<Vec<_>>(),
            self.unsettled()
        )
    }

    fn check_end(&mut self) {
        for agent in &self.agents {
            self.oracle.check_coverage(agent.node, &self.aggregator.recent.coverage(agent.node));
        }
        // What is on the disk is what was acknowledged, also for whoever reads it next.
        self.kill_aggregator(false);
        self.start_aggregator();
        for agent in &self.agents {
            self.oracle.check_coverage(agent.node, &self.aggregator.recent.coverage(agent.node));
        }
    }
}

pub(crate) const fn end_of(is_agent: bool) -> End {
    if is_agent { End::Agent } else { End::Aggregator }
}
