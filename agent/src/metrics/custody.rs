//! Who holds a sample until the aggregator has it: the outbox while a session stands, else the spool.
//!
//! Has no clock, no sampler and no runtime, so that the simulation drives what the task drives.
//! Invariant: a sample that was taken is waiting in the outbox, in the spool, acknowledged, or declared as a gap.

use std::io;

use campanile_common::connection::{LaneItem, Outbox, OutboxEffect};
use campanile_common::sample::{Gap, Position, Sample};
use campanile_common::wire::v1::control::{Ack, Lane};
use tokio::sync::mpsc;

use super::spool::{Spool, SpoolLimits};

/// Items of one back-fill batch: ten minutes at one sample a second.
const BATCH_ITEMS: usize = 600;

/// Outbox and spool of one agent.
#[derive(Debug)]
pub struct Custody {
    outbox: Outbox,
    spool: Spool,
    live: Option<mpsc::Sender<Sample>>,
    /// The spool's disk refused the last write; said once, not every second.
    is_spool_failing: bool,
}

impl Custody {
    /// Begins without a session.
    pub fn new(spool: Spool) -> Self {
        Self { outbox: Outbox::default(), spool, live: None, is_spool_failing: false }
    }

    /// Keeps to other limits of the spool from the next write on.
    pub fn set_limits(&mut self, limits: SpoolLimits) {
        self.spool.set_limits(limits);
    }

    /// A new sample.
    pub fn take(&mut self, sample: Sample) {
        let effects = self.outbox.push(sample);
        self.carry_out(effects);
    }

    /// Ticks that nobody sampled.
    pub fn missed(&mut self, gap: Gap) {
        self.spool.note_gap(gap);
    }

    /// A session stands; live samples go to `live`, and a full channel is a stalled link. Samples up to `known` are at
    /// the aggregator already.
    pub fn opened(&mut self, live: mpsc::Sender<Sample>, known: Option<Position>) {
        self.live = Some(live);
        self.spool.note_known(known);
        self.outbox.opened();
    }

    /// The session ended: what was not acknowledged goes to the spool.
    pub fn closed(&mut self) {
        self.live = None;
        self.spool.forget_batch();
        let effects = self.outbox.closed();
        self.carry_out(effects);
    }

    /// Samples are durable at the aggregator.
    pub fn acked(&mut self, ack: &Ack) {
        match ack.lane {
            Lane::Control => self.outbox.acked(ack),
            Lane::Backfill => {
                self.spool.release(Position { instance: ack.instance, sequence: ack.sequence });
            }
            Lane::Outcome | Lane::Alert => {}
        }
    }

    /// The next late items to send; none while there are none or a batch is under way.
    pub fn next_batch(&mut self) -> Vec<LaneItem> {
        self.spool.next_batch(BATCH_ITEMS).unwrap_or_else(|error| {
            tracing::warn!(%error, "spool cannot be read");
            Vec::new()
        })
    }

    /// Nobody took the batch.
    pub fn forget_batch(&mut self) {
        self.spool.forget_batch();
    }

    /// The agent stops: everything unacknowledged goes to the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn flush(&mut self) -> io::Result<()> {
        self.closed();
        self.spool.flush()
    }

    /// Samples that only memory holds.
    pub const fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The spool.
    pub const fn spool(&self) -> &Spool {
        &self.spool
    }

    fn carry_out(&mut self, effects: Vec<OutboxEffect>) {
        for effect in effects {
            match effect {
                OutboxEffect::Send(sample) => {
                    let sent = self.live.as_ref().is_some_and(|live| live.try_send(sample).is_ok());
                    // A full channel is a stalled link: the sample will be back-filled.
                    if !sent && let Some(OutboxEffect::Spill(sample)) = self.outbox.take_back_newest() {
                        self.spill(&sample);
                    }
                }
                OutboxEffect::Spill(sample) => self.spill(&sample),
            }
        }
    }

    fn spill(&mut self, sample: &Sample) {
        match self.spool.append(sample) {
            Ok(()) => self.is_spool_failing = false,
            Err(error) if !self.is_spool_failing => {
                self.is_spool_failing = true;
                tracing::warn!(%error, "samples are lost and counted: the spool cannot be written");
            }
            Err(_) => {}
        }
    }
}
