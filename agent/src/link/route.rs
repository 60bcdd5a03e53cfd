//! How a session's packets go, and the way back to QUIC where they go over TCP.

use std::time::Duration;

use campanile_common::connection::AgentEvent;
use campanile_common::wire::v1::control::{GoodbyeReason, TransportReport};
use campanile_tunnel::{DialError, Dialed, Dialing, Hint, Target, Transport, TransportChoice};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::LinkWays;
use super::memory::Memory;
use super::network::Climb;
use crate::os::{clock, random};

/// What carries one session, as the session sees it.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) transport: Transport,
    reason: watch::Receiver<String>,
    moved: CancellationToken,
    /// The aggregator wants to know.
    pub(super) is_told: bool,
}

impl Route {
    /// A route that does not change by itself; it changes with what is returned.
    pub(super) fn new(
        transport: Transport,
        reason: String,
    ) -> (Self, watch::Sender<String>, CancellationToken) {
        let (sender, reason) = watch::channel(reason);
        let moved = CancellationToken::new();
        (Self { transport, reason, moved: moved.clone(), is_told: false }, sender, moved)
    }

    /// What the aggregator is told of it; none where it is as it should be.
    pub(super) fn report(&mut self) -> Option<TransportReport> {
        let reason = self.reason.borrow_and_update().clone();
        let is_proxied = self.transport == Transport::TcpViaProxy;
        (self.is_told && (is_proxied || !reason.is_empty())).then_some(TransportReport { is_proxied, reason })
    }

    /// What comes of it: news for the aggregator, or the end of the session, since a better one waits.
    pub(super) async fn next(&mut self) -> AgentEvent {
        loop {
            tokio::select! {
                () = self.moved.cancelled() => return AgentEvent::Stop(GoodbyeReason::Renewed),
                Ok(()) = self.reason.changed() => if let Some(report) = self.report() {
                    return AgentEvent::Transport(report);
                },
            }
        }
    }
}

/// Finds ways, and remembers which worked.
#[derive(Debug)]
pub(super) struct Roads {
    ways: LinkWays,
    dialing: Dialing,
    memory: Memory,
    climb: Climb,
    network: String,
}

impl Roads {
    pub(super) fn new(ways: LinkWays) -> Self {
        let memory = Memory::open(ways.state_dir.as_deref());
        let climb = Climb::new(ways.quic_retry);
        Self { ways, dialing: Dialing::default(), memory, climb, network: String::new() }
    }

    /// One race to `target`.
    pub(super) async fn dial(&mut self, target: &Target) -> Result<Dialed, DialError> {
        let (network, remembered) = self.memory.network(&target.address).await;
        self.network = network;
        let hint = if self.climb.breaks() { Hint::QuicBreaks } else { remembered };
        let mut dialed = self.dialing.dial(target, &self.ways.ways, hint).await?;
        if self.ways.ways.choice == TransportChoice::Auto {
            self.memory.note(&self.network, dialed.transport, clock::now()).await;
            if dialed.transport.is_tcp() {
                dialed.reason = format!("{} at {}", dialed.reason, time_of_day(Duration::ZERO));
            }
        }
        Ok(dialed)
    }

    /// Tries QUIC again and again while a session runs over TCP; ends when it works, with when it was dialled.
    pub(super) async fn climb(
        &mut self,
        target: &Target,
        dialed: Transport,
        first: String,
        reason: &watch::Sender<String>,
    ) -> (Dialed, Instant) {
        if !dialed.is_tcp() || self.ways.ways.choice != TransportChoice::Auto {
            return std::future::pending().await;
        }
        let mut why = first;
        loop {
            let wait = self.climb.next_wait(random::number());
            reason.send_replace(format!("{why}; next try {}", time_of_day(wait)));
            tokio::time::sleep(wait).await;
            let dialled = Instant::now();
            match self.dialing.quic(target).await {
                Ok(connection) => {
                    self.memory.note(&self.network, Transport::Quic, clock::now()).await;
                    let reason = format!("QUIC works again since {}", time_of_day(Duration::ZERO));
                    return (Dialed { connection, transport: Transport::Quic, reason }, dialled);
                }
                Err(error) => why = format!("QUIC: {error} at {}", time_of_day(Duration::ZERO)),
            }
        }
    }

    /// A session ended after `held`; `is_lost` when the network took it.
    pub(super) fn ended(&mut self, transport: Transport, held: Duration, is_lost: bool) {
        if transport == Transport::Quic {
            self.climb.quic_ended(held, is_lost);
        }
    }

    /// A firewall that still lets through what it knows would prove nothing: the next dial is from a new port.
    pub(super) fn forget(&mut self) {
        self.dialing.forget();
    }

    /// Says goodbye.
    pub(super) async fn close(&mut self, reason: &[u8], patience: Duration) {
        self.dialing.close(reason, patience).await;
    }
}

/// `10:02 UTC`, so long from now.
fn time_of_day(wait: Duration) -> String {
    let text = (clock::now() + wait).to_string();
    format!("{} UTC", text.get(11..16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn news_are_told_to_an_aggregator_that_wants_them_and_a_move_ends_the_session() {
        let (mut route, reason, moved) = Route::new(Transport::Tcp, "no QUIC".to_owned());
        assert_eq!(route.report(), None, "not asked for");
        route.is_told = true;
        assert_eq!(route.report().unwrap().reason, "no QUIC");
        reason.send_replace("still none".to_owned());
        let AgentEvent::Transport(report) = route.next().await else { panic!("news") };
        assert_eq!(report, TransportReport { is_proxied: false, reason: "still none".to_owned() });
        moved.cancel();
        assert!(matches!(route.next().await, AgentEvent::Stop(GoodbyeReason::Renewed)));
    }

    #[test]
    fn quic_without_a_history_needs_no_word_and_a_proxy_always_does() {
        let (mut quic, ..) = Route::new(Transport::Quic, String::new());
        let (mut proxied, ..) = Route::new(Transport::TcpViaProxy, String::new());
        (quic.is_told, proxied.is_told) = (true, true);
        assert_eq!(quic.report(), None);
        assert!(proxied.report().unwrap().is_proxied);
    }
}
