//! What a request says, read strictly: an unknown query parameter or field is an error, never ignored.

use axum::Json;
use axum::extract::rejection::{BytesRejection, JsonRejection};
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::failure::Failure;

/// Longest request body.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;
/// Longest body that holds something signed: the bytes and signatures in base64, and the ids of a tree's leaves.
pub(super) const LONG_BODY_BYTES_MAX: usize = 512 * 1024;

/// Query parameters. `T` refuses unknown fields.
#[derive(Debug)]
pub(super) struct Params<T>(pub(super) T);

/// For addresses that take no query parameter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoParams {}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => {
                Err(Failure::invalid(format!("the query of the address: {}", chain(&rejection))))
            }
        }
    }
}

/// A JSON body. `T` refuses unknown fields.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(body_failure(&rejection)),
        }
    }
}

/// A JSON body that holds something signed, and may be longer than others. `T` refuses unknown fields.
#[derive(Debug)]
pub(super) struct LongBody<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for LongBody<T> {
    type Rejection = Failure;

    async fn from_request(mut request: Request, state: &S) -> Result<Self, Failure> {
        DefaultBodyLimit::max(LONG_BODY_BYTES_MAX).apply(&mut request);
        match Json::<T>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(body_failure(&rejection)),
        }
    }
}

/// One part of the path, e.g. a node's name.
#[derive(Debug)]
pub(super) struct Segment(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(text)) => Ok(Self(text)),
            Err(_) => Err(Failure::not_found("there is nothing at this address")),
        }
    }
}

fn body_failure(rejection: &JsonRejection) -> Failure {
    match rejection {
        JsonRejection::MissingJsonContentType(_) => {
            Failure::invalid_media_type("send the body as JSON, with `Content-Type: application/json`")
        }
        JsonRejection::BytesRejection(rejection) => bytes_failure(rejection),
        other => Failure::invalid(format!("the body: {}", chain(other))),
    }
}

pub(super) fn bytes_failure(rejection: &BytesRejection) -> Failure {
    if rejection.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE {
        Failure::too_large(format!("the body is longer than the {BODY_BYTES_MAX} bytes a request may have"))
    } else {
        Failure::invalid("the body could not be read to its end")
    }
}

/// The innermost reason says which field is wrong.
fn chain(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
