//! The HTTPS API, live events, `/metrics`, and the pages: everything that people and their tools talk to.
//!
//! Handlers ask the handles of the other parts and hold no state of their own beyond what HTTP needs: which answers
//! to repeat ([`idempotency`]), how many event streams are open ([`stream_limit`]), how requests ended
//! ([`metrics`]). What a caller may see is decided in [`sight`], node by node, and nowhere else.
//!
//! Invariants: a request without credentials reaches no handle but sign-in. A node outside the caller's grants
//! answers as one that does not exist.

mod api;
mod assets;
mod auth;
mod connection_limit;
mod door;
mod failure;
mod frozen;
mod health;
mod idempotency;
mod layers;
mod metrics;
mod openapi;
mod packages;
mod paging;
mod probes;
mod request;
mod serve;
mod sight;
mod stream_limit;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use campanile_common::api::Confinement;
use campanile_common::id::FleetId;
use campanile_common::time::Timestamp;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::Access;
use crate::audit::Audit;
use crate::authority::{Authorities, Catalogues};
use crate::backup::BackupStore;
use crate::config::Config;
use crate::event::Events;
use crate::freeze::Freezer;
use crate::node::Nodes;
use crate::order::Orders;
use crate::os::clock::Clock;
use crate::packages::Packages;
use crate::schedule::Schedules;
use crate::self_backup;
use crate::series::RecentSeries;

pub use self::door::AgentDoor;
pub use self::serve::{HttpError, serve};

/// Parts and generations of the configuration that are held in memory while they come: 16 MiB each.
const UPLOADS_MAX: usize = 8;

/// Which fleet this is and who serves it.
#[derive(Debug, Clone)]
pub struct FleetInfo {
    /// Name of the fleet.
    pub name: String,
    /// Its id.
    pub id: FleetId,
    /// Version of this program.
    pub aggregator_version: String,
    /// When it started.
    pub started_at: Timestamp,
    /// How far this process is confined.
    pub confinement: Confinement,
    /// The authority in force, as of now.
    pub authority: watch::Receiver<AuthorityTerm>,
}

/// Which authority is in force, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthorityTerm {
    /// Its version.
    pub version: u64,
    /// From when on it authorises nothing.
    pub expires_at: Timestamp,
}

type GetLevel = dyn Fn() -> String + Send + Sync;
type SetLevel = dyn Fn(&str) -> Result<(), String> + Send + Sync;

/// Reads and changes the level of the log while the program runs.
#[derive(Clone)]
pub struct LogLevelHandle {
    get: Arc<GetLevel>,
    set: Arc<SetLevel>,
}

impl LogLevelHandle {
    /// `get` tells the directives in force; `set` puts others in force, or says why it cannot.
    pub fn new(
        get: impl Fn() -> String + Send + Sync + 'static,
        set: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self { get: Arc::new(get), set: Arc::new(set) }
    }

    fn get(&self) -> String {
        (self.get)()
    }

    fn set(&self, level: &str) -> Result<(), String> {
        (self.set)(level)
    }
}

impl fmt::Debug for LogLevelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogLevelHandle")
    }
}

/// Whether the aggregator can do its work, and why not. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<Mutex<Option<String>>>);

impl Readiness {
    /// Not ready, for this reason.
    pub fn waiting(reason: impl Into<String>) -> Self {
        Self(Arc::new(Mutex::new(Some(reason.into()))))
    }

    /// From now on ready.
    pub fn set_ready(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// From now on not ready, for this reason.
    pub fn set_waiting(&self, reason: impl Into<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.into());
    }

    /// Why it is not ready; none when it is.
    pub fn reason(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Everything that the API serves from.
#[derive(Debug, Clone)]
pub struct Services {
    /// People, sessions, API tokens.
    pub access: Access,
    /// The audit log.
    pub audit: Audit,
    /// The node registry.
    pub nodes: Nodes,
    /// The chain of authorities.
    pub authorities: Authorities,
    /// The catalogue.
    pub catalogues: Catalogues,
    /// Whether changes are refused.
    pub freezer: Freezer,
    /// The schedules.
    pub schedules: Schedules,
    /// The orders.
    pub orders: Orders,
    /// The configuration.
    pub config: Config,
    /// The backup store.
    pub backups: BackupStore,
    /// The recent series.
    pub series: RecentSeries,
    /// What changes, as it changes.
    pub events: Events,
    /// Which fleet this is.
    pub fleet: FleetInfo,
    /// Level of the log.
    pub log_level: LogLevelHandle,
    /// Why the settings as written are refused; none while they are in force.
    pub settings_error: watch::Receiver<Option<String>>,
    /// Whether the aggregator can do its work.
    pub readiness: Readiness,
    /// Backups of the aggregator itself.
    pub self_backup: watch::Receiver<self_backup::Figures>,
    /// What nodes are installed from.
    pub packages: Packages,
    /// The time.
    pub clock: Clock,
}

/// What handlers share: the services, and the little that HTTP itself must remember.
#[derive(Debug)]
struct Shared {
    services: Services,
    replays: idempotency::Replays,
    stream_limit: Arc<stream_limit::StreamLimit>,
    /// Journals that are being read.
    journal_limit: Arc<stream_limit::StreamLimit>,
    /// Long bodies that are being read.
    uploads: Semaphore,
    /// Packages that are being downloaded.
    downloads: Arc<Semaphore>,
    requests: metrics::requests::RequestCounts,
    exposition_bytes: std::sync::atomic::AtomicUsize,
    health: Mutex<Option<health::Rendered>>,
    /// Ends event streams when the program stops.
    shutdown: CancellationToken,
    /// The tasks that feed streams, and changes that go on though their caller went.
    streams: TaskTracker,
}

type App = axum::extract::State<Arc<Shared>>;

impl Shared {
    fn new(services: Services, shutdown: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            services,
            replays: idempotency::Replays::default(),
            stream_limit: Arc::default(),
            journal_limit: Arc::default(),
            uploads: Semaphore::new(UPLOADS_MAX),
            downloads: Arc::new(Semaphore::new(packages::DOWNLOADS_MAX)),
            requests: metrics::requests::RequestCounts::default(),
            exposition_bytes: std::sync::atomic::AtomicUsize::new(0),
            health: Mutex::new(None),
            shutdown,
            streams: TaskTracker::new(),
        })
    }

    /// Carries a change out to its end: a caller who hangs up in between would leave the store and what is held in
    /// memory apart.
    async fn to_end<T: Send + 'static>(
        &self,
        change: impl Future<Output = T> + Send + 'static,
    ) -> failure::Outcome<T> {
        self.streams.spawn(change).await.map_err(|_| failure::Failure::broken())
    }
}

/// The whole site: API, probes, metrics, pages.
pub fn router(services: Services) -> axum::Router {
    layers::site(Shared::new(services, CancellationToken::new()))
}
