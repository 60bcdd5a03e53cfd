//! The chapters of commands, written from the programs' own description of themselves.

use std::fmt::Write as _;

use campanile_agent::cli::Cli as Agent;
use campanile_aggregator::cli::Cli as Aggregator;
use campanile_cli::cli::Cli as Campanile;
use clap::{Arg, ArgAction, Command, CommandFactory as _};

const NOTE: &str = "This chapter is written from the program itself: it is what `--help` says.";

/// Text of the program as text of a table: what could be markup is taken as it is.
fn plain(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut plain = String::new();
    let mut is_code = false;
    for c in line.chars() {
        if c == '`' {
            is_code = !is_code;
        }
        if !is_code && "*_<>[]".contains(c) || c == '|' {
            plain.push('\\');
        }
        plain.push(c);
    }
    plain
}

fn spelled(arg: &Arg) -> String {
    let value = || {
        let names = arg.get_value_names().unwrap_or_default().iter().map(ToString::to_string);
        names.collect::<Vec<_>>().join(" ")
    };
    let takes = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    if arg.is_positional() {
        let many = arg.get_num_args().is_some_and(|range| range.max_values() > 1);
        return format!("{}{}", value(), if many { "..." } else { "" });
    }
    let short = arg.get_short().map(|short| format!("-{short}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    let names: Vec<String> = short.into_iter().chain(long).collect();
    if takes { format!("{} {}", names.join(", "), value()) } else { names.join(", ") }
}

fn meaning(arg: &Arg) -> String {
    let mut text = plain(&arg.get_help().map(ToString::to_string).unwrap_or_default());
    let hidden = arg.is_hide_default_value_set();
    let defaults: Vec<String> =
        arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    let takes = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    let values = arg.get_possible_values();
    let listed: Vec<&str> =
        values.iter().filter(|value| !value.is_hide_set()).map(|value| value.get_name()).collect();
    if takes && !listed.is_empty() && !arg.is_hide_possible_values_set() {
        write!(text, " (`{}`)", listed.join("`, `")).unwrap();
    }
    if takes && !defaults.is_empty() && !hidden {
        write!(text, "; `{}` without it", defaults.join(" ")).unwrap();
    }
    if let Some(variable) = arg.get_env() {
        write!(text, "; or in `{}`", variable.to_string_lossy()).unwrap();
    }
    text
}

fn table(out: &mut String, arguments: &[&Arg]) {
    if arguments.is_empty() {
        return;
    }
    out.push_str("| Argument | What |\n|---|---|\n");
    for arg in arguments {
        writeln!(out, "| `{}` | {} |", spelled(arg).replace('|', "\\|"), meaning(arg)).unwrap();
    }
    out.push('\n');
}

fn is_shown(arg: &&Arg) -> bool {
    !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str())
}

/// What follows the help: examples as commands, with what each is for behind `#`; the rest as text.
fn after(out: &mut String, command: &Command) {
    let Some(after) = command.get_after_help().map(ToString::to_string) else { return };
    let (mut prose, mut examples) = (String::new(), Vec::new());
    for line in after.lines().filter(|line| !line.starts_with("Example")) {
        match line.strip_prefix("  ") {
            Some(example) if after.contains("Example") => examples.push(example),
            _ => prose.push_str(&format!("{line}\n")),
        }
    }
    for paragraph in prose.split("\n\n").map(plain).filter(|paragraph| !paragraph.is_empty()) {
        writeln!(out, "{paragraph}\n").unwrap();
    }
    if !examples.is_empty() {
        let lines: Vec<String> = examples.into_iter().map(with_remark).collect();
        writeln!(out, "```sh form\n{}\n```\n", lines.join("\n").trim_end()).unwrap();
    }
}

/// An example whose remark, which stands apart, is one for a shell as well.
fn with_remark(example: &str) -> String {
    let indent = example.len() - example.trim_start().len();
    let gap = example[indent..].find("  ").filter(|_| !example.contains('#'));
    let Some(gap) = gap else { return example.to_owned() };
    let (typed, remark) = example.split_at(indent + gap);
    format!("{typed}   # {}", remark.trim_start())
}

fn entry(out: &mut String, command: &Command, name: &str, depth: usize) {
    let below: Vec<&Command> = command
        .get_subcommands()
        .filter(|below| !below.is_hide_set() && below.get_name() != "help")
        .collect();
    writeln!(out, "{} {name}\n", "#".repeat(depth.min(3))).unwrap();
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    if !about.is_empty() {
        writeln!(out, "{}.\n", plain(about.trim_end_matches('.'))).unwrap();
    }
    if below.is_empty() {
        let usage = command.clone().bin_name(name).render_usage().to_string();
        let usage: Vec<String> =
            usage.replace("Usage:", "").lines().map(|line| line.trim().to_owned()).collect();
        writeln!(out, "```text\n{}\n```\n", usage.join("\n").trim()).unwrap();
    }
    let own: Vec<&Arg> =
        command.get_arguments().filter(is_shown).filter(|arg| !arg.is_global_set()).collect();
    table(out, &own);
    after(out, command);
    for command in below {
        entry(out, command, &format!("{name} {}", command.get_name()), depth + 1);
    }
}

/// A program's chapter.
fn text(title: &str, mut command: Command) -> String {
    command = command.disable_help_subcommand(true);
    command.build();
    let mut out = format!("# {title}\n\n{NOTE}\n\n");
    let name = command.get_name().to_owned();
    let globals: Vec<&Arg> =
        command.get_arguments().filter(is_shown).filter(|arg| arg.is_global_set()).collect();
    if !globals.is_empty() {
        out.push_str("## Everywhere\n\n");
        table(&mut out, &globals);
    }
    after(&mut out, &command);
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        entry(&mut out, below, &format!("{name} {}", below.get_name()), 2);
    }
    format!("{}\n", out.trim_end())
}

#[test]
fn the_chapter_of_the_command_line_is_what_it_says_of_itself() {
    crate::written("commands.md", &text("Commands: campanile", Campanile::command()));
}

#[test]
fn the_chapter_of_the_agent_is_what_it_says_of_itself() {
    crate::written("commands-agent.md", &text("Commands: campanile-agent", Agent::command()));
}

#[test]
fn the_chapter_of_the_aggregator_is_what_it_says_of_itself() {
    crate::written("commands-aggregator.md", &text("Commands: campanile-aggregator", Aggregator::command()));
}
