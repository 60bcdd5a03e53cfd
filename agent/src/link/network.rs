//! What is remembered of networks: which transport won on each, and when QUIC is tried again on one where TCP did.
//! Pure; `memory` keeps it on disk.

use std::net::IpAddr;
use std::time::Duration;

use campanile_common::time::Timestamp;
use campanile_tunnel::{Hint, Transport};
use serde::{Deserialize, Serialize};

/// Format of [`Networks`] on disk.
const FORMAT: u16 = 1;
/// Networks that are remembered; the one that was used longest ago makes room. A laptop knows a dozen.
const NETWORKS_MAX: usize = 32;
/// The longest wait between two tries of QUIC.
pub(super) const RETRY_MAX: Duration = Duration::from_secs(600);
/// A session over QUIC that is lost sooner began well on a network that then lets nothing through.
const EARLY: Duration = Duration::from_secs(15);
/// A session over QUIC that held so long shows that the network lets it through.
const GOOD: Duration = Duration::from_secs(60);
/// So many early losses in a row are no accident.
const EARLY_LOSSES_MAX: u32 = 2;

/// Networks, the one used last first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Networks {
    format: u16,
    networks: Vec<Network>,
}

/// One network as seen from here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Network {
    /// Our own subnet, and whom we dial from there.
    pub network: String,
    /// What won there last.
    pub won: Winner,
    /// When.
    pub at: Timestamp,
}

/// What won.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Winner {
    /// QUIC over UDP.
    Quic,
    /// TCP.
    Tcp,
}

impl Default for Networks {
    fn default() -> Self {
        Self { format: FORMAT, networks: Vec::new() }
    }
}

/// The network that leads from `local` to `address`: a subnet, since addresses in it change. A machine that moves comes
/// back to what it knew.
pub(super) fn network(local: Option<IpAddr>, address: &str) -> String {
    match local {
        Some(IpAddr::V4(ip)) => {
            let [a, b, c, _] = ip.octets();
            format!("{a}.{b}.{c}.0/24 to {address}")
        }
        Some(IpAddr::V6(ip)) => {
            let [a, b, c, d, ..] = ip.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64 to {address}")
        }
        None => format!("anywhere to {address}"),
    }
}

impl Networks {
    /// What [`Self::to_text`] wrote; none when it is damaged, which costs a head start once.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let known: Self = serde_json::from_slice(text).ok()?;
        (known.format == FORMAT && known.networks.len() <= NETWORKS_MAX).then_some(known)
    }

    /// As it is written.
    pub(super) fn to_text(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("networks have no odd keys")
    }

    /// How to begin on a network.
    pub(super) fn hint(&self, network: &str) -> Hint {
        match self.networks.iter().find(|known| known.network == network).map(|known| known.won) {
            Some(Winner::Tcp) => Hint::TcpWon,
            Some(Winner::Quic) | None => Hint::Unknown,
        }
    }

    /// The network that was used last.
    pub(super) fn newest(&self) -> Option<&Network> {
        self.networks.first()
    }

    /// Notes what won; true when that is news.
    pub(super) fn note(&mut self, network: &str, transport: Transport, now: Timestamp) -> bool {
        let won = if transport.is_tcp() { Winner::Tcp } else { Winner::Quic };
        if self.newest().is_some_and(|newest| newest.network == network && newest.won == won) {
            return false;
        }
        self.networks.retain(|known| known.network != network);
        self.networks.insert(0, Network { network: network.to_owned(), won, at: now });
        self.networks.truncate(NETWORKS_MAX);
        true
    }
}

/// When QUIC is tried again, and whether it is trusted.
#[derive(Debug, Clone)]
pub(super) struct Climb {
    first: Duration,
    tries: u32,
    early_losses: u32,
}

impl Climb {
    /// The first try comes after `first`, each one twice as long after the one before, up to [`RETRY_MAX`].
    pub(super) const fn new(first: Duration) -> Self {
        Self { first, tries: 0, early_losses: 0 }
    }

    /// How long until the next try: the last quarter of it is drawn by `random`, any 64 bits, so that a fleet behind one
    /// firewall does not try at one moment.
    #[must_use]
    pub(super) fn next_wait(&mut self, random: u64) -> Duration {
        let most = RETRY_MAX.max(self.first);
        let wait = self.first.saturating_mul(1 << self.tries.min(16)).min(most);
        self.tries = self.tries.saturating_add(1);
        let quarter = wait / 4;
        let span = u64::try_from(quarter.as_millis()).unwrap_or(u64::MAX).max(1);
        wait - quarter + Duration::from_millis(random % span)
    }

    /// A session over QUIC ended after `held`; `is_lost` when the network took it.
    pub(super) fn quic_ended(&mut self, held: Duration, is_lost: bool) {
        if held >= GOOD {
            (self.tries, self.early_losses) = (0, 0);
        } else if is_lost && held < EARLY {
            self.early_losses = self.early_losses.saturating_add(1);
        }
    }

    /// Sessions over QUIC begin and then break off.
    pub(super) const fn breaks(&self) -> bool {
        self.early_losses >= EARLY_LOSSES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    #[test]
    fn a_network_is_the_subnet_and_whom_we_dial_from_there() {
        let of = |local: &str| network(Some(local.parse().unwrap()), "hub:7443");
        assert_eq!(of("192.0.2.17"), "192.0.2.0/24 to hub:7443");
        assert_eq!(of("192.0.2.99"), of("192.0.2.17"));
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64 to hub:7443");
        assert_ne!(of("192.0.3.17"), of("192.0.2.17"));
        assert_eq!(network(None, "hub:7443"), "anywhere to hub:7443");
    }

    #[test]
    fn what_won_last_on_a_network_is_known_after_a_restart() {
        let mut networks = Networks::default();
        assert_eq!(networks.hint("a"), Hint::Unknown);
        assert!(networks.note("a", Transport::TcpViaProxy, NOW));
        assert!(!networks.note("a", Transport::Tcp, NOW), "no news");
        assert!(networks.note("b", Transport::Quic, NOW));
        let read = Networks::parse(&networks.to_text()).unwrap();
        assert_eq!(read, networks);
        assert_eq!((read.hint("a"), read.hint("b")), (Hint::TcpWon, Hint::Unknown));
        networks.note("a", Transport::Quic, NOW);
        assert_eq!(networks.hint("a"), Hint::Unknown);
        assert_eq!(networks.newest().unwrap().network, "a");
    }

    #[test]
    fn the_network_used_longest_ago_makes_room() {
        let mut networks = Networks::default();
        for number in 0..=NETWORKS_MAX {
            networks.note(&number.to_string(), Transport::Tcp, NOW);
        }
        assert_eq!(networks.hint("0"), Hint::Unknown);
        assert_eq!(networks.hint("1"), Hint::TcpWon);
    }

    #[test]
    fn damaged_text_is_nothing_known() {
        for text in
            [&b""[..], b"{", b"{\"format\":2,\"networks\":[]}", b"{\"format\":1,\"networks\":[],\"x\":1}"]
        {
            assert_eq!(Networks::parse(text), None);
        }
    }

    proptest! {
        #[test]
        fn tries_of_quic_become_rarer_and_never_stop(randoms in proptest::collection::vec(any::<u64>(), 1..40)) {
            let mut climb = Climb::new(Duration::from_secs(30));
            for random in randoms {
                let wait = climb.next_wait(random);
                prop_assert!(wait >= Duration::from_millis(22_500) && wait <= RETRY_MAX);
            }
        }
    }

    #[test]
    fn two_sessions_that_break_off_at_once_are_enough_and_a_good_one_forgives() {
        let mut climb = Climb::new(Duration::from_secs(30));
        climb.quic_ended(Duration::from_secs(2), true);
        assert!(!climb.breaks(), "the aggregator may have been killed");
        climb.quic_ended(Duration::from_secs(20), true);
        climb.quic_ended(Duration::from_secs(2), false);
        assert!(!climb.breaks());
        climb.quic_ended(Duration::from_secs(2), true);
        assert!(climb.breaks());
        climb.quic_ended(GOOD, true);
        assert!(!climb.breaks());
    }
}
