//! Whether the aggregator is reached: its names, TCP, and a whole QUIC handshake over UDP where no session stands.

use std::net::SocketAddr;
use std::time::Duration;

use super::check::{Check, fail, ok, warn};
use crate::app::link_identity;
use crate::app::link_state::LinkState;
use crate::identity::Identity;
use crate::link::probe;

/// Longest wait for a name, and for a connection.
const DEADLINE: Duration = Duration::from_secs(4);

/// What came of each address, in order.
#[derive(Debug)]
struct Tried {
    address: String,
    result: Result<(), String>,
}

/// All checks. `state` is what a running agent says of its link.
pub(super) async fn check(identity: &Identity, state: Option<LinkState>) -> Vec<Check> {
    let (mut names, mut tcp, mut udp) = (Vec::new(), Vec::new(), Vec::new());
    let session = state.filter(|state| state.is_connected);
    let link = link_identity(identity);
    for address in &identity.addresses {
        let tried = |result| Tried { address: address.clone(), result };
        let resolved = resolve(address).await;
        let first = resolved.as_ref().ok().copied();
        names.push(tried(resolved.map(drop)));
        // Without an address there is nothing to connect to, and it was said why.
        let Some(first) = first else { continue };
        tcp.push(tried(connect(first).await));
        if session.is_none() {
            udp.push(tried(match &link {
                Ok(link) => probe::handshake(link, address).await,
                Err(error) => Err(error.to_string()),
            }));
        }
    }
    vec![
        judge_names(&names),
        judge_tcp(&tcp),
        judge_udp(&udp, session, tcp.iter().any(|tried| tried.result.is_ok())),
    ]
}

async fn resolve(address: &str) -> Result<SocketAddr, String> {
    match tokio::time::timeout(DEADLINE, tokio::net::lookup_host(address)).await {
        Ok(Ok(mut found)) => found.next().ok_or_else(|| "the name has no address".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer in {} s", DEADLINE.as_secs())),
    }
}

async fn connect(address: SocketAddr) -> Result<(), String> {
    match tokio::time::timeout(DEADLINE, tokio::net::TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer in {} s", DEADLINE.as_secs())),
    }
}

/// Those that failed, with why; and how many did not.
fn told(tried: &[Tried]) -> (String, usize) {
    let failed: Vec<String> = tried
        .iter()
        .filter_map(|tried| Some(format!("{}: {}", tried.address, tried.result.as_ref().err()?)))
        .collect();
    (failed.join("; "), tried.len() - failed.len())
}

fn judge_names(tried: &[Tried]) -> Check {
    let advice = "is the name right, and its server in /etc/resolv.conf? an entry in /etc/hosts does as well";
    match told(tried) {
        (failed, 0) => fail("dns", format!("no address of the aggregator: {failed}"), advice),
        (failed, _) if failed.is_empty() => ok("dns", "every name of the aggregator has an address"),
        (failed, _) => ok("dns", format!("enough names have an address; not {failed}")),
    }
}

fn judge_tcp(tried: &[Tried]) -> Check {
    match told(tried) {
        (_, 0) if tried.is_empty() => warn("tcp", "not tried without an address", "mend the names first"),
        (failed, 0) => warn(
            "tcp",
            failed,
            "packages and people need it: does the aggregator run, and does a firewall let TCP to its port through?",
        ),
        (_, count) => ok("tcp", format!("{count} of {} addresses answer", tried.len())),
    }
}

fn judge_udp(tried: &[Tried], session: Option<LinkState>, has_tcp: bool) -> Check {
    if let Some(session) = session {
        return ok("link", format!("the agent has a session since {}", session.since));
    }
    match told(tried) {
        (_, 0) if tried.is_empty() => fail("link", "not tried without an address", "mend the names first"),
        (failed, 0) if has_tcp => warn(
            "link",
            format!("no handshake over UDP: {failed}"),
            "TCP to the same port is answered and will do: a firewall on the way drops UDP; open it to and from that port",
        ),
        (failed, 0) => fail(
            "link",
            format!("no handshake over UDP: {failed}"),
            "does the aggregator run, and does a firewall let UDP to its port through?",
        ),
        (_, count) => ok("link", format!("handshake over UDP with {count} of {} addresses", tried.len())),
    }
}

#[cfg(test)]
mod tests {
    use campanile_common::checkup::State;
    use campanile_common::time::Timestamp;

    use super::*;

    fn tried(results: &[bool]) -> Vec<Tried> {
        let result = |is_good: &bool| if *is_good { Ok(()) } else { Err("no".to_owned()) };
        results.iter().map(|good| Tried { address: "a:1".to_owned(), result: result(good) }).collect()
    }

    #[test]
    fn one_address_that_works_is_enough() {
        let mixed = tried(&[false, true]);
        assert_eq!(judge_names(&mixed).state, State::Ok);
        assert_eq!(judge_tcp(&mixed).state, State::Ok);
        assert_eq!(judge_udp(&mixed, None, true).state, State::Ok);
    }

    #[test]
    fn udp_that_is_dropped_is_told_from_an_aggregator_that_is_away() {
        let none = tried(&[false]);
        assert_eq!(judge_names(&none).state, State::Fail);
        assert_eq!(judge_tcp(&none).state, State::Warn);
        let dropped = judge_udp(&none, None, true);
        assert!(dropped.state == State::Warn && dropped.advice.unwrap().contains("drops UDP"));
        let away = judge_udp(&none, None, false);
        assert!(away.advice.unwrap().contains("does the aggregator run"));
        assert_eq!(judge_udp(&[], None, false).state, State::Fail);
    }

    #[test]
    fn a_session_says_more_than_any_probe() {
        let session = LinkState { is_connected: true, since: Timestamp::from_millis(5) };
        assert_eq!(judge_udp(&[], Some(session), false).state, State::Ok);
    }
}
