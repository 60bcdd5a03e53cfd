//! Dials the aggregator, again and again.

use std::time::Duration;

use campanile_common::backoff::Backoff;
use campanile_common::connection::End;
use campanile_common::wire::hello::RefusalCode;
use campanile_common::wire::v1::control::GoodbyeReason;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::driver::{self, SessionEnd};
use super::endpoint::{self, Dialing};
use super::{LinkChannels, LinkCommand, LinkSettings};
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
    let mut dialing = Dialing::default();
    let mut next_address = 0;
    while !stop.is_cancelled() {
        let identity = channels.identity.borrow_and_update().clone();
        let address = identity.addresses[next_address % identity.addresses.len().max(1)].clone();
        let (dialled, config) = (Instant::now(), endpoint::client_config(&identity.tls));
        let connected = tokio::select! {
            connected = channels.pulse.during(dialing.dial(&identity, &address, config)) => connected,
            () = stop.cancelled() => break,
        };
        let end = match connected {
            Ok(connection) => {
                tracing::debug!(%address, "connected");
                driver::session(&connection, &settings, &identity, dialled, &mut channels, &stop).await
            }
            Err(reason) => SessionEnd::Unreachable(reason),
        };
        backoff.session_ended(dialled.elapsed());
        if matches!(end, SessionEnd::Unreachable(_)) {
            next_address += 1;
        }
        if matches!(end, SessionEnd::Ended(End::Goodbye { reason: GoodbyeReason::Proving, .. })) {
            // A firewall that still lets through what it knows would prove nothing: from a new port.
            dialing.forget();
        }
        let wait = wait_after(&end, &mut backoff);
        tracing::info!(%address, end = %end, wait_ms = u64::try_from(wait.as_millis()).unwrap_or(0), "link down");
        pause(wait, &mut channels, &stop).await;
    }
    dialing.close(b"stopping", CLOSE_TIMEOUT).await;
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
