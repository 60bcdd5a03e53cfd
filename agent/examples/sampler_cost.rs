//! Prints what a round of samples costs on this machine: processor time per round, values, memory.
//!
//! `sampler_cost [ROUNDS] [INTERVAL_MS]`; the first rounds, which open files and find devices, do not count.

use std::time::Duration;

use campanile_agent::metrics::sampler::{Sampler, SamplerSettings};
use campanile_agent::os::stopwatch::{pause, process_cpu_time};
use campanile_common::id::InstanceId;
use campanile_common::sample::Sample;
use campanile_common::time::Timestamp;

const WARM_UP_ROUNDS: u64 = 12;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| arguments.next().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (rounds, interval) = (number(60).max(1), Duration::from_millis(number(1000)));
    let mut sampler = Sampler::new(SamplerSettings::new(InstanceId::from_bytes([0; 8])));
    let mut last = None;
    for tick in 0..WARM_UP_ROUNDS {
        last = Some(sampler.sample(tick, Timestamp::default()));
        pause(interval);
    }
    let before = process_cpu_time();
    for tick in WARM_UP_ROUNDS..WARM_UP_ROUNDS + rounds {
        last = Some(sampler.sample(tick, Timestamp::default()));
        pause(interval);
    }
    let used = process_cpu_time().saturating_sub(before);
    let last = last.expect("at least one round has run");
    println!("rounds {rounds}");
    println!("cpu_us_per_round {:.1}", used.as_secs_f64() * 1e6 / Duration::from_secs(rounds).as_secs_f64());
    println!("series {}", last.schema.len());
    println!("values {}", last.values().count());
    if std::env::var_os("SAMPLER_COST_VALUES").is_some() {
        print_values(&last);
    }
}

fn print_values(sample: &Sample) {
    for (series, value) in sample.values() {
        let labels: Vec<String> =
            series.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        println!("{}{{{}}} {value}", series.name, labels.join(","));
    }
}
