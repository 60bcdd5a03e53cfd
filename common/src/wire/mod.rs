//! What crosses the network between agent and aggregator.
//!
//! A frame is a fixed header and a body; `frame` knows headers and limits, `codec` alone knows how bodies are
//! encoded, `hello` is the one exchange that every version understands, and each released version has a module
//! of its own that never changes.

pub mod codec;
pub mod frame;
pub mod hello;
pub mod v1;

/// The version this build speaks best.
pub use v1 as latest;
