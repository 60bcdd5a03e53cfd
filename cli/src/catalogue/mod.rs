//! `catalogue`: what may be ordered without a key, because operators signed it.

mod source;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use campanile_common::api::{CatalogueText, SignedText, Submitted};
use campanile_common::authority::{
    Authority, Catalogue, CatalogueCommand, CatalogueDocument, Role, ServiceRule, SignedCatalogue,
};
use clap::{Args, Subcommand};
use serde::Serialize;
use ureq::http::Method;

use crate::client::Client;
use crate::context::Context;
use crate::exit::Exit;
use crate::os::{clock, file};
use crate::render::{self, Cell};
use crate::signer::{self, Passphrase, Subject};
use crate::{approve, authority, profile, suggest};

use source::Source;

/// Path in the API.
const PATH: &str = "/api/v1/catalogue";

/// Verbs of `catalogue`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Write a commented example to begin with
    #[command(after_help = "Examples:
  campanile catalogue init
  campanile catalogue init fleet/catalogue.toml")]
    Init {
        /// Where to write it
        #[arg(default_value = "catalogue.toml")]
        file: PathBuf,
    },
    /// Find mistakes, each with its line
    #[command(after_help = "Examples:
  campanile catalogue lint
  campanile catalogue lint fleet/catalogue.toml

Exit code 1 when there is an error. Nothing is sent and no key is needed.")]
    Lint {
        /// The catalogue's source
        #[arg(default_value = "catalogue.toml")]
        file: PathBuf,
    },
    /// Sign the next version into a file, to be pushed elsewhere
    #[command(after_help = "Examples:
  campanile catalogue sign catalogue.toml --out catalogue-7.json
  campanile catalogue push catalogue-7.json")]
    Sign(Sign),
    /// Sign the next version and put it in force
    #[command(after_help = "Examples:
  campanile catalogue push
  campanile catalogue push fleet/catalogue.toml

Where the authority demands several signatures it waits for the others: campanile approve sign catalogue-N.")]
    Push(Push),
    /// List what the catalogue in force permits
    #[command(after_help = "Examples:
  campanile catalogue ls
  campanile catalogue ls -o json")]
    Ls,
    /// Show one command with its parameters
    #[command(after_help = "Examples:
  campanile catalogue show disk-usage")]
    Show {
        /// Name of the command
        name: String,
    },
}

/// What to sign, and where to.
#[derive(Debug, Args)]
pub struct Sign {
    /// The catalogue's source
    #[arg(default_value = "catalogue.toml")]
    file: PathBuf,
    /// Where the signed catalogue goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    passphrase: Passphrase,
}

/// What to push.
#[derive(Debug, Args)]
pub struct Push {
    /// The catalogue's source, or what `catalogue sign` wrote
    #[arg(default_value = "catalogue.toml")]
    file: PathBuf,
    #[command(flatten)]
    passphrase: Passphrase,
}

/// Carries out a verb.
///
/// # Errors
/// When it fails.
pub fn run(context: &mut Context<'_>, verb: &Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::Init { file } => {
            file::write_new(file, source::EXAMPLE.as_bytes(), file::PUBLIC)?;
            context.hint(&format!("{} is an example to begin with", file.display()))?;
            Ok(Exit::Fine)
        }
        Verb::Lint { file } => lint(context, file),
        Verb::Sign(arguments) => {
            let client = profile::client(context)?;
            let signed = sign(context, &client, &arguments.file, &arguments.passphrase)?;
            file::replace(&arguments.out, &serde_json::to_vec_pretty(&signed)?, file::PUBLIC)?;
            context.hint(&format!("signed into {}", arguments.out.display()))?;
            Ok(Exit::Fine)
        }
        Verb::Push(arguments) => push(context, arguments),
        Verb::Ls => {
            let client = profile::client(context)?;
            list(context, &client)
        }
        Verb::Show { name } => {
            let client = profile::client(context)?;
            show(context, &client, name)
        }
    }
}

fn lint(context: &mut Context<'_>, file: &Path) -> anyhow::Result<Exit> {
    let (source, findings) = source::read(&file::read_text(file)?);
    for finding in &findings {
        writeln!(context.out, "{}:{finding}", file.display())?;
    }
    match source {
        Some(source) => {
            context.hint(&format!(
                "commands: {}, rules for units: {}",
                source.commands.len(),
                source.services.len()
            ))?;
            Ok(Exit::Fine)
        }
        None => Ok(Exit::Failed),
    }
}

fn read(context: &mut Context<'_>, file: &Path) -> anyhow::Result<Source> {
    let (source, findings) = source::read(&file::read_text(file)?);
    for finding in &findings {
        context.hint(&format!("{}:{finding}", file.display()))?;
    }
    source.ok_or_else(|| anyhow!("{} has errors; nothing was signed", file.display()))
}

fn sign(
    context: &mut Context<'_>,
    client: &Client,
    file: &Path,
    passphrase: &Passphrase,
) -> anyhow::Result<SignedText> {
    let source = read(context, file)?;
    let authority = authority::follow(context, client)?;
    let current: CatalogueText = client.get(PATH, &[])?;
    let document = source.document(&authority, current.version + 1, clock::now());
    let bytes = document.to_bytes()?;
    let signer = signer::open(context, passphrase)?;
    authority::check_holder(&authority, &signer.public(), Role::Catalogue)?;
    let signature = signer.sign(Subject::Catalogue, &bytes)?;
    Ok(SignedText::new(&bytes, &[signature]))
}

fn push(context: &mut Context<'_>, arguments: &Push) -> anyhow::Result<Exit> {
    let client = profile::client(context)?;
    let is_signed = arguments.file.extension().is_some_and(|extension| extension == "json");
    let signed: SignedText = if is_signed {
        serde_json::from_slice(&file::read(&arguments.file)?)
            .with_context(|| format!("{} is not what `catalogue sign` wrote", arguments.file.display()))?
    } else {
        sign(context, &client, &arguments.file, &arguments.passphrase)?
    };
    let version = decode(&signed)?.read()?.version;
    let submitted: Submitted = client.send(Method::PUT, PATH, &signed)?;
    approve::report(context, &submitted, &format!("catalogue version {version}"))
}

/// The bytes and signatures in a text.
///
/// # Errors
/// When it is no base64.
pub fn decode(text: &SignedText) -> anyhow::Result<SignedCatalogue> {
    let (bytes, signatures) = text.decode().ok_or_else(|| anyhow!("the catalogue is no base64"))?;
    Ok(SignedCatalogue { bytes, signatures })
}

/// The catalogue in force, verified here under the authority; none when there is none.
///
/// # Errors
/// When the aggregator's does not verify.
pub fn in_force(client: &Client, authority: &Authority) -> anyhow::Result<Option<Catalogue>> {
    let text: CatalogueText = client.get(PATH, &[])?;
    let Some(signed) = &text.signed else { return Ok(None) };
    let catalogue = decode(signed)?.verify(authority, None).context(
        "the aggregator's catalogue does not verify under the authority that this machine knows; `campanile operator \
         ls` brings it up to date",
    )?;
    Ok(Some(catalogue))
}

fn must_be_in_force(context: &mut Context<'_>, client: &Client) -> anyhow::Result<Catalogue> {
    let authority = authority::follow(context, client)?;
    in_force(client, &authority)?
        .ok_or_else(|| anyhow!("there is no catalogue yet; begin with `campanile catalogue init`"))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    version: u64,
    issued_at: campanile_common::time::Timestamp,
    expires_at: campanile_common::time::Timestamp,
    commands: &'a std::collections::BTreeMap<String, CatalogueCommand>,
    services: &'a [ServiceRule],
}

fn list(context: &mut Context<'_>, client: &Client) -> anyhow::Result<Exit> {
    let catalogue = must_be_in_force(context, client)?;
    let document = catalogue.document();
    let shown = Shown {
        version: document.version,
        issued_at: document.issued,
        expires_at: document.expires,
        commands: &document.commands,
        services: &document.services,
    };
    let names = document.commands.keys().cloned().collect::<Vec<_>>().join("\n");
    render::object(context, &shown, &names, |context| print(context, document))?;
    Ok(Exit::Fine)
}

/// Everything in a catalogue, for people.
///
/// # Errors
/// When it cannot be printed.
pub fn print(context: &mut Context<'_>, document: &CatalogueDocument) -> anyhow::Result<()> {
    render::fields(
        context,
        &[
            ("version", Cell::new(document.version)),
            ("issued", Cell::new(document.issued)),
            ("expires", Cell::new(document.expires)),
        ],
    )?;
    writeln!(context.out)?;
    let commands = document.commands.iter().map(|(name, command)| {
        vec![
            Cell::new(name),
            Cell::maybe(command.user.as_ref()),
            Cell::new(command.parameters.keys().cloned().collect::<Vec<_>>().join(",")),
            Cell::new(words(&command.argv)),
        ]
    });
    render::table(context, &["COMMAND", "AS", "PARAMETERS", "RUNS"], commands.collect())?;
    writeln!(context.out)?;
    let services = document.services.iter().map(|rule| {
        let verbs: Vec<&str> = rule.verbs.iter().map(|verb| verb.as_str()).collect();
        vec![Cell::new(&rule.unit), Cell::new(verbs.join(","))]
    });
    Ok(render::table(context, &["UNIT", "VERBS"], services.collect())?)
}

fn words(argv: &[String]) -> String {
    let command = campanile_common::authority::Command { argv: argv.to_vec(), user: None, stdin: Vec::new() };
    campanile_common::authority::Action::Run(command).to_string()
}

fn show(context: &mut Context<'_>, client: &Client, name: &str) -> anyhow::Result<Exit> {
    let catalogue = must_be_in_force(context, client)?;
    let commands = &catalogue.document().commands;
    let Some(command) = commands.get(name) else { bail!("{}", no_command(&catalogue, name)) };
    render::object(context, command, name, |context| {
        render::fields(
            context,
            &[
                ("command", Cell::new(name)),
                ("description", Cell::new(&command.description)),
                ("runs", Cell::new(words(&command.argv))),
                ("as", Cell::maybe(command.user.as_ref())),
            ],
        )?;
        writeln!(context.out)?;
        let rows = command.parameters.iter().map(|(name, parameter)| {
            vec![
                Cell::new(name),
                Cell::maybe(parameter.default.as_ref()),
                Cell::new(parameter.kind.describe()),
                Cell::new(&parameter.description),
            ]
        });
        Ok(render::table(context, &["PARAMETER", "DEFAULT", "TAKES", "DESCRIPTION"], rows.collect())?)
    })?;
    Ok(Exit::Fine)
}

/// That there is no such command, with the close ones.
pub fn no_command(catalogue: &Catalogue, name: &str) -> String {
    let close = suggest::close(name, catalogue.document().commands.keys().map(String::as_str));
    format!(
        "the catalogue has no command `{name}`{}{}",
        suggest::question(&close),
        if close.is_empty() { "; `campanile catalogue ls` lists them" } else { "" }
    )
}

#[cfg(test)]
mod tests;
