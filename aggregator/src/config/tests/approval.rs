//! Generations of a fleet where two operators must sign.

use campanile_common::api::{GenerationSummary, ProposalKind, Submitted};
use campanile_common::authority::{Document, Operator, Role, Signature};
use campanile_common::config::{Generation, SignedGeneration};

use super::super::approve::id;
use super::super::keep::WAITING_MAX;
use super::*;

/// Operators `op-1` to `op-COUNT`, two of whom must sign changes.
fn two_must_sign(count: u8) -> Arc<Authority> {
    let operator = |number: u8| Operator {
        name: format!("op-{number}"),
        key: key(number).public(),
        roles: Role::ALL.into(),
    };
    let document = Document {
        operators: (1..=count).map(operator).collect(),
        thresholds: Role::ALL.map(|role| (role, if role == Role::Change { 2 } else { 1 })).into(),
        ..authority().document().clone()
    };
    let signed = document.sign(&[&key(1)]).unwrap();
    let digest = signed.digest();
    Arc::new(signed.verify_pinned(digest).unwrap())
}

async fn open_for_two(folder: &Path) -> Bench {
    let bench = open(folder).await;
    bench.authority.send_replace(two_must_sign(2));
    bench
}

fn by(number: u8, generation: &Generation) -> Signature {
    generation.sign(&[&key(number)]).unwrap().signatures[0].clone()
}

impl Bench {
    async fn hand_in(&self, signed: &SignedGeneration) -> Result<GenerationSummary, ConfigError> {
        let parent = signed.read().unwrap().parent;
        let expected = parent.map_or(Expected::Nothing, Expected::Head);
        self.config.submit(signed.digest(), signed.encode(), expected, "person:ada").await
    }

    async fn approve(&self, number: u8, generation: &Generation) -> Result<Submitted, ConfigError> {
        let name = id(generation.sign(&[]).unwrap().digest());
        self.config.add_signature("person:bob", &name, by(number, generation)).await
    }
}

#[tokio::test]
async fn a_release_of_one_operator_waits_and_the_second_makes_it_the_head() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open_for_two(folder.path()).await;
    let (layer, parts) = layer("one", &["motd"]);
    put(&bench.config, &parts).await;
    let wanted = generation(None, &layer);
    let digest = signed(&wanted).digest();
    assert_eq!(bench.hand_in(&signed(&wanted)).await.unwrap().signatures_missing, 1);
    assert_eq!((bench.config.head(), bench.config.releases(None, 10).len()), (None, 0));
    // It may be proposed to nodes, and no node is given it.
    bench.config.admit(digest, APPLY, false).unwrap();
    let refused = bench.config.admit(digest, APPLY, true).unwrap_err();
    assert!(refused.to_string().contains(&id(digest)), "{refused}");
    assert!(bench.config.settle(digest, "person:ada").await.is_err());
    let (name, labels) = ("node-1".to_owned(), Labels::default());
    let offer = ConfigOffer { generation: digest, name, labels, is_followed: false };
    assert!(bench.config.share(node(1), &offer).await.is_err());

    drop(bench);
    let bench = open_for_two(folder.path()).await;
    let listed = bench.config.proposals();
    assert_eq!(
        (listed.len(), listed[0].kind, listed[0].id.clone()),
        (1, ProposalKind::Generation, id(digest))
    );
    assert_eq!((listed[0].signed_by.as_slice(), listed[0].signatures_needed), (&["op-1".to_owned()][..], 2));
    assert_eq!(listed[0].summary, "release generation 1 for 2 nodes: test");
    let shown = bench.config.proposal(&id(digest)).await.unwrap().unwrap();
    assert_eq!(shown.signed.decode().unwrap().0, signed(&wanted).bytes);

    assert!(matches!(bench.approve(1, &wanted).await, Err(ConfigError::Invalid(_))), "the same person twice");
    assert!(matches!(bench.approve(9, &wanted).await, Err(ConfigError::Signatures(_))), "a stranger");
    let other = Generation { message: "other".to_owned(), ..wanted.clone() };
    let of_other = bench.config.add_signature("person:bob", &id(digest), by(2, &other)).await;
    assert!(matches!(of_other, Err(ConfigError::Signatures(_))), "a signature of other bytes");
    assert_eq!(bench.config.head(), None);
    bench.frozen.send_replace(true);
    assert!(matches!(bench.approve(2, &wanted).await, Err(ConfigError::Frozen)));
    bench.frozen.send_replace(false);
    let done = bench.approve(2, &wanted).await.unwrap();
    assert_eq!(
        (done.in_force, done.signed_by, done.signatures_needed),
        (true, vec!["op-1".to_owned(), "op-2".to_owned()], 2)
    );
    assert_eq!(bench.config.head().unwrap().digest, digest);
    let stored = SignedGeneration::decode(&bench.config.signed(digest).await.unwrap()).unwrap();
    stored.verify(&two_must_sign(2)).unwrap();
    assert!(bench.config.proposals().is_empty());
    assert!(bench.config.share(node(1), &offer).await.is_ok());
    for action in ["config.propose", "config.release"] {
        assert_eq!(bench.audited(action).await, 1, "{action}");
    }
}

#[tokio::test]
async fn both_signatures_at_once_or_one_after_the_other_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open_for_two(folder.path()).await;
    let (layer, parts) = layer("one", &[]);
    put(&bench.config, &parts).await;
    let first = generation(None, &layer);
    bench.hand_in(&first.sign(&[&key(1), &key(2)]).unwrap()).await.unwrap();
    let head = bench.config.head().unwrap();
    let next = generation(Some((1, head.digest)), &layer);
    assert_eq!(bench.hand_in(&next.sign(&[&key(1)]).unwrap()).await.unwrap().signatures_missing, 1);
    assert_eq!(bench.hand_in(&next.sign(&[&key(1)]).unwrap()).await.unwrap().signatures_missing, 1);
    assert_eq!(bench.audited("config.propose").await, 1, "the same again is the same");
    assert_eq!(bench.hand_in(&next.sign(&[&key(2)]).unwrap()).await.unwrap().signatures_missing, 0);
    assert_eq!(bench.config.head().unwrap().number, 2);
}

#[tokio::test]
async fn of_two_that_wait_the_first_with_its_signatures_wins_and_the_other_is_withdrawn() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open_for_two(folder.path()).await;
    let (layer, parts) = layer("one", &[]);
    put(&bench.config, &parts).await;
    let ours = generation(None, &layer);
    let theirs = Generation { message: "theirs".to_owned(), ..ours.clone() };
    bench.hand_in(&ours.sign(&[&key(1)]).unwrap()).await.unwrap();
    bench.hand_in(&theirs.sign(&[&key(2)]).unwrap()).await.unwrap();
    assert_eq!(bench.config.proposals().len(), 2);
    assert!(bench.approve(1, &theirs).await.unwrap().in_force);
    let refused = bench.approve(2, &ours).await.unwrap_err();
    assert!(
        matches!(&refused, ConfigError::Conflict(text) if text.contains("released meanwhile")),
        "{refused}"
    );
    assert!(bench.config.proposals().is_empty());
    assert_eq!(bench.audited("config.withdraw").await, 1);
    assert!(matches!(
        bench.config.admit(signed(&ours).digest(), APPLY, false),
        Err(ConfigError::NotFound(_))
    ));
    drop(bench);
    assert!(open_for_two(folder.path()).await.config.proposals().is_empty());
}

#[tokio::test]
async fn a_newer_proposal_takes_the_place_of_the_same_operators_older_one_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path()).await;
    let many = u8::try_from(WAITING_MAX + 3).unwrap();
    bench.authority.send_replace(two_must_sign(many));
    let (layer, parts) = layer("one", &[]);
    put(&bench.config, &parts).await;
    let first = generation(None, &layer);
    let by_one = |number: u8, message: &str| {
        let generation = Generation { message: message.to_owned(), ..first.clone() };
        generation.sign(&[&key(number)]).unwrap()
    };
    for message in ["a", "b", "c"] {
        bench.hand_in(&by_one(1, message)).await.unwrap();
    }
    let summaries: Vec<String> =
        bench.config.proposals().into_iter().map(|proposal| proposal.summary).collect();
    assert_eq!(summaries, ["release generation 1 for 2 nodes: c"]);
    for number in 2..many - 2 {
        bench.hand_in(&by_one(number, &format!("of {number}"))).await.unwrap();
    }
    assert_eq!(bench.config.proposals().len(), WAITING_MAX);
    assert!(matches!(bench.hand_in(&by_one(many, "one more")).await, Err(ConfigError::Busy(_))));
    bench.hand_in(&by_one(1, "instead")).await.unwrap();
    bench.hour.store(25, Ordering::SeqCst);
    assert!(bench.config.proposals().is_empty(), "a day is over");
    assert!(matches!(bench.approve(2, &first).await, Err(ConfigError::NotFound(_))));
    bench.hand_in(&by_one(many, "one more")).await.unwrap();
    assert!(bench.config.forget_generations(100).await.unwrap());
    assert_eq!(bench.config.known().generations.len(), 1);
}

#[tokio::test]
async fn what_was_made_under_an_authority_before_is_withdrawn_when_it_is_signed() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open_for_two(folder.path()).await;
    let (layer, parts) = layer("one", &[]);
    put(&bench.config, &parts).await;
    let wanted = generation(None, &layer);
    bench.hand_in(&signed(&wanted)).await.unwrap();
    let before = two_must_sign(2);
    let next = before.document().successor(before.digest(), NOW).sign(&[&key(1)]).unwrap();
    let next = Authority::clone(&before).verify_next(next).unwrap();
    bench.authority.send_replace(Arc::new(next));
    assert!(matches!(bench.approve(2, &wanted).await, Err(ConfigError::Stale(_))));
    assert!(bench.config.proposals().is_empty());
}
