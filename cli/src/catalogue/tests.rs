//! From a source to a catalogue in force, and what it lets people order without a key.

use std::sync::{Arc, Mutex};

use campanile_common::api::{Order, OrderRequest, Page, TargetState};
use campanile_common::authority::{Action, OperatorKey, SignedOrder, Tier};

use super::*;
use crate::order::tests::{order, target};
use crate::testing::{PASSPHRASE, Script, answer, authority_answer, campanile, events, node, operator};

#[derive(Default)]
struct Kept {
    catalogue: Option<SignedText>,
    order: Option<OrderRequest>,
}

/// Plays an aggregator with one node that has `catalogue` in force; keeps what is put and ordered.
fn aggregator(folder: &Path, catalogue: CatalogueText) -> (Script, Arc<Mutex<Kept>>) {
    let kept = Arc::new(Mutex::new(Kept::default()));
    let keep = Arc::clone(&kept);
    let authority = authority_answer(folder);
    let json = |value: String| answer("200 OK", &value);
    let choose = move |line: &str, body: &str| {
        let mut keep = keep.lock().unwrap();
        let ended = |request: Option<&OrderRequest>| -> Order {
            let mut ended = order(vec![target(1, TargetState::Ok)]);
            ended.order_id = request.map_or(ended.order_id, |request| read_order(request).id);
            ended
        };
        if line.starts_with("GET /api/v1/authority?") {
            return authority.clone();
        }
        if line.starts_with("GET /api/v1/catalogue ") {
            return json(serde_json::to_string(&catalogue).unwrap());
        }
        if line.starts_with("PUT /api/v1/catalogue ") {
            keep.catalogue = Some(serde_json::from_str(body).unwrap());
            let submitted = Submitted {
                in_force: true,
                id: "catalogue-1".to_owned(),
                signed_by: vec!["ada".to_owned()],
                signatures_needed: 1,
            };
            return json(serde_json::to_string(&submitted).unwrap());
        }
        if line.starts_with("GET /api/v1/nodes?") {
            let page = Page { items: vec![node(1)], next_cursor: None };
            return json(serde_json::to_string(&page).unwrap());
        }
        if line.starts_with("POST /api/v1/orders ") {
            keep.order = Some(serde_json::from_str(body).unwrap());
            return json(serde_json::to_string(&ended(keep.order.as_ref())).unwrap());
        }
        let ended = serde_json::to_string(&ended(keep.order.as_ref())).unwrap();
        events(&format!("event: order\ndata: {ended}\n\n"))
    };
    (Script::choosing(Box::new(choose)), kept)
}

fn read_order(request: &OrderRequest) -> campanile_common::authority::Order {
    let (bytes, signatures) = request.order.decode().unwrap();
    SignedOrder { bytes, signatures }.read().unwrap()
}

fn none() -> CatalogueText {
    CatalogueText { version: 0, signed: None }
}

/// The example as it is in force, signed by the operator of `folder`.
fn example(folder: &tempfile::TempDir) -> CatalogueText {
    let authority = authority::load(&Script::start(Vec::new()).environment(folder.path())).unwrap();
    let key: OperatorKey =
        crate::keyring::unlock(&std::fs::read(folder.path().join("operator.key.age")).unwrap(), PASSPHRASE)
            .unwrap();
    let source = source::read(source::EXAMPLE).0.unwrap();
    let signed = source.document(&authority, 7, clock::now()).sign(&[&key]).unwrap();
    CatalogueText { version: 7, signed: Some(SignedText::new(&signed.bytes, &signed.signatures)) }
}

#[test]
fn a_source_is_pushed_as_the_next_version_that_verifies() {
    let folder = operator();
    let file = folder.path().join("catalogue.toml");
    let path = file.to_str().unwrap();
    let (script, kept) = aggregator(folder.path(), example(&folder));
    assert_eq!(campanile(&script, &folder, &["catalogue", "init", path]).0, Exit::Fine);
    assert_eq!(campanile(&script, &folder, &["catalogue", "lint", path]).0, Exit::Fine);
    let (exit, out, err) = campanile(&script, &folder, &["catalogue", "push", path]);
    assert_eq!(exit, Exit::Fine, "{err}");
    assert!(out.contains("catalogue version 8 is in force"), "{out}");
    let authority = authority::load(&script.environment(folder.path())).unwrap();
    let pushed = decode(&kept.lock().unwrap().catalogue.take().unwrap()).unwrap();
    let catalogue = pushed.verify(&authority, Some(7)).unwrap();
    assert!(catalogue.document().commands.contains_key("disk-usage"));
}

#[test]
fn a_source_with_a_mistake_is_not_signed() {
    let folder = operator();
    let file = folder.path().join("catalogue.toml");
    std::fs::write(&file, "[commands.a]\nargv = []\n").unwrap();
    let (script, kept) = aggregator(folder.path(), none());
    let (exit, _, err) = campanile(&script, &folder, &["catalogue", "push", file.to_str().unwrap()]);
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains("catalogue.toml:1: error: command `a`"), "{err}");
    let (exit, out, _) = campanile(&script, &folder, &["catalogue", "lint", file.to_str().unwrap()]);
    assert_eq!(exit, Exit::Failed);
    assert!(out.contains("catalogue.toml:1: error"), "{out}");
    assert!(kept.lock().unwrap().catalogue.is_none());
}

#[test]
fn a_routine_is_ordered_without_a_signature() {
    let folder = operator();
    let (script, kept) = aggregator(folder.path(), example(&folder));
    let line = ["routine", "disk-usage", "path=/var/log", "-l", "name=*"];
    let (exit, _, err) = campanile(&script, &folder, &line);
    assert_eq!(exit, Exit::Fine, "{err}");
    let request = kept.lock().unwrap().order.take().unwrap();
    assert!(request.order.signatures.is_empty());
    let order = read_order(&request);
    assert_eq!(order.tier, Tier::Routine);
    assert!(matches!(order.action, Action::Routine { catalogue: 7, .. }));
}

#[test]
fn a_routine_that_no_node_would_take_is_not_ordered() {
    let folder = operator();
    let (script, kept) = aggregator(folder.path(), example(&folder));
    for (line, exit, text) in [
        (["routine", "disk-usag", "-l", "name=*"], Exit::Failed, "did you mean disk-usage?"),
        (["routine", "disk-usage", "path=/etc", "-lname=*"], Exit::Usage, "a path beneath /var"),
        (["routine", "kernel", "x=1", "-lname=*"], Exit::Usage, "parameter `x`: unknown"),
    ] {
        let found = campanile(&script, &folder, &line);
        assert_eq!(found.0, exit, "{line:?}: {}", found.2);
        assert!(found.2.contains(text), "{line:?}: {}", found.2);
    }
    assert!(kept.lock().unwrap().order.is_none());
}

#[test]
fn a_unit_in_the_catalogue_needs_no_key_and_another_does() {
    let folder = operator();
    let (script, kept) = aggregator(folder.path(), example(&folder));
    for (line, tier, signatures) in [
        (["svc", "restart", "nginx", "node-1"], Tier::Routine, 0),
        (["svc", "stop", "nginx", "node-1"], Tier::Change, 1),
        (["svc", "restart", "sshd", "node-1"], Tier::Change, 1),
    ] {
        let (exit, _, err) = campanile(&script, &folder, &line);
        assert_eq!(exit, Exit::Fine, "{line:?}: {err}");
        let request = kept.lock().unwrap().order.take().unwrap();
        assert_eq!(request.order.signatures.len(), signatures, "{line:?}");
        assert_eq!(read_order(&request).tier, tier, "{line:?}");
    }
}

#[test]
fn a_catalogue_that_nobody_of_ours_signed_is_not_used() {
    let (folder, strangers) = (operator(), operator());
    let (script, _) = aggregator(folder.path(), example(&strangers));
    let (exit, _, err) = campanile(&script, &folder, &["routine", "kernel", "-l", "name=*"]);
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains("does not verify"), "{err}");
}
