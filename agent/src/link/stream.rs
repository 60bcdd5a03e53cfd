//! Serves one stream that the aggregator opened: a request, a run of an order, or a generation of the configuration.
//!
//! The first frame says which. A stream that fails, or whose peer breaks the protocol, costs itself and nothing else.

use std::time::Duration;

use campanile_common::wire::frame::{FRAME_BYTES_MAX, Frame, FrameDecoder};
use campanile_common::wire::v1::MessageError;
use campanile_common::wire::v1::config::{ConfigDown, ConfigOffer, ConfigUp, PartPiece};
use campanile_common::wire::v1::order::{Deliver, OrderReply, OrderRequest};
use campanile_common::wire::v1::request::{Reply, Request};
use quinn::{RecvStream, SendStream, VarInt};
use tokio::sync::mpsc;

use super::Duties;

/// A stream that was opened says so soon what it is for.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the one reply to a request.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the aggregator to read. It takes output as fast as it can store it; one that takes nothing for so
/// long has given the stream up, and comes again.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for the aggregator to store an outcome; not acknowledged, it is told again when it is asked for.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time in which nothing of a generation moves: the aggregator sends none of it, and the steward wants none.
const OFFER_IDLE: Duration = Duration::from_secs(60);
/// Replies that wait for their stream; four pieces of a journal are 64 KiB.
const REPLIES_MAX: usize = 4;
/// Outcomes go after control messages and heartbeats, before samples from the spool.
const PRIORITY_ORDER: i32 = 1;
/// Told to an aggregator that broke the protocol.
const CODE_PROTOCOL: VarInt = VarInt::from_u32(3);
/// Told to an aggregator whose run has no outcome yet: it delivers again.
const CODE_NO_OUTCOME: VarInt = VarInt::from_u32(1);

/// Serves the stream until its end.
pub(super) async fn serve(mut send: SendStream, receive: RecvStream, duties: &dyn Duties) {
    let mut frames = Frames { receive, decoder: FrameDecoder::default() };
    let first = match tokio::time::timeout(OPEN_TIMEOUT, frames.next()).await {
        Ok(Ok(Some(frame))) => frame,
        Ok(Ok(None)) => return,
        Ok(Err(problem)) => return give_up(send, &problem),
        Err(_) => return give_up(send, "a stream was opened and nothing sent on it"),
    };
    match OrderRequest::from_frame(&first) {
        Ok(OrderRequest::Deliver(deliver)) => {
            let end = order(&mut send, &mut frames, deliver, duties).await;
            if end.is_none() {
                // Gone already, or gone now.
                drop(send.reset(CODE_NO_OUTCOME));
            }
        }
        Ok(OrderRequest::Acknowledged) => give_up(send, "an acknowledgement of nothing"),
        Err(MessageError::Kind { .. }) => other(send, frames, &first, duties).await,
        Err(error) => give_up(send, &error.to_string()),
    }
}

/// A stream that is no order's.
async fn other(mut send: SendStream, mut frames: Frames, first: &Frame, duties: &dyn Duties) {
    let end = match (Request::from_frame(first), ConfigDown::from_frame(first)) {
        (Ok(request), _) => request_answered(&mut send, request, duties).await,
        (_, Ok(ConfigDown::Offer(offer))) => generation(&mut send, &mut frames, offer, duties).await,
        (_, Ok(ConfigDown::Piece(_) | ConfigDown::Missing(_))) => {
            return give_up(send, "a part of nothing that was offered");
        }
        (Err(_), Err(error @ MessageError::Body { .. })) | (Err(error), Err(_)) => {
            return give_up(send, &error.to_string());
        }
    };
    if end.is_none() {
        drop(send.reset(CODE_NO_OUTCOME));
    }
}

fn give_up(mut send: SendStream, problem: &str) {
    tracing::debug!(problem, "a stream of the aggregator was given up");
    drop(send.reset(CODE_PROTOCOL));
}

/// One run: from its delivery to the aggregator's acknowledgement. None when the stream ended without an outcome.
async fn order(
    send: &mut SendStream,
    frames: &mut Frames,
    deliver: Deliver,
    duties: &dyn Duties,
) -> Option<()> {
    send.set_priority(PRIORITY_ORDER).ok()?;
    let mut replies = duties.deliver(Box::new(deliver));
    let given_up = send.stopped();
    tokio::pin!(given_up);
    let run = loop {
        let reply = tokio::select! {
            reply = replies.recv() => reply?,
            _ = &mut given_up => return None,
        };
        write(send, &reply.to_bytes().ok()?).await?;
        if let OrderReply::Outcome(outcome) = reply {
            break outcome.run;
        }
    };
    let answer = tokio::time::timeout(ACKNOWLEDGE_TIMEOUT, frames.next()).await;
    let is_acknowledged = matches!(&answer, Ok(Ok(Some(frame)))
        if matches!(OrderRequest::from_frame(frame), Ok(OrderRequest::Acknowledged)));
    if is_acknowledged {
        duties.reported(run);
    }
    send.finish().ok()
}

/// One request. None when it was not answered.
async fn request_answered(send: &mut SendStream, request: Request, duties: &dyn Duties) -> Option<()> {
    let is_stream = matches!(request, Request::Journal { .. });
    let (sender, mut replies) = mpsc::channel(REPLIES_MAX);
    let work = duties.answer(request, sender);
    let given_up = send.stopped();
    let passing = async {
        // A journal is silent for as long as its unit is; it ends when the aggregator stops the stream.
        if is_stream {
            while let Some(reply) = replies.recv().await {
                write(send, &to_bytes(&reply)?).await?;
            }
        } else {
            let reply = tokio::time::timeout(REPLY_TIMEOUT, replies.recv()).await;
            let reply = reply.unwrap_or_else(|_| Some(Reply::Failed("the node took too long".to_owned())));
            write(send, &to_bytes(&reply?)?).await?;
        }
        send.finish().ok()
    };
    tokio::pin!(work, passing, given_up);
    let mut is_working = true;
    loop {
        tokio::select! {
            () = &mut work, if is_working => is_working = false,
            done = &mut passing => return done,
            _ = &mut given_up => return None,
        }
    }
}

/// One generation: from its offer until the steward has what it needs of it. None when the stream ended before.
async fn generation(
    send: &mut SendStream,
    frames: &mut Frames,
    offer: ConfigOffer,
    duties: &dyn Duties,
) -> Option<()> {
    let mut intake = duties.offer(offer);
    let mut piece: Option<PartPiece> = None;
    let end = loop {
        let moved = async {
            tokio::select! {
                answer = intake.answers.recv() => Moved::Answer(answer),
                permit = intake.pieces.reserve(), if piece.is_some() => match permit {
                    Ok(permit) => {
                        permit.send(piece.take().expect("looked at before"));
                        Moved::Passed
                    }
                    // The answer says why.
                    Err(_) => Moved::Answer(intake.answers.recv().await),
                },
                frame = frames.next(), if piece.is_none() => Moved::Frame(frame),
            }
        };
        match tokio::time::timeout(OFFER_IDLE, moved).await {
            Err(_) => break ConfigUp::Refused("nothing of the generation came for a minute".to_owned()),
            Ok(Moved::Passed) => {}
            Ok(Moved::Answer(Some(want @ ConfigUp::Want(_)))) => write(send, &want.to_bytes().ok()?).await?,
            Ok(Moved::Answer(Some(last))) => break last,
            Ok(Moved::Answer(None)) => {
                break ConfigUp::Refused("this node takes another generation now; offer it again".to_owned());
            }
            Ok(Moved::Frame(frame)) => match ConfigDown::from_frame(&frame.ok()??) {
                Ok(ConfigDown::Piece(found)) => piece = Some(found),
                Ok(ConfigDown::Missing(digest)) => {
                    break ConfigUp::Refused(format!("the aggregator lacks part {digest} of the generation"));
                }
                Ok(ConfigDown::Offer(_)) | Err(_) => return None,
            },
        }
    };
    write(send, &end.to_bytes().ok()?).await?;
    send.finish().ok()
}

/// What moved of a generation.
enum Moved {
    Answer(Option<ConfigUp>),
    Passed,
    Frame(Result<Option<Frame>, String>),
}

/// What is too long for a frame is said to be, rather than not answered.
fn to_bytes(reply: &Reply) -> Option<Vec<u8>> {
    reply.to_bytes().or_else(|error| Reply::Failed(error.to_string()).to_bytes()).ok()
}

async fn write(send: &mut SendStream, bytes: &[u8]) -> Option<()> {
    tokio::time::timeout(WRITE_TIMEOUT, send.write_all(bytes)).await.ok()?.ok()
}

/// Frames from the aggregator.
struct Frames {
    receive: RecvStream,
    decoder: FrameDecoder,
}

impl Frames {
    /// The next, or none at the end of the stream.
    async fn next(&mut self) -> Result<Option<Frame>, String> {
        loop {
            if let Some(frame) = self.decoder.next().map_err(|error| error.to_string())? {
                return Ok(Some(frame));
            }
            let chunk =
                self.receive.read_chunk(FRAME_BYTES_MAX, true).await.map_err(|error| error.to_string())?;
            let Some(chunk) = chunk else {
                return self.decoder.finish().map(|()| None).map_err(|error| error.to_string());
            };
            self.decoder.push(&chunk.bytes);
        }
    }
}
