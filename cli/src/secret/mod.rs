//! `secret`: values that templates use and that only their nodes can read.
//!
//! A value is sealed here to the key of each node that is to have it. Neither the aggregator nor any other node can
//! open it, and it is in no plan, no difference and no log.

mod one;
mod pins;
mod seal;
mod work;

use std::io::{IsTerminal as _, Read as _};

use anyhow::Context as _;
use campanile_common::api::Node;
use campanile_common::config::SecretPart;
use campanile_common::selector::{Selector, Subject};
use campanile_common::time::Timestamp;
use clap::{Args, Subcommand};
use serde::Serialize;
use zeroize::Zeroizing;

pub(crate) use self::one::recipient;
use self::seal::VALUE_BYTES_MAX;
use self::work::{Work, names};
use crate::config::session::{OrderOptions, Session, WaveOptions};
use crate::config::{Head, Parts, named};
use crate::context::Context;
use crate::exit::{Exit, UsageError};
use crate::os::terminal;
use crate::render::{self, Cell, Column, Tone, column};
use crate::{authority, profile};

/// Verbs of `secret`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Set a value, sealed to the nodes that are to have it
    #[command(after_help = "Examples:
  campanile secret set db-password -l role=db
  pwgen -s 40 1 | campanile secret set db-password -l role=db --yes
  campanile secret set tls-key -l role=web --no-apply < web.key

The value comes from standard input or is asked for without being shown; never from the command line, which others can
read. One newline at its end is no part of it. A template says {{ secret(\"db-password\") }}.

It is sealed on this machine to the sealing key of each node, which is pinned when it is first seen. Makes a new
generation and orders those nodes to apply it. Exit codes as those of `campanile config apply`.")]
    Set(Set),
    /// List secrets, never their values
    #[command(after_help = "Examples:
  campanile secret ls
  campanile secret ls -o json

Exit code 10 when a node that a secret's selector names has no copy of it.")]
    Ls,
    /// Seal a secret for nodes that lack a copy of it, e.g. those enrolled since it was set
    #[command(after_help = "Examples:
  campanile secret sync db-password
  campanile secret sync db-password --yes < db-password.txt

No machine but the nodes can read a secret, this one neither: give the value again, in the same way as to `campanile
secret set`. It is sealed for those nodes alone, and the other copies stay, so nobody can tell whether it is the same
value: if you are not sure, use `campanile secret set` or `rotate`, which reach all nodes. Exit codes as those of
`campanile config apply`.")]
    Sync(Sync),
    /// Give a secret a new random value, which nobody sees
    #[command(after_help = "Examples:
  campanile secret rotate session-key
  campanile secret rotate session-key --length 64 --canary 1")]
    Rotate(Rotate),
    /// Remove a secret
    #[command(after_help = "Examples:
  campanile secret rm old-password

Templates that still use it fail, and are told at `campanile config plan`.")]
    Rm(Rm),
}

/// A secret and how its change reaches nodes.
#[derive(Debug, Args)]
pub struct Change {
    /// Its name
    #[arg(value_name = "NAME", value_parser = parse_name)]
    name: String,
    /// Why, for the history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Make the generation and leave applying it for later
    #[arg(long)]
    no_apply: bool,
    #[command(flatten)]
    waves: WaveOptions,
    #[command(flatten)]
    order: OrderOptions,
}

/// What to set.
#[derive(Debug, Args)]
pub struct Set {
    #[command(flatten)]
    change: Change,
    /// Which nodes are to have it; a secret that is there keeps those it has
    #[arg(short = 'l', long)]
    selector: Option<Selector>,
    /// Seal it to keys of nodes that are others than before
    #[arg(long)]
    accept_new_keys: bool,
}

/// What to seal for more nodes.
#[derive(Debug, Args)]
pub struct Sync {
    #[command(flatten)]
    change: Change,
    /// Seal it to keys of nodes that are others than before
    #[arg(long)]
    accept_new_keys: bool,
}

/// What to rotate.
#[derive(Debug, Args)]
pub struct Rotate {
    #[command(flatten)]
    change: Change,
    /// Letters and digits of the value
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(8..=4096))]
    length: u16,
    /// Seal it to keys of nodes that are others than before
    #[arg(long)]
    accept_new_keys: bool,
}

/// What to remove.
#[derive(Debug, Args)]
pub struct Rm {
    #[command(flatten)]
    change: Change,
}

/// A secret, as lists show it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    name: String,
    selector: String,
    set: Timestamp,
    nodes: usize,
    missing: Vec<String>,
}

const COLUMNS: [Column<Listed>; 5] = [
    column("NAME", |one, _| Cell::new(&one.name)),
    column("SELECTOR", |one, _| Cell::new(&one.selector)),
    column("SET", |one, now| Cell::age(Some(one.set), now)),
    column("NODES", |one, _| Cell::new(one.nodes)),
    column("MISSING", |one, _| {
        if one.missing.is_empty() {
            Cell::new("none").toned(Tone::Good)
        } else {
            Cell::new(named(&one.missing)).toned(Tone::Warning)
        }
    }),
];

fn parse_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_name = (1..=64).contains(&text.len()) && text.chars().all(fits) && !text.starts_with(['-', '.']);
    let problem = "give at most 64 letters, digits, `-`, `_` and `.`, the first a letter or digit";
    if is_name { Ok(text.to_owned()) } else { Err(problem.to_owned()) }
}

/// Carries out a verb.
///
/// # Errors
/// When it fails.
pub fn run(context: &mut Context<'_>, verb: &Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::Set(arguments) => set(context, arguments, read_value),
        Verb::Ls => list(context),
        Verb::Sync(arguments) => sync(context, arguments, read_value),
        Verb::Rotate(arguments) => rotate(context, arguments),
        Verb::Rm(arguments) => remove(context, arguments),
    }
}

fn set(
    context: &mut Context<'_>,
    arguments: &Set,
    value: impl FnOnce() -> anyhow::Result<Zeroizing<Vec<u8>>>,
) -> anyhow::Result<Exit> {
    let session = Session::open(context, &arguments.change.order.passphrase)?;
    let work = Work::begin(&session)?;
    let name = &arguments.change.name;
    let selector = match (&arguments.selector, work.secret(name)) {
        (Some(selector), _) => selector.to_string(),
        (None, Some(secret)) => secret.selector.clone(),
        (None, None) => {
            let text = format!("there is no secret `{name}` yet: say which nodes are to have it with -l");
            return Err(UsageError(text).into());
        }
    };
    let value = value()?;
    work.seal(context, &arguments.change, &value, &selector, arguments.accept_new_keys, "set")
}

fn sync(
    context: &mut Context<'_>,
    arguments: &Sync,
    value: impl FnOnce() -> anyhow::Result<Zeroizing<Vec<u8>>>,
) -> anyhow::Result<Exit> {
    let session = Session::open(context, &arguments.change.order.passphrase)?;
    let work = Work::begin(&session)?;
    let name = &arguments.change.name;
    let secret = work.known(name)?;
    let lacking = lacking(&work.nodes, secret);
    if lacking.is_empty() {
        context.hint(&format!("every node that `{}` names has a copy of `{name}`", secret.selector))?;
        return Ok(Exit::Fine);
    }
    context.hint(&format!("`{name}` is missing on {}", named(&names(&lacking))))?;
    let value = value()?;
    let mut parts = Parts::default();
    let copies = work.copies(context, &value, &lacking, arguments.accept_new_keys, &mut parts)?;
    let mut whole = secret.clone();
    whole.sealed.extend(copies);
    work.finish(context, &arguments.change, Some(whole), &parts, "sync")
}

fn rotate(context: &mut Context<'_>, arguments: &Rotate) -> anyhow::Result<Exit> {
    let session = Session::open(context, &arguments.change.order.passphrase)?;
    let work = Work::begin(&session)?;
    let selector = work.known(&arguments.change.name)?.selector.clone();
    let value = Zeroizing::new(seal::draw(usize::from(arguments.length)).as_bytes().to_vec());
    work.seal(context, &arguments.change, &value, &selector, arguments.accept_new_keys, "rotate")
}

fn remove(context: &mut Context<'_>, arguments: &Rm) -> anyhow::Result<Exit> {
    let session = Session::open(context, &arguments.change.order.passphrase)?;
    let work = Work::begin(&session)?;
    work.known(&arguments.change.name)?;
    work.finish(context, &arguments.change, None, &Parts::default(), "remove")
}

fn list(context: &mut Context<'_>) -> anyhow::Result<Exit> {
    let client = profile::client(context)?;
    let authority = authority::load(context.environment)?;
    let head = crate::config::read_head(&client, &authority, false)?;
    let mut nodes: Vec<Node> = client.pages("/api/v1/nodes", &[("state", "active")])?;
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let listed: Vec<Listed> = head.map(|head| of_generation(&head, &nodes)).unwrap_or_default();
    render::list(context, &listed, &COLUMNS, |one| one.name.clone())?;
    let Some(one) = listed.iter().find(|one| !one.missing.is_empty()) else { return Ok(Exit::Fine) };
    context.hint(&format!("`campanile secret sync {}` seals it for {}", one.name, named(&one.missing)))?;
    Ok(Exit::Pending)
}

fn of_generation(head: &Head, nodes: &[Node]) -> Vec<Listed> {
    let listed = |(name, secret): (&String, &SecretPart)| Listed {
        name: name.clone(),
        selector: secret.selector.clone(),
        set: secret.set,
        nodes: secret.sealed.len(),
        missing: names(&lacking(nodes, secret)),
    };
    head.generation.secrets.iter().map(listed).collect()
}

/// Nodes that a secret's selector names today, and that have no copy of it.
fn lacking(nodes: &[Node], secret: &SecretPart) -> Vec<Node> {
    let Ok(selector) = secret.selector.parse::<Selector>() else { return Vec::new() };
    let lacks = |node: &&Node| {
        let subject = Subject { id: &node.node_id.to_string(), name: &node.name, labels: &node.labels };
        selector.matches(&subject) && !secret.sealed.contains_key(&node.node_id)
    };
    nodes.iter().filter(lacks).cloned().collect()
}

/// The value, from standard input or the person at the terminal.
fn read_value() -> anyhow::Result<Zeroizing<Vec<u8>>> {
    if std::io::stdin().is_terminal() {
        let value = terminal::ask_secret("value", "give it on standard input")?;
        return checked(Zeroizing::new(value.as_bytes().to_vec()));
    }
    // So large from the beginning that it never moves, which would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(VALUE_BYTES_MAX + 2));
    let limit = u64::try_from(VALUE_BYTES_MAX)? + 2;
    std::io::stdin().lock().take(limit).read_to_end(&mut bytes).context("cannot read standard input")?;
    checked(bytes)
}

/// Takes one newline from its end, and refuses what is no value.
fn checked(mut value: Zeroizing<Vec<u8>>) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    if value.last() == Some(&b'\n') {
        value.pop();
    }
    if value.is_empty() {
        return Err(UsageError("the value is empty; nothing was changed".to_owned()).into());
    }
    if value.len() > VALUE_BYTES_MAX {
        return Err(UsageError(format!("a secret has at most {VALUE_BYTES_MAX} bytes")).into());
    }
    Ok(value)
}

#[cfg(test)]
pub(crate) mod tests;
