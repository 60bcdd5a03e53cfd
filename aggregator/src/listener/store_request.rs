//! One request of a node to its backup store.

use std::future::Future;
use std::time::Duration;

use campanile_common::backup::{StoredKind, StoredObject};
use campanile_common::id::{Digest, NodeId};
use campanile_common::wire::frame::{FRAME_BYTES_MAX, FrameDecoder};
use campanile_common::wire::v1::store::{PROPOSED_MAX, StoreFailure, StoreReply, StoreRequest};
use quinn::{RecvStream, SendStream, VarInt};

use super::peer::Peer;
use super::{Context, store};
use crate::backup::{Appending, Failure, Opened, Proposal};

/// Longest wait for the next piece of what a node sends, or for it to read.
const PIECE_TIMEOUT: Duration = Duration::from_secs(30);
/// A node sends at least so many bytes a second, beside the time of one piece.
const BYTES_PER_SECOND_MIN: u64 = 16 * 1024;
/// Told to a node that sends what nobody reads.
const CODE_ANSWERED: VarInt = VarInt::from_u32(0);
/// Told to a node when an answer breaks off.
const CODE_BROKEN: VarInt = VarInt::from_u32(1);

/// How a request ended.
enum End {
    /// Answer with this.
    Failed(Failure),
    /// The node went away, or an answer broke off.
    Gone,
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

fn malformed(reason: impl Into<String>) -> End {
    End::Failed(Failure::new(StoreFailure::Malformed, reason.into()))
}

/// Serves one stream.
pub(super) async fn serve(send: SendStream, receive: RecvStream, context: &Context, peer: &Peer) {
    let mut exchange = Exchange { send, receive, context, peer };
    let ended = exchange.run().await;
    // Whatever else comes is not read; a stream that has ended takes no notice.
    drop(exchange.receive.stop(CODE_ANSWERED));
    match ended {
        Ok(()) => {}
        Err(End::Failed(Failure { code, reason })) => {
            tracing::debug!(node = %peer.node, code = code.as_str(), reason, "store request failed");
            drop(exchange.reply(&StoreReply::Failed { code, reason }).await);
        }
        Err(End::Gone) => {
            drop(exchange.send.reset(CODE_BROKEN));
            return;
        }
    }
    drop(exchange.send.finish());
}

struct Exchange<'a> {
    send: SendStream,
    receive: RecvStream,
    context: &'a Context,
    peer: &'a Peer,
}

/// Waits for a step of the exchange, not for ever.
async fn soon<T, E>(step: impl Future<Output = Result<T, E>>) -> Result<T, End> {
    match tokio::time::timeout(PIECE_TIMEOUT, step).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) | Err(_) => Err(End::Gone),
    }
}

impl Exchange<'_> {
    async fn run(&mut self) -> Result<(), End> {
        let request = self.request().await?;
        if !store::is_admitted(self.context, self.peer).await {
            let reason = "this node is not in the roster".to_owned();
            return Err(Failure::new(StoreFailure::Refused, reason).into());
        }
        match request {
            StoreRequest::Put { object, size } => self.take(object, size, None).await,
            StoreRequest::Append { snapshot, size, packs, policy } => {
                let object = StoredObject::new(StoredKind::Snapshot, snapshot);
                self.take(object, size, Some(Appending { packs, policy })).await
            }
            StoreRequest::Get { object, range } => self.get(self.peer.node, object, range).await,
            StoreRequest::List { kind, after } => self.list(self.peer.node, kind, after).await,
            StoreRequest::GetOf { source, object, range } => {
                self.get(self.lent(source)?, object, range).await
            }
            StoreRequest::ListOf { source, kind, after } => self.list(self.lent(source)?, kind, after).await,
            StoreRequest::Propose { snapshots, indexes, packs } => {
                self.propose([snapshots, indexes, packs]).await
            }
        }
    }

    async fn request(&mut self) -> Result<StoreRequest, End> {
        let broken = |error: &dyn std::fmt::Display| malformed(error.to_string());
        let mut decoder = FrameDecoder::default();
        // Not a byte behind it: content follows on the same stream. The header alone is refused where it claims too much.
        let frame = loop {
            if let Some(frame) = decoder.next().map_err(|error| broken(&error))? {
                break frame;
            }
            let mut bytes = vec![0; decoder.missing()];
            soon(self.receive.read_exact(&mut bytes)).await?;
            decoder.push(&bytes);
        };
        StoreRequest::from_frame(&frame).map_err(|error| broken(&error))
    }

    async fn reply(&mut self, reply: &StoreReply) -> Result<(), End> {
        let bytes = reply.to_bytes().map_err(|_| End::Gone)?;
        soon(self.send.write_all(&bytes)).await
    }

    async fn take(
        &mut self,
        object: StoredObject,
        size: u64,
        appending: Option<Appending>,
    ) -> Result<(), End> {
        let store = &self.context.store;
        let (received, is_new) = match store.begin(self.peer.node, object, size, appending).await? {
            Opened::Exists(received) => (received, false),
            Opened::Intake(mut intake) => {
                let mut left = intake.expected();
                let slowest = PIECE_TIMEOUT + Duration::from_secs(left / BYTES_PER_SECOND_MIN);
                let deadline = tokio::time::Instant::now() + slowest;
                while let Some(bytes) = self.piece(&mut left).await? {
                    intake = intake.push(&bytes).await?;
                    if tokio::time::Instant::now() > deadline {
                        return Err(End::Gone);
                    }
                }
                intake.finish().await?
            }
        };
        self.reply(&StoreReply::Stored { received, is_new }).await
    }

    /// The next bytes of what was announced; none at its end, which must be the stream's.
    async fn piece(&mut self, left: &mut u64) -> Result<Option<bytes::Bytes>, End> {
        let Some(chunk) = soon(self.receive.read_chunk(FRAME_BYTES_MAX, true)).await? else {
            return if *left == 0 {
                Ok(None)
            } else {
                Err(malformed("fewer bytes came than were announced"))
            };
        };
        let length = u64::try_from(chunk.bytes.len()).unwrap_or(u64::MAX);
        *left = left.checked_sub(length).ok_or_else(|| malformed("more bytes came than were announced"))?;
        Ok(Some(chunk.bytes))
    }

    /// Another node, whose part may be read now: an order that operators signed has this one restore from it and is at
    /// work here. The orders that were sent say so, and no word of the node.
    fn lent(&self, source: NodeId) -> Result<NodeId, End> {
        if !self.context.orders.reads_from(self.peer.node, source) {
            tracing::warn!(node = %self.peer.node, %source, "a node asks for what another saved, without an order");
            let reason =
                format!("no order is at work here that has this node restore what node {source} saved");
            return Err(Failure::new(StoreFailure::Refused, reason).into());
        }
        let store = &self.context.store;
        if store.known(source).is_none() && !store.is_broken(source) {
            let reason = format!("node {source} has stored nothing here");
            return Err(Failure::new(StoreFailure::Missing, reason).into());
        }
        Ok(source)
    }

    async fn get(
        &mut self,
        node: NodeId,
        object: StoredObject,
        range: Option<(u64, u64)>,
    ) -> Result<(), End> {
        let store = self.context.store.clone();
        let mut reading = store.get(node, object, range).await?;
        self.reply(&StoreReply::Bytes { length: reading.left() }).await?;
        while reading.left() > 0 {
            // An answer that has begun cannot become a failure: it breaks off, and is asked for again.
            let (next, piece) = store.piece(reading).await.map_err(|_| End::Gone)?;
            soon(self.send.write_all(&piece)).await?;
            reading = next;
        }
        Ok(())
    }

    async fn list(&mut self, node: NodeId, kind: StoredKind, mut after: Option<Digest>) -> Result<(), End> {
        loop {
            let page = self.context.store.list(node, kind, after).await?;
            let Some((last, _)) = page.last().copied() else { break };
            self.reply(&StoreReply::Listed(page)).await?;
            after = Some(last);
        }
        self.reply(&StoreReply::End).await
    }

    async fn propose(&mut self, counts: [u32; 3]) -> Result<(), End> {
        let total = counts.iter().fold(0_u32, |total, count| total.saturating_add(*count));
        if total > PROPOSED_MAX {
            return Err(malformed(format!("a proposal names at most {PROPOSED_MAX} objects")));
        }
        let length = usize::try_from(total).unwrap_or(usize::MAX) * Digest::BYTES;
        let names = tokio::time::timeout(PIECE_TIMEOUT, self.receive.read_to_end(length)).await;
        let names = names.map_err(|_| End::Gone)?.map_err(|_| malformed("more names came than announced"))?;
        if names.len() != length {
            return Err(malformed("fewer names came than were announced"));
        }
        let mut names = names
            .chunks_exact(Digest::BYTES)
            .map(|name| Digest::from_bytes(name.try_into().expect("chunks have the length of a name")));
        let mut list = |count: u32| {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            let names: Vec<Digest> = names.by_ref().take(count).collect();
            let is_rising = names.windows(2).all(|pair| pair[0] < pair[1]);
            if is_rising { Ok(names) } else { Err(malformed("the names of a proposal do not rise")) }
        };
        let [snapshots, indexes, packs] = counts;
        let proposal = Proposal { snapshots: list(snapshots)?, indexes: list(indexes)?, packs: list(packs)? };
        let decided = self.context.store.propose(self.peer.node, proposal).await?;
        self.reply(&StoreReply::Decided(decided)).await
    }
}
