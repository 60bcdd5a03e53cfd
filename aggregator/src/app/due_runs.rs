//! Hands the due runs of schedules to the orders, and tells when they are over.

use std::time::Duration;

use campanile_common::api::{SignedText, TargetCounts};
use campanile_common::authority::RunId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::order::{Orders, ScheduledRun};
use crate::schedule::DueRun;

/// How soon a schedule hears that its run is over.
const LOOK_STEP: Duration = Duration::from_secs(1);

/// Stands between schedules and orders.
pub(super) struct Dispatcher {
    due: mpsc::Receiver<DueRun>,
    orders: Orders,
    /// Runs that are not over; at most as many as orders may be in progress.
    running: Vec<(RunId, oneshot::Sender<TargetCounts>)>,
}

impl Dispatcher {
    pub(super) const fn new(due: mpsc::Receiver<DueRun>, orders: Orders) -> Self {
        Self { due, orders, running: Vec::new() }
    }

    /// Works until cancelled.
    pub(super) async fn run(mut self, stop: CancellationToken) {
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
