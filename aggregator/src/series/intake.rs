//! Which ticks of a node are here, which its agent declared lost, which are neither.
//!
//! Invariant: a tick is counted once, as received or as gap, however often and in whatever order it comes.

use std::collections::VecDeque;

use campanile_common::api::{Coverage, RunCoverage};
use campanile_common::id::InstanceId;
use campanile_common::sample::{Gap, Position};
use campanile_common::time::Timestamp;

/// Runs of an agent that are accounted for; older ones are forgotten. An agent that restarts every minute for an hour
/// stays below.
const RUNS_MAX: usize = 64;
/// Separate stretches kept of one run. Past it the oldest is forgotten, and with it what came before; only an agent that
/// loses every second sample for minutes comes near.
const STRETCHES_MAX: usize = 512;

/// A set of numbers as sorted, disjoint, non-adjacent ranges with both ends included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stretches(Vec<(u64, u64)>);

impl Stretches {
    /// Adds a range; returns how many numbers are new.
    fn insert(&mut self, first: u64, last: u64) -> u64 {
        // Ranges that touch or overlap the new one: those that do not end before it or begin after it.
        let begin = self.0.partition_point(|(_, end)| end.saturating_add(1) < first);
        let end = self.0.partition_point(|(start, _)| *start <= last.saturating_add(1));
        let touched = &self.0[begin..end];
        let known: u64 = touched.iter().map(|(a, b)| (b.min(&last) + 1).saturating_sub(*a.max(&first))).sum();
        let merged = (
            touched.first().map_or(first, |(a, _)| first.min(*a)),
            touched.last().map_or(last, |(_, b)| last.max(*b)),
        );
        self.0.splice(begin..end, [merged]);
        if self.0.len() > STRETCHES_MAX {
            self.0.remove(0);
        }
        last - first + 1 - known
    }

    fn contains(&self, number: u64) -> bool {
        let index = self.0.partition_point(|(_, end)| *end < number);
        self.0.get(index).is_some_and(|(start, _)| *start <= number)
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// How many numbers of `first..=last` are in it.
    fn count_within(&self, first: u64, last: u64) -> u64 {
        self.0.iter().map(|(a, b)| (b.min(&last) + 1).saturating_sub(*a.max(&first))).sum()
    }
}

#[derive(Debug)]
struct Run {
    instance: InstanceId,
    received: Stretches,
    /// Received or declared lost.
    accounted: Stretches,
    first_time: Timestamp,
    last_time: Timestamp,
}

/// Account of one node.
#[derive(Debug, Default)]
pub(super) struct Intake {
    /// In the order in which they were first heard of.
    runs: VecDeque<Run>,
}

impl Intake {
    /// True when this tick is here already or was given up.
    pub(super) fn is_known(&self, position: Position) -> bool {
        self.run(position.instance).is_some_and(|run| run.received.contains(position.sequence))
    }

    /// Takes a sample in; false when it was here already.
    pub(super) fn sample(&mut self, position: Position, time: Timestamp) -> bool {
        let run = self.run_mut(position.instance, time);
        run.accounted.insert(position.sequence, position.sequence);
        let is_new = run.received.insert(position.sequence, position.sequence) > 0;
        run.first_time = run.first_time.min(time);
        run.last_time = run.last_time.max(time);
        is_new
    }

    /// Takes in that ticks are lost; returns how many were not accounted for before.
    pub(super) fn gap(&mut self, gap: &Gap, now: Timestamp) -> u64 {
        self.run_mut(gap.instance, now).accounted.insert(gap.first, gap.last)
    }

    /// All ticks of this run up to here are accounted for. None while its beginning is not here: an agent may still hold
    /// that in its spool.
    pub(super) fn accounted_to(&self, instance: InstanceId) -> Option<u64> {
        let (first, last) = self.run(instance)?.accounted.0.first()?;
        (*first == 0).then_some(*last)
    }

    /// The account, for the API. Time between two runs is turned into ticks of the earlier run's mean interval.
    pub(super) fn coverage(&self) -> Coverage {
        let runs: Vec<RunCoverage> = self.runs.iter().filter_map(Run::coverage).collect();
        let mut by_time: Vec<&RunCoverage> = runs.iter().collect();
        by_time.sort_by_key(|run| run.first_time);
        let not_running = by_time
            .windows(2)
            .map(|pair| {
                let pause = pair[1].first_time.since(pair[0].last_time).as_millis();
                let interval_ms = mean_interval_ms(pair[0]);
                // From one sample to the next is one interval; every further one is a tick nobody took.
                let intervals =
                    u64::try_from(pause).unwrap_or(u64::MAX).saturating_add(interval_ms / 2) / interval_ms;
                intervals.saturating_sub(1)
            })
            .sum();
        Coverage { runs, not_running }
    }

    fn run(&self, instance: InstanceId) -> Option<&Run> {
        self.runs.iter().rev().find(|run| run.instance == instance)
    }

    fn run_mut(&mut self, instance: InstanceId, time: Timestamp) -> &mut Run {
        let index = self.runs.iter().rposition(|run| run.instance == instance).unwrap_or_else(|| {
            if self.runs.len() == RUNS_MAX {
                self.runs.pop_front();
            }
            self.runs.push_back(Run {
                instance,
                received: Stretches::default(),
                accounted: Stretches::default(),
                first_time: time,
                last_time: time,
            });
            self.runs.len() - 1
        });
        &mut self.runs[index]
    }
}

/// Time between two ticks of a run; a second where it has but one.
fn mean_interval_ms(run: &RunCoverage) -> u64 {
    let span = u64::try_from(run.last_time.since(run.first_time).as_millis()).unwrap_or(u64::MAX);
    span.checked_div(run.last - run.first).filter(|interval| *interval > 0).unwrap_or(1000)
}

impl Run {
    fn coverage(&self) -> Option<RunCoverage> {
        let (first, last) = (self.accounted.0.first()?.0, self.accounted.0.last()?.1);
        let (received, accounted) = (self.received.count(), self.accounted.count());
        Some(RunCoverage {
            instance: self.instance,
            first,
            last,
            received,
            gaps: accounted - self.received.count_within(first, last),
            missing: last - first + 1 - accounted,
            first_time: self.first_time,
            last_time: self.last_time,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_common::sample::GapReason;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const RUN: InstanceId = InstanceId::from_bytes([1; 8]);

    proptest! {
        #[test]
        fn stretches_are_a_set_of_numbers(
            ranges in proptest::collection::vec((0_u64..200, 0_u64..20), 0..60),
        ) {
            let (mut stretches, mut numbers) = (Stretches::default(), BTreeSet::new());
            for (first, length) in ranges {
                let new = (first..=first + length).filter(|number| numbers.insert(*number)).count();
                prop_assert_eq!(stretches.insert(first, first + length), new as u64);
                prop_assert_eq!(stretches.count(), numbers.len() as u64);
                prop_assert!(stretches.0.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "disjoint and sorted");
            }
            for number in 0..250 {
                prop_assert_eq!(stretches.contains(number), numbers.contains(&number));
            }
        }
    }

    fn position(sequence: u64) -> Position {
        Position { instance: RUN, sequence }
    }

    fn at(second: u64) -> Timestamp {
        Timestamp::from_millis(second * 1000)
    }

    #[test]
    fn a_sample_that_comes_twice_counts_once() {
        let mut intake = Intake::default();
        assert!(intake.sample(position(7), at(7)));
        assert!(!intake.sample(position(7), at(7)));
        assert_eq!(intake.coverage().runs[0].received, 1);
    }

    #[test]
    fn every_tick_is_received_declared_or_missing() {
        let mut intake = Intake::default();
        for sequence in [0, 1, 2, 5, 9] {
            intake.sample(position(sequence), at(sequence));
        }
        let gap = Gap { instance: RUN, first: 2, last: 4, reason: GapReason::Evicted };
        assert_eq!(intake.gap(&gap, at(9)), 2, "tick 2 is here");
        let run = intake.coverage().runs[0].clone();
        assert_eq!((run.received, run.gaps, run.missing), (5, 2, 3));
        assert_eq!(intake.accounted_to(RUN), Some(5));
    }

    #[test]
    fn a_run_whose_beginning_is_missing_is_accounted_for_up_to_nowhere() {
        let mut intake = Intake::default();
        intake.sample(position(500), at(500));
        assert_eq!(intake.accounted_to(RUN), None, "ticks 0 to 499 may still be in the spool");
        let gap = Gap { instance: RUN, first: 0, last: 499, reason: GapReason::Evicted };
        intake.gap(&gap, at(501));
        assert_eq!(intake.accounted_to(RUN), Some(500));
    }

    #[test]
    fn ticks_between_two_runs_are_counted() {
        let mut intake = Intake::default();
        intake.sample(position(0), at(100));
        intake.sample(Position { instance: InstanceId::from_bytes([2; 8]), sequence: 0 }, at(105));
        assert_eq!(intake.coverage().not_running, 4);
    }
}
