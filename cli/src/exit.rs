//! Exit codes, stable for scripts, and how a failure becomes one.

use std::io;
use std::process::ExitCode;

use crate::client::ClientError;

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Exit {
    /// All done.
    Fine = 0,
    /// It failed.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// Some targets failed.
    SomeFailed = 3,
    /// Some targets did not answer.
    SomeSilent = 4,
    /// Refused by role or node policy.
    Denied = 5,
    /// Accepted, not done yet.
    Waiting = 6,
    /// Done and taken back.
    RolledBack = 7,
    /// A freeze is in force.
    Frozen = 8,
    /// `plan` and `drift` found changes.
    Pending = 10,
    /// Stopped by a signal.
    Interrupted = 130,
}

/// Which code wins when several apply, first to last.
const ORDER: [Exit; 6] = [
    Exit::RolledBack,
    Exit::SomeFailed,
    Exit::SomeSilent,
    Exit::Denied,
    Exit::Waiting,
    // A plan that is not known of every node is not yet a plan.
    Exit::Pending,
];

impl Exit {
    /// The one code for several targets: 7, 3, 4, 5, 6, 10, and fine only when every target is fine. Anything
    /// outside that list is the code of the whole command and comes before all.
    pub fn of_all(exits: impl IntoIterator<Item = Self>) -> Self {
        let rank = |exit: &Self| match exit {
            Self::Fine => usize::MAX,
            other => ORDER.iter().position(|known| known == other).map_or(0, |place| place + 1),
        };
        exits.into_iter().min_by_key(rank).unwrap_or(Self::Fine)
    }

    /// The code for one target's failure among several.
    pub fn of_target(error: &anyhow::Error) -> Self {
        match Self::of_failure(error) {
            // A frozen fleet refuses every target alike.
            refused @ (Self::Denied | Self::Frozen) => refused,
            _ if matches!(error.downcast_ref(), Some(ClientError::Timeout { .. })) => Self::SomeSilent,
            _ => Self::SomeFailed,
        }
    }

    /// The code of a command that failed with `error`.
    pub fn of_failure(error: &anyhow::Error) -> Self {
        if error.downcast_ref::<UsageError>().is_some() {
            return Self::Usage;
        }
        if error.downcast_ref::<Interrupted>().is_some() {
            return Self::Interrupted;
        }
        match error.downcast_ref::<ClientError>() {
            Some(ClientError::Denied { .. } | ClientError::Signatures { .. }) => Self::Denied,
            Some(ClientError::Frozen { .. }) => Self::Frozen,
            _ => Self::Failed,
        }
    }

    /// True when the reader of our output went away, as `head` does: nothing is wrong then.
    pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
        error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        // The discriminants are the codes.
        Self::from(exit as u8)
    }
}

/// The command line was understood but asks for something that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// A signal asked to stop.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_outcomes_make_one_code_in_the_documented_order() {
        use Exit::*;
        assert_eq!(Exit::of_all([]), Fine);
        assert_eq!(Exit::of_all([Fine, Fine]), Fine);
        assert_eq!(Exit::of_all([Fine, Waiting]), Waiting);
        assert_eq!(Exit::of_all([Waiting, Denied]), Denied);
        assert_eq!(Exit::of_all([Denied, SomeSilent]), SomeSilent);
        assert_eq!(Exit::of_all([SomeSilent, SomeFailed]), SomeFailed);
        assert_eq!(Exit::of_all([SomeFailed, RolledBack, Waiting]), RolledBack);
        assert_eq!(Exit::of_all([Fine, Pending]), Pending);
        assert_eq!(Exit::of_all([Pending, SomeSilent]), SomeSilent);
    }

    #[test]
    fn the_codes_are_the_documented_numbers() {
        let codes = [
            Exit::Fine,
            Exit::Failed,
            Exit::Usage,
            Exit::SomeFailed,
            Exit::SomeSilent,
            Exit::Denied,
            Exit::Waiting,
            Exit::RolledBack,
            Exit::Frozen,
            Exit::Pending,
            Exit::Interrupted,
        ]
        .map(|exit| exit as u8);
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 130]);
    }

    #[test]
    fn a_failure_finds_its_code_through_its_context() {
        let denied = anyhow::Error::from(ClientError::Denied { detail: "no".into() }).context("renaming");
        assert_eq!(Exit::of_failure(&denied), Exit::Denied);
        let frozen = anyhow::Error::from(ClientError::Frozen { detail: "audit".into() });
        assert_eq!(Exit::of_failure(&frozen), Exit::Frozen);
        assert_eq!(Exit::of_all([Exit::of_target(&frozen), Exit::of_target(&frozen)]), Exit::Frozen);
        let unsigned = anyhow::Error::from(ClientError::Signatures { detail: "none".into() });
        assert_eq!(Exit::of_failure(&unsigned), Exit::Denied);
        let usage = anyhow::Error::from(UsageError("no".into()));
        assert_eq!(Exit::of_failure(&usage), Exit::Usage);
        assert_eq!(Exit::of_failure(&anyhow::anyhow!("no")), Exit::Failed);
    }
}
