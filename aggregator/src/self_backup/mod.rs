//! The aggregator's backup of itself: one file, encrypted to keys that are kept elsewhere, from which another machine
//! becomes the same aggregator.
//!
//! The file is a tar in an age envelope, so that stock tools open it: a manifest first, then each file that it lists.
//! `manifest` says what is in it, `tar` and `archive` write and read it, `save` collects and stores it, `restore` puts it
//! back, `due` and `name` decide when the next is made and which old ones go, `task` does it on a schedule.
//! Invariants: nothing is ever stored that is not encrypted; a file under its final name is whole; a state folder comes
//! into being by one rename, after every byte was compared with the manifest.

mod archive;
mod due;
#[cfg(test)]
mod fixture;
mod key;
mod manifest;
mod name;
mod restore;
mod save;
mod tar;
mod task;

use std::path::PathBuf;

use campanile_common::recurrence::Recurrence;

pub use archive::ArchiveError;
pub use due::next;
pub use key::{Identities, KeyError, parse_recipients};
pub use manifest::{FileEntry, Manifest, ManifestError};
pub use restore::{Receipts, RestoreError, Staged, check, read_identities, unpack};
pub use save::{SaveError, Saved, Sources, Target, save};
pub use task::{Figures, SelfBackupTask, begun};

/// An age recipient: whoever has its identity can read the backup.
pub type Recipient = age::x25519::Recipient;

/// The folder of the store's receipts within the archive, and their file in each node's folder.
const RECEIPTS_DIR: &str = "backup";
const RECEIPTS_FILE: &str = "receipts";
/// Parts of generations, within the state folder and the archive.
const PARTS_DIR: &str = "config/parts";
/// The settings files as they were, within the archive and the restored state folder.
const SETTINGS_DIR: &str = "settings";
/// The state store.
const STATE_FILE: &str = "state.db";

/// What the settings say of it.
#[derive(Debug, Clone, PartialEq)]
pub struct SelfBackupSettings {
    /// To whom it is encrypted; one at least.
    pub recipients: Vec<Recipient>,
    /// Where the files are put.
    pub dir: PathBuf,
    /// When one is made, in UTC.
    pub schedule: Recurrence,
    /// How many are kept.
    pub keep: usize,
}
