//! Collectors that fail on demand, and what all samples have in common.

mod fixtures;
mod live;

use super::*;
use crate::metrics::collector::readings::Slot;
use campanile_common::sample::Schema;

/// Gives one reading, or fails or panics in the rounds it is told to.
struct Scripted {
    name: &'static str,
    slot: Option<Slot>,
    round: usize,
    fails_in: Option<usize>,
    panics_in: Option<usize>,
}

static READING: &[Family] = &[Family::gauge("node_test", Scale::ONE)];

impl Scripted {
    fn named(name: &'static str) -> Self {
        Self { name, slot: None, round: 0, fails_in: None, panics_in: None }
    }
}

impl Collector for Scripted {
    fn name(&self) -> &'static str {
        self.name
    }

    fn collect(&mut self, _round: &mut Round<'_>, readings: &mut Readings) -> Result<Outcome, CollectError> {
        self.round += 1;
        let slot = *self.slot.get_or_insert_with(|| readings.add(READING, &[("of", self.name)]).unwrap());
        readings.set(slot, 0, 5);
        assert_ne!(Some(self.round), self.panics_in, "on purpose");
        if Some(self.round) == self.fails_in {
            return Err(CollectError::Malformed { what: "this test" });
        }
        Ok(Outcome::Complete)
    }

    fn forget(&mut self) {
        self.slot = None;
    }
}

fn settings() -> SamplerSettings {
    SamplerSettings::new(InstanceId::from_bytes([1; 8]))
}

fn reading(sample: &Sample, name: &str, label: (&str, &str)) -> Option<i64> {
    let index = sample.schema.iter().position(|s| s.name == name && s.label(label.0) == Some(label.1))?;
    sample.readings[index]
}

fn rounds(collectors: Vec<Box<dyn Collector>>, count: u64) -> Vec<Sample> {
    let mut sampler = Sampler::with_collectors(settings(), collectors);
    (0..count).map(|tick| sampler.sample(tick, Timestamp::from_millis(tick * 1000))).collect()
}

#[test]
fn a_failing_collector_costs_only_its_own_values_of_that_round() {
    let samples = rounds(
        vec![
            Box::new(Scripted { fails_in: Some(2), ..Scripted::named("bad") }),
            Box::new(Scripted::named("good")),
        ],
        3,
    );
    let success = "campanile_agent_collector_success";
    for (sample, expected) in samples.iter().zip([Some(5), None, Some(5)]) {
        assert_eq!(reading(sample, "node_test", ("of", "bad")), expected);
        assert_eq!(reading(sample, success, ("collector", "bad")), Some(expected.is_some().into()));
        assert_eq!(reading(sample, "node_test", ("of", "good")), Some(5));
        assert_eq!(reading(sample, success, ("collector", "good")), Some(1));
    }
}

#[test]
fn a_panicking_collector_costs_only_its_own_values_of_that_round() {
    let samples = rounds(
        vec![
            Box::new(Scripted { panics_in: Some(1), ..Scripted::named("bad") }),
            Box::new(Scripted::named("good")),
        ],
        2,
    );
    assert_eq!(reading(&samples[0], "node_test", ("of", "bad")), None);
    assert_eq!(reading(&samples[0], "campanile_agent_collector_success", ("collector", "bad")), Some(0));
    assert_eq!(reading(&samples[0], "node_test", ("of", "good")), Some(5));
    assert_eq!(reading(&samples[1], "node_test", ("of", "bad")), Some(5));
}

#[test]
fn the_schema_is_one_allocation_while_series_stay() {
    let samples = rounds(vec![Box::new(Scripted::named("good"))], 200);
    let first: &Schema = &samples[0].schema;
    assert!(samples.iter().all(|sample| Arc::ptr_eq(first, &sample.schema)));
    assert_eq!(samples[7].position, Position { instance: InstanceId::from_bytes([1; 8]), sequence: 7 });
    assert_eq!(samples[7].time, Timestamp::from_millis(7000));
}

#[test]
fn the_number_of_series_counts_itself() {
    let samples = rounds(vec![Box::new(Scripted::named("good"))], 1);
    let total = samples[0].values().find(|(series, _)| series.name == "campanile_agent_series");
    assert_eq!(total.map(|(_, value)| value.to_string()), Some(samples[0].schema.len().to_string()));
}

#[test]
fn no_series_is_there_twice() {
    let mut sampler = Sampler::new(settings());
    let sample = sampler.sample(0, Timestamp::default());
    let mut keys: Vec<_> = sample.schema.iter().map(|series| (&series.name, &series.labels)).collect();
    keys.sort();
    let count = keys.len();
    keys.dedup();
    assert_eq!(keys.len(), count);
}

#[test]
fn the_name_of_the_system_is_read_with_and_without_quotes() {
    assert_eq!(pretty_name("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n"), "Debian GNU/Linux 12");
    assert_eq!(pretty_name("PRETTY_NAME=Alpine\n"), "Alpine");
    assert_eq!(pretty_name("\n"), "");
}
