//! Why the aggregator gave no answer of use: each way has its own error, which says what to do.

use std::io;
use std::time::Duration;

use campanile_common::api::Problem;

/// Why the aggregator gave no answer of use.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is no `https://` address.
    #[error("`{url}` is no address of an aggregator; write one like https://aggregator.example:8443")]
    Address {
        /// What was given.
        url: String,
    },
    /// No certificate is in the file that should hold the CA's.
    #[error("the CA file holds no certificate; give the fleet's ca.pem with --ca or CAMPANILE_CA")]
    NoCertificate,
    /// No connection.
    #[error("the aggregator at {url} is not reachable; is it running, and is the address right?")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// It showed a certificate that the fleet's CA did not sign, or for another name.
    #[error("{url} did not prove to be this fleet's aggregator; check the address and the CA file")]
    NotOurs {
        /// Where.
        url: String,
        /// What was wrong.
        source: rustls::Error,
    },
    /// TLS failed in another way.
    #[error("no TLS 1.3 connection with {url}; is this the aggregator's port?")]
    Handshake {
        /// Where.
        url: String,
        /// What was wrong.
        source: rustls::Error,
    },
    /// No answer in time.
    #[error("{url} did not answer within {seconds} s; try again or give a longer --timeout")]
    Timeout {
        /// Where.
        url: String,
        /// How long we waited.
        seconds: u64,
    },
    /// No valid session or token.
    #[error("not signed in: {detail}; run `campanile login` or set CAMPANILE_TOKEN")]
    NotSignedIn {
        /// What the aggregator said.
        detail: String,
    },
    /// Signed in, but not permitted.
    #[error("denied: {detail}")]
    Denied {
        /// What the aggregator said.
        detail: String,
    },
    /// The fleet is frozen.
    #[error("frozen: {detail}; reads still work, and `campanile unfreeze` ends the freeze")]
    Frozen {
        /// What the aggregator said.
        detail: String,
    },
    /// Signatures are missing, invalid, or of operators who may not sign this.
    #[error("the signatures do not suffice: {detail}; `campanile operator ls` shows who may sign what")]
    Signatures {
        /// What the aggregator said.
        detail: String,
    },
    /// Any other refusal.
    #[error("{}", .0.detail)]
    Refused(Problem),
    /// The answer makes no sense.
    #[error("{url} gave an answer that is none of a Campanile aggregator: {what}")]
    NotUnderstood {
        /// Where.
        url: String,
        /// What was wrong.
        what: String,
    },
}

impl ClientError {
    /// The stable code of the aggregator's refusal, if it was one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(problem) => Some(&problem.code),
            Self::Denied { .. } => Some("denied"),
            Self::Frozen { .. } => Some("frozen"),
            Self::Signatures { .. } => Some("signatures"),
            Self::NotSignedIn { .. } => Some("unauthenticated"),
            _ => None,
        }
    }

    /// A refusal by the aggregator.
    pub(super) fn of_problem(problem: Problem) -> Self {
        match problem.code.as_str() {
            "unauthenticated" => Self::NotSignedIn { detail: problem.detail },
            "denied" => Self::Denied { detail: problem.detail },
            "frozen" => Self::Frozen { detail: problem.detail },
            "signatures" => Self::Signatures { detail: problem.detail },
            _ => Self::Refused(problem),
        }
    }

    /// A failure to reach `url` or to understand what came from there, after waiting for `timeout` at the most.
    pub(super) fn of_transport(url: String, timeout: Duration, error: ureq::Error) -> Self {
        match error {
            ureq::Error::Timeout(_) => Self::Timeout { url, seconds: timeout.as_secs() },
            ureq::Error::Rustls(source) => Self::of_tls(url, source),
            ureq::Error::Io(error) => match tls_cause(&error) {
                Some(source) => Self::of_tls(url, source),
                None => Self::Unreachable { url, source: Box::new(ureq::Error::Io(error)) },
            },
            error @ (ureq::Error::HostNotFound | ureq::Error::ConnectionFailed) => {
                Self::Unreachable { url, source: Box::new(error) }
            }
            error => Self::NotUnderstood { url, what: error.to_string() },
        }
    }

    fn of_tls(url: String, source: rustls::Error) -> Self {
        match source {
            rustls::Error::InvalidCertificate(_) => Self::NotOurs { url, source },
            _ => Self::Handshake { url, source },
        }
    }
}

fn tls_cause(error: &io::Error) -> Option<rustls::Error> {
    error.get_ref()?.downcast_ref::<rustls::Error>().cloned()
}
