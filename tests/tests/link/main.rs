//! Hostile and broken peers on the link, against the real aggregator with real agents beside them; and an aggregator
//! that is neither sound nor friendly, against the agent's own link.
//!
//! Each peer must be refused with a reason, cost little memory, and leave the agents beside it untouched. The
//! programs are those beside this test's own: build the workspace first.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod certificate;
mod flood;
mod frame;
mod handshake;
mod harness;
mod order;
mod peer;
mod served;
mod silence;
mod token;
