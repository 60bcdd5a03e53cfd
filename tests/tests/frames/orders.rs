//! Orders, catalogues and everything around them, with fixed content.

use std::collections::BTreeMap;

use campanile_common::authority::{
    Action, BackupAction, CatalogueCommand, CatalogueDocument, Class, Command, CommandPattern, Delivery,
    Denial, DenialCode, Limits, OperatorKey, Order, Parameter, ParameterKind, Policy, RestorePlace, RunId,
    ServiceRule, ServiceVerb, SignedCatalogue, SignedOrder, Standing, TargetTree, Targets, Tier,
};
use campanile_common::id::{Digest, JournalId, NodeId, OrderId};
use campanile_common::wire::v1::control::Checkpoint;
use campanile_common::wire::v1::order::{
    AuditPosition, Deliver, DeliveryMode, JournalPosition, OrderReply, OrderRequest, Outcome, OutputChunk,
    OutputStream, RunResult,
};
use campanile_common::wire::v1::request::{Reply, Request, StewardDescription, UnitState};

use crate::messages::{FLEET, NODE, SEED, TIME};

const ORDER: OrderId = OrderId::from_bytes([0x0D; 16]);

fn key() -> OperatorKey {
    OperatorKey::from_seed(SEED.into()).expect("any 32 bytes are a seed")
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// An order of each action; the last one is a standing order for a tree of targets.
pub(crate) fn all() -> Vec<Order> {
    let command = Command {
        argv: words("systemctl is-active nginx"),
        user: Some("www-data".to_owned()),
        stdin: b"in".to_vec(),
    };
    let arguments = BTreeMap::from([("level".to_owned(), "3".to_owned())]);
    let actions = [
        (Tier::Change, Action::Run(command)),
        (Tier::Routine, Action::Routine { catalogue: 4, name: "pack".to_owned(), arguments }),
        (
            Tier::Routine,
            Action::Service {
                verb: ServiceVerb::Reload,
                unit: "nginx.service".to_owned(),
                wait_healthy_ms: Some(30_000),
            },
        ),
        (Tier::Critical, Action::Cancel { order: ORDER }),
    ];
    let mut orders: Vec<Order> = actions.into_iter().map(|(tier, action)| order(tier, action)).collect();
    let mut standing = orders[2].clone();
    standing.targets = Targets::Tree { root: tree().root(), nodes: 5 };
    standing.standing = Some(Standing { interval_s: 3600, lateness_s: 600, runs_max: 1000 });
    orders.push(standing);
    orders
}

fn order(tier: Tier, action: Action) -> Order {
    Order {
        format: Order::FORMAT,
        fleet: FLEET,
        id: ORDER,
        authority_version: 1,
        tier,
        not_before: TIME,
        expires: TIME + std::time::Duration::from_secs(3600),
        targets: Targets::Nodes(vec![NODE]),
        action,
        limits: Limits { timeout_ms: 30_000, output_bytes: 65_536 },
        standing: None,
        reason: "golden".to_owned(),
    }
}

/// An order of each thing that is done with backups.
pub(crate) fn backups() -> Vec<Order> {
    let policy = || "files".parse().expect("is a name");
    let restore = |to| BackupAction::Restore {
        policy: policy(),
        snapshot: "latest".to_owned(),
        paths: vec!["/etc/hosts".to_owned()],
        to,
    };
    let actions = [
        BackupAction::Run { policy: policy() },
        BackupAction::Check { policy: policy(), part: 2, of: 7 },
        BackupAction::Drill { policy: policy() },
        restore(RestorePlace::Folder("/srv/restored".to_owned())),
        restore(RestorePlace::InPlace),
        BackupAction::List { policy: policy(), snapshot: "latest".to_owned(), path: Some("/etc".to_owned()) },
        BackupAction::Diff { policy: policy(), before: "4f0c2a91".to_owned(), after: "latest".to_owned() },
    ];
    actions.into_iter().map(|action| order(action.tier_min(), Action::Backup(action))).collect()
}

/// Orders about what another node saved, and about what is for whoever asks.
pub(crate) fn backups_elsewhere() -> Vec<Order> {
    let (policy, snapshot) = (|| "files".parse().expect("is a name"), || "latest".to_owned());
    let from = |to, is_tried| BackupAction::RestoreFrom {
        source: NodeId::from_bytes([0x5A; 8]),
        policy: policy(),
        snapshot: snapshot(),
        paths: vec!["/etc/hosts".to_owned()],
        to,
        sealed: vec![0x5E; 300],
        is_tried,
    };
    let actions = [
        from(RestorePlace::Folder("/srv/restored".to_owned()), false),
        from(RestorePlace::InPlace, true),
        BackupAction::Dump {
            policy: policy(),
            snapshot: snapshot(),
            path: "/etc/hosts".to_owned(),
            recipient: format!("age1{}", "q".repeat(58)),
        },
    ];
    actions.into_iter().map(|action| order(action.tier_min(), Action::Backup(action))).collect()
}

fn tree() -> TargetTree {
    let others = (1..5).map(|number| NodeId::from_bytes([number; 8]));
    TargetTree::new(FLEET, others.chain([NODE])).expect("five nodes")
}

fn signed(order: &Order) -> SignedOrder {
    let needs_signature = order.tier >= Tier::Change;
    let key = key();
    let keys: &[&OperatorKey] = if needs_signature { &[&key] } else { &[] };
    order.sign(keys).expect("is consistent")
}

pub(crate) fn catalogue() -> SignedCatalogue {
    let kinds = [
        ("level", ParameterKind::Integer { min: -1, max: 9 }),
        ("mode", ParameterKind::Choice(vec!["fast".to_owned(), "small".to_owned()])),
        ("name", ParameterKind::Name),
        ("folder", ParameterKind::Path { beneath: "/srv".to_owned() }),
        ("unit", ParameterKind::Unit),
    ];
    let parameters = kinds
        .map(|(name, kind)| (name.to_owned(), Parameter { kind, default: None, description: String::new() }));
    let command = CatalogueCommand {
        description: "Packs a folder".to_owned(),
        argv: words("/usr/bin/pack --level={level} {folder}"),
        user: None,
        parameters: parameters.into(),
    };
    let document = CatalogueDocument {
        format: CatalogueDocument::FORMAT,
        fleet: FLEET,
        version: 4,
        authority_version: 1,
        issued: TIME,
        expires: TIME + std::time::Duration::from_secs(3600),
        commands: BTreeMap::from([("pack".to_owned(), command)]),
        services: vec![ServiceRule {
            unit: "nginx*.service".to_owned(),
            verbs: [ServiceVerb::Restart, ServiceVerb::Reload].into(),
        }],
    };
    document.sign(&[&key()]).expect("is consistent")
}

const POSITION: JournalPosition = JournalPosition { journal: JournalId::from_bytes([0x10; 8]), sequence: 99 };

pub(crate) fn requests() -> Vec<OrderRequest> {
    let mut requests: Vec<OrderRequest> = all()
        .iter()
        .map(|order| {
            let is_standing = order.standing.is_some();
            OrderRequest::Deliver(Deliver {
                delivery: Delivery {
                    order: signed(order),
                    proof: is_standing.then(|| tree().proof(NODE).expect("is a leaf")),
                    occurrence: is_standing.then_some(TIME),
                },
                mode: if is_standing { DeliveryMode::Report } else { DeliveryMode::Start },
                journal: is_standing.then_some(POSITION),
            })
        })
        .collect();
    requests.push(OrderRequest::Acknowledged);
    requests
}

pub(crate) fn denial() -> Denial {
    Denial { code: DenialCode::PolicyUnit, reason: "not listed".to_owned() }
}

pub(crate) fn replies() -> Vec<OrderReply> {
    let results = [
        RunResult::Exited { code: -1 },
        RunResult::Signalled { signal: 9 },
        RunResult::TimedOut,
        RunResult::Cancelled,
        RunResult::Failed { reason: "no such program".to_owned() },
        RunResult::Denied(denial()),
        RunResult::Indeterminate { reason: "the steward was killed".to_owned() },
        RunResult::Unknown,
    ];
    let outcome = |result| Outcome {
        run: RunId { order: ORDER, occurrence: Some(TIME) },
        result,
        started: Some(TIME),
        finished: TIME,
        output_bytes: 1 << 30,
        output_kept: 65_536,
        journal: Some(POSITION),
        audit: Some(AuditPosition { sequence: 12, hash: Digest::from_bytes([0xAD; 32]) }),
    };
    let chunk = |stream| OutputChunk { offset: 300, stream, bytes: b"6.1.0\n".to_vec() };
    let mut replies = vec![
        OrderReply::Received(POSITION),
        OrderReply::Output(chunk(OutputStream::Stdout)),
        OrderReply::Output(chunk(OutputStream::Stderr)),
    ];
    replies.extend(results.map(|result| OrderReply::Outcome(outcome(result))));
    replies
}

pub(crate) fn observe() -> Vec<Request> {
    let unit = || "nginx.service".to_owned();
    vec![
        Request::Ping,
        Request::Describe,
        Request::Unit { unit: unit() },
        Request::Journal { unit: unit(), since_s: Some(3600), lines: 100, is_followed: true },
        Request::Audit { after: 7, limit: 64 },
        Request::Checkpoints { limit: 128 },
    ]
}

pub(crate) fn observed() -> Vec<Reply> {
    let mut policy = Policy { highest_tier: Tier::Critical, ..Policy::default() };
    policy.classes = Class::ALL.into();
    policy.commands.critical = vec![CommandPattern::new("reboot **")];
    let description = StewardDescription {
        policy,
        policy_source: "/etc/campanile/policy.toml".to_owned(),
        authority_version: 2,
        catalogue_version: Some(4),
        user: "root".to_owned(),
        has_units: true,
        journal: Some(POSITION),
        audit: None,
        running: 1,
    };
    let state = UnitState {
        unit: "nginx.service".to_owned(),
        description: "A web server".to_owned(),
        load: "loaded".to_owned(),
        active: "active".to_owned(),
        sub: "running".to_owned(),
        enabled: "enabled".to_owned(),
        main_pid: Some(4242),
        restarts: 1,
        since: Some(TIME),
        result: "success".to_owned(),
    };
    let checkpoint =
        Checkpoint { sequence: 7, hash: Digest::from_bytes([3; 32]), time: TIME, signature: vec![4; 64] };
    vec![
        Reply::Pong,
        Reply::Description(Box::new(description)),
        Reply::Unit(state),
        Reply::Journal(b"started\n".to_vec()),
        Reply::Audit(vec!["{}".to_owned()]),
        Reply::Checkpoints(vec![checkpoint]),
        Reply::Denied(denial()),
    ]
}
