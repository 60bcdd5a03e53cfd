//! Owns the sampler, the outbox and the spool: one round a tick, nothing lost without a count.
//!
//! Knows the link only as channels: a session brings a sender for live samples and acknowledgements; between sessions
//! everything goes to the spool.

use std::time::Duration;

use campanile_common::connection::{LaneItem, Outbox, OutboxEffect};
use campanile_common::id::InstanceId;
use campanile_common::sample::{Gap, GapReason, Position, Sample};
use campanile_common::wire::v1::control::{Ack, Lane};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::sampler::Sampler;
use super::spool::Spool;
use crate::os::clock;

/// Items of one back-fill batch: ten minutes at one sample a second.
const BATCH_ITEMS: usize = 600;

/// What the link tells the metrics task.
#[derive(Debug)]
pub enum MetricsEvent {
    /// A session stands.
    Opened {
        /// Live samples go here.
        live: mpsc::Sender<Sample>,
        /// Up to where the aggregator has this run's samples, if it has any.
        durable: Option<u64>,
    },
    /// The session ended.
    Closed,
    /// Samples are durable at the aggregator.
    Acked(Ack),
    /// The session has room for late samples.
    NextBatch(oneshot::Sender<Vec<LaneItem>>),
    /// The aggregator wants another interval between samples.
    Interval(Duration),
}

/// The metrics task.
#[derive(Debug)]
pub struct MetricsTask {
    sampler: Sampler,
    spool: Spool,
    outbox: Outbox,
    instance: InstanceId,
    interval: Duration,
    /// Spreads the fleet's ticks over the interval, and keeps them away from full seconds.
    phase: Duration,
    live: Option<mpsc::Sender<Sample>>,
    events: mpsc::Receiver<MetricsEvent>,
    /// The spool's disk refused the last write; said once, not every second.
    is_spool_failing: bool,
}

impl MetricsTask {
    /// A task that has not begun to sample.
    pub fn new(
        sampler: Sampler,
        spool: Spool,
        instance: InstanceId,
        interval: Duration,
        phase: Duration,
        events: mpsc::Receiver<MetricsEvent>,
    ) -> Self {
        Self {
            sampler,
            spool,
            outbox: Outbox::default(),
            instance,
            interval,
            phase,
            live: None,
            events,
            is_spool_failing: false,
        }
    }

    /// Samples until cancelled; then everything unacknowledged is in the spool.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut started = Instant::now() + self.phase;
        let mut first_tick = 0;
        let mut next_tick = 0;
        loop {
            let ticks_since = u32::try_from(next_tick - first_tick).unwrap_or(u32::MAX);
            let due = started + self.interval * ticks_since;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                event = self.events.recv() => match event {
                    Some(MetricsEvent::Interval(interval)) if interval != self.interval => {
                        (started, first_tick) = (due, next_tick);
                        self.interval = interval;
                    }
                    Some(event) => self.handle(event),
                    None => break,
                },
                () = tokio::time::sleep_until(due) => {
                    // A stalled machine must not catch up in a burst: the ticks it missed are a gap.
                    let behind = due.elapsed().as_millis() / self.interval.as_millis().max(1);
                    let missed = u64::try_from(behind).unwrap_or(u64::MAX);
                    if missed > 0 {
                        self.missed(next_tick, next_tick + missed - 1);
                        next_tick += missed;
                    }
                    self.tick(next_tick);
                    next_tick += 1;
                }
            }
        }
        self.close_session();
        if let Err(error) = self.spool.flush() {
            tracing::warn!(%error, "spool not flushed; the loss shows as ticks between two runs");
        }
    }

    fn missed(&mut self, first: u64, last: u64) {
        tracing::warn!(ticks = last - first + 1, "sampling stalled");
        self.spool.note_gap(Gap { instance: self.instance, first, last, reason: GapReason::Stalled });
    }

    fn tick(&mut self, sequence: u64) {
        let sample = self.sampler.sample(sequence, clock::now());
        let effects = self.outbox.push(sample);
        self.carry_out(effects);
    }

    fn handle(&mut self, event: MetricsEvent) {
        match event {
            MetricsEvent::Opened { live, durable } => {
                self.live = Some(live);
                let instance = self.instance;
                self.spool.note_known(durable.map(|sequence| Position { instance, sequence }));
                self.outbox.opened();
            }
            MetricsEvent::Closed => self.close_session(),
            MetricsEvent::Acked(ack) => match ack.lane {
                Lane::Control => self.outbox.acked(&ack),
                Lane::Backfill => self.spool.release(),
                Lane::Outcome | Lane::Alert => {}
            },
            MetricsEvent::NextBatch(answer) => {
                let batch = self.spool.next_batch(BATCH_ITEMS).unwrap_or_else(|error| {
                    tracing::warn!(%error, "spool cannot be read");
                    Vec::new()
                });
                if answer.send(batch).is_err() {
                    self.spool.forget_batch();
                }
            }
            MetricsEvent::Interval(_) => {}
        }
    }

    fn close_session(&mut self) {
        self.live = None;
        self.spool.forget_batch();
        let effects = self.outbox.closed();
        self.carry_out(effects);
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
