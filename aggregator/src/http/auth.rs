//! Who calls: the bearer token or the session cookie of a request, and whether a browser was tricked into it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};

use super::Shared;
use super::failure::{Failure, Outcome};
use crate::access::{AccessError, Actor, Permission};

/// Name of the session cookie. The prefix makes browsers insist on `Secure`, `Path=/` and no `Domain`.
const COOKIE: &str = "__Host-campanile";

/// What a caller proves who it is with.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    /// An API token.
    Bearer(String),
    /// The secret of a session.
    Session(String),
}

/// An authenticated caller.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) actor: Actor,
    pub(super) credentials: Credentials,
}

impl Credentials {
    /// The credentials that a request bears; the token where it bears both.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let bearer = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| Self::Bearer(token.trim().to_owned()));
        bearer.or_else(|| cookie(headers).map(Self::Session))
    }

    /// Whose they are, as of now.
    pub(super) async fn actor(&self, shared: &Shared) -> Result<Actor, AccessError> {
        match self {
            Self::Bearer(token) => shared.services.access.bearer(token).await,
            Self::Session(secret) => shared.services.access.session(secret).await,
        }
    }
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, value)| *name == COOKIE && !value.is_empty())
        .map(|(_, value)| value.to_owned())
}

/// The header that gives a browser its session. It ends with the browser, and at the latest in the aggregator.
pub(super) fn set_cookie(secret: &str) -> Outcome<HeaderValue> {
    HeaderValue::from_str(&format!("{COOKIE}={secret}; Path=/; Secure; HttpOnly; SameSite=Strict"))
        .map_err(|_| Failure::broken())
}

/// The header that takes it away.
pub(super) fn clear_cookie() -> HeaderValue {
    HeaderValue::from_static("__Host-campanile=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0")
}

/// Where a request comes from, as far as its sender says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Our own page.
    Same,
    /// Another page.
    Cross,
    /// No browser of the last years sent this.
    Unsaid,
}

/// Judges `Sec-Fetch-Site`, or else `Origin` against the host that was called.
pub(super) fn origin(headers: &HeaderMap, uri: &Uri) -> Origin {
    if let Some(site) = headers.get("sec-fetch-site") {
        return if site == "same-origin" || site == "none" { Origin::Same } else { Origin::Cross };
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Origin::Unsaid };
    let called = uri
        .authority()
        .map(|authority| authority.as_str())
        .or_else(|| headers.get(header::HOST).and_then(|host| host.to_str().ok()));
    let from = origin.to_str().ok().and_then(|origin| origin.strip_prefix("https://"));
    if from.is_some() && from == called { Origin::Same } else { Origin::Cross }
}

pub(super) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Refuses a change that a foreign page made a signed-in browser ask for.
fn check_origin(credentials: &Credentials, parts: &Parts) -> Outcome<()> {
    let is_cookie = matches!(credentials, Credentials::Session(_));
    if !is_cookie || is_safe(&parts.method) || origin(&parts.headers, &parts.uri) == Origin::Same {
        return Ok(());
    }
    Err(Failure::denied(
        "a change with a session must come from the aggregator's own page; tools use API tokens",
    ))
}

impl FromRequestParts<Arc<Shared>> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Failure> {
        if let Some(known) = parts.extensions.get::<Self>() {
            return Ok(known.clone());
        }
        let Some(credentials) = Credentials::of(&parts.headers) else {
            return Err(Failure::unauthenticated(
                "the request bears no API token (`Authorization: Bearer TOKEN`) and no session",
            ));
        };
        check_origin(&credentials, parts)?;
        let actor = credentials.actor(shared).await?;
        let caller = Self { actor, credentials };
        parts.extensions.insert(caller.clone());
        Ok(caller)
    }
}

impl Caller {
    /// Refuses, and audits the refusal, unless the caller may do this over all nodes.
    pub(super) async fn require(
        &self,
        shared: &Shared,
        permission: Permission,
        action: &'static str,
        target: &str,
    ) -> Outcome<()> {
        if self.actor.may(permission, None) { Ok(()) } else { Err(self.denied(shared, action, target).await) }
    }

    /// Refuses, and audits the refusal, unless the caller may do this over some nodes.
    pub(super) async fn require_somewhere(
        &self,
        shared: &Shared,
        permission: Permission,
        action: &'static str,
    ) -> Outcome<()> {
        if self.actor.may_somewhere(permission) {
            Ok(())
        } else {
            Err(self.denied(shared, action, "fleet").await)
        }
    }

    /// The refusal, audited.
    pub(super) async fn denied(&self, shared: &Shared, action: &'static str, target: &str) -> Failure {
        shared.services.access.audit_denial(&self.actor.id, action, target).await;
        AccessError::Denied { actor: self.actor.id.clone() }.into()
    }
}

/// The caller's address, for lock-out and audit.
#[derive(Debug)]
pub(super) struct Source(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Source {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        // A page elsewhere must not sign a browser in as somebody else either.
        if origin(&parts.headers, &parts.uri) == Origin::Cross {
            return Err(Failure::denied("signing in must come from the aggregator's own page"));
        }
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Self(
            address.map_or_else(|| "unknown".to_owned(), |ConnectInfo(address)| address.ip().to_string()),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (header::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
            })
            .collect()
    }

    #[test]
    fn a_token_goes_before_a_cookie() {
        let both = headers(&[("authorization", "bearer cmpa_x"), ("cookie", "a=b; __Host-campanile=s")]);
        assert!(Credentials::of(&both) == Some(Credentials::Bearer("cmpa_x".into())));
        let cookie = headers(&[("cookie", "a=b; __Host-campanile=s")]);
        assert!(Credentials::of(&cookie) == Some(Credentials::Session("s".into())));
        assert!(Credentials::of(&headers(&[("cookie", "__Host-campanile=")])).is_none());
        assert!(Credentials::of(&headers(&[("authorization", "Basic eA==")])).is_none());
    }

    #[test]
    fn only_our_own_page_counts_as_the_same_origin() {
        let uri = Uri::from_static("/api/v1/session");
        let judge = |pairs: &[(&'static str, &str)]| origin(&headers(pairs), &uri);
        assert_eq!(judge(&[("sec-fetch-site", "same-origin")]), Origin::Same);
        assert_eq!(judge(&[("sec-fetch-site", "same-site")]), Origin::Cross);
        assert_eq!(judge(&[("origin", "https://a:1"), ("host", "a:1")]), Origin::Same);
        assert_eq!(judge(&[("origin", "http://a:1"), ("host", "a:1")]), Origin::Cross);
        assert_eq!(judge(&[("origin", "https://b"), ("host", "a:1")]), Origin::Cross);
        assert_eq!(judge(&[("origin", "null"), ("host", "a:1")]), Origin::Cross);
        assert_eq!(judge(&[("host", "a:1")]), Origin::Unsaid);
    }

    #[test]
    fn a_change_with_a_cookie_needs_our_own_page_and_one_with_a_token_does_not() {
        let parts = |method: Method, pairs: &[(&'static str, &str)]| {
            let mut request = axum::http::Request::new(());
            *request.method_mut() = method;
            *request.headers_mut() = headers(pairs);
            request.into_parts().0
        };
        let session = Credentials::Session("s".into());
        assert!(check_origin(&session, &parts(Method::POST, &[])).is_err());
        assert!(check_origin(&session, &parts(Method::DELETE, &[("sec-fetch-site", "cross-site")])).is_err());
        assert!(check_origin(&session, &parts(Method::POST, &[("sec-fetch-site", "same-origin")])).is_ok());
        assert!(check_origin(&session, &parts(Method::GET, &[])).is_ok());
        assert!(check_origin(&Credentials::Bearer("t".into()), &parts(Method::POST, &[])).is_ok());
    }

    #[test]
    fn the_cookie_cannot_be_read_by_scripts_nor_sent_by_other_sites() {
        let cookie = set_cookie("secret").unwrap();
        let text = cookie.to_str().unwrap();
        for attribute in ["__Host-campanile=secret", "Path=/", "Secure", "HttpOnly", "SameSite=Strict"] {
            assert!(text.contains(attribute), "{attribute}");
        }
        assert!(!text.contains("Domain"));
    }
}
