//! An aggregator that is killed again and again, while agents report and people work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use campanile_tests::support::{Api, LocalFleet, within};
use serde_json::{Value, json};

use super::liveness::no_second_is_unaccounted;

const KILLS: u32 = 100;
const NODES: [&str; 4] = ["a", "b", "c", "d"];

/// What the aggregator said it keeps.
#[derive(Debug, Default)]
struct Acknowledged {
    /// The newest value of the label `step` per node.
    labels: BTreeMap<&'static str, u64>,
    tokens: BTreeSet<String>,
    audited: u64,
}

/// Writes labels and tokens until told to stop.
fn work(api: &Api, is_over: &AtomicBool, done: &Mutex<Acknowledged>) {
    for step in 1_u64.. {
        if is_over.load(Ordering::Acquire) {
            return;
        }
        let index = usize::try_from(step).unwrap() % NODES.len();
        let node = NODES[index];
        let patch = json!({ "labels": { "step": step.to_string() } });
        let labelled = api.send("PATCH", &format!("/api/v1/nodes/{node}"), Some(&patch));
        if labelled.is_ok_and(|answer| answer.status == 200) {
            let mut done = done.lock().unwrap();
            done.labels.insert(node, step);
            done.audited += 1;
        }
        let request = json!({ "ttlSeconds": 3600, "uses": 1 });
        if let Ok(answer) = api.send("POST", "/api/v1/tokens", Some(&request))
            && answer.status < 300
        {
            let created: Value = serde_json::from_str(&answer.text).unwrap();
            let mut done = done.lock().unwrap();
            done.tokens.insert(created["tokenId"].as_str().unwrap().to_owned());
            done.audited += 1;
        }
    }
}

fn all_tokens(api: &Api) -> BTreeSet<String> {
    let mut tokens = BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let page = api.get(&format!("/api/v1/tokens?limit=500{cursor}")).json();
        for token in page["items"].as_array().unwrap() {
            tokens.insert(token["tokenId"].as_str().unwrap().to_owned());
        }
        let Some(next) = page["nextCursor"].as_str() else { return tokens };
        cursor = format!("&cursor={next}");
    }
}

#[test]
fn a_hundred_kills_lose_nothing_that_was_acknowledged() {
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&NODES);
    let (is_over, done) = (AtomicBool::new(false), Mutex::new(Acknowledged::default()));
    let api = fleet.api.clone();
    let mut kills = 0;
    let began = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| work(&api, &is_over, &done));
        while kills < KILLS {
            // Spread over the whole of a life: early ones hit the start, late ones the daily work.
            let life = Duration::from_millis(u64::from(50 + (kills * 137) % 700));
            let ended = within(life, || (!fleet.aggregator().is_running()).then_some(()));
            if ended.is_some() {
                break;
            }
            fleet.aggregator().kill();
            fleet.launch_aggregator();
            kills += 1;
        }
        is_over.store(true, Ordering::Release);
    });
    assert_eq!(kills, KILLS, "an aggregator ended by itself\n{}", fleet.tails());
    fleet.aggregator().kill();
    fleet.start_aggregator();
    let done = done.into_inner().unwrap();
    eprintln!("{kills} kills in {:?}; {} writes acknowledged", began.elapsed(), done.audited);
    assert!(done.audited > 20, "too little was written to show anything: {}", done.audited);

    for (node, step) in &done.labels {
        let stored: u64 = fleet.node(node)["labels"]["step"].as_str().unwrap().parse().unwrap();
        // A later one may have been kept without its answer having arrived.
        assert!(stored >= *step, "{node}: {step} was acknowledged, {stored} is there");
    }
    let lost: Vec<_> = done.tokens.difference(&all_tokens(&fleet.api)).cloned().collect();
    assert_eq!(lost, Vec::<String>::new(), "tokens that were acknowledged and are gone");
    let audit = fleet.api.get("/api/v1/audit/verify").json();
    assert_eq!(audit["intact"], true, "{audit}");
    assert!(audit["entries"].as_u64().unwrap() >= done.audited);
    fleet.campanile(&["audit", "verify"]).ok();
    for node in NODES {
        fleet.wait_liveness(node, "online");
        no_second_is_unaccounted(&fleet, node);
    }
}
