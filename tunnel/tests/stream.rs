//! A connection over TCP behaves as one over UDP does, and takes no harm from a peer that does not keep to it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use campanile_tunnel::{Dialed, Dialing, Hint, Proxy, Target, Transport, TransportChoice, Ways, server};
use quinn::{Connection, ConnectionError, ReadToEndError, TransportConfig, VarInt};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const NAME: &str = "aggregator.example";
const LIMIT: Duration = Duration::from_secs(30);

fn limits() -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .keep_alive_interval(Some(Duration::from_millis(700)))
        .max_idle_timeout(Some(VarInt::from_u32(10_000).into()))
        .max_concurrent_bidi_streams(4_u8.into())
        .max_concurrent_uni_streams(2_u8.into());
    config
}

fn certificates() -> (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![NAME.to_owned()]).unwrap().self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let versions = &[&rustls::version::TLS13];
    let mut server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    server.alpn_protocols = vec![b"test/1".to_vec()];
    client.alpn_protocols = vec![b"test/1".to_vec()];
    (Arc::new(server), Arc::new(client))
}

struct Served {
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    target: Target,
}

impl Served {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (tls, client) = certificates();
        let address = listener.local_addr().unwrap().to_string();
        let target = Target { address, server_name: NAME.to_owned(), tls: client, transport: limits };
        Self { listener, tls, target }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    async fn accept(&self) -> Result<Connection, server::ServeError> {
        let (stream, peer) = self.listener.accept().await.unwrap();
        let local = stream.local_addr().unwrap();
        let stream = tokio_rustls::TlsAcceptor::from(Arc::clone(&self.tls)).accept(stream).await;
        let stream = stream.map_err(|error| server::ServeError::Stream(error.to_string()))?;
        server::accept(stream, (local, peer), server::server_config(Arc::clone(&self.tls), limits())).await
    }

    /// Both ends of one connection over TCP.
    async fn pair(&self, ways: &Ways) -> (Connection, Dialed) {
        let mut dialing = Dialing::default();
        let dialled = dialing.dial(&self.target, ways, Hint::Unknown);
        let (served, dialled) = timeout(LIMIT, async { tokio::join!(self.accept(), dialled) }).await.unwrap();
        (served.unwrap(), dialled.unwrap())
    }
}

fn tcp() -> Ways {
    Ways { choice: TransportChoice::Tcp, proxy: None }
}

#[tokio::test]
async fn streams_resets_and_closes_are_those_of_quic() {
    let served = Served::start().await;
    let (server, dialed) = served.pair(&tcp()).await;
    assert_eq!((dialed.transport, dialed.reason.as_str()), (Transport::Tcp, "the settings say tcp"));
    let client = dialed.connection;
    assert_eq!(server.remote_address().ip(), Ipv4Addr::LOCALHOST);
    // Large, both ways, over one stream.
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let echo = async {
        let (mut send, mut receive) = server.accept_bi().await.unwrap();
        let bytes = receive.read_to_end(4_000_000).await.unwrap();
        send.write_all(&bytes).await.unwrap();
        send.finish().unwrap();
    };
    let ask = async {
        let (mut send, mut receive) = client.open_bi().await.unwrap();
        send.write_all(&bytes).await.unwrap();
        send.finish().unwrap();
        receive.read_to_end(4_000_000).await.unwrap()
    };
    let ((), answer) = timeout(LIMIT, async { tokio::join!(echo, ask) }).await.unwrap();
    assert_eq!(answer, bytes);
    // A reset keeps its code, on a stream of one direction as well.
    let mut send = client.open_uni().await.unwrap();
    send.write_all(b"x").await.unwrap();
    let mut receive = server.accept_uni().await.unwrap();
    send.reset(42_u8.into()).unwrap();
    let ended = timeout(LIMIT, receive.read_to_end(10)).await.unwrap();
    assert!(
        matches!(ended, Err(ReadToEndError::Read(quinn::ReadError::Reset(code))) if code == VarInt::from_u32(42)),
        "{ended:?}"
    );
    // So does a close, with its reason.
    server.close(5_u8.into(), b"not in the roster");
    let closed = timeout(LIMIT, client.closed()).await.unwrap();
    let ConnectionError::ApplicationClosed(close) = closed else { panic!("{closed:?}") };
    assert_eq!((close.error_code, &close.reason[..]), (VarInt::from_u32(5), &b"not in the roster"[..]));
}

#[tokio::test]
async fn more_streams_than_allowed_wait_and_harm_nobody() {
    let served = Served::start().await;
    let (server, dialed) = served.pair(&tcp()).await;
    let client = dialed.connection;
    let mut open = Vec::new();
    for _ in 0..4 {
        let (mut send, receive) = timeout(LIMIT, client.open_bi()).await.unwrap().unwrap();
        send.write_all(b"x").await.unwrap();
        open.push((send, receive));
    }
    let fifth = timeout(Duration::from_millis(300), client.open_bi()).await;
    assert!(fifth.is_err(), "the server allows four");
    let (mut send, mut receive) = server.accept_bi().await.unwrap();
    send.finish().unwrap();
    receive.stop(0_u8.into()).unwrap();
    drop(open.remove(0));
    timeout(LIMIT, client.open_bi()).await.expect("one that ended makes room").unwrap();
}

#[tokio::test]
async fn a_tcp_connection_that_is_cut_ends_the_connection_at_once() {
    let served = Served::start().await;
    // A proxy is a place to cut at.
    let between = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let proxy: Proxy = format!("http://{}", between.local_addr().unwrap()).parse().unwrap();
    let target = served.address();
    let (cut, when) = tokio::sync::oneshot::channel::<()>();
    let passing = tokio::spawn(async move {
        let (mut near, _) = between.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(near.read_u8().await.unwrap());
        }
        let mut far = TcpStream::connect(target).await.unwrap();
        near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
            _ = when => {}
        }
        head
    });
    let ways = Ways { choice: TransportChoice::Tcp, proxy: Some(proxy) };
    let (server, dialed) = served.pair(&ways).await;
    assert_eq!(dialed.transport, Transport::TcpViaProxy);
    cut.send(()).unwrap();
    let head = String::from_utf8(passing.await.unwrap()).unwrap();
    assert!(head.starts_with(&format!("CONNECT {target} HTTP/1.1\r\n")), "{head}");
    for (end, connection) in [("server", server), ("client", dialed.connection)] {
        let closed = timeout(LIMIT, connection.closed()).await.unwrap();
        assert!(matches!(closed, ConnectionError::LocallyClosed), "{end}: {closed:?}");
    }
}

#[tokio::test]
async fn the_stream_is_closed_when_the_connection_has_ended() {
    let served = Served::start().await;
    let (mut near, far) = tokio::io::duplex(1 << 16);
    let addresses = (served.address(), served.address());
    let config = server::server_config(Arc::clone(&served.tls), limits());
    let accepting = tokio::spawn(async move { server::accept(far, addresses, config).await.is_err() });
    // An oversize packet is refused by its header alone.
    near.write_all(&[0xff, 0xff, 1, 2, 3]).await.unwrap();
    assert!(timeout(LIMIT, accepting).await.unwrap().unwrap());
    let mut rest = Vec::new();
    timeout(LIMIT, near.read_to_end(&mut rest)).await.expect("the stream ends").unwrap();
    assert!(rest.is_empty());

    let (server, dialed) = served.pair(&tcp()).await;
    dialed.connection.close(0_u8.into(), b"done");
    drop(dialed);
    timeout(LIMIT, server.closed()).await.unwrap();
}

#[tokio::test]
async fn garbage_in_packets_is_dropped_as_it_is_over_udp() {
    let served = Served::start().await;
    let (mut near, far) = tokio::io::duplex(1 << 16);
    let addresses = (served.address(), served.address());
    let config = server::server_config(Arc::clone(&served.tls), limits());
    let accepting = tokio::spawn(async move { server::accept(far, addresses, config).await.is_err() });
    for length in [1_u16, 20, 1200, 4096] {
        near.write_all(&length.to_be_bytes()).await.unwrap();
        near.write_all(&vec![0xa5; length.into()]).await.unwrap();
    }
    drop(near);
    assert!(timeout(LIMIT, accepting).await.unwrap().unwrap(), "and no connection comes of it");
}
