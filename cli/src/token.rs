//! `token`: enrolment tokens.

use std::time::Duration;

use campanile_common::api::{CreatedToken, EnrollmentToken, TokenRequest};
use campanile_common::label::Labels;
use campanile_common::time::Timestamp;
use clap::{Args, Subcommand};
use ureq::http::Method;

use crate::cli::Output;
use crate::client::{Client, segment};
use crate::context::Context;
use crate::exit::Exit;
use crate::render::{self, Cell, Column, Tone, column, wide};
use crate::watch::Watch;
use crate::{duration, profile};

/// Verbs of `token`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make an enrolment token; it is shown this once
    #[command(after_help = "Examples:
  campanile token create -l role=web --ttl 1h --uses 5 > token
  campanile token create -l role=db,region=eu --name db-01

On the node: campanile-agent enroll --token-file token")]
    Create(Create),
    /// List enrolment tokens, without their secrets
    #[command(after_help = "Examples:
  campanile token ls
  campanile token ls -o json")]
    Ls {
        /// How often it is drawn.
        #[command(flatten)]
        watch: Watch,
    },
    /// Make an enrolment token useless; nodes it enrolled stay
    #[command(after_help = "Examples:
  campanile token revoke 3f2a9c01")]
    Revoke {
        /// Its id, from `token ls`
        token_id: String,
    },
}

/// What the token is to be good for.
#[derive(Debug, Args)]
pub struct Create {
    /// Labels its nodes get, e.g. `role=web,region=eu`; may be given more than once
    #[arg(short = 'l', long = "label", value_name = "KEY=VALUE")]
    labels: Vec<Labels>,
    /// How long it may be used: a minute to 30 days
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::parse)]
    ttl: Duration,
    /// How many nodes it may enrol
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    uses: u32,
    /// The only name a node may take with it; for a token of one use
    #[arg(long)]
    name: Option<String>,
}

const COLUMNS: [Column<EnrollmentToken>; 7] = [
    column("TOKEN", |token, _| Cell::new(&token.token_id)),
    column("STATE", state),
    column("USES", |token, _| Cell::new(format!("{}/{}", token.uses, token.uses_max))),
    column("LEFT", |token, now| Cell::left(token.expires_at, now)),
    wide("AGE", |token, now| Cell::age(Some(token.created_at), now)),
    wide("BY", |token, _| Cell::new(&token.created_by)),
    column("LABELS", |token, _| Cell::new(&token.labels)),
];

fn state(token: &EnrollmentToken, now: Timestamp) -> Cell {
    if token.revoked_at.is_some() {
        Cell::new("revoked").toned(Tone::Bad)
    } else if token.expires_at <= now {
        Cell::new("expired")
    } else if token.uses >= token.uses_max {
        Cell::new("used")
    } else {
        Cell::new("usable").toned(Tone::Good)
    }
}

/// Carries out a verb.
///
/// # Errors
/// When it fails.
pub fn run(context: &mut Context<'_>, verb: &Verb) -> anyhow::Result<Exit> {
    let client = profile::client(context)?;
    match verb {
        Verb::Create(arguments) => create(context, &client, arguments)?,
        Verb::Ls { watch } => {
            return watch.run(context, |context| {
                let tokens: Vec<EnrollmentToken> = client.pages("/api/v1/tokens", &[])?;
                render::list(context, &tokens, &COLUMNS, |token| token.token_id.clone())?;
                Ok(Exit::Fine)
            });
        }
        Verb::Revoke { token_id } => {
            client.order(Method::DELETE, &format!("/api/v1/tokens/{}", segment(token_id)))?;
            context.hint(&format!("token {token_id} enrols nobody any more"))?;
        }
    }
    Ok(Exit::Fine)
}

fn create(context: &mut Context<'_>, client: &Client, arguments: &Create) -> anyhow::Result<()> {
    let mut labels = Labels::default();
    for (key, value) in arguments.labels.iter().flat_map(Labels::iter) {
        labels.set(key, value)?;
    }
    let request = TokenRequest {
        labels,
        ttl_seconds: arguments.ttl.as_secs(),
        uses: arguments.uses,
        name: arguments.name.clone(),
    };
    let created: CreatedToken = client.send(Method::POST, "/api/v1/tokens", &request)?;
    if context.global.output == Output::Name {
        writeln!(context.out, "{}", created.details.token_id)?;
        return Ok(());
    }
    render::object(context, &created, "", |context| Ok(writeln!(context.out, "{}", created.token)?))?;
    context.hint(&format!(
        "token {}: {} uses until {}; put it in a file on the node and run: campanile-agent enroll --token-file FILE",
        created.details.token_id, created.details.uses_max, created.details.expires_at
    ))?;
    Ok(())
}
