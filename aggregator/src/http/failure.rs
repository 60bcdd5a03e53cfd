//! Errors as the API answers them: a problem document with a stable code.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use campanile_common::api::Problem;
use campanile_common::wire::v1::store::StoreFailure;

use crate::access::AccessError;
use crate::authority::SubmitError;
use crate::backup::{self, FloorError};
use crate::config::ConfigError;
use crate::freeze::FreezeError;
use crate::node::NodeError;
use crate::order::OrderError;
use crate::os::parts::PartError;
use crate::schedule::ScheduleError;
use crate::state::StateError;

/// Media type of RFC 9457.
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Seconds after which a caller that found a limit reached may try again.
const RETRY_AFTER_S: u64 = 5;

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    status: StatusCode,
    code: &'static str,
    detail: String,
    retry_after_s: Option<u64>,
}

pub(super) type Outcome<T> = Result<T, Failure>;

impl Failure {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), retry_after_s: None }
    }

    pub(super) fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
    }

    pub(super) fn denied(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "denied", detail)
    }

    /// While the fleet is frozen.
    pub(super) fn frozen(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::LOCKED, "frozen", detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", detail)
    }

    pub(super) fn invalid_media_type(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid", detail)
    }

    pub(super) fn invalid_method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "invalid",
            "this address does not take that method; see /docs for those it takes",
        )
    }

    pub(super) fn key_reused() -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid",
            "this Idempotency-Key was used for another request; use a new one for each request",
        )
    }

    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", detail)
    }

    pub(super) fn precondition_failed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", detail)
    }

    pub(super) fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    }

    pub(super) fn rate_limited(detail: impl Into<String>) -> Self {
        let failure = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail);
        Self { retry_after_s: Some(RETRY_AFTER_S), ..failure }
    }

    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        let failure = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail);
        Self { retry_after_s: Some(RETRY_AFTER_S), ..failure }
    }

    /// A node that has stored nothing.
    pub(super) fn backup_none(name: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "backup_none", format!("node `{name}` has stored no backup"))
    }

    /// A node whose part of the backup store cannot be used.
    pub(super) fn backup_unusable(name: &str) -> Self {
        let detail = format!(
            "the part of node `{name}` in the backup store cannot be used; the aggregator's log says why"
        );
        Self::new(StatusCode::CONFLICT, "backup_unusable", detail)
    }

    /// What the backup store refused; `missing` is the code where there is no such thing.
    pub(super) fn of_store(failure: backup::Failure, missing: &'static str) -> Self {
        let detail = failure.reason;
        match failure.code {
            StoreFailure::Missing => Self::new(StatusCode::NOT_FOUND, missing, detail),
            StoreFailure::Full => Self::new(StatusCode::INSUFFICIENT_STORAGE, "storage_full", detail),
            StoreFailure::Damaged | StoreFailure::Incomplete | StoreFailure::Mismatch => {
                Self::new(StatusCode::CONFLICT, "backup_damaged", detail)
            }
            _ => Self::unavailable(detail),
        }
    }

    /// A broken invariant of ours: nothing the caller can do.
    pub(super) fn broken() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "unavailable",
            "the aggregator failed at this request; its log says where",
        )
    }

    pub(super) fn problem(&self) -> Problem {
        Problem {
            status: self.status.as_u16(),
            code: self.code.to_owned(),
            title: title(self.code).to_owned(),
            detail: self.detail.clone(),
        }
    }
}

/// Short text of each code.
fn title(code: &str) -> &'static str {
    match code {
        "unauthenticated" => "Not signed in",
        "second_factor" => "Second factor needed",
        "locked" => "Locked",
        "denied" => "Not permitted",
        "not_found" => "Not found",
        "conflict" => "Conflict",
        "frozen" => "The fleet is frozen",
        "signatures" => "Signatures missing or not valid",
        "stale" => "Out of date",
        "precondition_failed" => "Changed in the meantime",
        "not_connected" => "Node not connected",
        "config_none" => "No generation yet",
        "config_conflict" => "Another generation came first",
        "config_parts_missing" => "Parts missing",
        "config_part_damaged" => "Part damaged",
        "backup_none" => "No such backup",
        "backup_hold_none" => "Nothing waits under that number",
        "backup_unusable" => "Backups cannot be used",
        "backup_damaged" => "Backup damaged",
        "no_answer" => "No answer from the node",
        "too_large" => "Too large",
        "storage_full" => "Storage full",
        "rate_limited" => "Too many requests",
        "unavailable" => "Unavailable",
        _ => "Invalid request",
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::warn!(status = self.status.as_u16(), code = self.code, detail = %self.detail, "request failed");
        }
        let mut response = (self.status, Json(self.problem())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<AccessError> for Failure {
    fn from(error: AccessError) -> Self {
        let detail = error.to_string();
        match error {
            AccessError::Unauthenticated => Self::unauthenticated(detail),
            AccessError::SecondFactor => Self::new(StatusCode::UNAUTHORIZED, "second_factor", detail),
            AccessError::Locked { seconds } => Self {
                retry_after_s: Some(seconds),
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, "locked", detail)
            },
            AccessError::Denied { .. } => Self::denied(detail),
            AccessError::Invalid(_) => Self::invalid(detail),
            AccessError::NotFound(_) => Self::not_found(detail),
            AccessError::Conflict => Self::conflict(detail),
            AccessError::State(source) => source.into(),
        }
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        let detail = error.to_string();
        match error {
            NodeError::NotFound(_) => Self::not_found(detail),
            NodeError::Retired(_) | NodeError::NameTaken(_) => Self::conflict(detail),
            NodeError::Invalid(_) => Self::invalid(detail),
            NodeError::Conflict => Self::precondition_failed(detail),
            NodeError::NotConnected(_) => Self::new(StatusCode::CONFLICT, "not_connected", detail),
            NodeError::NoAnswer { .. } => Self::new(StatusCode::GATEWAY_TIMEOUT, "no_answer", detail),
            NodeError::State(source) => source.into(),
        }
    }
}

impl From<SubmitError> for Failure {
    fn from(error: SubmitError) -> Self {
        let detail = error.to_string();
        match error {
            SubmitError::Invalid(_) => Self::invalid(detail),
            SubmitError::Signatures(_) => Self::new(StatusCode::FORBIDDEN, "signatures", detail),
            SubmitError::Stale(_) => Self::new(StatusCode::CONFLICT, "stale", detail),
            SubmitError::Conflict(_) => Self::conflict(detail),
            SubmitError::NotFound(_) => Self::not_found(detail),
            SubmitError::State(source) => source.into(),
        }
    }
}

impl From<FloorError> for Failure {
    fn from(error: FloorError) -> Self {
        let detail = error.to_string();
        match error {
            FloorError::Invalid(_) => Self::invalid(detail),
            FloorError::Signatures(_) => Self::new(StatusCode::FORBIDDEN, "signatures", detail),
            FloorError::Stale(_) => Self::new(StatusCode::CONFLICT, "stale", detail),
            FloorError::Conflict(_) => Self::conflict(detail),
            FloorError::NotFound(_) => Self::not_found(detail),
            FloorError::State(source) => source.into(),
        }
    }
}

impl From<FreezeError> for Failure {
    fn from(error: FreezeError) -> Self {
        let detail = error.to_string();
        match error {
            FreezeError::Invalid(_) => Self::invalid(detail),
            FreezeError::Conflict => Self::conflict(detail),
            FreezeError::State(source) => source.into(),
        }
    }
}

impl From<ScheduleError> for Failure {
    fn from(error: ScheduleError) -> Self {
        let detail = error.to_string();
        match error {
            ScheduleError::Invalid(_) => Self::invalid(detail),
            ScheduleError::Signatures(_) => Self::new(StatusCode::FORBIDDEN, "signatures", detail),
            ScheduleError::NotFound(_) => Self::not_found(detail),
            ScheduleError::Exists(_) | ScheduleError::Conflict(_) => Self::conflict(detail),
            ScheduleError::State(source) => source.into(),
        }
    }
}

impl From<OrderError> for Failure {
    fn from(error: OrderError) -> Self {
        let detail = error.to_string();
        match error {
            OrderError::NotFound(_) => Self::not_found(detail),
            OrderError::Invalid(_) => Self::invalid(detail),
            OrderError::UnknownTarget(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail),
            OrderError::Stale(_) => Self::new(StatusCode::CONFLICT, "stale", detail),
            OrderError::Signatures(_) => Self::new(StatusCode::FORBIDDEN, "signatures", detail),
            OrderError::Frozen => Self::new(StatusCode::LOCKED, "frozen", detail),
            OrderError::Conflict(_) => Self::conflict(detail),
            OrderError::Busy(_) => Self::rate_limited(detail),
            OrderError::Stopping => Self::unavailable(detail),
            OrderError::State(source) => source.into(),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let detail = error.to_string();
        match error {
            ConfigError::None => Self::new(StatusCode::NOT_FOUND, "config_none", detail),
            ConfigError::NotFound(_) => Self::not_found(detail),
            ConfigError::Invalid(_) => Self::invalid(detail),
            ConfigError::Signatures(_) => Self::new(StatusCode::FORBIDDEN, "signatures", detail),
            ConfigError::Stale(_) => Self::new(StatusCode::CONFLICT, "stale", detail),
            ConfigError::Conflict(_) => Self::new(StatusCode::PRECONDITION_FAILED, "config_conflict", detail),
            ConfigError::MissingParts(_) => Self::new(StatusCode::CONFLICT, "config_parts_missing", detail),
            ConfigError::Busy(_) => Self::rate_limited(detail),
            ConfigError::Frozen => Self::frozen(detail),
            ConfigError::Part(source) => source.into(),
            ConfigError::Stopping => Self::unavailable(detail),
            ConfigError::State(source) => source.into(),
        }
    }
}

impl From<PartError> for Failure {
    fn from(error: PartError) -> Self {
        let detail = error.to_string();
        match error {
            PartError::Mismatch { .. } => Self::invalid(detail),
            PartError::Missing(_) => Self::not_found(detail),
            PartError::Full => Self::new(StatusCode::INSUFFICIENT_STORAGE, "storage_full", detail),
            // Where it is, is for the log.
            PartError::Damaged { digest, .. } => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "config_part_damaged",
                format!(
                    "part {digest} is damaged on the aggregator's disk; submit the bundle again to replace it"
                ),
            ),
            PartError::Disk { .. } => {
                tracing::error!(%detail, "a part of the configuration");
                Self::unavailable("the aggregator's disk refuses; its log says why")
            }
        }
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        let detail = error.to_string();
        match error {
            StateError::Full => Self::new(StatusCode::INSUFFICIENT_STORAGE, "storage_full", detail),
            // What is wrong inside is for the log, not for whoever calls.
            StateError::Damaged { .. }
            | StateError::TooNew { .. }
            | StateError::Behind { .. }
            | StateError::NoRoomToUpgrade { .. }
            | StateError::Foreign { .. }
            | StateError::Invalid { .. }
            | StateError::Compacted { .. }
            | StateError::Unreadable { .. }
            | StateError::UnknownFormat { .. } => {
                tracing::error!(%detail, "state store refused");
                Self::unavailable("the state store cannot be used; the aggregator's log says why")
            }
            StateError::Unavailable { .. } => {
                tracing::warn!(%detail, "state store unavailable");
                Self::unavailable("the state store cannot be reached at the moment; try again")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_error_has_its_own_stable_code() {
        let code = |error: NodeError| Failure::from(error).problem().code;
        assert_eq!(code(NodeError::NotFound("a".into())), "not_found");
        assert_eq!(code(NodeError::NameTaken("a".into())), "conflict");
        assert_eq!(code(NodeError::Conflict), "precondition_failed");
        assert_eq!(code(NodeError::NotConnected("a".into())), "not_connected");
        assert_eq!(code(NodeError::State(StateError::Full)), "storage_full");
    }

    #[test]
    fn a_damaged_store_does_not_tell_callers_its_path() {
        let error = StateError::Damaged { path: "/secret/place".into(), detail: "checksum".into() };
        assert!(!Failure::from(error).problem().detail.contains("/secret/place"));
    }

    #[test]
    fn a_lock_out_says_when_to_come_back() {
        let response = Failure::from(AccessError::Locked { seconds: 42 }).into_response();
        assert_eq!(response.headers()["retry-after"], "42");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
}
