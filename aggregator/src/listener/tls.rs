//! TLS of the aggregator: version 1.3 alone, no tickets, the fleet's CA and no other.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, RootCertStore,
    ServerConfig, SignatureScheme,
};
use x509_parser::prelude::FromDer as _;

use super::{ALPN_ENROLL, ALPN_LINK, ALPN_STORE};

/// A node whose certificate expired may renew it for so long: a machine that was off for a month comes back by itself.
pub(super) const RENEW_GRACE: Duration = Duration::from_secs(90 * 86_400);

/// TLS that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Key or certificate refused.
    #[error("the aggregator's key or certificate cannot be used")]
    Material(#[from] Error),
    /// The CA cannot be used to verify.
    #[error("the CA cannot be used to verify agents")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// For agents: asks for a certificate of the fleet's CA. A peer without one may only enrol.
///
/// # Errors
/// When key or certificates cannot be used.
pub fn agent_config(
    ca: &CertificateDer<'static>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone())?;
    let inner = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .allow_unauthenticated()
        .build()?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(ExpiryTolerant { inner }))
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN_LINK.to_vec(), ALPN_STORE.to_vec(), ALPN_ENROLL.to_vec()];
    // A resumed session skips the verifier above: a revoked node would come back.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Ok(config)
}

/// For people: the same certificate over TCP.
///
/// # Errors
/// When key or certificates cannot be used.
pub fn people_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Verifies against the fleet's CA, and lets an expired certificate through for as long as it may be renewed. The
/// session looks at the expiry again and allows nothing else.
#[derive(Debug)]
struct ExpiryTolerant {
    inner: Arc<dyn ClientCertVerifier>,
}

impl ClientCertVerifier for ExpiryTolerant {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Agents have one certificate and need no hint; the list would cost bytes in every handshake.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now);
        let is_expired = matches!(
            verified,
            Err(Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. }
            ))
        );
        if !is_expired {
            return verified;
        }
        let Some(not_after) = not_after(end_entity) else { return verified };
        if now.as_secs().saturating_sub(not_after) > RENEW_GRACE.as_secs() {
            return verified;
        }
        let then = UnixTime::since_unix_epoch(Duration::from_secs(not_after.saturating_sub(1)));
        self.inner.verify_client_cert(end_entity, intermediates, then)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Last second of a certificate, since the Unix epoch.
fn not_after(certificate: &CertificateDer<'_>) -> Option<u64> {
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(certificate).ok()?;
    u64::try_from(parsed.validity().not_after.timestamp()).ok()
}

/// What a verified client certificate says.
#[derive(Debug)]
pub(super) struct PeerCertificate {
    /// Its SPIFFE name.
    pub(super) uri: String,
    /// SHA-256 of its key.
    pub(super) key: campanile_common::id::Digest,
    /// Its first second, since the Unix epoch.
    pub(super) not_before: u64,
    /// Its last second, since the Unix epoch.
    pub(super) not_after: u64,
}

/// Reads the name, key and end of a certificate that the handshake has verified.
pub(super) fn read_peer(certificate: &CertificateDer<'_>) -> Option<PeerCertificate> {
    use x509_parser::extensions::GeneralName;
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(certificate).ok()?;
    let names = &parsed.subject_alternative_name().ok()??.value.general_names;
    let [GeneralName::URI(uri)] = names[..] else { return None };
    Some(PeerCertificate {
        uri: uri.to_owned(),
        key: crate::identity::key_digest(certificate)?,
        not_before: u64::try_from(parsed.validity().not_before.timestamp()).ok()?,
        not_after: u64::try_from(parsed.validity().not_after.timestamp()).ok()?,
    })
}
