//! Repositories on other machines that are not the aggregator's: in a bucket, and in a folder that is reached by SSH.
//!
//! Both hold restic's layout, so that stock restic opens them. What is there is whoever's who has the credentials: such a
//! place has no floor, and proves nothing about when it received what.

mod layout;
mod patience;
pub(super) mod s3;
pub(super) mod sftp;

pub(super) use patience::Patience;
