//! A place between an agent and its aggregator that does what networks do: passes TCP, and UDP as it is told.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Longest packet.
const PACKET_BYTES: usize = 65_536;
/// How often a thread looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// What becomes of UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Udp {
    /// Every packet passes.
    Passed,
    /// Every packet is swallowed.
    Dropped,
    /// One in so many packets is swallowed, either way.
    OneLostIn(u64),
    /// One in so many packets goes behind the one after it, towards the aggregator.
    OneLateIn(u64),
    /// From now on from another port, as behind a router that forgot.
    Rebound,
}

#[derive(Debug)]
struct State {
    udp: Mutex<Udp>,
    packets: AtomicU64,
    is_over: AtomicBool,
}

impl State {
    fn udp(&self) -> Udp {
        *self.udp.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Whether this one is swallowed.
    fn is_lost(&self) -> bool {
        let count = self.packets.fetch_add(1, Ordering::Relaxed);
        match self.udp() {
            Udp::Dropped => true,
            Udp::OneLostIn(every) => spread(count).is_multiple_of(every),
            Udp::Passed | Udp::OneLateIn(_) | Udp::Rebound => false,
        }
    }
}

/// Numbers that look like no series (splitmix64), the same in every run.
fn spread(count: u64) -> u64 {
    let mut bits = count.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// The place. Dropped, it is closed.
#[derive(Debug)]
pub struct Passage {
    state: Arc<State>,
    address: SocketAddr,
}

impl Passage {
    /// From `address` to `target`; UDP without a word on it is rejected as by a closed port.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn open(address: SocketAddr, target: SocketAddr, udp: Option<Udp>) -> io::Result<Self> {
        let tcp = TcpListener::bind(address)?;
        let address = tcp.local_addr()?;
        let state = State {
            udp: Mutex::new(udp.unwrap_or(Udp::Dropped)),
            packets: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        };
        let state = Arc::new(state);
        if udp.is_some() {
            let socket = UdpSocket::bind(address)?;
            socket.set_read_timeout(Some(LOOK))?;
            let state = Arc::clone(&state);
            thread::spawn(move || carry_udp(&Arc::new(socket), target, &state));
        }
        tcp.set_nonblocking(true)?;
        let over = Arc::clone(&state);
        thread::spawn(move || carry_tcp(&tcp, target, &over));
        Ok(Self { state, address })
    }

    /// A passage of the loopback to a port of it.
    ///
    /// # Panics
    /// When there is no port.
    pub fn to_port(port: u16, udp: Option<Udp>) -> Self {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self::open(at(super::free_port()), at(port), udp).expect("the port is free")
    }

    /// What becomes of UDP from now on.
    pub fn set(&self, udp: Udp) {
        *self.state.udp.lock().unwrap_or_else(PoisonError::into_inner) = udp;
    }

    /// Where an agent dials.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
    }
}

/// One client's socket towards the aggregator.
struct Upstream {
    socket: Arc<UdpSocket>,
    is_over: Arc<AtomicBool>,
}

impl Upstream {
    fn open(
        near: &Arc<UdpSocket>,
        client: SocketAddr,
        target: SocketAddr,
        state: &Arc<State>,
    ) -> io::Result<Self> {
        let any: SocketAddr = if target.is_ipv4() {
            (Ipv4Addr::UNSPECIFIED, 0).into()
        } else {
            "[::]:0".parse().expect("an address")
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(target)?;
        socket.set_read_timeout(Some(LOOK))?;
        let socket = Arc::new(socket);
        let is_over = Arc::new(AtomicBool::new(false));
        let (far, near, over, state) =
            (Arc::clone(&socket), Arc::clone(near), Arc::clone(&is_over), Arc::clone(state));
        thread::spawn(move || {
            let mut buffer = vec![0; PACKET_BYTES];
            while !state.is_over() && !over.load(Ordering::Relaxed) {
                if let Ok(length) = far.recv(&mut buffer)
                    && !state.is_lost()
                {
                    // A client that went away.
                    drop(near.send_to(&buffer[..length], client));
                }
            }
        });
        Ok(Self { socket, is_over })
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn carry_udp(near: &Arc<UdpSocket>, target: SocketAddr, state: &Arc<State>) {
    let mut clients: HashMap<SocketAddr, Upstream> = HashMap::new();
    let mut buffer = vec![0; PACKET_BYTES];
    let mut late: Option<(SocketAddr, Vec<u8>)> = None;
    while !state.is_over() {
        let received = near.recv_from(&mut buffer);
        if state.udp() == Udp::Rebound {
            clients.clear();
            *state.udp.lock().unwrap_or_else(PoisonError::into_inner) = Udp::Passed;
        }
        if let Ok((length, client)) = received
            && !state.is_lost()
        {
            let count = state.packets.load(Ordering::Relaxed);
            let is_late = matches!(state.udp(), Udp::OneLateIn(every) if spread(count).is_multiple_of(every));
            if is_late && late.is_none() {
                late = Some((client, buffer[..length].to_vec()));
                continue;
            }
            send(near, &mut clients, target, state, client, &buffer[..length]);
        }
        if let Some((client, packet)) = late.take() {
            send(near, &mut clients, target, state, client, &packet);
        }
    }
}

fn send(
    near: &Arc<UdpSocket>,
    clients: &mut HashMap<SocketAddr, Upstream>,
    target: SocketAddr,
    state: &Arc<State>,
    client: SocketAddr,
    packet: &[u8],
) {
    if !clients.contains_key(&client)
        && let Ok(upstream) = Upstream::open(near, client, target, state)
    {
        clients.insert(client, upstream);
    }
    if let Some(upstream) = clients.get(&client) {
        // An aggregator that is away.
        drop(upstream.socket.send(packet));
    }
}

fn carry_tcp(listener: &TcpListener, target: SocketAddr, state: &State) {
    while !state.is_over() {
        match listener.accept() {
            Ok((near, _)) => drop(join(near, target)),
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Copies both ways until either end is closed.
///
/// # Errors
/// When the target cannot be reached.
pub(super) fn join(near: TcpStream, target: SocketAddr) -> io::Result<()> {
    let far = TcpStream::connect(target)?;
    near.set_nonblocking(false)?;
    for (mut from, mut to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        from.set_nodelay(true)?;
        thread::spawn(move || {
            drop(io::copy(&mut from, &mut to));
            drop(to.shutdown(std::net::Shutdown::Both));
        });
    }
    Ok(())
}
