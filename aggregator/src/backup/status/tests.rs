//! A store on disk, a configuration by hand, an invented clock.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use campanile_common::authority::sha256;
use campanile_common::backup::{Retention, StoredKind, StoredObject};
use campanile_common::config::part_digest;
use campanile_common::id::FleetId;
use campanile_common::label::Labels;
use campanile_common::time::Timestamp;
use serde_json::{Value, json};

use super::super::policies::backups_only;
use super::super::vault::Appending;
use super::super::{BackupSettings, Limits, Opened, Proposal, VerifySettings};
use super::*;
use crate::audit::Audit;
use crate::config::fixture::{MEMBERS, generation};
use crate::event::{Event, Events};
use crate::os::clock::Clock;
use crate::state::{Keys, SqliteStore, Store};

const NODE: NodeId = MEMBERS[0];
const HOUR_MS: u64 = 3_600_000;
const START_MS: u64 = 1_790_000_000_000;

struct Bench {
    store: BackupStore,
    events: Events,
    hours: Arc<AtomicU64>,
}

impl Bench {
    async fn open(folder: &Path, hours: u64) -> Self {
        let state: Store = Arc::new(SqliteStore::open(&folder.join("state.db")).unwrap());
        let keys = Keys::new(FleetId::from_bytes([9; 16]));
        let hours = Arc::new(AtomicU64::new(hours));
        let shown = Arc::clone(&hours);
        let clock = Clock::from_fn(move || {
            Timestamp::from_millis(START_MS + shown.load(Ordering::Relaxed) * HOUR_MS)
        });
        let audit = Audit::open(Arc::clone(&state), keys.clone(), clock.clone(), [1; 32]).await.unwrap();
        let settings = BackupSettings {
            dir: folder.join("backup"),
            limits: Limits { free_floor: ByteCount(0), quota: ByteCount(1 << 30), objects_per_hour: 1000 },
            retention: Retention { keep_last: 1, daily: 0, weekly: 0, monthly: 0, ..Retention::default() },
            verify: VerifySettings::default(),
            replica: None,
        };
        let events = Events::default();
        let store = BackupStore::open(settings, (state, keys), clock, events.clone(), audit).await.unwrap();
        Self { store, events, hours }
    }

    /// A generation that gives both nodes this policy `etc`.
    async fn turn(&self, etc: Value) {
        let layer: Layer =
            serde_json::from_value(json!({ "resources": { "backup": { "etc": etc } } })).unwrap();
        let generation = generation(None, &layer);
        let layers = [(part_digest(&layer.to_bytes()), backups_only(layer))].into();
        let labels = Labels::default();
        let nodes = MEMBERS.map(|id| Rostered { id, name: "node", labels: &labels });
        self.store.turn(&generation, &layers, &nodes).await.unwrap();
    }

    async fn at(&self, hours: u64) -> NodeBackup {
        self.hours.store(hours, Ordering::Relaxed);
        self.store.judge_all().await;
        self.store.node_backup(NODE, "node-1")
    }

    async fn snapshot(&self, number: u64) -> Digest {
        let bytes = number.to_be_bytes();
        let object = StoredObject::new(StoredKind::Snapshot, sha256(&[&bytes]));
        let appending = Appending { packs: 0, policy: Some("etc".parse().unwrap()) };
        let Opened::Intake(intake) = self.store.begin(NODE, object, 8, Some(appending)).await.unwrap() else {
            panic!("it is new");
        };
        intake.push(&bytes).await.unwrap().finish().await.unwrap();
        object.id
    }

    /// Events of states of the node, after the one with this id: `was` and `state` each.
    fn states(&self) -> Vec<(Value, Value)> {
        let read = |event: &Event| serde_json::from_str::<Value>(&event.body).unwrap();
        let all = self.events.subscribe(Some(0)).backlog;
        let of_node = all.iter().filter(|event| event.kind == "backup.state" && event.node == Some(NODE));
        of_node.map(read).map(|body| (body["was"].clone(), body["state"].clone())).collect()
    }
}

fn etc(keep: Value) -> Value {
    json!({
        "paths": ["/etc"], "schedule": "@every 6h", "keep": keep, "max_age": "10h", "quota": "100 MiB",
        "escrow": ["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"],
    })
}

#[tokio::test]
async fn a_restart_does_not_begin_to_wait_anew_and_every_change_of_state_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::open(folder.path(), 0).await;
    assert_eq!(bench.at(0).await.state, BackupState::Unknown);
    bench.turn(etc(json!({"last": 3}))).await;
    let found = bench.at(9).await;
    assert_eq!((found.state, found.quota_bytes), (BackupState::Waiting, 100 << 20));
    assert!(bench.states().is_empty(), "nothing that anybody should mind");
    drop(bench);
    let bench = Bench::open(folder.path(), 9).await;
    bench.turn(etc(json!({"last": 3}))).await;
    let troubles = bench.store.troubles();
    assert_eq!(bench.at(11).await.state, BackupState::Late);
    assert!(matches!(troubles.borrow()[&NODE][..], [BackupTrouble::Missing { .. }]));
    bench.snapshot(1).await;
    assert!(!troubles.borrow().contains_key(&NODE), "judged as soon as it came");
    assert_eq!(bench.at(21).await.state, BackupState::Fresh);
    assert_eq!(bench.at(22).await.state, BackupState::Late);
    assert_eq!(bench.at(32).await.state, BackupState::Critical);
    let told = [("waiting", "late"), ("late", "fresh"), ("fresh", "late"), ("late", "critical")];
    assert_eq!(bench.states(), told.map(|(was, state)| (json!(was), json!(state))));
}

#[tokio::test]
async fn what_a_policy_kept_before_it_kept_less_stays_for_the_floor() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::open(folder.path(), 0).await;
    bench.turn(etc(json!({"daily": 90}))).await;
    let mut snapshots = Vec::new();
    for day in 0..40 {
        bench.hours.store(day * 24, Ordering::Relaxed);
        snapshots.push(bench.snapshot(day).await);
    }
    let propose = async |day: u64, snapshot: usize| {
        bench.hours.store(day * 24, Ordering::Relaxed);
        let proposal = Proposal { snapshots: vec![snapshots[snapshot]], ..Proposal::default() };
        let decided = bench.store.propose(NODE, proposal).await.unwrap();
        assert_eq!(decided.held, None);
        decided.deleted
    };
    assert_eq!(propose(40, 2).await, 0, "kept by the policy; the settings keep one");
    bench.turn(etc(json!({"last": 1}))).await;
    assert_eq!(propose(69, 2).await, 0);
    assert_eq!(propose(70, 2).await, 1);
    let deleted = bench.store.snapshots(NODE, true);
    assert_eq!(deleted.iter().filter(|snapshot| snapshot.deleted_until.is_some()).count(), 1);
    bench.store.undelete(NODE, Some(snapshots[2]), "person:ada").await.unwrap();
    assert_eq!(bench.store.snapshots(NODE, false).len(), 40);
}

#[tokio::test]
async fn a_generation_whose_layers_are_not_here_changes_nothing_of_what_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::open(folder.path(), 0).await;
    bench.turn(etc(json!({"last": 9}))).await;
    let rules = bench.store.rules(NODE);
    let layer: Layer = serde_json::from_value(json!({})).unwrap();
    let labels = Labels::default();
    let nodes = [Rostered { id: NODE, name: "node-1", labels: &labels }];
    bench.store.turn(&generation(None, &layer), &BTreeMap::new(), &nodes).await.unwrap();
    assert_eq!(bench.store.rules(NODE), rules);
    let found = bench.at(1).await;
    assert_eq!(found.state, BackupState::Unknown);
    assert!(found.reasons[0].contains("campanile config apply"), "{:?}", found.reasons);
    let floor = Duration::from_millis(rules.floor_ms());
    assert_eq!(floor, Duration::from_secs(30 * 86_400));
}
