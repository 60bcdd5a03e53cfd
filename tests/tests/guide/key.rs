//! Every key that a file of settings, a policy or a bundle may hold, as the source reads it, against the guide.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use campanile_common::config::Kind;

use crate::field::{Field, fields, inner, keys};
use crate::{chapter, read, root};

fn sources(files: &[&str]) -> String {
    files.iter().map(|file| read(&root().join(file))).collect()
}

/// Keys in the first column of the tables below a heading of the second level.
fn listed(section: &str) -> BTreeSet<String> {
    let text = chapter("settings-keys.md");
    let (_, below) =
        text.split_once(&format!("\n## {section}\n")).unwrap_or_else(|| panic!("no section {section}"));
    let rows = below.split("\n## ").next().unwrap().lines().filter_map(|line| line.strip_prefix("| `"));
    let firsts = rows.filter_map(|row| row.split(" |").next());
    firsts.flat_map(|first| first.split(", ")).map(|key| key.trim_matches('`').to_owned()).collect()
}

#[track_caller]
fn same(section: &str, known: BTreeSet<String>) {
    let listed = listed(section);
    let missing: Vec<_> = known.difference(&listed).collect();
    let unknown: Vec<_> = listed.difference(&known).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "docs/guide/settings-keys.md, {section}: {missing:?} have no row; {unknown:?} are no keys any more"
    );
}

#[test]
fn every_key_of_the_agents_settings_is_in_the_guide_and_no_other() {
    let source = sources(&["agent/src/settings.rs", "agent/src/settings/way.rs"]);
    same("`agent.toml`", keys(&source, "RawSettings").into_iter().collect());
}

#[test]
fn every_key_of_the_aggregators_settings_is_in_the_guide_and_no_other() {
    let source = sources(&[
        "aggregator/src/settings.rs",
        "aggregator/src/settings/backup.rs",
        "common/src/health/threshold.rs",
        "common/src/backup/stored.rs",
    ]);
    let known =
        keys(&source, "RawSettings").into_iter().map(|key| match key.split('.').collect::<Vec<_>>()[..] {
            // All rules have the same keys.
            ["thresholds", _, figure] => format!("thresholds.RULE.{figure}"),
            _ => key,
        });
    let mut known: BTreeSet<String> = known.collect();
    for rule in fields(&source, "Thresholds").unwrap().into_iter().filter(|rule| rule.kind != "f64") {
        known.insert(format!("thresholds.{}", rule.name));
    }
    same("`aggregator.toml`", known);
}

#[test]
fn every_key_of_a_node_policy_is_in_the_guide_and_no_other() {
    let source = sources(&["common/src/authority/policy.rs"]);
    same("`policy.toml`", keys(&source, "Policy").into_iter().collect());
}

/// What a kind of resource is, as the source lists it: its word, the struct of its keys, what its name is.
fn kinds(source: &str) -> Vec<(String, String, String)> {
    let (_, list) = source.split_once("\nkinds! {\n").expect("the kinds are listed in one place");
    let mut kinds = Vec::new();
    let mut doc = String::new();
    for line in list.lines().take_while(|line| *line != "}").map(str::trim) {
        if let Some(more) = line.strip_prefix("///") {
            doc.push_str(more);
        } else if let Some((spec, word)) = line.split_once('(').and_then(|(_, rest)| rest.split_once(") = "))
        {
            let spec = spec.strip_prefix("Box<").and_then(|spec| spec.strip_suffix('>')).unwrap_or(spec);
            let word = word.trim_matches(['"', ',']).to_owned();
            kinds.push((word, spec.to_owned(), std::mem::take(&mut doc).trim().to_owned()));
        }
    }
    kinds
}

/// What a value looks like, for people.
fn shape(source: &str, kind: &str) -> String {
    match inner(kind) {
        "String" => "text".to_owned(),
        "bool" => "`true` or `false`".to_owned(),
        "u16" | "u32" | "u64" | "i32" => "number".to_owned(),
        "Vec<String>" => "list of texts".to_owned(),
        "Vec<Vec<String>>" => "list of commands".to_owned(),
        "Vec<ResourceId>" => "list of `KIND:NAME`".to_owned(),
        kind if kind.starts_with("BTreeMap<") => "table".to_owned(),
        kind => match variants(source, kind.trim_start_matches("BTreeSet<").trim_end_matches('>')) {
            Some(words) if kind.starts_with("BTreeSet<") => format!("list of {}", words.join(", ")),
            Some(words) => words.join(" or "),
            None => "table".to_owned(),
        },
    }
}

/// The words of an enum that is written in small letters.
fn variants(source: &str, name: &str) -> Option<Vec<String>> {
    let (_, body) = source.split_once(&format!("enum {name} {{\n"))?;
    let lines = body.lines().take_while(|line| *line != "}").map(str::trim);
    let words = lines.filter_map(|line| line.strip_suffix(',')).filter(|line| !line.starts_with("///"));
    let words: Vec<String> = words.map(|word| format!("`{}`", word.to_lowercase())).collect();
    words.iter().all(|word| word.chars().all(|c| c.is_alphanumeric() || c == '`')).then_some(words)
}

fn row(out: &mut String, source: &str, before: &str, field: &Field) {
    if let Some(below) = fields(source, inner(&field.kind)) {
        let before = format!("{before}{}.", field.name);
        below.iter().for_each(|field| row(out, source, &before, field));
        return;
    }
    // Links of the source's own documentation lead nowhere here.
    let doc = field.doc.replace("[`", "`").replace("`]", "`").replace('|', "\\|");
    writeln!(out, "| `{before}{}` | {} | {doc} |", field.name, shape(source, &field.kind)).unwrap();
}

fn table(out: &mut String, source: &str, name: &str) {
    out.push_str("| Key | Value | What |\n|---|---|---|\n");
    for field in fields(source, name).unwrap_or_else(|| panic!("no struct {name}")) {
        row(out, source, "", &field);
    }
    out.push('\n');
}

#[test]
fn the_chapter_of_the_bundles_keys_is_what_the_source_says() {
    let resource = sources(&["common/src/config/resource/mod.rs", "common/src/config/resource/spec.rs"]);
    let kinds = kinds(&resource);
    let words: BTreeSet<&str> = kinds.iter().map(|(word, ..)| word.as_str()).collect();
    let known: BTreeSet<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(words, known, "the source lists the kinds as it did");
    let mut out = "# Keys of a bundle\n\nThis chapter is written from the source. How layers come together, and what an \
        apply does: [Configuration](config.md).\nA resource is a table `[KIND.\"NAME\"]` in a layer.\n\n"
        .to_owned();
    out.push_str("## Every resource\n\n");
    table(&mut out, &resource, "Rules");
    for (word, spec, doc) in &kinds {
        writeln!(out, "## {word}\n\n{doc}\n").unwrap();
        table(&mut out, &resource, spec);
    }
    let catalogue = sources(&[
        "common/src/authority/catalogue.rs",
        "common/src/authority/parameter.rs",
        "common/src/authority/action.rs",
    ]);
    out.push_str("## Catalogue: a command\n\n`[commands.NAME]` in `catalogue.toml`; see [Orders](orders.md#catalogue).\n\n");
    table(&mut out, &catalogue, "CatalogueCommand");
    out.push_str("## Catalogue: a parameter\n\n`[commands.NAME.parameters.NAME]`.\n\n");
    table(&mut out, &catalogue, "Parameter");
    out.push_str("## Catalogue: a service\n\n`[[services]]`.\n\n");
    table(&mut out, &catalogue, "ServiceRule");
    crate::written("bundle-keys.md", &format!("{}\n", out.trim_end()));
}
