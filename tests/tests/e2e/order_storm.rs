//! A thousand orders while aggregator, agents and stewards are killed at random moments.
//!
//! `CAMPANILE_SEED` repeats which process is killed when.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use campanile_common::authority::{Action, Command, Limits, SignedOrder};
use campanile_common::id::OrderId;
use campanile_tests::random::{self, Random};
use campanile_tests::support::{Api, LocalFleet, patience, until, within};
use serde_json::{Value, json};

const ORDERS: usize = 1000;
const KILLS_MIN: usize = 40;
const NODES: [&str; 3] = ["a", "b", "c"];
/// Every so many orders one is for all nodes, the others for one node each.
const FOR_ALL: usize = 5;
const SUBMITTERS: usize = 4;
/// Longer than the whole test: no order is to end by its age.
const VALIDITY: Duration = Duration::from_secs(3600);
/// Of one command: what hangs for want of an answer is to be seen within the test.
const TIMEOUT_MS: u32 = 15_000;

/// An order that appends its id to a file.
struct Noted {
    id: OrderId,
    signed: SignedOrder,
    /// How many nodes it is for.
    nodes: usize,
    /// Where it appends: one file a node, and one for orders to all of them.
    file: PathBuf,
}

fn prepare(fleet: &LocalFleet) -> Vec<Noted> {
    let key = fleet.operator_key();
    let mut groups: Vec<Vec<&str>> = NODES.iter().map(|node| vec![*node]).collect();
    groups.push(NODES.to_vec());
    let drafts: Vec<_> = groups.iter().map(|group| fleet.order_to_run(group, &["true"], VALIDITY)).collect();
    (0..ORDERS)
        .map(|index| {
            let group = if index % FOR_ALL == 0 { NODES.len() } else { index % NODES.len() };
            let mut order = drafts[group].clone();
            let mut id = [0; 16];
            id[..8].copy_from_slice(&u64::try_from(index).unwrap().to_be_bytes());
            id[15] = 1;
            order.id = OrderId::from_bytes(id);
            let file = fleet.path(&format!("starts-{group}"));
            let argv = ["/bin/sh", "-c", "echo $1 >> $0", file.to_str().unwrap(), &order.id.to_string()]
                .map(str::to_owned);
            order.action = Action::Run(Command { argv: argv.to_vec(), user: None, stdin: Vec::new() });
            order.limits = Limits { timeout_ms: TIMEOUT_MS, ..Limits::default() };
            let signed = order.sign(&[&key]).unwrap();
            Noted { id: order.id, signed, nodes: groups[group].len(), file }
        })
        .collect()
}

/// Submits every so-manieth order until the aggregator has said that it keeps it; gives how many sendings had no answer.
fn submit(api: &Api, orders: &[Noted], next: &AtomicUsize) -> usize {
    let mut unanswered = 0;
    loop {
        let Some(order) = orders.get(next.fetch_add(1, Ordering::Relaxed)) else { return unanswered };
        let text = campanile_common::api::SignedText::new(&order.signed.bytes, &order.signed.signatures);
        let request = json!({ "order": text, "dispatch": { "queue": true } });
        let acknowledged = within(Duration::from_secs(60), || {
            match api.send("POST", "/api/v1/orders", Some(&request)) {
                Ok(answer) if answer.status == 201 => Some(()),
                // Stored before the kill that took the answer.
                Ok(answer) if answer.status == 409 => Some(()),
                Ok(answer) if answer.status >= 500 || answer.status == 429 => None,
                Ok(answer) => panic!("{}: {}", answer.status, answer.text),
                Err(_) => {
                    unanswered += 1;
                    None
                }
            }
        });
        assert!(acknowledged.is_some(), "{} was never taken", order.id);
    }
}

/// Kills one process after the other, and starts each again, until the orders are submitted.
fn storm(fleet: &mut LocalFleet, random: &mut Random, is_over: &AtomicBool) -> BTreeMap<String, usize> {
    let mut kills = BTreeMap::<String, usize>::new();
    while !is_over.load(Ordering::Acquire) || kills.values().sum::<usize>() < KILLS_MIN {
        let life = Duration::from_millis(100 + random.below(700));
        let gone = within(life, || {
            let all =
                fleet.agents.values_mut().chain(fleet.stewards.values_mut()).chain(&mut fleet.aggregator);
            all.into_iter().any(|daemon| !daemon.is_running()).then_some(())
        });
        assert!(gone.is_none(), "a process ended by itself\n{}", fleet.tails());
        let node = NODES[usize::try_from(random.below(3)).unwrap()];
        let which = match random.below(3) {
            0 => {
                fleet.aggregator().kill();
                fleet.launch_aggregator();
                "aggregator".to_owned()
            }
            1 => {
                fleet.agent(node).kill();
                fleet.run_agent(node);
                format!("agent {node}")
            }
            _ => {
                fleet.steward(node).kill();
                fleet.run_steward(node);
                format!("steward {node}")
            }
        };
        *kills.entry(which).or_default() += 1;
    }
    kills
}

/// How often each order was started, by what it appended.
fn starts(file: &Path) -> BTreeMap<String, usize> {
    let mut starts = BTreeMap::new();
    for line in fs::read_to_string(file).unwrap_or_default().lines() {
        *starts.entry(line.to_owned()).or_default() += 1;
    }
    starts
}

/// Every target of an order is accounted for, and it was started as often as they say. Gives states and results.
fn account(order: &Noted, shown: &Value, started: usize) -> Vec<String> {
    let counts = &shown["counts"];
    let count = |kind: &str| counts[kind].as_u64().unwrap();
    let sum: u64 =
        ["ok", "failed", "silent", "denied", "skipped", "queued", "pending"].map(count).iter().sum();
    assert_eq!((count("targeted"), sum), (u64::try_from(order.nodes).unwrap(), count("targeted")), "{shown}");
    let targets = shown["targets"].as_array().unwrap();
    assert_eq!(targets.len(), order.nodes, "{shown}");
    let (mut surely, mut maybe) = (0, 0);
    let mut ends = Vec::new();
    for target in targets {
        let (state, result) =
            (target["state"].as_str().unwrap(), target["result"].as_str().unwrap_or_default());
        match (state, result) {
            ("ok", "exited") => surely += 1,
            ("failed", "indeterminate") => maybe += 1,
            // Where the node was too busy, or its steward away for too long, it says so and starts nothing.
            ("denied", "denied") => {}
            _ => panic!("{} ended as {state} ({result}): {shown}", target["name"]),
        }
        ends.push(format!(
            "{state} {result} {}",
            if state == "denied" { target["detail"].as_str().unwrap() } else { "" }
        ));
    }
    assert!(
        (surely..=surely + maybe).contains(&started),
        "started {started} times, {surely} ok, {maybe} indeterminate: {shown}"
    );
    ends
}

#[test]
fn a_thousand_orders_survive_kills_of_every_process() {
    let seed = random::seed();
    println!("CAMPANILE_SEED={seed}");
    let mut random = Random::new(seed);
    let mut fleet = LocalFleet::start();
    fleet.add_nodes(&NODES);
    let orders = prepare(&fleet);
    let (api, began) = (fleet.api.clone(), Instant::now());
    let (next, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (kills, unanswered) = thread::scope(|scope| {
        let submitters: Vec<_> =
            (0..SUBMITTERS).map(|_| scope.spawn(|| submit(&api, &orders, &next))).collect();
        let is_over = &is_over;
        let waiter = scope.spawn(move || {
            let ended: Vec<_> = submitters.into_iter().map(thread::ScopedJoinHandle::join).collect();
            is_over.store(true, Ordering::Release);
            ended.into_iter().map(Result::unwrap).sum::<usize>()
        });
        let kills = storm(&mut fleet, &mut random, is_over);
        (kills, waiter.join().unwrap())
    });
    println!(
        "{ORDERS} orders, {unanswered} without an answer at first; kills in {:?}: {kills:?}",
        began.elapsed()
    );

    // Calm: what is still on its way arrives.
    fleet.aggregator().kill();
    fleet.start_aggregator();
    for node in NODES {
        fleet.wait_liveness(node, "online");
    }
    let shown = |order: &Noted| fleet.api.get(&format!("/api/v1/orders/{}", order.id)).json();
    let mut done = Vec::new();
    let mut open: Vec<&Noted> = orders.iter().collect();
    until("every order is done", patience(Duration::from_secs(45)), || {
        open.retain(|order| {
            let shown = shown(order);
            let is_done = shown["state"] == "done" && shown["counts"]["queued"] == 0;
            if is_done {
                done.push((*order, shown));
            }
            !is_done
        });
        open.is_empty()
    });
    let mut files = BTreeMap::new();
    let mut ends = BTreeMap::<String, usize>::new();
    for (order, shown) in &done {
        let started = files.entry(&order.file).or_insert_with(|| starts(&order.file));
        let started = started.get(&order.id.to_string()).copied().unwrap_or(0);
        for end in account(order, shown, started) {
            *ends.entry(end).or_default() += 1;
        }
    }
    println!("done in {:?}: {ends:?}", began.elapsed());
    let indeterminate = ends.get("failed indeterminate ").copied().unwrap_or(0);
    assert!(indeterminate < ORDERS / 4, "most orders are not hit by a kill: {ends:?}");
    fleet.campanile(&["audit", "verify", "--with-nodes", "--orders", "1000"]).ok();
}
