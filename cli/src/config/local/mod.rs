//! What `config` does with a bundle on this machine alone: no aggregator and no key are needed.

pub(crate) mod bundle;
pub(crate) mod explain;
pub(crate) mod init;
pub(crate) mod lint;
pub(crate) mod schema;

#[cfg(test)]
mod tests;
