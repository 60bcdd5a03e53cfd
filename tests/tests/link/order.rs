//! Nodes that misbehave on the streams of their orders.

use std::time::Duration;

use campanile_common::api;
use campanile_common::authority::{Action, Command, Limits, Order, RunId, Targets, Tier};
use campanile_common::id::{JournalId, NodeId, OrderId};
use campanile_common::wire::frame::{Frame, FrameDecoder};
use campanile_common::wire::v1::order::{
    Deliver, JournalPosition, OUTPUT_CHUNK_BYTES_MAX, OrderReply, OrderRequest, Outcome, OutputChunk,
    OutputStream, RunResult,
};
use quinn::{RecvStream, SendStream};

use crate::harness::{Fleet, until};
use crate::peer::{Beat, Peer, Session, now, random, soon};

/// An order of tier 2 that only `node` is to carry out.
fn order(fleet: &Fleet, node: NodeId) -> Order {
    Order {
        format: Order::FORMAT,
        fleet: fleet.file.fleet_id,
        id: OrderId::from_bytes(random()),
        authority_version: 1,
        tier: Tier::Change,
        not_before: now() - Duration::from_secs(60),
        expires: now() + Duration::from_secs(60),
        targets: Targets::Nodes(vec![node]),
        action: Action::Run(Command { argv: vec!["true".to_owned()], user: None, stdin: Vec::new() }),
        limits: Limits::default(),
        standing: None,
        reason: String::new(),
    }
}

/// A stream that the aggregator opened for an order.
struct Delivered {
    send: SendStream,
    receive: RecvStream,
    decoder: FrameDecoder,
    deliver: Deliver,
}

impl Delivered {
    async fn take(session: &Session) -> Self {
        loop {
            let accepted = soon("a stream", session.connection.accept_bi()).await;
            let (send, mut receive) = accepted.unwrap();
            let mut decoder = FrameDecoder::default();
            let frame = next(&mut receive, &mut decoder).await.expect("a stream begins with a frame");
            // The aggregator also asks a node that is under load for its processes.
            if let Ok(OrderRequest::Deliver(deliver)) = OrderRequest::from_frame(&frame) {
                return Self { send, receive, decoder, deliver };
            }
        }
    }

    fn run(&self) -> RunId {
        let order = self.deliver.delivery.order.read().unwrap();
        RunId { order: order.id, occurrence: self.deliver.delivery.occurrence }
    }

    async fn say(&mut self, reply: &OrderReply) {
        self.send.write_all(&reply.to_bytes().unwrap()).await.unwrap();
    }
}

async fn next(receive: &mut RecvStream, decoder: &mut FrameDecoder) -> Option<Frame> {
    loop {
        if let Some(frame) = decoder.next().unwrap() {
            return Some(frame);
        }
        let chunk = soon("bytes or the end", receive.read_chunk(65_536, true)).await.ok()??;
        decoder.push(&chunk.bytes);
    }
}

fn received() -> OrderReply {
    OrderReply::Received(JournalPosition { journal: JournalId::from_bytes([1; 8]), sequence: 1 })
}

fn output(offset: u64, bytes: usize) -> OrderReply {
    OrderReply::Output(OutputChunk { offset, stream: OutputStream::Stdout, bytes: vec![b'x'; bytes] })
}

fn outcome(run: RunId, output_bytes: u64) -> OrderReply {
    OrderReply::Outcome(Outcome {
        run,
        result: RunResult::Exited { code: 0 },
        started: Some(now()),
        finished: now(),
        output_bytes,
        output_kept: output_bytes,
        journal: None,
        audit: None,
    })
}

fn target(fleet: &Fleet, order: OrderId) -> api::OrderTarget {
    fleet.order(order).targets.pop().expect("one target")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_breaks_the_protocol_of_orders_loses_its_session() {
    let fleet = Fleet::start(2);
    let peer = Peer::enroll(&fleet, "peer").await;
    let foreign = RunId { order: OrderId::from_bytes([9; 16]), occurrence: None };
    let bytes = |replies: &[OrderReply]| -> Vec<u8> {
        replies.iter().flat_map(|reply| reply.to_bytes().unwrap()).collect()
    };
    let mut overlong = output(0, 1).to_bytes().unwrap();
    overlong[6..].fill(0xff);
    let breaches = [
        (b"no frame at all, and more than a header of it".to_vec(), "no frame"),
        (bytes(&[output(0, 5)]), "output before anything else"),
        (bytes(&[received(), received()]), "received twice"),
        (bytes(&[received(), outcome(foreign, 0)]), "the outcome of another order"),
        (OrderRequest::Acknowledged.to_bytes().unwrap(), "the aggregator's own message"),
        (overlong, "a broken frame"),
    ];
    for (breach, what) in breaches {
        let session = peer.session(&fleet).await;
        let beat = Beat::start(&session).await;
        let id = fleet.submit(&order(&fleet, peer.node));
        // An earlier one that was withdrawn while it was under way is asked for once more.
        let mut stream = loop {
            let stream = Delivered::take(&session).await;
            if stream.run().order == id {
                break stream;
            }
        };
        drop(stream.send.write_all(&breach).await);
        let (code, said) = session.end().await;
        assert!(code == 3 && !said.is_empty(), "{what}: {code} {said}");
        drop(beat);
        // Nobody is told of an outcome that was none, and the same node may come back.
        assert_ne!(target(&fleet, id).state, api::TargetState::Ok, "{what}");
        fleet.cancel(id);
    }
    fleet.assert_agents_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_ends_inside_a_frame_ends_the_session_and_one_without_an_outcome_does_not() {
    let fleet = Fleet::start(0);
    let peer = Peer::enroll(&fleet, "peer").await;
    let session = peer.session(&fleet).await;
    let _beat = Beat::start(&session).await;
    let id = fleet.submit(&order(&fleet, peer.node));
    let mut stream = Delivered::take(&session).await;
    stream.say(&received()).await;
    stream.send.finish().unwrap();
    // Delivered again by the same session, as a run that the node has.
    let mut again = Delivered::take(&session).await;
    assert_eq!(again.run(), stream.run());
    again.say(&received()).await;
    again.say(&outcome(again.run(), 0)).await;
    let frame = next(&mut again.receive, &mut again.decoder).await.expect("an acknowledgement");
    assert_eq!(OrderRequest::from_frame(&frame).unwrap(), OrderRequest::Acknowledged);
    assert_eq!(target(&fleet, id).state, api::TargetState::Ok, "acknowledged means stored");

    fleet.submit(&order(&fleet, peer.node));
    let mut torn = Delivered::take(&session).await;
    torn.send.write_all(&received().to_bytes().unwrap()[..7]).await.unwrap();
    torn.send.finish().unwrap();
    let (code, said) = session.end().await;
    assert!(code == 3 && !said.is_empty(), "{code} {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_never_stops_talking_is_taken_in_at_a_bound() {
    let fleet = Fleet::start(2);
    let peer = Peer::enroll(&fleet, "peer").await;
    let session = peer.session(&fleet).await;
    let _beat = Beat::start(&session).await;
    let before = fleet.resident_kib();
    let id = fleet.submit(&order(&fleet, peer.node));
    let mut stream = Delivered::take(&session).await;
    stream.say(&received()).await;
    let chunk = OUTPUT_CHUNK_BYTES_MAX;
    for index in 0..4096_u64 {
        stream.say(&output(index * chunk as u64, chunk)).await;
    }
    stream.say(&outcome(stream.run(), 4096 * chunk as u64)).await;
    until("the order is done", || (target(&fleet, id).state == api::TargetState::Ok).then_some(()));
    let grown = fleet.resident_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "64 MiB of output grew the aggregator by {grown} KiB");
    fleet.assert_agents_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_takes_an_order_and_says_nothing_keeps_its_session_and_loses_the_stream() {
    let fleet = Fleet::start(0);
    let peer = Peer::enroll(&fleet, "peer").await;
    let session = peer.session(&fleet).await;
    let _beat = Beat::start(&session).await;
    fleet.submit(&order(&fleet, peer.node));
    let stream = Delivered::take(&session).await;
    let stopped = soon("the aggregator gives the stream up", stream.send.stopped()).await;
    assert!(stopped.is_ok_and(|code| code.is_some()), "stopped, not lost");
    assert!(session.connection.close_reason().is_none());
}
