//! Offers a generation of the configuration to an agent and serves the parts that it wants, until it has everything.
//!
//! A node is served what is its own of the generation and nothing else. A part is held against its digest before its
//! first piece is sent; pieces are read one by one, so that a slow node holds no memory.

use std::time::Duration;

use campanile_common::id::{Digest, NodeId};
use campanile_common::wire::frame::Frame;
use campanile_common::wire::v1::config::{
    ConfigDown, ConfigOffer, ConfigUp, PIECE_BYTES_MAX, PartPiece, WANTED_MAX,
};
use quinn::{Connection, SendStream};
use tokio::sync::oneshot;

use super::order::{Broken, Reporter, Stream, broken, lost_by};
use crate::config::{Config, Share};
use crate::node::{DeliveryEvent, OfferEnd};
use crate::os::parts::PartError;

/// Longest time until an agent takes a message.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time until an agent says something: it syncs what it got to a disk.
const WORD_TIMEOUT: Duration = Duration::from_secs(120);
/// How often whoever waits hears that there is progress; less than after which it would take the node for silent.
const PROGRESS_STEP: Duration = Duration::from_secs(2);
/// Times that an agent may want each part, plus some: it begins anew when a piece was damaged on its disk.
const WANTS_MAX: usize = 3;
/// Longest text of a refusal.
const REASON_CHARS_MAX: usize = 512;

/// Offers, and tells how it ended.
///
/// # Errors
/// When the agent breaks the protocol.
pub(super) async fn serve(
    connection: Connection,
    config: Config,
    node: NodeId,
    offer: Box<ConfigOffer>,
    answer: oneshot::Sender<OfferEnd>,
) -> Result<(), String> {
    let (end, result) = match exchange(&connection, &config, node, &offer, None).await {
        Ok(end) => (end, Ok(())),
        Err(Broken::Lost(why)) => (OfferEnd::Lost(why), Ok(())),
        Err(Broken::Protocol(problem)) => (OfferEnd::Lost(problem.clone()), Err(problem)),
    };
    // Whoever asked may have gone.
    drop(answer.send(end));
    result
}

/// Offers and serves. `reporter` hears while there is progress.
pub(super) async fn exchange(
    connection: &Connection,
    config: &Config,
    node: NodeId,
    offer: &ConfigOffer,
    reporter: Option<&Reporter>,
) -> Result<OfferEnd, Broken> {
    let share = match config.share(node, offer).await {
        Ok(share) => share,
        Err(error) => return Ok(OfferEnd::Lost(error.to_string())),
    };
    let opened = tokio::time::timeout(SEND_TIMEOUT, connection.open_bi()).await;
    let (send, receive) =
        opened.map_err(|_| lost_by("the agent takes no more streams"))?.map_err(|error| lost_by(&error))?;
    let mut stream = Stream::new(receive);
    let mut service = Service { send, config, share: &share, reporter, told: tokio::time::Instant::now() };
    service.send(&ConfigDown::Offer(offer.clone())).await?;
    let mut wants_left = WANTS_MAX * (share.parts.len() + 1);
    loop {
        let frame = service.word(&mut stream).await?;
        match ConfigUp::from_frame(&frame).map_err(|error| broken(&error))? {
            ConfigUp::Ready => {
                drop(service.send.finish());
                return Ok(OfferEnd::Ready);
            }
            ConfigUp::Refused(why) => {
                let clean = why.chars().map(|c| if c.is_control() { ' ' } else { c });
                return Ok(OfferEnd::Refused(clean.take(REASON_CHARS_MAX).collect()));
            }
            ConfigUp::Want(digests) => {
                if digests.len() > WANTED_MAX || digests.len() > wants_left {
                    return Err(broken("more parts wanted than there are"));
                }
                wants_left -= digests.len();
                for digest in digests {
                    service.part(digest).await?;
                }
            }
        }
    }
}

/// One offer on its way.
struct Service<'a> {
    send: SendStream,
    config: &'a Config,
    share: &'a Share,
    reporter: Option<&'a Reporter>,
    told: tokio::time::Instant,
}

impl Service<'_> {
    async fn send(&mut self, message: &ConfigDown) -> Result<(), Broken> {
        let bytes = message.to_bytes().map_err(|error| lost_by(&error))?;
        let sent = tokio::time::timeout(SEND_TIMEOUT, self.send.write_all(&bytes)).await;
        sent.map_err(|_| lost_by("the agent does not read"))?.map_err(|error| lost_by(&error))
    }

    /// What the agent says next.
    async fn word(&mut self, stream: &mut Stream) -> Result<Frame, Broken> {
        let end = tokio::time::Instant::now() + WORD_TIMEOUT;
        loop {
            tokio::select! {
                frame = stream.next() => return frame,
                () = tokio::time::sleep(PROGRESS_STEP) => self.progress().await?,
                () = tokio::time::sleep_until(end) => return Err(lost_by("the agent does not go on")),
            }
        }
    }

    async fn progress(&mut self) -> Result<(), Broken> {
        let now = tokio::time::Instant::now();
        if let Some(reporter) = self.reporter
            && now.duration_since(self.told) >= PROGRESS_STEP
        {
            self.told = now;
            reporter.tell(DeliveryEvent::Preparing).await?;
        }
        Ok(())
    }

    async fn part(&mut self, wanted: Digest) -> Result<(), Broken> {
        let Some(digest) = self.share.part(wanted) else {
            return self.send(&ConfigDown::Missing(wanted)).await;
        };
        let checked = self.config.part_bytes(digest).await;
        let length = match checked {
            Ok(length) => length,
            Err(error) => {
                tracing::warn!(%error, "a part cannot be served");
                return self.send(&ConfigDown::Missing(wanted)).await;
            }
        };
        let mut offset = 0;
        loop {
            let read = self.config.part_piece(digest, offset, PIECE_BYTES_MAX).await;
            let bytes = read.map_err(|error| lost_by(&error))?;
            let next = offset + bytes.len() as u64;
            if bytes.is_empty() && length > 0 {
                let gone = PartError::Missing(digest);
                return Err(lost_by(&gone));
            }
            let is_last = next >= length;
            self.send(&ConfigDown::Piece(PartPiece { digest: wanted, offset, bytes, is_last })).await?;
            self.progress().await?;
            if is_last {
                return Ok(());
            }
            offset = next;
        }
    }
}
