//! Keeps what became of due times.

use campanile_common::api::TargetCounts;
use campanile_common::time::Timestamp;

use super::Schedules;
use super::record::ScheduleRecord;
use crate::audit;
use crate::state::{Committed, Compare, Revision, StateError, Transaction, Write, to_json};

impl Schedules {
    /// Settles due times up to `due`, by a run or without one. False when the schedule was changed meanwhile.
    pub(super) async fn settle(
        &self,
        name: &str,
        due: Timestamp,
        is_run: bool,
        entry: Option<audit::Record>,
    ) -> Result<bool, StateError> {
        let _turn = self.shared.turn.lock().await;
        let Some(held) = self.held().get(name).cloned() else { return Ok(false) };
        if due <= held.record.settled {
            return Ok(false);
        }
        let mut record = ScheduleRecord { settled: due, ..held.record };
        if is_run {
            record.last_run = Some(due);
            record.last_counts = None;
            record.runs = record.runs.saturating_add(1);
        }
        self.store(record, held.revision, u32::from(is_run), entry).await
    }

    /// Notes how a run ended.
    pub(super) async fn note_over(
        &self,
        name: &str,
        due: Timestamp,
        counts: Option<TargetCounts>,
    ) -> Result<(), StateError> {
        let _turn = self.shared.turn.lock().await;
        let Some(held) = self.held().get(name).cloned() else { return Ok(()) };
        if let Some(held) = self.held().get_mut(name) {
            held.running = held.running.saturating_sub(1);
        }
        // The counts of an earlier run that ended later are in its order.
        if held.record.last_run == Some(due) && counts.is_some() {
            let record = ScheduleRecord { last_counts: counts, ..held.record };
            self.store(record, held.revision, 0, None).await?;
        }
        Ok(())
    }

    async fn store(
        &self,
        record: ScheduleRecord,
        revision: Revision,
        began: u32,
        entry: Option<audit::Record>,
    ) -> Result<bool, StateError> {
        let key = self.key(&record.name);
        let compares = vec![Compare::At(key.clone(), revision)];
        let writes = vec![Write::put(key, to_json(&record))];
        let committed = match entry {
            Some(entry) => self.shared.audit.commit(compares, writes, entry).await?,
            None => self.shared.store.commit(Transaction { compares, writes }).await?,
        };
        let Committed::Done(revision) = committed else { return Ok(false) };
        if let Some(held) = self.held().get_mut(&record.name) {
            held.running += began;
            held.record = record;
            held.revision = revision;
        }
        Ok(true)
    }
}
