//! Answers that are read as they come: server-sent events, a node's journal, the output of an order.
//!
//! A stream has no deadline as a whole: it ends when the aggregator ends it.

use std::io::{self, BufRead, BufReader, Read};

use ureq::http::Method;

use super::{Client, ClientError, with_query};

/// Longest line of an event stream: a piece of output in base64, or an order with a thousand targets.
const LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Longest refusal that is read.
const REFUSAL_BYTES_MAX: u64 = 64 * 1024;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerEvent {
    /// Its kind.
    pub kind: String,
    /// Its body.
    pub body: String,
}

/// Reads a stream of events (`text/event-stream`).
pub struct ServerEvents<R> {
    lines: BufReader<R>,
}

impl<R: Read> ServerEvents<R> {
    /// The events in `body`.
    pub fn new(body: R) -> Self {
        Self { lines: BufReader::new(body) }
    }

    /// The next event; none at the end. A comment is an event without a kind: it says that the other end lives.
    ///
    /// # Errors
    /// When the stream breaks or is none of events.
    pub fn read_event(&mut self) -> io::Result<Option<ServerEvent>> {
        let (mut kind, mut body) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            let read = (&mut self.lines).take(LINE_BYTES_MAX).read_line(&mut line)?;
            if read == 0 {
                // An event without its blank line is half an event.
                return Ok(None);
            }
            if !line.ends_with('\n') {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the event stream broke within a line",
                ));
            }
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                if kind.is_empty() && body.is_empty() {
                    continue;
                }
                return Ok(Some(ServerEvent { kind, body }));
            }
            if line.starts_with(':') {
                return Ok(Some(ServerEvent { kind: String::new(), body: String::new() }));
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut kind),
                "data" => {
                    if !body.is_empty() {
                        body.push('\n');
                    }
                    body.push_str(value);
                }
                _ => {}
            }
        }
    }
}

impl Client {
    /// Opens an answer that is read as it comes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn stream(
        &self,
        path: &str,
        query: &[(&str, &str)],
        accept: &str,
    ) -> Result<impl Read + Send + use<>, ClientError> {
        let transport =
            |error: ureq::Error| ClientError::of_transport(self.base.clone(), self.timeout, error);
        let mut request = self
            .request(&Method::GET, &with_query(path, query))
            .body(())
            .map_err(|error| self.not_understood(&error.to_string()))?;
        if let Ok(accept) = accept.parse() {
            request.headers_mut().insert("accept", accept);
        }
        let request = self
            .agent
            .configure_request(request)
            .timeout_global(None)
            .timeout_recv_response(Some(self.timeout))
            .build();
        let mut response = self.agent.run(request).map_err(transport)?;
        let status = response.status();
        if !status.is_success() {
            let body = response.body_mut().with_config().limit(REFUSAL_BYTES_MAX).read_to_vec();
            return Err(self.refusal(status.as_u16(), &body.map_err(transport)?));
        }
        Ok(response.into_body().into_with_config().reader())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(text: &str) -> Vec<ServerEvent> {
        let mut events = ServerEvents::new(text.as_bytes());
        std::iter::from_fn(|| events.read_event().unwrap()).collect()
    }

    #[test]
    fn events_are_told_apart_by_blank_lines() {
        let found =
            events("event: output\nid: 1\ndata: {\"a\":\ndata: 1}\n\nevent:target\r\ndata:{}\r\n\r\n");
        let expected = [("output", "{\"a\":\n1}"), ("target", "{}")];
        let found: Vec<_> = found.iter().map(|e| (e.kind.as_str(), e.body.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_comment_is_a_sign_of_life() {
        let found = events(":\n\nevent: order\ndata: 1\n\n");
        assert_eq!(found.iter().map(|e| e.kind.as_str()).collect::<Vec<_>>(), ["", "order"]);
    }

    #[test]
    fn half_an_event_at_the_end_is_none() {
        assert!(events("event: order\ndata: 1\n").is_empty());
        assert!(ServerEvents::new("event: ord".as_bytes()).read_event().is_err());
    }
}
