//! The machine the tests run on. Its values move, so each is bracketed by two readings of its own.

use super::super::*;
use campanile_common::sample::SeriesKind;
use std::collections::BTreeMap;

fn meminfo(key: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
}

fn uptime_jiffies() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap();
    text.lines().next().unwrap().split_whitespace().skip(1).take(8).map(|n| n.parse::<f64>().unwrap()).sum()
}

fn sampler() -> Sampler {
    Sampler::new(SamplerSettings::new(InstanceId::from_bytes([3; 8])))
}

fn sum(sample: &Sample, name: &str) -> f64 {
    sample.values().filter(|(series, _)| series.name == name).map(|(_, value)| value).sum()
}

#[test]
fn values_are_within_one_per_cent_of_proc() {
    let read = || {
        let keys = ["MemTotal:", "MemFree:", "MemAvailable:", "Cached:"];
        let mut values = keys.map(meminfo).to_vec();
        values.push(uptime_jiffies() / 100.0);
        values
    };
    let before = read();
    let sample = sampler().sample(0, Timestamp::default());
    let after = read();
    let names = ["MemTotal", "MemFree", "MemAvailable", "Cached"];
    let mut found: Vec<f64> =
        names.iter().map(|name| sum(&sample, &format!("node_memory_{name}_bytes"))).collect();
    found.push(sum(&sample, "node_cpu_seconds_total"));
    for ((before, after), found) in before.iter().zip(&after).zip(&found) {
        let (low, high) = (before.min(*after) * 0.99, before.max(*after) * 1.01);
        assert!((low..=high).contains(found), "{found} is not within {low} and {high}");
    }
}

#[test]
fn counters_never_fall() {
    let mut sampler = sampler();
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    for tick in 0..200 {
        let sample = sampler.sample(tick, Timestamp::default());
        for (series, reading) in sample.schema.iter().zip(&sample.readings) {
            let (SeriesKind::Counter, Some(reading)) = (series.kind, *reading) else { continue };
            let key = format!("{} {:?}", series.name, series.labels);
            let earlier = last.insert(key, reading).unwrap_or(reading);
            assert!(
                reading >= earlier,
                "{} {:?} fell from {earlier} to {reading}",
                series.name,
                series.labels
            );
        }
    }
    assert!(last.len() > 20, "only {} counters", last.len());
}

#[test]
fn a_settled_sampler_gives_at_least_sixty_values_under_one_schema() {
    let mut sampler = sampler();
    let mut sample = sampler.sample(0, Timestamp::default());
    for tick in 1..50 {
        let next = sampler.sample(tick, Timestamp::default());
        let is_same = Arc::ptr_eq(&sample.schema, &next.schema);
        assert!(is_same || next.schema.len() > sample.schema.len(), "a new schema without a new series");
        assert_eq!(next.schema[..sample.schema.len()], sample.schema[..], "series keep their places");
        sample = next;
    }
    assert!(sample.values().count() >= 60, "{} values", sample.values().count());
}
