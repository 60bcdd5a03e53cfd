//! `/install.sh` and `/packages/`: what a node that has nothing yet is installed from, for whoever asks.
//!
//! Files go out piece by piece, so many at once, each within its time. Digests are computed off the runtime.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::failure::{Failure, Outcome};
use super::{App, Shared};
use crate::os::shelf::Reader;
use crate::packages::{Package, Packages, SCRIPT_NAME};

/// Downloads at once: a fleet that is installed in one go waits its turn.
pub(super) const DOWNLOADS_MAX: usize = 32;
/// How long one may take: 20 MiB at 300 kbit/s.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(600);
/// Pieces that wait for a slow peer; it is then waited for.
const PIECES_MAX: usize = 2;

/// One package, as JSON shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    file: String,
    package: &'static str,
    version: String,
    kind: &'static str,
    architecture: String,
    size_bytes: u64,
    sha256: String,
}

impl From<Package> for Shown {
    fn from(package: Package) -> Self {
        let name = package.name;
        Self {
            file: name.file().to_owned(),
            package: name.package(),
            version: name.version().to_owned(),
            kind: name.kind().as_str(),
            architecture: name.architecture().to_owned(),
            size_bytes: package.size_bytes,
            sha256: package.digest.to_string(),
        }
    }
}

/// The routes.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route(&format!("/{SCRIPT_NAME}"), get(script))
        .route("/packages/", get(sums))
        .route("/packages/index.json", get(index))
        .route("/packages/{file}", get(download))
}

/// Asks the folder on a thread that may wait for the disk.
async fn ask<T: Send + 'static>(
    shared: &Shared,
    question: impl FnOnce(&Packages) -> T + Send + 'static,
) -> Outcome<T> {
    let packages = shared.services.packages.clone();
    tokio::task::spawn_blocking(move || question(&packages)).await.map_err(|_| Failure::broken())
}

async fn script(State(shared): App, headers: HeaderMap) -> Outcome<Response> {
    let found = ask(&shared, Packages::script).await?;
    let (text, digest) = found.ok_or_else(|| {
        Failure::not_found(
            "this aggregator has no package of the agent to install; see the setting `packages.dir`",
        )
    })?;
    let etag = etag(&digest.to_string());
    if is_known(&headers, &etag) {
        return Ok(not_modified(etag));
    }
    let headers =
        [(header::ETAG, etag), (header::CONTENT_TYPE, text_type("text/x-shellscript; charset=utf-8"))];
    Ok((headers, text).into_response())
}

/// As `sha256sum` writes and reads it.
async fn sums(State(shared): App) -> Outcome<String> {
    let packages = ask(&shared, Packages::list).await?;
    Ok(packages.iter().map(|package| format!("{}  {}\n", package.digest, package.name.file())).collect())
}

async fn index(State(shared): App) -> Outcome<Json<Vec<Shown>>> {
    Ok(Json(ask(&shared, Packages::list).await?.into_iter().map(Shown::from).collect()))
}

async fn download(State(shared): App, Path(file): Path<String>, headers: HeaderMap) -> Outcome<Response> {
    let permit = Arc::clone(&shared.downloads).try_acquire_owned().map_err(|_| {
        Failure::unavailable(format!("{DOWNLOADS_MAX} downloads are under way; try again in a moment"))
    })?;
    let name = file.clone();
    let opened = ask(&shared, move |packages| packages.open(&name)).await?;
    let opened = opened.map_err(|error| {
        tracing::warn!(file, %error, "package cannot be opened");
        Failure::broken()
    })?;
    let (package, reader) = opened.ok_or_else(|| {
        Failure::not_found(format!("there is no package `{file}`; /packages/ lists those there are"))
    })?;
    let etag = etag(&package.digest.to_string());
    if is_known(&headers, &etag) {
        return Ok(not_modified(etag));
    }
    let size = package.size_bytes;
    let part = match part(&headers, &etag, size) {
        Ok(part) => part,
        Err(()) => {
            let total = text_header(&format!("bytes */{size}"));
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, [(header::CONTENT_RANGE, total)]).into_response());
        }
    };
    let (status, range) = match part {
        Some(part) => (StatusCode::PARTIAL_CONTENT, part),
        None => (StatusCode::OK, 0..size),
    };
    let always = [
        (header::ETAG, etag),
        (header::CONTENT_TYPE, text_type("application/octet-stream")),
        (header::ACCEPT_RANGES, text_type("bytes")),
        (header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start)),
    ];
    let mut response = (status, always, body(&shared, reader, range.clone(), permit)).into_response();
    if status == StatusCode::PARTIAL_CONTENT {
        let shown = text_header(&format!("bytes {}-{}/{size}", range.start, range.end - 1));
        response.headers_mut().insert(header::CONTENT_RANGE, shown);
    }
    Ok(response)
}

/// Reads as the peer takes.
fn body(shared: &Shared, reader: Reader, range: Range<u64>, permit: OwnedSemaphorePermit) -> Body {
    let (sender, pieces) = mpsc::channel::<std::io::Result<Bytes>>(PIECES_MAX);
    let stop = shared.shutdown.clone();
    shared.streams.spawn(async move {
        let _permit = permit;
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(DOWNLOAD_TIMEOUT) => {}
            () = send(reader, range, sender) => {}
        }
    });
    Body::from_stream(ReceiverStream::new(pieces))
}

async fn send(reader: Reader, range: Range<u64>, sender: mpsc::Sender<std::io::Result<Bytes>>) {
    let (reader, mut at) = (Arc::new(reader), range.start);
    while at < range.end {
        let source = Arc::clone(&reader);
        let read = tokio::task::spawn_blocking(move || source.piece(at, range.end)).await;
        let piece = match read {
            Ok(Ok(piece)) if !piece.is_empty() => piece,
            // Cut off on our side: the peer is to notice that it has not all of it.
            Ok(Ok(_)) | Err(_) => {
                return drop(sender.send(Err(std::io::ErrorKind::UnexpectedEof.into())).await);
            }
            Ok(Err(error)) => return drop(sender.send(Err(error)).await),
        };
        at += piece.len() as u64;
        if sender.send(Ok(piece.into())).await.is_err() {
            return;
        }
    }
}

fn etag(digest: &str) -> HeaderValue {
    text_header(&format!("\"{digest}\""))
}

fn text_header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("digits and signs are a header value")
}

const fn text_type(text: &'static str) -> HeaderValue {
    HeaderValue::from_static(text)
}

fn is_known(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    headers.get_all(header::IF_NONE_MATCH).iter().any(|known| known == etag)
}

fn not_modified(etag: HeaderValue) -> Response {
    (StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response()
}

/// The one part of the file that is asked for; none for the whole. What is not understood is the whole, as HTTP says.
fn part(headers: &HeaderMap, etag: &HeaderValue, size: u64) -> Result<Option<Range<u64>>, ()> {
    // The rest of another file is worse than all of this one.
    if headers.get(header::IF_RANGE).is_some_and(|of| of != etag) {
        return Ok(None);
    }
    let Some(asked) = headers.get(header::RANGE).and_then(|value| value.to_str().ok()) else {
        return Ok(None);
    };
    let Some((first, last)) = asked.strip_prefix("bytes=").and_then(|part| part.split_once('-')) else {
        return Ok(None);
    };
    let (Ok(first), last) = (first.parse::<u64>(), last.parse::<u64>()) else { return Ok(None) };
    if last.is_err() && !asked.ends_with('-') {
        return Ok(None);
    }
    let end = last.map_or(size, |last| last.saturating_add(1)).min(size);
    if first < end { Ok(Some(first..end)) } else { Err(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(range: &str, of: Option<&str>) -> Result<Option<Range<u64>>, ()> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, range.parse().unwrap());
        if let Some(of) = of {
            headers.insert(header::IF_RANGE, of.parse().unwrap());
        }
        part(&headers, &etag("ab"), 100)
    }

    #[test]
    fn a_part_is_understood_and_anything_else_is_the_whole() {
        assert_eq!(asked("bytes=10-", None), Ok(Some(10..100)));
        assert_eq!(asked("bytes=10-19", None), Ok(Some(10..20)));
        assert_eq!(asked("bytes=10-1000", Some("\"ab\"")), Ok(Some(10..100)));
        assert_eq!(asked("bytes=10-", Some("\"cd\"")), Ok(None), "of another file");
        for odd in ["bytes=-5", "bytes=1-2,4-5", "lines=1-2", "bytes=x-", "bytes"] {
            assert_eq!(asked(odd, None), Ok(None), "{odd}");
        }
        assert_eq!(asked("bytes=100-", None), Err(()));
        assert_eq!(asked("bytes=20-10", None), Err(()));
    }
}
