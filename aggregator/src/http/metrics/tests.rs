//! The text format's rules, checked without a Prometheus and, where one is installed, with it.

#![expect(clippy::disallowed_methods, reason = "promtool is a process")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use axum::http::Method;
use campanile_common::api::{
    BackupResult, BackupState, CheckStanding, DrillStanding, Node, NodeBackup, OrderState, PolicyBackup,
    SecondPlace, TargetState,
};
use campanile_common::sample::Sample;
use campanile_common::time::Timestamp;

use super::exposition::{Exposition, Number};
use super::{host, own, requests};
use crate::http::sight::Sight;
use crate::http::tests::{fixture, fleet_facts};
use crate::os::process::ProcessUsage;

fn host_text(samples: &[(&Node, Sample)]) -> (String, u64) {
    let mut out = Exposition::with_capacity(0);
    let left_out = host::write(&mut out, samples);
    (out.finish(), left_out)
}

/// A node whose `etc` is late.
fn backup() -> NodeBackup {
    let policy = PolicyBackup {
        policy: "etc".to_owned(),
        schedule: "@daily".to_owned(),
        target: "aggregator".to_owned(),
        max_age_seconds: 129_600,
        state: BackupState::Late,
        newest: Some(Timestamp::from_millis(1_500)),
        snapshots: 3,
        drill: Some(DrillStanding {
            last: Some(Timestamp::from_millis(2_000)),
            result: Some(BackupResult::Failed),
            detail: String::new(),
            succeeded: Some(Timestamp::from_millis(1_000)),
            restored_ms: Some(2_500),
        }),
    };
    NodeBackup {
        node_id: fixture::id(1),
        name: "web-1".to_owned(),
        state: BackupState::Late,
        reasons: Vec::new(),
        policies: vec![policy],
        snapshots: 4,
        newest: Some(Timestamp::from_millis(1_500)),
        bytes: 1000,
        trash_bytes: 10,
        quota_bytes: 5000,
        verified: None,
        verified_bytes: 250,
        damaged: 1,
        held: 2,
        checks: vec![CheckStanding {
            target: "aggregator".to_owned(),
            cycle_seconds: 86_400,
            shares: 4,
            read: 3,
            complete_since: None,
            findings: 2,
            last: None,
            detail: String::new(),
        }],
        second: Some(SecondPlace { complete: None, missing: 3, damaged: 4, lost: 5 }),
    }
}

#[test]
fn backups_are_told_by_policy_and_by_node() {
    let samples = parse(&whole_text());
    let node = format!("node=\"web-1\",node_id=\"{}\"", fixture::id(1));
    let value = |name: &str, more: &str| {
        let series = format!("campanile_backup_{name}{{{node}{more}}}");
        samples.iter().find(|(known, _)| *known == series).map(|(_, value)| *value)
    };
    assert_eq!(value("newest_snapshot_timestamp_seconds", ",policy=\"etc\""), Some(1.5));
    assert_eq!(value("max_age_seconds", ",policy=\"etc\""), Some(129_600.0));
    assert_eq!(value("state", ",policy=\"etc\",state=\"late\""), Some(1.0));
    let of_drill =
        |name: &str, more: &str| value(&format!("drill_{name}"), &format!(",policy=\"etc\"{more}"));
    assert_eq!(of_drill("success_timestamp_seconds", ""), Some(1.0));
    assert_eq!(of_drill("duration_seconds", ""), Some(2.5));
    assert_eq!(of_drill("result", ",result=\"failed\""), Some(1.0));
    let of_check = |name: &str| value(name, ",target=\"aggregator\"");
    assert_eq!((of_check("checked_ratio"), of_check("check_findings")), (Some(0.75), Some(2.0)));
    assert_eq!(of_check("checked_timestamp_seconds"), None);
    assert_eq!((value("verified_ratio", ""), value("verified_timestamp_seconds", "")), (Some(0.25), None));
    let figures = ["snapshots", "stored_bytes", "trash_bytes", "quota_bytes", "damaged_objects", "holds"];
    let seconds = ["second_missing_objects", "second_damaged_objects", "second_lost_snapshots"];
    assert_eq!(seconds.map(|name| value(name, "")), [3.0, 4.0, 5.0].map(Some));
    assert_eq!(value("second_complete_timestamp_seconds", ""), None);
    let found = figures.map(|name| value(name, ""));
    assert_eq!(found, [4.0, 1000.0, 10.0, 5000.0, 1.0, 2.0].map(Some));
}

/// Everything at once, as a scrape gets it.
fn whole_text() -> String {
    let sight = Sight::of_everything(fixture::fleet());
    let counts = requests::RequestCounts::default();
    counts.count(&Method::GET, "/api/v1/nodes/{idOrName}", 200);
    counts.count(&Method::GET, requests::UNMATCHED, 404);
    let process = ProcessUsage {
        cpu: Duration::from_millis(1500),
        resident_bytes: Some(1 << 20),
        virtual_bytes: Some(1 << 30),
        threads: Some(3),
        open_files: Some(9),
        open_files_max: Some(1024),
    };
    let fleet = fleet_facts();
    let orders = crate::order::Figures {
        orders: [(("run".to_owned(), OrderState::Done), 3)].into(),
        targets: [(TargetState::Silent, 2)].into(),
        in_flight: 1,
    };
    let facts = own::Facts {
        sight: &sight,
        fleet: &fleet,
        process,
        requests: &counts,
        event_streams: 2,
        orders,
        are_settings_valid: true,
        config: crate::config::Figures {
            generation: 7,
            phases: [("applied", 2), ("reverted", 1)].into(),
            drifted: 3,
            parts_bytes: 4096,
        },
        self_backup: crate::self_backup::Figures {
            is_on: true,
            latest: Some((Timestamp::from_millis(1_700_000_000_000), 8192)),
            failures: 1,
        },
        is_frozen: true,
    };
    let mut out = Exposition::with_capacity(0);
    own::write(&mut out, &facts);
    super::backups::write(&mut out, &[backup()]);
    let nodes = [fixture::node("web-1", 1, "role=web,a.b/c=x"), fixture::node("db-1", 3, "role=db")];
    let sample = fixture::sample(&[
        ("node_load1", &[], Some(2)),
        ("node_cpu_seconds_total", &[("cpu", "0"), ("mode", "idle")], Some(7)),
        ("node_cpu_seconds_total", &[("cpu", "0"), ("mode", "user")], Some(9)),
        ("node_filesystem_avail_bytes", &[("device", "C:\\x"), ("mountpoint", "/a \"b\"\n")], Some(1)),
        ("node_intr", &[], Some(1)),
        ("node_memory_MemAvailable_bytes", &[], Some(1)),
    ]);
    let left_out = host::write(&mut out, &[(&nodes[0], sample.clone()), (&nodes[1], sample)]);
    own::write_left_out(&mut out, left_out);
    out.finish()
}

/// Checks the rules of the format and returns the samples: name with labels, and value.
fn parse(text: &str) -> Vec<(String, f64)> {
    assert!(text.ends_with('\n'));
    let (mut families, mut seen, mut samples) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    let mut current: Option<(String, bool)> = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.is_empty(), "{line}");
            assert!(families.insert(name.to_owned()), "family {name} comes twice");
            current = Some((name.to_owned(), false));
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            let (family, is_typed) = current.as_mut().unwrap();
            assert_eq!(name, family);
            assert!(!*is_typed && ["counter", "gauge", "untyped"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total") && kind != "untyped", "{line}");
            *is_typed = true;
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (family, is_typed) = current.as_ref().unwrap();
            assert!(*is_typed && series.split('{').next() == Some(family), "{line} outside its family");
            assert!(seen.insert(series.to_owned()), "{series} comes twice");
            samples.push((series.to_owned(), value.parse().unwrap()));
        }
    }
    samples
}

#[test]
fn the_whole_answer_keeps_the_rules_of_the_format() {
    let samples = parse(&whole_text());
    let value = |series: &str| samples.iter().find(|(name, _)| name == series).map(|(_, value)| *value);
    assert_eq!(value("campanile_nodes{liveness=\"online\"}"), Some(2.0));
    assert_eq!(value("campanile_nodes{liveness=\"offline\"}"), Some(1.0));
    assert_eq!(value("campanile_health_score"), Some(67.0));
    let web = "node=\"web-1\",node_id=\"0101010101010101\"";
    assert_eq!(value(&format!("campanile_agent_connected{{{web}}}")), Some(1.0));
    assert_eq!(value(&format!("campanile_agent_rtt_seconds{{{web}}}")), Some(0.002));
    assert_eq!(value(&format!("node_load1{{{web},label_a_b_c=\"x\",label_role=\"web\"}}")), Some(2.0));
    assert_eq!(value("campanile_exposition_left_out_samples"), Some(0.0));
    assert_eq!(value("campanile_self_backup_last_success_timestamp_seconds"), Some(1_700_000_000.0));
    assert_eq!(value("campanile_self_backup_bytes"), Some(8192.0));
    assert_eq!(value("campanile_self_backup_failures_total"), Some(1.0));
    assert_eq!(value("campanile_orders_total{kind=\"run\",state=\"done\"}"), Some(3.0));
    assert_eq!(value("campanile_order_targets_total{state=\"silent\"}"), Some(2.0));
    assert_eq!(value("campanile_orders_in_flight"), Some(1.0));
    assert_eq!(value("campanile_config_generation"), Some(7.0));
    assert_eq!(value("campanile_config_nodes{phase=\"reverted\"}"), Some(1.0));
    assert_eq!(value("campanile_config_drifted_resources"), Some(3.0));
    assert_eq!(value("campanile_config_parts_bytes"), Some(4096.0));
}

#[test]
fn promtool_finds_nothing_but_node_exporters_own_spelling() {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else { return }; // not installed; the rules are checked above
    child.stdin.take().unwrap().write_all(whole_text().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    // `node_memory_MemAvailable_bytes` is what node_exporter calls it, and promtool's style check dislikes there too.
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    let unexpected: Vec<_> = complaints
        .lines()
        .filter(|line| !(line.starts_with("node_memory_") && line.ends_with("not 'camelCase'")))
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
    assert!(matches!(output.status.code(), Some(0 | 3)), "{complaints}"); // 3: read, with remarks on style
}

#[test]
fn samples_of_one_family_are_together_whatever_order_nodes_send_them_in() {
    let (a, b) = (fixture::node("a", 1, ""), fixture::node("b", 2, ""));
    let first = fixture::sample(&[("node_load1", &[], Some(1)), ("node_load5", &[], Some(2))]);
    let second = fixture::sample(&[("node_load5", &[], Some(3)), ("node_load1", &[], Some(4))]);
    let (text, left_out) = host_text(&[(&a, first), (&b, second)]);
    assert_eq!(parse(&text).len(), 4);
    assert_eq!(left_out, 0);
}

#[test]
fn what_a_node_sends_cannot_spoil_the_answer_for_all() {
    let node = fixture::node("a", 1, "");
    let sample = fixture::sample(&[
        ("node_load1", &[], Some(1)),
        ("node_load1", &[], Some(2)),
        ("no good", &[], Some(1)),
        ("node_x", &[("bad label", "v")], Some(1)),
        ("node_x", &[("__name__", "v")], Some(1)),
        ("node_x", &[("node", "web-1")], Some(1)),
        ("", &[], Some(1)),
    ]);
    let (text, left_out) = host_text(&[(&node, sample)]);
    let names: Vec<_> = parse(&text).into_iter().map(|(name, _)| name).collect();
    let owner = "node=\"a\",node_id=\"0101010101010101\"";
    assert_eq!(
        names,
        [format!("node_load1{{{owner}}}"), format!("node_x{{{owner},exported_node=\"web-1\"}}")]
    );
    assert_eq!(left_out, 5);
}

#[test]
fn a_node_cannot_take_a_family_of_the_aggregator() {
    let node = fixture::node("a", 1, "");
    let mut out = Exposition::with_capacity(0);
    out.single("campanile_health_score", super::exposition::Kind::Gauge, "Health.", 1);
    let left_out =
        host::write(&mut out, &[(&node, fixture::sample(&[("campanile_health_score", &[], Some(100))]))]);
    assert_eq!(left_out, 1);
    assert_eq!(parse(&out.finish()), [("campanile_health_score".to_owned(), 1.0)]);
}

#[test]
fn labels_that_differ_only_in_their_punctuation_stay_apart() {
    let node = fixture::node("a", 1, "x.y=1,x-y=2");
    let (text, _) = host_text(&[(&node, fixture::sample(&[("node_load1", &[], Some(1))]))]);
    let (series, _) = parse(&text).remove(0);
    assert!(series.contains("label_x_y=\"2\"") && series.contains("label_x_y_=\"1\""), "{series}");
}

#[test]
fn values_and_labels_are_written_as_the_format_wants_them() {
    assert_eq!(Number(f64::INFINITY).to_string(), "+Inf");
    assert_eq!(Number(f64::NEG_INFINITY).to_string(), "-Inf");
    assert_eq!(Number(f64::NAN).to_string(), "NaN");
    assert_eq!(Number(0.25).to_string(), "0.25");
    assert!(whole_text().contains(r#"device="C:\\x",mountpoint="/a \"b\"\n""#));
}

#[test]
fn unknown_methods_do_not_grow_the_counts() {
    let counts = requests::RequestCounts::default();
    for name in ["BREW", "PROPFIND"] {
        counts.count(&Method::from_bytes(name.as_bytes()).unwrap(), requests::UNMATCHED, 405);
    }
    let mut out = Exposition::with_capacity(0);
    counts.write(&mut out);
    let expected = "campanile_http_requests_total{method=\"other\",path=\"unmatched\",code=\"405\"}";
    assert_eq!(parse(&out.finish()), [(expected.to_owned(), 2.0)]);
}
