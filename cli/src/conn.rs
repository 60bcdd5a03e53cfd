//! `conn`: the agents' sessions.

use campanile_common::api::Connection;
use campanile_common::unit::ByteCount;
use clap::Subcommand;

use crate::context::Context;
use crate::exit::Exit;
use crate::profile;
use crate::render::{self, Cell, Column, column, wide};
use crate::watch::Watch;

/// Verbs of `conn`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the sessions of agents
    #[command(after_help = "Examples:
  campanile conn ls
  campanile conn ls -o wide --watch")]
    Ls {
        /// How often it is drawn.
        #[command(flatten)]
        watch: Watch,
    },
}

const COLUMNS: [Column<Connection>; 12] = [
    column("NAME", |session, _| Cell::new(&session.name)),
    column("TRANSPORT", |session, _| Cell::new(&session.transport)),
    column("ADDRESS", |session, _| Cell::new(&session.remote_address)),
    column("AGE", |session, now| Cell::age(Some(session.connected_at), now)),
    column("RTT", |session, _| Cell::new(format!("{:.1} ms", session.rtt_ms))),
    column("LOSS", |session, _| Cell::new(format!("{:.1}%", session.loss_percent))),
    column("RECONNECTS", |session, _| Cell::new(session.reconnects)),
    column("REASON", |session, _| Cell::new(&session.transport_reason)),
    wide("RECEIVED", |session, _| Cell::new(ByteCount(session.received_bytes))),
    wide("SENT", |session, _| Cell::new(ByteCount(session.sent_bytes))),
    wide("PROTOCOL", |session, _| Cell::new(session.protocol_version)),
    wide("AGENT", |session, _| Cell::new(&session.agent_version)),
];

/// Carries out a verb.
///
/// # Errors
/// When it fails.
pub fn run(context: &mut Context<'_>, verb: &Verb) -> anyhow::Result<Exit> {
    let Verb::Ls { watch } = verb;
    let client = profile::client(context)?;
    watch.run(context, |context| {
        let sessions: Vec<Connection> = client.pages("/api/v1/connections", &[])?;
        render::list(context, &sessions, &COLUMNS, |session| session.name.clone())?;
        Ok(Exit::Fine)
    })
}
