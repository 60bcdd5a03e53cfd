//! The attacks of a stolen aggregator, one by one.

use std::collections::BTreeMap;
use std::time::Duration;

use campanile_common::api::{AuditEntry, AuditOutcome};
use campanile_common::audit::verify_entries;
use campanile_common::authority::{
    Action, CatalogueCommand, CatalogueDocument, Command, DenialCode, OperatorKey, Order, ServiceVerb,
    Signature, SignedCatalogue, SignedOrder, TargetTree, Targets, Tier,
};
use campanile_common::id::{FleetId, JournalId, NodeId, OrderId};
use campanile_common::wire::codec;
use campanile_common::wire::v1::control::Control;
use campanile_common::wire::v1::order::{Deliver, DeliveryMode, JournalPosition, RunResult};
use campanile_common::wire::v1::request::{Reply, Request};
use campanile_tests::random::{self, Random};
use campanile_tests::support::until;

use crate::envelope::{deliver, order, signed, standing};
use crate::impostor::Impostor;
use crate::mutate::mutated;
use crate::victim::{Victim, now};

/// What is delivered, and the reason that the node must give.
struct Attack {
    name: &'static str,
    deliver: Deliver,
    expected: DenialCode,
}

fn attack(name: &'static str, order: SignedOrder, expected: DenialCode) -> Attack {
    Attack { name, deliver: deliver(order), expected }
}

/// `signatures` over other bytes than they were made for.
fn under(order: &Order, signatures: &[Signature]) -> SignedOrder {
    SignedOrder { bytes: order.to_bytes().unwrap(), signatures: signatures.to_vec() }
}

/// An order whose rules nobody checked before it was signed.
fn unchecked(order: &Order, key: &OperatorKey) -> SignedOrder {
    let mut signed = SignedOrder { bytes: codec::encode("Order", order).unwrap(), signatures: Vec::new() };
    signed.add_signature(key);
    signed
}

fn elsewhere() -> NodeId {
    NodeId::from_bytes([0xEE; 8])
}

/// Without the signatures they need.
fn forgeries(victim: &Victim) -> Vec<Attack> {
    let operators = &victim.operators;
    let change = |mark: &str| order(victim, Tier::Change, mark);
    let made_up = Signature { key: operators.ada.public().id(), bytes: vec![0x5A; 64] };
    let of_catalogue = {
        let mut signed =
            SignedCatalogue { bytes: change("domain").to_bytes().unwrap(), signatures: Vec::new() };
        signed.add_signature(&operators.ada);
        signed.signatures
    };
    let mut stolen_id = signed(&change("stolen-id"), &[&operators.stranger]);
    stolen_id.signatures[0].key = operators.ada.public().id();
    vec![
        attack("no signature", signed(&change("unsigned"), &[]), DenialCode::Signatures),
        attack("a stranger's", signed(&change("stranger"), &[&operators.stranger]), DenialCode::Signatures),
        attack("a stranger's, as ada's", stolen_id, DenialCode::Signatures),
        attack("made up", under(&change("made-up"), &[made_up]), DenialCode::Signatures),
        attack("made for a catalogue", under(&change("domain"), &of_catalogue), DenialCode::Signatures),
        attack("a removed operator's", signed(&change("removed"), &[&operators.eve]), DenialCode::Signatures),
    ]
}

/// Good signatures over something else.
fn alterations(victim: &Victim) -> Vec<Attack> {
    let operators = &victim.operators;
    let honest = order(victim, Tier::Change, "swapped");
    let signatures = signed(&honest, &[&operators.ada]).signatures;
    let mut swapped = honest.clone();
    let argv =
        ["/bin/sh", "-c", &format!("touch {}/swapped-argv", victim.marks.display())].map(str::to_owned);
    swapped.action = Action::Run(Command { argv: argv.into(), user: None, stdin: Vec::new() });
    let mut prolonged = honest.clone();
    prolonged.expires = prolonged.expires + Duration::from_secs(3600);
    let mut for_other = order(victim, Tier::Change, "retargeted");
    for_other.targets = Targets::Nodes(vec![elsewhere()]);
    let other_signed = signed(&for_other, &[&operators.ada]);
    let mut widened = for_other.clone();
    let mut both = vec![victim.node, elsewhere()];
    both.sort_unstable();
    widened.targets = Targets::Nodes(both);
    let tree = TargetTree::new(victim.file.fleet_id, (1..9).map(|n| NodeId::from_bytes([n; 8]))).unwrap();
    let mut of_tree = order(victim, Tier::Change, "tree");
    of_tree.targets = Targets::Tree { root: tree.root(), nodes: 8 };
    let mut wrong_proof = attack("a false proof", signed(&of_tree, &[&operators.ada]), DenialCode::NotTarget);
    wrong_proof.deliver.delivery.proof = tree.proof(NodeId::from_bytes([3; 8]));
    let mut foreign = order(victim, Tier::Change, "foreign");
    foreign.fleet = FleetId::from_bytes([0x66; 16]);
    let mut trailing = signed(&order(victim, Tier::Change, "trailing"), &[]);
    trailing.bytes.push(0);
    trailing.add_signature(&operators.ada);
    let mut low = order(victim, Tier::Change, "low-tier");
    low.tier = Tier::Routine;
    let garbage = SignedOrder { bytes: vec![0xFF; 300], signatures: Vec::new() };
    vec![
        attack("swapped arguments", under(&swapped, &signatures), DenialCode::Signatures),
        attack("prolonged", under(&prolonged, &signatures), DenialCode::Signatures),
        attack("meant for another node", other_signed.clone(), DenialCode::NotTarget),
        attack("widened", under(&widened, &other_signed.signatures), DenialCode::Signatures),
        attack("a tree without proof", signed(&of_tree, &[&operators.ada]), DenialCode::NotTarget),
        wrong_proof,
        attack("another fleet's", signed(&foreign, &[&operators.ada]), DenialCode::ForeignFleet),
        attack("trailing bytes", trailing, DenialCode::Malformed),
        attack("a tier too low", unchecked(&low, &operators.ada), DenialCode::Malformed),
        attack("garbage", garbage, DenialCode::Malformed),
    ]
}

/// Good orders at the wrong time, or with too few operators.
fn untimely(victim: &Victim) -> Vec<Attack> {
    let operators = &victim.operators;
    let hour = Duration::from_secs(3600);
    let mut expired = order(victim, Tier::Change, "expired");
    (expired.not_before, expired.expires) = (now() - hour * 2, now() - hour);
    let mut early = order(victim, Tier::Change, "early");
    (early.not_before, early.expires) = (now() + hour, now() + hour * 2);
    let mut endless = order(victim, Tier::Change, "endless");
    endless.expires = now() + hour * 24 * 365;
    let mut newer = order(victim, Tier::Change, "newer");
    newer.authority_version = 4;
    let critical = order(victim, Tier::Critical, "critical");
    let one = signed(&critical, &[&operators.ada]);
    let mut twice = one.clone();
    twice.signatures.push(one.signatures[0].clone());
    let mut moved = one.clone();
    let other = order(victim, Tier::Critical, "critical-other");
    moved.signatures.extend(signed(&other, &[&operators.bob]).signatures);
    let with_removed = signed(&critical, &[&operators.ada, &operators.eve]);
    let not_due = standing(victim, "not-due");
    let mut no_due_time = attack("no due time", signed(&not_due, &[&operators.ada]), DenialCode::Occurrence);
    no_due_time.deliver.delivery.occurrence = None;
    let mut long_past =
        attack("a due time long past", signed(&not_due, &[&operators.ada]), DenialCode::Occurrence);
    long_past.deliver.delivery.occurrence = Some(now() - hour);
    let mut repeated = attack(
        "a due time on an order that runs once",
        signed(&order(victim, Tier::Change, "repeated"), &[&operators.ada]),
        DenialCode::Occurrence,
    );
    repeated.deliver.delivery.occurrence = Some(now());
    vec![
        attack("expired", signed(&expired, &[&operators.ada]), DenialCode::Expired),
        attack("not yet valid", signed(&early, &[&operators.ada]), DenialCode::NotYetValid),
        attack("valid for a year", unchecked(&endless, &operators.ada), DenialCode::Malformed),
        attack("of an authority to come", signed(&newer, &[&operators.ada]), DenialCode::AuthorityUnknown),
        attack("1 of 2 approvals", one, DenialCode::Signatures),
        attack("1 of 2 approvals, twice", twice, DenialCode::Signatures),
        attack("an approval of other bytes", moved, DenialCode::Signatures),
        attack("a removed operator's approval", with_removed, DenialCode::Signatures),
        no_due_time,
        long_past,
        repeated,
    ]
}

/// Routine work that no catalogue in force names.
fn routine(victim: &Victim) -> Vec<Attack> {
    let action = |name: &str, catalogue| Action::Routine {
        catalogue,
        name: name.to_owned(),
        arguments: BTreeMap::new(),
    };
    let of = |mark: &str, action| Order { action, ..order(victim, Tier::Routine, mark) };
    let unit = "ssh.service".to_owned();
    let stop = Action::Service { verb: ServiceVerb::Stop, unit, wait_healthy_ms: None };
    vec![
        attack(
            "an old catalogue's command",
            signed(&of("old", action("old", 1)), &[]),
            DenialCode::Catalogue,
        ),
        attack(
            "an unknown command",
            signed(&of("unknown", action("unknown", 2)), &[]),
            DenialCode::Catalogue,
        ),
        attack("a unit that is not listed", signed(&of("unit", stop), &[]), DenialCode::Catalogue),
    ]
}

fn catalogue(victim: &Victim, version: u64, name: &str, keys: &[&OperatorKey]) -> SignedCatalogue {
    let line = format!("echo executed >> {}/{name}", victim.marks.display());
    let command = CatalogueCommand {
        description: String::new(),
        argv: ["/bin/sh", "-c", &line].map(str::to_owned).into(),
        user: None,
        parameters: BTreeMap::new(),
    };
    let document = CatalogueDocument {
        format: CatalogueDocument::FORMAT,
        fleet: victim.file.fleet_id,
        version,
        authority_version: 3,
        issued: now(),
        expires: now() + Duration::from_secs(3600),
        commands: BTreeMap::from([(name.to_owned(), command)]),
        services: Vec::new(),
    };
    document.sign(keys).unwrap()
}

/// Brings the node to authority 3 and catalogue 2, then tries to lead it back.
fn lead_back(victim: &Victim, impostor: &mut Impostor) {
    let ada = &victim.operators.ada;
    for signed in &victim.chain[1..] {
        impostor.say(&Control::Authority(signed.clone()));
    }
    impostor.say(&Control::Catalogue(catalogue(victim, 1, "old", &[ada])));
    impostor.say(&Control::Catalogue(catalogue(victim, 2, "new", &[ada])));
    until("the steward follows", Duration::from_secs(30), || {
        let description = impostor.describe();
        (description.authority_version, description.catalogue_version) == (3, Some(2))
    });
    let mut forged = victim.chain[2].clone();
    let mut document = forged.read().unwrap();
    document.version = 4;
    document.previous = Some(forged.digest());
    forged = document.sign(&[&victim.operators.stranger, &victim.operators.eve]).unwrap();
    // A fork of the second version, which is behind and was never part of the chain.
    let mut fork = victim.chain[1].read().unwrap();
    fork.fleet_name = "fork".to_owned();
    let fork = fork.sign(&[ada]).unwrap();
    for signed in [&victim.chain[0], &victim.chain[1], &fork, &forged] {
        impostor.say(&Control::Authority(signed.clone()));
    }
    impostor.say(&Control::Catalogue(catalogue(victim, 1, "old", &[ada])));
    impostor.say(&Control::Catalogue(catalogue(victim, 3, "forged", &[&victim.operators.eve])));
    let refused =
        |entries: &[AuditEntry]| entries.iter().filter(|entry| entry.action.ends_with(".refuse")).count();
    until("every step back is in the audit chain", Duration::from_secs(30), || {
        refused(&impostor.audit()) >= 4
    });
    let description = impostor.describe();
    assert_eq!((description.authority_version, description.catalogue_version), (3, Some(2)));
}

/// A good order works once, and once only, however often it is delivered.
fn replay(victim: &Victim, impostor: &Impostor) {
    let honest = deliver(signed(&order(victim, Tier::Change, "honest"), &[&victim.operators.ada]));
    for _ in 0..5 {
        assert_eq!(impostor.deliver(&honest).result, RunResult::Exited { code: 0 });
    }
    let critical = order(victim, Tier::Critical, "honest-critical");
    let critical = signed(&critical, &[&victim.operators.bob, &victim.operators.ada]);
    assert_eq!(impostor.deliver(&deliver(critical)).result, RunResult::Exited { code: 0 });
    let routine = Order {
        action: Action::Routine { catalogue: 2, name: "new".to_owned(), arguments: BTreeMap::new() },
        ..order(victim, Tier::Routine, "routine")
    };
    assert_eq!(impostor.deliver(&deliver(signed(&routine, &[]))).result, RunResult::Exited { code: 0 });
    let text = std::fs::read_to_string(victim.marks.join("honest")).unwrap();
    assert_eq!(text, "executed\n", "started once");
    // Another order under the same id.
    let mut other = order(victim, Tier::Change, "same-id");
    other.id = honest.delivery.order.read().unwrap().id;
    let other = deliver(signed(&other, &[&victim.operators.ada]));
    assert!(
        matches!(&impostor.deliver(&other).result, RunResult::Denied(d) if d.code == DenialCode::Replayed)
    );
    // Asked what became of an order that was never delivered, the node does not begin it.
    let mut asked = deliver(signed(&order(victim, Tier::Change, "asked"), &[&victim.operators.ada]));
    asked.mode = DeliveryMode::Report;
    assert_eq!(impostor.deliver(&asked).result, RunResult::Unknown);
}

/// Runs of a standing order come in the order of their due times, and not more often than signed.
fn reorder(victim: &Victim, impostor: &Impostor) {
    let order = signed(&standing(victim, "standing"), &[&victim.operators.ada]);
    let at = |seconds: u64| {
        let mut deliver = deliver(order.clone());
        deliver.delivery.occurrence = Some(now() - Duration::from_secs(seconds));
        impostor.deliver(&deliver).result
    };
    assert_eq!(at(5), RunResult::Exited { code: 0 });
    for seconds in [50, 20, 3, 1] {
        let result = at(seconds);
        let is_denied = matches!(&result, RunResult::Denied(denial) if denial.code == DenialCode::Occurrence);
        assert!(is_denied, "{seconds} s ago: {result:?}");
    }
}

/// Says that the node's journal was set back: it may make the node cautious, never make it run something again.
fn set_back(victim: &Victim, impostor: &Impostor) {
    let known = impostor.describe().journal.expect("the journal works");
    let mut lie = deliver(signed(&order(victim, Tier::Change, "set-back"), &[&victim.operators.ada]));
    lie.journal = Some(JournalPosition { sequence: known.sequence + 1_000_000, ..known });
    let result = impostor.deliver(&lie).result;
    assert!(matches!(result, RunResult::Indeterminate { .. }), "{result:?}");
    lie.journal = Some(JournalPosition { journal: JournalId::from_bytes([9; 8]), sequence: u64::MAX });
    impostor.deliver(&lie);
}

#[test]
fn a_stolen_aggregator_runs_nothing() {
    let victim = Victim::enrolled();
    let mut impostor = Impostor::take_over(&victim);
    lead_back(&victim, &mut impostor);
    replay(&victim, &impostor);
    reorder(&victim, &impostor);
    let honest = ["honest", "honest-critical", "new", "standing"];
    assert_eq!(victim.marks(), honest, "what operators signed runs, so the marks can be left");

    let attacks: Vec<Attack> =
        [forgeries(&victim), alterations(&victim), untimely(&victim), routine(&victim)]
            .into_iter()
            .flatten()
            .collect();
    let kinds = attacks.len();
    for Attack { name, deliver, expected } in attacks {
        let outcome = impostor.deliver(&deliver);
        match &outcome.result {
            RunResult::Denied(denial) => assert_eq!(denial.code, expected, "{name}: {denial}"),
            other => panic!("{name}: {other:?}"),
        }
        if let Ok(order) = deliver.delivery.order.read() {
            let target = format!("order:{}", order.id);
            let entries = impostor.audit();
            let is_noted =
                |e: &AuditEntry| e.target.starts_with(&target) && e.outcome == AuditOutcome::Denied;
            assert!(entries.iter().any(is_noted), "{name} is not in the node's audit");
        }
    }
    let mutations = mutate_all(&victim, &impostor);
    set_back(&victim, &impostor);

    assert_eq!(victim.marks(), honest, "nothing else ran");
    let entries = impostor.audit();
    let verified = verify_entries(&entries, &[]);
    assert!(verified.intact, "{verified:?}");
    assert!(matches!(impostor.ask(&Request::Ping), Reply::Pong), "the agent goes on");
    eprintln!(
        "hostile aggregator: {kinds} attacks, {mutations} mutated envelopes, replay, reordering, downgrades, set-back: \
         0 executions; {} entries in the node's audit, chain intact",
        entries.len()
    );
}

/// Delivers mutated envelopes; gives how many.
fn mutate_all(victim: &Victim, impostor: &Impostor) -> u64 {
    let seed = random::seed();
    eprintln!("CAMPANILE_SEED={seed}");
    let mut random = Random::new(seed);
    let count = crate::mutations(crate::OVER_THE_LINK);
    let before = denials(&impostor.audit());
    for number in 0..count {
        let mut honest = order(victim, Tier::Change, &format!("mutated-{number}"));
        honest.id = OrderId::from_bytes([0x77; 16]);
        let sent = deliver(mutated(&mut random, &signed(&honest, &[&victim.operators.ada])));
        let outcome = impostor.deliver(&sent);
        assert!(matches!(outcome.result, RunResult::Denied(_)), "{outcome:?}: {sent:?}");
    }
    let noted = denials(&impostor.audit()) - before;
    assert!(u64::try_from(noted).unwrap() >= count, "{noted} of {count} are in the node's audit");
    count
}

fn denials(entries: &[AuditEntry]) -> usize {
    entries.iter().filter(|entry| entry.outcome == AuditOutcome::Denied).count()
}
