//! Packages and the script, over HTTP and for nobody in particular.

#![expect(clippy::disallowed_methods, reason = "packages are files")]

use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode};
use campanile_common::authority::sha256;

use super::site::{Site, site, text};

const DEB: &str = "campanile-agent_0.1.0-1_amd64.deb";

async fn stocked() -> (Site, Vec<u8>) {
    let site = site().await;
    let folder = site.folder.path().join("packages");
    std::fs::create_dir(&folder).unwrap();
    let content: Vec<u8> = (0_u8..=250).cycle().take(500_000).collect();
    std::fs::write(folder.join(DEB), &content).unwrap();
    std::fs::write(folder.join("secret"), "x").unwrap();
    (site, content)
}

async fn get(site: &Site, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
    let request =
        headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
    site.answer(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_package_is_listed_with_its_digest_and_comes_whole_or_in_part() {
    let (site, content) = stocked().await;
    let digest = sha256(&[&content]);
    assert_eq!(text(get(&site, "/packages/", &[]).await).await, format!("{digest}  {DEB}\n"));
    let index: serde_json::Value =
        serde_json::from_str(&text(get(&site, "/packages/index.json", &[]).await).await).unwrap();
    assert_eq!(index[0]["sha256"], digest.to_string());
    assert_eq!((&index[0]["file"], &index[0]["sizeBytes"]), (&DEB.into(), &500_000.into()));
    let path = format!("/packages/{DEB}");
    let response = get(&site, &path, &[]).await;
    let etag = response.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(response.headers()["content-length"], "500000");
    assert_eq!(to_bytes(response.into_body(), 1 << 20).await.unwrap(), content);
    assert_eq!(get(&site, &path, &[("if-none-match", &etag)]).await.status(), StatusCode::NOT_MODIFIED);
    let response = get(&site, &path, &[("range", "bytes=200000-399999")]).await;
    assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(response.headers()["content-range"], "bytes 200000-399999/500000");
    assert_eq!(to_bytes(response.into_body(), 1 << 20).await.unwrap(), content[200_000..400_000]);
    let response = get(&site, &path, &[("range", "bytes=500000-")]).await;
    assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE);
}

#[tokio::test]
async fn nothing_else_in_the_folder_or_around_it_is_served() {
    let (site, _) = stocked().await;
    for path in
        ["/packages/secret", "/packages/..%2fstate.db", "/packages/%2e%2e/state.db", "/packages/SHA256SUMS"]
    {
        assert_eq!(get(&site, path, &[]).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn the_script_names_the_package_and_there_is_none_without_one() {
    let (stocked, content) = stocked().await;
    let response = get(&stocked, "/install.sh", &[]).await;
    let etag = response.headers()["etag"].to_str().unwrap().to_owned();
    let script = text(response).await;
    assert_eq!(etag, format!("\"{}\"", sha256(&[script.as_bytes()])));
    assert!(
        script.starts_with("#!/bin/sh\n") && script.contains(&sha256(&[&content]).to_string()),
        "{script}"
    );
    assert!(script.contains("addresses='https://aggregator.example:8443'"), "{script}");
    assert_eq!(get(&site().await, "/install.sh", &[]).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn so_many_downloads_are_served_at_once_and_the_next_is_told_to_come_back() {
    let (site, _) = stocked().await;
    let router = super::super::router(site.services.clone());
    let path = format!("/packages/{DEB}");
    let ask = || {
        let request = Request::get(&path).body(Body::empty()).unwrap();
        tower::ServiceExt::oneshot(router.clone(), request)
    };
    let mut held = Vec::new();
    for _ in 0..super::super::packages::DOWNLOADS_MAX {
        held.push(ask().await.unwrap());
    }
    let refused = ask().await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    drop(held);
}
