//! What the programs say of themselves.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use campanile_tests::support::{AGENT, AGGREGATOR, CAMPANILE, program, run};

/// Verbs that `--help` lists: the indented words below `Commands:`.
fn verbs(help: &str) -> Vec<String> {
    let mut listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let mut found = Vec::new();
    for line in listed.by_ref().take_while(|line| !line.is_empty()) {
        let is_entry = line.starts_with("  ") && !line.starts_with("   ");
        if is_entry && let Some(verb) = line.split_whitespace().next() {
            found.push(verb.to_owned());
        }
    }
    found.retain(|verb| verb != "help");
    found
}

/// Asks for help on everything from here down; gives the full names of what has no verbs below it.
fn walk(name: &str, path: &[String], leaves: &mut BTreeSet<String>) {
    let help = run(Command::new(program(name)).args(path).arg("--help"), "").ok();
    assert!(help.contains("Usage:"), "{path:?}: {help}");
    let below = verbs(&help);
    if below.is_empty() {
        leaves.insert(path.join(" "));
    }
    for verb in below {
        walk(name, &[path, &[verb]].concat(), leaves);
    }
}

#[test]
fn every_verb_explains_itself() {
    let mut leaves = BTreeSet::new();
    walk(CAMPANILE, &[], &mut leaves);
    for expected in [
        "node ls",
        "node retire",
        "token create",
        "audit verify",
        "dev up",
        "fleet init",
        "top",
        "conn ls",
        "login",
    ] {
        assert!(leaves.contains(expected), "{expected} in {leaves:?}");
    }
    let mut daemons = BTreeSet::new();
    walk(AGENT, &[], &mut daemons);
    walk(AGGREGATOR, &[], &mut daemons);
    for expected in ["run", "enroll", "status", "log-level", "serve", "api-token", "signin-link", "init"] {
        assert!(daemons.contains(expected), "{expected} in {daemons:?}");
    }
    // A manual page for each.
    let folder = tempfile::tempdir().unwrap();
    run(Command::new(program(CAMPANILE)).arg("man").arg(folder.path()), "").ok();
    for leaf in leaves {
        let page = folder.path().join(format!("campanile-{}.1", leaf.replace(' ', "-")));
        let text = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        assert!(text.contains(".SH SYNOPSIS"), "{}", page.display());
    }
}

#[test]
fn completions_are_scripts_that_their_shell_accepts() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(Command::new(program(CAMPANILE)).args(["completion", shell]), "").ok();
        assert!(script.contains("retire"), "{shell}");
        if shell == "bash" {
            let checked = run(Command::new("bash").arg("-n"), &script);
            assert_eq!(checked.code, Some(0), "{}", checked.err);
        }
    }
    run(Command::new(program(CAMPANILE)).args(["completion", "tcl"]), "").expect_code(2);
}
