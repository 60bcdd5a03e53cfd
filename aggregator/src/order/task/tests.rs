//! Tests with a real store and a scripted node side.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use campanile_common::api::{DispatchOptions, Order as ApiOrder, OrderRequest, SignatureText};
use campanile_common::authority::{Action, BackupAction, Denial, DenialCode, RestorePlace, Targets, Tier};
use campanile_common::id::{Digest, JournalId};
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::order::{
    AuditPosition, DeliveryMode, JournalPosition, OutputChunk, OutputStream,
};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;
use crate::audit::AuditQuery;
use crate::node::{DeliverySlip, NodeEvent, Registry, Sessions, TokenPins};
use crate::order::fixture::{FLEET, NOW, authority, key, node, node_record, order, request, standing, text};
use crate::order::{FollowEvent, InForce, OrderError, Outputs, ScheduledRun};
use crate::os::clock::Clock;
use crate::state::{
    BoxFuture, Committed, Entry, Keys, LeaseId, Range, Revision, SqliteStore, StateStore, Store, Transaction,
    Watch, Write, to_json,
};

const ABLE: SessionAbilities = SessionAbilities { takes_orders: true };

/// A store that can be made to refuse.
#[derive(Debug)]
struct Moody {
    inner: SqliteStore,
    refuses: Arc<AtomicBool>,
}

impl StateStore for Moody {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, StateError>> {
        self.inner.get(key)
    }
    fn range(&self, range: Range) -> BoxFuture<'_, Result<Vec<Entry>, StateError>> {
        self.inner.range(range)
    }
    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Committed, StateError>> {
        if self.refuses.load(Ordering::SeqCst) {
            return Box::pin(async { Err(StateError::Full) });
        }
        self.inner.commit(transaction)
    }
    fn revision(&self) -> BoxFuture<'_, Result<Revision, StateError>> {
        self.inner.revision()
    }
    fn watch<'a>(
        &'a self,
        prefix: &'a str,
        after: Revision,
    ) -> BoxFuture<'a, Result<Box<dyn Watch>, StateError>> {
        self.inner.watch(prefix, after)
    }
    fn grant_lease(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseId, StateError>> {
        self.inner.grant_lease(ttl)
    }
    fn keep_lease(&self, lease: LeaseId) -> BoxFuture<'_, Result<bool, StateError>> {
        self.inner.keep_lease(lease)
    }
    fn revoke_lease(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), StateError>> {
        self.inner.revoke_lease(lease)
    }
}

/// An aggregator's orders, with the test in the place of the nodes.
struct Bench {
    folder: TempDir,
    store: Store,
    refuses: Arc<AtomicBool>,
    orders: Orders,
    sessions: Sessions,
    events: mpsc::Receiver<NodeEvent>,
    frozen: watch::Sender<bool>,
    audit: Audit,
    wall: Arc<Mutex<Timestamp>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

struct Built {
    task: OrderTask,
    orders: Orders,
    sessions: Sessions,
    events: mpsc::Receiver<NodeEvent>,
    frozen: watch::Sender<bool>,
    audit: Audit,
    wall: Arc<Mutex<Timestamp>>,
}

async fn build(store: &Store, folder: PathBuf) -> Built {
    let keys = Keys::new(FLEET);
    let wall = Arc::new(Mutex::new(NOW));
    let source = Arc::clone(&wall);
    let clock = Clock::from_fn(move || *source.lock().unwrap());
    let audit = Audit::open(store.clone(), keys.clone(), clock.clone(), [1; 32]).await.unwrap();
    for number in 1..=9 {
        let record = node_record(number, if number < 5 { "role=web" } else { "role=db" });
        let writes = vec![Write::put(keys.node(node(number)), to_json(&record))];
        let done = store.commit(Transaction { compares: Vec::new(), writes }).await.unwrap();
        assert!(matches!(done, Committed::Done(_)));
    }
    let registry = Registry::open(store.clone(), keys.clone(), audit.clone(), clock.clone()).await.unwrap();
    let (sender, events) = mpsc::channel(64);
    let pins = TokenPins {
        fleet: FLEET,
        addresses: Vec::new(),
        ca_key: Digest::from_bytes([0; 32]),
        authority: watch::channel(Digest::from_bytes([0; 32])).1,
    };
    let nodes = Nodes::new(registry.clone(), sender, watch::channel(Arc::default()).1, pins, clock.clone());
    let (frozen, is_frozen) = watch::channel(false);
    let in_force = InForce {
        authority: watch::channel(Arc::new(authority())).1,
        catalogue: watch::channel(None).1,
        is_frozen,
    };
    let sessions = Sessions::default();
    let outputs = Outputs::open(&folder.join("outputs")).unwrap();
    let parts = OrderParts {
        store: store.clone(),
        keys,
        registry,
        sessions: sessions.clone(),
        in_force,
        outputs,
        clock,
    };
    let parts = OrderTaskParts { parts, audit: audit.clone(), nodes, events: Events::default() };
    let (task, orders) = OrderTask::open(parts).await.unwrap();
    Built { task, orders, sessions, events, frozen, audit, wall }
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let refuses = Arc::new(AtomicBool::new(false));
        let inner = SqliteStore::open(&folder.path().join("state.db")).unwrap();
        let store: Store = Arc::new(Moody { inner, refuses: Arc::clone(&refuses) });
        Self::start(folder, store, refuses).await
    }

    async fn start(folder: TempDir, store: Store, refuses: Arc<AtomicBool>) -> Self {
        let Built { task, orders, sessions, events, frozen, audit, wall } =
            build(&store, folder.path().to_owned()).await;
        let stop = CancellationToken::new();
        let task = tokio::spawn(task.run(stop.clone()));
        Self { folder, store, refuses, orders, sessions, events, frozen, audit, wall, stop, task }
    }

    /// The aggregator dies and starts again on what is stored.
    async fn restart(self) -> Self {
        self.task.abort();
        drop(self.task.await);
        drop((self.orders, self.events, self.stop));
        Self::start(self.folder, self.store, self.refuses).await
    }

    fn connect(&self, numbers: &[u8]) {
        numbers.iter().for_each(|number| self.sessions.began(node(*number), ABLE));
    }

    async fn submit(&self, request: &OrderRequest) -> Result<ApiOrder, OrderError> {
        let draft = self.orders.admit(request)?;
        self.orders.submit(draft, Vec::new(), "person:ada").await
    }

    /// The next delivery.
    async fn delivery(&mut self) -> (NodeId, DeliverySlip) {
        match self.events.recv().await {
            Some(NodeEvent::Deliver { node, slip }) => (node, slip),
            other => panic!("{other:?}"),
        }
    }

    async fn deliveries(&mut self, count: usize) -> BTreeMap<NodeId, DeliverySlip> {
        let mut found = BTreeMap::new();
        for _ in 0..count {
            let (node, slip) = self.delivery().await;
            found.insert(node, slip);
        }
        found
    }

    fn nothing_is_sent(&mut self) {
        assert!(self.events.try_recv().is_err());
    }

    async fn show(&self, number: u8) -> ApiOrder {
        let run = self.orders.find(&order(number, &[]).id.to_string(), None).unwrap();
        self.orders.show(run, None).await.unwrap()
    }

    async fn audited(&self, action: &str) -> Vec<String> {
        let query = AuditQuery { limit: 100, action: Some(action.to_owned()), ..AuditQuery::default() };
        self.audit
            .list(query)
            .await
            .unwrap()
            .into_iter()
            .map(|entry| format!("{} {}", entry.target, entry.detail))
            .collect()
    }
}

/// The node's side of one delivery.
struct Agent(NodeId, DeliverySlip);

impl Agent {
    async fn tell(&self, event: DeliveryEvent) {
        let report = DeliveryReport { node: self.0, run: self.1.run, event };
        self.1.reports.send(report).await.unwrap();
    }

    async fn received(&self, sequence: u64) {
        let position = JournalPosition { journal: JournalId::from_bytes([1; 8]), sequence };
        self.tell(DeliveryEvent::Received(position)).await;
    }

    async fn writes(&self, offset: u64, bytes: &[u8]) {
        let chunk = OutputChunk { offset, stream: OutputStream::Stdout, bytes: bytes.to_vec() };
        self.tell(DeliveryEvent::Output(chunk)).await;
    }

    /// Resolves when the outcome is durable; fails when it was given back.
    async fn ends(&self, result: RunResult, output: u64) -> oneshot::Receiver<()> {
        let (durable, is_durable) = oneshot::channel();
        let outcome = Outcome {
            run: self.1.run,
            result,
            started: Some(NOW),
            finished: NOW,
            output_bytes: output,
            output_kept: output,
            journal: Some(JournalPosition { journal: JournalId::from_bytes([1; 8]), sequence: 9 }),
            audit: Some(AuditPosition { sequence: 4, hash: Digest::from_bytes([4; 32]) }),
        };
        self.tell(DeliveryEvent::Outcome { outcome, durable }).await;
        is_durable
    }
}

const OK: RunResult = RunResult::Exited { code: 0 };

#[tokio::test]
async fn a_node_reads_what_another_saved_while_it_is_at_work_on_such_an_order_and_no_longer() {
    let mut bench = Bench::new().await;
    bench.connect(&[1, 2]);
    let mut from = order(1, &[1]);
    from.action = Action::Backup(BackupAction::RestoreFrom {
        source: node(7),
        policy: "etc".parse().unwrap(),
        snapshot: "latest".to_owned(),
        paths: Vec::new(),
        to: RestorePlace::Folder("/srv/restored".to_owned()),
        sealed: vec![1],
        is_tried: false,
    });
    let may = |bench: &Bench, reader, source| bench.orders.reads_from(node(reader), node(source));
    assert!(!may(&bench, 1, 7), "before");
    bench.submit(&request(&from, &[1])).await.unwrap();
    let (reader, slip) = bench.deliveries(1).await.pop_first().unwrap();
    assert!(may(&bench, 1, 7), "from when it was sent: the node may have begun");
    assert!(!may(&bench, 2, 7) && !may(&bench, 1, 6) && !may(&bench, 7, 1), "nobody else, nothing else");
    let agent = Agent(reader, slip);
    agent.received(3).await;
    assert!(may(&bench, 1, 7), "while it works");
    agent.ends(OK, 0).await.await.unwrap();
    bench.show(1).await;
    assert!(!may(&bench, 1, 7), "afterwards");
    let bench = bench.restart().await;
    assert!(!may(&bench, 1, 7), "and not again");
}

#[tokio::test]
async fn an_order_is_stored_before_it_is_sent_and_its_outcomes_before_they_are_acknowledged() {
    let mut bench = Bench::new().await;
    bench.connect(&[1, 2]);
    let order = bench.submit(&request(&order(1, &[1, 2]), &[1])).await.unwrap();
    assert_eq!((order.state, order.counts.pending), (OrderState::Running, 2));
    assert_eq!((order.signed_by.as_slice(), order.signatures_needed), (&["op-1".to_owned()][..], 1));
    let mut slips = bench.deliveries(2).await;
    let key = format!("campanile/{FLEET}/order/{}", order.order_id);
    assert!(bench.store.get(&key).await.unwrap().is_some());
    let (first, slip) = slips.pop_first().unwrap();
    assert_eq!((slip.deliver.mode, slip.deliver.journal), (DeliveryMode::Start, None));
    let agent = Agent(first, slip);
    agent.received(3).await;
    agent.writes(0, b"hello\n").await;
    agent.ends(OK, 6).await.await.unwrap();
    let (second, slip) = slips.pop_first().unwrap();
    let denial = Denial { code: DenialCode::PolicyTier, reason: "no".to_owned() };
    Agent(second, slip).ends(RunResult::Denied(denial), 0).await.await.unwrap();
    let shown = bench.show(1).await;
    assert_eq!((shown.state, shown.counts.ok, shown.counts.denied), (OrderState::Done, 1, 1));
    assert_eq!(bench.orders.witness(first).unwrap().audit.unwrap().sequence, 4);
    let run = bench.orders.find(&order.order_id.to_string(), None).unwrap();
    assert_eq!(bench.orders.output(run, first, None).await.unwrap(), b"hello\n");
    assert!(bench.orders.is_over(run));
    let outcomes = bench.audited("order.outcome").await;
    assert_eq!(outcomes, [format!("order:{} targeted=2 ok=1 denied=1", order.order_id)]);
    assert_eq!(bench.audited("order.submit").await.len(), 1);

    for (stream, bytes) in [(OutputStream::Stdout, &b"hello\n"[..]), (OutputStream::Stderr, b"")] {
        assert_eq!(bench.orders.output(run, first, Some(stream)).await.unwrap(), bytes);
    }

    let bench = bench.restart().await;
    let again = bench.show(1).await;
    assert_eq!(again, shown);
    assert_eq!(bench.orders.output(run, first, None).await.unwrap(), b"hello\n");
    assert_eq!(bench.orders.witness(first).unwrap().journal.unwrap().sequence, 9);
}

#[tokio::test]
async fn after_a_restart_nothing_acknowledged_is_lost_and_the_rest_is_delivered_again() {
    let mut bench = Bench::new().await;
    bench.connect(&[1, 2, 3]);
    bench.submit(&request(&order(1, &[1, 2, 3]), &[1])).await.unwrap();
    let mut slips = bench.deliveries(3).await;
    let done = Agent(node(1), slips.remove(&node(1)).unwrap());
    done.ends(OK, 0).await.await.unwrap();
    Agent(node(2), slips.remove(&node(2)).unwrap()).received(1).await;

    let mut bench = bench.restart().await;
    assert_eq!(bench.show(1).await.counts.ok, 1);
    bench.connect(&[1, 2, 3]);
    let slips = bench.deliveries(2).await;
    assert_eq!(slips.keys().copied().collect::<Vec<_>>(), [node(2), node(3)]);
    for (node, slip) in slips {
        // What it said before the restart is not stored; its own journal keeps it from starting twice.
        assert_eq!(slip.deliver.mode, DeliveryMode::Start);
        Agent(node, slip).ends(OK, 0).await.await.unwrap();
    }
    assert_eq!((bench.show(1).await.state, bench.show(1).await.counts.ok), (OrderState::Done, 3));
    bench.nothing_is_sent();
}

#[tokio::test]
async fn a_node_that_had_it_and_comes_back_is_asked_for_a_report() {
    let mut bench = Bench::new().await;
    bench.connect(&[1]);
    bench.submit(&request(&order(1, &[1]), &[1])).await.unwrap();
    let (first, slip) = bench.delivery().await;
    let agent = Agent(first, slip);
    agent.received(5).await;
    bench.sessions.ended(first);
    agent.tell(DeliveryEvent::Lost).await;
    bench.connect(&[1]);
    let (first, slip) = bench.delivery().await;
    assert_eq!(slip.deliver.mode, DeliveryMode::Report);
    assert_eq!(slip.deliver.journal.unwrap().sequence, 5);
    Agent(first, slip).ends(OK, 0).await.await.unwrap();
    assert_eq!(bench.show(1).await.counts.ok, 1);
}

#[tokio::test]
async fn the_same_order_gets_the_same_answer_and_another_under_its_id_is_refused() {
    let mut bench = Bench::new().await;
    bench.connect(&[1]);
    let first = bench.submit(&request(&order(1, &[1]), &[1])).await.unwrap();
    let (_, slip) = bench.delivery().await;
    assert_eq!(bench.submit(&request(&order(1, &[1]), &[1])).await.unwrap().order_id, first.order_id);
    let other = Order { reason: "another".to_owned(), ..order(1, &[1]) };
    assert!(matches!(bench.submit(&request(&other, &[1])).await, Err(OrderError::Conflict(_))));
    Agent(node(1), slip).ends(OK, 0).await.await.unwrap();
    assert_eq!(bench.submit(&request(&order(1, &[1]), &[1])).await.unwrap().state, OrderState::Done);
    let draft = bench.orders.admit(&request(&order(1, &[1]), &[1])).unwrap();
    let foreign = bench.orders.submit(draft, Vec::new(), "person:eve").await;
    assert!(matches!(foreign, Err(OrderError::Conflict(_))));
    bench.nothing_is_sent();
}

#[tokio::test]
async fn a_proposal_waits_for_the_second_operator_also_over_a_restart() {
    let bench = Bench::new().await;
    let critical = Order { tier: Tier::Critical, ..order(1, &[1]) };
    let proposed = bench.submit(&request(&critical, &[1])).await.unwrap();
    assert_eq!((proposed.state, proposed.signatures_needed), (OrderState::Proposed, 2));
    let mut bench = bench.restart().await;
    bench.connect(&[1]);
    let run = bench.orders.find(&proposed.order_id.to_string(), None).unwrap();
    let proposals = bench.orders.proposals(None).await.unwrap();
    assert_eq!((proposals.len(), proposals[0].signed_by.as_slice()), (1, &["op-1".to_owned()][..]));
    let signature = |by: u8| -> SignatureText { request(&critical, &[by]).order.signatures[0].clone() };
    for (by, what) in [(1, "twice by the same"), (7, "by nobody")] {
        assert!(bench.orders.add_signature(run, signature(by), "person:bo").await.is_err(), "{what}");
    }
    bench.nothing_is_sent();
    let moved = request(&order(2, &[1]), &[2]).order.signatures[0].clone();
    assert!(matches!(
        bench.orders.add_signature(run, moved, "person:bo").await,
        Err(OrderError::Signatures(_))
    ));
    let submitted = bench.orders.add_signature(run, signature(2), "person:bo").await.unwrap();
    assert!(submitted.in_force);
    assert_eq!(submitted.signed_by, ["op-1", "op-2"]);
    let (_, slip) = bench.delivery().await;
    assert_eq!(slip.deliver.delivery.order.signatures.len(), 2);
    assert!(bench.orders.proposals(None).await.unwrap().is_empty());
    assert_eq!(bench.audited("order.approve").await.len(), 1);
}

#[tokio::test]
async fn a_queued_target_is_delivered_once_on_return_and_a_withdrawn_one_never() {
    let mut bench = Bench::new().await;
    let queued = |number: u8, node: u8| {
        let dispatch = DispatchOptions { queue: true, ..DispatchOptions::default() };
        OrderRequest { dispatch, ..request(&order(number, &[node]), &[1]) }
    };
    let first = bench.submit(&queued(1, 1)).await.unwrap();
    assert_eq!((first.state, first.counts.queued), (OrderState::Done, 1));
    let second = bench.submit(&queued(2, 1)).await.unwrap();
    let run = bench.orders.find(&second.order_id.to_string(), None).unwrap();
    let cancelled = bench.orders.cancel(run, "person:ada").await.unwrap();
    assert_eq!((cancelled.state, cancelled.counts.skipped), (OrderState::Cancelled, 1));
    assert!(matches!(bench.orders.cancel(run, "person:ada").await, Err(OrderError::Conflict(_))));
    bench.connect(&[1]);
    let (_, slip) = bench.delivery().await;
    assert_eq!(slip.run.order, first.order_id);
    Agent(node(1), slip).ends(OK, 0).await.await.unwrap();
    assert_eq!(bench.show(1).await.counts.ok, 1);
    bench.nothing_is_sent();
}

#[tokio::test]
async fn a_freeze_refuses_new_orders_and_holds_queued_ones() {
    let mut bench = Bench::new().await;
    let dispatch = DispatchOptions { queue: true, ..DispatchOptions::default() };
    bench.submit(&OrderRequest { dispatch, ..request(&order(1, &[1]), &[1]) }).await.unwrap();
    bench.frozen.send_replace(true);
    assert!(matches!(bench.submit(&request(&order(2, &[1]), &[1])).await, Err(OrderError::Frozen)));
    bench.connect(&[1]);
    // Answered in turn: by then the task has seen that the node is here.
    let run = bench.orders.find(&order(1, &[]).id.to_string(), None).unwrap();
    let signature = request(&order(1, &[1]), &[2]).order.signatures[0].clone();
    assert!(bench.orders.add_signature(run, signature, "person:ada").await.is_err());
    bench.nothing_is_sent();
    bench.frozen.send_replace(false);
    assert_eq!(bench.delivery().await.0, node(1));
}

#[tokio::test]
async fn a_follower_gets_all_output_before_the_outcome_it_belongs_to_and_the_order_last() {
    let mut bench = Bench::new().await;
    bench.connect(&[1, 2]);
    bench.submit(&request(&order(1, &[1, 2]), &[1])).await.unwrap();
    let run = bench.orders.find(&order(1, &[]).id.to_string(), None).unwrap();
    let mut follow = bench.orders.follow(run);
    let mut slips = bench.deliveries(2).await;
    let agent = Agent(node(1), slips.remove(&node(1)).unwrap());
    let chunk = vec![7_u8; 16 * 1024];
    for number in 0..8_u64 {
        agent.writes(number * chunk.len() as u64, &chunk).await;
    }
    let durable = agent.ends(OK, 8 * chunk.len() as u64).await;
    durable.await.unwrap();
    let short = Agent(node(2), slips.remove(&node(2)).unwrap());
    short.writes(0, b"x").await;
    short.ends(RunResult::Exited { code: 3 }, 1).await.await.unwrap();
    // Only now does the reader begin to read, and once more afterwards.
    for _ in 0..2 {
        let (mut bytes, mut ended) = (BTreeMap::new(), Vec::new());
        let last = loop {
            match follow.next(&|_| true).await.unwrap() {
                Some(FollowEvent::Output { node, piece, .. }) => {
                    let so_far: &mut u64 = bytes.entry(node).or_default();
                    assert_eq!(piece.offset, *so_far);
                    assert!(!ended.contains(&node), "output after its outcome");
                    *so_far += piece.bytes.len() as u64;
                }
                Some(FollowEvent::Target(target)) => ended.push(target.node_id),
                Some(FollowEvent::Order(order)) => break *order,
                None => panic!("ended without the order"),
            }
        };
        assert!(follow.next(&|_| true).await.unwrap().is_none());
        assert_eq!(bytes, BTreeMap::from([(node(1), 8 * 16 * 1024), (node(2), 1)]));
        assert_eq!((last.counts.ok, last.counts.failed, last.targets.len()), (1, 1, 2));
        follow = bench.orders.follow(run);
    }
    assert_eq!(bench.orders.output(run, node(1), None).await.unwrap().len(), 8 * 16 * 1024);
}

#[tokio::test]
async fn a_follower_sees_only_the_nodes_it_may() {
    let mut bench = Bench::new().await;
    bench.connect(&[1, 2]);
    bench.submit(&request(&order(1, &[1, 2]), &[1])).await.unwrap();
    for (node, slip) in bench.deliveries(2).await {
        let agent = Agent(node, slip);
        agent.writes(0, b"secret").await;
        agent.ends(OK, 6).await.await.unwrap();
    }
    let run = bench.orders.find(&order(1, &[]).id.to_string(), None).unwrap();
    let mut follow = bench.orders.follow(run);
    let sees = |seen: NodeId| seen == node(2);
    while let Some(event) = follow.next(&sees).await.unwrap() {
        match event {
            FollowEvent::Output { node: from, .. } => assert_eq!(from, node(2)),
            FollowEvent::Target(target) => assert_eq!(target.node_id, node(2)),
            FollowEvent::Order(order) => assert_eq!((order.counts.targeted, order.targets.len()), (1, 1)),
        }
    }
    let nobody = |_: NodeId| false;
    assert!(matches!(bench.orders.show(run, Some(&nobody)).await, Err(OrderError::NotFound(_))));
}

#[tokio::test]
async fn a_store_that_refuses_stops_acknowledgements_until_it_takes_them() {
    let mut bench = Bench::new().await;
    bench.connect(&[1]);
    bench.submit(&request(&order(1, &[1]), &[1])).await.unwrap();
    let (first, slip) = bench.delivery().await;
    bench.refuses.store(true, Ordering::SeqCst);
    let mut durable = Agent(first, slip).ends(OK, 0).await;
    // A new order is refused meanwhile, and sent to nobody.
    let refused = bench.submit(&request(&order(2, &[1]), &[1])).await;
    assert!(matches!(refused, Err(OrderError::State(_))), "{refused:?}");
    assert!(durable.try_recv().is_err());
    assert_eq!(bench.show(1).await.counts.ok, 0, "what is not durable is not shown");
    bench.refuses.store(false, Ordering::SeqCst);
    durable.await.unwrap();
    assert_eq!(bench.show(1).await.counts.ok, 1);
    assert!(bench.orders.find(&order(2, &[]).id.to_string(), None).is_err());
    bench.nothing_is_sent();
}

#[tokio::test]
async fn a_trees_targets_get_their_proofs() {
    let mut bench = Bench::new().await;
    bench.connect(&[1, 2, 3]);
    let nodes: Vec<NodeId> = (1..=3).map(node).collect();
    let tree = TargetTree::new(FLEET, nodes.clone()).unwrap();
    let targets = Targets::Tree { root: tree.root(), nodes: 3 };
    let asked = request(&Order { targets, ..order(1, &[1]) }, &[1]);
    bench.submit(&OrderRequest { nodes, ..asked }).await.unwrap();
    for (node, slip) in bench.deliveries(3).await {
        assert!(slip.deliver.delivery.proof.unwrap().holds(FLEET, node, tree.root(), 3));
    }
}

#[tokio::test]
async fn runs_of_a_standing_order_are_told_apart() {
    let mut bench = Bench::new().await;
    bench.connect(&[1]);
    let signed = standing(1, &[1]).sign(&[&key(1)]).unwrap();
    let run_at = |seconds: u64| ScheduledRun {
        grant: text(&signed),
        nodes: Vec::new(),
        occurrence: NOW + Duration::from_secs(seconds),
        dispatch: DispatchOptions::default(),
        by: "schedule:nightly".to_owned(),
        splay_seconds: 0,
    };
    let first = bench.orders.submit_run(run_at(0)).await.unwrap();
    let (_, slip) = bench.delivery().await;
    assert_eq!(slip.deliver.delivery.occurrence, Some(NOW));
    assert!(!bench.orders.is_over(first));
    Agent(node(1), slip).ends(OK, 0).await.await.unwrap();
    assert!(bench.orders.is_over(first));
    *bench.wall.lock().unwrap() = NOW + Duration::from_secs(3600);
    let second = bench.orders.submit_run(run_at(3600)).await.unwrap();
    let id = second.order.to_string();
    assert_eq!(bench.orders.find(&id, None).unwrap(), second);
    assert_eq!(bench.orders.find(&id, Some(NOW)).unwrap(), first);
    let listed = bench.orders.list(None, None, 10, None).await.unwrap();
    let dues: Vec<_> = listed.iter().map(|(_, order)| order.occurrence).collect();
    assert_eq!(dues, [second.occurrence, first.occurrence]);
    assert_eq!(bench.delivery().await.1.run, second);
    let _ = &mut bench.events;
}

#[tokio::test]
async fn targets_without_a_role_are_denied_and_the_rest_goes_on() {
    let mut bench = Bench::new().await;
    bench.connect(&[1, 2]);
    let draft = bench.orders.admit(&request(&order(1, &[1, 2]), &[1])).unwrap();
    let order = bench.orders.submit(draft, vec![node(1)], "person:ada").await.unwrap();
    assert_eq!((order.counts.denied, order.counts.pending), (1, 1));
    assert!(order.targets[0].detail.contains("role"));
    assert_eq!(bench.delivery().await.0, node(2));
    let bench = bench.restart().await;
    assert_eq!(bench.show(1).await.targets[0].detail, order.targets[0].detail);
}

#[tokio::test]
async fn unknown_targets_are_refused_by_name() {
    let bench = Bench::new().await;
    let refused = bench.submit(&request(&order(1, &[1, 77]), &[1])).await;
    assert!(matches!(refused, Err(OrderError::UnknownTarget(text)) if text.contains(&node(77).to_string())));
}

#[tokio::test]
async fn a_node_is_sent_no_more_than_it_has_streams_for() {
    let mut bench = Bench::new().await;
    bench.connect(&[1]);
    let most = u8::try_from(NODE_DELIVERIES_MAX).unwrap();
    for number in 0..=most {
        bench.submit(&request(&order(number, &[1]), &[1])).await.unwrap();
    }
    let mut slips = Vec::new();
    for _ in 0..NODE_DELIVERIES_MAX {
        slips.push(bench.delivery().await.1);
    }
    bench.nothing_is_sent();
    Agent(node(1), slips.remove(0)).ends(OK, 0).await.await.unwrap();
    assert_eq!(bench.delivery().await.1.run.order, order(most, &[]).id);
}

#[tokio::test]
async fn old_orders_are_deleted_with_everything_that_belongs_to_them() {
    let folder = tempfile::tempdir().unwrap();
    let store: Store = Arc::new(SqliteStore::open(&folder.path().join("state.db")).unwrap());
    let Built { mut task, orders, sessions, mut events, .. } = build(&store, folder.path().to_owned()).await;
    sessions.began(node(1), ABLE);
    task.note_session(node(1), Some(ABLE));
    let draft = orders.admit(&request(&order(1, &[1]), &[1])).unwrap();
    let (answer, _answered) = oneshot::channel();
    let by = "person:ada".to_owned();
    let submission =
        crate::order::Submission { draft, occurrence: None, not_permitted: Vec::new(), by, splay_seconds: 0 };
    task.request(Request::Submit { submission: Box::new(submission), answer });
    task.advance().await;
    let Some(NodeEvent::Deliver { slip, .. }) = events.recv().await else { panic!("not sent") };
    let agent = Agent(node(1), slip);
    agent.writes(0, &[1; 9000]).await;
    let _durable = agent.ends(OK, 9000).await;
    task.take_what_waits();
    task.advance().await;
    let run = agent.1.run;
    assert_eq!(orders.output(run, node(1), None).await.unwrap().len(), 9000);
    let keep = |days: u64| Moment { up: KEEP_STEP, wall: NOW + Duration::from_secs(days * 86_400) };
    task.keep(keep(29)).await;
    assert!(orders.find(&run.order.to_string(), None).is_ok());
    task.keep_at = Duration::ZERO;
    task.keep(keep(31)).await;
    assert!(orders.find(&run.order.to_string(), None).is_err());
    for kind in ["order", "order-state", "order-target"] {
        let prefix = Keys::new(FLEET).prefix(kind);
        let range = Range { prefix, after: None, limit: 10, descending: false };
        assert!(store.range(range).await.unwrap().is_empty(), "{kind}");
    }
    assert!(!folder.path().join("outputs").join(run.order.to_string()).exists());
}
