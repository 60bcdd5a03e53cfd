//! Waits for due times, and hands due runs over.

use std::sync::PoisonError;
use std::time::Duration;

use campanile_common::api::TargetCounts;
use campanile_common::time::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::plan::{self, Plan};
use super::{DueRun, Schedules};
use crate::state::StateError;

/// Longest sleep: the clock on the wall may be set, which no timer hears of.
const SLEEP_MAX: Duration = Duration::from_secs(20);
/// Shortest: due times are whole seconds, and a store that fails is not asked at full speed.
const SLEEP_MIN: Duration = Duration::from_millis(200);

/// A run that is over: of which schedule, due when, with which counts.
type Over = (String, Timestamp, Option<TargetCounts>);

/// Runs schedules.
#[derive(Debug)]
pub struct ScheduleTask {
    schedules: Schedules,
    frozen: watch::Receiver<bool>,
    runs: mpsc::Sender<DueRun>,
    /// Runs that are not over.
    running: JoinSet<Over>,
}

impl ScheduleTask {
    /// Hands due runs to `runs`; full means that dispatch is behind, and this waits.
    pub fn new(schedules: Schedules, frozen: watch::Receiver<bool>, runs: mpsc::Sender<DueRun>) -> Self {
        Self { schedules, frozen, runs, running: JoinSet::new() }
    }

    /// Works until cancelled. A run that was begun is on disk, with whoever dispatches it.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let sleep = self.look().await;
            let schedules = self.schedules.clone();
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(sleep) => {}
                () = schedules.shared.changed.notified() => {}
                // A sender that is gone means that the aggregator stops.
                Ok(()) = self.frozen.changed() => {}
                Some(over) = self.running.join_next() => {
                    if let Ok(over) = over {
                        self.note_over(over).await;
                    }
                }
            }
        }
    }

    async fn note_over(&self, (name, due, counts): Over) {
        if let Err(error) = self.schedules.note_over(&name, due, counts).await {
            tracing::warn!(schedule = name, %due, %error, "how a run ended is not kept");
        }
    }

    /// Waits until one of the runs is over, and notes it.
    #[cfg(test)]
    pub(super) async fn wait_for_one(&mut self) {
        let over = self.running.join_next().await.expect("a run is under way");
        self.note_over(over.expect("the task neither panics nor is aborted")).await;
    }

    /// Does what is to be done now; tells how long nothing else is.
    pub(super) async fn look(&mut self) -> Duration {
        self.hand_over_asked().await;
        let names: Vec<String> = self.schedules.held().keys().cloned().collect();
        let mut sleep = SLEEP_MAX;
        for name in names {
            match self.look_at(&name).await {
                Ok(Some(until)) => sleep = sleep.min(until.since(self.schedules.shared.clock.now())),
                Ok(None) => {}
                Err(error) => {
                    // Not begun: nothing runs of which nothing is on disk.
                    tracing::error!(schedule = name, %error, "a due run cannot be noted, so it does not begin");
                }
            }
        }
        sleep.max(SLEEP_MIN)
    }

    /// Runs that people asked for; they are settled already.
    async fn hand_over_asked(&mut self) {
        let asked: Vec<_> = {
            let mut asked = self.schedules.shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.drain(..).collect()
        };
        for (name, due, by) in asked {
            self.hand_over(&name, due, by).await;
        }
    }

    async fn look_at(&mut self, name: &str) -> Result<Option<Timestamp>, StateError> {
        let decided = {
            let (now, is_frozen) = (self.schedules.shared.clock.now(), *self.frozen.borrow_and_update());
            let held = self.schedules.held();
            let Some(held) = held.get(name) else { return Ok(None) };
            plan::plan(&held.facts(now, is_frozen))
        };
        match decided {
            Plan::Wait { until } => Ok(Some(until)),
            Plan::Hold | Plan::Ended => Ok(None),
            Plan::LeaveOut { due, why } => {
                tracing::warn!(schedule = name, %due, why = why.as_str(), "a run is left out");
                if self.schedules.settle(name, due, false, None).await? {
                    let body = serde_json::json!({ "name": name, "due": due, "reason": why.as_str() });
                    self.schedules.shared.events.publish("schedule.left-out", None, &body);
                }
                Ok(None)
            }
            Plan::Run { due } => {
                if self.schedules.settle(name, due, true, None).await? {
                    self.hand_over(name, due, format!("schedule:{name}")).await;
                }
                Ok(None)
            }
        }
    }

    async fn hand_over(&mut self, name: &str, due: Timestamp, by: String) {
        let (over, counts) = oneshot::channel();
        let run = {
            let held = self.schedules.held();
            let Some(held) = held.get(name) else { return };
            DueRun {
                name: name.to_owned(),
                grant: held.grant.clone(),
                nodes: held.record.nodes.clone(),
                occurrence: due,
                dispatch: held.record.dispatch.clone(),
                splay: Duration::from_secs(held.record.splay_seconds.into()),
                by,
                over,
            }
        };
        tracing::info!(schedule = name, %due, "a run is due");
        // A closed channel means that the aggregator stops; the run is then one that nobody began.
        drop(self.runs.send(run).await);
        let name = name.to_owned();
        self.running.spawn(async move {
            let counts = counts.await.ok();
            (name, due, counts)
        });
    }
}
