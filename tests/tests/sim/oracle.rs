//! What is true, kept beside the code under test: which ticks were sampled, which are on the aggregator's disk, which
//! were declared lost or went with the memory of a killed agent.

use std::collections::BTreeMap;

use campanile_common::api::Coverage;
use campanile_common::connection::LaneItem;
use campanile_common::id::{InstanceId, NodeId};
use campanile_common::sample::{Gap, GapReason, Position, Sample, Schema};
use campanile_common::time::Timestamp;

use campanile_tests::random::mix;

/// What became of a tick.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tick {
    /// When it was sampled; none for one that a stalled sampler missed.
    time: Option<Timestamp>,
    is_durable: bool,
    is_acknowledged: bool,
    is_declared: bool,
    /// Only the memory of an agent that was killed held it.
    is_lost: bool,
}

#[derive(Debug)]
struct Run {
    node: NodeId,
    /// Its spool could not be written for a time.
    had_full_disk: bool,
    may_evict: bool,
    ticks: Vec<Tick>,
}

/// The truth.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    runs: BTreeMap<InstanceId, Run>,
    /// What the run reached, so that a harmless one is noticed.
    pub(crate) durable: u64,
    pub(crate) declared: u64,
    pub(crate) lost: u64,
    pub(crate) again: u64,
}

/// The readings of a tick follow from its position, so that any copy can be checked.
pub(crate) fn readings(position: Position, schema: &Schema) -> Vec<Option<i64>> {
    let run = u64::from_be_bytes(*position.instance.as_bytes());
    (0..schema.len() as u64)
        .map(|index| {
            let number = mix(run ^ mix(position.sequence) ^ index);
            (!number.is_multiple_of(7)).then(|| (number >> (number % 48)).cast_signed())
        })
        .collect()
}

impl Oracle {
    pub(crate) fn begin(&mut self, node: NodeId, instance: InstanceId, may_evict: bool) {
        self.runs.insert(instance, Run { node, had_full_disk: false, may_evict, ticks: Vec::new() });
    }

    fn run(&mut self, instance: InstanceId) -> &mut Run {
        self.runs.get_mut(&instance).expect("only runs that began have ticks")
    }

    fn tick(&mut self, position: Position) -> &mut Tick {
        let index = usize::try_from(position.sequence).expect("short runs");
        let run = self.runs.get_mut(&position.instance);
        run.and_then(|run| run.ticks.get_mut(index))
            .unwrap_or_else(|| panic!("{position:?} was never sampled"))
    }

    pub(crate) fn sampled(&mut self, position: Position, time: Timestamp) {
        let ticks = &mut self.run(position.instance).ticks;
        assert_eq!(ticks.len() as u64, position.sequence, "ticks are numbered one by one");
        ticks.push(Tick { time: Some(time), ..Tick::default() });
    }

    pub(crate) fn missed(&mut self, gap: Gap) {
        for _ in gap.first..=gap.last {
            self.run(gap.instance).ticks.push(Tick::default());
        }
    }

    pub(crate) fn disk_full(&mut self, instance: InstanceId) {
        self.run(instance).had_full_disk = true;
    }

    /// The aggregator made an item durable.
    pub(crate) fn written(&mut self, node: NodeId, item: &LaneItem) {
        match item {
            LaneItem::Sample(sample) => {
                self.check_sample(node, sample);
                let tick = self.tick(sample.position);
                let is_new = !std::mem::replace(&mut tick.is_durable, true);
                self.durable += u64::from(is_new);
                self.again += u64::from(!is_new);
            }
            LaneItem::Gap(gap) => self.declared(node, gap),
        }
    }

    fn declared(&mut self, node: NodeId, gap: &Gap) {
        let run = self.run(gap.instance);
        assert_eq!(run.node, node, "a gap of another node");
        match gap.reason {
            GapReason::SpoolFailed => assert!(run.had_full_disk, "{gap:?}, and its disk was never full"),
            GapReason::Evicted => assert!(run.may_evict, "{gap:?}, and its spool never was"),
            GapReason::Stalled => {}
            GapReason::Damaged => panic!("{gap:?}, and nothing was damaged"),
        }
        for sequence in gap.first..=gap.last {
            let tick = self.tick(Position { instance: gap.instance, sequence });
            assert!(
                (gap.reason == GapReason::Stalled) == tick.time.is_none(),
                "tick {sequence} of {gap:?} was sampled at {:?}",
                tick.time
            );
            let is_new = !std::mem::replace(&mut tick.is_declared, true);
            self.declared += u64::from(is_new);
        }
    }

    /// Bit for bit what was sampled.
    pub(crate) fn check_sample(&mut self, node: NodeId, sample: &Sample) {
        assert_eq!(self.run(sample.position.instance).node, node, "a sample of another node");
        let time = self.tick(sample.position).time;
        assert_eq!(time, Some(sample.time), "time of {:?}", sample.position);
        let expected = readings(sample.position, &sample.schema);
        assert_eq!(sample.readings, expected, "readings of {:?}", sample.position);
    }

    /// An acknowledgement of these reached an agent.
    pub(crate) fn acknowledged(&mut self, item: &LaneItem) {
        match item {
            LaneItem::Sample(sample) => self.acknowledged_tick(sample.position),
            LaneItem::Gap(gap) => {
                for sequence in gap.first..=gap.last {
                    let tick = *self.tick(Position { instance: gap.instance, sequence });
                    assert!(tick.is_declared, "{gap:?} is acknowledged and not on the aggregator's disk");
                }
            }
        }
    }

    pub(crate) fn acknowledged_tick(&mut self, position: Position) {
        let tick = self.tick(position);
        assert!(tick.is_durable, "{position:?} is acknowledged and not on the aggregator's disk");
        tick.is_acknowledged = true;
    }

    /// An agent was killed: what its memory held and the aggregator has not is lost, unless a copy that is under way
    /// still comes.
    pub(crate) fn killed(&mut self, memory: impl Iterator<Item = Position>, gaps: impl Iterator<Item = Gap>) {
        let gaps = gaps.flat_map(|gap| {
            (gap.first..=gap.last).map(move |sequence| Position { instance: gap.instance, sequence })
        });
        for position in memory.chain(gaps) {
            self.tick(position).is_lost = true;
            self.lost += 1;
        }
    }

    /// The aggregator started anew and found this on its disk.
    pub(crate) fn check_disk(&self, found: &BTreeMap<Position, bool>) {
        for (instance, run) in &self.runs {
            for (sequence, tick) in (0..).zip(&run.ticks) {
                let position = Position { instance: *instance, sequence };
                if tick.is_durable || tick.is_acknowledged {
                    assert_eq!(
                        found.get(&position),
                        Some(&true),
                        "{position:?} was on the aggregator's disk"
                    );
                }
            }
        }
    }

    /// Ticks that are neither here nor declared nor lost, except those that `is_held` by their agent.
    pub(crate) fn unsettled(&self, is_held: impl Fn(Position) -> bool) -> Option<Position> {
        self.runs.iter().find_map(|(instance, run)| {
            (0..).zip(&run.ticks).find_map(|(sequence, tick)| {
                let position = Position { instance: *instance, sequence };
                let is_settled = tick.is_durable || tick.is_declared || tick.is_lost || is_held(position);
                (!is_settled).then_some(position)
            })
        })
    }

    /// The aggregator's own account of a node says the same.
    pub(crate) fn check_coverage(&self, node: NodeId, coverage: &Coverage) {
        for (instance, run) in self.runs.iter().filter(|(_, run)| run.node == node) {
            let known = |tick: &Tick| tick.is_durable || tick.is_declared;
            let Some(first) = run.ticks.iter().position(known) else { continue };
            let last = run.ticks.iter().rposition(known).expect("there is a first");
            let within = &run.ticks[first..=last];
            let count =
                |claim: &dyn Fn(&Tick) -> bool| within.iter().filter(|tick| claim(tick)).count() as u64;
            let found = coverage.runs.iter().find(|found| found.instance == *instance);
            let found = found.unwrap_or_else(|| panic!("run {instance} is not in the account"));
            assert_eq!((found.first, found.last), (first as u64, last as u64), "bounds of run {instance}");
            assert_eq!(found.received, count(&|tick| tick.is_durable), "received of run {instance}");
            let declared = |tick: &Tick| tick.is_declared && !tick.is_durable;
            assert_eq!(found.gaps, count(&declared), "gaps of run {instance}");
            assert_eq!(found.missing, count(&|tick| !known(tick)), "missing of run {instance}");
            let silent = within.iter().filter(|tick| !known(tick) && !tick.is_lost).count();
            assert_eq!(silent, 0, "ticks of run {instance} are missing without a reason");
        }
    }
}
