//! Messages of the control stream, once the session stands.

use serde::{Deserialize, Serialize};

use super::config::ConfigReport;
use super::proof::ProofReport;
use super::{MessageError, check_version, to_frame};
use crate::authority::{SignedAuthority, SignedCatalogue};
use crate::id::{Digest, InstanceId};
use crate::time::Timestamp;
use crate::wire::codec::{self, CodecError};
use crate::wire::frame::Frame;

const STREAM: &str = "control";

/// How important a stream's content is; a blocked lane never blocks one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Lane {
    /// Control messages and the live samples, which are the heartbeat.
    Control,
    /// Outcomes of orders and audit.
    Outcome,
    /// Alerts.
    Alert,
    /// Samples sent late from the spool.
    Backfill,
}

/// All samples up to `sequence` of `instance` that went by `lane` are on the aggregator's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Lane they came by: [`Lane::Control`] for live samples or [`Lane::Backfill`].
    pub lane: Lane,
    /// Their run of the agent.
    pub instance: InstanceId,
    /// The last of them.
    pub sequence: u64,
}

/// What a node is, told once a session and when it changes. Nothing in it is trusted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Facts {
    /// The machine's own host name.
    pub hostname: String,
    /// `PRETTY_NAME` of os-release.
    pub os: String,
    /// Kernel release.
    pub kernel: String,
    /// Machine architecture.
    pub architecture: String,
    /// Logical processors.
    pub cpus: u32,
    /// Physical memory in bytes.
    pub memory_bytes: u64,
    /// When the machine booted.
    pub booted: Timestamp,
}

/// A signed point in the aggregator's audit chain, kept by agents as witnesses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Sequence of the entry.
    pub sequence: u64,
    /// Hash of the entry.
    pub hash: Digest,
    /// When the checkpoint was made.
    pub time: Timestamp,
    /// Signature of the aggregator's audit key.
    pub signature: Vec<u8>,
}

/// What is in between, as the agent sees it, and why. Nothing in it is trusted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TransportReport {
    /// An HTTP proxy is.
    pub is_proxied: bool,
    /// Why this transport was chosen, for a person.
    pub reason: String,
}

/// Why a session ends in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GoodbyeReason {
    /// The agent stops.
    Stopping,
    /// The machine reboots.
    Rebooting,
    /// The aggregator restarts.
    Restarting,
    /// The node was retired.
    Retired,
    /// A newer session of the same node took over.
    Superseded,
    /// The peer broke the protocol.
    Protocol,
    /// The agent renewed its certificate and comes back with it.
    Renewed,
    /// The agent comes back at once, to prove that it still can after a change of its configuration.
    Proving,
}

/// A message of the control stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Agent: what the node is.
    Facts(Facts),
    /// Aggregator: samples are durable.
    Ack(Ack),
    /// Agent: please certify this new key (a DER certificate request).
    Renew(Vec<u8>),
    /// Aggregator: the new leaf certificate (DER) and its last second.
    Renewed {
        /// The certificate.
        certificate: Vec<u8>,
        /// Until when it is valid.
        not_after: Timestamp,
    },
    /// Aggregator: the authority's next version.
    Authority(SignedAuthority),
    /// Aggregator: keep this as a witness.
    Checkpoint(Checkpoint),
    /// Aggregator: the newest catalogue.
    Catalogue(SignedCatalogue),
    /// Agent: how the node stands to its configuration.
    Config(Box<ConfigReport>),
    /// Either: the session ends; `return_after_ms` tells an agent when to come back.
    Goodbye {
        /// Why.
        reason: GoodbyeReason,
        /// Milliseconds to wait before dialling again.
        return_after_ms: u32,
    },
    /// Agent: how the node proved that its backups restore.
    Proof(Box<ProofReport>),
    /// Agent: what carries the session, and why. Only to an aggregator that knows
    /// [`CAPABILITY_TRANSPORT`](crate::wire::hello::CAPABILITY_TRANSPORT).
    Transport(TransportReport),
}

impl Control {
    /// Header and body.
    ///
    /// # Errors
    /// When the message is longer than a frame may be.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        match self {
            Self::Facts(facts) => to_frame(16, codec::encode("Facts", facts)),
            Self::Ack(ack) => to_frame(17, codec::encode("Ack", ack)),
            Self::Renew(request) => to_frame(18, codec::encode("Renew", request)),
            Self::Renewed { certificate, not_after } => {
                to_frame(19, codec::encode("Renewed", &(certificate, not_after)))
            }
            Self::Authority(signed) => to_frame(20, codec::encode("Authority", signed)),
            Self::Checkpoint(checkpoint) => to_frame(21, codec::encode("Checkpoint", checkpoint)),
            Self::Catalogue(signed) => to_frame(23, codec::encode("Catalogue", signed)),
            Self::Config(report) => to_frame(24, codec::encode("ConfigReport", report)),
            Self::Proof(report) => to_frame(25, codec::encode("ProofReport", report)),
            Self::Transport(report) => to_frame(26, codec::encode("TransportReport", report)),
            Self::Goodbye { reason, return_after_ms } => {
                to_frame(22, codec::encode("Goodbye", &(reason, return_after_ms)))
            }
        }
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// When it is no message of this stream.
    pub fn from_frame(frame: &Frame) -> Result<Self, MessageError> {
        check_version(frame)?;
        let body = &frame.body;
        let message = match frame.kind {
            16 => codec::decode("Facts", body).map(Self::Facts),
            17 => codec::decode("Ack", body).map(Self::Ack),
            18 => codec::decode("Renew", body).map(Self::Renew),
            19 => codec::decode("Renewed", body)
                .map(|(certificate, not_after)| Self::Renewed { certificate, not_after }),
            20 => codec::decode("Authority", body).map(Self::Authority),
            21 => codec::decode("Checkpoint", body).map(Self::Checkpoint),
            23 => codec::decode("Catalogue", body).map(Self::Catalogue),
            24 => codec::decode("ConfigReport", body).map(Self::Config),
            25 => codec::decode("ProofReport", body).map(Self::Proof),
            26 => codec::decode("TransportReport", body).map(Self::Transport),
            22 => codec::decode("Goodbye", body)
                .map(|(reason, return_after_ms)| Self::Goodbye { reason, return_after_ms }),
            kind => return Err(MessageError::Kind { kind, stream: STREAM }),
        };
        message.map_err(|source| MessageError::Body { stream: STREAM, source })
    }
}
