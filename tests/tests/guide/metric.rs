//! The chapter of metrics, written from the names and texts in the source; and what a live aggregator exposes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::{chapter, read, root};

/// A literal of the source with the code between it and the one before.
struct Literal {
    before: String,
    text: String,
}

/// The literals of a source without its tests.
fn literals(source: &str) -> Vec<Literal> {
    let source = source.split("#[cfg(test)]").next().unwrap();
    let mut found = Vec::new();
    let mut before = String::new();
    for line in source.lines().filter(|line| !line.trim_start().starts_with("//")) {
        // Names and texts hold no quotes of their own.
        for (index, part) in line.split('"').enumerate() {
            if index % 2 == 0 {
                let (code, is_comment) =
                    part.split_once(" //").map_or((part, false), |(code, _)| (code, true));
                before.push_str(code);
                if is_comment {
                    break;
                }
            } else {
                found.push(Literal { before: std::mem::take(&mut before), text: part.to_owned() });
            }
        }
    }
    found
}

fn is_name(text: &str) -> bool {
    let begins =
        ["campanile_", "node_", "process_"].iter().any(|begin| text.starts_with(begin) && text != *begin);
    begins
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !text.ends_with('_')
        && text != "node_id"
}

/// Names of the aggregator's own metrics with their texts: beside the name, or just before it as `help`.
fn aggregators() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for file in ["own", "backups", "requests"] {
        let literals = literals(&read(&root().join(format!("aggregator/src/http/metrics/{file}.rs"))));
        for (index, literal) in literals.iter().enumerate().filter(|(_, literal)| is_name(&literal.text)) {
            let next = literals.get(index + 1);
            let is_before = next.is_none_or(|next| next.before.split(')').next().unwrap().contains("help"));
            let text = if is_before { literals.get(index.wrapping_sub(1)) } else { next };
            let text = &text.unwrap_or_else(|| panic!("{} has a text", literal.text)).text;
            assert!(text.ends_with('.'), "{} has a text, not `{text}`", literal.text);
            found.insert(literal.text.clone(), text.clone());
        }
    }
    assert!(found.len() > 30, "the metrics stand in the source as they did");
    found
}

/// Names that agents report, with the aggregator's texts for them.
fn agents() -> BTreeMap<String, String> {
    let help = literals(&read(&root().join("aggregator/src/http/metrics/help.rs")));
    help.windows(2)
        .filter(|pair| is_name(&pair[0].text))
        .map(|pair| (pair[0].text.clone(), pair[1].text.clone()))
        .collect()
}

/// Names in the agent's collectors.
fn collected(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collected(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs") {
            let names = literals(&read(&path)).into_iter().map(|literal| literal.text);
            // What the agent says of its own process is told as `campanile_agent_...`.
            found.extend(names.filter(|name| is_name(name) && !name.starts_with("process_")));
        }
    }
}

fn kind(name: &str) -> &'static str {
    if name.ends_with("_total") { "counter" } else { "gauge" }
}

fn table(out: &mut String, metrics: impl Iterator<Item = (String, String)>) {
    out.push_str("| Metric | Kind | What |\n|---|---|---|\n");
    for (name, text) in metrics {
        writeln!(out, "| `{name}` | {} | {text} |", kind(&name)).unwrap();
    }
    out.push('\n');
}

/// Names in the chapter.
pub(crate) fn listed() -> BTreeSet<String> {
    let text = chapter("metrics.md");
    text.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned())).collect()
}

/// Names in what `/metrics` answers.
pub(crate) fn exposed(answer: &str) -> BTreeSet<String> {
    answer
        .lines()
        .filter_map(|line| Some(line.strip_prefix("# TYPE ")?.split(' ').next()?.to_owned()))
        .collect()
}

#[test]
fn the_chapter_of_metrics_is_what_the_source_says() {
    let (own, agents) = (aggregators(), agents());
    let mut out = "# Metrics\n\nThis chapter is written from the source. All of it is at `/metrics` of the aggregator, and can \
        be asked for over\nthe API; see [Monitoring](monitoring.md).\n\n"
        .to_owned();
    let part = |wanted: fn(&str) -> bool, from: &BTreeMap<String, String>| {
        from.iter()
            .filter(|(name, _)| wanted(name))
            .map(|(name, text)| (name.clone(), text.clone()))
            .collect::<Vec<_>>()
    };
    let is_backup = |name: &str| name.starts_with("campanile_backup_");
    let is_process = |name: &str| name.starts_with("process_");
    let parts: [(&str, Vec<(String, String)>); 5] = [
        (
            "Fleet and aggregator",
            part(|name| !name.starts_with("campanile_backup_") && !name.starts_with("process_"), &own),
        ),
        ("Backups", part(is_backup, &own)),
        ("The aggregator's process", part(is_process, &own)),
        ("The agent", part(|name| name.starts_with("campanile_"), &agents)),
        ("Nodes, named as by node_exporter", part(|name| name.starts_with("node_"), &agents)),
    ];
    for (title, metrics) in parts {
        assert!(!metrics.is_empty(), "{title}");
        writeln!(out, "## {title}\n").unwrap();
        table(&mut out, metrics.into_iter());
    }
    crate::written("metrics.md", &format!("{}\n", out.trim_end()));
}

#[test]
fn every_metric_that_an_agent_reports_has_a_text() {
    let mut found = BTreeSet::new();
    collected(&root().join("agent/src/metrics"), &mut found);
    assert!(found.len() > 60, "{found:?}");
    let known = agents();
    let missing: Vec<_> = found.into_iter().filter(|name| !known.contains_key(name)).collect();
    assert!(missing.is_empty(), "give these a text in aggregator/src/http/metrics/help.rs: {missing:?}");
}

#[test]
fn a_name_finds_its_text_beside_it_or_before_it() {
    let found = literals("let help = \"A b.\"; // \"no\"\nfamily(\"campanile_x_total\", K, help); f(\"y\")");
    let texts: Vec<&str> = found.iter().map(|literal| literal.text.as_str()).collect();
    assert_eq!(texts, ["A b.", "campanile_x_total", "y"]);
    assert!(
        is_name("campanile_x_total") && is_name("node_load1") && !is_name("node_id") && !is_name("node_")
    );
    assert_eq!(exposed("# HELP a b\n# TYPE a gauge\na 1\n"), ["a".to_owned()].into());
}
