//! Links of the guide and of what leads to it: chapters, sections, files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::{chapter, chapters, read, root};

/// Anchors as GitHub makes them, and the aggregator's pages with it.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    let mut anchors = BTreeSet::new();
    let mut is_code = false;
    for line in text.lines() {
        is_code ^= line.trim_start().starts_with("```");
        let heading = line.trim_start_matches('#');
        if is_code || heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let kept = heading.trim().to_lowercase().replace(' ', "-");
        let kept: String = kept.chars().filter(|c| c.is_alphanumeric() || *c == '-' || *c == '_').collect();
        let count = taken.entry(kept.clone()).or_default();
        anchors.insert(if *count == 0 { kept.clone() } else { format!("{kept}-{count}") });
        *count += 1;
    }
    anchors
}

/// Where the links of a text lead.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

#[test]
fn every_link_of_the_guide_leads_somewhere() {
    let chapters = chapters();
    let anchors: BTreeMap<&str, BTreeSet<String>> =
        chapters.iter().map(|chapter| (chapter.file.as_str(), anchors(&chapter.text))).collect();
    let mut followed = 0;
    for chapter in &chapters {
        for link in links(&chapter.text).filter(|link| !link.starts_with("https://")) {
            let (file, section) =
                link.split_once('#').map_or((link, None), |(file, section)| (file, Some(section)));
            let file = if file.is_empty() { chapter.file.as_str() } else { file };
            let there =
                anchors.get(file).unwrap_or_else(|| panic!("{}: {link} leads to no chapter", chapter.file));
            let is_there = section.is_none_or(|section| there.contains(section));
            assert!(is_there, "{}: {link} leads to no section; there are {there:?}", chapter.file);
            followed += 1;
        }
    }
    assert!(followed > 30, "{followed} links");
}

#[test]
fn what_leads_to_the_guide_finds_it() {
    let anchors: BTreeMap<String, BTreeSet<String>> =
        chapters().into_iter().map(|chapter| (chapter.file, anchors(&chapter.text))).collect();
    for file in ["README.md", "CHANGELOG.md", "ARCHITECTURE.md"] {
        let text = read(&root().join(file));
        for link in links(&text).filter_map(|link| link.strip_prefix("docs/")) {
            let (path, section) =
                link.split_once('#').map_or((link, None), |(path, section)| (path, Some(section)));
            let name =
                path.strip_prefix("guide/").unwrap_or_else(|| panic!("{file}: {path} is not in the guide"));
            let name = if name.is_empty() { "README.md" } else { name };
            let there = anchors.get(name).unwrap_or_else(|| panic!("{file}: docs/{path} is not there"));
            assert!(
                section.is_none_or(|section| there.contains(section)),
                "{file}: docs/{link} is not there"
            );
        }
    }
}

/// Test functions anywhere in the repository.
fn tests(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir()
            && !name.starts_with('.')
            && !["target", "node_modules", "dist"].contains(&name.as_str())
        {
            tests(&path, found);
        } else if name.ends_with(".rs") {
            let text = read(&path);
            // An attribute may stand between the mark and the function.
            for rest in text.split("test]").skip(1).chain(text.split("test(").skip(1)) {
                let name =
                    rest.split_once("fn ").and_then(|(_, rest)| rest.split_once('(')).map(|(name, _)| name);
                found.extend(name.map(str::to_owned));
            }
        }
    }
}

#[test]
fn every_test_that_the_chapter_of_security_names_is_there() {
    let text = chapter("security.md");
    let (_, below) = text.split_once("\n## Shown by\n").unwrap();
    let rows = below.split("\n## ").next().unwrap().lines().filter(|line| line.starts_with("| "));
    let named: Vec<&str> = rows.flat_map(|row| row.split('`').skip(1).step_by(2)).collect();
    assert!(named.len() > 25, "{named:?}");
    let mut there = BTreeSet::new();
    tests(&root(), &mut there);
    let missing: Vec<_> = named.iter().filter(|name| !there.contains(**name)).collect();
    assert!(missing.is_empty(), "docs/guide/security.md names tests that are not there: {missing:?}");
}
