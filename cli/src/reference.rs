//! `completion`, `man` and `version`: what the command line tells of itself.

use std::path::{Path, PathBuf};

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
    let count = write_manual(&arguments.dir, Cli::command(), "1")?;
    context.hint(&format!("{count} pages in {}", arguments.dir.display()))?;
    Ok(Exit::Fine)
}

/// Writes a program's manual: a page for it and one for each verb, of this section. Tells how many.
///
/// # Errors
/// When the folder cannot be made or a page not written.
pub fn write_manual(folder: &Path, command: clap::Command, section: &str) -> anyhow::Result<usize> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let name = command.get_name().to_owned();
    write_pages(folder, command, &name, section)
}

fn write_pages(folder: &Path, command: clap::Command, name: &str, section: &str) -> anyhow::Result<usize> {
    let mut count = 1;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        let name = format!("{name}-{}", below.get_name());
        count += write_pages(folder, below.clone(), &name, section)?;
    }
    let mut page = Vec::new();
    // clap wants names that live as long as the program; this program ends when the pages are written.
    let title: &'static str = name.to_owned().leak();
    clap_mangen::Man::new(command.name(title)).section(section).render(&mut page)?;
    file::replace(&folder.join(format!("{name}.{section}")), &page, file::PUBLIC)?;
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
