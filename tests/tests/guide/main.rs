//! The operator's guide, `docs/guide`, held against what it describes.
//!
//! Its commands are run on a fleet of their own, as a reader would type them; those that need a machine of their own
//! are counted, and read by the command line's own parser, as are all others. Its reference chapters are written from
//! the code: `CAMPANILE_BLESS=1` writes them anew.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod block;
mod command;
mod example;
mod exit;
mod field;
mod key;
mod link;
mod metric;
mod pattern;
mod session;

use std::fs;
use std::path::{Path, PathBuf};

/// One file of the guide.
struct Chapter {
    /// Its name, `orders.md`.
    file: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("in the workspace").to_owned()
}

fn folder() -> PathBuf {
    root().join("docs/guide")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn chapter(file: &str) -> String {
    read(&folder().join(file))
}

/// The chapters in the order of the summary.
fn chapters() -> Vec<Chapter> {
    let summary = chapter("SUMMARY.md");
    let named =
        summary.lines().filter_map(|line| Some(line.split_once("](")?.1.strip_suffix(')')?.to_owned()));
    let chapters: Vec<Chapter> = named.map(|file| Chapter { text: chapter(&file), file }).collect();
    assert!(chapters.len() > 10, "the summary names chapters");
    chapters
}

/// Holds a chapter that is written from the code against what is there, or writes it.
fn written(file: &str, text: &str) {
    let path = folder().join(file);
    if std::env::var_os("CAMPANILE_BLESS").is_some() {
        fs::write(&path, text).unwrap();
        return;
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    let differs = there.lines().zip(text.lines()).find(|(there, wanted)| there != wanted);
    assert!(
        there == text,
        "docs/guide/{file} is not what the code says; CAMPANILE_BLESS=1 writes it anew. First difference: {differs:?}"
    );
}

#[test]
fn every_file_of_the_guide_is_in_its_summary() {
    let mut listed: Vec<String> = chapters().into_iter().map(|chapter| chapter.file).collect();
    listed.push("SUMMARY.md".to_owned());
    listed.sort();
    let entries = fs::read_dir(folder()).unwrap();
    let mut there: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    there.sort();
    assert_eq!(listed, there);
}
