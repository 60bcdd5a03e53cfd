//! Requests to an agent: a stream each, one frame out, one or several back. A failure is the asker's, not the
//! session's.

use std::time::Duration;

use campanile_common::wire::frame::{FRAME_BYTES_MAX, FrameDecoder};
use campanile_common::wire::v1::request::{Reply, Request};
use quinn::{Connection, RecvStream, VarInt};
use tokio::sync::{mpsc, oneshot};

/// Longest wait for an agent's only answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(7);
/// Told to an agent whose answer nobody wants any more.
const CODE_STOPPED: VarInt = VarInt::from_u32(0);

/// Asks for one reply.
///
/// # Errors
/// Never: the dropped answer says that there is none.
pub(super) async fn ask(
    connection: Connection,
    request: Request,
    answer: oneshot::Sender<Reply>,
) -> Result<(), String> {
    let exchange = async {
        let mut receive = send(&connection, &request).await?;
        let bytes = receive.read_to_end(FRAME_BYTES_MAX).await.ok()?;
        let mut decoder = FrameDecoder::default();
        decoder.push(&bytes);
        Reply::from_frame(&decoder.next().ok()??).ok()
    };
    if let Ok(Some(reply)) = tokio::time::timeout(REQUEST_TIMEOUT, exchange).await {
        // Nobody may be waiting any more.
        drop(answer.send(reply));
    }
    Ok(())
}

/// Asks for replies until there are no more or nobody wants them. No deadline: a journal that is followed is silent
/// for as long as its unit is, and whoever reads it ends it.
///
/// # Errors
/// Never: the last reply says what went wrong.
pub(super) async fn ask_stream(
    connection: Connection,
    request: Request,
    replies: mpsc::Sender<Reply>,
) -> Result<(), String> {
    let Ok(Some(mut receive)) = tokio::time::timeout(REQUEST_TIMEOUT, send(&connection, &request)).await
    else {
        drop(replies.send(Reply::Failed("the node does not take requests now".to_owned())).await);
        return Ok(());
    };
    let ended = tokio::select! {
        ended = pass_on(&mut receive, &replies) => ended,
        () = replies.closed() => Ok(()),
    };
    // A stream that ended by itself takes no notice.
    drop(receive.stop(CODE_STOPPED));
    if let Err(problem) = ended {
        drop(replies.send(Reply::Failed(problem)).await);
    }
    Ok(())
}

async fn send(connection: &Connection, request: &Request) -> Option<RecvStream> {
    let (mut send, receive) = connection.open_bi().await.ok()?;
    send.write_all(&request.to_bytes().ok()?).await.ok()?;
    send.finish().ok()?;
    Some(receive)
}

async fn pass_on(receive: &mut RecvStream, replies: &mpsc::Sender<Reply>) -> Result<(), String> {
    let broken = |error: &dyn std::fmt::Display| format!("the node's answer broke off: {error}");
    let mut decoder = FrameDecoder::default();
    while let Some(chunk) = receive.read_chunk(FRAME_BYTES_MAX, true).await.map_err(|error| broken(&error))? {
        decoder.push(&chunk.bytes);
        while let Some(frame) = decoder.next().map_err(|error| broken(&error))? {
            let reply = Reply::from_frame(&frame).map_err(|error| broken(&error))?;
            // Nobody wants it any more.
            if replies.send(reply).await.is_err() {
                return Ok(());
            }
        }
    }
    decoder.finish().map_err(|error| broken(&error))
}
