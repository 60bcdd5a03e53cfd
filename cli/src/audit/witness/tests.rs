//! The whole verb, against an aggregator that follows a script.

use campanile_common::api::AuditOutcome;
use campanile_common::audit::{AuditKey, CHAIN_START, Head, entry_hash};
use campanile_common::time::Timestamp;

use super::*;
use crate::testing::{Script, answer, campanile, node as active_node, operator};

fn report(problems: &[&str], absent: Option<&str>) -> NodeReport {
    NodeReport {
        absent: absent.map(str::to_owned),
        problems: problems.iter().map(|text| (*text).to_owned()).collect(),
        ..NodeReport::absent("a", String::new())
    }
}

#[test]
fn problems_come_before_absent_nodes_and_both_before_success() {
    let log = |intact| Log {
        found: AuditVerification { intact, entries: 0, bad_sequence: None, problem: None },
        last: Head::START,
        hashes: Default::default(),
    };
    let (good, bad) = (report(&[], None), report(&["entry 3"], None));
    let absent = report(&[], Some("it is offline"));
    assert_eq!(exit(&log(true), std::slice::from_ref(&good)), Exit::Fine);
    assert_eq!(exit(&log(true), &[good.clone(), absent.clone()]), Exit::SomeSilent);
    assert_eq!(exit(&log(true), &[absent, bad]), Exit::Failed);
    assert_eq!(exit(&log(false), &[good]), Exit::Failed);
}

fn entry() -> AuditEntry {
    let mut entry = AuditEntry {
        sequence: 1,
        previous: CHAIN_START,
        time: Timestamp::from_millis(1),
        actor: "person:ada".to_owned(),
        action: "node.rename".to_owned(),
        target: "node/1".to_owned(),
        outcome: AuditOutcome::Ok,
        detail: String::new(),
        hash: CHAIN_START,
    };
    entry.hash = entry_hash(&entry);
    entry
}

/// Plays an aggregator whose log has one entry; the first node keeps a checkpoint of `hash`, the second is offline.
fn aggregator(folder: &std::path::Path, hash: campanile_common::id::Digest, offline: bool) -> Script {
    let variables = [("CAMPANILE_CONFIG_DIR".to_owned(), folder.to_str().unwrap().to_owned())].into();
    let environment = crate::context::Environment { variables, ..Default::default() };
    let fleet = authority::load(&environment).unwrap().document().fleet;
    let key = AuditKey::from_seed(&[5; 32]);
    let signed = key.checkpoint(fleet, Head { sequence: 1, hash }, Timestamp::from_millis(7));
    let json = |value: serde_json::Value| answer("200 OK", &value.to_string());
    let choose = move |line: &str, _: &str| {
        let path = line.split(['?', ' ']).nth(1).unwrap();
        match path.rsplit('/').next().unwrap() {
            "key" => json(serde_json::json!({ "publicKey": BASE64.encode(&key.public()) })),
            "orders" => json(serde_json::json!({ "items": [], "nextCursor": null })),
            "nodes" => {
                let mut nodes = vec![active_node(1)];
                if offline {
                    nodes.push(Node { liveness: Liveness::Offline, ..active_node(2) });
                }
                json(serde_json::json!({ "items": nodes, "nextCursor": null }))
            }
            "checkpoints" => json(serde_json::json!([{
                "sequence": 1, "hash": hash, "time": signed.time, "signature": BASE64.encode(&signed.signature)
            }])),
            "audit" if path.contains("/nodes/") => {
                json(serde_json::json!({ "entries": [], "witnessed": null }))
            }
            "audit" => json(serde_json::json!({ "items": [entry()], "nextCursor": null })),
            other => panic!("asked for {other}: {line}"),
        }
    };
    Script::choosing(Box::new(choose))
}

#[test]
fn nodes_that_agree_are_counted_and_absent_ones_named() {
    let folder = operator();
    let script = aggregator(folder.path(), entry().hash, false);
    let (exit, out, err) = campanile(&script, &folder, &["audit", "verify", "--with-nodes"]);
    assert_eq!(exit, Exit::Fine, "{out}{err}");
    assert!(out.contains("1 of 1 nodes asked: 1 checkpoints are on the log"), "{out}");

    let script = aggregator(folder.path(), entry().hash, true);
    let (exit, _, err) = campanile(&script, &folder, &["audit", "verify", "--with-nodes"]);
    assert_eq!(exit, Exit::SomeSilent, "{err}");
    assert!(err.contains("node-2 was not asked: it is offline"), "{err}");
}

#[test]
fn a_log_that_a_node_witnessed_otherwise_fails_and_names_the_entry() {
    let folder = operator();
    let other = campanile_common::id::Digest::from_bytes([9; 32]);
    let script = aggregator(folder.path(), other, true);
    let (exit, out, _) = campanile(&script, &folder, &["audit", "verify", "--with-nodes"]);
    assert_eq!(exit, Exit::Failed);
    assert!(out.contains("node-1: entry 1 of the aggregator's log is not the one it witnessed"), "{out}");
    // Without the nodes nothing of it shows: the log is whole in itself.
    assert_eq!(campanile(&script, &folder, &["audit", "verify"]).0, Exit::Fine);
}
