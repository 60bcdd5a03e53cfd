//! The command line as people meet it.

use clap::{CommandFactory as _, Parser as _};

use super::*;
use crate::context::Environment;
use crate::exit::Exit;

fn run(arguments: &[&str]) -> (Exit, String, String) {
    let line = std::iter::once("campanile").chain(arguments.iter().copied()).map(Into::into);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = crate::run_with(line, &Environment::default(), &mut out, &mut err);
    (exit, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

/// Help as wide as it is where there is no terminal, whatever this test runs in.
fn help(words: &[&str]) -> String {
    let line = ["campanile"].iter().chain(words).chain(&["--help"]);
    Cli::command().term_width(100).try_get_matches_from(line).unwrap_err().to_string()
}

#[test]
fn help_shows_all_nouns() {
    assert_eq!(run(&["--help"]).0, Exit::Fine);
    insta::assert_snapshot!(help(&[]));
}

#[test]
fn help_of_a_verb_has_examples() {
    insta::assert_snapshot!("node_retire_help", help(&["node", "retire"]));
    insta::assert_snapshot!("token_create_help", help(&["token", "create"]));
    insta::assert_snapshot!("backup_status_help", help(&["backup", "status"]));
    insta::assert_snapshot!("backup_run_help", help(&["backup", "run"]));
    insta::assert_snapshot!("restore_help", help(&["restore"]));
}

/// Every verb that can be typed, as its words.
fn verbs(command: &clap::Command, words: &[String], found: &mut Vec<Vec<String>>) {
    let mut below = command.get_subcommands().filter(|verb| verb.get_name() != "help").peekable();
    if below.peek().is_none() {
        found.push(words.to_vec());
    }
    for verb in below {
        let words = [words, &[verb.get_name().to_owned()]].concat();
        verbs(verb, &words, found);
    }
}

#[test]
fn every_verb_with_options_has_examples_and_the_common_options() {
    let mut found = Vec::new();
    verbs(&Cli::command(), &[], &mut found);
    assert!(found.len() > 25, "{found:?}");
    for words in found {
        let line: Vec<&str> = words.iter().map(String::as_str).collect();
        let help = help(&line);
        assert!(help.contains("--output <FORMAT>") && help.contains("--profile"), "{words:?}:\n{help}");
        if words != ["version"] && words != ["logout"] {
            assert!(help.contains("Examples:\n  campanile "), "{words:?} has no examples:\n{help}");
        }
    }
}

#[test]
fn a_line_that_makes_no_sense_is_a_usage_error() {
    for line in [
        &["node", "sl"][..],
        &["token", "create", "-l", "no-equals"],
        &["token", "create", "--ttl", "5"],
        &["token", "create", "--uses", "0"],
        &["node", "ls", "-l", "role in (web"],
        &["node", "retire"],
        &["node", "retire", "web-01", "-l", "role=web"],
        &["node", "retire", "web-01", "--expect", "1"],
        &["health", "--fail-under", "101"],
        &["dev", "up", "--dir", "x", "--nodes", "0"],
        &["-o", "xml", "version"],
    ] {
        let (exit, out, err) = run(line);
        assert_eq!((exit, out.as_str()), (Exit::Usage, ""), "{line:?}");
        assert!(err.starts_with("error:"), "{line:?}: {err}");
    }
}

#[test]
fn common_options_may_stand_behind_the_verb() {
    let cli = Cli::try_parse_from(["campanile", "node", "ls", "-o", "json", "--timeout", "5s"]).unwrap();
    assert_eq!((cli.global.output, cli.global.timeout), (Output::Json, Duration::from_secs(5)));
}

#[test]
fn without_a_fleet_it_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [("CAMPANILE_CONFIG_DIR".to_owned(), folder.path().to_str().unwrap().to_owned())].into();
    let environment = Environment { variables, ..Environment::default() };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let line = ["campanile", "node", "ls"].map(Into::into);
    let exit = crate::run_with(line, &environment, &mut out, &mut err);
    assert_eq!(exit, Exit::Failed);
    assert!(String::from_utf8(err).unwrap().contains("run `campanile login`"));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    struct Closed;
    impl std::io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut err = Vec::new();
    let line = ["campanile", "version"].map(Into::into);
    assert_eq!(crate::run_with(line, &Environment::default(), &mut Closed, &mut err), Exit::Fine);
    assert!(err.is_empty());
}

#[test]
fn every_verb_has_a_manual_page_and_every_shell_a_script() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    assert_eq!(run(&["man", dir]).0, Exit::Fine);
    let page = std::fs::read_to_string(folder.path().join("campanile-node-retire.1")).unwrap();
    assert!(page.contains("campanile\\-node\\-retire") && page.contains("expect"), "{page}");
    for shell in ["bash", "zsh", "fish"] {
        let (exit, script, _) = run(&["completion", shell]);
        assert_eq!(exit, Exit::Fine);
        assert!(script.contains("api-token"), "{shell}");
    }
}
