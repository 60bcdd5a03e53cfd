//! Whose certificate counts, and for what.

use std::time::Duration;

use campanile_common::fleet::{aggregator_uri, node_uri};
use campanile_common::id::{FleetId, NodeId};
use campanile_common::wire::hello::{CAPABILITY_RENEW_ONLY, Hello, RefusalCode, VERSION_MAX};
use campanile_common::wire::v1::control::Control;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use crate::harness::{Fleet, until};
use crate::peer::{Beat, samples};
use crate::peer::{
    LINK, Peer, Session, alert, closed, code, connect, ending, forge, hello, now, private, refusal_of, soon,
    tls,
};

const DAY: Duration = Duration::from_secs(86_400);
const UNKNOWN_CA: u8 = 48;
const EXPIRED: u8 = 45;

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_may_be_renewed_and_nothing_else() {
    let fleet = Fleet::start(2);
    let peer = Peer::enroll(&fleet, "late").await;
    let chain = ending(&fleet, &peer, now() - DAY);
    let connection = connect(&fleet, tls(&fleet, &[LINK], Some(chain))).await.unwrap();
    let mut session = Session::open(connection, peer.hello(&fleet)).await.unwrap();
    assert_eq!(session.welcome.capabilities, [CAPABILITY_RENEW_ONLY]);

    let mut lane = session.connection.open_uni().await.unwrap();
    lane.write_all(&samples(session.instance, 1)).await.unwrap();
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap().der().to_vec();
    session.send.write_all(&Control::Renew(request).to_bytes().unwrap()).await.unwrap();
    let renewed = loop {
        let frame = soon("a certificate", session.next()).await.unwrap();
        if let Ok(Control::Renewed { certificate, .. }) = Control::from_frame(&frame) {
            break certificate;
        }
    };
    assert!(fleet.coverage(peer.node).runs.is_empty(), "samples need a valid certificate");

    // The new certificate is a whole one, and its first use ends the old one.
    let renewed = Peer { node: peer.node, key, certificate: renewed.into() };
    let sound = renewed.session(&fleet).await;
    let _beat = Beat::start(&sound).await;
    until("a sample is taken in", || (fleet.node(peer.node).last_heartbeat).map(drop));
    let replaced = Session::open(peer.connect(&fleet).await, peer.hello(&fleet)).await;
    assert_eq!(code(replaced), RefusalCode::NotInRoster);
    assert!(fleet.audit().iter().any(|entry| entry.action == "certificate.renew"));
    fleet.await_log(&["session refused", "not_in_roster", &peer.node.to_string()]);
    fleet.assert_agents_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_for_renewal_alone_does_not_stay() {
    let fleet = Fleet::start(0);
    let peer = Peer::enroll(&fleet, "idle").await;
    let chain = ending(&fleet, &peer, now() - DAY);
    let connection = connect(&fleet, tls(&fleet, &[LINK], Some(chain))).await.unwrap();
    let session = Session::open(connection, peer.hello(&fleet)).await.unwrap();
    let (code, reason) = session.end().await;
    assert_eq!(code, 3);
    assert!(reason.contains("renew"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_do_not_count_end_the_handshake() {
    let fleet = Fleet::start(2);
    let peer = Peer::enroll(&fleet, "peer").await;
    let uri = node_uri(fleet.file.fleet_id, peer.node);
    let client = ExtendedKeyUsagePurpose::ClientAuth;

    let long_expired = ending(&fleet, &peer, now() - 100 * DAY);
    let foreign_key = KeyPair::generate().unwrap();
    let mut foreign = CertificateParams::default();
    foreign.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let foreign = Issuer::new(foreign, foreign_key);
    let of_foreign_ca = forge(&foreign, &peer.key, uri.clone(), client, now() + DAY);
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![rcgen::SanType::URI(uri.try_into().unwrap())];
    let self_signed = params.self_signed(&peer.key).unwrap().der().clone();
    let server = ExtendedKeyUsagePurpose::ServerAuth;
    let uri = aggregator_uri(fleet.file.fleet_id, fleet.file.aggregator_id);
    let server = forge(&fleet.issuer(), &peer.key, uri, server, now() + DAY);

    for (what, chain, expected) in [
        ("beyond the time for renewal", long_expired.0, Some(EXPIRED)),
        ("of a foreign CA", vec![of_foreign_ca], Some(UNKNOWN_CA)),
        ("self-signed", vec![self_signed], Some(UNKNOWN_CA)),
        ("of a server", vec![server], None),
    ] {
        let error = refusal_of(&fleet, tls(&fleet, &[LINK], Some((chain, private(&peer.key))))).await;
        let found = alert(&error).unwrap_or_else(|| panic!("{what}: {error:?}"));
        assert!(expected.is_none_or(|expected| expected == found), "{what}: alert {found}");
    }
    fleet.await_log(&["handshake refused", "certificate expired"]);
    fleet.await_log(&["handshake refused", "UnknownIssuer"]);
    fleet.assert_agents_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_takes_a_certificate_that_names_a_node_of_the_fleet() {
    let fleet = Fleet::start(2);
    let peer = Peer::enroll(&fleet, "peer").await;
    let client = ExtendedKeyUsagePurpose::ClientAuth;
    let named = |uri: String| {
        (vec![forge(&fleet.issuer(), &peer.key, uri, client.clone(), now() + DAY)], private(&peer.key))
    };
    let foreign = node_uri(FleetId::from_bytes([7; 16]), peer.node);
    for own in [None, Some(named(foreign)), Some(named("spiffe://elsewhere/node/1".to_owned()))] {
        let error = refusal_of(&fleet, tls(&fleet, &[LINK], own)).await;
        assert_eq!(closed(&error), (2, "a node's certificate is needed".to_owned()));
    }
    fleet.await_log(&["connection without a node's certificate"]);

    // A name that the CA signed is not enough: the key must be the roster's.
    let stolen = named(node_uri(fleet.file.fleet_id, NodeId::from_bytes([9; 8])));
    let connection = connect(&fleet, tls(&fleet, &[LINK], Some(stolen))).await.unwrap();
    let unknown = Session::open(connection, hello(fleet.file.fleet_id, NodeId::from_bytes([9; 8]))).await;
    assert_eq!(code(unknown), RefusalCode::NotInRoster);
    fleet.assert_agents_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_that_contradicts_the_certificate_is_refused() {
    let fleet = Fleet::start(2);
    let peer = Peer::enroll(&fleet, "peer").await;
    let other = Peer::enroll(&fleet, "other").await;
    let sound = peer.hello(&fleet);
    let cases = [
        (Hello { node: other.node, ..sound.clone() }, RefusalCode::NotInRoster),
        (Hello { fleet: FleetId::from_bytes([7; 16]), ..sound.clone() }, RefusalCode::ForeignFleet),
        (Hello { version_min: 200, version_max: 201, ..sound.clone() }, RefusalCode::Version),
        (Hello { version_min: 1, version_max: 0, ..sound.clone() }, RefusalCode::Version),
    ];
    for (hello, expected) in cases {
        let connection = peer.connect(&fleet).await;
        assert_eq!(code(Session::open(connection.clone(), hello).await), expected);
        soon("the aggregator closes", connection.closed()).await;
        fleet.await_log(&["session refused", expected.as_str()]);
    }
    fleet.assert_agents_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_knows_later_versions_speaks_the_highest_that_both_know() {
    let fleet = Fleet::start(1);
    let peer = Peer::enroll(&fleet, "peer").await;
    let later = Hello { version_max: 200, agent_version: "99.0.0".to_owned(), ..peer.hello(&fleet) };
    let session = Session::open(peer.connect(&fleet).await, later).await.unwrap();
    assert_eq!(session.welcome.version, VERSION_MAX);
    fleet.assert_agents_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_node_is_out_at_once_and_for_good() {
    let fleet = Fleet::start(2);
    let peer = Peer::enroll(&fleet, "peer").await;
    let mut session = peer.session(&fleet).await;
    let _beat = Beat::start(&session).await;
    fleet.retire(peer.node);
    let mut is_told = false;
    while let Some(frame) = soon("the session ends", session.next()).await {
        is_told |= matches!(Control::from_frame(&frame), Ok(Control::Goodbye { .. }));
    }
    assert!(is_told, "the agent is told why");
    let again = Session::open(peer.connect(&fleet).await, peer.hello(&fleet)).await;
    assert_eq!(code(again), RefusalCode::NotInRoster);
    fleet.assert_agents_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_identity_is_refused_while_the_first_lives() {
    let fleet = Fleet::start(2);
    let peer = Peer::enroll(&fleet, "peer").await;
    let first = peer.session(&fleet).await;
    let _beat = Beat::start(&first).await;
    until("the first is heard", || fleet.node(peer.node).last_heartbeat.map(drop));
    for _ in 0..6 {
        let copy = Session::open(peer.connect(&fleet).await, peer.hello(&fleet)).await;
        assert_eq!(code(copy), RefusalCode::IdentityInUse);
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    fleet.await_log(&["two agents use one identity", &peer.node.to_string()]);
    assert!(first.connection.close_reason().is_none(), "the first stays");
    fleet.assert_agents_untouched();
}
