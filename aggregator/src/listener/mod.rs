//! Accepts agents over QUIC: one task a connection drives `common::connection`.
//!
//! `endpoint` holds the socket and its limits, `tls` decides whose certificates count, `session` drives an enrolled
//! agent, `enroll` a new one, `lane` reads a stream of samples, `request` asks the agent, `order` delivers to it,
//! `offer` serves it a generation of the configuration, `store` and `store_request` take its backups. `stream` is the other
//! way in, over TCP, where the people's port hands agents' connections on.
//!
//! Invariants: nothing of an unauthenticated peer is held beyond a handshake's memory; a session's identity is its
//! certificate's, never what it says; no session is resumed, so every one passes the roster.

mod endpoint;
mod enroll;
mod lane;
mod offer;
mod order;
mod peer;
mod refusals;
mod request;
mod restart;
mod session;
mod store;
mod store_request;
mod stream;
mod tls;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use campanile_common::authority::SignedCatalogue;
use campanile_common::fleet::FleetFile;
use tokio::sync::{Semaphore, watch};

pub use endpoint::{Endpoint, EndpointError, ListenerTask};
pub use tls::{TlsError, agent_config, people_config};

use crate::authority::Authorities;
use crate::backup::BackupStore;
use crate::config::Config;
use crate::freeze::Freezer;
use crate::identity::Ca;
use crate::node::Nodes;
use crate::order::Orders;
use crate::os::clock::Clock;
use crate::series::{Ingest, RecentSeries};

/// Protocol of enrolled agents.
pub const ALPN_LINK: &[u8] = b"campanile/1";
/// Protocol of backup data: a connection of its own, so that a backup never delays a heartbeat.
pub const ALPN_STORE: &[u8] = b"campanile-store/1";
/// Protocol of enrolment.
pub const ALPN_ENROLL: &[u8] = b"campanile-enroll/1";
/// What agents speak, by which the people's port tells their connections.
pub const ALPN_AGENTS: &[&[u8]] = &[ALPN_LINK, ALPN_STORE, ALPN_ENROLL];

/// Connections over TCP that wait for their handshake. Full means that the newest is closed, and dials again.
pub const STREAMS_WAITING_MAX: usize = 256;

/// What carries a connection's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carrier {
    /// A datagram each.
    Udp,
    /// TLS over TCP.
    Tcp,
}

impl Carrier {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "quic",
            Self::Tcp => "tcp",
        }
    }
}

/// Enrolments under way; further ones are told to try again.
const ENROLMENTS_MAX: usize = 128;

/// Connections of nodes that enrol: nobody has vouched for them, and each may fill its window (128 KiB on a stream)
/// before it is read. Further ones are closed with a reason and come again.
const ENROLLING_MAX: usize = 256;

/// What every connection needs.
#[derive(Debug)]
pub struct Context {
    fleet: FleetFile,
    ca: Arc<Ca>,
    authority: Authorities,
    freezer: Freezer,
    nodes: Nodes,
    series: RecentSeries,
    ingest: Ingest,
    clock: Clock,
    interval: Duration,
    catalogue: watch::Receiver<Option<SignedCatalogue>>,
    config: Config,
    store: BackupStore,
    orders: Orders,
    store_connections: store::Connections,
    next_session: AtomicU64,
    enrolments: Semaphore,
    enrolling: Semaphore,
    refusals: refusals::Refusals,
}

impl Context {
    /// What every connection needs.
    #[expect(clippy::too_many_arguments, reason = "wired once, in app")]
    pub fn new(
        fleet: FleetFile,
        ca: Arc<Ca>,
        authority: Authorities,
        freezer: Freezer,
        nodes: Nodes,
        series: RecentSeries,
        ingest: Ingest,
        clock: Clock,
        interval: Duration,
        catalogue: watch::Receiver<Option<SignedCatalogue>>,
        config: Config,
        (store, orders): (BackupStore, Orders),
    ) -> Self {
        Self {
            fleet,
            ca,
            authority,
            freezer,
            nodes,
            series,
            ingest,
            clock,
            interval,
            catalogue,
            config,
            store,
            orders,
            store_connections: store::Connections::default(),
            next_session: AtomicU64::new(1),
            enrolments: Semaphore::new(ENROLMENTS_MAX),
            enrolling: Semaphore::new(ENROLLING_MAX),
            refusals: refusals::Refusals::default(),
        }
    }
}
