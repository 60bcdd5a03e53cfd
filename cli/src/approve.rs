//! `approve`: what waits for the signatures of further operators.
//!
//! What is shown is read from the bytes that are signed; what the aggregator says of them is only compared.

mod content;
mod generation;

use anyhow::{anyhow, bail};
use campanile_common::api::{Proposal, ProposalKind, SignatureText, Submitted};
use campanile_common::authority::{Authority, Signature};
use clap::{Args, Subcommand};
use data_encoding::BASE64;
use serde::Serialize;
use ureq::http::Method;

pub(crate) use self::content::generation_id;
use self::content::{Content, print_floor, print_order};
use self::generation::Part;
use crate::client::{Client, ClientError, segment};
use crate::context::Context;
use crate::exit::Exit;
use crate::render::{self, Cell, Column, Tone, column, wide};
use crate::signer::{self, Passphrase};
use crate::{authority, catalogue, confirm, operator, profile};

/// Verbs of `approve`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List what waits
    #[command(after_help = "Examples:
  campanile approve ls")]
    Ls,
    /// Show what would be signed, read from its exact bytes
    #[command(after_help = "Examples:
  campanile approve show 000102030405060708090a0b0c0d0e0f
  campanile approve show authority-4
  campanile approve show generation-3f9c2a5b81d04e67

Of an order that plans or applies a generation which waits as well, both are shown: message, author, every file that
differs from the head, and what that comes to on each node, from parts that are verified on this machine.

What is printed comes from the bytes that are signed, not from what the aggregator says of them; where the two differ
there is a warning.")]
    Show {
        /// The order's id, or authority-N, catalogue-N, floor-N, generation-DIGITS
        id: String,
    },
    /// Show it, ask, and add this operator's signature
    #[command(after_help = "Examples:
  campanile approve sign 000102030405060708090a0b0c0d0e0f
  campanile approve sign authority-4 --yes

The order of a `campanile config apply` and its generation are signed together. Where another generation came first
nothing is put in force, and both are withdrawn.

Exit code 6 when further signatures are needed.")]
    Sign(Sign),
}

/// What to sign.
#[derive(Debug, Args)]
pub struct Sign {
    /// The order's id, or authority-N, catalogue-N, floor-N, generation-DIGITS
    id: String,
    #[command(flatten)]
    passphrase: Passphrase,
}

const COLUMNS: [Column<Proposal>; 7] = [
    column("ID", |proposal, _| Cell::new(&proposal.id)),
    column("KIND", |proposal, _| Cell::new(kind_name(proposal.kind))),
    column("SIGNED", |proposal, _| {
        Cell::new(format!("{}/{}", proposal.signed_by.len(), proposal.signatures_needed)).toned(Tone::Warning)
    }),
    column("LEFT", |proposal, now| Cell::left(proposal.expires_at, now)),
    column("BY", |proposal, _| Cell::new(&proposal.proposed_by)),
    wide("SIGNERS", |proposal, _| Cell::new(proposal.signed_by.join(","))),
    column("SUMMARY", |proposal, _| Cell::new(&proposal.summary)),
];

const fn kind_name(kind: ProposalKind) -> &'static str {
    match kind {
        ProposalKind::Order => "order",
        ProposalKind::Authority => "authority",
        ProposalKind::Catalogue => "catalogue",
        ProposalKind::Generation => "generation",
        ProposalKind::Floor => "floor",
    }
}

/// Carries out a verb.
///
/// # Errors
/// When it fails.
pub fn run(context: &mut Context<'_>, verb: &Verb) -> anyhow::Result<Exit> {
    let client = profile::client(context)?;
    match verb {
        Verb::Ls => {
            let proposals: Vec<Proposal> = client.pages("/api/v1/approvals", &[])?;
            render::list(context, &proposals, &COLUMNS, |proposal| proposal.id.clone())?;
            Ok(Exit::Fine)
        }
        Verb::Show { id } => {
            let authority = authority::follow(context, &client)?;
            let proposal = get(&client, id)?;
            let content = Content::read(&proposal)?;
            let part = Part::of(&client, &content, &authority)?;
            show(context, &proposal, &content, part.as_ref(), &authority)?;
            Ok(Exit::Fine)
        }
        Verb::Sign(arguments) => sign(context, &client, arguments),
    }
}

fn get(client: &Client, id: &str) -> anyhow::Result<Proposal> {
    client.get(&path(id), &[]).map_err(|error| match error.code() {
        Some("not_found") => {
            anyhow!("nothing called `{id}` waits for signatures; see `campanile approve ls`")
        }
        _ => error.into(),
    })
}

fn path(id: &str) -> String {
    format!("/api/v1/approvals/{}", segment(id))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    id: String,
    kind: &'static str,
    signed_by: Vec<String>,
    signatures_needed: usize,
    warnings: &'a [String],
    content: serde_json::Value,
    /// What the generation changes that it is or names.
    #[serde(skip_serializing_if = "Option::is_none")]
    review: Option<&'a crate::config::Review>,
}

fn show(
    context: &mut Context<'_>,
    proposal: &Proposal,
    content: &Content,
    part: Option<&Part>,
    authority: &Authority,
) -> anyhow::Result<Vec<String>> {
    let mut warnings = content.warnings(proposal, authority);
    warnings.extend(part.into_iter().flat_map(|part| part.review.warnings.clone()));
    let value = match content {
        Content::Order(order, _) => serde_json::to_value(order)?,
        Content::Catalogue(document, _) => serde_json::to_value(document)?,
        Content::Authority(document, _) => serde_json::to_value(document)?,
        Content::Generation(generation, _) => serde_json::to_value(generation)?,
        Content::Floor(document, _) => serde_json::to_value(document)?,
    };
    let shown = Shown {
        id: content.id(),
        kind: kind_name(proposal.kind),
        signed_by: content.signers(authority),
        signatures_needed: authority.threshold(content.role()),
        warnings: &warnings,
        content: value,
        review: part.map(|part| &part.review),
    };
    render::object(context, &shown, &shown.id, |context| {
        let signers =
            if shown.signed_by.is_empty() { "nobody".to_owned() } else { shown.signed_by.join(", ") };
        render::fields(
            context,
            &[
                ("id", Cell::new(&shown.id)),
                ("kind", Cell::new(shown.kind)),
                ("signed by", Cell::new(format!("{signers} ({} needed)", shown.signatures_needed))),
            ],
        )?;
        match content {
            Content::Order(order, _) => print_order(context, order),
            Content::Catalogue(document, _) => catalogue::print(context, document),
            Content::Authority(document, _) => {
                operator::print_change(context, authority.document(), document)
            }
            Content::Generation(..) => Ok(()),
            Content::Floor(document, _) => print_floor(context, document),
        }?;
        part.map_or(Ok(()), |part| part.review.print(context))
    })?;
    for warning in &warnings {
        context.hint(&format!("WARNING: {}", crate::order::summary::plain(warning)))?;
    }
    Ok(warnings)
}

fn sign(context: &mut Context<'_>, client: &Client, arguments: &Sign) -> anyhow::Result<Exit> {
    let authority = authority::follow(context, client)?;
    let proposal = get(client, &arguments.id)?;
    let content = Content::read(&proposal)?;
    if content.id() != arguments.id {
        bail!(
            "asked for `{}`, the aggregator gave the bytes of `{}`; nothing was signed",
            arguments.id,
            content.id()
        );
    }
    let part = Part::of(client, &content, &authority)?;
    let warnings = show(context, &proposal, &content, part.as_ref(), &authority)?;
    if !warnings.is_empty() && context.global.yes {
        bail!("there are warnings, so --yes does not do: sign at a terminal, after reading them");
    }
    if !confirm::question(context, "sign exactly this?")? {
        context.hint("nothing was signed")?;
        return Ok(Exit::Failed);
    }
    let signer = signer::open(context, &arguments.passphrase)?;
    authority::check_holder(&authority, &signer.public(), content.role())?;
    if let (Some(part), Content::Order(order, _)) = (&part, &content) {
        // The generation first: an order is no good before what it names has its signatures.
        part.sign(client, order.id, &authority, &*signer)?;
    }
    let signature = signer.sign(content.subject(), content.bytes())?;
    let submitted = match add(client, &arguments.id, &signature) {
        Err(error) if part.is_some() && error.code() == Some("config_conflict") => {
            return Err(generation::overtaken(&error.to_string()));
        }
        submitted => submitted?,
    };
    let exit = report(context, &submitted, &arguments.id)?;
    if submitted.in_force && matches!(content, Content::Floor(..)) {
        context
            .hint("a lower floor counts once the old one has passed: `campanile backup floor` says when")?;
    }
    if submitted.in_force && part.is_some() && matches!(content, Content::Order(..)) {
        context.hint(&format!("`campanile order watch {}` follows it", arguments.id))?;
    }
    Ok(exit)
}

/// Hands in a signature.
fn add(client: &Client, id: &str, signature: &Signature) -> Result<Submitted, ClientError> {
    let text = SignatureText { key: signature.key, signature: BASE64.encode(&signature.bytes) };
    client.send(Method::POST, &format!("{}/signatures", path(id)), &text)
}

/// Says what came of something that was submitted.
///
/// # Errors
/// When it cannot be printed.
pub fn report(context: &mut Context<'_>, submitted: &Submitted, what: &str) -> anyhow::Result<Exit> {
    render::object(context, submitted, &submitted.id, |context| {
        let signers = submitted.signed_by.join(", ");
        if submitted.in_force {
            writeln!(context.out, "{what} is in force, signed by {signers}")?;
        } else {
            let (count, needed) = (submitted.signed_by.len(), submitted.signatures_needed);
            writeln!(context.out, "{} has {count} of {needed} signatures ({signers})", submitted.id)?;
        }
        Ok(())
    })?;
    if submitted.in_force {
        return Ok(Exit::Fine);
    }
    context.hint(&format!("the other operators run `campanile approve sign {}`", submitted.id))?;
    Ok(Exit::Waiting)
}

#[cfg(test)]
mod tests;
