//! Dials the aggregator, again and again.

use std::time::Duration;

use campanile_common::backoff::Backoff;
use campanile_common::connection::End;
use campanile_common::wire::hello::RefusalCode;
use campanile_common::wire::v1::control::GoodbyeReason;
use campanile_tunnel::{Dialed, Target};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::driver::{self, SessionEnd};
use super::route::{Roads, Route};
use super::{LinkChannels, LinkCommand, LinkIdentity, LinkSettings, endpoint};
use crate::os::random;

/// Wait after a refusal that only a person can lift: a re-enrolment or a roster change is noticed within this.
const REFUSED_WAIT: Duration = Duration::from_secs(60);
/// Long enough for the last packets on any network, short enough for systemd.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest wait after a connection that was lost rather than refused, so that a fleet is back soon after its
/// aggregator restarted and still does not come all at once.
const LOST_WAIT: Duration = Duration::from_millis(250);

/// Holds the link until cancelled.
pub async fn run(settings: LinkSettings, mut channels: LinkChannels, stop: CancellationToken) {
    let mut backoff = Backoff::default();
    let mut roads = Roads::new(settings.ways.clone());
    // A connection that waits for its session, with when it was dialled.
    let mut waiting: Option<(Dialed, Instant)> = None;
    let mut next_address = 0;
    while !stop.is_cancelled() {
        let identity = channels.identity.borrow_and_update().clone();
        let address = identity.addresses[next_address % identity.addresses.len().max(1)].clone();
        let (mut dialled, target) = (Instant::now(), endpoint::target(&identity, &address));
        let connected = match waiting.take() {
            Some((dialed, since)) => {
                dialled = since;
                Ok(dialed)
            }
            None => tokio::select! {
                connected = channels.pulse.during(roads.dial(&target)) => connected,
                () = stop.cancelled() => break,
            },
        };
        let end = match connected {
            Ok(dialed) => {
                tracing::debug!(%address, transport = %dialed.transport, reason = dialed.reason, "connected");
                let (begun, transport) = (Instant::now(), dialed.transport);
                let of = (&settings, &identity, &target);
                let (end, found) = session(of, (dialed, dialled), &mut roads, &mut channels, &stop).await;
                roads.ended(transport, begun.elapsed(), matches!(end, SessionEnd::Lost(_)));
                waiting = found.filter(|_| may_move(&end, &channels));
                end
            }
            Err(error) => SessionEnd::Unreachable(error.to_string()),
        };
        backoff.session_ended(dialled.elapsed());
        if matches!(end, SessionEnd::Unreachable(_)) {
            next_address += 1;
        }
        if matches!(end, SessionEnd::Ended(End::Goodbye { reason: GoodbyeReason::Proving, .. })) {
            roads.forget();
        }
        let wait = wait_after(&end, &mut backoff);
        tracing::info!(%address, end = %end, wait_ms = u64::try_from(wait.as_millis()).unwrap_or(0), "link down");
        pause(wait, &mut channels, &stop).await;
    }
    roads.close(b"stopping", CLOSE_TIMEOUT).await;
}

/// One session. Where it runs over TCP, QUIC is tried beside it: when that works the session ends in order, and the
/// connection is given for the next.
async fn session(
    (settings, identity, target): (&LinkSettings, &LinkIdentity, &Target),
    (dialed, dialled): (Dialed, Instant),
    roads: &mut Roads,
    channels: &mut LinkChannels,
    stop: &CancellationToken,
) -> (SessionEnd, Option<(Dialed, Instant)>) {
    let Dialed { connection, transport, reason } = dialed;
    let (route, news, moved) = Route::new(transport, reason.clone());
    let climbing = roads.climb(target, transport, reason, &news);
    let session = driver::session(&connection, settings, identity, (dialled, route), channels, stop);
    tokio::pin!(session, climbing);
    let mut found = None;
    loop {
        tokio::select! {
            end = &mut session => return (end, found),
            better = &mut climbing, if found.is_none() => {
                found = Some(better);
                moved.cancel();
            }
        }
    }
}

/// Whether a connection that was dialled beside a session may carry the next: not where a new key or a new proof is
/// asked for, which want a connection that is younger.
fn may_move(end: &SessionEnd, channels: &LinkChannels) -> bool {
    let is_proof = matches!(end, SessionEnd::Ended(End::Goodbye { reason: GoodbyeReason::Proving, .. }));
    !is_proof && !channels.identity.has_changed().unwrap_or(true)
}

/// How long to wait before dialling again.
fn wait_after(end: &SessionEnd, backoff: &mut Backoff) -> Duration {
    match end {
        SessionEnd::Lost(_) => Duration::from_millis(random::number() % 250).min(LOST_WAIT),
        SessionEnd::Unreachable(_) => backoff.next_wait(random::number()),
        SessionEnd::Ended(end) => match end {
            End::Goodbye {
                reason: GoodbyeReason::Renewed | GoodbyeReason::Proving | GoodbyeReason::Stopping,
                ..
            } => Duration::ZERO,
            End::Goodbye { return_after, .. } if !return_after.is_zero() => *return_after,
            End::Refused(refusal) => match refusal.code {
                code if code.is_retryable() => backoff.next_wait(random::number()),
                RefusalCode::CertificateExpired => backoff.next_wait(random::number()),
                _ => REFUSED_WAIT / 2 + Duration::from_millis(random::number() % 30_000),
            },
            End::Goodbye { .. } | End::Protocol(_) | End::OpeningTimeout => {
                backoff.next_wait(random::number())
            }
        },
    }
}

/// Waits, and refuses what is asked of a link that is down.
async fn pause(wait: Duration, channels: &mut LinkChannels, stop: &CancellationToken) {
    let until = Instant::now() + wait;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(until) => return,
            () = channels.pulse.next() => {}
            () = stop.cancelled() => return,
            // A new identity, or the end of the agent: neither waits.
            _ = channels.identity.changed() => return,
            command = channels.commands.recv() => match command {
                // Asked again when a session stands.
                Some(
                    LinkCommand::Renew(_)
                    | LinkCommand::Config(_)
                    | LinkCommand::Proof(_)
                    | LinkCommand::Goodbye(_),
                ) => {}
                None => return,
            },
        }
    }
}
