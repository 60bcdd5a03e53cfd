//! Schedules against a real store and in paused time: grants that are refused, runs at most once, what a restart keeps.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use campanile_common::api::{MissedPolicy, OverlapPolicy};
use campanile_common::authority::{
    Action, BackupAction, Command, Document, Limits, Operator, OperatorKey, Order, Role, Standing,
    TargetTree, Targets, Tier,
};
use campanile_common::id::{Digest, FleetId, OrderId};
use tempfile::TempDir;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::*;
use crate::audit::AuditQuery;
use crate::state::{SqliteStore, Transaction};

const START: u64 = 1_800_000_000_000;
const FLEET: FleetId = FleetId::from_bytes([9; 16]);

fn key(seed: u8) -> OperatorKey {
    OperatorKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(START + seconds * 1000)
}

fn authority() -> Arc<Authority> {
    let ada =
        Operator { name: "ada".to_owned(), key: key(1).public(), roles: Role::ALL.into_iter().collect() };
    let expires = at(365 * 86_400);
    let signed = Document::first(FLEET, "test".to_owned(), ada, at(0), expires).sign(&[&key(1)]).unwrap();
    let digest = signed.digest();
    Arc::new(signed.verify_pinned(digest).unwrap())
}

fn order(change: impl Fn(&mut Order)) -> Order {
    let mut order = Order {
        format: Order::FORMAT,
        fleet: FLEET,
        id: OrderId::from_bytes([4; 16]),
        authority_version: 1,
        tier: Tier::Change,
        not_before: at(0),
        expires: at(86_400),
        targets: Targets::Nodes(vec![NodeId::from_bytes([1; 8]), NodeId::from_bytes([2; 8])]),
        action: Action::Run(Command { argv: vec!["true".to_owned()], user: None, stdin: Vec::new() }),
        limits: Limits::default(),
        standing: Some(Standing { interval_s: 600, lateness_s: 300, runs_max: 100 }),
        reason: "tests".to_owned(),
    };
    change(&mut order);
    order
}

fn request(name: &str, order: &Order, seeds: &[u8]) -> ScheduleRequest {
    let keys: Vec<OperatorKey> = seeds.iter().map(|seed| key(*seed)).collect();
    let signed = order.sign(&keys.iter().collect::<Vec<_>>()).unwrap();
    ScheduleRequest {
        name: name.to_owned(),
        when: "@every 10m".to_owned(),
        time_zone: None,
        splay_seconds: 5,
        missed: MissedPolicy::Skip,
        overlap: OverlapPolicy::Skip,
        grant: SignedText::new(&signed.bytes, &signed.signatures),
        nodes: Vec::new(),
        dispatch: DispatchOptions::default(),
    }
}

/// Schedules whose clock and task the test moves by hand.
struct World {
    folder: TempDir,
    schedules: Schedules,
    task: ScheduleTask,
    due: mpsc::Receiver<DueRun>,
    audit: Audit,
    frozen: watch::Sender<bool>,
    now: Arc<AtomicU64>,
    _in_force: watch::Sender<Arc<Authority>>,
}

async fn open(folder: &Path, clock: Clock) -> (Schedules, Audit, watch::Sender<Arc<Authority>>) {
    let store: Store = Arc::new(SqliteStore::open(&folder.join("state.db")).unwrap());
    let keys = Keys::new(FLEET);
    let audit = Audit::open(Arc::clone(&store), keys.clone(), clock.clone(), [1; 32]).await.unwrap();
    let (sender, receiver) = watch::channel(authority());
    let in_force = InForce { authority: receiver, catalogue: watch::channel(None).1 };
    let schedules =
        Schedules::open((store, keys), audit.clone(), Events::default(), clock, in_force).await.unwrap();
    (schedules, audit, sender)
}

async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    World::open(folder, Arc::new(AtomicU64::new(START))).await
}

impl World {
    async fn open(folder: TempDir, now: Arc<AtomicU64>) -> Self {
        let source = Arc::clone(&now);
        let clock = Clock::from_fn(move || Timestamp::from_millis(source.load(Ordering::SeqCst)));
        let (schedules, audit, in_force) = open(folder.path(), clock).await;
        let (runs, due) = mpsc::channel(4);
        let (frozen, is_frozen) = watch::channel(false);
        let task = ScheduleTask::new(schedules.clone(), is_frozen, runs);
        Self { folder, schedules, task, due, audit, frozen, now, _in_force: in_force }
    }

    /// As after a crash.
    async fn restart(self) -> Self {
        let Self { folder, now, .. } = self;
        Self::open(folder, now).await
    }

    /// What goes out when the task looks so many seconds after the start.
    async fn look_at(&mut self, seconds: u64) -> Option<DueRun> {
        self.now.store(at(seconds).as_millis(), Ordering::SeqCst);
        self.task.look().await;
        self.due.try_recv().ok()
    }
}

fn reason(result: Result<Schedule, ScheduleError>) -> String {
    result.unwrap_err().to_string()
}

#[tokio::test]
async fn a_grant_that_nodes_would_refuse_is_refused_at_once() {
    let world = world().await;
    let create = async |request| reason(world.schedules.create("person:ada", request).await);
    let once = order(|order| {
        order.standing = None;
        order.expires = at(3600);
    });
    assert!(create(request("a", &once, &[1])).await.contains("no standing order"));
    let unsigned = request("a", &order(|_| {}), &[]);
    assert!(create(unsigned).await.contains("0 valid signatures"));
    assert!(create(request("a", &order(|_| {}), &[7])).await.contains("0 valid signatures"));
    let foreign = order(|order| order.fleet = FleetId::from_bytes([3; 16]));
    assert!(create(request("a", &foreign, &[1])).await.contains("of fleet"));
    let future = order(|order| order.authority_version = 2);
    assert!(create(request("a", &future, &[1])).await.contains("authority version 2"));
    let expired = order(|order| {
        order.not_before = at(0) - Duration::from_secs(100);
        order.expires = at(0);
    });
    assert!(create(request("a", &expired, &[1])).await.contains("expired"));
    let too_often = ScheduleRequest { when: "@every 9m".to_owned(), ..request("a", &order(|_| {}), &[1]) };
    assert!(create(too_often).await.contains("due 540 s after each other"));
    let splayed = ScheduleRequest { splay_seconds: 301, ..request("a", &order(|_| {}), &[1]) };
    assert!(create(splayed).await.contains("splay"));
    let routine = order(|order| {
        order.tier = Tier::Routine;
        order.action = Action::Service {
            verb: campanile_common::authority::ServiceVerb::Reload,
            unit: "nginx.service".to_owned(),
            wait_healthy_ms: None,
        };
    });
    assert!(create(request("a", &routine, &[])).await.contains("no catalogue"));
    assert!(create(request("A b", &order(|_| {}), &[1])).await.contains("name"));
    assert!(world.schedules.all().is_empty());
    let entries = world.audit.list(AuditQuery { limit: 9, ..AuditQuery::default() }).await.unwrap();
    assert!(entries.is_empty());
}

#[tokio::test]
async fn a_grant_to_back_up_needs_neither_key_nor_catalogue() {
    let world = world().await;
    let grant = order(|order| {
        order.tier = Tier::Routine;
        order.action = Action::Backup(BackupAction::Run { policy: "etc".parse().unwrap() });
    });
    world.schedules.create("person:ada", request("nightly", &grant, &[])).await.unwrap();
    assert_eq!(world.schedules.all().len(), 1);
}

#[tokio::test]
async fn a_grant_for_a_tree_needs_its_leaves() {
    let world = world().await;
    let nodes: Vec<NodeId> = (0..5).map(|number| NodeId::from_bytes([number; 8])).collect();
    let tree = TargetTree::new(FLEET, nodes.iter().copied()).unwrap();
    let order = order(|order| order.targets = Targets::Tree { root: tree.root(), nodes: 5 });
    let bare = request("tree", &order, &[1]);
    assert!(reason(world.schedules.create("person:ada", bare.clone()).await).contains("leaves"));
    let short = ScheduleRequest { nodes: nodes[1..].to_vec(), ..bare.clone() };
    assert!(reason(world.schedules.create("person:ada", short).await).contains("leaves"));
    let whole = ScheduleRequest { nodes: nodes.clone(), ..bare };
    assert_eq!(world.schedules.create("person:ada", whole).await.unwrap().nodes, 5);
    assert_eq!(world.schedules.nodes("tree").unwrap(), nodes);
}

#[tokio::test]
async fn a_name_and_a_grant_are_used_once_and_free_after_removal() {
    let world = world().await;
    let first = request("nightly", &order(|_| {}), &[1]);
    let made = world.schedules.create("person:ada", first.clone()).await.unwrap();
    assert_eq!(
        (made.signed_by.as_slice(), made.nodes, made.next_run),
        (&["ada".to_owned()][..], 2, Some(at(600)))
    );
    let other = order(|order| order.id = OrderId::from_bytes([5; 16]));
    let taken = world.schedules.create("person:ada", request("nightly", &other, &[1])).await;
    assert!(matches!(taken, Err(ScheduleError::Exists(_))));
    let same_grant = world.schedules.create("person:ada", request("daily", &order(|_| {}), &[1])).await;
    assert!(reason(same_grant).contains("`nightly` has this grant"));
    world.schedules.remove("person:bob", "nightly").await.unwrap();
    assert!(matches!(world.schedules.get("nightly"), Err(ScheduleError::NotFound(_))));
    world.schedules.create("person:ada", first).await.unwrap();
    let entries = world.audit.list(AuditQuery { limit: 9, ..AuditQuery::default() }).await.unwrap();
    let actions: Vec<_> = entries.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["schedule.create", "schedule.remove", "schedule.create"]);
}

#[tokio::test]
async fn a_run_goes_out_when_it_is_due_and_is_on_disk_before() {
    let mut world = world().await;
    world.schedules.create("person:ada", request("nightly", &order(|_| {}), &[1])).await.unwrap();
    assert!(world.look_at(599).await.is_none());
    let run = world.look_at(600).await.unwrap();
    assert_eq!(
        (run.name.as_str(), run.occurrence, run.by.as_str()),
        ("nightly", at(600), "schedule:nightly")
    );
    assert_eq!(run.splay, Duration::from_secs(5));
    assert!(world.look_at(600).await.is_none(), "once");
    let counts = TargetCounts { targeted: 2, ok: 2, ..TargetCounts::default() };
    run.over.send(counts).unwrap();
    world.task.wait_for_one().await;
    let mut world = world.restart().await;
    let stored = world.schedules.get("nightly").unwrap();
    assert_eq!((stored.last_run, stored.next_run), (Some(at(600)), Some(at(1200))));
    assert_eq!(stored.last_counts, Some(counts));
    assert!(world.look_at(601).await.is_none(), "not again after a restart");
    let second = world.look_at(1200).await.unwrap();
    assert_eq!(second.occurrence, at(1200));
    assert_eq!(world.schedules.get("nightly").unwrap().last_counts, None, "those of the run before");
}

#[tokio::test]
async fn a_run_that_is_not_over_keeps_the_next_out() {
    let mut world = world().await;
    world.schedules.create("person:ada", request("nightly", &order(|_| {}), &[1])).await.unwrap();
    let first = world.look_at(600).await.unwrap();
    assert!(reason(world.schedules.run_now("person:ada", "nightly").await).contains("again from"));
    assert!(world.look_at(1200).await.is_none());
    drop(first);
    world.task.wait_for_one().await;
    assert!(world.look_at(1201).await.is_none(), "what was left out stays out");
    assert_eq!(world.look_at(1800).await.unwrap().occurrence, at(1800));
}

#[tokio::test]
async fn a_frozen_fleet_runs_nothing_and_makes_up_for_it_once_when_thawed() {
    let mut world = world().await;
    let once = ScheduleRequest { missed: MissedPolicy::Once, ..request("nightly", &order(|_| {}), &[1]) };
    world.schedules.create("person:ada", once).await.unwrap();
    world.frozen.send_replace(true);
    assert!(world.look_at(600).await.is_none());
    assert!(world.look_at(700).await.is_none());
    world.frozen.send_replace(false);
    assert_eq!(world.look_at(800).await.unwrap().occurrence, at(600));
    assert!(world.look_at(801).await.is_none());
}

#[tokio::test]
async fn a_run_by_hand_takes_the_place_of_one_that_would_follow_too_soon() {
    let mut world = world().await;
    world.schedules.create("person:ada", request("nightly", &order(|_| {}), &[1])).await.unwrap();
    assert!(world.look_at(60).await.is_none());
    world.schedules.run_now("person:bob", "nightly").await.unwrap();
    let run = world.look_at(61).await.unwrap();
    assert_eq!((run.by.as_str(), run.occurrence), ("person:bob", at(60)));
    drop(run);
    world.task.wait_for_one().await;
    assert!(world.look_at(600).await.is_none());
    assert_eq!(world.look_at(1200).await.unwrap().occurrence, at(1200));
}

#[tokio::test]
async fn a_grant_without_runs_left_runs_no_more() {
    let mut world = world().await;
    let twice = order(|order| {
        order.standing = Some(Standing { interval_s: 600, lateness_s: 300, runs_max: 2 });
    });
    let both = ScheduleRequest { overlap: OverlapPolicy::Allow, ..request("twice", &twice, &[1]) };
    world.schedules.create("person:ada", both).await.unwrap();
    let _runs = [world.look_at(600).await.unwrap(), world.look_at(1200).await.unwrap()];
    assert!(world.look_at(1800).await.is_none());
    assert_eq!(world.schedules.get("twice").unwrap().next_run, None);
    assert!(reason(world.schedules.run_now("person:ada", "twice").await).contains("no runs left"));
}

#[tokio::test]
async fn a_restart_makes_up_for_missed_runs_at_most_once() {
    let mut world = world().await;
    let once = ScheduleRequest { missed: MissedPolicy::Once, ..request("nightly", &order(|_| {}), &[1]) };
    world.schedules.create("person:ada", once).await.unwrap();
    // Three due times pass while nothing runs.
    world = world.restart().await;
    assert_eq!(world.look_at(1900).await.unwrap().occurrence, at(1800));
    // It goes down before the run was dispatched: lost rather than twice.
    world = world.restart().await;
    assert!(world.look_at(1901).await.is_none());
}

#[tokio::test]
async fn a_removed_schedule_runs_no_more() {
    let mut world = world().await;
    world.schedules.create("person:ada", request("nightly", &order(|_| {}), &[1])).await.unwrap();
    world.schedules.remove("person:ada", "nightly").await.unwrap();
    assert!(world.look_at(600).await.is_none());
    assert!(matches!(
        world.schedules.run_now("person:ada", "nightly").await,
        Err(ScheduleError::NotFound(_))
    ));
}

#[tokio::test]
async fn a_damaged_schedule_is_an_error_at_the_start_and_not_one_that_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let (schedules, audit, in_force) = open(folder.path(), Clock::from_fn(|| at(0))).await;
    schedules.create("person:ada", request("nightly", &order(|_| {}), &[1])).await.unwrap();
    let key = schedules.key("nightly");
    let mut record = schedules.held()["nightly"].record.clone();
    record.grant = SignedText::new(Digest::from_bytes([1; 32]).as_bytes(), &[]);
    let writes = vec![Write::put(key, to_json(&record))];
    assert!(matches!(
        schedules.shared.store.commit(Transaction { compares: Vec::new(), writes }).await,
        Ok(Committed::Done(_))
    ));
    drop((schedules, audit, in_force));
    let store: Store = Arc::new(SqliteStore::open(&folder.path().join("state.db")).unwrap());
    let keys = Keys::new(FLEET);
    let clock = Clock::from_fn(|| at(0));
    let audit = Audit::open(Arc::clone(&store), keys.clone(), clock.clone(), [1; 32]).await.unwrap();
    let in_force = InForce { authority: watch::channel(authority()).1, catalogue: watch::channel(None).1 };
    let opened = Schedules::open((store, keys), audit, Events::default(), clock, in_force).await;
    assert!(matches!(opened, Err(StateError::Unreadable { .. })));
}
