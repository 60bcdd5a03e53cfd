//! Orders on their way through the unprivileged part of the agent: takes bytes from the link, hands them to the steward,
//! and takes its answers back.
//!
//! `task` owns the connection to the steward, `relay` decides what goes where, [`OrderHandle`] is how the link reaches
//! them. Nothing here judges an order: what the aggregator sent goes to the steward as it came.
//! Invariant: that a node does not carry out an order for want of a steward is said only where no steward can have
//! got it before.

mod handle;
mod relay;
mod task;

pub use handle::{Offer, OrderHandle, Standing, Told};
pub use task::{OrderTask, StewardError, ask_once};
