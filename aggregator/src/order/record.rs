//! What is stored of an order: what was submitted, how far it is, what became of each target, and the points of its
//! nodes' journals and audit chains that came with outcomes.
//!
//! A target has a record once its fate is known; one without a record was sent or not as [`StateRecord::sent`] says.

use std::fmt;

use campanile_common::api::{DispatchOptions, OrderState, SignedText, TargetCounts, TargetState};
use campanile_common::authority::{RunId, SignedOrder};
use campanile_common::id::{Digest, NodeId, OrderId};
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::order::{AuditPosition, JournalPosition, Outcome, RunResult};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::state::{Keys, Record};

/// Most characters of a text that a node sent.
const DETAIL_CHARS_MAX: usize = 512;

/// A signature that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Approval {
    /// The operator's name in the authority.
    pub operator: String,
    /// Name of the key.
    pub key: Digest,
    /// Who brought it.
    pub submitted_by: String,
    /// When.
    pub at: Timestamp,
}

/// An order as it was submitted. Only signatures are added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OrderRecord {
    /// Its id.
    pub order_id: OrderId,
    /// Due time of the run, of a standing order.
    pub occurrence: Option<Timestamp>,
    /// The exact bytes with their signatures.
    pub signed: SignedText,
    /// The leaves, where its targets are a tree.
    pub nodes: Vec<NodeId>,
    /// Targets on which whoever submitted it has no role for it.
    pub not_permitted: Vec<NodeId>,
    /// Who submitted it.
    pub submitted_by: String,
    /// When.
    pub submitted_at: Timestamp,
    /// How it is spread over its targets.
    pub dispatch: DispatchOptions,
    /// Targets start spread over so many seconds.
    pub splay_seconds: u32,
    /// Whose signatures counted.
    pub approvals: Vec<Approval>,
    /// How many are needed.
    pub signatures_needed: u16,
}

/// That an order was withdrawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Withdrawal {
    /// By whom.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// How far an order is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StateRecord {
    /// Its id.
    pub order_id: OrderId,
    /// Due time of the run, of a standing order.
    pub occurrence: Option<Timestamp>,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// As a whole.
    pub state: OrderState,
    /// Its targets, counted; as of the last time that this was written.
    pub counts: TargetCounts,
    /// One bit a target, in standard base64: set before the order was sent to it.
    pub sent: String,
    /// Each target's health when it was started, one byte a target in standard base64; empty without waves.
    #[serde(default)]
    pub scores: String,
    /// True while there is anything left to do or to hear.
    pub is_open: bool,
    /// When it was withdrawn.
    pub withdrawn: Option<Withdrawal>,
}

/// What became of a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TargetRecord {
    /// Ok, failed, silent, denied or skipped.
    pub state: TargetState,
    /// Word for programs.
    pub result: Option<String>,
    /// Why, for people.
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
    /// The kept output in standard base64, where it is short; longer output is a file.
    pub output: Option<String>,
}

/// Points that came with a node's outcomes: what a node whose disk was set back can be held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Witness {
    /// Newest point of its order journal.
    pub journal: Option<JournalPosition>,
    /// Newest point of its audit chain.
    pub audit: Option<AuditPosition>,
}

impl Record for OrderRecord {}
impl Record for StateRecord {}
impl Record for TargetRecord {}
impl Record for Witness {}

/// Last part of a run's keys.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunKey(pub(super) RunId);

impl fmt::Display for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.occurrence {
            // As many digits as the largest has, so that keys sort as times do.
            Some(due) => write!(f, "{}@{:020}", self.0.order, due.as_millis()),
            None => write!(f, "{}", self.0.order),
        }
    }
}

/// Key of [`OrderRecord`].
pub(super) fn order_key(keys: &Keys, run: RunId) -> String {
    keys.of("order", &RunKey(run).to_string())
}

/// Key of [`StateRecord`].
pub(super) fn state_key(keys: &Keys, run: RunId) -> String {
    keys.of("order-state", &RunKey(run).to_string())
}

/// What the keys of a run's [`TargetRecord`]s begin with.
pub(super) fn targets_prefix(keys: &Keys, run: RunId) -> String {
    keys.of("order-target", &format!("{}/", RunKey(run)))
}

/// Key of [`TargetRecord`].
pub(super) fn target_key(keys: &Keys, run: RunId, node: NodeId) -> String {
    format!("{}{node}", targets_prefix(keys, run))
}

/// Key of [`Witness`].
pub(super) fn witness_key(keys: &Keys, node: NodeId) -> String {
    keys.of("node-audit", &node.to_string())
}

impl OrderRecord {
    /// The exact bytes with their signatures; none when the record is damaged.
    pub(super) fn signed_order(&self) -> Option<SignedOrder> {
        let (bytes, signatures) = self.signed.decode()?;
        Some(SignedOrder { bytes, signatures })
    }
}

impl Witness {
    /// Takes over what is newer. Another journal takes the place of the one before: the node has begun anew.
    pub(super) fn note(&mut self, journal: Option<JournalPosition>, audit: Option<AuditPosition>) {
        if let Some(new) = journal {
            let is_older =
                self.journal.is_some_and(|old| old.journal == new.journal && old.sequence > new.sequence);
            if !is_older {
                self.journal = Some(new);
            }
        }
        if let Some(new) = audit
            && self.audit.is_none_or(|old| new.sequence > old.sequence)
        {
            self.audit = Some(new);
        }
    }
}

impl TargetRecord {
    /// A target that came to its end without an outcome.
    pub(super) fn without_outcome(state: TargetState, result: Option<&str>, detail: &str) -> Self {
        Self {
            state,
            result: result.map(str::to_owned),
            detail: detail.to_owned(),
            exit_code: None,
            started_at: None,
            finished_at: None,
            output_bytes: 0,
            output_kept: 0,
            output: None,
        }
    }

    /// What an outcome says. Texts come from the node and are cut to sane lengths.
    pub(super) fn of_outcome(outcome: &Outcome) -> Self {
        let (state, result, detail, exit_code) = match &outcome.result {
            RunResult::Exited { code: 0 } => (TargetState::Ok, "exited", String::new(), Some(0)),
            RunResult::Exited { code } => {
                (TargetState::Failed, "exited", format!("exit code {code}"), Some(*code))
            }
            RunResult::Signalled { signal } => {
                (TargetState::Failed, "signalled", format!("ended by signal {signal}"), None)
            }
            RunResult::TimedOut => {
                (TargetState::Failed, "timed-out", "it took too long and was stopped".to_owned(), None)
            }
            RunResult::Cancelled => {
                (TargetState::Failed, "cancelled", "another order stopped it".to_owned(), None)
            }
            RunResult::Failed { reason } => (TargetState::Failed, "failed", cut(reason), None),
            RunResult::Denied(denial) => (TargetState::Denied, "denied", cut(&denial.to_string()), None),
            RunResult::Indeterminate { reason } => (TargetState::Failed, "indeterminate", cut(reason), None),
            RunResult::Unknown => {
                (TargetState::Failed, "indeterminate", "the node knows nothing of it".to_owned(), None)
            }
        };
        Self {
            exit_code,
            started_at: outcome.started,
            finished_at: Some(outcome.finished),
            output_bytes: outcome.output_bytes,
            output_kept: outcome.output_kept,
            ..Self::without_outcome(state, Some(result), &detail)
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(DETAIL_CHARS_MAX).collect()
}

/// Which targets an order was sent to, as it is stored.
pub(super) fn write_bits(bits: impl IntoIterator<Item = bool>) -> String {
    let mut bytes = Vec::new();
    for (index, bit) in bits.into_iter().enumerate() {
        if index % 8 == 0 {
            bytes.push(0_u8);
        }
        if bit && let Some(last) = bytes.last_mut() {
            *last |= 1 << (index % 8);
        }
    }
    BASE64.encode(&bytes)
}

/// The bits of so many targets; none when they are not those of [`write_bits`].
pub(super) fn read_bits(text: &str, count: usize) -> Option<Vec<bool>> {
    let bytes = BASE64.decode(text.as_bytes()).ok()?;
    if bytes.len() != count.div_ceil(8) {
        return None;
    }
    Some((0..count).map(|index| bytes[index / 8] >> (index % 8) & 1 == 1).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_common::authority::{Denial, DenialCode};
    use campanile_common::id::JournalId;
    use proptest::prelude::*;

    fn outcome(result: RunResult) -> Outcome {
        Outcome {
            run: RunId { order: OrderId::from_bytes([1; 16]), occurrence: None },
            result,
            started: None,
            finished: Timestamp::from_millis(7),
            output_bytes: 5,
            output_kept: 3,
            journal: None,
            audit: None,
        }
    }

    #[test]
    fn only_exit_code_0_is_ok_and_every_other_result_says_why() {
        let record = |result| TargetRecord::of_outcome(&outcome(result));
        assert_eq!(record(RunResult::Exited { code: 0 }).state, TargetState::Ok);
        let failed = record(RunResult::Exited { code: 3 });
        assert_eq!((failed.state, failed.exit_code), (TargetState::Failed, Some(3)));
        let denial = Denial { code: DenialCode::PolicyTier, reason: "tier 2 is too high".to_owned() };
        let denied = record(RunResult::Denied(denial));
        assert_eq!(denied.state, TargetState::Denied);
        assert_eq!(denied.detail, "tier 2 is too high (policy_tier)");
        for (result, word) in [
            (RunResult::Signalled { signal: 9 }, "signalled"),
            (RunResult::TimedOut, "timed-out"),
            (RunResult::Cancelled, "cancelled"),
            (RunResult::Failed { reason: "no such program".to_owned() }, "failed"),
            (RunResult::Indeterminate { reason: "the steward died".to_owned() }, "indeterminate"),
        ] {
            let record = record(result);
            assert_eq!((record.state, record.result.as_deref()), (TargetState::Failed, Some(word)));
            assert!(!record.detail.is_empty());
        }
    }

    #[test]
    fn what_a_node_says_is_cut_and_moves_no_cursor() {
        let reason = format!("\x1b[2J{}", "x".repeat(5000));
        let record = TargetRecord::of_outcome(&outcome(RunResult::Failed { reason }));
        assert_eq!(record.detail.chars().count(), DETAIL_CHARS_MAX);
        assert!(!record.detail.contains(char::is_control));
    }

    #[test]
    fn a_witness_never_goes_back_within_one_journal() {
        let at =
            |id: u8, sequence| Some(JournalPosition { journal: JournalId::from_bytes([id; 8]), sequence });
        let mut witness = Witness::default();
        witness.note(at(1, 5), None);
        witness.note(at(1, 4), None);
        assert_eq!(witness.journal, at(1, 5));
        witness.note(at(2, 1), None);
        assert_eq!(witness.journal, at(2, 1));
    }

    #[test]
    fn keys_of_runs_sort_by_their_due_times() {
        let keys = Keys::new(campanile_common::id::FleetId::from_bytes([1; 16]));
        let key = |due: Option<u64>| {
            let occurrence = due.map(Timestamp::from_millis);
            order_key(&keys, RunId { order: OrderId::from_bytes([1; 16]), occurrence })
        };
        assert!(key(None) < key(Some(9)));
        assert!(key(Some(9)) < key(Some(10)));
    }

    proptest! {
        #[test]
        fn bits_read_back(bits in proptest::collection::vec(any::<bool>(), 0..100)) {
            let text = write_bits(bits.iter().copied());
            prop_assert_eq!(read_bits(&text, bits.len()), Some(bits.clone()));
            prop_assert_eq!(read_bits(&text, bits.len() + 8), None);
        }
    }
}
