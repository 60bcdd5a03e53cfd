//! The backup store and what it has to know of others: the policies of the configuration in force go to it, what is wrong
//! with a node's backups goes to the node's health.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use campanile_common::api::NodeState;
use campanile_common::authority::Authority;
use campanile_common::id::{Digest, NodeId};
use campanile_common::label::Labels;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::in_force;
use crate::audit::Audit;
use crate::backup::policies::{Known, backups_only};
use crate::backup::{BackupStore, BackupTask, Troubles};
use crate::config::Config;
use crate::event::{Event, Events};
use crate::node::{NodeEvent, Nodes};
use crate::os::clock::Clock;
use crate::settings::Settings;
use crate::state::{Keys, Store};

/// How often configuration and roster are looked at, whatever happened.
const LOOK_STEP: Duration = Duration::from_secs(60);
/// What may change the policies of a node.
const KINDS: [&str; 4] = ["config.generation", "node.enrolled", "node.changed", "node.retired"];

/// What was opened.
pub(super) struct Opened {
    pub(super) store: BackupStore,
    pub(super) tasks: Tasks,
}

/// Its tasks, none running.
pub(super) struct Tasks {
    task: BackupTask,
    follower: Follower,
}

/// Opens the store.
pub(super) async fn open(
    settings: &Settings,
    (store, keys): (&Store, &Keys),
    config: &Config,
    nodes: &Nodes,
    clock: &Clock,
    (events, audit): (&Events, &Audit),
    in_force: &in_force::Parts,
) -> anyhow::Result<Opened> {
    let (settings, stored) = (settings.backup.clone(), (store.clone(), keys.clone()));
    let store = BackupStore::open(settings, stored, clock.clone(), events.clone(), audit.clone()).await?;
    let follower = Follower {
        troubles: store.troubles(),
        store: store.clone(),
        config: config.clone(),
        nodes: nodes.clone(),
        events: events.clone(),
        seen: None,
        told: BTreeSet::new(),
        authority: in_force.authorities.subscribe(),
        passed: Instant::now(),
    };
    let task = BackupTask::new(store.clone());
    Ok(Opened { store, tasks: Tasks { task, follower } })
}

impl Tasks {
    /// Starts them.
    pub(super) fn spawn(self, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
        tasks.spawn(self.task.run(stop.clone()));
        tasks.spawn(self.follower.run(stop.clone()));
    }
}

/// An active node, as far as its policies depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    node: NodeId,
    name: String,
    labels: Labels,
}

/// Stands between configuration, store and nodes.
struct Follower {
    store: BackupStore,
    config: Config,
    nodes: Nodes,
    events: Events,
    troubles: watch::Receiver<Troubles>,
    /// What the store was told last.
    seen: Option<(Digest, Vec<Member>)>,
    /// Nodes that were told of something.
    told: BTreeSet<NodeId>,
    authority: watch::Receiver<Arc<Authority>>,
    /// Until when the store knows that time has passed.
    passed: Instant,
}

impl Follower {
    /// Works until cancelled.
    async fn run(mut self, stop: CancellationToken) {
        let mut events = self.events.subscribe(None).receiver;
        let mut look = tokio::time::interval(LOOK_STEP);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = look.tick() => {
                    self.turn().await;
                    self.pass().await;
                }
                event = events.recv() => if self.concerns(event, &mut events) { self.turn().await },
                Ok(()) = self.troubles.changed() => self.tell().await,
            }
        }
    }

    fn concerns(
        &self,
        event: Result<Event, broadcast::error::RecvError>,
        events: &mut broadcast::Receiver<Event>,
    ) -> bool {
        match event {
            Ok(event) => KINDS.contains(&event.kind),
            Err(_) => {
                *events = self.events.subscribe(None).receiver;
                true
            }
        }
    }

    /// Shows the store what the generation in force says, where that or the roster changed.
    async fn turn(&mut self) {
        let Some(head) = self.config.head() else { return };
        let roster = self.nodes.registry().all().into_iter().map(|held| held.record);
        let mut members: Vec<Member> = roster
            .filter(|record| record.state == NodeState::Active)
            .map(|record| Member { node: record.node_id, name: record.name, labels: record.labels })
            .collect();
        members.sort_by_key(|member| member.node);
        let is_known = |(digest, seen): &(Digest, Vec<Member>)| *digest == head.digest && *seen == members;
        if self.seen.as_ref().is_some_and(is_known) {
            return;
        }
        let (generation, layers) = match self.config.with_layers(head.digest, backups_only).await {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(number = head.number, %error,
                    "the backup policies of the generation in force cannot be read; those known before stay; \
                     `campanile config apply` uploads it again");
                return;
            }
        };
        let known: Vec<Known<'_>> = members
            .iter()
            .map(|member| Known { id: member.node, name: &member.name, labels: &member.labels })
            .collect();
        match self.store.turn(&generation, &layers, &known).await {
            Ok(()) => self.seen = Some((head.digest, members)),
            Err(error) => {
                tracing::warn!(%error, "what is known of backup policies cannot be stored; tried again");
            }
        }
    }

    /// Tells the store how long this program ran, by a clock that nobody sets: a lower floor waits for it.
    async fn pass(&mut self) {
        let now = Instant::now();
        let time = now.duration_since(std::mem::replace(&mut self.passed, now));
        let authority = Arc::clone(&self.authority.borrow());
        self.store.pass_floor(time, &authority).await;
    }

    /// Tells the nodes' health what is wrong, and what is no more.
    async fn tell(&mut self) {
        let troubles = self.troubles.borrow_and_update().clone();
        let bad: BTreeSet<NodeId> = troubles.keys().copied().collect();
        for node in self.told.difference(&bad) {
            self.nodes.tell(NodeEvent::Backups { node: *node, troubles: Vec::new() }).await;
        }
        self.told = bad;
        for (node, troubles) in troubles.iter() {
            self.nodes.tell(NodeEvent::Backups { node: *node, troubles: troubles.clone() }).await;
        }
    }
}
