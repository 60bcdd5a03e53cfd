//! `login` and `logout`: a profile with an API token of its own, in exchange for a password or a one-time link.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use campanile_common::api::{ApiTokenRequest, CreatedApiToken, LinkSignIn, Session, SignIn};
use clap::Args;
use ureq::http::Method;
use zeroize::{Zeroize as _, Zeroizing};

use crate::client::{Answer, Client, ClientError, segment};
use crate::context::Context;
use crate::duration;
use crate::exit::{Exit, UsageError};
use crate::os::{file, terminal};
use crate::profile::{self, Profile};

/// What precedes the secret in a one-time link.
const LINK_MARK: &str = "/signin#link=";
/// What to do without a terminal.
const INSTEAD: &str = "run it at a terminal, give a one-time --link, or set CAMPANILE_TOKEN";

/// Options of `login`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile login https://aggregator.example:8443 --ca ./ca.pem
  campanile login --link 'https://aggregator.example:8443/signin#link=...' --ca ./ca.pem
  campanile login --profile prod https://aggregator.example:8443 --ca ./ca.pem

Signing in makes an API token with your own grants and keeps it in the profile, readable by you alone.")]
pub struct Login {
    /// Address of the aggregator; without it that of the link, the profile or CAMPANILE_URL
    url: Option<String>,
    /// The fleet's CA certificate; without it that of the profile, CAMPANILE_CA or `fleet init`
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Sign-in name; asked for without it
    #[arg(long, conflicts_with = "link")]
    name: Option<String>,
    /// One-time link instead of a password
    #[arg(long)]
    link: Option<String>,
    /// How long the profile's token is valid
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = duration::parse)]
    ttl: Duration,
}

/// Signs in.
///
/// # Errors
/// When it fails.
pub fn login(context: &mut Context<'_>, arguments: &Login) -> anyhow::Result<Exit> {
    let link = arguments.link.as_deref().map(read_link).transpose()?;
    let stored = Profile::stored(context)?;
    let url = arguments
        .url
        .clone()
        .or_else(|| link.as_ref().map(|link| link.url.clone()))
        .or_else(|| stored.as_ref().map(|profile| profile.url.clone()))
        .or_else(|| context.environment.get("CAMPANILE_URL").map(str::to_owned))
        .ok_or_else(|| UsageError("give the address of the aggregator".to_owned()))?;
    let ca = match (&arguments.ca, stored) {
        (Some(path), _) => file::read_text(path).context("cannot read the CA")?,
        // A profile's CA is only good for the address it came with.
        (None, Some(profile)) if profile.url == url => profile.ca,
        (None, _) => profile::ca_of_environment(context)?,
    };
    let client = || Client::new(&url, ca.as_bytes(), None, context.global.timeout);
    let signed_in = match link {
        Some(link) => {
            let request = LinkSignIn { link: link.secret.to_string() };
            client()?.send_for_cookie(Method::POST, "/api/v1/session/link", &request)
        }
        None => with_password(&client()?, arguments.name.as_deref())?,
    };
    let Answer { body: session, cookie }: Answer<Session> = signed_in.map_err(refusal)?;
    let cookie = cookie.ok_or_else(|| anyhow!("the aggregator opened no session"))?;
    let client = client()?.with_cookie(cookie);
    let created = make_token(&client, &session, arguments.ttl)?;
    let profile = Profile { url: url.clone(), ca: ca.clone(), token: Some(Zeroizing::new(created.token)) };
    let path = profile.store(context)?;
    // The token took the session's place; the session would end by itself otherwise.
    client.order(Method::DELETE, "/api/v1/session")?;
    context.hint(&format!(
        "signed in to {url} as {} until {}; the token is in {}",
        session.name,
        created.details.expires_at,
        path.display()
    ))?;
    Ok(Exit::Fine)
}

/// Ends the profile's token and forgets it.
///
/// # Errors
/// When the aggregator does not revoke it; it is forgotten here all the same.
pub fn logout(context: &mut Context<'_>) -> anyhow::Result<Exit> {
    let Some(mut profile) = Profile::stored(context)?.filter(|profile| profile.token.is_some()) else {
        context.hint("not signed in")?;
        return Ok(Exit::Fine);
    };
    let client = profile.client(context)?;
    let revoked = client.get::<Session>("/api/v1/session", &[]).and_then(|session| {
        let id = session.actor.strip_prefix("token:").unwrap_or(&session.actor);
        client.order(Method::DELETE, &format!("/api/v1/api-tokens/{}", segment(id)))
    });
    profile.token = None;
    profile.store(context)?;
    match revoked {
        Ok(()) => context.hint("signed out")?,
        // Expired or revoked already.
        Err(ClientError::NotSignedIn { .. }) => context.hint("signed out")?,
        Err(error) => {
            return Err(anyhow::Error::from(error)
                .context("the token is forgotten here, but stays valid until it expires"));
        }
    }
    Ok(Exit::Fine)
}

/// A link's parts.
#[derive(Debug)]
struct Link {
    url: String,
    secret: Zeroizing<String>,
}

fn read_link(text: &str) -> Result<Link, UsageError> {
    match text.trim().split_once(LINK_MARK) {
        Some((url, secret)) if !url.is_empty() && !secret.is_empty() => {
            Ok(Link { url: url.to_owned(), secret: Zeroizing::new(secret.to_owned()) })
        }
        _ => Err(UsageError(format!(
            "this is no one-time link: one looks like https://ADDRESS{LINK_MARK}SECRET"
        ))),
    }
}

/// Asks for the password, and for the second factor if there is one.
fn with_password(
    client: &Client,
    name: Option<&str>,
) -> anyhow::Result<Result<Answer<Session>, ClientError>> {
    let name = match name {
        Some(name) => name.to_owned(),
        None => terminal::ask("name", "name: ", INSTEAD)?,
    };
    let password = terminal::ask_secret("password", INSTEAD)?;
    let mut request = SignIn { name, password: password.to_string(), totp: None };
    let mut answer = client.send_for_cookie(Method::POST, "/api/v1/session", &request);
    if matches!(&answer, Err(error) if error.code() == Some("second_factor")) {
        request.totp = Some(terminal::ask("code", "code of the second factor: ", INSTEAD)?);
        answer = client.send_for_cookie(Method::POST, "/api/v1/session", &request);
    }
    request.password.zeroize();
    Ok(answer)
}

/// While signing in, "run `campanile login`" would be no advice.
fn refusal(error: ClientError) -> anyhow::Error {
    match error {
        ClientError::NotSignedIn { detail } => anyhow!("not signed in: {detail}"),
        error => error.into(),
    }
}

fn make_token(client: &Client, session: &Session, ttl: Duration) -> anyhow::Result<CreatedApiToken> {
    let request = ApiTokenRequest {
        name: format!("campanile of {}", session.name),
        grants: session.grants.clone(),
        ttl_seconds: ttl.as_secs(),
    };
    client.send(Method::POST, "/api/v1/api-tokens", &request).context("cannot make a token for this profile")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_gives_address_and_secret() {
        let link = read_link(" https://a.example:8443/signin#link=abc\n").unwrap();
        assert_eq!((link.url.as_str(), link.secret.as_str()), ("https://a.example:8443", "abc"));
    }

    #[test]
    fn other_texts_are_no_links() {
        for text in ["", "abc", "https://a/signin", "https://a/signin#link=", "/signin#link=abc"] {
            assert!(read_link(text).is_err(), "{text}");
        }
    }
}
