//! State machines of both ends of the link, without a clock or a socket.
//!
//! A driver feeds events (frames that came, time that passed, decisions of others) and carries out the effects it
//! gets back, in order. `agent` and `aggregator` are the two ends of the control stream, `lane` reads a stream of
//! samples, `outbox` keeps samples until they are acknowledged.
//!
//! Invariants: nothing is sent before the opening exchange is over, nothing after the end; a session ends exactly
//! once.

mod agent;
mod aggregator;
mod lane;
mod outbox;

pub use agent::{AgentEffect, AgentEvent, AgentSession};
pub use aggregator::{AggregatorEffect, AggregatorEvent, AggregatorSession};
pub use lane::{LaneError, LaneItem, LaneReader};
pub use outbox::{OUTBOX_SAMPLES_MAX, Outbox, OutboxEffect};

use std::time::Duration;

use crate::wire::hello::Refusal;
use crate::wire::v1::control::GoodbyeReason;

/// Longest time either end waits for the other's opening message.
pub const OPENING_TIMEOUT: Duration = Duration::from_secs(5);

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The aggregator refused it.
    Refused(Refusal),
    /// One side said goodbye.
    Goodbye {
        /// Why.
        reason: GoodbyeReason,
        /// How long an agent waits before it dials again.
        return_after: Duration,
    },
    /// The peer broke the protocol; the text says how.
    Protocol(String),
    /// The peer did not open the session in time.
    OpeningTimeout,
}
