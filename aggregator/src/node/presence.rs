//! Who holds a node's session, and when the node was last heard. Pure: time is counted from the aggregator's start,
//! so that a wall clock that jumps declares nobody dead.
//!
//! Invariants: a node has one session at most; only its current session is a sign of life.

use std::time::Duration;

use campanile_common::api::Liveness;
use campanile_common::id::InstanceId;

use super::liveness::{LivenessSettings, Signs, liveness};

/// A session that was heard within this is alive, and a second one with its identity is refused.
const ALIVE: Duration = Duration::from_millis(1500);
/// So many times in a row a second agent was refused and the first was heard of again: the key was copied. A restarted
/// agent cannot do that, because the process before it is dead; one heartbeat may still be on its way.
const CLONE_REFUSALS: u32 = 3;

/// What is known of one node's sessions and signs of life.
#[derive(Debug)]
pub struct Presence {
    session: Option<(u64, InstanceId)>,
    /// The last sign of life; none since the aggregator started.
    heard: Option<Duration>,
    said_goodbye: bool,
    liveness: Liveness,
    /// Refusals of a second agent, each with a sign of life of the first since the one before.
    clone_refusals: u32,
    is_heard_since_refusal: bool,
}

/// Another agent with this identity is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdentityInUse {
    /// So often in a row that the key must have been copied; true once.
    pub is_suspect: bool,
}

impl Default for Presence {
    fn default() -> Self {
        Self {
            session: None,
            heard: None,
            said_goodbye: false,
            liveness: Liveness::Late,
            clone_refusals: 0,
            is_heard_since_refusal: false,
        }
    }
}

impl Presence {
    /// A session wants to begin; it takes the place of one of the same agent, or of one that is silent.
    ///
    /// # Errors
    /// When another agent with this identity is alive.
    pub fn begin(&mut self, now: Duration, session: u64, instance: InstanceId) -> Result<(), IdentityInUse> {
        let is_alive = self.heard.is_some_and(|heard| now.saturating_sub(heard) < ALIVE);
        if self.session.is_some_and(|(_, current)| current != instance) && is_alive {
            let is_contested = std::mem::take(&mut self.is_heard_since_refusal);
            self.clone_refusals += u32::from(is_contested);
            let is_suspect = is_contested && self.clone_refusals == CLONE_REFUSALS;
            return Err(IdentityInUse { is_suspect });
        }
        self.session = Some((session, instance));
        self.clone_refusals = 0;
        Ok(())
    }

    /// It is the node's session.
    pub fn is_current(&self, session: u64) -> bool {
        self.session.is_some_and(|(current, _)| current == session)
    }

    /// Notes a sign of life; false when it is of a session that is over.
    pub fn heard(&mut self, now: Duration, session: u64) -> bool {
        if self.session.is_none_or(|(current, _)| current != session) {
            return false;
        }
        self.heard = Some(now);
        self.said_goodbye = false;
        self.is_heard_since_refusal = true;
        true
    }

    /// Notes that a session ended; false when another one took its place before. After an orderly end the node is
    /// offline at once, otherwise silence will tell.
    pub fn ended(&mut self, session: u64, is_orderly: bool) -> bool {
        if self.session.is_none_or(|(current, _)| current != session) {
            return false;
        }
        self.session = None;
        self.said_goodbye = is_orderly;
        true
    }

    /// Judges the silence; gives the liveness before when it changed.
    pub fn look(&mut self, now: Duration, settings: &LivenessSettings) -> Option<Liveness> {
        let signs = match self.heard {
            _ if self.said_goodbye => Signs::Goodbye,
            Some(heard) => Signs::Last(now.saturating_sub(heard)),
            None => Signs::NoneSinceStart(now),
        };
        let found = liveness(signs, settings);
        let before = std::mem::replace(&mut self.liveness, found);
        (before != found).then_some(before)
    }

    /// As of the last look.
    pub const fn liveness(&self) -> Liveness {
        self.liveness
    }

    /// The session, while there is one.
    pub fn session(&self) -> Option<u64> {
        self.session.map(|(session, _)| session)
    }
}
