//! What is shown and signed is what the bytes say.

use campanile_common::api::SignedText;
use campanile_common::authority::{Role, Tier};

use super::*;
use crate::context::Environment;
use crate::order::tests::{NOW, authority, draft, key, node_id};
use crate::signer::Subject;
use crate::testing;

type Lie = fn(&mut Proposal);

fn proposal(tier: Tier) -> Proposal {
    let nodes = [node_id(1), node_id(2)];
    let mut draft = draft(&nodes);
    draft.tier = tier;
    let id = campanile_common::id::OrderId::from_bytes([4; 16]);
    let order = draft.compose(&authority(), id, NOW).unwrap().order;
    let signed = order.sign(&[&key(7)]).unwrap();
    Proposal {
        id: order.id.to_string(),
        kind: ProposalKind::Order,
        summary: "run true on 2 nodes".to_owned(),
        proposed_by: "person:ada".to_owned(),
        proposed_at: NOW,
        expires_at: order.expires,
        signed_by: vec!["ada".to_owned()],
        signatures_needed: 2,
        signed: SignedText::new(&signed.bytes, &signed.signatures),
    }
}

fn shown(proposal: &Proposal) -> (String, String) {
    let content = Content::read(proposal).unwrap();
    testing::with_both(&[], &Environment::default(), |context| {
        show(context, proposal, &content, None, &authority()).unwrap();
    })
}

#[test]
fn what_is_shown_comes_from_the_bytes() {
    let (out, err) = shown(&proposal(Tier::Critical));
    for word in [
        "program            true",
        "reason             why",
        "tier               3",
        "signed by  ada (1 needed)",
    ] {
        assert!(out.contains(word), "{word}:\n{out}");
    }
    assert!(out.contains(&node_id(2).to_string()), "{out}");
    assert_eq!(err, "");
}

#[test]
fn words_that_differ_from_the_bytes_are_warned_of() {
    let honest = proposal(Tier::Critical);
    let lies: [(Lie, &str); 4] = [
        (
            |p| p.summary = "uname -r on 1 node".to_owned(),
            "says it does `uname -r on 1 node`, the bytes say `true`",
        ),
        (|p| p.id = "00".repeat(16), "says it is"),
        (|p| p.expires_at = NOW, "says it expires"),
        (|p| p.signed_by.push("bob".to_owned()), "says it is signed by `ada,bob`, the bytes say `ada`"),
    ];
    for (lie, warning) in lies {
        let mut lying = honest.clone();
        lie(&mut lying);
        let (out, err) = shown(&lying);
        assert!(err.contains("WARNING") && err.contains(warning), "{warning}: {err}");
        assert!(!out.contains("uname"), "{out}");
    }
}

#[test]
fn a_signature_of_somebody_else_does_not_count() {
    let mut proposal = proposal(Tier::Critical);
    let (bytes, _) = proposal.signed.decode().unwrap();
    let foreign = signer::sign_with(&key(9), Subject::Order, &bytes).unwrap();
    proposal.signed = SignedText::new(&bytes, &[foreign]);
    let content = Content::read(&proposal).unwrap();
    assert!(content.signers(&authority()).is_empty());
    assert!(!content.warnings(&proposal, &authority()).is_empty());
}

#[test]
fn each_kind_is_signed_in_its_own_role() {
    let role = |proposal: &Proposal| Content::read(proposal).unwrap().role();
    assert_eq!(role(&proposal(Tier::Critical)), Role::Critical);
    assert_eq!(role(&proposal(Tier::Change)), Role::Change);
    let current = authority();
    let next = current.document().successor(current.digest(), NOW).sign(&[]).unwrap();
    let mut of_authority = proposal(Tier::Change);
    of_authority.kind = ProposalKind::Authority;
    of_authority.signed = SignedText::new(&next.bytes, &[]);
    let content = Content::read(&of_authority).unwrap();
    assert_eq!((content.role(), content.id()), (Role::Authority, "authority-2".to_owned()));
}

#[test]
fn bytes_of_another_kind_are_not_shown_as_this_one() {
    let mut swapped = proposal(Tier::Change);
    for kind in [ProposalKind::Catalogue, ProposalKind::Authority] {
        swapped.kind = kind;
        assert!(Content::read(&swapped).is_err(), "{kind:?}");
    }
}
