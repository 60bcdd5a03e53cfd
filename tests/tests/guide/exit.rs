//! The chapter of exit codes against the programs.

use campanile_agent::cli::Cli as Agent;
use clap::CommandFactory as _;

use crate::{chapter, read, root};

/// The numbers in the first column of a section's table.
fn listed(section: &str) -> Vec<u16> {
    let text = chapter("exit-codes.md");
    let (_, below) =
        text.split_once(&format!("## {section}\n")).unwrap_or_else(|| panic!("no section {section}"));
    let below = below.split("\n## ").next().unwrap();
    below.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok()).collect()
}

#[test]
fn every_exit_code_of_the_command_line_is_in_the_guide_and_no_other() {
    let source = read(&root().join("cli/src/exit.rs"));
    let (_, variants) = source.split_once("pub enum Exit {").unwrap();
    let variants = variants.split("\n}").next().unwrap();
    let codes: Vec<u16> = variants
        .lines()
        .filter_map(|line| line.split_once(" = ")?.1.strip_suffix(',')?.parse().ok())
        .collect();
    assert!(codes.len() > 5, "the codes stand in the source as they did");
    assert_eq!(listed("`campanile`"), codes);
}

#[test]
fn every_exit_code_of_the_agent_is_in_the_guide_and_no_other() {
    let help = Agent::command().get_after_help().unwrap().to_string();
    let (_, codes) = help.split_once("Exit codes:").expect("the help names the codes");
    let codes: Vec<u16> =
        codes.split(',').filter_map(|code| code.split_whitespace().next()?.parse().ok()).collect();
    assert!(codes.len() > 3, "{help}");
    assert_eq!(listed("`campanile-agent`"), codes);
}
