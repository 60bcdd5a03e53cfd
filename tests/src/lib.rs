//! What the tests of the whole share.

pub mod random;
pub mod support;
