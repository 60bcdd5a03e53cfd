//! Log lines for handshakes that were refused: an operator needs to see why a node stays out, and a stranger must not
//! be able to fill the log.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lines in one period; further refusals are counted, and told with the next line.
const LINES_MAX: u32 = 20;
const PERIOD: Duration = Duration::from_secs(60);

/// Tells of refused handshakes, a few a minute.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Period>);

#[derive(Debug, Default)]
struct Period {
    began: Option<Instant>,
    lines: u32,
    untold: u64,
}

impl Refusals {
    /// Notes how a handshake ended: by our own verdict, or because the peer went away.
    pub(super) fn note(&self, remote: SocketAddr, error: &dyn std::error::Error, is_verdict: bool) {
        if !is_verdict {
            tracing::debug!(%remote, %error, "handshake failed");
            return;
        }
        if let Some(untold) = self.turn(Instant::now()) {
            tracing::warn!(%remote, %error, untold, "handshake refused");
        }
    }

    /// How many were not told since the last line; none when this one is not told either.
    fn turn(&self, now: Instant) -> Option<u64> {
        let mut period = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if period.began.is_none_or(|began| now.duration_since(began) >= PERIOD) {
            (period.began, period.lines) = (Some(now), 0);
        }
        if period.lines >= LINES_MAX {
            period.untold += 1;
            return None;
        }
        period.lines += 1;
        Some(std::mem::take(&mut period.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_counted_and_not_told() {
        let (refusals, began) = (Refusals::default(), Instant::now());
        let told = (0..1000).filter(|_| refusals.turn(began).is_some()).count();
        assert_eq!(told, 20);
        let later = began + PERIOD;
        assert_eq!(refusals.turn(later), Some(980));
        assert_eq!(refusals.turn(later), Some(0));
    }
}
