//! Serves one node's store connection: a stream a request, a few at once.
//!
//! The node is the one that the certificate names, and its key is looked up in the roster for every request, so that a
//! retired node stores nothing more on a connection that it still has. What comes is in pieces, each with a deadline: a
//! node that does not send, or does not read, loses its stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use campanile_common::id::NodeId;
use campanile_common::wire::v1::store::STREAMS_MAX;
use quinn::{Connection, VarInt};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::peer::{Peer, peer};
use super::{Context, store_request};

/// Connections of one node: one that is in use, and one that takes its place.
const CONNECTIONS_MAX: u32 = 2;
/// What a node may have sent on all its streams before it is read.
const WINDOW: u32 = 128 * 1024 * STREAMS_MAX as u32;
/// How long requests in hand may take when the aggregator stops.
const DRAIN: Duration = Duration::from_millis(1500);

const CODE_STOPPING: VarInt = VarInt::from_u32(0);
const CODE_NO_NODE: VarInt = VarInt::from_u32(2);
const CODE_TOO_MANY: VarInt = VarInt::from_u32(4);
const CODE_NOT_IN_ROSTER: VarInt = VarInt::from_u32(5);
const CODE_RENEW: VarInt = VarInt::from_u32(6);

/// Store connections by node.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<HashMap<NodeId, u32>>);

/// The place of one connection.
struct Place<'a> {
    connections: &'a Connections,
    node: NodeId,
}

impl Connections {
    fn take(&self, node: NodeId) -> Option<Place<'_>> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(node).or_default();
        if *count == CONNECTIONS_MAX {
            return None;
        }
        *count += 1;
        Some(Place { connections: self, node })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut counts = self.connections.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.node) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.node);
            }
        }
    }
}

/// Serves one connection until it ends.
pub(super) async fn run(connection: Connection, context: Arc<Context>, stop: CancellationToken) {
    let remote = connection.remote_address();
    // Lanes are for sessions: what comes on one is never read.
    connection.set_max_concurrent_uni_streams(0_u8.into());
    connection.set_receive_window(WINDOW.into());
    let Some(peer) = peer(&connection, &context) else {
        tracing::warn!(%remote, "store connection without a node's certificate");
        connection.close(CODE_NO_NODE, b"a node's certificate is needed");
        return;
    };
    let node = peer.node;
    if peer.must_renew {
        connection.close(CODE_RENEW, b"the certificate has expired: renew it over the link");
        return;
    }
    if !is_admitted(&context, &peer).await {
        tracing::warn!(%node, %remote, "store connection of a node that is not in the roster");
        connection.close(CODE_NOT_IN_ROSTER, b"this node is not in the roster");
        return;
    }
    let Some(_place) = context.store_connections.take(node) else {
        connection.close(CODE_TOO_MANY, b"this node has enough store connections");
        return;
    };
    connection.set_max_concurrent_bi_streams(STREAMS_MAX.into());
    tracing::debug!(%node, %remote, "store connection");
    serve(&connection, &context, peer, &stop).await;
    connection.close(CODE_STOPPING, b"");
}

async fn serve(connection: &Connection, context: &Arc<Context>, peer: Peer, stop: &CancellationToken) {
    let (peer, mut requests) = (Arc::new(peer), JoinSet::new());
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            streams = connection.accept_bi() => {
                let Ok((send, receive)) = streams else { break };
                let (context, peer) = (Arc::clone(context), Arc::clone(&peer));
                requests.spawn(async move {
                    store_request::serve(send, receive, &context, &peer).await;
                });
            }
            Some(_) = requests.join_next() => {}
        }
    }
    if stop.is_cancelled() {
        let drained = async { while requests.join_next().await.is_some() {} };
        drop(tokio::time::timeout(DRAIN, drained).await);
    }
}

/// Whether the roster has this key now.
pub(super) async fn is_admitted(context: &Context, peer: &Peer) -> bool {
    match context.nodes.registry().admit(peer.node, peer.key, peer.certificate).await {
        Ok(is_admitted) => is_admitted,
        Err(error) => {
            tracing::warn!(node = %peer.node, %error, "the roster cannot be read");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_two_connections_and_a_closed_one_makes_room() {
        let connections = Connections::default();
        let node = NodeId::from_bytes([1; 8]);
        let first = connections.take(node);
        let second = connections.take(node);
        assert!(first.is_some() && second.is_some() && connections.take(node).is_none());
        assert!(connections.take(NodeId::from_bytes([2; 8])).is_some());
        drop(first);
        assert!(connections.take(node).is_some());
        drop(second);
        assert!(connections.0.lock().unwrap().is_empty());
    }
}
