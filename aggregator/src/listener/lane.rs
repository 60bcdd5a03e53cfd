//! Reads one stream of samples.

use std::sync::Arc;
use std::time::Duration;

use campanile_common::connection::{LaneItem, LaneReader};
use campanile_common::id::NodeId;
use campanile_common::sample::{Schema, Series};
use campanile_common::wire::frame::{FRAME_BYTES_MAX, FrameDecoder};
use campanile_common::wire::v1::control::Lane;
use quinn::{Connection, RecvStream};

use super::Context;
use crate::node::{LinkStats, NodeEvent};
use crate::series::SessionKey;

/// A stream that was opened says so soon what it carries.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// New schemas are taken in at this rate, in bytes a second. A schema is large beside a sample, and samples wait in
/// memory until they are durable: an agent that changes its schema with every sample must not fill it.
const SCHEMA_BYTES_PER_SECOND: u32 = 1024 * 1024;

/// Reads until the stream ends.
///
/// # Errors
/// When the agent breaks the protocol; the session ends over it.
pub(super) async fn read(
    mut stream: RecvStream,
    connection: Connection,
    context: Arc<Context>,
    node: NodeId,
    session: SessionKey,
) -> Result<(), String> {
    let mut decoder = FrameDecoder::default();
    let mut reader = LaneReader::default();
    let mut schema = Schema::default();
    loop {
        let next = stream.read_chunk(FRAME_BYTES_MAX, true);
        let chunk = if reader.lane().is_none() {
            let opened = tokio::time::timeout(OPEN_TIMEOUT, next).await;
            opened.map_err(|_| "a stream was opened and nothing sent on it".to_owned())?
        } else {
            next.await
        };
        // A connection that went away is the session's to notice.
        let Ok(chunk) = chunk else { return Ok(()) };
        let Some(chunk) = chunk else { return decoder.finish().map_err(|error| error.to_string()) };
        decoder.push(&chunk.bytes);
        while let Some(frame) = decoder.next().map_err(|error| error.to_string())? {
            let item = reader.frame(&frame).map_err(|error| error_text(&error))?;
            let (Some(item), Some(lane)) = (item, reader.lane()) else { continue };
            if let (LaneItem::Sample(sample), Lane::Control) = (&item, lane) {
                let stats = stats(&connection);
                let sampled = sample.time;
                context.nodes.tell(NodeEvent::Heartbeat { node, session: session.0, sampled, stats }).await;
            }
            let pause = match &item {
                LaneItem::Sample(sample) if !Arc::ptr_eq(&sample.schema, &schema) => {
                    schema = Arc::clone(&sample.schema);
                    schema_pause(&schema)
                }
                LaneItem::Sample(_) | LaneItem::Gap(_) => Duration::ZERO,
            };
            context.ingest.item(session, node, lane, item).await;
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// Time that a new schema takes at the rate allowed.
fn schema_pause(schema: &Schema) -> Duration {
    let bytes: usize = schema.iter().map(Series::text_bytes).sum();
    Duration::from_secs(1) * u32::try_from(bytes).unwrap_or(u32::MAX) / SCHEMA_BYTES_PER_SECOND
}

fn error_text(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn stats(connection: &Connection) -> LinkStats {
    let stats = connection.stats();
    LinkStats {
        rtt_ms: stats.path.rtt.as_secs_f64() * 1000.0,
        sent_packets: stats.path.sent_packets,
        lost_packets: stats.path.lost_packets,
        received_bytes: stats.udp_rx.bytes,
        sent_bytes: stats.udp_tx.bytes,
    }
}
