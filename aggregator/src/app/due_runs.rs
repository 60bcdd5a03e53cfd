//! Orders and schedules: hands the due runs of schedules to the orders, and tells when they are over.

use std::time::Duration;

use campanile_common::api::{SignedText, TargetCounts};
use campanile_common::authority::RunId;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{config, in_force};
use crate::audit::Audit;
use crate::event::Events;
use crate::node::{Nodes, Sessions};
use crate::order::{OrderParts, OrderTask, OrderTaskParts, Orders, Outputs, ScheduledRun};
use crate::os::clock::Clock;
use crate::schedule::{DueRun, ScheduleTask};
use crate::state::{Keys, Store};

/// How soon a schedule hears that its run is over.
const LOOK_STEP: Duration = Duration::from_secs(1);

/// Due runs of schedules that wait to be dispatched; past it schedules wait.
const DUE_RUNS_MAX: usize = 16;
/// The tasks of orders and schedules, none running.
pub(super) struct Tasks {
    orders: OrderTask,
    schedules: ScheduleTask,
    dispatcher: Dispatcher,
    config: config::Tasks,
}

/// What dispatches orders.
pub(super) struct Work {
    pub(super) orders: Orders,
    pub(super) tasks: Tasks,
}

/// Reads the orders in progress and connects schedules to them.
pub(super) async fn open(
    (store, keys): (Store, Keys),
    (outputs, opened): (Outputs, config::Opened),
    audit: &Audit,
    (nodes, sessions): (&Nodes, Sessions),
    events: &Events,
    clock: &Clock,
    in_force: &in_force::Parts,
) -> anyhow::Result<Work> {
    let config_sessions = sessions.clone();
    let (registry, clock) = (nodes.registry().clone(), clock.clone());
    let parts =
        OrderParts { store, keys, registry, sessions, in_force: in_force.for_orders(), outputs, clock };
    let (audit, events, config_nodes, nodes) = (audit.clone(), events.clone(), nodes, nodes.clone());
    let (task, orders) = OrderTask::open(OrderTaskParts { parts, audit, nodes, events }).await?;
    let (sender, due) = mpsc::channel(DUE_RUNS_MAX);
    let schedules = ScheduleTask::new(in_force.schedules.clone(), in_force.freezer.subscribe(), sender);
    let dispatcher = Dispatcher { due, orders: orders.clone(), running: Vec::new() };
    let config = opened.with(config_nodes, config_sessions, &orders);
    Ok(Work { orders, tasks: Tasks { orders: task, schedules, dispatcher, config } })
}

impl Tasks {
    /// Starts them.
    pub(super) fn spawn(self, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
        tasks.spawn(self.orders.run(stop.clone()));
        tasks.spawn(self.schedules.run(stop.clone()));
        tasks.spawn(self.dispatcher.run(stop.clone()));
        self.config.spawn(tasks, stop);
    }
}

/// Stands between schedules and orders.
struct Dispatcher {
    due: mpsc::Receiver<DueRun>,
    orders: Orders,
    /// Runs that are not over; at most as many as orders may be in progress.
    running: Vec<(RunId, oneshot::Sender<TargetCounts>)>,
}

impl Dispatcher {
    /// Works until cancelled.
    async fn run(mut self, stop: CancellationToken) {
        let mut look = tokio::time::interval(LOOK_STEP);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(run) = self.due.recv() => self.submit(run).await,
                _ = look.tick() => self.look().await,
            }
        }
    }

    async fn submit(&mut self, run: DueRun) {
        let DueRun { name, grant, nodes, occurrence, dispatch, splay, by, over } = run;
        let asked = ScheduledRun {
            grant: SignedText::new(&grant.bytes, &grant.signatures),
            nodes,
            occurrence,
            dispatch,
            by,
            splay_seconds: u32::try_from(splay.as_secs()).unwrap_or(u32::MAX),
        };
        match self.orders.submit_run(asked).await {
            Ok(run) => self.running.push((run, over)),
            Err(error) => tracing::error!(schedule = name, %occurrence, %error, "a due run is not taken"),
        }
    }

    async fn look(&mut self) {
        for (run, over) in std::mem::take(&mut self.running) {
            if !self.orders.is_over(run) {
                self.running.push((run, over));
                continue;
            }
            let counts = match self.orders.live_counts(run) {
                Some(counts) => Ok(counts),
                // It was over for so long that it is only in the store.
                None => self.orders.show(run, None).await.map(|order| order.counts),
            };
            match counts {
                // A schedule that was removed does not listen.
                Ok(counts) => drop(over.send(counts)),
                Err(error) => tracing::warn!(%run, %error, "how a due run ended cannot be read"),
            }
        }
    }
}
