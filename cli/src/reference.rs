//! `completion`, `man` and `version`: what the command line tells of itself.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::context::Context;
use crate::exit::Exit;
use crate::{os::file, render};

/// Options of `completion`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile completion bash > /etc/bash_completion.d/campanile
  campanile completion zsh > ~/.zfunc/_campanile")]
pub struct Completion {
    /// For which shell
    shell: Shell,
}

/// Options of `man`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile man ./man
  man -l ./man/campanile-node-ls.1")]
pub struct Man {
    /// Folder for the pages, made if it is missing
    dir: PathBuf,
}

/// Prints a shell's completion script.
///
/// # Errors
/// When it cannot be printed.
pub fn completion(context: &mut Context<'_>, arguments: &Completion) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "campanile", &mut script);
    context.out.write_all(&script)?;
    Ok(Exit::Fine)
}

/// Writes a manual page for every verb.
///
/// # Errors
/// When one cannot be written.
pub fn man(context: &mut Context<'_>, arguments: &Man) -> anyhow::Result<Exit> {
    std::fs::create_dir_all(&arguments.dir)
        .with_context(|| format!("cannot make {}", arguments.dir.display()))?;
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let count = write_pages(arguments, command, "campanile")?;
    context.hint(&format!("{count} pages in {}", arguments.dir.display()))?;
    Ok(Exit::Fine)
}

fn write_pages(arguments: &Man, command: clap::Command, name: &str) -> anyhow::Result<usize> {
    let mut count = 1;
    for below in command.get_subcommands() {
        let name = format!("{name}-{}", below.get_name());
        count += write_pages(arguments, below.clone(), &name)?;
    }
    let mut page = Vec::new();
    // clap wants names that live as long as the program; this program ends when the pages are written.
    let title: &'static str = name.to_owned().leak();
    clap_mangen::Man::new(command.name(title)).render(&mut page)?;
    let path = arguments.dir.join(format!("{name}.1"));
    file::replace(&path, &page, file::PUBLIC)?;
    Ok(count)
}

/// Prints the version.
///
/// # Errors
/// When it cannot be printed.
pub fn version(context: &mut Context<'_>) -> anyhow::Result<Exit> {
    let version = env!("CARGO_PKG_VERSION");
    render::object(context, &serde_json::json!({ "version": version }), version, |context| {
        Ok(writeln!(context.out, "campanile {version}")?)
    })?;
    Ok(Exit::Fine)
}
