//! The fleet's CA: issues short-lived leaf certificates, and decides every field of them.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use campanile_common::authority::sha256;
use campanile_common::fleet::{CA_FILE, CA_KEY_FILE, aggregator_server_name, aggregator_uri, node_uri};
use campanile_common::id::{AggregatorId, Digest, FleetId, NodeId};
use campanile_common::time::Timestamp;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    Issuer, KeyPair, KeyUsagePurpose, PublicKey, SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;
use x509_parser::prelude::FromDer as _;

use crate::os::random;

/// Certificates are valid from so long before they are issued, so that a node whose clock is behind accepts them.
pub const BACKDATE: Duration = Duration::from_secs(3600);
/// Longest certificate request that is looked at.
const REQUEST_BYTES_MAX: usize = 4096;

/// A CA that cannot be used, or a request that is refused.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file is unreadable.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no key or certificate.
    #[error("{path} is damaged; restore it from a self-backup")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: rcgen::Error,
    },
    /// The request is not well formed, or not signed by its own key.
    #[error("the certificate request is malformed")]
    Request,
    /// Signing failed.
    #[error("cannot sign a certificate")]
    Sign(#[source] rcgen::Error),
}

/// The CA of one fleet.
pub struct Ca {
    fleet: FleetId,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
    key_digest: Digest,
    /// Life of the leaf certificates.
    lifetime: Duration,
}

impl std::fmt::Debug for Ca {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ca(key {})", self.key_digest)
    }
}

/// A certificate request whose form and self-signature hold; made by [`Ca::check_request`] alone.
#[derive(Debug)]
pub struct CheckedRequest {
    key: PublicKey,
    /// SHA-256 of the key's SubjectPublicKeyInfo, as the roster keeps it.
    pub key_digest: Digest,
}

/// An issued leaf certificate.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// DER.
    pub certificate: Vec<u8>,
    /// Its last second.
    pub not_after: Timestamp,
}

impl Ca {
    /// Reads the CA from the aggregator's state folder.
    ///
    /// # Errors
    /// When key or certificate are missing or damaged.
    pub fn load(state_dir: &Path, fleet: FleetId, lifetime: Duration) -> Result<Self, CaError> {
        let read = |name: &str| {
            let path = state_dir.join(name);
            match std::fs::read_to_string(&path) {
                Ok(text) => Ok((zeroize::Zeroizing::new(text), path)),
                Err(source) => Err(CaError::Read { path, source }),
            }
        };
        let (key, key_path) = read(CA_KEY_FILE)?;
        let key = KeyPair::from_pem(&key).map_err(|source| CaError::Damaged { path: key_path, source })?;
        let (pem, path) = read(CA_FILE)?;
        let damaged = |source| CaError::Damaged { path: path.clone(), source };
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| damaged(rcgen::Error::CouldNotParseCertificate))?;
        let key_digest =
            key_digest(&certificate).ok_or_else(|| damaged(rcgen::Error::CouldNotParseCertificate))?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(damaged)?;
        Ok(Self { fleet, issuer, certificate, pem: pem.to_string(), key_digest, lifetime })
    }

    /// The CA's own certificate.
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The same as PEM, which the command line and scripts take.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// SHA-256 of its key, which tokens pin.
    pub const fn key_digest(&self) -> Digest {
        self.key_digest
    }

    /// Checks the form and self-signature of a request. Nothing but its key is ever used.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn check_request(&self, request: &[u8]) -> Result<CheckedRequest, CaError> {
        if request.len() > REQUEST_BYTES_MAX {
            return Err(CaError::Request);
        }
        let (_, parsed) = x509_parser::certification_request::X509CertificationRequest::from_der(request)
            .map_err(|_| CaError::Request)?;
        let key_digest = sha256(&[parsed.certification_request_info.subject_pki.raw]);
        let request = CertificateSigningRequestDer::from(request);
        let checked = CertificateSigningRequestParams::from_der(&request).map_err(|_| CaError::Request)?;
        Ok(CheckedRequest { key: checked.public_key, key_digest })
    }

    /// Until when a leaf issued now is valid.
    pub fn expiry(&self, now: Timestamp) -> Timestamp {
        now + self.lifetime
    }

    /// Certifies a node's key.
    ///
    /// # Errors
    /// When signing fails.
    pub fn issue_node(
        &self,
        node: NodeId,
        request: &CheckedRequest,
        now: Timestamp,
    ) -> Result<Leaf, CaError> {
        let mut params = self.params(now, format!("node {node}"));
        params.subject_alt_names = vec![uri(node_uri(self.fleet, node))?];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&request.key, &self.issuer).map_err(CaError::Sign)?;
        Ok(Leaf { certificate: certificate.der().to_vec(), not_after: now + self.lifetime })
    }

    /// Makes a key for this aggregator and certifies it for the fleet's fixed name and for `hosts`, names or
    /// addresses, by which people reach it.
    ///
    /// # Errors
    /// When signing fails or a host is no name.
    pub fn issue_server(
        &self,
        aggregator: AggregatorId,
        hosts: &[String],
        now: Timestamp,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), CaError> {
        let mut params = self.params(now, format!("aggregator {aggregator}"));
        let fixed = aggregator_server_name(self.fleet);
        params.subject_alt_names = vec![uri(aggregator_uri(self.fleet, aggregator))?];
        for host in hosts.iter().chain([&fixed]) {
            params.subject_alt_names.push(match host.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(host.as_str().try_into().map_err(CaError::Sign)?),
            });
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().map_err(CaError::Sign)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(CaError::Sign)?;
        let chain = vec![certificate.der().clone(), self.certificate.clone()];
        Ok((chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
    }

    fn params(&self, now: Timestamp, common_name: String) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.not_before = offset_date_time(now - BACKDATE);
        params.not_after = offset_date_time(now + self.lifetime);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        // 159 bits: positive and within the 20 bytes of RFC 5280.
        let mut serial = random::bytes::<20>();
        serial[0] &= 0x7f;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params
    }
}

/// SHA-256 of a certificate's SubjectPublicKeyInfo; none when it is no certificate.
pub fn key_digest(certificate: &CertificateDer<'_>) -> Option<Digest> {
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(certificate).ok()?;
    Some(sha256(&[parsed.tbs_certificate.subject_pki.raw]))
}

fn uri(text: String) -> Result<SanType, CaError> {
    Ok(SanType::URI(text.try_into().map_err(CaError::Sign)?))
}

fn offset_date_time(at: Timestamp) -> OffsetDateTime {
    let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
