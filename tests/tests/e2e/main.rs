//! The real programs over the loopback: few tests, each a story, each of many processes.
//!
//! They wait for events with deadlines, never for a fixed time, and use only what a person could: files, signals,
//! command lines and the HTTPS API.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod backup_elsewhere;
mod backup_run;
mod backup_second;
mod backup_store;
mod certificate;
mod clock;
mod config;
mod config_approval;
mod config_kill;
mod config_lockout;
mod confine;
mod damage;
mod disk;
mod events;
mod everyday;
mod first_minutes;
mod fleet_of_28;
mod liveness;
mod operate;
mod order_account;
mod order_limits;
mod order_storm;
mod orders;
mod recorded_state;
mod reference;
mod safe_mode;
mod self_backup;
mod settings;
mod settings_reload;
mod storm;
mod transport;
mod transport_hostile;
