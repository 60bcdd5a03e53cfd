//! Who connects: the node that a connection's certificate names.

use std::time::Duration;

use campanile_common::fleet::node_uri;
use campanile_common::id::NodeId;
use campanile_common::time::Timestamp;
use quinn::Connection;
use rustls::pki_types::CertificateDer;

use super::{Context, tls};
use crate::identity::BACKDATE;
use crate::node::Validity;

/// Who is at the other end, by its certificate.
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) key: campanile_common::id::Digest,
    pub(super) certificate: Validity,
    /// The certificate has expired: it may be renewed, and nothing else.
    pub(super) must_renew: bool,
}

/// Reads the certificate that the handshake verified; none where it is no node's of this fleet.
pub(super) fn peer(connection: &Connection, context: &Context) -> Option<Peer> {
    let identity = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    let certificate = tls::read_peer(identity.first()?)?;
    let prefix = format!("spiffe://{}/node/", context.fleet.fleet_id);
    let node: NodeId = certificate.uri.strip_prefix(&prefix)?.parse().ok()?;
    debug_assert_eq!(node_uri(context.fleet.fleet_id, node), certificate.uri);
    let must_renew = context.clock.now().as_secs() > certificate.not_after;
    let at = |second| Timestamp::from_millis(0) + Duration::from_secs(second);
    let issued = at(certificate.not_before) + BACKDATE;
    let validity = Validity { issued, ends: at(certificate.not_after) };
    Some(Peer { node, key: certificate.key, certificate: validity, must_renew })
}
