//! The whole verbs against an aggregator that follows a script, with a real key in a folder of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use campanile_common::api::{
    ChangeVerb, ConfigHead, GenerationSummary, NodeConfig, Order, OrderRequest, OrderState, OutputPiece,
    Page, PartsMissing, PartsQuery, PlanLine, PlannedChange, TargetState,
};
use campanile_common::authority::{Action, ConfigMode, SignedOrder};
use campanile_common::config::{Generation, LayerKind, Purpose, SignedGeneration};
use data_encoding::BASE64;

use crate::exit::Exit;
use crate::order::tests::{order, target};
use crate::testing::{Request, Script, answer, bytes_answer, campanile, events, operator};

/// What the aggregator keeps.
#[derive(Default)]
struct Kept {
    head: Option<ConfigHead>,
    generations: Vec<SignedGeneration>,
    nodes: Vec<NodeConfig>,
    parts: BTreeMap<String, Vec<u8>>,
    orders: Vec<OrderRequest>,
    conditions: Vec<String>,
    /// Somebody else is faster.
    is_raced: bool,
}

/// How nodes end: what the program on them exits with.
type Codes = [i32; 2];

fn aggregator(codes: Codes) -> (Script, Arc<Mutex<Kept>>) {
    let kept = Arc::new(Mutex::new(Kept::default()));
    let keep = Arc::clone(&kept);
    let serve = move |request: &Request| {
        let mut kept = keep.lock().unwrap();
        store(&mut kept, request)
            .unwrap_or_else(|| reply(&mut kept, codes, &request.line, &request.body).into_bytes())
    };
    (Script::serving(Box::new(serve)), kept)
}

fn json<T: serde::Serialize>(value: &T) -> String {
    answer("200 OK", &serde_json::to_string(value).unwrap())
}

fn problem(status: &str, code: &str) -> String {
    let body = serde_json::json!({
        "title": code, "status": 404, "code": code, "detail": format!("refused: {code}"),
    });
    answer(status, &body.to_string())
}

/// Parts and generations, which are bytes.
fn store(kept: &mut Kept, request: &Request) -> Option<Vec<u8>> {
    let line = &request.line;
    if let Some(rest) = line.strip_prefix("PUT /api/v1/config/parts/") {
        kept.parts.insert(rest[..64].to_owned(), request.body.clone());
        return Some(answer("200 OK", "{}").into_bytes());
    }
    if line.starts_with("PUT /api/v1/config/generations/") {
        if kept.is_raced {
            return Some(problem("412 No", "config_conflict").into_bytes());
        }
        let signed = SignedGeneration::decode(&request.body).unwrap();
        let generation = signed.read().unwrap();
        if generation.purpose == Purpose::Release {
            let condition = request.headers.lines().find(|line| line.starts_with("if-"));
            kept.conditions.push(condition.unwrap_or_default().to_owned());
            kept.head = Some(ConfigHead { number: generation.number, digest: signed.digest() });
        }
        kept.generations.push(signed);
        return Some(answer("200 OK", "{}").into_bytes());
    }
    let rest = line.strip_prefix("GET /api/v1/config/generations/")?;
    let name = rest.split_whitespace().next()?;
    let of_name = |signed: &&SignedGeneration| {
        let number = signed.read().unwrap().number.to_string();
        name == number || name.split('/').next() == Some(&signed.digest().to_string())
    };
    let signed = kept.generations.iter().rev().find(of_name)?;
    if name.ends_with("/signed") { Some(bytes_answer(&signed.encode())) } else { Some(summary(signed)) }
}

fn summary(signed: &SignedGeneration) -> Vec<u8> {
    let generation = signed.read().unwrap();
    let summary = GenerationSummary {
        number: generation.number,
        digest: signed.digest(),
        parent: generation.parent,
        created: generation.created,
        author: generation.author,
        operators: vec!["ada".to_owned()],
        signatures_missing: 0,
        message: generation.message,
        purpose: generation.purpose.as_str().to_owned(),
        layers: Vec::new(),
        secrets: Vec::new(),
        members: 2,
        nodes: 0,
    };
    json(&summary).into_bytes()
}

fn reply(kept: &mut Kept, codes: Codes, line: &str, body: &[u8]) -> String {
    if line.starts_with("GET /api/v1/nodes?") {
        let items = vec![super::build::tests::labelled(1, "web"), super::build::tests::labelled(2, "db")];
        return json(&Page { items, next_cursor: None });
    }
    if line.starts_with("GET /api/v1/config ") {
        return kept.head.as_ref().map_or_else(|| problem("404 None", "config_none"), json);
    }
    if line.starts_with("POST /api/v1/config/parts/missing ") {
        let query: PartsQuery = serde_json::from_slice(body).unwrap();
        return json(&PartsMissing { missing: query.digests });
    }
    if line.starts_with("GET /api/v1/config/generations?") {
        let items = vec![serde_json::json!({
            "number": 7, "digest": "00".repeat(32), "parent": null, "created": "2026-01-01T00:00:00.000Z",
            "author": "grace", "operators": [], "message": "faster", "purpose": "release", "layers": [],
            "secrets": [], "members": 0, "nodes": 0,
        })];
        return json(&Page { items, next_cursor: None });
    }
    if line.starts_with("GET /api/v1/config/nodes?") {
        return json(&Page { items: kept.nodes.clone(), next_cursor: None });
    }
    if line.starts_with("POST /api/v1/orders ") {
        kept.orders.push(serde_json::from_slice(body).unwrap());
        let mut accepted: Order = ended(kept, codes);
        accepted.state = OrderState::Running;
        accepted.targets.clear();
        return json(&accepted);
    }
    if line.starts_with("GET /api/v1/orders/") {
        let ended = ended(kept, codes);
        let mut text = String::new();
        for (target, code) in ended.targets.iter().zip(codes) {
            let piece = OutputPiece {
                node_id: target.node_id,
                name: target.name.clone(),
                stream: "stdout".to_owned(),
                offset: 0,
                data: BASE64.encode(output(code).as_bytes()),
            };
            text.push_str(&format!("event: output\ndata: {}\n\n", serde_json::to_string(&piece).unwrap()));
        }
        text.push_str(&format!("event: order\ndata: {}\n\n", serde_json::to_string(&ended).unwrap()));
        return events(&text);
    }
    problem("404 No", "not_found")
}

fn output(code: i32) -> String {
    let change = PlanLine::Change(PlannedChange {
        resource: "file:/etc/motd".to_owned(),
        verb: ChangeVerb::Update,
        what: vec!["content".to_owned()],
        diff: Some("-ding\n+dong\n".to_owned()),
        confirmed: false,
    });
    let changes = u32::from(code != 0);
    let result = "planned".to_owned();
    let end = PlanLine::Summary { number: 1, changes, unchanged: 1, result, left: Vec::new() };
    let lines = if code == 0 { vec![end] } else { vec![change, end] };
    lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect()
}

fn ended(kept: &Kept, codes: Codes) -> Order {
    let ended = |number: usize, code: i32| {
        let mut ended = target(number, if code == 0 { TargetState::Ok } else { TargetState::Failed });
        ended.exit_code = Some(code);
        ended
    };
    let mut order = order(vec![ended(1, codes[0]), ended(2, codes[1])]);
    order.order_id = read(kept.orders.last().unwrap()).id;
    order
}

fn read(request: &OrderRequest) -> campanile_common::authority::Order {
    let (bytes, signatures) = request.order.decode().unwrap();
    SignedOrder { bytes, signatures }.read().unwrap()
}

fn bundle(motd: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for inner in ["groups", "files"] {
        std::fs::create_dir(folder.path().join(inner)).unwrap();
    }
    let fleet = "[file.\"/etc/motd\"]\nsource = \"motd\"\n";
    std::fs::write(folder.path().join("fleet.toml"), fleet).unwrap();
    std::fs::write(folder.path().join("files/motd"), motd).unwrap();
    let web = "selector = \"role=web\"\npriority = 10\n[vars]\nworkers = 4\n";
    std::fs::write(folder.path().join("groups/web.toml"), web).unwrap();
    folder
}

fn path(folder: &tempfile::TempDir) -> &str {
    folder.path().to_str().unwrap()
}

fn last(kept: &Kept) -> Generation {
    kept.generations.last().unwrap().read().unwrap()
}

#[test]
fn a_plan_submits_a_draft_with_its_parts_and_says_what_pends() {
    let (folder, bundle) = (operator(), bundle("dong\n"));
    let (script, kept) = aggregator([10, 0]);
    let (exit, out, err) = campanile(&script, &folder, &["config", "plan", path(&bundle)]);
    assert_eq!(exit, Exit::Pending, "{err}");
    assert_eq!(
        out,
        "node-1: 1 change pending\n  ~ file:/etc/motd  content\n      -ding\n      +dong\nnode-2: as it should be\n"
    );
    assert_eq!(err, "2 nodes: 1 with changes, 1 as they should be\n");
    let kept = kept.lock().unwrap();
    let draft = last(&kept);
    assert_eq!((draft.purpose, draft.number, draft.author.as_str()), (Purpose::Draft, 1, "ada"));
    assert_eq!(draft.members.len(), 2);
    assert!(kept.head.is_none(), "a draft becomes no head");
    assert!(kept.parts.values().any(|part| part == b"dong\n"));
    assert_eq!(kept.parts.len(), 3, "two layers and a file");
    let order = read(kept.orders.last().unwrap());
    let generation = kept.generations[0].digest();
    assert_eq!(order.action, Action::Config { generation, mode: ConfigMode::Plan });
    let authority = crate::authority::load(&script.environment(folder.path())).unwrap();
    kept.generations[0].verify(&authority).unwrap();
}

#[test]
fn an_apply_makes_a_release_once_and_applies_the_head_again() {
    let (folder, bundle) = (operator(), bundle("dong\n"));
    let (script, kept) = aggregator([0, 0]);
    let line = ["config", "apply", path(&bundle), "-m", "why", "--yes", "--canary", "1"];
    for _ in 0..2 {
        let (exit, _, err) = campanile(&script, &folder, &line);
        assert_eq!(exit, Exit::Fine, "{err}");
    }
    {
        let kept = kept.lock().unwrap();
        assert_eq!(kept.generations.len(), 1, "the same bundle is the same generation");
        assert_eq!((last(&kept).message.as_str(), kept.orders.len()), ("why", 2));
        assert_eq!(kept.conditions, ["if-none-match: *"]);
    }
    std::fs::write(bundle.path().join("files/motd"), "other\n").unwrap();
    let (exit, _, err) = campanile(&script, &folder, &line);
    assert_eq!(exit, Exit::Fine);
    assert!(err.contains("generation 2, after 1 by ada\n  ~ fleet.toml\n"), "{err}");
    let kept = kept.lock().unwrap();
    let first = kept.generations[0].digest();
    assert_eq!((last(&kept).number, last(&kept).parent), (2, Some(first)));
    assert_eq!(kept.conditions[1], format!("if-match: \"{first}\""));
}

#[test]
fn a_mistake_is_told_with_its_line_before_anything_is_sent() {
    let (folder, bundle) = (operator(), bundle("dong\n"));
    let (script, kept) = aggregator([0, 0]);
    let web = "selector = \"role=web\"\n[file.\"/etc/motd\"]\nsuorce = \"motd\"\n";
    std::fs::write(bundle.path().join("groups/web.toml"), web).unwrap();
    let (exit, _, err) = campanile(&script, &folder, &["config", "plan", path(&bundle)]);
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains("groups/web.toml:3: error") && err.contains("source"), "{err}");
    assert!(kept.lock().unwrap().generations.is_empty());
}

#[test]
fn explain_tells_which_layer_counts_for_a_node() {
    let (folder, bundle) = (operator(), bundle("dong\n"));
    let (script, _) = aggregator([0, 0]);
    let line = ["config", "explain", "node-1", "workers", path(&bundle)];
    let (exit, out, err) = campanile(&script, &folder, &line);
    assert_eq!(exit, Exit::Fine, "{err}");
    assert!(out.contains("vars.workers  4      groups/web.toml  yes"), "{out}");
    let line = ["config", "explain", "node-2", "workers", path(&bundle)];
    assert_eq!(campanile(&script, &folder, &line).0, Exit::Failed, "node-2 is no web server");
}

#[test]
fn a_node_that_reverted_is_the_exit_code() {
    let (folder, bundle) = (operator(), bundle("dong\n"));
    let (script, _) = aggregator([7, 0]);
    let (exit, out, err) = campanile(&script, &folder, &["config", "apply", path(&bundle), "--yes"]);
    assert_eq!(exit, Exit::RolledBack, "{err}");
    assert!(out.starts_with("node-1: reverted: all is as it was before"), "{out}");
}

#[test]
fn whoever_is_slower_learns_who_was_faster_and_changes_nothing() {
    let (folder, bundle) = (operator(), bundle("dong\n"));
    let (script, kept) = aggregator([0, 0]);
    kept.lock().unwrap().is_raced = true;
    let (exit, _, err) = campanile(&script, &folder, &["config", "apply", path(&bundle), "--yes"]);
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains("grace made generation 7 meanwhile") && err.contains("config plan"), "{err}");
    assert!(kept.lock().unwrap().orders.is_empty());
}

#[test]
fn a_head_that_no_operator_signed_is_not_built_upon() {
    let (folder, bundle) = (operator(), bundle("dong\n"));
    let (script, kept) = aggregator([0, 0]);
    let line = ["config", "apply", path(&bundle), "--yes"];
    assert_eq!(campanile(&script, &folder, &line).0, Exit::Fine);
    kept.lock().unwrap().generations[0].signatures.clear();
    let (exit, _, err) = campanile(&script, &folder, &line);
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains("does not verify") && err.contains("--forget-secrets"), "{err}");
    let line = ["config", "apply", path(&bundle), "--yes", "--forget-secrets"];
    assert_eq!(campanile(&script, &folder, &line).0, Exit::Fine);
    assert_eq!(last(&kept.lock().unwrap()).number, 2);
}

#[test]
fn a_rollback_is_a_new_generation_with_the_old_layers() {
    let (folder, bundle) = (operator(), bundle("dong\n"));
    let (script, kept) = aggregator([0, 0]);
    let line = ["config", "apply", path(&bundle), "--yes"];
    campanile(&script, &folder, &line);
    std::fs::write(bundle.path().join("files/motd"), "other\n").unwrap();
    campanile(&script, &folder, &line);
    let line = ["config", "rollback", "1", "--yes", "-l", "role=db"];
    let (exit, _, err) = campanile(&script, &folder, &line);
    assert_eq!(exit, Exit::Fine, "{err}");
    let kept = kept.lock().unwrap();
    let generation = last(&kept);
    assert_eq!((generation.number, generation.message.as_str()), (3, "back to generation 1"));
    let listed: Vec<LayerKind> =
        generation.layers.iter().filter(|layer| layer.is_for_members_only).map(|layer| layer.kind).collect();
    assert_eq!(listed, [LayerKind::Fleet]);
    let order = read(kept.orders.last().unwrap());
    let only = campanile_common::authority::Targets::Nodes(vec![crate::testing::node(2).node_id]);
    assert_eq!(order.targets, only);
}

#[test]
fn a_secret_is_sealed_here_and_its_value_is_in_nothing_that_leaves() {
    let (folder, bundle) = (operator(), bundle("dong\n"));
    let (script, kept) = aggregator([0, 0]);
    campanile(&script, &folder, &["config", "apply", path(&bundle), "--yes"]);
    let identity = age::x25519::Identity::generate();
    let reported = super::status::tests::node(2);
    kept.lock().unwrap().nodes =
        vec![NodeConfig { sealing_key: Some(identity.to_public().to_string()), ..reported }];
    let mut environment = script.environment(folder.path());
    let passphrase = folder.path().join("passphrase").to_str().unwrap().to_owned();
    environment.variables.insert("CAMPANILE_PASSPHRASE_FILE".to_owned(), passphrase);
    let line = ["secret", "set", "db", "-l", "role=db", "--yes"];
    let (out, err) = crate::testing::with_both(&["--yes"], &environment, |context| {
        assert_eq!(crate::secret::tests::set_from(context, &line, b"CANARY-4711\n"), Exit::Fine);
    });
    assert!(!out.contains("CANARY") && !err.contains("CANARY"));
    assert!(script.asked().iter().all(|asked| !asked.contains("CANARY")));
    let kept = kept.lock().unwrap();
    let generation = last(&kept);
    assert_eq!((generation.number, generation.layers.len()), (2, 2), "layers stay");
    let sealed = generation.secrets["db"].sealed[&crate::testing::node(2).node_id];
    assert_eq!(age::decrypt(&identity, &kept.parts[&sealed.to_string()]).unwrap(), b"CANARY-4711");
    assert!(folder.path().join("recipients.json").exists());
}
