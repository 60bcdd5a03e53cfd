//! What is stored, opened in its order.

use std::sync::Arc;

use anyhow::Context as _;
use campanile_common::fleet::FleetFile;

use super::secret;
use crate::access::Access;
use crate::audit::Audit;
use crate::identity::load_fleet;
use crate::os::clock::Clock;
use crate::os::file::{self, Hold};
use crate::settings::Settings;
use crate::state::{Keys, SqliteStore, StateError, Store};

/// The state store, in the state folder.
const STATE_FILE: &str = "state.db";

/// What is stored: opened by `serve` and by the commands that work on the spot.
pub(super) struct Stored {
    pub(super) fleet: FleetFile,
    pub(super) store: Store,
    pub(super) keys: Keys,
    pub(super) audit: Audit,
    pub(super) access: Access,
    pub(super) clock: Clock,
}

impl Stored {
    /// For whoever has the folder for itself; a state of an earlier release becomes one of this.
    pub(super) async fn open(settings: &Settings) -> anyhow::Result<Self> {
        let fleet = load_fleet(&settings.state_dir)?;
        Self::with(settings, fleet, SqliteStore::open(&settings.state_dir.join(STATE_FILE))?).await
    }

    /// The same, perhaps beside an aggregator that serves: its state is not upgraded beneath it.
    pub(super) async fn beside(settings: &Settings) -> anyhow::Result<Self> {
        let fleet = load_fleet(&settings.state_dir)?;
        let (dir, path) = (&settings.state_dir, settings.state_dir.join(STATE_FILE));
        let store = match SqliteStore::open_beside(&path) {
            Err(behind @ StateError::Behind { .. }) => {
                let held = file::hold(dir);
                match held.with_context(|| format!("cannot use state folder {}", dir.display()))? {
                    // Nobody begins to serve from it meanwhile.
                    Hold::Free { lock: _lock } => SqliteStore::open(&path)?,
                    Hold::Served => return Err(behind.into()),
                }
            }
            opened => opened?,
        };
        Self::with(settings, fleet, store).await
    }

    async fn with(settings: &Settings, fleet: FleetFile, store: SqliteStore) -> anyhow::Result<Self> {
        let (clock, store): (_, Store) = (Clock::system(), Arc::new(store));
        let keys = Keys::new(fleet.fleet_id);
        let seed = secret(&settings.state_dir, "audit.key")?;
        let audit = Audit::open(Arc::clone(&store), keys.clone(), clock.clone(), seed).await?;
        let access = Access::open(Arc::clone(&store), keys.clone(), audit.clone(), clock.clone()).await?;
        Ok(Self { fleet, store, keys, audit, access, clock })
    }
}
