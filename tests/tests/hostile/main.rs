//! A stolen aggregator against one node: everything it can say with the real keys of the real fleet, and a `run`
//! process that fell into the same hands.
//!
//! A fleet is founded and a node enrolled as usual; then the aggregator's place is taken by one that wants to run code
//! on the node. What counts: nothing is executed, every attempt is in the node's own audit chain, and the agent goes on
//! working. `CAMPANILE_MUTATIONS` sets how many mutated envelopes each way sends; `CAMPANILE_SEED` repeats a run.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod attack;
mod envelope;
mod impostor;
mod mutate;
mod socket;
mod victim;

/// Mutated envelopes that the impostor delivers over the link.
const OVER_THE_LINK: u64 = 2_000;
/// Mutated envelopes that a hostile `run` hands to the steward's socket.
const OVER_THE_SOCKET: u64 = 100_000;

fn mutations(usual: u64) -> u64 {
    match std::env::var("CAMPANILE_MUTATIONS") {
        Ok(text) => text.parse().expect("CAMPANILE_MUTATIONS is a whole number"),
        Err(_) => usual,
    }
}
