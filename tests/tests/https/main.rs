//! The HTTPS server as people and their tools meet it: the real aggregator on a port of the loopback, with real
//! agents, spoken to byte by byte.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access;
mod events;
mod fleet;
mod limits;
mod orders;
mod protocol;
mod roles;
mod wire;
