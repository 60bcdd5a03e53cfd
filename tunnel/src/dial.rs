//! Dials by whichever way wins the race.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use quinn::{Connection, Endpoint};
use tokio::time::Instant;

use crate::client::{self, Target, over_tcp, over_udp, resolve};
use crate::race::{Race, TransportChoice, Way};
use crate::{Hint, Transport, Ways};

/// Longest time for one handshake of QUIC.
pub const QUIC_TIMEOUT: Duration = Duration::from_secs(5);
/// The same over TCP, with what a proxy takes.
pub const TCP_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that did not come about.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DialError {
    /// Nobody answers, or not in a way that is understood.
    #[error("{0}")]
    Unreachable(String),
    /// Whoever answers is vouched for by another CA.
    #[error("{0}")]
    ForeignCa(String),
}

/// A connection, and how it came about.
#[derive(Debug)]
pub struct Dialed {
    /// The connection.
    pub connection: Connection,
    /// What carries it.
    pub transport: Transport,
    /// Why it is not QUIC over UDP; empty where it is.
    pub reason: String,
}

/// Dials over UDP from one endpoint, which is made when it is needed and kept while the family of addresses stays.
#[derive(Debug, Default)]
pub struct Dialing {
    endpoint: Option<(Endpoint, bool)>,
}

impl Dialing {
    /// One race to `target`; what loses is closed.
    ///
    /// # Errors
    /// When no way that may be gone leads there.
    pub async fn dial(&mut self, target: &Target, ways: &Ways, hint: Hint) -> Result<Dialed, DialError> {
        let race = Race::new(ways.choice, hint);
        let tcp = async {
            let dialled = tokio::time::timeout(TCP_TIMEOUT, over_tcp(target, ways.proxy.as_ref())).await;
            dialled.unwrap_or_else(|_| Err(no_handshake(TCP_TIMEOUT)))
        };
        let over_tcp = if ways.proxy.is_some() { Transport::TcpViaProxy } else { Transport::Tcp };
        match run(race, self.quic(target), tcp).await {
            Ok((Way::Quic, connection, _, _)) => {
                Ok(Dialed { connection, transport: Transport::Quic, reason: String::new() })
            }
            Ok((Way::Tcp, connection, quic, elapsed)) => {
                let reason = match (ways.choice, quic) {
                    (TransportChoice::Tcp, _) => "the settings say tcp".to_owned(),
                    (_, Some(error)) => format!("QUIC: {error}"),
                    (_, None) if hint == Hint::QuicBreaks => "sessions over QUIC break off here".to_owned(),
                    (_, None) => format!("no QUIC handshake within {:.1} s", elapsed.as_secs_f64()),
                };
                Ok(Dialed { connection, transport: over_tcp, reason })
            }
            Err((quic, tcp)) => Err(both_failed(quic, tcp)),
        }
    }

    /// One handshake over UDP.
    ///
    /// # Errors
    /// When it fails, or nobody answers in time.
    pub async fn quic(&mut self, target: &Target) -> Result<Connection, DialError> {
        let remote = resolve(&target.address).await?;
        let is_reusable = self.endpoint.as_ref().is_some_and(|(_, is_ipv4)| *is_ipv4 == remote.is_ipv4());
        if !is_reusable {
            let bound = bind(remote)
                .map_err(|error| DialError::Unreachable(format!("cannot open a UDP socket: {error}")))?;
            self.endpoint = Some((bound, remote.is_ipv4()));
        }
        let (endpoint, _) = self.endpoint.as_ref().expect("just made");
        let dialled = tokio::time::timeout(QUIC_TIMEOUT, over_udp(endpoint, remote, target)).await;
        dialled.unwrap_or_else(|_| Err(no_handshake(QUIC_TIMEOUT)))
    }

    /// The next one is from a new port.
    pub fn forget(&mut self) {
        self.endpoint = None;
    }

    /// Says goodbye, and waits for `patience` at most until it is on its way.
    pub async fn close(&mut self, reason: &[u8], patience: Duration) {
        if let Some((endpoint, _)) = self.endpoint.take() {
            endpoint.close(0_u32.into(), reason);
            drop(tokio::time::timeout(patience, endpoint.wait_idle()).await);
        }
    }
}

/// This machine's address on the way to `address`, as the routes say; sends nothing.
pub async fn local_address(address: &str) -> Option<std::net::IpAddr> {
    let remote = client::resolve(address).await.ok()?;
    let local: SocketAddr = any(remote);
    let socket = tokio::net::UdpSocket::bind(local).await.ok()?;
    socket.connect(remote).await.ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Any address of the family of `remote`.
fn any(remote: SocketAddr) -> SocketAddr {
    let local = if remote.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    local.parse().expect("a constant address parses")
}

fn bind(remote: SocketAddr) -> io::Result<Endpoint> {
    Endpoint::client(any(remote))
}

fn no_handshake(within: Duration) -> DialError {
    DialError::Unreachable(format!("no handshake in {} s", within.as_secs()))
}

/// What to say of two failures. That another CA vouches there is what a person has to know, whichever way showed it.
fn both_failed(quic: Option<DialError>, tcp: Option<DialError>) -> DialError {
    match (quic, tcp) {
        (Some(foreign @ DialError::ForeignCa(_)), _) | (_, Some(foreign @ DialError::ForeignCa(_))) => {
            foreign
        }
        (Some(quic), Some(tcp)) => DialError::Unreachable(format!("QUIC: {quic}; TCP: {tcp}")),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => DialError::Unreachable("nothing was tried".to_owned()),
    }
}

/// Who won, with what, why QUIC failed if it did, and after how long.
type Won<C> = (Way, C, Option<DialError>, Duration);
/// Why either failed.
type Lost = (Option<DialError>, Option<DialError>);

/// Carries out a race.
async fn run<C>(
    mut race: Race,
    quic: impl Future<Output = Result<C, DialError>>,
    tcp: impl Future<Output = Result<C, DialError>>,
) -> Result<Won<C>, Lost> {
    let began = Instant::now();
    tokio::pin!(quic, tcp);
    let (mut quic_error, mut tcp_error) = (None, None);
    while !race.is_lost() {
        let elapsed = began.elapsed();
        let next = race.next_start(elapsed);
        tokio::select! {
            biased;
            done = &mut quic, if race.is_running(Way::Quic, elapsed) => match done {
                Ok(connection) => return Ok((Way::Quic, connection, None, began.elapsed())),
                Err(error) => {
                    race.failed(Way::Quic, began.elapsed());
                    quic_error = Some(error);
                }
            },
            done = &mut tcp, if race.is_running(Way::Tcp, elapsed) => match done {
                Ok(connection) => return Ok((Way::Tcp, connection, quic_error, began.elapsed())),
                Err(error) => {
                    race.failed(Way::Tcp, began.elapsed());
                    tcp_error = Some(error);
                }
            },
            () = tokio::time::sleep_until(began + next.unwrap_or_default()), if next.is_some() => {}
        }
    }
    Err((quic_error, tcp_error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::race::HEAD_START;

    type Done = Result<&'static str, DialError>;

    fn unreachable(text: &str) -> DialError {
        DialError::Unreachable(text.to_owned())
    }

    /// None never ends.
    async fn end(done: Option<Done>) -> Done {
        match done {
            Some(done) => done,
            None => std::future::pending().await,
        }
    }

    fn race(hint: Hint, quic: Option<Done>, tcp: Option<Done>) -> Result<Won<&'static str>, Lost> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(run(Race::new(TransportChoice::Auto, hint), end(quic), end(tcp)))
    }

    #[test]
    fn quic_wins_where_it_answers_within_its_head_start() {
        let (way, ..) = race(Hint::Unknown, Some(Ok("quic")), Some(Ok("tcp"))).unwrap();
        assert_eq!(way, Way::Quic);
    }

    #[test]
    fn tcp_wins_where_udp_is_dropped_and_not_before_the_head_start() {
        let (way, connection, error, elapsed) = race(Hint::Unknown, None, Some(Ok("tcp"))).unwrap();
        assert_eq!((way, connection), (Way::Tcp, "tcp"));
        assert!(error.is_none());
        assert!(elapsed >= HEAD_START, "{elapsed:?}");
    }

    #[test]
    fn tcp_does_not_wait_for_a_quic_that_failed_and_knows_why_it_did() {
        let (way, _, error, _) =
            race(Hint::Unknown, Some(Err(unreachable("no socket"))), Some(Ok("tcp"))).unwrap();
        assert_eq!((way, error.unwrap().to_string()), (Way::Tcp, "no socket".to_owned()));
    }

    #[test]
    fn quic_is_back_at_once_where_tcp_won_last() {
        let (way, ..) = race(Hint::TcpWon, None, Some(Ok("tcp"))).unwrap();
        assert_eq!(way, Way::Tcp);
        let (way, ..) = race(Hint::TcpWon, Some(Ok("quic")), None).unwrap();
        assert_eq!(way, Way::Quic);
    }

    #[test]
    fn two_failures_are_told_as_one_and_a_foreign_ca_before_all() {
        let (quic, tcp) =
            race(Hint::Unknown, Some(Err(unreachable("a"))), Some(Err(unreachable("b")))).unwrap_err();
        assert_eq!(both_failed(quic, tcp).to_string(), "QUIC: a; TCP: b");
        let foreign = DialError::ForeignCa("c".to_owned());
        assert!(matches!(both_failed(Some(unreachable("a")), Some(foreign)), DialError::ForeignCa(_)));
    }
}
