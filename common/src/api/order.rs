//! Orders, approvals, the catalogue, the authority, schedules, the freeze.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::authority::{Policy, Signature};
use crate::id::{Digest, NodeId, OrderId};
use crate::time::Timestamp;

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignatureText {
    /// SHA-256 name of the operator's key.
    pub key: Digest,
    /// The 64 bytes of an Ed25519 signature, in standard base64.
    pub signature: String,
}

/// Exact bytes with signatures: an order, a catalogue or an authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignedText {
    /// The bytes that are signed, in standard base64.
    pub bytes: String,
    /// Signatures over them.
    #[serde(default)]
    pub signatures: Vec<SignatureText>,
}

/// How an order is spread over its targets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DispatchOptions {
    /// Most nodes at work at once; all when absent.
    #[serde(default)]
    pub parallel: Option<u32>,
    /// Nodes in groups of so many, or of a share such as `25%`: the next group begins when the one before is done.
    #[serde(default)]
    pub batch: Option<String>,
    /// Stop when more than so many targets did not end well; the rest is skipped. Never when absent.
    #[serde(default)]
    pub max_fail: Option<u32>,
    /// Deliver to absent nodes when they come back, until the order expires; else they count as silent.
    #[serde(default)]
    pub queue: bool,
}

/// A new order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OrderRequest {
    /// The order.
    pub order: SignedText,
    /// The leaves, where its targets are a tree.
    #[serde(default)]
    pub nodes: Vec<NodeId>,
    /// How it is spread over its targets.
    #[serde(default)]
    pub dispatch: DispatchOptions,
}

/// What has become of an order as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum OrderState {
    /// It waits for signatures.
    Proposed,
    /// Targets are still to be reached, or at work.
    Running,
    /// Every target is accounted for; queued ones still wait for their node.
    Done,
    /// It was withdrawn.
    Cancelled,
}

/// What has become of one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum TargetState {
    /// Its turn has not come.
    Waiting,
    /// Delivered; no word yet.
    Sent,
    /// In the node's journal; at work.
    Running,
    /// The node is absent; delivered when it comes back.
    Queued,
    /// Ended with exit code 0.
    Ok,
    /// Ended otherwise, or nobody knows how far it came (`result` is `indeterminate`).
    Failed,
    /// No word from the node in time. An outcome that comes later replaces this.
    Silent,
    /// The node, or the caller's role, does not allow it.
    Denied,
    /// Never sent: withdrawn, or the order stopped before its turn.
    Skipped,
}

/// One target of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct OrderTarget {
    /// The node.
    pub node_id: NodeId,
    /// Its name.
    pub name: String,
    /// What has become of it.
    pub state: TargetState,
    /// `exited`, `signalled`, `timed-out`, `cancelled`, `failed`, `denied`, `indeterminate`, `expired`; null before.
    pub result: Option<String>,
    /// Why, for people: who denied and by which rule, which signal, what is unknown.
    pub detail: String,
    /// Exit code, of a command that ended by itself.
    pub exit_code: Option<i32>,
    /// When it was started, by the node's clock.
    pub started_at: Option<Timestamp>,
    /// When it ended, by the node's clock.
    pub finished_at: Option<Timestamp>,
    /// Bytes of output that it wrote.
    pub output_bytes: u64,
    /// Of them kept.
    pub output_kept: u64,
}

/// How many targets there are of each kind; `targeted` is the sum of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct TargetCounts {
    /// All.
    pub targeted: u32,
    /// Ended well.
    pub ok: u32,
    /// Ended otherwise.
    pub failed: u32,
    /// Gave no word in time.
    pub silent: u32,
    /// Refused.
    pub denied: u32,
    /// Never sent.
    pub skipped: u32,
    /// Absent, to be delivered later.
    pub queued: u32,
    /// Waiting, sent or at work: none once the order is done.
    pub pending: u32,
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Its id.
    pub order_id: OrderId,
    /// `run`, `routine`, `service` or `cancel`.
    pub kind: String,
    /// What it does, in one line.
    pub action: String,
    /// 0 to 3.
    pub tier: u8,
    /// Why.
    pub reason: String,
    /// Who submitted it: `person:NAME`, `token:ID`, `schedule:NAME`.
    pub submitted_by: String,
    /// When.
    pub submitted_at: Timestamp,
    /// Not started before.
    pub not_before: Timestamp,
    /// Not started from here on.
    pub expires_at: Timestamp,
    /// Operators who signed, by name.
    pub signed_by: Vec<String>,
    /// How many must sign.
    pub signatures_needed: u16,
    /// As a whole.
    pub state: OrderState,
    /// Its targets, counted.
    pub counts: TargetCounts,
    /// How it is spread over its targets.
    pub dispatch: DispatchOptions,
    /// Its targets in order of their names; empty in lists.
    #[serde(default)]
    pub targets: Vec<OrderTarget>,
}

/// A piece of output, as the event stream of an order carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct OutputPiece {
    /// The node.
    pub node_id: NodeId,
    /// Its name.
    pub name: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// Bytes kept before it, of both streams together.
    pub offset: u64,
    /// The bytes, in standard base64.
    pub data: String,
}

/// What waits for signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum ProposalKind {
    /// An order.
    Order,
    /// The authority's next version.
    Authority,
    /// The catalogue's next version.
    Catalogue,
}

/// Something that waits for the signatures of further operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Proposal {
    /// What it is called: the order's id, or `authority-N`, `catalogue-N`.
    pub id: String,
    /// What it is.
    pub kind: ProposalKind,
    /// One line for people. Approvers trust the bytes and not this.
    pub summary: String,
    /// Who proposed it.
    pub proposed_by: String,
    /// When.
    pub proposed_at: Timestamp,
    /// Until when it can be approved.
    pub expires_at: Timestamp,
    /// Operators who signed, by name.
    pub signed_by: Vec<String>,
    /// How many must sign.
    pub signatures_needed: u16,
    /// What is signed.
    pub signed: SignedText,
}

/// The authority in force with the chain that leads to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct AuthorityChainText {
    /// Version in force.
    pub version: u64,
    /// Its digest.
    pub digest: Digest,
    /// From when on it authorises nothing.
    pub expires_at: Timestamp,
    /// Every version from the one asked for on, oldest first.
    pub chain: Vec<SignedText>,
}

/// The catalogue in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct CatalogueText {
    /// Its version; 0 before the first. Where it lost its force, the next one must still be newer.
    pub version: u64,
    /// The bytes and signatures; null when none is in force.
    pub signed: Option<SignedText>,
}

/// What came of submitting an authority, a catalogue or a signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Submitted {
    /// True when it is in force now; else it waits as the proposal `id`.
    pub in_force: bool,
    /// Name of the proposal or order.
    pub id: String,
    /// Operators who signed, by name.
    pub signed_by: Vec<String>,
    /// How many must sign.
    pub signatures_needed: u16,
}

/// Whether the fleet is frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Freeze {
    /// True while every change is refused.
    pub frozen: bool,
    /// Why.
    pub reason: Option<String>,
    /// By whom.
    pub by: Option<String>,
    /// Since when.
    pub since: Option<Timestamp>,
}

/// Request to freeze.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FreezeRequest {
    /// Why, for everybody who is refused.
    pub reason: String,
}

/// What a schedule does when its time passed while the aggregator was away or frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum MissedPolicy {
    /// Nothing; the next time counts.
    Skip,
    /// One run as soon as possible, however many were missed.
    Once,
}

/// What a schedule does when its last run is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum OverlapPolicy {
    /// This run is left out.
    Skip,
    /// Both run.
    Allow,
}

/// A new schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScheduleRequest {
    /// What it is called.
    pub name: String,
    /// Five fields as in cron, or `@every 15m`.
    pub when: String,
    /// Time zone of the five fields, e.g. `Europe/Rome`; UTC when absent.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// Nodes start spread over so many seconds.
    #[serde(default)]
    pub splay_seconds: u32,
    /// When a time was missed.
    pub missed: MissedPolicy,
    /// When the last run is not over.
    pub overlap: OverlapPolicy,
    /// The standing order that each run delivers.
    pub grant: SignedText,
    /// The leaves, where its targets are a tree.
    #[serde(default)]
    pub nodes: Vec<NodeId>,
    /// How each run is spread over its targets.
    #[serde(default)]
    pub dispatch: DispatchOptions,
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// What it is called.
    pub name: String,
    /// Five fields as in cron, or `@every 15m`.
    pub when: String,
    /// Time zone of the five fields.
    pub time_zone: String,
    /// Nodes start spread over so many seconds.
    pub splay_seconds: u32,
    /// When a time was missed.
    pub missed: MissedPolicy,
    /// When the last run is not over.
    pub overlap: OverlapPolicy,
    /// The standing order.
    pub order_id: OrderId,
    /// What it does, in one line.
    pub action: String,
    /// 0 to 3.
    pub tier: u8,
    /// Operators who signed the grant, by name.
    pub signed_by: Vec<String>,
    /// Until when the grant holds.
    pub expires_at: Timestamp,
    /// How many nodes it is for.
    pub nodes: u32,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// Due time of its last run.
    pub last_run: Option<Timestamp>,
    /// How its last run ended: counts of its targets.
    pub last_counts: Option<TargetCounts>,
    /// Due time of its next run; null when the grant has expired.
    pub next_run: Option<Timestamp>,
}

/// What a node would accept and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct NodeStewardship {
    /// Highest tier, 0 to 3.
    pub highest_tier: u8,
    /// Sentences for people.
    pub explanation: Vec<String>,
    /// Where the policy was read, or why the built-in one is in force.
    pub policy_source: String,
    /// The policy, as the node has it.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub policy: Policy,
    /// Authority version that the steward has reached.
    pub authority_version: u64,
    /// Version of the catalogue in force.
    pub catalogue_version: Option<u64>,
    /// As whom commands run that name nobody.
    pub user: String,
    /// True when commands run in transient units of systemd.
    pub transient_units: bool,
    /// True when the journal takes orders.
    pub journal_writable: bool,
    /// Orders that run now.
    pub running: u32,
}

/// State of a unit of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ServiceState {
    /// The node's name.
    pub node: String,
    /// Full name of the unit.
    pub unit: String,
    /// For people.
    pub description: String,
    /// `loaded`, `not-found`, `masked`...
    pub load: String,
    /// `active`, `inactive`, `failed`...
    pub active: String,
    /// `running`, `dead`, `exited`...
    pub sub: String,
    /// `enabled`, `disabled`, `static`...
    pub enabled: String,
    /// Main process.
    pub main_pid: Option<u32>,
    /// Automatic restarts since it was started.
    pub restarts: u32,
    /// Since when it is in this state.
    pub since: Option<Timestamp>,
    /// How its last run ended.
    pub result: String,
}

/// Answer of one node to a ping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Pong {
    /// The node's name.
    pub node: String,
    /// Milliseconds from the aggregator to the agent and back; null when it did not answer.
    pub rtt_ms: Option<f64>,
}

/// A part of a node's own audit chain, and the checkpoints it keeps of the aggregator's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct NodeAudit {
    /// Entries after the sequence asked for, oldest first.
    pub entries: Vec<super::AuditEntry>,
    /// The newest point of the node's chain that came with an outcome: sequence and hash.
    pub witnessed: Option<AuditPoint>,
}

/// A point of an audit chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct AuditPoint {
    /// Sequence of the entry.
    pub sequence: u64,
    /// Its hash.
    pub hash: Digest,
}

/// A signed point of the aggregator's audit chain, as a node keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct AuditCheckpoint {
    /// Sequence of the entry.
    pub sequence: u64,
    /// Its hash.
    pub hash: Digest,
    /// When the checkpoint was made.
    pub time: Timestamp,
    /// Signature of the aggregator's audit key, in standard base64.
    pub signature: String,
}

impl SignedText {
    /// The text of exact bytes and their signatures.
    pub fn new(bytes: &[u8], signatures: &[Signature]) -> Self {
        let text = |s: &Signature| SignatureText { key: s.key, signature: BASE64.encode(&s.bytes) };
        Self { bytes: BASE64.encode(bytes), signatures: signatures.iter().map(text).collect() }
    }

    /// The bytes and signatures; none when either is no base64.
    pub fn decode(&self) -> Option<(Vec<u8>, Vec<Signature>)> {
        let bytes = BASE64.decode(self.bytes.as_bytes()).ok()?;
        let signatures = self
            .signatures
            .iter()
            .map(|s| Some(Signature { key: s.key, bytes: BASE64.decode(s.signature.as_bytes()).ok()? }));
        Some((bytes, signatures.collect::<Option<_>>()?))
    }
}
