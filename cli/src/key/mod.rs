//! `key`: the operator's own key on this machine.

mod agent;
mod protocol;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use campanile_common::authority::{OperatorKey, PublicKey};
use campanile_common::time::Timestamp;
use clap::{Args, Subcommand};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::authority;
use crate::context::Context;
use crate::duration;
use crate::exit::Exit;
use crate::keyring::{self, KEY_FILE, PUBLIC_FILE, WorkFactor};
use crate::os::{clock, file, random};
use crate::render::{self, Cell};
use crate::signer::{self, Passphrase, Signer as _};

pub use agent::KeyAgent;

/// Longest time that a key stays unlocked: a day's work and some.
const UNLOCKED_MAX: Duration = Duration::from_secs(24 * 3600);

/// Verbs of `key`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a key on this machine and print its public half
    #[command(after_help = "Examples:
  campanile key new --name bob
  campanile key new --name bob --passphrase-file ./passphrase

The key is encrypted under a passphrase and never leaves this machine. Hand the public half to an operator, who
adds it: campanile operator add bob --key cmpk_... --roles change")]
    New(New),
    /// Print the public half
    #[command(after_help = "Examples:
  campanile key show
  campanile key show -o name        the text to hand on, alone")]
    Show(Passphrase),
    /// Ask for the passphrase once and keep the key at hand for a while
    #[command(after_help = "Examples:
  campanile key unlock
  campanile key unlock --for 8h

A small process holds the key in memory and signs for you; it never gives the key away, signs nothing but orders,
catalogues and authorities, and ends after its time or with `campanile key lock`.")]
    Unlock(Unlock),
    /// Forget the unlocked key
    #[command(after_help = "Examples:
  campanile key lock")]
    Lock,
    /// Whether the key is unlocked, and for how long
    #[command(after_help = "Examples:
  campanile key status")]
    Status,
    /// Hold the key that comes on standard input
    #[command(
        hide = true,
        after_help = "Examples:
  campanile key agent --until 1780000000000 --socket ./key-agent.sock < seed"
    )]
    Agent(Agent),
}

/// What `key new` makes.
#[derive(Debug, Args)]
pub struct New {
    /// What you are called in the fleet
    #[arg(long)]
    name: String,
    #[command(flatten)]
    passphrase: Passphrase,
}

/// How `key unlock` does it.
#[derive(Debug, Args)]
pub struct Unlock {
    /// For how long, at most a day
    #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = duration::parse)]
    duration: Duration,
    #[command(flatten)]
    passphrase: Passphrase,
}

/// Options of the agent itself.
#[derive(Debug, Args)]
pub struct Agent {
    /// When to end, in milliseconds of Unix time
    #[arg(long)]
    until: u64,
    /// Where to listen
    #[arg(long)]
    socket: PathBuf,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    public_key: String,
    key_id: String,
    unlocked_until: Option<Timestamp>,
    operator: Option<String>,
}

/// Carries out a verb.
///
/// # Errors
/// When it fails.
pub fn run(context: &mut Context<'_>, verb: &Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::New(arguments) => new(context, arguments),
        Verb::Show(passphrase) => {
            let agent = KeyAgent::find(context.environment)?;
            let public = match (&agent, stored_public(context)?) {
                (_, Some(public)) => public,
                (Some(agent), None) => agent.public(),
                (None, None) => signer::unlock(context, passphrase)?.public(),
            };
            show(context, public, agent.as_ref())
        }
        Verb::Unlock(arguments) => unlock(context, arguments),
        Verb::Lock => match KeyAgent::find(context.environment)? {
            Some(agent) => {
                agent.lock()?;
                context.hint("locked")?;
                Ok(Exit::Fine)
            }
            None => {
                context.hint("no key was unlocked")?;
                Ok(Exit::Fine)
            }
        },
        Verb::Status => match KeyAgent::find(context.environment)? {
            Some(agent) => show(context, agent.public(), Some(&agent)),
            None => {
                context.hint("locked; `campanile key unlock` asks for the passphrase once")?;
                Ok(Exit::Failed)
            }
        },
        Verb::Agent(arguments) => {
            agent::run(context, &arguments.socket, Timestamp::from_millis(arguments.until))
        }
    }
}

fn new(context: &mut Context<'_>, arguments: &New) -> anyhow::Result<Exit> {
    let dir = context.environment.config_dir()?;
    let path = dir.join(KEY_FILE);
    if path.exists() {
        bail!(
            "{} holds a key already, and nothing is overwritten; `campanile key show` prints it",
            path.display()
        );
    }
    let passphrase = keyring::new_passphrase(arguments.passphrase.file(context).as_ref())?;
    let key = OperatorKey::from_seed(Zeroizing::new(random::bytes()))?;
    let encrypted = keyring::lock(&key, &passphrase, WorkFactor::Calibrated)?;
    file::make_private_dir(&dir)?;
    file::write_new(&path, &encrypted, file::SECRET)?;
    store_public(&dir, &key.public())?;
    show(context, key.public(), None)?;
    let (name, text) = (&arguments.name, keyring::public_text(&key.public()));
    context.hint(&format!(
        "an operator makes it count: campanile operator add {name} --key {text} --roles change"
    ))?;
    Ok(Exit::Fine)
}

/// Writes the public half beside the key, so that it can be shown without the passphrase.
///
/// # Errors
/// When it cannot be written.
pub fn store_public(dir: &std::path::Path, public: &PublicKey) -> anyhow::Result<()> {
    let line = format!("{}\n", keyring::public_text(public));
    Ok(file::replace(&dir.join(PUBLIC_FILE), line.as_bytes(), file::PUBLIC)?)
}

fn stored_public(context: &Context<'_>) -> anyhow::Result<Option<PublicKey>> {
    let path = context.environment.config_dir()?.join(PUBLIC_FILE);
    if !path.exists() {
        return Ok(None);
    }
    Ok(Some(keyring::parse_public(&file::read_text(&path)?)?))
}

fn unlock(context: &mut Context<'_>, arguments: &Unlock) -> anyhow::Result<Exit> {
    if arguments.duration > UNLOCKED_MAX {
        return Err(crate::exit::UsageError(
            "a key stays unlocked for a day at most; give --for 24h".to_owned(),
        )
        .into());
    }
    let key = signer::unlock(context, &arguments.passphrase)?;
    if let Some(old) = KeyAgent::find(context.environment)? {
        old.lock()?;
    }
    let until = clock::now() + arguments.duration;
    agent::start(context.environment, &key, until)?;
    context.hint(&format!("unlocked until {until}; `campanile key lock` ends it"))?;
    Ok(Exit::Fine)
}

fn show(context: &mut Context<'_>, public: PublicKey, agent: Option<&KeyAgent>) -> anyhow::Result<Exit> {
    // Whether the fleet counts it is a courtesy: a new key has no fleet yet.
    let authority = authority::load(context.environment).ok();
    let operator = authority
        .as_ref()
        .and_then(|authority| authority.document().operators.iter().find(|operator| operator.key == public));
    let shown = Shown {
        public_key: keyring::public_text(&public),
        key_id: public.id().to_string(),
        unlocked_until: agent.map(KeyAgent::until),
        operator: operator.map(|operator| operator.name.clone()),
    };
    let roles = operator.map_or_else(
        || "none that this machine knows of".to_owned(),
        |operator| format!("{}: {}", operator.name, authority::roles_text(&operator.roles)),
    );
    render::object(context, &shown, &shown.public_key, |context| {
        Ok(render::fields(
            context,
            &[
                ("public key", Cell::new(&shown.public_key)),
                ("key id", Cell::new(&shown.key_id)),
                ("operator", Cell::new(roles)),
                ("unlocked until", Cell::maybe(shown.unlocked_until)),
            ],
        )?)
    })?;
    Ok(Exit::Fine)
}

/// Runs an agent with this key on a thread, until it is locked.
#[cfg(test)]
pub(crate) fn serve_for_tests(
    environment: &crate::context::Environment,
    key: OperatorKey,
) -> std::thread::JoinHandle<()> {
    let path = agent::socket_path(environment).expect("the environment names a folder");
    let listener = crate::os::socket::listen(&path).expect("the folder is writable");
    let until = clock::now() + Duration::from_secs(60);
    std::thread::spawn(move || {
        agent::serve(&key, &listener, until).expect("an agent serves until it is locked");
    })
}
