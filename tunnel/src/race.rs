//! Which way is tried when. Handshakes race: QUIC first, TCP beside it after a head start or at once where QUIC failed
//! (as RFC 8305 has it for address families). The first complete handshake wins. Knows no clock: times are arguments.

use std::time::Duration;

/// QUIC is alone for so long. More than most round trips, less than anyone waits for: it needs one round trip, TCP three,
/// so that TCP only wins where UDP is lost or held up.
pub const HEAD_START: Duration = Duration::from_millis(300);
/// TCP is alone for so long where sessions over QUIC began and then broke off: the handshake alone proves nothing there.
pub const SUSPECT_START: Duration = Duration::from_secs(3);

/// What the settings allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TransportChoice {
    /// Whatever works, QUIC first.
    #[default]
    Auto,
    /// QUIC over UDP alone.
    Quic,
    /// TCP alone.
    Tcp,
}

/// What is known of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hint {
    /// Nothing, or that QUIC works.
    #[default]
    Unknown,
    /// TCP won here last: neither waits for the other.
    TcpWon,
    /// QUIC shakes hands here, and its sessions break off at once.
    QuicBreaks,
}

/// One of the two that race.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// QUIC over UDP.
    Quic,
    /// QUIC's packets in TLS over TCP.
    Tcp,
}

/// A race under way: when each begins, none when it does not or has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Race {
    quic: Option<Duration>,
    tcp: Option<Duration>,
}

impl Race {
    /// A race that begins now.
    pub const fn new(choice: TransportChoice, hint: Hint) -> Self {
        let (quic, tcp) = match (choice, hint) {
            (TransportChoice::Quic, _) => (Some(Duration::ZERO), None),
            (TransportChoice::Tcp, _) => (None, Some(Duration::ZERO)),
            (TransportChoice::Auto, Hint::Unknown) => (Some(Duration::ZERO), Some(HEAD_START)),
            (TransportChoice::Auto, Hint::TcpWon) => (Some(Duration::ZERO), Some(Duration::ZERO)),
            (TransportChoice::Auto, Hint::QuicBreaks) => (Some(SUSPECT_START), Some(Duration::ZERO)),
        };
        Self { quic, tcp }
    }

    /// Whether this one runs, so long after the beginning.
    pub fn is_running(&self, way: Way, elapsed: Duration) -> bool {
        let start = match way {
            Way::Quic => self.quic,
            Way::Tcp => self.tcp,
        };
        start.is_some_and(|start| start <= elapsed)
    }

    /// When the next one begins.
    pub fn next_start(&self, elapsed: Duration) -> Option<Duration> {
        [self.quic, self.tcp].into_iter().flatten().filter(|start| *start > elapsed).min()
    }

    /// One is out of it: the other does not wait any longer.
    pub fn failed(&mut self, way: Way, elapsed: Duration) {
        let (out, other) = match way {
            Way::Quic => (&mut self.quic, &mut self.tcp),
            Way::Tcp => (&mut self.tcp, &mut self.quic),
        };
        *out = None;
        *other = other.map(|start| start.min(elapsed));
    }

    /// Nobody is left.
    pub const fn is_lost(&self) -> bool {
        self.quic.is_none() && self.tcp.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn running(race: &Race, elapsed: Duration) -> (bool, bool) {
        (race.is_running(Way::Quic, elapsed), race.is_running(Way::Tcp, elapsed))
    }

    #[test]
    fn quic_begins_and_tcp_follows_after_the_head_start() {
        let race = Race::new(TransportChoice::Auto, Hint::Unknown);
        assert_eq!(running(&race, NOW), (true, false));
        assert_eq!(race.next_start(NOW), Some(HEAD_START));
        assert_eq!(running(&race, HEAD_START), (true, true));
        assert_eq!(race.next_start(HEAD_START), None);
    }

    #[test]
    fn tcp_begins_at_once_where_quic_failed_or_tcp_won_last() {
        let mut race = Race::new(TransportChoice::Auto, Hint::Unknown);
        let early = Duration::from_millis(1);
        race.failed(Way::Quic, early);
        assert_eq!(running(&race, early), (false, true));
        assert_eq!(running(&Race::new(TransportChoice::Auto, Hint::TcpWon), NOW), (true, true));
    }

    #[test]
    fn quic_whose_sessions_break_off_is_tried_late() {
        let mut race = Race::new(TransportChoice::Auto, Hint::QuicBreaks);
        assert_eq!(running(&race, NOW), (false, true));
        race.failed(Way::Tcp, NOW);
        assert_eq!(running(&race, NOW), (true, false), "better than nothing");
    }

    #[test]
    fn what_the_settings_exclude_never_begins() {
        for hint in [Hint::Unknown, Hint::TcpWon, Hint::QuicBreaks] {
            let late = Duration::from_secs(3600);
            let mut quic = Race::new(TransportChoice::Quic, hint);
            assert_eq!(running(&quic, late), (true, false));
            let mut tcp = Race::new(TransportChoice::Tcp, hint);
            assert_eq!(running(&tcp, late), (false, true));
            quic.failed(Way::Quic, late);
            tcp.failed(Way::Tcp, late);
            assert!(quic.is_lost() && tcp.is_lost());
        }
    }

    #[test]
    fn a_race_is_lost_when_both_failed() {
        let mut race = Race::new(TransportChoice::Auto, Hint::Unknown);
        race.failed(Way::Quic, NOW);
        assert!(!race.is_lost());
        race.failed(Way::Tcp, NOW);
        assert!(race.is_lost());
    }
}
