//! `operator`: who may order, as the chain of authorities says. Every change is a next version, signed as the one
//! before demands.

mod change;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use campanile_common::api::{SignedText, Submitted};
use campanile_common::authority::{Authority, Document, PublicKey, Role, SignedAuthority};
use campanile_common::id::Digest;
use campanile_common::time::Timestamp;
use clap::{Args, Subcommand};
use serde::Serialize;
use ureq::http::Method;

use crate::client::Client;
use crate::context::Context;
use crate::exit::Exit;
use crate::os::{clock, file};
use crate::render::{self, Cell};
use crate::signer::{self, Passphrase, Subject};
use crate::{approve, authority, confirm, duration, keyring, profile};

use change::Change;

/// Path in the API.
const PATH: &str = "/api/v1/authority";

/// Verbs of `operator`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List operators, roles and thresholds, after verifying the chain here
    #[command(after_help = "Examples:
  campanile operator ls
  campanile operator ls -o json

The first digest is what another operator's machine begins with: campanile operator trust DIGEST.")]
    Ls,
    /// Give a person's key roles
    #[command(after_help = "Examples:
  campanile operator add bob --key cmpk_... --roles change
  campanile operator add eve --key cmpk_... --roles authority,catalogue,change,critical

The person makes the key with `campanile key new` and hands over its public half. An operator who is there already
gets this key and these roles instead.")]
    Add(Add),
    /// Take a person's key out
    #[command(after_help = "Examples:
  campanile operator rm bob")]
    Rm(Rm),
    /// How many operators a role takes
    #[command(after_help = "Examples:
  campanile operator threshold critical 2
  campanile operator threshold authority 2")]
    Threshold(Threshold),
    /// Prolong the authority
    #[command(after_help = "Examples:
  campanile operator renew --for 730d")]
    Renew(Renew),
    /// Begin to trust a fleet's authority on this machine
    #[command(after_help = "Examples:
  campanile operator trust 5f16...

The digest comes from another operator, by a way that nobody else can write to: `campanile operator ls` prints it.")]
    Trust {
        /// Digest of version 1
        digest: Digest,
    },
    /// Make this machine's key the only operator, with a recovery key
    #[command(after_help = "Examples:
  campanile operator recover --name ada --recovery-key ./recovery-1.key

For the day when the operators' keys are lost. A recovery key works once: the version that it signs no longer lists
it. Every other operator is taken out, every threshold becomes 1.")]
    Recover(Recover),
}

/// Whom to add.
#[derive(Debug, Args)]
pub struct Add {
    /// What the person is called
    name: String,
    /// The person's public key, as `campanile key show` prints it
    #[arg(long, value_name = "KEY", value_parser = |text: &str| keyring::parse_public(text))]
    key: PublicKey,
    /// What the person's signature counts for: authority, catalogue, change, critical
    #[arg(long, value_name = "ROLE,...", required = true, value_delimiter = ',', value_parser = authority::parse_role)]
    roles: Vec<Role>,
    #[command(flatten)]
    passphrase: Passphrase,
}

/// Whom to take out.
#[derive(Debug, Args)]
pub struct Rm {
    /// What the person is called
    name: String,
    #[command(flatten)]
    passphrase: Passphrase,
}

/// Which threshold.
#[derive(Debug, Args)]
pub struct Threshold {
    /// The role: authority, catalogue, change, critical
    #[arg(value_parser = authority::parse_role)]
    role: Role,
    /// How many distinct operators it takes
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    count: u16,
    #[command(flatten)]
    passphrase: Passphrase,
}

/// For how long.
#[derive(Debug, Args)]
pub struct Renew {
    /// From now on
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse)]
    duration: Duration,
    #[command(flatten)]
    passphrase: Passphrase,
}

/// How to recover.
#[derive(Debug, Args)]
pub struct Recover {
    /// What you are called in the fleet
    #[arg(long)]
    name: String,
    /// File with one of the recovery keys that `fleet init` wrote
    #[arg(long, value_name = "FILE")]
    recovery_key: PathBuf,
    #[command(flatten)]
    passphrase: Passphrase,
}

/// Carries out a verb.
///
/// # Errors
/// When it fails.
pub fn run(context: &mut Context<'_>, verb: &Verb) -> anyhow::Result<Exit> {
    let client = profile::client(context)?;
    match verb {
        Verb::Ls => {
            let authority = authority::follow(context, &client)?;
            list(context, &authority)
        }
        Verb::Add(arguments) => {
            let roles = arguments.roles.iter().copied().collect();
            let change = Change::Add { name: arguments.name.clone(), key: arguments.key, roles };
            apply(context, &client, &change, &arguments.passphrase)
        }
        Verb::Rm(arguments) => {
            let change = Change::Remove { name: arguments.name.clone() };
            apply(context, &client, &change, &arguments.passphrase)
        }
        Verb::Threshold(arguments) => {
            let change = Change::Threshold { role: arguments.role, count: arguments.count };
            apply(context, &client, &change, &arguments.passphrase)
        }
        Verb::Renew(arguments) => {
            let change = Change::Renew { expires: clock::now() + arguments.duration };
            apply(context, &client, &change, &arguments.passphrase)
        }
        Verb::Trust { digest } => {
            let authority = authority::trust(context, &client, *digest)?;
            list(context, &authority)
        }
        Verb::Recover(arguments) => recover(context, &client, arguments),
    }
}

/// Signs and submits the next version.
fn apply(
    context: &mut Context<'_>,
    client: &Client,
    change: &Change,
    passphrase: &Passphrase,
) -> anyhow::Result<Exit> {
    let current = authority::follow(context, client)?;
    let next = change.next(current.document(), current.digest(), clock::now())?;
    // Says which rule it breaks before anybody is asked.
    let bytes = next.sign(&[])?.bytes;
    print_change(
        &mut Context { out: &mut *context.err, err: &mut Vec::new(), ..*context },
        current.document(),
        &next,
    )?;
    if !confirm::question(context, "make this version of the authority?")? {
        context.hint("nothing was changed")?;
        return Ok(Exit::Failed);
    }
    let signer = signer::open(context, passphrase)?;
    authority::check_holder(&current, &signer.public(), Role::Authority)?;
    let signature = signer.sign(Subject::Authority, &bytes)?;
    submit(context, client, SignedAuthority { bytes, signatures: vec![signature] }, next.version)
}

fn submit(
    context: &mut Context<'_>,
    client: &Client,
    signed: SignedAuthority,
    version: u64,
) -> anyhow::Result<Exit> {
    let text = SignedText::new(&signed.bytes, &signed.signatures);
    let submitted: Submitted = client.send(Method::PUT, PATH, &text)?;
    if submitted.in_force {
        authority::follow(context, client)?;
    }
    approve::report(context, &submitted, &format!("authority version {version}"))
}

fn recover(context: &mut Context<'_>, client: &Client, arguments: &Recover) -> anyhow::Result<Exit> {
    let current = authority::follow(context, client)?;
    let recovery = keyring::parse_recovery(&file::read_text(&arguments.recovery_key)?)?;
    if !current.document().recovery.contains(&recovery.public()) {
        bail!(
            "version {} of the authority does not list this recovery key: it was used already, or is of another fleet",
            current.document().version
        );
    }
    let signer = signer::open(context, &arguments.passphrase)?;
    let change =
        Change::Recover { name: arguments.name.clone(), key: signer.public(), spent: recovery.public() };
    let next = change.next(current.document(), current.digest(), clock::now())?;
    let mut signed = next.sign(&[&recovery])?;
    print_change(
        &mut Context { out: &mut *context.err, err: &mut Vec::new(), ..*context },
        current.document(),
        &next,
    )?;
    if !confirm::question(context, "take every other operator out and spend this recovery key?")? {
        context.hint("nothing was changed")?;
        return Ok(Exit::Failed);
    }
    signed.signatures.push(signer.sign(Subject::Authority, &signed.bytes)?);
    // What is sent must be accepted by every node that follows the chain.
    current.verify_next(signed.clone()).context("the new authority does not verify")?;
    submit(context, client, signed, next.version)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    fleet_id: String,
    fleet_name: String,
    version: u64,
    digest: Digest,
    first_digest: Digest,
    expires_at: Timestamp,
    operators: Vec<ShownOperator>,
    thresholds: std::collections::BTreeMap<&'static str, usize>,
    recovery_keys: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownOperator {
    name: String,
    roles: Vec<&'static str>,
    public_key: String,
}

fn list(context: &mut Context<'_>, authority: &Authority) -> anyhow::Result<Exit> {
    let document = authority.document();
    let operators = document.operators.iter().map(|operator| ShownOperator {
        name: operator.name.clone(),
        roles: operator.roles.iter().map(|role| authority::role_name(*role)).collect(),
        public_key: keyring::public_text(&operator.key),
    });
    let shown = Shown {
        fleet_id: document.fleet.to_string(),
        fleet_name: document.fleet_name.clone(),
        version: document.version,
        digest: authority.digest(),
        first_digest: authority::first_digest(context.environment)?,
        expires_at: document.expires,
        operators: operators.collect(),
        thresholds: Role::ALL.map(|role| (authority::role_name(role), document.threshold(role))).into(),
        recovery_keys: document.recovery.len(),
    };
    let names: Vec<&str> = shown.operators.iter().map(|operator| operator.name.as_str()).collect();
    render::object(context, &shown, &names.join("\n"), |context| {
        let thresholds: Vec<String> =
            shown.thresholds.iter().map(|(role, count)| format!("{role} {count}")).collect();
        render::fields(
            context,
            &[
                ("fleet", Cell::new(format!("{} ({})", shown.fleet_name, shown.fleet_id))),
                ("version", Cell::new(shown.version)),
                ("digest", Cell::new(shown.digest)),
                ("first digest", Cell::new(shown.first_digest)),
                ("expires", Cell::new(shown.expires_at)),
                ("thresholds", Cell::new(thresholds.join(", "))),
                ("recovery keys", Cell::new(shown.recovery_keys)),
            ],
        )?;
        writeln!(context.out)?;
        let rows = shown.operators.iter().map(|operator| {
            vec![
                Cell::new(&operator.name),
                Cell::new(operator.roles.join(",")),
                Cell::new(&operator.public_key),
            ]
        });
        Ok(render::table(context, &["OPERATOR", "ROLES", "KEY"], rows.collect())?)
    })?;
    Ok(Exit::Fine)
}

/// What a next version changes, read from its bytes.
///
/// # Errors
/// When it cannot be printed.
pub fn print_change(context: &mut Context<'_>, current: &Document, next: &Document) -> anyhow::Result<()> {
    render::fields(
        context,
        &[
            ("version", Cell::new(format!("{} after {}", next.version, current.version))),
            ("issued", Cell::new(next.issued)),
            ("expires", Cell::new(next.expires)),
        ],
    )?;
    let lines = change::differences(current, next);
    if lines.is_empty() {
        writeln!(context.out, "nothing else is changed")?;
    }
    for line in lines {
        writeln!(context.out, "  {}", crate::order::summary::plain(&line))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
