//! What targets come to without an outcome of their own.

use campanile_common::api::TargetState;

/// What a target comes to without an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::order) enum Settled {
    /// Not connected, and not to wait for.
    Absent,
    /// Sent, and no word since.
    Silent,
    /// The order expired first.
    Expired,
    /// The order was withdrawn first.
    Withdrawn,
    /// It expired before enough operators had signed.
    NotApproved,
    /// Too many others did not end well.
    TooManyFailed,
    /// A node of an earlier wave took the change back.
    WaveReverted,
    /// A node of an earlier wave is gone.
    WaveLost,
    /// A node of an earlier wave is worse than before.
    WaveUnwell,
    /// Its agent takes no orders.
    AgentTooOld,
    /// It had the run, and knows nothing of it now.
    Forgotten,
}

impl Settled {
    /// The state that the target then shows.
    pub(in crate::order) const fn state(self) -> TargetState {
        match self {
            Self::Absent | Self::Silent | Self::Expired => TargetState::Silent,
            Self::Withdrawn
            | Self::NotApproved
            | Self::TooManyFailed
            | Self::WaveReverted
            | Self::WaveLost
            | Self::WaveUnwell => TargetState::Skipped,
            Self::AgentTooOld => TargetState::Denied,
            Self::Forgotten => TargetState::Failed,
        }
    }

    /// Its word for programs.
    pub(in crate::order) const fn result(self) -> Option<&'static str> {
        match self {
            Self::Expired | Self::NotApproved => Some("expired"),
            Self::AgentTooOld => Some("denied"),
            Self::Forgotten => Some("indeterminate"),
            Self::WaveReverted | Self::WaveLost | Self::WaveUnwell => Some("wave-stopped"),
            Self::Absent | Self::Silent | Self::Withdrawn | Self::TooManyFailed => None,
        }
    }

    /// Why, for people.
    pub(in crate::order) const fn detail(self) -> &'static str {
        match self {
            Self::Absent => "not connected",
            Self::Silent => "sent, and no word since; an outcome that comes later replaces this",
            Self::Expired => "the order expired before the node could start it",
            Self::Withdrawn => "the order was withdrawn before it was started here",
            Self::NotApproved => "the order expired before enough operators had signed it",
            Self::TooManyFailed => "the order stopped: too many targets did not end well",
            Self::WaveReverted => "the waves stopped: a node of an earlier one took the change back",
            Self::WaveLost => "the waves stopped: a node of an earlier one is not connected any more",
            Self::WaveUnwell => "the waves stopped: the health of a node of an earlier one fell",
            Self::AgentTooOld => "agent too old: it takes no orders; update it",
            Self::Forgotten => "the node had it and knows nothing of it now: its journal was lost",
        }
    }
}
