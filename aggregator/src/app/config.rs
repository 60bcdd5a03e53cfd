//! The configuration: opened from the state folder, and wired to the orders that apply it.

use std::sync::Arc;

use anyhow::Context as _;
use campanile_common::id::NodeId;
use campanile_common::wire::v1::config::ConfigReport;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::in_force;
use crate::audit::Audit;
use crate::config::{ApplyEnded, Config, ConfigParts, ConfigTask, ConfigTaskParts};
use crate::event::Events;
use crate::node::{Nodes, Sessions};
use crate::order::{Apply, Orders};
use crate::os::clock::Clock;
use crate::os::parts::Parts;
use crate::settings::Settings;
use crate::state::{Keys, Store};

/// Ends of orders that wait for the configuration's task.
const ENDED_MAX: usize = 16;

/// What was opened.
pub(super) struct Opened {
    pub(super) config: Config,
    reports: mpsc::Receiver<(NodeId, ConfigReport)>,
}

/// Its tasks, none running.
pub(super) struct Tasks {
    task: ConfigTask,
    applies: broadcast::Receiver<Apply>,
    ended: mpsc::Sender<ApplyEnded>,
}

/// Reads all of it from the state folder.
pub(super) async fn open(
    settings: &Settings,
    (store, keys): (&Store, &Keys),
    audit: &Audit,
    events: &Events,
    clock: &Clock,
    in_force: &in_force::Parts,
) -> anyhow::Result<Opened> {
    let folder = settings.state_dir.join("config").join("parts");
    let opened = tokio::task::spawn_blocking(move || Parts::open(&folder)).await?;
    let parts = opened.context("cannot use the parts of the configuration")?;
    let parts = ConfigParts {
        store: Arc::clone(store),
        keys: keys.clone(),
        parts,
        audit: audit.clone(),
        events: events.clone(),
        authority: in_force.authorities.subscribe(),
        is_frozen: in_force.freezer.subscribe(),
        policy: settings.config,
        clock: clock.clone(),
    };
    let (config, reports) = Config::open(parts).await.context("cannot read the configuration")?;
    Ok(Opened { config, reports })
}

impl Opened {
    /// Connects it to nodes and orders.
    pub(super) fn with(self, nodes: &Nodes, sessions: Sessions, orders: &Orders) -> Tasks {
        let (sender, ended) = mpsc::channel(ENDED_MAX);
        let applies = orders.subscribe_applies();
        let orders = orders.clone();
        let targets = Box::new(move || orders.apply_targets());
        let parts = ConfigTaskParts { nodes: nodes.clone(), sessions, targets, ended };
        Tasks { task: ConfigTask::new(self.config, self.reports, parts), applies, ended: sender }
    }
}

impl Tasks {
    /// Starts them.
    pub(super) fn spawn(self, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
        tasks.spawn(self.task.run(stop.clone()));
        tasks.spawn(pass_on(self.applies, self.ended, stop.clone()));
    }
}

async fn pass_on(
    mut applies: broadcast::Receiver<Apply>,
    ended: mpsc::Sender<ApplyEnded>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            apply = applies.recv() => match apply {
                Ok(Apply { generation, targets, applied, is_clean }) => {
                    drop(ended.send(ApplyEnded { generation, targets, applied, is_clean }).await);
                }
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "ends of orders missed: apply their generations again, else nobody follows them");
                }
                Err(broadcast::error::RecvError::Closed) => stop.cancelled().await,
            },
        }
    }
}
