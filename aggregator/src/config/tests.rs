//! Tests with a real store and real files; the test is in the place of the nodes.

#![expect(clippy::disallowed_methods, reason = "parts are damaged by hand")]

mod approval;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use campanile_common::api::NodeState;
use campanile_common::authority::ConfigMode;
use campanile_common::config::{Layer, LayerKind, LayerPart, Purpose, SecretPart, part_digest};
use campanile_common::id::FleetId;
use campanile_common::label::Labels;
use campanile_common::wire::v1::config::{ConfigOffer, ConfigPhase};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::fixture::{MEMBERS, generation, layer, put, signed};
use super::*;
use crate::audit::AuditQuery;
use crate::node::{FleetView, NodeEvent, Nodes, OfferEnd, Registry, SessionAbilities, Sessions, TokenPins};
use crate::order::fixture::{FLEET, NOW, authority, key, node, node_record};
use crate::state::{Committed, SqliteStore, Transaction, Write, to_json};

const APPLY: ConfigMode = ConfigMode::Apply { is_confirmed: false, confirm_within_s: 60 };

struct Bench {
    config: Config,
    reports: Option<Reports>,
    audit: Audit,
    events: Events,
    clock: Clock,
    /// Hours since [`NOW`].
    hour: Arc<AtomicU64>,
    frozen: watch::Sender<bool>,
    authority: watch::Sender<Arc<Authority>>,
}

async fn open(folder: &Path) -> Bench {
    open_with(folder, KeepPolicy::default()).await
}

async fn open_with(folder: &Path, policy: KeepPolicy) -> Bench {
    let store: Store = Arc::new(SqliteStore::open(&folder.join("state.db")).unwrap());
    let parts = Parts::open(&folder.join("parts")).unwrap();
    let hour = Arc::new(AtomicU64::new(0));
    let source = Arc::clone(&hour);
    let clock =
        Clock::from_fn(move || NOW + std::time::Duration::from_secs(3600 * source.load(Ordering::SeqCst)));
    bench(store, parts, policy, clock, hour).await
}

async fn bench(store: Store, parts: Parts, policy: KeepPolicy, clock: Clock, hour: Arc<AtomicU64>) -> Bench {
    let keys = Keys::new(FLEET);
    let audit = Audit::open(store.clone(), keys.clone(), clock.clone(), [1; 32]).await.unwrap();
    let events = Events::default();
    let (frozen, is_frozen) = watch::channel(false);
    let (in_force, authority) = watch::channel(Arc::new(authority()));
    let with = ConfigParts {
        store,
        keys,
        parts,
        audit: audit.clone(),
        events: events.clone(),
        authority,
        is_frozen,
        policy,
        clock: clock.clone(),
    };
    let (config, reports) = Config::open(with).await.unwrap();
    Bench { config, reports: Some(reports), audit, events, clock, hour, frozen, authority: in_force }
}

impl Bench {
    /// Releases a layer of this text on top of the head.
    async fn release(&self, text: &str, files: &[&str]) -> Digest {
        let (layer, parts) = layer(text, files);
        put(&self.config, &parts).await;
        let head = self.config.head();
        let signed = signed(&generation(head.as_ref().map(|head| (head.number, head.digest)), &layer));
        let expected = head.map_or(Expected::Nothing, |head| Expected::Head(head.digest));
        self.config.submit(signed.digest(), signed.encode(), expected, "person:ada").await.unwrap();
        signed.digest()
    }

    async fn submit(&self, generation: &campanile_common::config::Generation) -> Result<(), ConfigError> {
        let signed = signed(generation);
        let expected = generation.parent.map_or(Expected::Nothing, Expected::Head);
        self.config.submit(signed.digest(), signed.encode(), expected, "person:ada").await.map(drop)
    }

    async fn audited(&self, action: &str) -> usize {
        let query = AuditQuery { limit: 100, action: Some(action.to_owned()), ..AuditQuery::default() };
        self.audit.list(query).await.unwrap().len()
    }
}

fn applied(number: u64, digest: Digest) -> ConfigReport {
    let current = Some((number, digest));
    ConfigReport { current, phase: ConfigPhase::Applied, ..ConfigReport::default() }
}

#[tokio::test]
async fn a_release_becomes_the_head_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path()).await;
    assert_eq!(bench.config.head(), None);
    let first = bench.release("one", &["motd"]).await;
    let second = bench.release("two", &[]).await;
    let bytes = bench.config.signed(first).await.unwrap();
    drop(bench);
    let bench = open(folder.path()).await;
    assert_eq!(bench.config.head(), Some(ConfigHead { number: 2, digest: second }));
    let shown = bench.config.find("1").unwrap();
    assert_eq!((shown.digest, shown.author.as_str(), shown.members), (first, "ada", 2));
    assert_eq!(shown.operators, ["op-1"]);
    assert_eq!(bench.config.signed(first).await.unwrap(), bytes);
    let numbers: Vec<u64> = bench.config.releases(None, 10).iter().map(|shown| shown.number).collect();
    assert_eq!(numbers, [2, 1]);
    assert_eq!(bench.config.releases(Some(2), 10).len(), 1);
    assert_eq!(bench.audited("config.release").await, 2);
}

#[tokio::test]
async fn of_two_that_are_raced_one_becomes_the_head_and_the_other_hears_which() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path()).await;
    let (layer, parts) = layer("one", &[]);
    put(&bench.config, &parts).await;
    let first = generation(None, &layer);
    let other = campanile_common::config::Generation { message: "another".to_owned(), ..first.clone() };
    let (a, b) = tokio::join!(bench.submit(&first), bench.submit(&other));
    assert!(a.is_ok() != b.is_ok());
    let head = bench.config.head().unwrap();
    let refused = a.and(b).unwrap_err();
    assert!(matches!(refused, ConfigError::Conflict(_)));
    assert!(refused.to_string().contains(&head.digest.to_string()), "{refused}");
    assert_eq!(bench.audited("config.release").await, 1);
}

#[tokio::test]
async fn of_two_aggregators_on_one_store_one_wins_and_the_other_takes_over_the_head() {
    let folder = tempfile::tempdir().unwrap();
    let store: Store = Arc::new(SqliteStore::open(&folder.path().join("state.db")).unwrap());
    let parts = Parts::open(&folder.path().join("parts")).unwrap();
    let (clock, hour, policy) = (Clock::from_fn(|| NOW), Arc::default(), KeepPolicy::default());
    let one = bench(store.clone(), parts.clone(), policy, clock.clone(), Arc::clone(&hour)).await;
    let two = bench(store, parts, policy, clock, hour).await;
    let (layer, parts) = layer("one", &[]);
    put(&one.config, &parts).await;
    one.submit(&generation(None, &layer)).await.unwrap();
    let other =
        campanile_common::config::Generation { message: "other".to_owned(), ..generation(None, &layer) };
    assert!(matches!(two.submit(&other).await, Err(ConfigError::Conflict(_))));
    assert_eq!(two.config.head(), one.config.head());
    let head = two.config.head().unwrap();
    two.submit(&generation(Some((1, head.digest)), &layer)).await.unwrap();
    assert_eq!(two.config.head().unwrap().number, 2);
}

#[tokio::test]
async fn what_does_not_follow_the_head_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path()).await;
    let first = bench.release("one", &[]).await;
    let (layer, _) = layer("one", &[]);
    let next = generation(Some((1, first)), &layer);
    let foreign = Digest::from_bytes([7; 32]);
    let skips = campanile_common::config::Generation { number: 3, ..next.clone() };
    let beside = generation(Some((1, foreign)), &layer);
    for refused in [generation(None, &layer), skips, beside] {
        let refused = campanile_common::config::Generation { message: "x".to_owned(), ..refused };
        assert!(matches!(bench.submit(&refused).await, Err(ConfigError::Conflict(_))), "{refused:?}");
    }
    let signed = signed(&next);
    let unsaid = bench.config.submit(signed.digest(), signed.encode(), Expected::Unsaid, "person:ada").await;
    assert!(matches!(unsaid, Err(ConfigError::Invalid(_))));
    bench.submit(&next).await.unwrap();
    bench.submit(&next).await.unwrap();
    assert_eq!(bench.audited("config.release").await, 2, "the same again is the same");
}

#[tokio::test]
async fn what_is_not_signed_foreign_stale_or_misnamed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path()).await;
    let (layer, parts) = layer("one", &[]);
    put(&bench.config, &parts).await;
    let good = generation(None, &layer);
    let submit = async |signed: campanile_common::config::SignedGeneration, named| {
        let submitted = bench.config.submit(named, signed.encode(), Expected::Nothing, "person:ada").await;
        submitted.unwrap_err()
    };
    let unsigned = good.sign(&[]).unwrap();
    assert!(matches!(submit(unsigned.clone(), unsigned.digest()).await, ConfigError::Signatures(_)));
    let stranger = good.sign(&[&key(9)]).unwrap();
    assert!(matches!(submit(stranger.clone(), stranger.digest()).await, ConfigError::Signatures(_)));
    let mut forged = signed(&good);
    let last = forged.bytes.len() - 1;
    forged.bytes[last] ^= 1;
    let error = submit(forged.clone(), forged.digest()).await;
    assert!(matches!(error, ConfigError::Signatures(_) | ConfigError::Invalid(_)), "{error}");
    let foreign =
        campanile_common::config::Generation { fleet: FleetId::from_bytes([1; 16]), ..good.clone() };
    assert!(matches!(submit(signed(&foreign), signed(&foreign).digest()).await, ConfigError::Invalid(_)));
    let stale = campanile_common::config::Generation { authority_version: 2, ..good.clone() };
    assert!(matches!(submit(signed(&stale), signed(&stale).digest()).await, ConfigError::Stale(_)));
    let named = submit(signed(&good), Digest::from_bytes([3; 32])).await;
    assert!(matches!(named, ConfigError::Invalid(_)));
    bench.frozen.send_replace(true);
    assert!(matches!(bench.submit(&good).await, Err(ConfigError::Frozen)));
    bench.frozen.send_replace(false);
    bench.submit(&good).await.unwrap();
}

#[tokio::test]
async fn a_generation_whose_parts_are_missing_or_damaged_is_refused_until_they_come() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path()).await;
    let (layer, parts) = layer("one", &["motd", "issue"]);
    let sealed = part_digest(b"sealed");
    let sealed_to = [(MEMBERS[0], sealed)].into();
    let secret = SecretPart { selector: String::new(), set: NOW, sealed: sealed_to };
    let mut wanted = generation(None, &layer);
    wanted.secrets.insert("db".to_owned(), secret);
    for (digest, bytes) in &parts {
        let refused = bench.submit(&wanted).await.unwrap_err();
        assert!(matches!(refused, ConfigError::MissingParts(_)), "{refused}");
        bench.config.put_part(*digest, bytes.clone()).await.unwrap();
    }
    let refused = bench.submit(&wanted).await.unwrap_err();
    assert!(refused.to_string().contains(&sealed.to_string()), "{refused}");
    bench.config.put_part(sealed, b"sealed".to_vec()).await.unwrap();
    let name = part_digest(&layer.to_bytes()).to_string();
    let path = folder.path().join("parts").join(&name[..2]).join(&name);
    std::fs::write(path, b"{}").unwrap();
    // Read once before, it is not read again: only a restart forgets what a layer names.
    drop(bench);
    let bench = open(folder.path()).await;
    let refused = bench.submit(&wanted).await.unwrap_err();
    assert!(matches!(refused, ConfigError::Part(PartError::Damaged { .. })), "{refused}");
    put(&bench.config, &parts).await;
    bench.submit(&wanted).await.unwrap();
}

#[tokio::test]
async fn a_draft_may_be_planned_and_not_applied_and_leaves_the_head_alone() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path()).await;
    let release = bench.release("one", &[]).await;
    let (layer, _) = layer("one", &[]);
    let draft = campanile_common::config::Generation {
        purpose: Purpose::Draft,
        ..generation(Some((1, release)), &layer)
    };
    bench.submit(&draft).await.unwrap();
    let digest = signed(&draft).digest();
    assert_eq!(bench.config.head().unwrap().digest, release);
    assert!(bench.config.admit(digest, ConfigMode::Plan, true).is_ok());
    assert!(matches!(bench.config.admit(digest, APPLY, true), Err(ConfigError::Invalid(_))));
    assert!(bench.config.admit(release, APPLY, true).is_ok());
    assert!(bench.config.settle(digest, "person:ada").await.is_err());
    let unknown = Digest::from_bytes([1; 32]);
    assert!(matches!(bench.config.admit(unknown, ConfigMode::Plan, true), Err(ConfigError::NotFound(_))));
    assert_eq!(bench.config.releases(None, 10).len(), 1);
}

#[tokio::test]
async fn pruning_keeps_what_nodes_have_and_removes_parts_that_nothing_names() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open_with(folder.path(), KeepPolicy { generations: 2, days: 365 }).await;
    let mut digests = Vec::new();
    for number in 1..=5 {
        let own = format!("file {number}");
        digests.push(bench.release(&format!("layer {number}"), &[&own, "shared"]).await);
    }
    let record = ReportRecord { node: node(1), at: NOW, report: applied(2, digests[1]) };
    bench.config.known().nodes.insert(node(1), Arc::new(record));
    assert!(bench.config.forget_generations(100).await.unwrap());
    assert!(!bench.config.forget_generations(100).await.unwrap());
    let left: Vec<u64> = bench.config.releases(None, 10).iter().map(|shown| shown.number).collect();
    assert_eq!(left, [5, 4, 2]);
    let kept = bench.config.kept_parts().unwrap();
    let hour = std::time::Duration::from_secs(3600);
    let sweep = |at| bench.config.parts().sweep(&kept, at, hour, 100).unwrap();
    assert_eq!(sweep(NOW), 0, "not while they may be of a generation on its way");
    // A layer, a file and the signed bytes each of 1 and 3.
    assert_eq!(sweep(NOW + hour), 6);
    for number in [2, 4, 5] {
        let own = part_digest(format!("file {number}").as_bytes());
        assert!(bench.config.parts().has(own), "{number}");
    }
    assert!(bench.config.parts().has(part_digest(b"shared")));
    drop(bench);
    let bench = open(folder.path()).await;
    assert_eq!(bench.config.releases(None, 10).len(), 3);
    assert_eq!(bench.config.head().unwrap().digest, digests[4]);
}

#[tokio::test]
async fn nothing_is_swept_while_a_kept_generation_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path()).await;
    bench.release("one", &["motd"]).await;
    let (layer, _) = layer("one", &["motd"]);
    let name = part_digest(&layer.to_bytes()).to_string();
    drop(bench);
    std::fs::write(folder.path().join("parts").join(&name[..2]).join(&name), b"damaged").unwrap();
    let bench = open(folder.path()).await;
    assert!(bench.config.kept_parts().is_err());
}

#[tokio::test]
async fn a_node_is_served_its_own_parts_and_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path()).await;
    let (fleet, mut parts) = layer("fleet", &["motd"]);
    let (web, more): (Layer, _) = layer("web", &["nginx.conf"]);
    parts.extend(more);
    for text in ["for 1", "for 2"] {
        parts.insert(part_digest(text.as_bytes()), text.as_bytes().to_vec());
    }
    put(&bench.config, &parts).await;
    let mut wanted = generation(None, &fleet);
    wanted.layers.push(LayerPart {
        kind: LayerKind::Group,
        name: "web".to_owned(),
        selector: Some("role=web".to_owned()),
        priority: 0,
        digest: part_digest(&web.to_bytes()),
        is_for_members_only: false,
    });
    let sealed = [(node(1), part_digest(b"for 1")), (node(2), part_digest(b"for 2"))].into();
    wanted.secrets.insert("db".to_owned(), SecretPart { selector: String::new(), set: NOW, sealed });
    bench.submit(&wanted).await.unwrap();
    let digest = signed(&wanted).digest();
    let share = async |number: u8, labels: &str| {
        let labels: Labels = labels.parse().unwrap();
        let name = format!("node-{number}");
        let offer = ConfigOffer { generation: digest, name, labels, is_followed: false };
        bench.config.share(node(number), &offer).await.unwrap()
    };
    let has = |share: &Share, bytes: &[u8]| share.part(part_digest(bytes)).is_some();
    // A member gets what was signed for it, whatever labels it has now.
    let member = share(1, "role=web").await;
    assert!(has(&member, b"motd") && has(&member, b"for 1"));
    assert!(!has(&member, b"nginx.conf") && !has(&member, b"for 2"));
    assert!(!has(&member, &web.to_bytes()));
    let later = share(7, "role=web").await;
    assert!(has(&later, b"motd") && has(&later, b"nginx.conf") && !has(&later, b"for 1"));
    let encoded = bench.config.read_part(later.part(digest).unwrap()).await.unwrap();
    assert_eq!(encoded, signed(&wanted).encode());
}

#[tokio::test]
async fn five_thousand_parts_are_taken_asked_for_and_released() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path()).await;
    let names: Vec<String> = (0..5000).map(|number| format!("file number {number}")).collect();
    let files: Vec<&str> = names.iter().map(String::as_str).collect();
    let (layer, parts) = layer("many", &files);
    let digests: Vec<Digest> = parts.keys().copied().collect();
    assert_eq!(bench.config.missing_parts(&digests).len(), 5001);
    let (config, now) = (bench.config.clone(), NOW);
    let written = tokio::task::spawn_blocking(move || {
        for (digest, bytes) in &parts {
            config.parts().put(*digest, bytes, now).unwrap();
        }
    });
    written.await.unwrap();
    assert!(bench.config.missing_parts(&digests).is_empty());
    bench.submit(&generation(None, &layer)).await.unwrap();
    assert_eq!(bench.config.kept_parts().unwrap().len(), 5002);
}

/// The task at work, with the test in the place of nodes and orders.
struct Fleet {
    _stop: DropGuard,
    bench: Bench,
    sessions: Sessions,
    asked: mpsc::Receiver<NodeEvent>,
    ended: mpsc::Sender<ApplyEnded>,
    targets: Arc<Mutex<BTreeSet<NodeId>>>,
}

async fn fleet(folder: &Path) -> Fleet {
    let mut bench = open(folder).await;
    let with = &bench.config.shared.with;
    for number in 1..=3 {
        let write = Write::put(with.keys.node(node(number)), to_json(&node_record(number, "role=web")));
        let done =
            with.store.commit(Transaction { compares: Vec::new(), writes: vec![write] }).await.unwrap();
        assert!(matches!(done, Committed::Done(_)));
    }
    let registry =
        Registry::open(with.store.clone(), with.keys.clone(), bench.audit.clone(), bench.clock.clone());
    let pins = TokenPins {
        fleet: FLEET,
        addresses: Vec::new(),
        ca_key: Digest::from_bytes([0; 32]),
        authority: watch::channel(Digest::from_bytes([0; 32])).1,
    };
    let (sender, asked) = mpsc::channel(64);
    let view = watch::channel(Arc::new(FleetView::default())).1;
    let nodes = Nodes::new(registry.await.unwrap(), sender, view, pins, bench.clock.clone());
    let (sessions, targets) = (Sessions::default(), Arc::new(Mutex::default()));
    let (ended, inbox) = mpsc::channel(8);
    let source: Arc<Mutex<BTreeSet<NodeId>>> = Arc::clone(&targets);
    let parts = ConfigTaskParts {
        nodes,
        sessions: sessions.clone(),
        targets: Box::new(move || source.lock().unwrap().clone()),
        ended: inbox,
    };
    let task = ConfigTask::new(bench.config.clone(), bench.reports.take().unwrap(), parts);
    let stop = CancellationToken::new();
    tokio::spawn(task.run(stop.clone()));
    Fleet { _stop: stop.drop_guard(), bench, sessions, asked, ended, targets }
}

impl Fleet {
    async fn says(&self, number: u8, report: ConfigReport) {
        self.sessions.began(node(number), SessionAbilities { takes_orders: true });
        tokio::task::yield_now().await;
        self.bench.config.report(node(number), report.clone()).await;
        self.until(|| self.bench.config.node(node(number), "", true).reported.is_some()).await;
    }

    async fn until(&self, holds: impl Fn() -> bool) {
        for _ in 0..10_000 {
            if holds() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        panic!("it never held");
    }

    /// The next offer, answered with `end`.
    async fn offered(&mut self, end: OfferEnd) -> (NodeId, ConfigOffer) {
        let asked = tokio::time::timeout(std::time::Duration::from_secs(20), self.asked.recv()).await;
        match asked.unwrap() {
            Some(NodeEvent::Offer { node, offer, answer }) => {
                answer.send(end).unwrap();
                (node, *offer)
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_node_that_was_away_is_offered_the_release_once_it_is_settled() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = fleet(folder.path()).await;
    let digest = fleet.bench.release("one", &[]).await;
    fleet.says(3, ConfigReport::default()).await;
    fleet.targets.lock().unwrap().insert(node(1));
    fleet.says(1, ConfigReport::default()).await;
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert!(fleet.asked.try_recv().is_err(), "nobody knows yet whether it does harm");
    let clean = |targets: &[NodeId], is_clean| {
        let (targets, applied) = (targets.iter().copied().collect(), BTreeSet::new());
        ApplyEnded { generation: digest, targets, applied, is_clean }
    };
    fleet.ended.send(clean(&MEMBERS, false)).await.unwrap();
    fleet.ended.send(clean(&[node(1)], true)).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(fleet.bench.config.settled(), None, "it failed, and then reached a part of its members alone");
    fleet.ended.send(clean(&MEMBERS, true)).await.unwrap();
    let (to, offer) = fleet.offered(OfferEnd::Ready).await;
    assert_eq!((to, offer.generation, offer.is_followed), (node(3), digest, true));
    assert_eq!(offer.name, "node-3");
    assert_eq!(fleet.bench.config.settled().map(|settled| settled.digest), Some(digest));
    fleet.targets.lock().unwrap().clear();
    assert_eq!(fleet.offered(OfferEnd::Ready).await.0, node(1));
    assert_eq!(fleet.bench.audited("config.settle").await, 1);
}

#[tokio::test]
async fn what_a_node_reports_is_kept_over_a_restart_and_its_turns_are_audited() {
    let folder = tempfile::tempdir().unwrap();
    let digest = {
        let fleet = fleet(folder.path()).await;
        let digest = fleet.bench.release("one", &[]).await;
        let mut subscription = fleet.bench.events.subscribe(None);
        let undone = ConfigReport {
            phase: ConfigPhase::Reverted,
            tried: Some((1, digest)),
            detail: "no session in time".to_owned(),
            ..ConfigReport::default()
        };
        fleet.says(1, undone).await;
        let event = subscription.receiver.recv().await.unwrap();
        assert_eq!((event.kind, event.node), ("config.node", Some(node(1))));
        assert_eq!(fleet.bench.audited("config.reverted").await, 1);
        assert_eq!(fleet.bench.config.figures().phases, BTreeMap::from([("reverted", 1)]));
        digest
    };
    let bench = open(folder.path()).await;
    let shown = bench.config.node(node(1), "node-1", false);
    assert_eq!((shown.phase.as_str(), shown.tried.unwrap().digest), ("reverted", digest));
    assert_eq!(bench.config.node(node(2), "node-2", true).phase, "unknown");
    assert_eq!(bench.hour.load(Ordering::SeqCst), 0);
    assert_eq!(node_record(1, "").state, NodeState::Active);
}
