//! What was measured of one node at one time, as far as health depends on it.

use crate::api::{Confinement, NodePerformance};
use crate::time::Timestamp;

/// What was measured of one node at one time. A figure without a source is none: it breaks no threshold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Vitals {
    /// When, by the node's clock.
    pub time: Timestamp,
    /// Processor time not idle, per cent of all processors.
    pub cpu_percent: Option<f64>,
    /// Memory not available, per cent of what the node may use.
    pub memory_percent: Option<f64>,
    /// File systems that can be written.
    pub filesystems: Vec<Filesystem>,
    /// Network interfaces that lead out of the node.
    pub interfaces: Vec<Interface>,
    /// Load average over one minute.
    pub load1: Option<f64>,
    /// Number of processes.
    pub processes: Option<f64>,
    /// Names of systemd units that failed.
    pub failed_units: Vec<String>,
    /// Names of the agent's collectors that gave nothing.
    pub failed_collectors: Vec<String>,
    /// Why the agent refuses its settings as they are written; empty while it does not.
    pub settings_errors: Vec<String>,
    /// Why the agent does no more than to show that it is there; none while it does all.
    pub safe_mode: Option<String>,
    /// How far the agent confined itself; none where it does not say. It breaks no threshold.
    pub confinement: Option<Confinement>,
    /// How many resources differ from the configuration by another hand. A sample alone does not tell: whoever received
    /// the node's report fills this in.
    pub drifted_resources: u32,
    /// Number of the generation that the node tried last, where it was undone; filled in likewise.
    pub reverted_generation: Option<String>,
    /// What is wrong with its backups, as the store sees them; filled in likewise.
    pub backups: Vec<BackupTrouble>,
    /// Whether the kernel holds the node's clock to be synchronised.
    pub is_clock_synchronised: Option<bool>,
    /// What the node's own time service still has to correct, in seconds.
    pub clock_offset_seconds: Option<f64>,
    /// The node's clock less the aggregator's, in seconds. A sample alone does not tell: whoever received it
    /// fills this in.
    pub clock_skew_seconds: Option<f64>,
    /// What the node's services do.
    pub performance: NodePerformance,
}

/// Something that is wrong with a node's backups.
#[derive(Debug, Clone, PartialEq)]
pub enum BackupTrouble {
    /// The newest snapshot of a policy is too old.
    Late {
        /// Which.
        policy: String,
        /// Since it was received, in seconds.
        age_seconds: f64,
        /// How old it may be; twice as old is critical.
        max_age_seconds: f64,
    },
    /// A policy has no snapshot, and should have.
    Missing {
        /// Which.
        policy: String,
        /// Since it is waited for, in seconds.
        waited_seconds: f64,
        /// How long may be waited; twice as long is critical.
        max_age_seconds: f64,
    },
    /// Stored objects are damaged or gone.
    Damaged {
        /// How many.
        objects: u64,
    },
    /// Deletions wait for a person.
    Held {
        /// For how many reasons.
        holds: u64,
    },
    /// The node's part of the store cannot be used.
    Unusable,
    /// The last drill of a policy found that it does not restore, or could not be done.
    DrillFailed {
        /// Which.
        policy: String,
    },
    /// The last drill of a policy that went well is too long ago.
    DrillLate {
        /// Which.
        policy: String,
        /// Since then, or since the policy is known, in seconds.
        age_seconds: f64,
        /// How long ago it may be; twice as long is critical.
        max_age_seconds: f64,
    },
    /// The node decrypted its repository and found damage.
    CheckFailed {
        /// How much.
        findings: u64,
    },
    /// The node did not decrypt everything in time.
    Unchecked {
        /// Since it did, or since it should, in seconds.
        age_seconds: f64,
        /// How long ago it may be; twice as long is critical.
        max_age_seconds: f64,
    },
}

/// How full a file system is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Filesystem {
    /// Where it is mounted.
    pub mountpoint: String,
    /// Used space in per cent of what unprivileged users may fill, as `df` counts.
    pub used_percent: Option<f64>,
    /// Used inodes in per cent; none where the file system has no fixed number.
    pub inodes_percent: Option<f64>,
}

/// Traffic of a network interface.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Interface {
    /// Its name.
    pub device: String,
    /// Bits per second in.
    pub receive_bits_per_second: Option<f64>,
    /// Bits per second out.
    pub transmit_bits_per_second: Option<f64>,
    /// Bits per second that the link can carry; none where it does not say.
    pub speed_bits_per_second: Option<f64>,
}
