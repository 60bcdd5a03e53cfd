//! An aggregator in the wrong hands: the real certificate authority, the real address, our protocol.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use campanile_common::wire::frame::{FRAME_BYTES_MAX, Frame, FrameDecoder};
use campanile_common::wire::hello::{Opening, Welcome};
use campanile_common::wire::v1::control::Control;
use campanile_common::wire::v1::order::{Deliver, OrderReply, OrderRequest, Outcome};
use campanile_common::wire::v1::request::{Reply, Request, StewardDescription};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use tokio::runtime::Runtime;

use crate::victim::{Victim, now};

/// Longest wait for anything: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// The impostor with a session of the node.
pub(crate) struct Impostor {
    runtime: Runtime,
    connection: Connection,
    control: SendStream,
    _endpoint: Endpoint,
    // Kept open: an agent leaves when its control stream ends.
    _receive: RecvStream,
}

impl Impostor {
    /// Takes the aggregator's place and waits for the node to come.
    pub(crate) fn take_over(victim: &Victim) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let tls = QuicServerConfig::try_from(victim.stolen_tls()).unwrap();
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(tls));
        let mut transport = quinn::TransportConfig::default();
        transport.keep_alive_interval(Some(Duration::from_millis(500)));
        config.transport_config(Arc::new(transport));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, victim.fleet.port()));
        let _guard = runtime.enter();
        let endpoint = Endpoint::server(config, address).unwrap();
        let session = async {
            let connection = endpoint.accept().await.unwrap().await.unwrap();
            let (control, receive) = connection.accept_bi().await.unwrap();
            (connection, control, receive)
        };
        let (connection, mut control, mut receive) =
            runtime.block_on(async { tokio::time::timeout(PATIENCE, session).await.unwrap() });
        let hello = runtime.block_on(first_frame(&mut receive));
        let Ok(Opening::Hello(hello)) = Opening::from_frame(&hello) else { panic!("not a hello") };
        assert_eq!(hello.node, victim.node);
        let welcome = Opening::Welcome(Welcome {
            aggregator: victim.file.aggregator_id,
            version: 1,
            capabilities: hello.capabilities,
            interval_ms: 1000,
            durable: None,
            authority_version: 1,
            clock: now(),
        });
        runtime.block_on(control.write_all(&welcome.to_bytes().unwrap())).unwrap();
        // Samples are read and thrown away, so that the agent never stalls.
        let samples = connection.clone();
        runtime.spawn(async move {
            while let Ok(mut stream) = samples.accept_uni().await {
                tokio::spawn(async move { while let Ok(Some(_)) = stream.read_chunk(65_536, true).await {} });
            }
        });
        drop(_guard);
        Self { runtime, connection, control, _endpoint: endpoint, _receive: receive }
    }

    /// Sends a message on the control stream.
    pub(crate) fn say(&mut self, message: &Control) {
        let bytes = message.to_bytes().unwrap();
        self.runtime.block_on(self.control.write_all(&bytes)).expect("the session stands");
    }

    /// Delivers a run, takes note of its outcome and, as an aggregator should, acknowledges it.
    pub(crate) fn deliver(&self, deliver: &Deliver) -> Outcome {
        self.runtime.block_on(deliver_on(&self.connection, deliver))
    }

    /// Sends raw bytes on an order stream and gives what comes back before the agent closes it.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        self.runtime.block_on(async {
            let (mut send, mut receive) = self.connection.open_bi().await.unwrap();
            // The agent may stop reading before all is written.
            drop(send.write_all(bytes).await);
            drop(send.finish());
            let all = tokio::time::timeout(PATIENCE, receive.read_to_end(FRAME_BYTES_MAX)).await;
            all.expect("the agent answers or closes").unwrap_or_default()
        })
    }

    /// One request with one reply.
    pub(crate) fn ask(&self, request: &Request) -> Reply {
        let bytes = self.raw(&request.to_bytes().unwrap());
        let mut decoder = FrameDecoder::default();
        decoder.push(&bytes);
        Reply::from_frame(&decoder.next().unwrap().expect("a reply")).unwrap()
    }

    /// What the steward says of itself.
    pub(crate) fn describe(&self) -> StewardDescription {
        match self.ask(&Request::Describe) {
            Reply::Description(description) => *description,
            other => panic!("no description: {other:?}"),
        }
    }

    /// The steward's whole audit chain, in JSON.
    pub(crate) fn audit(&self) -> Vec<campanile_common::api::AuditEntry> {
        let mut entries: Vec<campanile_common::api::AuditEntry> = Vec::new();
        loop {
            let after = entries.last().map_or(0, |entry| entry.sequence);
            match self.ask(&Request::Audit { after, limit: 64 }) {
                Reply::Audit(page) if page.is_empty() => return entries,
                Reply::Audit(page) => {
                    entries.extend(page.iter().map(|entry| serde_json::from_str(entry).unwrap()));
                }
                other => panic!("no audit: {other:?}"),
            }
        }
    }
}

async fn deliver_on(connection: &Connection, deliver: &Deliver) -> Outcome {
    let exchange = async {
        let (mut send, mut receive) = connection.open_bi().await.expect("the session stands");
        send.write_all(&OrderRequest::Deliver(deliver.clone()).to_bytes().unwrap()).await.unwrap();
        let mut decoder = FrameDecoder::default();
        loop {
            while let Some(frame) = decoder.next().unwrap() {
                if let OrderReply::Outcome(outcome) = OrderReply::from_frame(&frame).unwrap() {
                    send.write_all(&OrderRequest::Acknowledged.to_bytes().unwrap()).await.unwrap();
                    drop(send.finish());
                    return outcome;
                }
            }
            let chunk = receive.read_chunk(FRAME_BYTES_MAX, true).await.unwrap();
            decoder.push(&chunk.expect("an outcome before the end").bytes);
        }
    };
    tokio::time::timeout(PATIENCE, exchange).await.expect("every delivery is answered")
}

async fn first_frame(receive: &mut RecvStream) -> Frame {
    let mut decoder = FrameDecoder::default();
    loop {
        let chunk = receive.read_chunk(FRAME_BYTES_MAX, true).await.unwrap().expect("a frame");
        decoder.push(&chunk.bytes);
        if let Some(frame) = decoder.next().unwrap() {
            return frame;
        }
    }
}
