//! One enrolment: a request, an answer, and the connection is over.

use std::time::Duration;

use campanile_common::wire::frame::{FRAME_BYTES_MAX, FrameDecoder};
use campanile_common::wire::hello::{Opening, Refusal, RefusalCode};
use campanile_common::wire::v1::enroll::{Enroll, Enrolled};

use super::Context;
use crate::node::NodeEvent;

/// Longest time for the whole exchange.
const ENROLL_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves one enrolment connection.
pub(super) async fn run(connection: quinn::Connection, context: &Context) {
    let remote = connection.remote_address();
    // Lanes are for agents: what comes on one is never read, and would only fill the window.
    connection.set_max_concurrent_uni_streams(0_u8.into());
    let Ok(_place) = context.enrolling.try_acquire() else {
        tracing::debug!(%remote, "too many enrolments at once");
        connection.close(4_u32.into(), b"too many enrolments at once; try again");
        return;
    };
    if tokio::time::timeout(ENROLL_TIMEOUT, exchange(&connection, context)).await.is_err() {
        tracing::debug!(%remote, "enrolment took too long");
    }
    connection.close(0_u32.into(), b"");
}

async fn exchange(connection: &quinn::Connection, context: &Context) -> Option<()> {
    let (mut send, mut receive) = connection.accept_bi().await.ok()?;
    let answer = match receive.read_to_end(FRAME_BYTES_MAX).await {
        Ok(bytes) => enroll(&bytes, context).await,
        Err(_) => Err(malformed("the request is not one frame")),
    };
    let bytes = match answer {
        Ok(enrolled) => enrolled.to_bytes().ok()?,
        Err(refusal) => {
            tracing::warn!(remote = %connection.remote_address(), code = refusal.code.as_str(),
                reason = refusal.reason, "enrolment refused");
            Opening::Refusal(refusal).to_bytes().ok()?
        }
    };
    send.write_all(&bytes).await.ok()?;
    send.finish().ok()?;
    // The peer closes when it has the answer; until then closing here would take it away.
    drop(send.stopped().await);
    Some(())
}

fn malformed(reason: &str) -> Refusal {
    Refusal { code: RefusalCode::Malformed, reason: reason.to_owned() }
}

async fn enroll(bytes: &[u8], context: &Context) -> Result<Enrolled, Refusal> {
    let Ok(_turn) = context.enrolments.try_acquire() else {
        let reason = "too many enrolments at once; try again".to_owned();
        return Err(Refusal { code: RefusalCode::Busy, reason });
    };
    if let Some(freeze) = context.freezer.details() {
        let reason = format!("the fleet is frozen: {}", freeze.reason.unwrap_or_default());
        return Err(Refusal { code: RefusalCode::Busy, reason });
    }
    let mut decoder = FrameDecoder::default();
    decoder.push(bytes);
    let frame = decoder
        .next()
        .map_err(|error| malformed(&error.to_string()))?
        .ok_or_else(|| malformed("the request ends inside a frame"))?;
    if !matches!(decoder.next(), Ok(None)) || decoder.finish().is_err() {
        return Err(malformed("something follows the request"));
    }
    let request = Enroll::from_frame(&frame).map_err(|error| malformed(&error.to_string()))?;
    let checked =
        context.ca.check_request(&request.request).map_err(|error| malformed(&error.to_string()))?;
    let now = context.clock.now();
    let expires = context.ca.expiry(now);
    let registry = context.nodes.registry();
    let (record, pin) =
        registry.enroll(&request.secret, checked.key_digest, expires, &request.name, &request.facts).await?;
    let unavailable = |reason: &str| Refusal { code: RefusalCode::Unavailable, reason: reason.to_owned() };
    let leaf = context
        .ca
        .issue_node(record.node_id, &checked, now)
        .map_err(|_| unavailable("the aggregator cannot sign certificates now"))?;
    let authority = context
        .authority
        .from_digest(pin)
        .ok_or_else(|| unavailable("the aggregator lacks the authority that the token pins"))?;
    tracing::info!(node = %record.node_id, name = record.name, "node enrolled");
    let (answer, _shown) = tokio::sync::oneshot::channel();
    context.nodes.tell(NodeEvent::Changed { node: record.node_id, kind: "node.enrolled", answer }).await;
    Ok(Enrolled {
        node: record.node_id,
        name: record.name,
        certificate: leaf.certificate,
        ca: context.ca.certificate().to_vec(),
        not_after: leaf.not_after,
        authority,
    })
}
