//! Renders the operator's guide, `docs/guide` of the repository, to the pages that the aggregator serves.
//!
//! Done while building, so that the program carries no renderer and starts no slower for it. `SUMMARY.md` says which
//! chapters there are and in which order, as mdBook reads it. What the aggregator's rules for pages forbid ends the
//! build: markup written by hand, and links that lead out of the guide into the repository.

#![expect(clippy::disallowed_methods, reason = "a build script reads and writes files")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

/// Where the guide is served.
const PLACE: &str = "/docs/guide/";
/// Words shorter than this are not searched for.
const WORD_CHARS_MIN: usize = 3;

/// One line of the summary that leads to a file.
struct Chapter {
    /// The heading of the summary above it.
    part: String,
    title: String,
    file: String,
}

/// What a chapter's text comes to.
#[derive(Default)]
struct Rendered {
    html: String,
    /// Second-level headings: anchor and text.
    sections: Vec<(String, String)>,
    /// For the search: anchor, heading, words below it.
    found: Vec<(String, String, BTreeSet<String>)>,
}

fn main() {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let folder = root.join("../docs/guide");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    println!("cargo::rerun-if-changed={}", folder.display());
    let chapters = read_summary(&read(&folder.join("SUMMARY.md")));
    let rendered: Vec<Rendered> =
        chapters.iter().map(|chapter| render(&chapter.file, &read(&folder.join(&chapter.file)))).collect();
    let mut list = "&[\n".to_owned();
    let mut add = |place: &str, media_type: &str, name: &str, text: &str| {
        write(&out.join(name), text);
        writeln!(
            list,
            "    ({place:?}, {media_type:?}, include_str!(concat!(env!(\"OUT_DIR\"), \"/{name}\"))),"
        )
        .expect("text takes text");
    };
    for index in 0..chapters.len() {
        let name = format!("guide-{}.html", stem(&chapters[index].file));
        add(
            &address(&chapters[index].file),
            "text/html; charset=utf-8",
            &name,
            &page(&chapters, &rendered, index),
        );
    }
    add(&format!("{PLACE}index.json"), "application/json", "guide-index.json", &index(&chapters, &rendered));
    list.push_str("]\n");
    write(&out.join("guide.rs"), &list);
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn stem(file: &str) -> &str {
    file.strip_suffix(".md").unwrap_or_else(|| panic!("SUMMARY.md names {file}, which does not end in .md"))
}

/// The address of a chapter's page.
fn address(file: &str) -> String {
    if file == "README.md" { PLACE.to_owned() } else { format!("{PLACE}{}", stem(file)) }
}

fn read_summary(text: &str) -> Vec<Chapter> {
    let mut part = String::new();
    let mut chapters = Vec::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("# ") {
            part = if heading == "Summary" { String::new() } else { heading.to_owned() };
        } else if let Some((title, rest)) = line.split_once('[').and_then(|(_, rest)| rest.split_once("](")) {
            let file = rest.strip_suffix(')').unwrap_or_else(|| panic!("SUMMARY.md: {line} has no end"));
            chapters.push(Chapter { part: part.clone(), title: title.to_owned(), file: file.to_owned() });
        }
    }
    assert!(!chapters.is_empty(), "SUMMARY.md names no chapter");
    chapters
}

/// One chapter. Headings get anchors as GitHub makes them, so that links work in both places.
fn render(file: &str, text: &str) -> Rendered {
    let mut rendered = Rendered::default();
    let mut events = Vec::new();
    let mut anchors = BTreeMap::new();
    let mut heading: Option<(HeadingLevel, usize)> = None;
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match &event {
            Event::Html(html) | Event::InlineHtml(html) => panic!("{file}: markup written by hand: {html}"),
            Event::Text(words) | Event::Code(words) => rendered.note(words),
            _ => {}
        }
        match event {
            Event::Start(Tag::Heading { level, .. }) => heading = Some((level, events.len())),
            Event::End(TagEnd::Heading(end)) => {
                let (level, start) = heading.take().expect("a heading that ends has begun");
                let words = said(&events[start..]);
                let anchor = anchor(&words, &mut anchors);
                let opening = format!("<{level} id=\"{anchor}\"><a href=\"#{anchor}\">");
                events.insert(start, Event::Html(opening.into()));
                events.push(Event::Html(format!("</a></{end}>\n").into()));
                if level == HeadingLevel::H2 {
                    rendered.sections.push((anchor.clone(), words.clone()));
                }
                rendered.found.push((anchor, words, BTreeSet::new()));
            }
            // Alignment would be written as a style, which the pages' policy refuses.
            Event::Start(Tag::Table(_)) => {
                events.push(Event::Html(
                    "<div class=\"wide\" role=\"group\" aria-label=\"Table\" tabindex=\"0\">".into(),
                ));
                events.push(Event::Start(Tag::Table(Vec::new())));
            }
            Event::End(TagEnd::Table) => {
                events.push(event);
                events.push(Event::Html("</div>\n".into()));
            }
            Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
                let dest_url = target(file, dest_url);
                events.push(Event::Start(Tag::Link { link_type, dest_url, title, id }));
            }
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(marks))) => {
                let language = marks.split_whitespace().next().unwrap_or_default().to_owned();
                events.push(Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language.into()))));
            }
            _ => events.push(event),
        }
    }
    html::push_html(&mut rendered.html, events.into_iter());
    rendered
}

impl Rendered {
    /// Words below the newest heading.
    fn note(&mut self, text: &str) {
        let Some((_, _, words)) = self.found.last_mut() else { return };
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        let found = text.split(|c: char| !is_part(c)).filter(|word| word.chars().count() >= WORD_CHARS_MIN);
        words.extend(found.map(str::to_lowercase));
    }
}

/// The text of some events.
fn said(events: &[Event<'_>]) -> String {
    let text = |event: &Event<'_>| match event {
        Event::Text(text) | Event::Code(text) => Some(text.to_string()),
        _ => None,
    };
    events.iter().filter_map(text).collect()
}

/// As GitHub makes them: small letters, blanks as hyphens, nothing else; a number behind one that is taken.
fn anchor(words: &str, taken: &mut BTreeMap<String, usize>) -> String {
    let kept = words.to_lowercase().replace(' ', "-");
    let kept: String = kept.chars().filter(|c| c.is_alphanumeric() || *c == '-' || *c == '_').collect();
    let count = taken.entry(kept.clone()).or_default();
    *count += 1;
    if *count == 1 { kept } else { format!("{kept}-{}", *count - 1) }
}

/// Where a link leads on the aggregator.
fn target<'a>(file: &str, link: CowStr<'a>) -> CowStr<'a> {
    if link.starts_with('#') || link.starts_with("https://") {
        return link;
    }
    let (chapter, section) =
        link.split_once('#').map_or((&*link, None), |(name, section)| (name, Some(section)));
    assert!(
        !chapter.contains('/') && chapter.ends_with(".md"),
        "{file} links to {link}: a link leads to a chapter (NAME.md), a section (#NAME) or a site (https://)"
    );
    let section = section.map(|section| format!("#{section}")).unwrap_or_default();
    format!("{}{section}", address(chapter)).into()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// The whole page of a chapter. The list of chapters comes last, so that who listens, or has a small screen, meets the
/// chapter first.
fn page(chapters: &[Chapter], rendered: &[Rendered], current: usize) -> String {
    let chapter = &chapters[current];
    let link = |chapter: Option<&Chapter>, rel: &str, text: &str| {
        chapter.map_or_else(String::new, |to| {
            let (place, title) = (address(&to.file), escaped(&to.title));
            format!("<a rel=\"{rel}\" href=\"{place}\">{text} {title}</a>\n")
        })
    };
    let before = link(current.checked_sub(1).and_then(|index| chapters.get(index)), "prev", "Previous:");
    let after = link(chapters.get(current + 1), "next", "Next:");
    FRAME
        .replace("{title}", &escaped(&chapter.title))
        .replace("{contents}", &contents(chapters, &rendered[current].sections, current))
        .replace("{turn}", &format!("{before}{after}"))
        .replace("{text}", &rendered[current].html)
}

/// The list of chapters, with the sections of the one that is shown.
fn contents(chapters: &[Chapter], sections: &[(String, String)], current: usize) -> String {
    let mut html = String::new();
    let mut part = None;
    for (index, chapter) in chapters.iter().enumerate() {
        if part != Some(&chapter.part) {
            html.push_str(if part.is_some() { "</ul>\n" } else { "" });
            if !chapter.part.is_empty() {
                html.push_str(&format!("<h2>{}</h2>\n", escaped(&chapter.part)));
            }
            html.push_str("<ul>\n");
            part = Some(&chapter.part);
        }
        let mark = if index == current { " aria-current=\"page\"" } else { "" };
        let (place, title) = (address(&chapter.file), escaped(&chapter.title));
        html.push_str(&format!("<li><a href=\"{place}\"{mark}>{title}</a>"));
        if index == current && !sections.is_empty() {
            html.push_str("\n<ul>\n");
            for (anchor, words) in sections {
                html.push_str(&format!("<li><a href=\"#{anchor}\">{}</a></li>\n", escaped(words)));
            }
            html.push_str("</ul>");
        }
        html.push_str("</li>\n");
    }
    html.push_str("</ul>");
    html
}

/// What the search reads: a list of sections, each with address, chapter, heading and words.
fn index(chapters: &[Chapter], rendered: &[Rendered]) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut entries = Vec::new();
    for (chapter, rendered) in chapters.iter().zip(rendered) {
        for (anchor, heading, words) in &rendered.found {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let place = format!("{}#{anchor}", address(&chapter.file));
            let fields = [&place, &chapter.title, heading, &words.join(" ")].map(|text| quoted(text));
            entries.push(format!("[{}]", fields.join(",")));
        }
    }
    format!("[{}]\n", entries.join(",\n"))
}

const FRAME: &str = r##"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} - Campanile guide</title>
<link rel="icon" href="/assets/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/assets/style.css">
<link rel="stylesheet" href="/assets/guide.css">
<script type="module" src="/assets/guide.js"></script>
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header class="bar">
  <a class="brand" href="/#/"><img src="/assets/icon.svg" alt="" width="24" height="24"> Campanile</a>
  <nav aria-label="Site">
    <a href="/#/">Fleet</a>
    <a href="/docs/guide/" aria-current="true">Guide</a>
    <a href="/docs">API</a>
  </nav>
</header>
<div class="guide">
<main id="main" tabindex="-1">
<p class="to-contents"><a href="#contents">All chapters</a></p>
{text}
<nav class="turn" aria-label="Next chapters">
{turn}</nav>
</main>
<nav class="contents" id="contents" aria-label="Chapters">
<form role="search" id="search" hidden>
<label for="words">Search the guide</label>
<input type="search" id="words" autocomplete="off" spellcheck="false">
<p id="count" class="quiet" role="status"></p>
<ul id="results"></ul>
</form>
{contents}
</nav>
</div>
</body>
</html>
"##;
