//! Refuses changes while the fleet is frozen. What people do with their own sessions goes on, and so does thawing.

use std::sync::Arc;

use axum::extract::{FromRequestParts as _, MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::auth::{Caller, is_safe};
use super::failure::Failure;
use super::{App, Shared};

/// Sign-in and sign-out, one's own password and second factor, and the way out of the freeze.
const EXEMPT: [(Method, &str); 8] = [
    (Method::POST, "/api/v1/session"),
    (Method::POST, "/api/v1/session/link"),
    (Method::DELETE, "/api/v1/session"),
    (Method::PUT, "/api/v1/session/password"),
    (Method::POST, "/api/v1/session/totp"),
    (Method::POST, "/api/v1/session/totp/confirm"),
    (Method::DELETE, "/api/v1/freeze"),
    // A question.
    (Method::POST, "/api/v1/config/parts/missing"),
];

/// Middleware: while the fleet is frozen, every change answers with the reason.
pub(super) async fn refuse(State(shared): App, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let is_change = path.is_some_and(|path| is_change(request.method(), &path));
    if !is_change {
        return next.run(request).await;
    }
    let Some(freeze) = shared.services.freezer.details() else { return next.run(request).await };
    let (reason, by) = (freeze.reason.unwrap_or_default(), freeze.by.unwrap_or_default());
    match refusal(&shared, request, &reason, &by).await {
        Ok(failure) | Err(failure) => failure.into_response(),
    }
}

/// The reason is for who is signed in; others hear that they are not.
async fn refusal(shared: &Arc<Shared>, request: Request, reason: &str, by: &str) -> Result<Failure, Failure> {
    let (mut parts, _) = request.into_parts();
    Caller::from_request_parts(&mut parts, shared).await?;
    Ok(Failure::frozen(format!("{by} froze the fleet: {reason}; nothing changes until it is thawed")))
}

fn is_change(method: &Method, path: &str) -> bool {
    !is_safe(method) && !EXEMPT.iter().any(|(known, exempt)| known == method && *exempt == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_ones_own_session_are_no_changes() {
        for (method, path, expected) in [
            (Method::GET, "/api/v1/orders", false),
            (Method::HEAD, "/api/v1/nodes", false),
            (Method::POST, "/api/v1/orders", true),
            (Method::POST, "/api/v1/session", false),
            (Method::PUT, "/api/v1/session/password", false),
            (Method::DELETE, "/api/v1/freeze", false),
            (Method::PUT, "/api/v1/freeze", true),
            (Method::POST, "/api/v1/freeze", true),
            (Method::PUT, "/api/v1/log-level", true),
            (Method::DELETE, "/api/v1/people/{name}", true),
        ] {
            assert_eq!(is_change(&method, path), expected, "{method} {path}");
        }
    }
}
