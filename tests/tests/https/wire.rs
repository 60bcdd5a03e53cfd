//! HTTP/1.1 over TLS, as little as the tests need, so that they decide about every byte.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::Value;

use crate::fleet::PATIENCE;

/// What is asked.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Option<Value>,
}

impl Request {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), headers: Vec::new(), body: None }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(crate) fn bearing(self, token: &str) -> Self {
        self.with("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn body(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let body = self.body.as_ref().map(Value::to_string);
        let mut text = format!("{} {} HTTP/1.1\r\nhost: 127.0.0.1\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &body {
            text.push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        text.push_str(body.as_deref().unwrap_or_default());
        text.into_bytes()
    }
}

/// What is answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The answer, which must have this status.
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The code of the problem that the answer must be.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "status {}", self.status);
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        problem["code"].as_str().unwrap().to_owned()
    }
}

/// One TLS connection.
pub(crate) struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
    /// Read and not used yet.
    pending: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(port: u16, tls: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<Self> {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let mut client = ClientConnection::new(tls, name).map_err(io::Error::other)?;
        while client.is_handshaking() {
            client.complete_io(&mut socket)?;
        }
        Ok(Self { stream: StreamOwned::new(client, socket), pending: Vec::new() })
    }

    pub(crate) fn protocol(&self) -> Option<Vec<u8>> {
        self.stream.conn.alpn_protocol().map(<[u8]>::to_vec)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Reads what is there within `limit`. False at the end of the connection.
    pub(crate) fn read_some(&mut self, limit: Duration) -> bool {
        self.stream.sock.set_read_timeout(Some(limit.max(Duration::from_millis(1)))).unwrap();
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(read) => {
                self.pending.extend_from_slice(&buffer[..read]);
                true
            }
            Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        }
    }

    /// Everything up to and with `mark`; none when the connection ends before.
    pub(crate) fn read_until(&mut self, mark: &[u8]) -> Option<Vec<u8>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.pending.windows(mark.len()).position(|window| window == mark) {
                return Some(self.pending.drain(..at + mark.len()).collect());
            }
            let left = deadline.checked_duration_since(Instant::now()).expect("an answer in time");
            if !self.read_some(left) {
                return None;
            }
        }
    }

    fn read_exactly(&mut self, bytes: usize) -> Vec<u8> {
        while self.pending.len() < bytes {
            assert!(self.read_some(PATIENCE), "the connection ended within an answer");
        }
        self.pending.drain(..bytes).collect()
    }

    /// Sends a request and reads the head of its answer.
    pub(crate) fn begin(&mut self, request: &Request) -> Answer {
        self.write(&request.to_bytes()).unwrap();
        self.head().expect("an answer")
    }

    pub(crate) fn head(&mut self) -> Option<Answer> {
        let head = String::from_utf8(self.read_until(b"\r\n\r\n")?).unwrap();
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        Some(Answer { status, headers, body: Vec::new() })
    }

    /// Sends a request and reads the whole answer.
    pub(crate) fn exchange(&mut self, request: &Request) -> Answer {
        let mut answer = self.begin(request);
        if answer.header("transfer-encoding") == "chunked" {
            loop {
                let size = String::from_utf8(self.read_until(b"\r\n").unwrap()).unwrap();
                let size = usize::from_str_radix(size.trim(), 16).unwrap();
                let chunk = self.read_exactly(size + 2);
                answer.body.extend_from_slice(&chunk[..size]);
                if size == 0 {
                    break;
                }
            }
        } else if let Ok(length) = answer.header("content-length").parse() {
            answer.body = self.read_exactly(length);
        }
        answer
    }

    /// Waits until the other side ends the connection; gives how long that took, none when it does not.
    pub(crate) fn wait_for_end(&mut self, limit: Duration) -> Option<Duration> {
        let began = Instant::now();
        while let Some(left) = limit.checked_sub(began.elapsed()) {
            if !self.read_some(left) {
                return Some(began.elapsed());
            }
        }
        None
    }
}
