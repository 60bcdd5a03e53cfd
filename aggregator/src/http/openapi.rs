//! The OpenAPI document, made from the same macros as the routes.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;

use super::Shared;

const DESCRIPTION: &str = "Everything that Campanile's command line and pages do, they do with this API.\n\n\
    Authenticate with `Authorization: Bearer TOKEN` or with the session cookie that signing in sets. Lists hold the \
    nodes that the caller's grants cover; a node outside them answers as one that does not exist. Lists come in \
    pages: give `nextCursor` as `cursor` to get the next. Unknown query parameters and fields are errors. Errors are \
    `application/problem+json` with a stable `code`. A POST with an `Idempotency-Key` (1 to 128 ASCII characters) has \
    its effect once: the same request with the same key gets the first answer again for 24 hours, up to a restart \
    of the aggregator; another request with that key is refused with 422. Times are RFC 3339 in UTC; a figure \
    without a source is null.";

/// The routes and the document that describes them.
pub(super) fn parts(routes: OpenApiRouter<Arc<Shared>>) -> (Router<Arc<Shared>>, OpenApi) {
    let (router, paths) = routes.split_for_parts();
    let mut document = base();
    document.merge(paths);
    (router, document)
}

fn base() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Campanile")
        .version("v1")
        .description(Some(DESCRIPTION))
        .license(Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build()))
        .build();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    let components = ComponentsBuilder::new()
        .security_scheme("token", SecurityScheme::Http(bearer))
        .security_scheme(
            "session",
            SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new("__Host-campanile"))),
        )
        .build();
    let none: [&str; 0] = [];
    OpenApiBuilder::new()
        .info(info)
        .components(Some(components))
        .security(Some([SecurityRequirement::new("token", none), SecurityRequirement::new("session", none)]))
        .build()
}

/// The document as JSON, made once.
pub(super) fn render(document: &OpenApi) -> Bytes {
    Bytes::from(document.to_json().expect("the document is plain data"))
}

/// `GET /api/v1/openapi.json`.
pub(super) async fn serve(document: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document).into_response()
}
