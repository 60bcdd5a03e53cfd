//! The operator's guide as it is served.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{Request, StatusCode};

use super::super::assets::{self, GUIDE};
use super::site::{site, text};

/// The longest page, as it is before compression: the whole command line.
const PAGE_BYTES_MAX: usize = 200_000;
/// Fetched when somebody searches; a browser gets it compressed.
const INDEX_BYTES_MAX: usize = 300_000;

/// What stands behind each `before` until a quotation mark.
fn values<'a>(page: &'a str, before: &'static str) -> impl Iterator<Item = &'a str> {
    page.split(before).skip(1).map(|rest| rest.split('"').next().unwrap())
}

#[tokio::test]
async fn the_guide_is_read_without_signing_in() {
    let site = site().await;
    for path in ["/docs/guide", "/docs/guide/", "/docs/guide/first-minutes", "/docs/guide/index.json"] {
        let response = site.answer(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{path}: {policy}");
        let media_type = response.headers()["content-type"].to_str().unwrap().to_owned();
        let body = text(response).await;
        let is_index = path.ends_with(".json");
        assert_eq!(media_type.starts_with("application/json"), is_index, "{path}: {media_type}");
        assert!(is_index || body.contains("<h1 id=\""), "{path}");
    }
    let none = site.answer(Request::get("/docs/guide/nothing").body(Body::empty()).unwrap()).await;
    assert_eq!(none.status(), StatusCode::NOT_FOUND);
}

#[test]
fn every_link_between_the_guides_pages_leads_to_a_section_that_is_there() {
    let pages: BTreeMap<&str, &str> = GUIDE.iter().map(|(path, _, text)| (*path, *text)).collect();
    let assets: Vec<&str> = assets::ASSETS.iter().map(|asset| asset.path).collect();
    let mut followed = 0;
    for (path, page) in pages.iter().filter(|(path, _)| !path.ends_with(".json")) {
        for link in values(page, "href=\"").filter(|link| !link.starts_with("https://")) {
            let (place, section) =
                link.split_once('#').map_or((link, None), |(place, section)| (place, Some(section)));
            let place = if place.is_empty() { path } else { place };
            let Some(target) = pages.get(place) else {
                assert!(assets.contains(&place), "{path} leads to {link}");
                continue;
            };
            let is_there = section.is_none_or(|section| target.contains(&format!("id=\"{section}\"")));
            assert!(is_there, "{path} leads to {link}, and there is no such section");
            followed += 1;
        }
    }
    assert!(followed > 300, "{followed} links");
}

#[test]
fn the_guides_pages_are_small_and_hold_no_code_of_their_own() {
    for (path, _, text) in GUIDE {
        let most = if path.ends_with(".json") { INDEX_BYTES_MAX } else { PAGE_BYTES_MAX };
        assert!(text.len() <= most, "{path} has {} bytes", text.len());
        for forbidden in [" style=\"", " onclick=", "<style", "<script>", "src=\"http"] {
            assert!(!text.contains(forbidden), "{path} holds {forbidden}");
        }
    }
}

#[test]
fn the_search_finds_sections_that_are_there() {
    let index = GUIDE.iter().find(|(path, ..)| *path == "/docs/guide/index.json").unwrap().2;
    let sections: Vec<[String; 4]> = serde_json::from_str(index).unwrap();
    assert!(sections.len() > 200, "{} sections", sections.len());
    let found = sections.iter().filter(|section| section[3].split(' ').any(|word| word == "escrow"));
    let mut chapters: Vec<&str> = found.map(|section| section[1].as_str()).collect();
    chapters.dedup();
    assert!(chapters.contains(&"Backups") && chapters.contains(&"First backup and restore"), "{chapters:?}");
    for section in &sections {
        let (place, anchor) = section[0].split_once('#').unwrap();
        let page = GUIDE.iter().find(|(path, ..)| *path == place).unwrap().2;
        assert!(page.contains(&format!("id=\"{anchor}\"")), "{}", section[0]);
    }
}
