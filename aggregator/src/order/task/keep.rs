//! Lets go of orders: from memory when nothing more is to be heard of them, from the store when they are old.

use std::time::Duration;

use campanile_common::authority::RunId;
use campanile_common::time::Timestamp;

use super::{KEEP_STEP, KEEP_STEP_BUSY, LISTENING_MAX, OrderTask};
use crate::order::plan::Moment;
use crate::order::record::{order_key, state_key, targets_prefix};
use crate::state::{Range, StateError, TRANSACTION_OPERATIONS_MAX, Transaction, Write};

/// Orders that are over are kept so long.
const KEEP: Duration = Duration::from_secs(30 * 86_400);
/// And so many at most.
const KEEP_MAX: usize = 10_000;

impl OrderTask {
    /// Takes orders out of memory of which nothing more is to be heard; past a number of those that only listen, the
    /// oldest listens no more.
    pub(super) fn close_done(&mut self) {
        let listening: Vec<RunId> =
            self.live.iter().filter(|(_, live)| live.course.is_listening()).map(|(run, _)| *run).collect();
        if listening.len() > LISTENING_MAX {
            let mut by_age: Vec<(Timestamp, RunId)> =
                listening.iter().map(|run| (self.live[run].record.submitted_at, *run)).collect();
            by_age.sort();
            for (_, run) in by_age.iter().take(listening.len() - LISTENING_MAX) {
                if let Some(live) = self.live.get_mut(run) {
                    live.course.stop_listening();
                    self.touched.insert(*run);
                }
            }
        }
        let is_done = |run: &RunId| {
            self.live[run].stored.as_ref().is_some_and(|stored| !stored.is_open)
                && !self.batch.states.contains_key(run)
        };
        let done: Vec<RunId> = self.live.keys().copied().filter(is_done).collect();
        done.into_iter().for_each(|run| self.forget_live(run));
    }

    /// Deletes a part of the oldest order that is no longer kept, if there is one and it is time to look.
    pub(super) async fn keep(&mut self, now: Moment) {
        if now.up < self.keep_at {
            return;
        }
        self.keep_at = now.up + KEEP_STEP;
        let (count, oldest) = self.board.oldest();
        let is_old = oldest.is_some_and(|(submitted, _)| now.wall.since(submitted) > KEEP);
        if !is_old && count <= KEEP_MAX {
            return;
        }
        let found = self.board.find_oldest(|run| !self.live.contains_key(&run));
        let Some((submitted, run)) = found else { return };
        let is_due = count > KEEP_MAX || now.wall.since(submitted) > KEEP;
        if !is_due {
            return;
        }
        match self.delete_part(run, submitted).await {
            Ok(()) => self.keep_at = now.up + KEEP_STEP_BUSY,
            Err(error) => tracing::warn!(order = %run, %error, "an old order cannot be deleted; tried again"),
        }
    }

    async fn delete_part(&self, run: RunId, submitted: Timestamp) -> Result<(), StateError> {
        let prefix = targets_prefix(&self.parts.keys, run);
        let limit = TRANSACTION_OPERATIONS_MAX - 2;
        let range = Range { prefix, after: None, limit, descending: false };
        let targets = self.parts.store.range(range).await?;
        let is_last = targets.len() < limit;
        let mut writes: Vec<Write> =
            targets.into_iter().map(|entry| Write::Delete { key: entry.key }).collect();
        if is_last {
            let keys = [order_key(&self.parts.keys, run), state_key(&self.parts.keys, run)];
            writes.extend(keys.map(|key| Write::Delete { key }));
            let outputs = self.parts.outputs.clone();
            // Files first: without their order they would be found by nobody but the next start.
            let removed = tokio::task::spawn_blocking(move || outputs.remove(run, submitted)).await;
            removed.map_err(|error| StateError::Unavailable { detail: error.to_string() })?;
        }
        let _done = self.parts.store.commit(Transaction { compares: Vec::new(), writes }).await?;
        if is_last {
            self.board.forget(run);
        }
        Ok(())
    }
}
