//! One request on a stream of its own.

use std::future::Future;
use std::time::Duration;

use campanile_backup::backend::Listed;
use campanile_backup::id::ObjectId;
use campanile_common::id::Digest;
use campanile_common::wire::frame::FrameDecoder;
use campanile_common::wire::v1::store::{OBJECT_BYTES_MAX, StoreFailure, StoreReply, StoreRequest};
use quinn::{Connection, ConnectionError, ReadError, ReadExactError, RecvStream, SendStream, WriteError};

/// Longest wait for a stream, for the store to take some bytes, or for an answer: it syncs, and other nodes may be
/// before this one.
const STEP_TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes that are given to the stream at once, so that each has its own deadline.
const PIECE_BYTES: usize = 1 << 20;
/// Closes of the store that trying again does not change: no certificate of a node, not in the roster.
const CLOSES_FINAL: [u64; 2] = [2, 5];

/// Why an attempt came to nothing.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The store said so.
    Failed {
        /// The stable code.
        code: StoreFailure,
        /// For a person.
        reason: String,
    },
    /// The store does not speak with this node.
    Refused(String),
    /// The connection or the store is away: another attempt may go well.
    Passing(String),
}

impl From<ConnectionError> for Trouble {
    fn from(error: ConnectionError) -> Self {
        match &error {
            ConnectionError::ApplicationClosed(close)
                if CLOSES_FINAL.contains(&close.error_code.into_inner()) =>
            {
                let reason = String::from_utf8_lossy(&close.reason);
                Self::Refused(format!(
                    "the aggregator refuses this node ({reason}); enroll it anew with a token if it is to store backups"
                ))
            }
            _ => Self::Passing(error.to_string()),
        }
    }
}

impl From<ReadError> for Trouble {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::ConnectionLost(error) => error.into(),
            other => Self::Passing(other.to_string()),
        }
    }
}

impl From<ReadExactError> for Trouble {
    fn from(error: ReadExactError) -> Self {
        match error {
            ReadExactError::ReadError(error) => error.into(),
            error @ ReadExactError::FinishedEarly(_) => Self::Passing(error.to_string()),
        }
    }
}

/// An answer that is none to what was asked.
pub(super) fn unexpected(reply: &StoreReply) -> Trouble {
    match reply {
        StoreReply::Failed { code, reason } if code.is_retryable() => Trouble::Passing(reason.clone()),
        StoreReply::Failed { code, reason } => Trouble::Failed { code: *code, reason: reason.clone() },
        StoreReply::Stored { .. }
        | StoreReply::Bytes { .. }
        | StoreReply::Listed(_)
        | StoreReply::End
        | StoreReply::Decided(_) => {
            let reason = "the store gave an answer to something else".to_owned();
            Trouble::Failed { code: StoreFailure::Malformed, reason }
        }
    }
}

fn malformed(reason: impl Into<String>) -> Trouble {
    Trouble::Failed { code: StoreFailure::Malformed, reason: reason.into() }
}

async fn soon<T, E: Into<Trouble>>(step: impl Future<Output = Result<T, E>>) -> Result<T, Trouble> {
    match tokio::time::timeout(STEP_TIMEOUT, step).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => Err(Trouble::Passing(format!("the store was silent for {} s", STEP_TIMEOUT.as_secs()))),
    }
}

/// A stream for one request.
#[derive(Debug)]
pub(super) struct Exchange {
    send: SendStream,
    receive: RecvStream,
}

impl Exchange {
    /// Opens a stream; waits while too many are open.
    pub(super) async fn open(connection: &Connection) -> Result<Self, Trouble> {
        let (send, receive) = soon(connection.open_bi()).await?;
        Ok(Self { send, receive })
    }

    /// Sends a request with what belongs to it, and gives the first answer, which may come before all is sent.
    pub(super) async fn ask(
        &mut self,
        request: &StoreRequest,
        parts: &[&[u8]],
    ) -> Result<StoreReply, Trouble> {
        let frame = request.to_bytes().map_err(|error| malformed(error.to_string()))?;
        let all = std::iter::once(frame.as_slice()).chain(parts.iter().copied());
        for piece in all.flat_map(|part| part.chunks(PIECE_BYTES)) {
            match tokio::time::timeout(STEP_TIMEOUT, self.send.write_all(piece)).await {
                Ok(Ok(())) => {}
                // It has what it needs: its answer tells.
                Ok(Err(WriteError::Stopped(_))) => return self.reply().await,
                Ok(Err(WriteError::ConnectionLost(error))) => return Err(error.into()),
                Ok(Err(error)) => return Err(Trouble::Passing(error.to_string())),
                Err(_) => return Err(Trouble::Passing("the store takes nothing".to_owned())),
            }
        }
        // A stream that was stopped meanwhile is answered all the same.
        drop(self.send.finish());
        self.reply().await
    }

    async fn reply(&mut self) -> Result<StoreReply, Trouble> {
        let mut decoder = FrameDecoder::default();
        // Not a byte behind it: content follows on the same stream.
        let frame = loop {
            if let Some(frame) = decoder.next().map_err(|error| malformed(error.to_string()))? {
                break frame;
            }
            let mut bytes = vec![0; decoder.missing()];
            soon(self.receive.read_exact(&mut bytes)).await?;
            decoder.push(&bytes);
        };
        StoreReply::from_frame(&frame).map_err(|error| malformed(error.to_string()))
    }

    /// An object, or the range of it that was asked for.
    pub(super) async fn get(
        &mut self,
        request: &StoreRequest,
        range: Option<(u64, u64)>,
    ) -> Result<Vec<u8>, Trouble> {
        let length = match self.ask(request, &[]).await? {
            StoreReply::Bytes { length } => length,
            other => return Err(unexpected(&other)),
        };
        let is_wanted = range.is_none_or(|(start, end)| end.checked_sub(start) == Some(length));
        if !is_wanted || length > OBJECT_BYTES_MAX {
            return Err(malformed(format!("the store sends {length} bytes that nobody asked for")));
        }
        let mut left = usize::try_from(length).map_err(|_| malformed("an object that is too large"))?;
        let mut bytes = Vec::with_capacity(left);
        while left > 0 {
            let chunk = soon(self.receive.read_chunk(left, true)).await?;
            let chunk = chunk.ok_or_else(|| Trouble::Passing("the store's answer broke off".to_owned()))?;
            bytes.extend_from_slice(&chunk.bytes);
            left -= chunk.bytes.len();
        }
        Ok(bytes)
    }

    /// Adds the objects of a list behind `after`.
    pub(super) async fn list(
        &mut self,
        request: &StoreRequest,
        after: Option<Digest>,
        listed: &mut Vec<Listed>,
    ) -> Result<(), Trouble> {
        let mut last = after;
        let mut reply = self.ask(request, &[]).await?;
        loop {
            match reply {
                StoreReply::End => return Ok(()),
                StoreReply::Listed(page) => {
                    for (id, size) in page {
                        if last.is_some_and(|last| last >= id) {
                            return Err(malformed("the store's list does not rise"));
                        }
                        last = Some(id);
                        listed.push(Listed { id: ObjectId(*id.as_bytes()), size });
                    }
                }
                other => return Err(unexpected(&other)),
            }
            reply = self.reply().await?;
        }
    }
}
