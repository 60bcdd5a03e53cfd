//! A little HTTP proxy that connects for whoever has the password.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::passage::join;

/// The proxy. Its threads end with the test's process.
#[derive(Debug)]
pub struct ConnectProxy {
    address: SocketAddr,
    refused: Arc<AtomicU64>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl ConnectProxy {
    /// A proxy that leads to `port` of the loopback, whatever name it is asked for, where `credentials` (`user:password`)
    /// come along if there are any.
    ///
    /// # Panics
    /// When there is no port.
    pub fn to_port(port: u16, credentials: Option<&str>) -> Self {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self::open(at(0), at(port), credentials)
    }

    /// The same at `from`, leading to `to`.
    ///
    /// # Panics
    /// When the address cannot be had.
    pub fn open(from: SocketAddr, to: SocketAddr, credentials: Option<&str>) -> Self {
        let listener = TcpListener::bind(from).expect("the address is free");
        let address = listener.local_addr().expect("it is bound");
        let wanted =
            credentials.map(|text| format!("Basic {}", data_encoding::BASE64.encode(text.as_bytes())));
        let (refused, asked) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (count, list) = (Arc::clone(&refused), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let Ok(head) = head(&mut stream) else { continue };
                let answer: &[u8] = if wanted.as_ref().is_none_or(|wanted| head.contains(wanted)) {
                    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    list.lock().unwrap_or_else(PoisonError::into_inner).push(target);
                    b"HTTP/1.1 200 Connection established\r\n\r\n"
                } else {
                    count.fetch_add(1, Ordering::Relaxed);
                    b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"
                };
                // Who went away meanwhile comes again.
                if stream.write_all(answer).is_ok() && answer.starts_with(b"HTTP/1.1 200") {
                    drop(join(stream, to));
                }
            }
        });
        Self { address, refused, asked }
    }

    /// As the settings have it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked to connect to.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often it refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

fn head(stream: &mut TcpStream) -> io::Result<String> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < 8192 {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    stream.set_read_timeout(None)?;
    Ok(String::from_utf8_lossy(&head).into_owned())
}
