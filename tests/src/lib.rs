//! What the tests of the whole share.

pub mod formats;
pub mod random;
pub mod support;
