//! Tells the service manager that this program is alive: all of its loops, or it hears nothing and starts it anew.
//!
//! `WatchdogSec=` of the unit says how long it waits (sd_notify(3)). Where no service manager waits, nothing is done and
//! nothing costs anything.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use campanile_common::pulse::{Beat, Pulses};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Reports in the time that the service manager waits: two may be late.
const REPORTS: u32 = 4;
/// How often a loop shows itself between two reports.
const BEATS: u32 = 2;

/// Looks at loops, and reports.
#[derive(Debug)]
pub struct Watchdog {
    /// Between two reports; none where nobody waits for them.
    interval: Option<Duration>,
    pulses: Pulses,
}

/// Shows that one loop goes round.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Option<(Duration, Beat)>);

impl Watchdog {
    /// As the unit says.
    pub fn from_unit() -> Self {
        let interval = sd_notify::watchdog_enabled().map(|within| within / REPORTS);
        Self { interval, pulses: Pulses::default() }
    }

    /// A loop that is watched from now on.
    pub fn pulse(&mut self, name: &'static str) -> Pulse {
        Pulse(self.interval.map(|interval| (interval / BEATS, self.pulses.add(name))))
    }

    /// Reports for as long as every loop goes round.
    pub async fn run(self, stop: CancellationToken) {
        let Some(interval) = self.interval else { return stop.cancelled().await };
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(interval) => {}
            }
            let stuck = self.pulses.turn();
            if stuck.is_empty() {
                drop(sd_notify::notify(&[sd_notify::NotifyState::Watchdog]));
            } else {
                tracing::error!(loops = stuck.join(", "), "a part stands still: the watchdog is not fed");
            }
        }
    }
}

impl Pulse {
    /// Beats, and ends when it is time to beat again: a branch of the loop's `select!`.
    pub async fn next(&self) {
        match &self.0 {
            Some((every, beat)) => {
                beat.beat();
                tokio::time::sleep(*every).await;
            }
            None => std::future::pending().await,
        }
    }

    /// Beats while something is waited for that ends by itself.
    pub async fn during<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                output = &mut work => return output,
                () = self.next() => {}
            }
        }
    }
}

/// For a program of one loop.
#[derive(Debug)]
pub struct LoopWatchdog {
    interval: Option<Duration>,
    fed: Instant,
}

impl LoopWatchdog {
    /// As the unit says.
    pub fn from_unit() -> Self {
        let interval = sd_notify::watchdog_enabled().map(|within| within / REPORTS);
        Self { interval, fed: Instant::now() }
    }

    /// The loop goes round: reports, where it is time to.
    pub fn feed(&mut self) {
        if self.interval.is_some_and(|interval| self.fed.elapsed() >= interval) {
            drop(sd_notify::notify(&[sd_notify::NotifyState::Watchdog]));
            self.fed = Instant::now();
        }
    }

    /// The longest that the loop may wait.
    pub fn left(&self) -> Option<Duration> {
        self.interval.map(|interval| interval.saturating_sub(self.fed.elapsed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loop_beats_when_it_begins_to_wait() {
        let mut watchdog = Watchdog { interval: Some(Duration::from_secs(3600)), pulses: Pulses::default() };
        let pulse = watchdog.pulse("waiting");
        for _ in 0..4 {
            tokio::select! {
                biased;
                () = pulse.next() => panic!("an hour has not passed"),
                () = tokio::task::yield_now() => {}
            }
            assert!(watchdog.pulses.turn().is_empty());
        }
        assert!(watchdog.pulses.turn().is_empty());
        assert_eq!(watchdog.pulses.turn(), ["waiting"]);
    }

    #[tokio::test]
    async fn where_nobody_waits_there_is_nothing_to_do() {
        let mut watchdog = Watchdog { interval: None, pulses: Pulses::default() };
        let pulse = watchdog.pulse("any");
        let next = tokio::time::timeout(Duration::from_millis(50), pulse.next()).await;
        assert!(next.is_err() && watchdog.pulses.turn().is_empty());
    }

    /// No runtime: the program of one loop has none.
    #[test]
    fn one_loop_waits_until_its_next_report_at_the_longest() {
        let left = |interval| LoopWatchdog { interval, fed: Instant::now() }.left();
        let hour = Duration::from_secs(3600);
        assert!(left(Some(hour)).is_some_and(|left| left <= hour && left > hour / 2));
        assert_eq!(left(Some(Duration::ZERO)), Some(Duration::ZERO), "it is time");
        assert_eq!(left(None), None, "nobody waits for a report");
    }
}
