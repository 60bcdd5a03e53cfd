//! Enrolment: from a token to an identity.
//!
//! The key is made here and never leaves the node. The aggregator proves itself by the CA key that the token pins
//! before the secret is sent; the authority it sends must begin with the document that the token pins.

use std::sync::Arc;
use std::time::Duration;

use campanile_common::fleet::aggregator_server_name;
use campanile_common::token::Token;
use campanile_common::wire::frame::{FRAME_BYTES_MAX, FrameDecoder};
use campanile_common::wire::hello::{Opening, Refusal};
use campanile_common::wire::v1::control::Facts;
use campanile_common::wire::v1::enroll::{Enroll, Enrolled};
use campanile_tunnel::{DialError, Dialing, Hint, Target, Ways};
use quinn::TransportConfig;
use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::{FORMAT, Identity, tls};
use crate::os::clock;

/// Longest time for one aggregator address.
const ENROLL_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a goodbye may take to arrive.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Why enrolment failed.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The aggregator said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nobody answered.
    #[error(
        "no aggregator could be reached: {attempts}; is that port open, for UDP or TCP? behind a proxy, set `proxy`"
    )]
    Unreachable {
        /// One text per address.
        attempts: String,
    },
    /// Whoever answered is not the aggregator that the token names.
    #[error(
        "{address} is not the aggregator this token was made by: its CA key differs from the token's pin"
    )]
    ForeignCa {
        /// Where.
        address: String,
    },
    /// The answer is not what the protocol says.
    #[error("the aggregator's answer is not understood: {0}")]
    Answer(String),
    /// The authority does not begin with the pinned one.
    #[error("the aggregator's authority is not the one this token pins")]
    Authority(#[from] campanile_common::authority::AuthorityError),
    /// The key could not be made.
    #[error("cannot make the node's key")]
    Key(#[from] rcgen::Error),
    /// TLS could not be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] tls::TlsError),
}

/// A new key and the request to certify it.
pub struct KeyRequest {
    /// PKCS #8 PEM.
    pub key: Zeroizing<String>,
    /// DER.
    pub request: Vec<u8>,
}

impl KeyRequest {
    /// Makes a key (ECDSA P-256).
    ///
    /// # Errors
    /// When the library refuses.
    pub fn generate() -> Result<Self, rcgen::Error> {
        let key = rcgen::KeyPair::generate()?;
        // Every name is chosen by the aggregator; the request proves possession of the key and no more.
        let request = rcgen::CertificateParams::default().serialize_request(&key)?;
        Ok(Self { key: Zeroizing::new(key.serialize_pem()), request: request.der().to_vec() })
    }
}

/// Enrols with `token` under `name`, trying each address of the token in turn by the ways that may be gone.
///
/// # Errors
/// When no address leads to the pinned aggregator, or it refuses.
pub async fn enroll(token: &Token, name: String, facts: Facts, ways: &Ways) -> Result<Identity, EnrollError> {
    let key = KeyRequest::generate()?;
    let request = Enroll { secret: token.secret.clone(), request: key.request.clone(), name, facts };
    let mut attempts = Vec::new();
    for address in &token.addresses {
        match tokio::time::timeout(ENROLL_TIMEOUT, exchange(token, address, &request, ways)).await {
            Ok(Ok(enrolled)) => return accept(token, key, enrolled),
            Ok(Err(EnrollError::Unreachable { attempts: text })) => {
                attempts.push(format!("{address}: {text}"))
            }
            Ok(Err(error)) => return Err(error),
            Err(_) => attempts.push(format!("{address}: no answer in {} s", ENROLL_TIMEOUT.as_secs())),
        }
    }
    Err(EnrollError::Unreachable { attempts: attempts.join("; ") })
}

async fn exchange(
    token: &Token,
    address: &str,
    request: &Enroll,
    ways: &Ways,
) -> Result<Enrolled, EnrollError> {
    let target = Target {
        address: address.to_owned(),
        server_name: aggregator_server_name(token.fleet),
        tls: Arc::new(tls::enroll_config(token.fleet, token.ca_key)?),
        transport: TransportConfig::default,
    };
    let mut dialing = Dialing::default();
    let dialed = dialing.dial(&target, ways, Hint::Unknown).await.map_err(|error| match error {
        DialError::ForeignCa(_) => EnrollError::ForeignCa { address: address.to_owned() },
        DialError::Unreachable(attempts) => EnrollError::Unreachable { attempts },
    })?;
    let answer = converse(&dialed.connection, request).await;
    dialed.connection.close(0_u32.into(), b"done");
    dialing.close(b"done", CLOSE_TIMEOUT).await;
    answer
}

async fn converse(connection: &quinn::Connection, request: &Enroll) -> Result<Enrolled, EnrollError> {
    let answer_error = |error: &dyn std::fmt::Display| EnrollError::Answer(error.to_string());
    let bytes = request.to_bytes().map_err(|error| answer_error(&error))?;
    let (mut send, mut receive) = connection.open_bi().await.map_err(|error| answer_error(&error))?;
    send.write_all(&bytes).await.map_err(|error| answer_error(&error))?;
    send.finish().map_err(|error| answer_error(&error))?;
    let bytes = receive.read_to_end(FRAME_BYTES_MAX).await.map_err(|error| answer_error(&error))?;
    let mut decoder = FrameDecoder::default();
    decoder.push(&bytes);
    let frame = decoder
        .next()
        .map_err(|error| answer_error(&error))?
        .ok_or_else(|| answer_error(&"it ended inside a frame"))?;
    if let Ok(Opening::Refusal(refusal)) = Opening::from_frame(&frame) {
        return Err(EnrollError::Refused(refusal));
    }
    Enrolled::from_frame(&frame).map_err(|error| answer_error(&error))
}

fn accept(token: &Token, key: KeyRequest, enrolled: Enrolled) -> Result<Identity, EnrollError> {
    let ca = CertificateDer::from(enrolled.ca.clone());
    let ca_key = tls::key_digest(&ca).map_err(|error| EnrollError::Answer(error.to_string()))?;
    if ca_key != token.ca_key {
        return Err(EnrollError::Answer("it names another CA than the one that vouched for it".to_owned()));
    }
    let identity = Identity {
        format: FORMAT,
        fleet: token.fleet,
        node: enrolled.node,
        name: enrolled.name,
        addresses: token.addresses.clone(),
        key: key.key,
        certificate: enrolled.certificate,
        ca: enrolled.ca,
        issued: clock::now(),
        not_after: enrolled.not_after,
        authority_pin: token.authority,
        authority: enrolled.authority,
    };
    identity.authority()?;
    // Proves that the certificate fits the key before anything is kept.
    tls::link_config(&identity)?;
    Ok(identity)
}
