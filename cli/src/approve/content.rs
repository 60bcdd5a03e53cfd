//! What is signed, read from its exact bytes, and how an order is shown.

use std::collections::BTreeSet;

use anyhow::anyhow;
use campanile_common::api::{Proposal, ProposalKind};
use campanile_common::authority::{
    Action, Authority, CatalogueDocument, Document, FloorDocument, Order, Role, SignedAuthority,
    SignedCatalogue, SignedFloor, SignedOrder, Targets, Tier,
};
use campanile_common::config::{Generation, SignedGeneration};
use campanile_common::id::Digest;

use crate::context::Context;
use crate::render::{self, Cell};
use crate::signer::Subject;

/// Most targets that are listed by their ids.
const TARGETS_SHOWN_MAX: usize = 100;
/// Digits of its digest by which a generation is called.
const ID_DIGITS: usize = 16;

/// What a generation that waits for signatures is called.
pub(crate) fn generation_id(digest: Digest) -> String {
    format!("generation-{}", &digest.to_string()[..ID_DIGITS])
}

/// What is signed, read from its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    Order(Box<Order>, SignedOrder),
    Catalogue(CatalogueDocument, SignedCatalogue),
    Authority(Document, SignedAuthority),
    Generation(Box<Generation>, SignedGeneration),
    Floor(FloorDocument, SignedFloor),
}

impl Content {
    pub(super) fn read(proposal: &Proposal) -> anyhow::Result<Self> {
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
            ProposalKind::Generation => {
                let signed = SignedGeneration { bytes, signatures };
                Self::Generation(Box::new(signed.read()?), signed)
            }
            ProposalKind::Floor => {
                let signed = SignedFloor { bytes, signatures };
                Self::Floor(signed.read()?, signed)
            }
        })
    }

    pub(super) const fn subject(&self) -> Subject {
        match self {
            Self::Order(..) => Subject::Order,
            Self::Catalogue(..) => Subject::Catalogue,
            Self::Authority(..) => Subject::Authority,
            Self::Generation(..) => Subject::Generation,
            Self::Floor(..) => Subject::Floor,
        }
    }

    /// The role whose signatures count.
    pub(super) const fn role(&self) -> Role {
        match self {
            Self::Order(order, _) => match order.tier {
                Tier::Observe | Tier::Routine | Tier::Change => Role::Change,
                Tier::Critical => Role::Critical,
            },
            Self::Catalogue(..) => Role::Catalogue,
            Self::Authority(..) => Role::Authority,
            Self::Generation(..) => Role::Change,
            Self::Floor(..) => Role::Critical,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Order(_, signed) => &signed.bytes,
            Self::Catalogue(_, signed) => &signed.bytes,
            Self::Authority(_, signed) => &signed.bytes,
            Self::Generation(_, signed) => &signed.bytes,
            Self::Floor(_, signed) => &signed.bytes,
        }
    }

    /// What it must be called.
    pub(super) fn id(&self) -> String {
        match self {
            Self::Order(order, _) => order.id.to_string(),
            Self::Catalogue(document, _) => format!("catalogue-{}", document.version),
            Self::Authority(document, _) => format!("authority-{}", document.version),
            Self::Generation(_, signed) => generation_id(signed.digest()),
            Self::Floor(document, _) => format!("floor-{}", document.number),
        }
    }

    /// Operators whose signatures are valid, by name.
    pub(super) fn signers(&self, authority: &Authority) -> Vec<String> {
        let keys: BTreeSet<Digest> = match self {
            Self::Order(_, signed) => signed.signers(authority, self.role()),
            Self::Catalogue(_, signed) => signed.signers(authority),
            Self::Authority(_, signed) => signed.signers(authority.document()),
            Self::Generation(_, signed) => signed.signers(authority),
            Self::Floor(_, signed) => signed.signers(authority),
        };
        let operators = authority.document().operators.iter();
        let mut names: Vec<String> =
            operators.filter(|o| keys.contains(&o.key.id())).map(|o| o.name.clone()).collect();
        names.sort();
        names
    }

    /// Where the aggregator's words differ from the bytes.
    pub(super) fn warnings(&self, proposal: &Proposal, authority: &Authority) -> Vec<String> {
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
            Self::Generation(generation, _) => generation.fleet,
            Self::Floor(document, _) => document.fleet,
        };
        if fleet != authority.document().fleet {
            warnings.push(format!("it is of another fleet, {fleet}"));
        }
        warnings
    }
}

/// Shows what a decision about the floor of backups says.
pub(super) fn print_floor(context: &mut Context<'_>, document: &FloorDocument) -> anyhow::Result<()> {
    let what = if document.days < document.from_days {
        format!("lowered, once {} days have passed since the last signature", document.from_days)
    } else {
        "raised, at once".to_owned()
    };
    let fields = [
        ("floor of backups", Cell::new(what)),
        ("from", Cell::new(format!("{} days", document.from_days))),
        ("to", Cell::new(format!("{} days", document.days))),
        ("made", Cell::new(document.issued)),
        ("expires", Cell::new(document.expires)),
        ("authority version", Cell::new(document.authority_version)),
    ];
    Ok(render::fields(context, &fields)?)
}

/// Shows what an order says.
pub(super) fn print_order(context: &mut Context<'_>, order: &Order) -> anyhow::Result<()> {
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
