//! `approve`: what waits for the signatures of further operators.
//!
//! What is shown is read from the bytes that are signed; what the aggregator says of them is only compared.

use std::collections::BTreeSet;

use anyhow::{anyhow, bail};
use campanile_common::api::{Proposal, ProposalKind, SignatureText, Submitted};
use campanile_common::authority::{
    Action, Authority, CatalogueDocument, Document, Order, Role, SignedAuthority, SignedCatalogue,
    SignedOrder, Targets, Tier,
};
use campanile_common::id::Digest;
use clap::{Args, Subcommand};
use data_encoding::BASE64;
use serde::Serialize;
use ureq::http::Method;

use crate::client::{Client, segment};
use crate::context::Context;
use crate::exit::Exit;
use crate::render::{self, Cell, Column, Tone, column, wide};
use crate::signer::{self, Passphrase, Subject};
use crate::{authority, catalogue, confirm, operator, profile};

/// Most targets that are listed by their ids.
const TARGETS_SHOWN_MAX: usize = 100;

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

What is printed comes from the bytes that are signed, not from what the aggregator says of them; where the two differ
there is a warning.")]
    Show {
        /// The order's id, or authority-N, catalogue-N
        id: String,
    },
    /// Show it, ask, and add this operator's signature
    #[command(after_help = "Examples:
  campanile approve sign 000102030405060708090a0b0c0d0e0f
  campanile approve sign authority-4 --yes

Exit code 6 when further signatures are needed.")]
    Sign(Sign),
}

/// What to sign.
#[derive(Debug, Args)]
pub struct Sign {
    /// The order's id, or authority-N, catalogue-N
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
            show(context, &proposal, &Content::read(&proposal)?, &authority)?;
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

/// What is signed, read from its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Order(Box<Order>, SignedOrder),
    Catalogue(CatalogueDocument, SignedCatalogue),
    Authority(Document, SignedAuthority),
}

impl Content {
    fn read(proposal: &Proposal) -> anyhow::Result<Self> {
        let (bytes, signatures) =
            proposal.signed.decode().ok_or_else(|| anyhow!("the proposal's bytes are no base64"))?;
        Ok(match proposal.kind {
            ProposalKind::Order => {
                let signed = SignedOrder { bytes, signatures };
                Self::Order(Box::new(signed.read()?), signed)
            }
            ProposalKind::Catalogue => {
                let signed = SignedCatalogue { bytes, signatures };
                Self::Catalogue(signed.read()?, signed)
            }
            ProposalKind::Authority => {
                let signed = SignedAuthority { bytes, signatures };
                Self::Authority(signed.read()?, signed)
            }
        })
    }

    const fn subject(&self) -> Subject {
        match self {
            Self::Order(..) => Subject::Order,
            Self::Catalogue(..) => Subject::Catalogue,
            Self::Authority(..) => Subject::Authority,
        }
    }

    /// The role whose signatures count.
    const fn role(&self) -> Role {
        match self {
            Self::Order(order, _) => match order.tier {
                Tier::Observe | Tier::Routine | Tier::Change => Role::Change,
                Tier::Critical => Role::Critical,
            },
            Self::Catalogue(..) => Role::Catalogue,
            Self::Authority(..) => Role::Authority,
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Order(_, signed) => &signed.bytes,
            Self::Catalogue(_, signed) => &signed.bytes,
            Self::Authority(_, signed) => &signed.bytes,
        }
    }

    /// What it must be called.
    fn id(&self) -> String {
        match self {
            Self::Order(order, _) => order.id.to_string(),
            Self::Catalogue(document, _) => format!("catalogue-{}", document.version),
            Self::Authority(document, _) => format!("authority-{}", document.version),
        }
    }

    /// Operators whose signatures are valid, by name.
    fn signers(&self, authority: &Authority) -> Vec<String> {
        let keys: BTreeSet<Digest> = match self {
            Self::Order(_, signed) => signed.signers(authority, self.role()),
            Self::Catalogue(_, signed) => signed.signers(authority),
            Self::Authority(_, signed) => signed.signers(authority.document()),
        };
        let operators = authority.document().operators.iter();
        let mut names: Vec<String> =
            operators.filter(|o| keys.contains(&o.key.id())).map(|o| o.name.clone()).collect();
        names.sort();
        names
    }

    /// Where the aggregator's words differ from the bytes.
    fn warnings(&self, proposal: &Proposal, authority: &Authority) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut differ = |what: &str, says: &str, is: &str| {
            warnings.push(format!("the aggregator says {what} `{says}`, the bytes say `{is}`"));
        };
        if proposal.id != self.id() {
            differ("it is", &proposal.id, &self.id());
        }
        if let Self::Order(order, _) = self {
            let action = order.action.to_string();
            if !proposal.summary.contains(&action) {
                differ("it does", &proposal.summary, &action);
            }
            if proposal.expires_at != order.expires {
                differ("it expires", &proposal.expires_at.to_string(), &order.expires.to_string());
            }
        }
        let mut claimed = proposal.signed_by.clone();
        claimed.sort();
        let signers = self.signers(authority);
        if claimed != signers {
            differ("it is signed by", &claimed.join(","), &signers.join(","));
        }
        let fleet = match self {
            Self::Order(order, _) => order.fleet,
            Self::Catalogue(document, _) => document.fleet,
            Self::Authority(document, _) => document.fleet,
        };
        if fleet != authority.document().fleet {
            warnings.push(format!("it is of another fleet, {fleet}"));
        }
        warnings
    }
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
}

fn show(
    context: &mut Context<'_>,
    proposal: &Proposal,
    content: &Content,
    authority: &Authority,
) -> anyhow::Result<Vec<String>> {
    let warnings = content.warnings(proposal, authority);
    let value = match content {
        Content::Order(order, _) => serde_json::to_value(order)?,
        Content::Catalogue(document, _) => serde_json::to_value(document)?,
        Content::Authority(document, _) => serde_json::to_value(document)?,
    };
    let shown = Shown {
        id: content.id(),
        kind: kind_name(proposal.kind),
        signed_by: content.signers(authority),
        signatures_needed: authority.threshold(content.role()),
        warnings: &warnings,
        content: value,
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
        }
    })?;
    for warning in &warnings {
        context.hint(&format!("WARNING: {}", crate::order::summary::plain(warning)))?;
    }
    Ok(warnings)
}

fn print_order(context: &mut Context<'_>, order: &Order) -> anyhow::Result<()> {
    let mut fields = vec![
        ("action", Cell::new(&order.action)),
        ("tier", Cell::new(order.tier)),
        ("reason", Cell::new(&order.reason)),
        ("not before", Cell::new(order.not_before)),
        ("expires", Cell::new(order.expires)),
        ("authority version", Cell::new(order.authority_version)),
        ("time on each node", Cell::new(format!("{} s", f64::from(order.limits.timeout_ms) / 1000.0))),
        ("output kept", Cell::new(format!("{} bytes", order.limits.output_bytes))),
    ];
    match &order.action {
        Action::Run(command) => {
            for (index, word) in command.argv.iter().enumerate() {
                fields.push(if index == 0 {
                    ("program", Cell::new(word))
                } else {
                    ("argument", Cell::new(word))
                });
            }
            fields.push(("as", Cell::new(command.user.as_deref().unwrap_or("the steward's own user"))));
            if !command.stdin.is_empty() {
                fields.push(("standard input", Cell::new(String::from_utf8_lossy(&command.stdin))));
            }
        }
        Action::Routine { catalogue, .. } => fields.push(("catalogue version", Cell::new(catalogue))),
        Action::Service { wait_healthy_ms: Some(wait), .. } => {
            fields.push(("waits for health", Cell::new(format!("{} s", f64::from(*wait) / 1000.0))));
        }
        Action::Service { .. } | Action::Cancel { .. } | Action::Config { .. } | Action::Backup(_) => {}
    }
    if let Some(standing) = order.standing {
        fields.push((
            "again and again",
            Cell::new(format!(
                "at least {} s apart, at most {} times, up to {} s late",
                standing.interval_s, standing.runs_max, standing.lateness_s
            )),
        ));
    }
    match &order.targets {
        Targets::Tree { root, nodes } => {
            fields.push(("targets", Cell::new(format!("{nodes} nodes, the leaves of the tree {root}"))));
        }
        Targets::Nodes(nodes) => {
            fields.push(("targets", Cell::new(format!("{} nodes", nodes.len()))));
            fields.extend(nodes.iter().take(TARGETS_SHOWN_MAX).map(|node| ("target", Cell::new(node))));
            if nodes.len() > TARGETS_SHOWN_MAX {
                let more = format!("{} more; -o json lists all", nodes.len() - TARGETS_SHOWN_MAX);
                fields.push(("target", Cell::new(more)));
            }
        }
    }
    Ok(render::fields(context, &fields)?)
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
    let warnings = show(context, &proposal, &content, &authority)?;
    if !warnings.is_empty() && context.global.yes {
        bail!("there are warnings, so --yes does not do: sign at a terminal, after reading them");
    }
    if !confirm::question(context, "sign exactly this?")? {
        context.hint("nothing was signed")?;
        return Ok(Exit::Failed);
    }
    let signer = signer::open(context, &arguments.passphrase)?;
    authority::check_holder(&authority, &signer.public(), content.role())?;
    let signature = signer.sign(content.subject(), content.bytes())?;
    let text = SignatureText { key: signature.key, signature: BASE64.encode(&signature.bytes) };
    let path = format!("{}/signatures", path(&arguments.id));
    let submitted: Submitted = client.send(Method::POST, &path, &text)?;
    report(context, &submitted, &arguments.id)
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
