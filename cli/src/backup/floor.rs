//! `backup floor`: how old a snapshot must be before the store lets anything of it go, and deciding that otherwise.
//!
//! A decision of tier 3: the bytes are made and signed here, the aggregator verifies them and waits for the old floor to
//! pass.

use std::time::Duration;

use campanile_common::api::{FloorStanding, SignedText, Submitted};
use campanile_common::authority::{FloorDocument, Role};
use clap::{Args, Subcommand};
use ureq::http::Method;

use crate::client::{Client, ClientError};
use crate::context::Context;
use crate::exit::Exit;
use crate::os::clock;
use crate::render::{self, Cell, Tone};
use crate::signer::{self, Passphrase, Subject};
use crate::{approve, authority, confirm, profile};

const PATH: &str = "/api/v1/backups/floor";
/// How long the other operators have for their signatures.
const VALIDITY: Duration = Duration::from_secs(3 * 86_400);

/// Verbs of `backup floor`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show the floor in force, and what waits to take its place
    #[command(after_help = "Examples:
  campanile backup floor
  campanile backup floor show -o json")]
    Show,
    /// Decide another floor, with this operator's signature
    #[command(after_help = "Examples:
  campanile backup floor set 14

It takes as many operators as orders of tier 3; the others sign with `campanile approve sign floor-N`. A higher floor
counts at once. A lower one counts once the old floor has passed since the last signature, while which anybody may
withdraw it; the time counts while the aggregator runs, whatever its clock shows. Lower `floor_days` in the
aggregator's settings as well: what is higher there counts again when it starts.

Exit code 6 when further signatures are needed.")]
    Set(Set),
    /// Drop the decision that waits, for signatures or for its time
    #[command(after_help = "Examples:
  campanile backup floor withdraw")]
    Withdraw,
}

/// Which floor.
#[derive(Debug, Args)]
pub struct Set {
    /// Days, 1 to 3650
    #[arg(value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    #[command(flatten)]
    passphrase: Passphrase,
}

/// Carries out a verb.
///
/// # Errors
/// When it fails.
pub(super) fn run(context: &mut Context<'_>, verb: Option<&Verb>) -> anyhow::Result<Exit> {
    let client = profile::client(context)?;
    match verb {
        None | Some(Verb::Show) => show(context, &read(&client)?),
        Some(Verb::Set(arguments)) => set(context, &client, arguments),
        Some(Verb::Withdraw) => withdraw(context, &client),
    }
}

/// How the floor stands.
pub(super) fn read(client: &Client) -> Result<FloorStanding, ClientError> {
    client.get(PATH, &[])
}

fn days(count: u32) -> String {
    if count == 1 { "1 day".to_owned() } else { format!("{count} days") }
}

fn show(context: &mut Context<'_>, floor: &FloorStanding) -> anyhow::Result<Exit> {
    render::object(context, floor, &floor.days.to_string(), |context| {
        let mut fields = vec![
            ("floor", Cell::new(days(floor.days))),
            ("since", Cell::new(floor.since)),
            ("settings say", Cell::new(days(floor.settings_days))),
        ];
        if let Some(pending) = &floor.pending {
            let what = format!("{} from {} on", days(pending.days), pending.counts_at);
            fields.push(("pending", Cell::new(what).toned(Tone::Warning)));
            fields.push(("signed by", Cell::new(pending.signed_by.join(", "))));
        }
        if let Some(waiting) = &floor.waiting {
            let signed = format!("{} of {} signatures", waiting.signed_by.len(), waiting.signatures_needed);
            let what = format!("{}: {} ({signed})", waiting.id, waiting.summary);
            fields.push(("waiting", Cell::new(what).toned(Tone::Warning)));
        }
        Ok(render::fields(context, &fields)?)
    })?;
    hint(context, floor)?;
    Ok(Exit::Fine)
}

/// What somebody should do about it, where there is something.
pub(super) fn hint(context: &mut Context<'_>, floor: &FloorStanding) -> anyhow::Result<()> {
    if let Some(pending) = &floor.pending {
        let (lower, at) = (days(pending.days), pending.counts_at);
        context.hint(&format!(
            "the floor is to be {lower} from {at} on; `campanile backup floor withdraw` keeps it at {}",
            days(floor.days)
        ))?;
    } else if floor.settings_days < floor.days && floor.waiting.is_none() {
        let (said, in_force) = (floor.settings_days, days(floor.days));
        context.hint(&format!(
            "the aggregator's settings say a floor of {}, in force are {in_force}: it takes operators to lower it, \
             `campanile backup floor set {said}`",
            days(said)
        ))?;
    }
    Ok(())
}

fn set(context: &mut Context<'_>, client: &Client, arguments: &Set) -> anyhow::Result<Exit> {
    let authority = authority::follow(context, client)?;
    let floor = read(client)?;
    let issued = clock::now();
    let document = FloorDocument {
        format: FloorDocument::FORMAT,
        fleet: authority.document().fleet,
        number: floor.next_number,
        authority_version: authority.document().version,
        from_days: floor.days,
        days: arguments.days,
        issued,
        expires: issued + VALIDITY,
    };
    let bytes = document.to_bytes()?;
    let (from, to) = (days(floor.days), days(arguments.days));
    let question = if arguments.days < floor.days {
        format!("lower the floor of all backups from {from} to {to}? It counts once {from} have passed")
    } else {
        format!("raise the floor of all backups from {from} to {to}, at once?")
    };
    if !confirm::question(context, &question)? {
        context.hint("nothing was signed")?;
        return Ok(Exit::Failed);
    }
    let signer = signer::open(context, &arguments.passphrase)?;
    authority::check_holder(&authority, &signer.public(), Role::Critical)?;
    let signature = signer.sign(Subject::Floor, &bytes)?;
    let submitted: Submitted = client.send(Method::POST, PATH, &SignedText::new(&bytes, &[signature]))?;
    if !submitted.in_force {
        return approve::report(context, &submitted, &submitted.id);
    }
    show(context, &read(client)?)
}

fn withdraw(context: &mut Context<'_>, client: &Client) -> anyhow::Result<Exit> {
    if !confirm::question(context, "drop the decision about the floor that waits?")? {
        return Ok(Exit::Failed);
    }
    let floor: FloorStanding = client.call(Method::DELETE, PATH)?;
    show(context, &floor)
}

#[cfg(test)]
mod tests;
