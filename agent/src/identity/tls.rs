//! TLS as the agent speaks it: version 1.3 alone, no resumption, the fleet's CA and no other.

use std::sync::Arc;

use campanile_common::authority::sha256;
use campanile_common::id::{Digest, FleetId};
use rustls::client::Resumption;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::Identity;

/// Protocol of enrolled agents.
pub const ALPN_LINK: &[u8] = b"campanile/1";
/// Protocol of backup data.
pub const ALPN_STORE: &[u8] = b"campanile-store/1";
/// Protocol of enrolment.
pub const ALPN_ENROLL: &[u8] = b"campanile-enroll/1";

/// TLS that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Key, certificate or CA is refused.
    #[error("the node's key or certificates cannot be used")]
    Material(#[from] Error),
    /// The private key is not readable.
    #[error("the node's private key cannot be read")]
    Key(#[from] rustls::pki_types::pem::Error),
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// How an enrolled agent dials: with its certificate, accepting only aggregators that the pinned CA vouches for.
///
/// # Errors
/// When the identity's key or certificates cannot be used.
pub fn link_config(identity: &Identity) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(identity.ca.clone()))?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![CertificateDer::from(identity.certificate.clone())], key)?;
    config.alpn_protocols = vec![ALPN_LINK.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// How an enrolled node dials its backup store: as the link does.
///
/// # Errors
/// When the identity's key or certificates cannot be used.
pub fn store_config(identity: &Identity) -> Result<ClientConfig, TlsError> {
    let mut config = link_config(identity)?;
    config.alpn_protocols = vec![ALPN_STORE.to_vec()];
    Ok(config)
}

/// How a node that has nothing but a token dials: the CA whose key the token pins must vouch for the aggregator.
///
/// # Errors
/// When TLS cannot be set up.
pub fn enroll_config(fleet: FleetId, ca_key: Digest) -> Result<ClientConfig, TlsError> {
    let provider = provider();
    let verifier = PinnedCa { fleet, ca_key, provider: Arc::clone(&provider) };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_ENROLL.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// SHA-256 of a certificate's SubjectPublicKeyInfo, which is what tokens pin.
///
/// # Errors
/// When the bytes are no certificate.
pub fn key_digest(certificate: &CertificateDer<'_>) -> Result<Digest, Error> {
    let anchor = webpki::anchor_from_trusted_cert(certificate)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    Ok(spki_digest(&anchor.subject_public_key_info))
}

/// The digest covers the SubjectPublicKeyInfo whole; webpki gives its content without the outer tag and length.
fn spki_digest(content: &[u8]) -> Digest {
    let length = content.len();
    // DER: SEQUENCE, then a short length below 128 or a long one of one or two bytes.
    let header: Vec<u8> = match u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes() {
        [0, low] if low < 0x80 => vec![0x30, low],
        [0, low] => vec![0x30, 0x81, low],
        [high, low] => vec![0x30, 0x82, high, low],
    };
    sha256(&[&header, content])
}

#[derive(Debug)]
struct PinnedCa {
    fleet: FleetId,
    ca_key: Digest,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let ca = intermediates
            .iter()
            .find(|certificate| key_digest(certificate).is_ok_and(|digest| digest == self.ca_key))
            .ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
                .build()
                .map_err(|error| Error::General(error.to_string()))?;
        let name = campanile_common::fleet::aggregator_server_name(self.fleet);
        let name = ServerName::try_from(name).map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, &name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
