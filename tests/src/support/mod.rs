//! A fleet of real processes on the loopback, and what tests need to drive and watch it.
//!
//! Everything here fails the test that uses it, by a panic that says what was expected and shows the ends of the logs.

mod api;
mod command;
mod connect_proxy;
mod daemon;
mod fleet;
mod passage;
mod port;
mod program;
mod steward;
mod volume;
mod wait;

pub use api::{Answer, Api, Event, EventStream};
pub use command::{Output, run};
pub use connect_proxy::ConnectProxy;
pub use daemon::Daemon;
pub use fleet::{FleetOptions, LocalFleet};
pub use passage::{Passage, Udp};
pub use port::free_port;
pub use program::{AGENT, AGGREGATOR, CAMPANILE, program};
pub use steward::POLICY_OPEN;
pub use volume::SmallVolume;
pub use wait::{patience, until, within};
