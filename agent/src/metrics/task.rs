//! Owns the sampler and what becomes of samples: one round a tick, nothing lost without a count.
//!
//! Knows the link only as channels: a session brings a sender for live samples and acknowledgements; between sessions
//! everything goes to the spool.

use std::time::Duration;

use campanile_common::connection::LaneItem;
use campanile_common::id::InstanceId;
use campanile_common::sample::{Gap, GapReason, Position, Sample};
use campanile_common::wire::v1::control::Ack;
use campanile_daemon::watchdog::Pulse;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::custody::Custody;
use super::sampler::Sampler;
use super::spool::{Spool, SpoolLimits};
use crate::os::clock;

/// What the link tells the metrics task.
#[derive(Debug)]
pub enum MetricsEvent {
    /// A session stands.
    Opened {
        /// Live samples go here.
        live: mpsc::Sender<Sample>,
        /// Up to where the aggregator has this run's samples, if it has any.
        durable: Option<u64>,
        /// What carries it.
        transport: &'static str,
    },
    /// The session ended.
    Closed,
    /// Samples are durable at the aggregator.
    Acked(Ack),
    /// The session has room for late samples.
    NextBatch(oneshot::Sender<Vec<LaneItem>>),
    /// The aggregator wants another interval between samples.
    Interval(Duration),
    /// Settings changed.
    Settings(MetricsSettings),
    /// Why the settings as written are refused, or that they no longer are.
    SettingsError(Option<String>),
}

/// Settings that change while samples are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsSettings {
    /// Time between two samples until an aggregator says otherwise.
    pub interval: Duration,
    /// Of the spool.
    pub limits: SpoolLimits,
    /// Mount points that are not sampled.
    pub filesystem_exclude: Vec<String>,
}

/// The metrics task.
#[derive(Debug)]
pub struct MetricsTask {
    sampler: Sampler,
    custody: Custody,
    instance: InstanceId,
    interval: Duration,
    /// An aggregator said which interval it wants; the settings have no say any more.
    is_interval_told: bool,
    /// Spreads the fleet's ticks over the interval, and keeps them away from full seconds.
    phase: Duration,
    events: mpsc::Receiver<MetricsEvent>,
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
            custody: Custody::new(spool),
            instance,
            interval,
            is_interval_told: false,
            phase,
            events,
        }
    }

    /// Samples until cancelled; then everything unacknowledged is in the spool.
    pub async fn run(mut self, pulse: Pulse, stop: CancellationToken) {
        let mut started = Instant::now() + self.phase;
        let mut first_tick = 0;
        let mut next_tick = 0;
        loop {
            let ticks_since = u32::try_from(next_tick - first_tick).unwrap_or(u32::MAX);
            let due = started + self.interval * ticks_since;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = pulse.next() => {}
                event = self.events.recv() => match event {
                    Some(event) => {
                        let before = self.interval;
                        self.handle(event);
                        if self.interval != before {
                            (started, first_tick) = (due, next_tick);
                        }
                    }
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
        if let Err(error) = self.custody.flush() {
            tracing::warn!(%error, "spool not flushed; the loss shows as ticks between two runs");
        }
    }

    fn missed(&mut self, first: u64, last: u64) {
        tracing::warn!(ticks = last - first + 1, "sampling stalled");
        self.custody.missed(Gap { instance: self.instance, first, last, reason: GapReason::Stalled });
    }

    fn tick(&mut self, sequence: u64) {
        self.custody.take(self.sampler.sample(sequence, clock::now()));
    }

    fn handle(&mut self, event: MetricsEvent) {
        match event {
            MetricsEvent::Opened { live, durable, transport } => {
                self.sampler.set_transport(Some(transport));
                let instance = self.instance;
                self.custody.opened(live, durable.map(|sequence| Position { instance, sequence }));
            }
            MetricsEvent::Closed => {
                self.sampler.set_transport(None);
                self.custody.closed();
            }
            MetricsEvent::Acked(ack) => self.custody.acked(&ack),
            MetricsEvent::NextBatch(answer) => {
                if answer.send(self.custody.next_batch()).is_err() {
                    self.custody.forget_batch();
                }
            }
            MetricsEvent::Interval(interval) => (self.interval, self.is_interval_told) = (interval, true),
            MetricsEvent::Settings(settings) => {
                if !self.is_interval_told {
                    self.interval = settings.interval;
                }
                self.custody.set_limits(settings.limits);
                self.sampler.exclude_mounts(&settings.filesystem_exclude);
            }
            MetricsEvent::SettingsError(error) => self.sampler.set_settings_error(error),
        }
    }
}
