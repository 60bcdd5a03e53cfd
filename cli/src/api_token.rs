//! `api-token`: bearer tokens for programs.

use std::time::Duration;

use campanile_common::api::{ApiToken, ApiTokenRequest, CreatedApiToken, Grant};
use clap::{Args, Subcommand};
use ureq::http::Method;

use crate::cli::Output;
use crate::client::segment;
use crate::context::Context;
use crate::exit::Exit;
use crate::node::Selection;
use crate::people::{Role, grants_text};
use crate::render::{self, Cell, Column, column, wide};
use crate::{duration, profile};

/// Verbs of `api-token`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List API tokens, without their secrets
    #[command(after_help = "Examples:
  campanile api-token ls -o wide")]
    Ls,
    /// Make an API token; it is shown this once
    #[command(after_help = "Examples:
  campanile api-token create prometheus --role viewer --ttl 90d > token
  campanile api-token create ci --role operator -l env=staging")]
    Create(Create),
    /// Make an API token useless
    #[command(after_help = "Examples:
  campanile api-token revoke 3f2a9c01")]
    Revoke {
        /// Its id, from `api-token ls`
        token_id: String,
    },
}

/// What the token is to be good for.
#[derive(Debug, Args)]
pub struct Create {
    /// What it is for
    name: String,
    /// What it may do; never more than you
    #[arg(long, value_enum, default_value = "viewer")]
    role: Role,
    #[command(flatten)]
    selector: Selection,
    /// How long it is valid: a minute to 366 days
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = duration::parse)]
    ttl: Duration,
}

const COLUMNS: [Column<ApiToken>; 6] = [
    column("TOKEN", |token, _| Cell::new(&token.token_id)),
    column("NAME", |token, _| Cell::new(&token.name)),
    column("LEFT", |token, now| Cell::left(token.expires_at, now)),
    wide("AGE", |token, now| Cell::age(Some(token.created_at), now)),
    column("BY", |token, _| Cell::new(&token.created_by)),
    column("GRANTS", |token, _| Cell::new(grants_text(&token.grants))),
];

/// Carries out a verb.
///
/// # Errors
/// When it fails.
pub fn run(context: &mut Context<'_>, verb: &Verb) -> anyhow::Result<Exit> {
    let client = profile::client(context)?;
    match verb {
        Verb::Ls => {
            let tokens: Vec<ApiToken> = client.pages("/api/v1/api-tokens", &[])?;
            render::list(context, &tokens, &COLUMNS, |token| token.token_id.clone())?;
        }
        Verb::Create(arguments) => {
            let request = ApiTokenRequest {
                name: arguments.name.clone(),
                grants: vec![Grant { role: arguments.role.into(), selector: arguments.selector.to_text() }],
                ttl_seconds: arguments.ttl.as_secs(),
            };
            let created: CreatedApiToken = client.send(Method::POST, "/api/v1/api-tokens", &request)?;
            if context.global.output == Output::Name {
                writeln!(context.out, "{}", created.details.token_id)?;
            } else {
                render::object(context, &created, "", |context| {
                    Ok(writeln!(context.out, "{}", created.token)?)
                })?;
            }
            let details = &created.details;
            context.hint(&format!("token {}, valid until {}", details.token_id, details.expires_at))?;
        }
        Verb::Revoke { token_id } => {
            client.order(Method::DELETE, &format!("/api/v1/api-tokens/{}", segment(token_id)))?;
            context.hint(&format!("token {token_id} is refused from now on"))?;
        }
    }
    Ok(Exit::Fine)
}
