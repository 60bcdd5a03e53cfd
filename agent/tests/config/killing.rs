//! The program is killed at every step: the node is all old or all new, and says which.

use std::time::Duration;

use campanile_common::wire::v1::config::ConfigPhase;
use serde_json::json;

use crate::support::{Draft, Node, until};

const FILES: usize = 12;
const KILLS: usize = 120;
/// More than are put in place together, twice.
const MANY: usize = 600;

fn draft(text: &str, is_new: bool) -> Draft {
    let mut draft = Draft::new().with("directory", "/srv", json!({}));
    for number in 0..FILES {
        draft = draft.file(&format!("/srv/{number}"), &format!("{text} {number}"));
    }
    if is_new {
        draft
            .with("directory", "/srv/new", json!({}))
            .file("/srv/new/a", text)
            .with("link", "/srv/link", json!({ "target": "new/a" }))
            .with("file", "/srv/old", json!({ "ensure": "absent" }))
    } else {
        draft
            .with("directory", "/srv/new", json!({ "ensure": "absent" }))
            .with("file", "/srv/new/a", json!({ "ensure": "absent" }))
            .with("link", "/srv/link", json!({ "ensure": "absent", "target": "" }))
            .file("/srv/old", "it goes")
    }
}

/// Kills an apply a little later each time: at a line of its journal, then at a time.
#[test]
fn a_node_whose_apply_is_killed_anywhere_is_all_old_or_all_new() {
    let mut node = Node::new();
    let first = node.generation(draft("old", false));
    assert_eq!(node.apply(first).code, 0);
    let (mut is_new, mut undone, mut done, mut midway) = (false, 0, 0, 0);
    for round in 0..KILLS {
        let before = node.tree();
        // Applying the other one from here: what a whole apply makes of it is known from the rounds before.
        let next = node.generation(draft(&format!("text {round}"), !is_new));
        let mut program = node.start(&["apply", &next.to_string()]);
        let journal = node.undo().join("journal");
        until("the apply has begun, or has ended", || {
            journal.exists() || program.try_wait().unwrap().is_some()
        });
        let lines = round % (FILES + 6);
        let begun = std::fs::read_to_string(&journal).map_or(0, |text| text.lines().count());
        until("the apply has come so far", || {
            let now = std::fs::read_to_string(&journal).map(|text| text.lines().count());
            now.is_err() || now.unwrap() >= begun + lines || program.try_wait().unwrap().is_some()
        });
        std::thread::sleep(Duration::from_micros(u64::try_from(round * 7 % 400).unwrap()));
        program.kill().unwrap();
        program.wait().unwrap();
        midway += usize::from(journal.exists());
        let recovered = node.run(&["recover"]);
        assert_eq!(recovered.code, 0, "round {round}: {}", recovered.text);
        let (after, state) = (node.tree(), node.state());
        if state.current.map(|(_, digest)| digest) == Some(next) {
            assert_eq!(state.phase, ConfigPhase::Applied, "round {round}");
            assert_eq!(node.plan(next).code, 0, "round {round}: all is new");
            assert_ne!(after, before, "round {round}");
            (is_new, done) = (!is_new, done + 1);
        } else {
            assert_eq!(state.phase, ConfigPhase::Failed, "round {round}");
            assert_eq!(after, before, "round {round}: all is old");
            undone += 1;
        }
        assert!(!node.undo().exists() && !node.config.join("stage").exists(), "round {round}");
    }
    println!("{KILLS} kills: {undone} undone, {done} had come to their end, {midway} left a journal");
    assert!(midway >= KILLS / 4, "the kills must hit the middle of applies, {midway} did");
}

/// What undoes is killed as well, again and again.
#[test]
fn a_recovery_that_is_killed_is_taken_up_by_the_next() {
    let mut node = Node::new();
    let first = node.generation(draft("old", false));
    assert_eq!(node.apply(first).code, 0);
    let before = node.tree();
    for round in 0..20_u64 {
        // It breaks at its end, so that everything is to be put back.
        let wait = json!({ "run": ["sleep", "100"], "unless": ["false"], "after": ["file:/srv/new/a"] });
        let next = node.generation(draft(&format!("text {round}"), true).with("command", "wait", wait));
        let mut program = node.start(&["apply", &next.to_string()]);
        until("the last step is at work", || node.root.join("srv/new/a").exists());
        program.kill().unwrap();
        program.wait().unwrap();
        for attempt in 0..5_u64 {
            let mut recovery = node.start(&["recover"]);
            std::thread::sleep(Duration::from_micros(2000 + 500 * attempt + 137 * round));
            recovery.kill().unwrap();
            recovery.wait().unwrap();
        }
        assert_eq!(node.run(&["recover"]).code, 0);
        assert_eq!(node.tree(), before, "round {round}");
        assert_eq!(node.state().phase, ConfigPhase::Failed);
    }
}

/// More files than wait beside their places at once: some groups are in place, one is on its way, others are not begun.
#[test]
fn many_files_whose_apply_is_killed_between_any_two_are_all_old_or_all_new() {
    let mut node = Node::new();
    let draft = |text: &str| {
        let file =
            |draft: Draft, number| draft.file(&format!("/srv/{number:03}"), &format!("{text} {number}"));
        (0..MANY).fold(Draft::new().with("directory", "/srv", json!({})), file)
    };
    let first = node.generation(draft("old"));
    assert_eq!(node.apply(first).code, 0);
    let mut torn = 0;
    for round in 0..12 {
        let before = node.tree();
        let text = format!("text {round}");
        let next = node.generation(draft(&text));
        let mut program = node.start(&["apply", &next.to_string()]);
        // What it says of so many files fills the pipe.
        let mut said = program.stdout.take().unwrap();
        let listener = std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        // Once the first group is in place, then once the second is; in odd rounds in the midst of writing.
        let file = node.root.join(format!("srv/{:03}", if round % 4 < 2 { 0 } else { 300 }));
        let waiting = || std::fs::read_dir(node.root.join("srv")).unwrap().count() > MANY + 20 * round;
        let is_new = || std::fs::read_to_string(&file).is_ok_and(|now| now.starts_with(&text));
        while !(if round % 2 == 0 { is_new() } else { waiting() }) && program.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        program.kill().unwrap();
        program.wait().unwrap();
        listener.join().unwrap().unwrap();
        let new =
            (0..MANY).filter(|number| node.read(&format!("/srv/{number:03}")).starts_with(&text)).count();
        let recovered = node.run(&["recover"]);
        assert_eq!(recovered.code, 0, "round {round}: {}", recovered.text);
        if node.state().phase == ConfigPhase::Applied {
            assert_eq!(node.plan(next).code, 0, "round {round}: all is new");
        } else {
            assert_eq!(node.tree(), before, "round {round}: all is old, and no attempt is left");
            torn += usize::from(new > 0 && new < MANY);
        }
    }
    println!("12 kills, {torn} with some files new and some old");
    assert!(torn >= 3, "the kills must hit the middle of applies, {torn} did");
}
