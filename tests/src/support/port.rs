//! Ports for daemons.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below what the kernel hands out by itself, so that a port stays free while its daemon restarts.
const LOWEST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A port of the loopback that is free for UDP and TCP.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Tests in other processes start elsewhere.
    let start =
        u16::try_from(std::process::id().wrapping_mul(61) % u32::from(COUNT)).expect("less than COUNT");
    (0..COUNT)
        .map(|_| LOWEST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT)
        .find(|port| {
            let address = (Ipv4Addr::LOCALHOST, *port);
            TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
        })
        .expect("a port of 12,000 is free")
}
