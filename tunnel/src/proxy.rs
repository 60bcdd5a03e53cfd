//! An HTTP proxy that is asked to connect to the other end (RFC 9110, CONNECT).

use std::fmt;
use std::str::FromStr;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

/// Longest head of a proxy's answer.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// A proxy, and who asks it.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// `host:port`.
    address: String,
    /// `user:password`.
    credentials: Option<Zeroizing<String>>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({})", self.address)
    }
}

/// A text that names no proxy.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("give http://HOST:PORT; {0}")]
pub struct ProxyFormatError(&'static str);

/// A proxy that does not connect.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// It wants to know who asks.
    #[error("the proxy wants a user and a password: set proxy_user and proxy_password (status 407)")]
    Unknown,
    /// It says no.
    #[error("the proxy does not connect to {target}: {status}")]
    Refused {
        /// What it was asked for.
        target: String,
        /// Its first line.
        status: String,
    },
    /// Its answer is none.
    #[error("the proxy's answer is not understood: {0}")]
    Answer(&'static str),
    /// It went away.
    #[error("the proxy went away")]
    Gone(#[from] std::io::Error),
}

impl FromStr for Proxy {
    type Err = ProxyFormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("http://").ok_or(ProxyFormatError("it begins otherwise"))?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (credentials, address) = match rest.rsplit_once('@') {
            Some((credentials, address)) => (Some(Zeroizing::new(credentials.to_owned())), address),
            None => (None, rest),
        };
        let (host, port) = address.rsplit_once(':').ok_or(ProxyFormatError("the port is missing"))?;
        if port.parse::<u16>().map_or(true, |port| port == 0) {
            return Err(ProxyFormatError("the port is none"));
        }
        let is_host = |c: char| c.is_ascii_alphanumeric() || ".-_[]:%".contains(c);
        if host.is_empty() || !host.chars().all(is_host) || (host.contains(':') && !host.starts_with('[')) {
            return Err(ProxyFormatError("the host is none"));
        }
        Ok(Self { address: address.to_owned(), credentials })
    }
}

impl Proxy {
    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Who asks.
    #[must_use]
    pub fn with_credentials(mut self, user: &str, password: &str) -> Self {
        self.credentials = Some(Zeroizing::new(format!("{user}:{password}")));
        self
    }

    /// A user and a password stand in its address.
    pub fn has_credentials(&self) -> bool {
        self.credentials.is_some()
    }

    fn request(&self, target: &str) -> Zeroizing<String> {
        let mut head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        if let Some(credentials) = &self.credentials {
            let encoded = Zeroizing::new(data_encoding::BASE64.encode(credentials.as_bytes()));
            head.push_str("Proxy-Authorization: Basic ");
            head.push_str(&encoded);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        Zeroizing::new(head)
    }

    /// Has the proxy at the other end of `stream` connect to `target`, a `host:port`; from then on the stream leads there.
    ///
    /// # Errors
    /// When it does not.
    pub async fn connect<S>(&self, stream: &mut S, target: &str) -> Result<(), ProxyError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        stream.write_all(self.request(target).as_bytes()).await?;
        stream.flush().await?;
        let mut head = Vec::new();
        // Byte by byte, once a dial: what follows the head is not ours to take.
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() == HEAD_BYTES_MAX {
                return Err(ProxyError::Answer("its head is too long"));
            }
            head.push(stream.read_u8().await?);
        }
        judge(&head, target)
    }
}

fn judge(head: &[u8], target: &str) -> Result<(), ProxyError> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = str::from_utf8(line).map_err(|_| ProxyError::Answer("its first line is no text"))?;
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split_once(' ')).map(|(_, status)| status);
    let status = status.ok_or(ProxyError::Answer("it is not HTTP/1"))?;
    match status.get(..3) {
        Some(code) if code.starts_with('2') => Ok(()),
        Some("407") => Err(ProxyError::Unknown),
        _ => {
            let status = status.chars().filter(|c| !c.is_control()).take(100).collect();
            Err(ProxyError::Refused { target: target.to_owned(), status })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(answer: &[u8]) -> (Result<(), ProxyError>, String) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut near, mut far) = tokio::io::duplex(1 << 16);
            far.write_all(answer).await.unwrap();
            far.shutdown().await.unwrap();
            let proxy: Proxy = "http://proxy:3128".parse().unwrap();
            let asked = proxy.with_credentials("me", "s3cret").connect(&mut near, "hub:7443").await;
            drop(near);
            let mut request = String::new();
            far.read_to_string(&mut request).await.unwrap();
            (asked, request)
        })
    }

    #[test]
    fn the_proxy_is_asked_for_the_target_and_told_who_asks() {
        let (asked, request) = ask(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n");
        asked.unwrap();
        assert_eq!(
            request,
            "CONNECT hub:7443 HTTP/1.1\r\nHost: hub:7443\r\nProxy-Authorization: Basic bWU6czNjcmV0\r\n\r\n"
        );
    }

    #[test]
    fn what_is_no_connection_is_an_error_that_says_what_to_do() {
        assert!(matches!(ask(b"HTTP/1.1 407 Who\r\n\r\n").0, Err(ProxyError::Unknown)));
        let refused = ask(b"HTTP/1.0 403 Forbidden\r\n\r\n").0.unwrap_err();
        assert_eq!(refused.to_string(), "the proxy does not connect to hub:7443: 403 Forbidden");
        for nonsense in [&b"SSH-2.0-OpenSSH\r\n\r\n"[..], b"\xff\xff\r\n\r\n", &[b'a'; 9000]] {
            assert!(matches!(ask(nonsense).0, Err(ProxyError::Answer(_))));
        }
        assert!(matches!(ask(b"HTTP/1.1 200 OK\r\n").0, Err(ProxyError::Gone(_))));
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        let parse = |text: &str| text.parse::<Proxy>();
        assert_eq!(parse("http://10.0.0.1:3128/").unwrap().address(), "10.0.0.1:3128");
        assert_eq!(parse("http://[fe80::1]:80").unwrap().address(), "[fe80::1]:80");
        assert!(parse("http://me:pw@proxy:1").unwrap().has_credentials());
        for wrong in
            ["proxy:3128", "https://proxy:3128", "http://proxy", "http://:80", "http://a b:80", "http://a:0"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let shown = format!("{:?}", parse("http://me:pw@proxy:1").unwrap());
        assert!(!shown.contains("pw"), "{shown}");
    }
}
