//! Orders: what an operator signs so that a node changes itself.
//!
//! An order's exact bytes are signed with a domain tag. Who may execute it is decided in [`super::verify`], from
//! nothing but the pinned authority, the node's own identity, its policy and the clock.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::action::Action;
use super::document::{Signature, countersign};
use super::keys::OperatorKey;
use super::sha256;
use super::target::{InclusionProof, TARGETS_LISTED_MAX};
use crate::id::{Digest, FleetId, NodeId, OrderId};
use crate::time::Timestamp;
use crate::wire::codec;

/// Goes before the order's bytes in every signature, so that no other signature of ours can be taken for one.
pub(super) const SIGNATURE_DOMAIN: &[u8] = b"campanile/order/v1\0";
/// Goes before the order's bytes in its digest.
const DIGEST_DOMAIN: &[u8] = b"campanile/order-digest/v1\0";
/// Format of [`Order`]; a later one gets a new number and a conversion.
pub(super) const FORMAT: u16 = 1;
/// Most bytes of an encoded order: it travels in one frame together with its signatures and a proof.
pub const ORDER_BYTES_MAX: usize = 48 * 1024;
/// Longest validity of an order that runs once: a node keeps its record at least as long, so that it never runs twice.
pub const VALIDITY_MAX: Duration = Duration::from_secs(7 * 86_400);
/// Longest validity of a standing order, which runs again and again: a year.
pub const STANDING_VALIDITY_MAX: Duration = Duration::from_secs(366 * 86_400);
/// Longest time that one execution may take: a day.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(86_400);
/// Most output that one order keeps on one node, in bytes.
pub const OUTPUT_BYTES_MAX: u32 = 1024 * 1024;
/// Longest text of any other kind, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 256;
/// Most signatures on one order: as many as an authority names operators.
pub const SIGNATURES_MAX: usize = super::OPERATORS_MAX;

/// How grave an order is, and so what it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// 0: looks and changes nothing; an authenticated aggregator is enough.
    Observe,
    /// 1: named in a catalogue that operators signed.
    Routine,
    /// 2: one operator's signature.
    Change,
    /// 3: the threshold of distinct operators.
    Critical,
}

impl Tier {
    /// All of them, lowest first.
    pub const ALL: [Self; 4] = [Self::Observe, Self::Routine, Self::Change, Self::Critical];

    /// 0 to 3, as documents and policies write it.
    pub const fn number(self) -> u8 {
        match self {
            Self::Observe => 0,
            Self::Routine => 1,
            Self::Change => 2,
            Self::Critical => 3,
        }
    }

    /// The tier with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.number() == number)
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number())
    }
}

/// Which nodes an order is for: never a selector, whose meaning could change after it was signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Targets {
    /// These, in ascending order, each once, at most [`TARGETS_LISTED_MAX`].
    Nodes(Vec<NodeId>),
    /// The leaves of a Merkle tree; each delivery brings the proof that its node is one.
    Tree {
        /// The tree's root.
        root: Digest,
        /// How many leaves it has.
        nodes: u32,
    },
}

/// What one execution may use on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Milliseconds after which it is stopped, with everything it started.
    pub timeout_ms: u32,
    /// Bytes of output that are kept; what comes after is read, counted and dropped.
    pub output_bytes: u32,
}

impl Default for Limits {
    /// Five minutes and 256 KiB.
    fn default() -> Self {
        Self { timeout_ms: 300_000, output_bytes: 256 * 1024 }
    }
}

/// Makes an order a standing one: it runs again and again until it expires, each time named by its due time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Least seconds between the due times of two runs.
    pub interval_s: u32,
    /// Seconds after its due time within which a run may still start.
    pub lateness_s: u32,
    /// Most runs on one node.
    pub runs_max: u32,
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Format of this structure.
    pub format: u16,
    /// The fleet.
    pub fleet: FleetId,
    /// Drawn at random by whoever makes it; never used again.
    pub id: OrderId,
    /// The authority that its signers read.
    pub authority_version: u64,
    /// How grave it is; signers may rate it higher than it must be.
    pub tier: Tier,
    /// Not to be started before.
    pub not_before: Timestamp,
    /// Not to be started from here on.
    pub expires: Timestamp,
    /// For whom.
    pub targets: Targets,
    /// What to do.
    pub action: Action,
    /// Within which limits.
    pub limits: Limits,
    /// Present on a standing order.
    pub standing: Option<Standing>,
    /// Why, for whoever approves or reads it.
    pub reason: String,
}

/// An order's exact bytes with signatures; nothing is verified yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedOrder {
    /// The encoded [`Order`], as it was signed.
    pub bytes: Vec<u8>,
    /// Signatures over it; none at tiers 0 and 1.
    pub signatures: Vec<Signature>,
}

/// An order on its way to one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The order.
    pub order: SignedOrder,
    /// That the node is a target, where the targets are a tree.
    pub proof: Option<InclusionProof>,
    /// Due time of this run, of a standing order.
    pub occurrence: Option<Timestamp>,
}

/// An order that breaks a rule, whoever signed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// The bytes are no order of a known format.
    #[error("the order cannot be read")]
    Unreadable,
    /// The content breaks a rule.
    #[error("the order is invalid: {rule}")]
    Invalid {
        /// Which.
        rule: &'static str,
    },
}

impl Order {
    /// The format that this program writes.
    pub const FORMAT: u16 = FORMAT;

    /// The exact bytes to sign.
    ///
    /// # Errors
    /// When the content breaks a rule or is too long.
    pub fn to_bytes(&self) -> Result<Vec<u8>, OrderError> {
        self.check()?;
        let bytes = codec::encode("Order", self).map_err(|_| OrderError::Invalid { rule: TOO_LONG })?;
        if bytes.len() > ORDER_BYTES_MAX { Err(OrderError::Invalid { rule: TOO_LONG }) } else { Ok(bytes) }
    }

    /// The order with a signature of each of `keys`.
    ///
    /// # Errors
    /// When the content breaks a rule or is too long.
    pub fn sign(&self, keys: &[&OperatorKey]) -> Result<SignedOrder, OrderError> {
        let mut signed = SignedOrder { bytes: self.to_bytes()?, signatures: Vec::new() };
        keys.iter().for_each(|key| signed.add_signature(key));
        Ok(signed)
    }

    fn check(&self) -> Result<(), OrderError> {
        let rule = |holds: bool, rule| if holds { Ok(()) } else { Err(OrderError::Invalid { rule }) };
        rule(self.format == FORMAT, "its format is unknown")?;
        rule(self.tier >= self.action.tier_min(), "its tier is too low for what it does")?;
        rule(self.not_before < self.expires, "it expires before it begins")?;
        let longest = if self.standing.is_some() { STANDING_VALIDITY_MAX } else { VALIDITY_MAX };
        rule(self.expires.since(self.not_before) <= longest, "it is valid for too long")?;
        rule(self.reason.len() <= TEXT_BYTES_MAX, "its reason is too long")?;
        match &self.targets {
            Targets::Nodes(nodes) => {
                rule(!nodes.is_empty(), "it names no target")?;
                rule(nodes.len() <= TARGETS_LISTED_MAX, "it lists too many targets; use a tree")?;
                rule(nodes.is_sorted_by(|a, b| a < b), "its targets are not in ascending order, each once")?;
            }
            Targets::Tree { nodes, .. } => rule(*nodes > 0, "it names no target")?,
        }
        let timeout = Duration::from_millis(self.limits.timeout_ms.into());
        rule(!timeout.is_zero() && timeout <= TIMEOUT_MAX, "its timeout is none or more than a day")?;
        rule(self.limits.output_bytes <= OUTPUT_BYTES_MAX, "it wants to keep too much output")?;
        if let Some(standing) = self.standing {
            rule(standing.interval_s > 0, "a standing order needs an interval")?;
            rule(standing.runs_max > 0, "a standing order needs runs")?;
            rule(standing.lateness_s <= standing.interval_s, "a run may start after the next is due")?;
        }
        self.action.check().map_err(|rule| OrderError::Invalid { rule })
    }
}

const TOO_LONG: &str = "it is too long";

impl SignedOrder {
    /// Digest of the order's bytes, by which logs name it.
    pub fn digest(&self) -> Digest {
        sha256(&[DIGEST_DOMAIN, &self.bytes])
    }

    /// Reads the order without asking who signed it: for showing, never for executing.
    ///
    /// # Errors
    /// When it cannot be read or breaks a rule.
    pub fn read(&self) -> Result<Order, OrderError> {
        if self.bytes.len() > ORDER_BYTES_MAX || self.signatures.len() > SIGNATURES_MAX {
            return Err(OrderError::Invalid { rule: TOO_LONG });
        }
        let order: Order = codec::decode("Order", &self.bytes).map_err(|_| OrderError::Unreadable)?;
        order.check()?;
        // One order has one encoding, so that nothing can be altered under a signature or a digest.
        if order.to_bytes().as_ref() != Ok(&self.bytes) {
            return Err(OrderError::Unreadable);
        }
        Ok(order)
    }

    /// Adds a signature. Whether it counts is the verifier's to say.
    pub fn add_signature(&mut self, key: &OperatorKey) {
        countersign(&mut self.signatures, key, SIGNATURE_DOMAIN, &self.bytes);
    }

    /// The keys that validly signed, of those in `authority` with `role`.
    pub fn signers(&self, authority: &super::Authority, role: super::Role) -> BTreeSet<Digest> {
        super::document::signers(authority.document(), role, SIGNATURE_DOMAIN, &self.bytes, &self.signatures)
    }
}
