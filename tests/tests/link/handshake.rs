//! Which protocols are spoken, and that every connection is a whole handshake.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use campanile_common::fleet::aggregator_server_name;
use rustls::NamedGroup;
use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Resumption};
use rustls::client::{Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

use crate::harness::Fleet;
use crate::peer::{ENROLL, LINK, Peer, Session, alert, endpoint, quic, random, refusal_of, tls};

const NO_APPLICATION_PROTOCOL: u8 = 120;
const PROTOCOL_VERSION: u8 = 70;

#[tokio::test(flavor = "multi_thread")]
async fn other_protocols_are_refused_in_the_handshake() {
    let fleet = Fleet::start(2);
    let peer = Peer::enroll(&fleet, "peer").await;
    for alpn in [&[b"h3".as_slice()][..], &[b"campanile/2"], &[b"campanile-store/2"], &[]] {
        for own in [None, Some(peer.chain())] {
            let error = refusal_of(&fleet, tls(&fleet, alpn, own)).await;
            assert_eq!(alert(&error), Some(NO_APPLICATION_PROTOCOL), "{alpn:?}: {error:?}");
        }
    }
    // An offer that holds ours is taken.
    let connection = crate::peer::connect(&fleet, tls(&fleet, &[b"h3", LINK], Some(peer.chain()))).await;
    Session::open(connection.unwrap(), peer.hello(&fleet)).await.unwrap();
    fleet.assert_agents_untouched();
}

/// QUIC knows TLS 1.3 alone; the port's other half must not fall behind it.
#[test]
fn tls_1_2_is_refused_on_the_same_port() {
    let fleet = Fleet::start(0);
    let mut stream = TcpStream::connect(fleet.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(&client_hello_1_2()).unwrap();
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).unwrap();
    // An alert record (21) of two bytes: fatal, protocol_version.
    assert_eq!((answer[0], answer[5], answer[6]), (21, 2, PROTOCOL_VERSION));
}

/// A client hello as of 2008: ECDHE suites and no word of later versions.
fn client_hello_1_2() -> Vec<u8> {
    let groups = [0, 10, 0, 4, 0, 2, 0, 23];
    let formats = [0, 11, 0, 2, 1, 0];
    let signatures = [0, 13, 0, 6, 0, 4, 4, 3, 8, 4];
    let extensions = [&groups[..], &formats, &signatures].concat();
    let mut body = vec![3, 3];
    body.extend(random::<32>());
    body.extend([0, 0, 4, 0xc0, 0x2b, 0xc0, 0x2f, 1, 0]);
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let mut hello = vec![1, 0];
    hello.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    hello.extend(body);
    let mut record = vec![22, 3, 1];
    record.extend(u16::try_from(hello.len()).unwrap().to_be_bytes());
    record.extend(hello);
    record
}

/// A session store that counts the tickets it is given.
#[derive(Debug)]
struct Tickets {
    inner: ClientSessionMemoryCache,
    given: AtomicUsize,
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, server: ServerName<'static>, group: NamedGroup) {
        self.inner.set_kx_hint(server, group);
    }

    fn kx_hint(&self, server: &ServerName<'_>) -> Option<NamedGroup> {
        self.inner.kx_hint(server)
    }

    fn set_tls12_session(&self, _server: ServerName<'static>, _value: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _server: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _server: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, server: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.given.fetch_add(1, Ordering::SeqCst);
        self.inner.insert_tls13_ticket(server, value);
    }

    fn take_tls13_ticket(&self, server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.inner.take_tls13_ticket(server)
    }
}

/// A resumed session would skip the check of the certificate, and a revoked node would come back.
#[tokio::test(flavor = "multi_thread")]
async fn no_session_is_resumed() {
    let fleet = Fleet::start(0);
    let peer = Peer::enroll(&fleet, "peer").await;
    let tickets = Arc::new(Tickets { inner: ClientSessionMemoryCache::new(8), given: AtomicUsize::new(0) });
    let store: Arc<dyn ClientSessionStore> = tickets.clone();
    let mut config = tls(&fleet, &[LINK], Some(peer.chain()));
    config.resumption = Resumption::store(store);
    config.enable_early_data = true;
    let config = quic(config);
    let name = aggregator_server_name(fleet.file.fleet_id);
    let endpoint = endpoint();
    for _ in 0..3 {
        let connecting = endpoint.connect_with(config.clone(), fleet.address, &name).unwrap();
        let Err(connecting) = connecting.into_0rtt() else { panic!("early data is possible") };
        let session = Session::open(connecting.await.unwrap(), peer.hello(&fleet)).await.unwrap();
        session.connection.close(0_u32.into(), b"");
    }
    assert_eq!(tickets.given.load(Ordering::SeqCst), 0, "a ticket was issued");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_enrols_gets_no_further_than_enrolment() {
    let fleet = Fleet::start(0);
    let peer = Peer::enroll(&fleet, "peer").await;
    let connection = crate::peer::connect(&fleet, tls(&fleet, &[ENROLL], Some(peer.chain()))).await.unwrap();
    let hello = campanile_common::wire::hello::Opening::Hello(peer.hello(&fleet)).to_bytes().unwrap();
    let refusal = crate::peer::converse_on(&connection, &hello).await.unwrap_err();
    assert_eq!(refusal.code, campanile_common::wire::hello::RefusalCode::Malformed);
}
