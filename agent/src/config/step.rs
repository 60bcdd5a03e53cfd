//! What a plan is made of: changes, and the steps that make them. Plain data, so that a plan is printed, stored and
//! executed as one and the same value.

use campanile_common::api::PlannedChange;
use campanile_common::config::{Resource, ResourceId};
use serde::{Deserialize, Serialize};

/// Content of a file, or of a firewall's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// A secret went into it: it is in no diff, no log and no output.
    pub is_secret: bool,
}

/// A resource with its content rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// What it is to be.
    pub resource: Resource,
    /// Content of a file or firewall that is to be there.
    pub content: Option<Content>,
}

/// User and group by name, resolved when the step is executed: an earlier step may make them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ownership {
    /// Permission bits; none leaves them as they are, or takes the default for something new.
    pub mode: Option<u32>,
    /// User; none as for `mode`.
    pub owner: Option<String>,
    /// Group; none as for `mode`.
    pub group: Option<String>,
}

/// A program to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invocation {
    /// Program by its usual name or its path, and arguments.
    pub argv: Vec<String>,
    /// What it reads.
    pub stdin: Vec<u8>,
    /// As whom; none for the steward's user.
    pub user: Option<String>,
    /// Seconds it may take.
    pub timeout_s: u32,
}

/// How the effect of a program is undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Undo {
    /// It changes nothing that lasts (`daemon-reload`).
    Nothing,
    /// By these, in this order.
    Run(Vec<Invocation>),
    /// By these, once everything else of the plan is undone and every old byte is back: a service starts again with its
    /// old settings, `systemctl daemon-reload`. What several steps name is run once.
    Last(Vec<Invocation>),
    /// Not at all: what is left, for people.
    Left(String),
}

/// One step. Paths are absolute on the node; what was there before is snapshot and put back to undo it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Put a regular file in place, whole and synced.
    Put {
        /// Where.
        path: String,
        /// Its bytes.
        bytes: Vec<u8>,
        /// Mode and owner.
        ownership: Ownership,
        /// Must succeed on the new bytes before anything of the plan is executed; `{}` stands for their path.
        validate: Vec<String>,
        /// The old bytes are kept beside it under this suffix.
        backup: Option<String>,
    },
    /// Make a directory. One that is there by now, because a program of an earlier step made it, is left as it is.
    Directory {
        /// Where.
        path: String,
        /// Mode and owner.
        ownership: Ownership,
    },
    /// Change mode and owner.
    Own {
        /// Of what.
        path: String,
        /// Mode and owner.
        ownership: Ownership,
    },
    /// Make a symbolic link, in the place of another link where there is one.
    Link {
        /// Where.
        path: String,
        /// What it points at.
        target: String,
    },
    /// Remove a file, a link, or an empty directory.
    Remove {
        /// What.
        path: String,
    },
    /// Nothing by itself: a program of a later step changes this file, so its snapshot is taken here and put back when the
    /// plan is undone (`/etc/passwd` before `useradd`).
    Keep {
        /// What; it need not be there.
        path: String,
    },
    /// Run a program. Exit code 0 is success.
    Run {
        /// Which.
        invocation: Invocation,
        /// How that is undone.
        undo: Undo,
    },
}

/// A change of one resource, as it is printed, and the steps that make it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Of which.
    pub resource: ResourceId,
    /// As it is printed.
    pub shown: PlannedChange,
    /// What is done, in this order.
    pub steps: Vec<Step>,
}

/// Why a resource cannot be planned, or a step not be executed: one sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// About which resource, where it is about one.
    pub resource: Option<ResourceId>,
    /// What is wrong.
    pub message: String,
}

/// What a plan says: changes in the order in which they are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Plan {
    /// Number of the generation.
    pub number: u64,
    /// The changes.
    pub changes: Vec<Change>,
    /// Resources that are as they should be.
    pub unchanged: u32,
}

impl Problem {
    /// One that is about no resource, or not yet.
    pub fn new(message: impl Into<String>) -> Self {
        Self { resource: None, message: message.into() }
    }
}
