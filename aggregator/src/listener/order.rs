//! Delivers one run of an order to an agent and reports what comes of it.
//!
//! Whoever ordered the delivery hears of its end exactly once: an outcome, or that the stream was lost. It is waited
//! for room in the channel of reports, so an agent that says much is slowed down by QUIC's flow control.

use std::fmt;
use std::time::Duration;

use campanile_common::authority::RunId;
use campanile_common::id::NodeId;
use campanile_common::wire::frame::{FRAME_BYTES_MAX, Frame, FrameDecoder};
use campanile_common::wire::v1::config::ConfigOffer;
use campanile_common::wire::v1::order::{Deliver, OrderReply, OrderRequest, Outcome};
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::offer;
use crate::config::Config;
use crate::node::{DeliveryEvent, DeliveryReport, DeliverySlip, OfferEnd, SessionCommand};

/// Orders in flight at one agent, as it allows.
pub(super) const ORDERS_MAX: usize = 16;
/// Longest time until an agent takes a delivery.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time until an agent says something of a delivery: it waits for its steward, and the steward for a disk. From
/// then on a command may run, and be silent, for as long as its order allows.
const FIRST_WORD_TIMEOUT: Duration = Duration::from_secs(30);
/// Told to an agent whose stream is given up.
const CODE_GIVEN_UP: VarInt = VarInt::from_u32(0);

/// Why an exchange with an agent came to no end.
pub(super) enum Broken {
    /// The stream, the session or the reader of reports went away.
    Lost(String),
    /// The agent broke the protocol; its session ends over it.
    Protocol(String),
}

/// Delivers, and reports until the end.
///
/// # Errors
/// When the agent breaks the protocol.
pub(super) async fn deliver(
    connection: Connection,
    config: Config,
    node: NodeId,
    slip: DeliverySlip,
) -> Result<(), String> {
    let DeliverySlip { deliver, run, offer, reports } = slip;
    let reporter = Reporter { node, run, reports };
    let prepared = match &offer {
        Some(offer) => prepare(&connection, &config, offer, &reporter).await,
        None => Ok(()),
    };
    let delivered = match prepared {
        Ok(()) => exchange(&connection, *deliver, &reporter).await,
        Err(broken) => Err(broken),
    };
    match delivered {
        Ok(()) => Ok(()),
        Err(Broken::Lost(why)) => {
            tracing::debug!(%node, %run, why, "delivery lost");
            reporter.lost().await;
            Ok(())
        }
        Err(Broken::Protocol(problem)) => {
            reporter.lost().await;
            Err(problem)
        }
    }
}

/// Reports that a run was not delivered.
///
/// # Errors
/// Never: nothing was asked of the agent.
pub(super) async fn lost(node: NodeId, slip: DeliverySlip) -> Result<(), String> {
    Reporter { node, run: slip.run, reports: slip.reports }.lost().await;
    Ok(())
}

/// Reports every run that was handed to a session which has ended, also those that were not sent yet.
pub(super) async fn report_all(
    node: NodeId,
    mut commands: mpsc::Receiver<SessionCommand>,
    mut orders: JoinSet<Result<(), String>>,
) {
    // What comes from now on goes back to whoever sends it.
    commands.close();
    while let Some(command) = commands.recv().await {
        if let SessionCommand::Deliver(slip) = command {
            orders.spawn(lost(node, slip));
        }
    }
    // The connection is closed: each sees it and says so.
    while orders.join_next().await.is_some() {}
}

/// Sees to it that the node has the generation that the run is about. Where that comes to nothing the run is delivered
/// all the same: the node says itself why it does not carry it out.
async fn prepare(
    connection: &Connection,
    config: &Config,
    offer: &ConfigOffer,
    reporter: &Reporter,
) -> Result<(), Broken> {
    match offer::exchange(connection, config, reporter.node, offer, Some(reporter)).await {
        Ok(OfferEnd::Ready) => {}
        Ok(OfferEnd::Refused(why) | OfferEnd::Lost(why)) | Err(Broken::Lost(why)) => {
            tracing::warn!(node = %reporter.node, run = %reporter.run, why, "the node is not ready for the run");
        }
        Err(broken) => return Err(broken),
    }
    Ok(())
}

async fn exchange(connection: &Connection, deliver: Deliver, reporter: &Reporter) -> Result<(), Broken> {
    let opening = open(connection, deliver);
    let opened = tokio::time::timeout(SEND_TIMEOUT, opening).await;
    let (mut send, receive) = opened.map_err(|_| lost_by("the agent takes no more orders"))??;
    let mut stream = Stream::new(receive);
    let told = listen(&mut stream, reporter).await;
    // A stream that ended by itself takes no notice.
    drop(stream.receive.stop(CODE_GIVEN_UP));
    if told? {
        let bytes = OrderRequest::Acknowledged.to_bytes().map_err(|error| lost_by(&error))?;
        // The outcome is on disk: if this does not arrive, the steward tells it again when it is asked.
        drop(tokio::time::timeout(SEND_TIMEOUT, send.write_all(&bytes)).await);
        drop(send.finish());
    }
    Ok(())
}

async fn open(connection: &Connection, deliver: Deliver) -> Result<(SendStream, RecvStream), Broken> {
    let bytes = OrderRequest::Deliver(deliver).to_bytes().map_err(|error| lost_by(&error))?;
    let (mut send, receive) = connection.open_bi().await.map_err(|error| lost_by(&error))?;
    send.write_all(&bytes).await.map_err(|error| lost_by(&error))?;
    Ok((send, receive))
}

/// Reports all that the agent says; true when the outcome is on disk.
async fn listen(stream: &mut Stream, reporter: &Reporter) -> Result<bool, Broken> {
    let first = tokio::time::timeout(FIRST_WORD_TIMEOUT, stream.next()).await;
    let mut frame = first.map_err(|_| lost_by("the agent does not answer"))??;
    let mut is_received = false;
    loop {
        let reply = OrderReply::from_frame(&frame).map_err(|error| broken(&error))?;
        match reply {
            OrderReply::Received(_) if is_received => return Err(broken("an order received twice")),
            OrderReply::Received(position) => {
                is_received = true;
                reporter.tell(DeliveryEvent::Received(position)).await?;
            }
            OrderReply::Output(_) if !is_received => return Err(broken("output of an order not received")),
            OrderReply::Output(chunk) => reporter.tell(DeliveryEvent::Output(chunk)).await?,
            OrderReply::Outcome(outcome) if outcome.run != reporter.run => {
                return Err(broken("the outcome of another order"));
            }
            OrderReply::Outcome(outcome) => return reporter.outcome(outcome).await,
        }
        frame = stream.next().await?;
    }
}

pub(super) fn lost_by(why: &(impl fmt::Display + ?Sized)) -> Broken {
    Broken::Lost(why.to_string())
}

pub(super) fn broken(problem: &(impl fmt::Display + ?Sized)) -> Broken {
    Broken::Protocol(problem.to_string())
}

/// Frames from the agent.
pub(super) struct Stream {
    receive: RecvStream,
    decoder: FrameDecoder,
}

impl Stream {
    pub(super) fn new(receive: RecvStream) -> Self {
        Self { receive, decoder: FrameDecoder::default() }
    }

    /// The next frame. Losing this future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Frame, Broken> {
        loop {
            if let Some(frame) = self.decoder.next().map_err(|error| broken(&error))? {
                return Ok(frame);
            }
            let chunk =
                self.receive.read_chunk(FRAME_BYTES_MAX, true).await.map_err(|error| lost_by(&error))?;
            let Some(chunk) = chunk else {
                self.decoder.finish().map_err(|error| broken(&error))?;
                return Err(lost_by("the agent ended the stream without an outcome"));
            };
            self.decoder.push(&chunk.bytes);
        }
    }
}

/// Tells whoever ordered the delivery.
pub(super) struct Reporter {
    node: NodeId,
    run: RunId,
    reports: mpsc::Sender<DeliveryReport>,
}

impl Reporter {
    pub(super) async fn tell(&self, event: DeliveryEvent) -> Result<(), Broken> {
        let report = DeliveryReport { node: self.node, run: self.run, event };
        self.reports.send(report).await.map_err(|_| lost_by("nobody waits for it"))
    }

    /// True once the outcome is on disk; else it is told again with the next delivery.
    async fn outcome(&self, outcome: Outcome) -> Result<bool, Broken> {
        let (durable, stored) = oneshot::channel();
        self.tell(DeliveryEvent::Outcome { outcome, durable }).await?;
        Ok(stored.await.is_ok())
    }

    async fn lost(&self) {
        // Closed: nobody waits for it.
        drop(self.tell(DeliveryEvent::Lost).await);
    }
}
