//! Whether a node is online, late or offline. Pure: monotonic time since events goes in, so that a wall clock that
//! jumps declares nobody dead.

use std::time::Duration;

use campanile_common::api::Liveness;

/// Times after which a silent node is late and offline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LivenessSettings {
    /// Time between two messages; the periods below count from the last one.
    pub interval: Duration,
    /// Silence that makes a node late.
    pub late: Duration,
    /// Silence that makes a node offline.
    pub offline: Duration,
    /// After the aggregator's start nobody is declared offline for so long.
    pub grace: Duration,
}

/// What is known of a node's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signs {
    /// None since the aggregator started, so long ago.
    NoneSinceStart(Duration),
    /// The last one so long ago.
    Last(Duration),
    /// The agent said goodbye.
    Goodbye,
}

/// The verdict.
pub(super) fn liveness(signs: Signs, settings: &LivenessSettings) -> Liveness {
    match signs {
        Signs::Goodbye => Liveness::Offline,
        Signs::NoneSinceStart(up) if up >= settings.grace => Liveness::Offline,
        Signs::NoneSinceStart(_) => Liveness::Late,
        Signs::Last(silence) if silence >= settings.offline => Liveness::Offline,
        Signs::Last(silence) if silence >= settings.late => Liveness::Late,
        Signs::Last(_) => Liveness::Online,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: LivenessSettings = LivenessSettings {
        interval: Duration::from_secs(1),
        late: Duration::from_secs(2),
        offline: Duration::from_secs(3),
        grace: Duration::from_secs(10),
    };

    #[test]
    fn silence_makes_a_node_late_then_offline() {
        for (silence_ms, expected) in [
            (0, Liveness::Online),
            (1999, Liveness::Online),
            (2000, Liveness::Late),
            (2999, Liveness::Late),
            (3000, Liveness::Offline),
        ] {
            assert_eq!(liveness(Signs::Last(Duration::from_millis(silence_ms)), &SETTINGS), expected);
        }
    }

    #[test]
    fn a_goodbye_is_seen_at_once() {
        assert_eq!(liveness(Signs::Goodbye, &SETTINGS), Liveness::Offline);
    }

    #[test]
    fn nobody_is_offline_before_the_grace_period_after_a_start() {
        let up = |seconds| Signs::NoneSinceStart(Duration::from_secs(seconds));
        assert_eq!(liveness(up(9), &SETTINGS), Liveness::Late);
        assert_eq!(liveness(up(10), &SETTINGS), Liveness::Offline);
    }
}
