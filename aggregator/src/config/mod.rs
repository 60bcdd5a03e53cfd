//! Configuration as the aggregator keeps it: generations, their parts, which one is in force, how nodes stand to it.
//!
//! Parts are files, everything else is in the state store; [`Config`] is the handle of both. `submit` takes new
//! generations, `approve` collects their signatures, `history` shows them, `share` says what a node may fetch of one, `keep` which stay, `report` what nodes
//! say, `follow` who is offered the generation in force, `task` does what takes time. Nothing here protects a node,
//! which verifies signatures and digests itself.
//!
//! Invariants: the head changes by compare-and-set alone, in one commit with its audit entry; a generation is stored
//! only when all its parts are there; no part that a kept generation names is removed.

mod approve;
#[cfg(test)]
pub(crate) mod fixture;
mod follow;
mod history;
mod keep;
mod record;
mod report;
mod share;
mod submit;
mod task;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use campanile_common::api::ConfigHead;
use campanile_common::authority::Authority;
use campanile_common::config::GenerationError;
use campanile_common::id::{Digest, NodeId};
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::config::ConfigReport;
use tokio::sync::{Notify, mpsc, watch};

use self::record::{GenerationRecord, HeadRecord, Point, ReportRecord};
use crate::audit::Audit;
use crate::event::Events;
use crate::os::clock::Clock;
use crate::os::parts::{PartError, Parts};
use crate::state::{Keys, Range, Record, Revision, StateError, Store, from_json, read_json};

pub use history::Figures;
pub use keep::KeepPolicy;
pub use share::Share;
pub use submit::Expected;
pub use task::{ApplyEnded, ConfigTask, ConfigTaskParts};

/// Reports that wait for the task; past it sessions wait, for a commit or two.
const REPORTS_MAX: usize = 256;
/// Records read at a time; each may be long.
const PAGE: usize = 32;

/// Why a generation, or what was asked of one, is refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConfigError {
    /// Nothing was released yet.
    #[error("no generation was released yet; `campanile config apply` makes the first")]
    None,
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The request is not acceptable.
    #[error("{0}")]
    Invalid(String),
    /// Too few signatures.
    #[error("{0}")]
    Signatures(String),
    /// Made under another version of the authority.
    #[error("{0}")]
    Stale(String),
    /// Another release came first.
    #[error("{0}")]
    Conflict(String),
    /// Parts are missing.
    #[error("{0}")]
    MissingParts(String),
    /// Too many wait.
    #[error("{0}")]
    Busy(String),
    /// The fleet is frozen.
    #[error("the fleet is frozen: nothing is changed until somebody lifts the freeze")]
    Frozen,
    /// A part cannot be written or read.
    #[error(transparent)]
    Part(#[from] PartError),
    /// The aggregator is stopping.
    #[error("the aggregator is stopping")]
    Stopping,
    /// The store failed.
    #[error("the configuration cannot be stored or read")]
    State(#[from] StateError),
}

impl From<GenerationError> for ConfigError {
    fn from(error: GenerationError) -> Self {
        match error {
            GenerationError::Signatures { .. } => Self::Signatures(error.to_string()),
            _ => Self::Invalid(error.to_string()),
        }
    }
}

/// Everything that the configuration is made of.
#[derive(Debug)]
pub struct ConfigParts {
    /// The state store.
    pub store: Store,
    /// Its keys.
    pub keys: Keys,
    /// The files.
    pub parts: Parts,
    /// Its records join the commits.
    pub audit: Audit,
    /// Where changes are published.
    pub events: Events,
    /// The authority in force, as it changes.
    pub authority: watch::Receiver<Arc<Authority>>,
    /// True while the fleet is frozen.
    pub is_frozen: watch::Receiver<bool>,
    /// What is kept.
    pub policy: KeepPolicy,
    /// The time.
    pub clock: Clock,
}

/// Handle of the configuration. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Config {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    with: ConfigParts,
    /// Revision of the stored head. Whoever submits, settles or prunes takes turns here.
    turn: tokio::sync::Mutex<Option<Revision>>,
    known: Mutex<Known>,
    opened: share::Opened,
    /// There is a new generation.
    changed: Notify,
    reports: mpsc::Sender<(NodeId, ConfigReport)>,
}

/// What is stored, as it was last committed.
#[derive(Debug, Default)]
struct Known {
    head: Option<HeadRecord>,
    generations: BTreeMap<Digest, Arc<GenerationRecord>>,
    /// Releases by number.
    releases: BTreeMap<u64, Digest>,
    nodes: BTreeMap<NodeId, Arc<ReportRecord>>,
}

type Reports = mpsc::Receiver<(NodeId, ConfigReport)>;

impl Config {
    /// Reads what is stored. Gives the inbox of the task too.
    ///
    /// # Errors
    /// When the store fails or a record is damaged.
    pub async fn open(with: ConfigParts) -> Result<(Self, Reports), StateError> {
        let mut known = Known::default();
        let head = read_json::<HeadRecord>(&*with.store, &record::head_key(&with.keys)).await?;
        let (head, revision) = head.unzip();
        for record in
            everything::<GenerationRecord>(&with.store, with.keys.prefix("config-generation")).await?
        {
            known.insert(Arc::new(record));
        }
        for record in everything::<ReportRecord>(&with.store, with.keys.prefix("config-node")).await? {
            known.nodes.insert(record.node, Arc::new(record));
        }
        if let Some(head) = &head
            && !known.generations.contains_key(&head.point.digest)
        {
            return Err(StateError::Unreadable {
                key: record::head_key(&with.keys),
                detail: format!("it names generation {}, whose record is gone", head.point.digest),
            });
        }
        known.head = head;
        let (reports, inbox) = mpsc::channel(REPORTS_MAX);
        let shared = Shared {
            with,
            turn: tokio::sync::Mutex::new(revision),
            known: Mutex::new(known),
            opened: share::Opened::default(),
            changed: Notify::new(),
            reports,
        };
        Ok((Self { shared: Arc::new(shared) }, inbox))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.shared.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        self.shared.with.clock.now()
    }

    /// The files.
    pub fn parts(&self) -> &Parts {
        &self.shared.with.parts
    }

    /// The generation that the fleet is meant to be at.
    pub fn head(&self) -> Option<ConfigHead> {
        self.known().head.as_ref().map(|head| head.point.to_api())
    }

    /// The newest release of which it is known that it does no harm: who was away or is enrolled later goes to it.
    pub fn settled(&self) -> Option<ConfigHead> {
        self.known().head.as_ref().and_then(|head| head.settled).map(Point::to_api)
    }

    /// A node says how it stands. Waits while the task is behind.
    pub async fn report(&self, node: NodeId, report: ConfigReport) {
        // Closed: the aggregator stops, and the node says it again at its next session.
        drop(self.shared.reports.send((node, report)).await);
    }

    /// Does what blocks, on the pool for it.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, ConfigError> + Send + 'static,
    ) -> Result<T, ConfigError> {
        let config = self.clone();
        tokio::task::spawn_blocking(move || work(&config)).await.map_err(|_| ConfigError::Stopping)?
    }

    /// Writes a part.
    ///
    /// # Errors
    /// When its bytes are not those of its digest, or the disk refuses.
    pub async fn put_part(&self, digest: Digest, bytes: Vec<u8>) -> Result<(), ConfigError> {
        let now = self.now();
        self.blocking(move |config| Ok(config.parts().put(digest, &bytes, now)?)).await
    }

    /// Reads a part.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub async fn read_part(&self, digest: Digest) -> Result<Vec<u8>, ConfigError> {
        self.blocking(move |config| Ok(config.parts().read(digest)?)).await
    }

    /// Holds a part against its digest; gives its length.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub async fn part_bytes(&self, digest: Digest) -> Result<u64, ConfigError> {
        self.blocking(move |config| Ok(config.parts().check(digest)?)).await
    }

    /// Up to `most` bytes of a part from `offset` on.
    ///
    /// # Errors
    /// When there is none, or the disk refuses.
    pub async fn part_piece(&self, digest: Digest, offset: u64, most: usize) -> Result<Vec<u8>, ConfigError> {
        self.blocking(move |config| Ok(config.parts().piece(digest, offset, most)?)).await
    }

    /// Those of these parts that are not here.
    pub fn missing_parts(&self, digests: &[Digest]) -> Vec<Digest> {
        self.parts().missing(digests, self.now())
    }
}

impl Known {
    fn insert(&mut self, record: Arc<GenerationRecord>) {
        if record.is_release() {
            self.releases.insert(record.point.number, record.point.digest);
        }
        self.generations.insert(record.point.digest, record);
    }

    fn remove(&mut self, digest: Digest) {
        if let Some(record) = self.generations.remove(&digest)
            && record.is_release()
        {
            self.releases.remove(&record.point.number);
        }
    }
}

async fn everything<T: Record>(store: &Store, prefix: String) -> Result<Vec<T>, StateError> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page =
            store.range(Range { prefix: prefix.clone(), after, limit: PAGE, descending: false }).await?;
        for entry in &page {
            found.push(from_json(&entry.key, &entry.value)?);
        }
        if page.len() < PAGE {
            return Ok(found);
        }
        after = page.last().map(|entry| entry.key.clone());
    }
}
