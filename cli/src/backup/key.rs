//! `backup key`: opening a repository without its node, with the escrow identity alone; and fetching the key files of those
//! that the aggregator stores. With a key file at hand it speaks to nobody.

mod stored;

use std::path::PathBuf;

use age::x25519::Identity;
use anyhow::{Context as _, anyhow, bail};
use clap::Subcommand;
use data_encoding::BASE64;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::exit::Exit;
use crate::os::file;
use crate::render;

/// What an identity's text begins with.
const IDENTITY_MARK: &str = "AGE-SECRET-KEY-1";
/// First line of the text form of age.
const ARMOUR_BEGIN: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
/// Last line of it.
const ARMOUR_END: &str = "-----END AGE ENCRYPTED FILE-----";

/// Verbs of `backup key`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List who can open the repository of a node in the aggregator's store, and since when
    #[command(after_help = "Examples:
  campanile backup key ls web-01

OPENS are the escrow recipients that a key file says it is for: the node's word. A key file that opens for nobody is of a
password that somebody knows.")]
    Ls {
        /// Name or id
        node: String,
    },
    /// Fetch the key files of a node's repository, each verified by its hash
    #[command(after_help = "Examples:
  campanile backup key export web-01 --to keys/
  campanile backup key open keys/4f0c... --identity escrow.txt > password

A key file tells nobody anything without the identity it is for. What is there already is not written over.")]
    Export {
        /// Name or id
        node: String,
        /// A folder, which is made, for all of them, each under its name; or a file for the newest
        #[arg(long, value_name = "FILE|DIR", default_value = "keys/")]
        to: PathBuf,
    },
    /// Print the password that a key file of a repository holds for an escrow identity
    #[command(after_help = "Examples:
  campanile backup key open repository/keys/4f0c... --identity escrow.txt > password
  restic -r repository --password-file password snapshots
  campanile backup key open web-01 --identity escrow.txt > password

The key file is any of those in the folder `keys` of a repository; the identity is the file that `age-keygen` wrote.
Nothing else is needed, no aggregator and no node. With the name of a node in its place the key files are those that the
aggregator stores of it.")]
    Open {
        /// Key file of the repository, or a node
        #[arg(value_name = "KEYFILE|NODE")]
        key_file: PathBuf,
        /// File with the secret half of an escrow recipient, as age-keygen writes it
        #[arg(long, value_name = "FILE")]
        identity: PathBuf,
    },
}

/// What is read of a key file.
#[derive(Deserialize)]
struct KeyFile {
    campanile_escrow: Option<Escrow>,
}

#[derive(Deserialize)]
struct Escrow {
    #[serde(default)]
    recipients: Vec<String>,
    password: String,
}

/// What is printed for programs.
#[derive(serde::Serialize)]
struct Opened<'a> {
    password: &'a str,
}

/// Carries out a verb.
///
/// # Errors
/// When it fails.
pub(super) fn run(context: &mut Context<'_>, verb: &Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::Ls { node } => stored::list(context, node),
        Verb::Export { node, to } => stored::export(context, node, to),
        Verb::Open { key_file, identity } => {
            let identities = Zeroizing::new(file::read_text(identity)?);
            let identities = parse_identities(&identities)
                .with_context(|| format!("{} is no identity", identity.display()))?;
            let name = key_file.to_str().filter(|name| !key_file.exists() && !name.contains('/'));
            let password = match name {
                Some(node) => stored::open(context, node, &identities)?,
                None => open(&file::read(key_file)?, &identities)
                    .with_context(|| format!("cannot open {}", key_file.display()))?,
            };
            render::object(context, &Opened { password: &password }, &password, |context| {
                Ok(writeln!(context.out, "{}", password.as_str())?)
            })?;
            Ok(Exit::Fine)
        }
    }
}

pub(super) fn parse_identities(text: &str) -> anyhow::Result<Vec<Identity>> {
    let lines = text.lines().map(str::trim).filter(|line| line.starts_with(IDENTITY_MARK));
    let found: Result<Vec<Identity>, _> = lines.map(str::parse).collect();
    let found = found.map_err(|error: &str| anyhow!("{error}"))?;
    if found.is_empty() {
        bail!(
            "it has no line that begins with {IDENTITY_MARK}; if it is encrypted, open it first: age -d FILE > escrow.txt"
        );
    }
    Ok(found)
}

/// The password that the key file holds for one of the identities.
pub(super) fn open(json: &[u8], identities: &[Identity]) -> anyhow::Result<Zeroizing<String>> {
    let key_file: KeyFile = serde_json::from_slice(json)
        .map_err(|_| anyhow!("it is no key file; those are in the folder `keys` of a repository"))?;
    let escrow = key_file.campanile_escrow.ok_or_else(|| {
        anyhow!("it holds no password for anybody; try the other files in the folder `keys`")
    })?;
    let sealed = unarmoured(&escrow.password).ok_or_else(|| anyhow!("its sealed password is damaged"))?;
    let opened = identities.iter().find_map(|identity| age::decrypt(identity, &sealed).ok());
    let Some(opened) = opened.map(Zeroizing::new) else {
        let ours: Vec<String> = identities.iter().map(|one| one.to_public().to_string()).collect();
        bail!(
            "it is for {}, this identity is of {}; try the other files in the folder `keys`, or another identity",
            escrow.recipients.join(", "),
            ours.join(", ")
        );
    };
    let password = std::str::from_utf8(&opened).context("the password is no text")?;
    Ok(Zeroizing::new(password.to_owned()))
}

fn unarmoured(text: &str) -> Option<Vec<u8>> {
    let body = text.trim().strip_prefix(ARMOUR_BEGIN)?.strip_suffix(ARMOUR_END)?;
    let body: String = body.split_whitespace().collect();
    BASE64.decode(body.as_bytes()).ok()
}

#[cfg(test)]
mod tests;
