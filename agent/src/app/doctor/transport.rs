//! What carries this node's link.

use super::check::{Check, ok, warn};
use crate::link::{Winner, newest_network};
use crate::settings::Settings;

/// What worked last, on the network that was used last.
pub(super) fn check(settings: &Settings) -> Option<Check> {
    let newest = newest_network(&settings.state_dir)?;
    Some(judge(newest.won, &newest.network, &newest.at.to_string()))
}

fn judge(won: Winner, network: &str, at: &str) -> Check {
    match won {
        Winner::Quic => ok("transport", format!("QUIC, since {at} ({network})")),
        Winner::Tcp => warn(
            "transport",
            format!("TCP, since {at}: QUIC had no answer ({network})"),
            "it works; open UDP to that port for quicker returns and less work, or set `transport = \"tcp\"` to stop trying",
        ),
    }
}

#[cfg(test)]
mod tests {
    use campanile_common::checkup::State;

    use super::*;

    #[test]
    fn a_network_without_udp_is_worth_a_word() {
        let quic = judge(Winner::Quic, "10.0.0.0/24 to hub:7443", "now");
        assert_eq!((quic.state, quic.advice), (State::Ok, None));
        let tcp = judge(Winner::Tcp, "10.0.0.0/24 to hub:7443", "now");
        assert_eq!(tcp.state, State::Warn);
        assert!(tcp.advice.unwrap().contains("open UDP"));
    }
}
