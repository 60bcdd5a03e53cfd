//! The pages and what they consist of, inside the binary.
//!
//! Browsers ask each time whether a file changed and get its bytes only when it did: an update of the aggregator
//! shows at once.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use campanile_common::authority::sha256;

use super::Shared;

#[derive(Debug, Clone, Copy)]
pub(super) struct Asset {
    pub(super) path: &'static str,
    media_type: &'static str,
    pub(super) text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! asset {
    ($path:literal, $media_type:expr, $file:literal) => {
        Asset {
            path: $path,
            media_type: $media_type,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/ui/", $file)),
        }
    };
}

/// Every file that is served.
pub(super) const ASSETS: &[Asset] = &[
    asset!("/", HTML, "index.html"),
    asset!("/signin", HTML, "index.html"),
    asset!("/docs", HTML, "docs.html"),
    asset!("/assets/style.css", CSS, "style.css"),
    asset!("/assets/icon.svg", SVG, "icon.svg"),
    asset!("/assets/app.js", SCRIPT, "app.js"),
    asset!("/assets/dom.js", SCRIPT, "dom.js"),
    asset!("/assets/client.js", SCRIPT, "client.js"),
    asset!("/assets/fleet.js", SCRIPT, "fleet.js"),
    asset!("/assets/node.js", SCRIPT, "node.js"),
    asset!("/assets/signin.js", SCRIPT, "signin.js"),
    asset!("/assets/docs.js", SCRIPT, "docs.js"),
    asset!("/assets/guide.css", CSS, "guide.css"),
    asset!("/assets/guide.js", SCRIPT, "guide.js"),
];

/// The operator's guide, as `build.rs` rendered it: address, media type, text.
pub(super) const GUIDE: &[(&str, &str, &str)] = include!(concat!(env!("OUT_DIR"), "/guide.rs"));

/// The guide's files, and its first page without the last slash too.
pub(super) fn guide() -> impl Iterator<Item = Asset> {
    let short =
        GUIDE.iter().filter(|(path, ..)| *path == "/docs/guide/").map(|page| ("/docs/guide", page.1, page.2));
    GUIDE.iter().copied().chain(short).map(|(path, media_type, text)| Asset { path, media_type, text })
}

/// A route per file.
pub(super) fn routes() -> Router<Arc<Shared>> {
    ASSETS.iter().copied().chain(guide()).fold(Router::new(), |router, asset| {
        let digest = sha256(&[asset.text.as_bytes()]).to_string();
        // Weak, because the same file goes out compressed and not.
        let etag = HeaderValue::from_str(&format!("W/\"{}\"", &digest[..16]))
            .expect("hexadecimal digits in quotes are a header value");
        router.route(asset.path, get(move |headers: HeaderMap| serve(asset, etag.clone(), headers)))
    })
}

async fn serve(asset: Asset, etag: HeaderValue, headers: HeaderMap) -> Response {
    let known = headers.get_all(header::IF_NONE_MATCH).iter().any(|value| value == etag);
    let always = [(header::ETAG, etag), (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    if known {
        return (StatusCode::NOT_MODIFIED, always).into_response();
    }
    (always, [(header::CONTENT_TYPE, asset.media_type)], asset.text).into_response()
}
