//! Source files as the rules see them: comments, strings and tests told apart from code.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What is no part of the repository; `.git` is a file in a linked checkout.
const SKIPPED: [&str; 5] = [".git", "target", ".demo", "dist", "node_modules"];

/// One Rust file.
#[derive(Debug)]
pub(crate) struct Source {
    /// From the root of the repository.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text with comments and the content of literals blanked, of the same length in lines.
    pub(crate) masked: String,
    /// `masked` with items under `#[cfg(test)]` blanked too.
    pub(crate) code: String,
    /// True when the whole file is compiled for tests alone.
    pub(crate) is_test: bool,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let masked = mask(text);
        let code = blank_tests(&masked);
        let is_test = path.starts_with("tests/")
            || path.split('/').nth(1) == Some("tests")
            || path.ends_with("/tests.rs");
        Self { path: path.to_owned(), text: text.to_owned(), masked, code, is_test }
    }

    /// The crate's folder.
    pub(crate) fn package(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }

    /// First module below the crate's root: `os` of `agent/src/os/fs.rs`, `app` of `agent/src/app.rs`.
    pub(crate) fn top_module(&self) -> &str {
        let inside = self.path.splitn(3, '/').nth(2).unwrap_or_default();
        inside.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    /// File name without its ending.
    pub(crate) fn stem(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    /// Lines of code that ships, with their numbers.
    pub(crate) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

/// All Rust files of the workspace's crates, sorted.
pub(crate) fn sources(root: &Path) -> Vec<Source> {
    let mut sources: Vec<Source> = texts(root)
        .into_iter()
        .filter(|(path, _)| path.ends_with(".rs") && path.contains('/'))
        .map(|(path, text)| Source::new(&path, &text))
        .collect();
    let test_files: BTreeSet<String> = sources.iter().flat_map(test_modules).collect();
    for source in &mut sources {
        let below =
            |module: &String| source.path.starts_with(&format!("{}/", module.trim_end_matches(".rs")));
        source.is_test |= test_files.contains(&source.path) || test_files.iter().any(below);
    }
    sources
}

/// All text files of the repository by path, sorted.
pub(crate) fn texts(root: &Path) -> Vec<(String, String)> {
    let mut texts = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let kind = entry.file_type().unwrap();
            if SKIPPED.contains(&name.as_str()) {
                continue;
            }
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let path = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                // What is no UTF-8 is a recorded sample or an image.
                texts.extend(fs::read_to_string(entry.path()).ok().map(|text| (path, text)));
            }
        }
    }
    texts.sort();
    texts
}

/// Files that `#[cfg(test)] mod NAME;` names, as either file it may be.
fn test_modules(source: &Source) -> Vec<String> {
    let folder = match source.path.rsplit_once('/') {
        Some((folder, "mod.rs" | "lib.rs" | "main.rs")) => folder.to_owned(),
        _ => source.path.trim_end_matches(".rs").to_owned(),
    };
    let mut modules = Vec::new();
    for (start, _) in source.masked.match_indices(TEST_ATTRIBUTE) {
        let item = skip_attributes(&source.masked[start..]).trim_start();
        let item = item.strip_prefix("pub(crate) ").or(item.strip_prefix("pub ")).unwrap_or(item);
        let name =
            item.strip_prefix("mod ").and_then(|rest| rest.split_once(';')).map(|(name, _)| name.trim());
        if let Some(name) = name.filter(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_')) {
            modules.extend([format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")]);
        }
    }
    modules
}

const TEST_ATTRIBUTE: &str = "#[cfg(test)]";

/// What comes behind the attributes that `text` begins with.
fn skip_attributes(text: &str) -> &str {
    let mut rest = text.trim_start();
    while rest.starts_with("#[") {
        rest = rest[length_to_close(&rest[1..], '[', ']') + 1..].trim_start();
    }
    rest
}

/// Length in bytes up to and with the bracket that closes the first `open`.
fn length_to_close(text: &str, open: char, close: char) -> usize {
    let mut depth = 0_usize;
    for (index, c) in text.char_indices() {
        if c == open {
            depth += 1;
        } else if c == close {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                return index + c.len_utf8();
            }
        }
    }
    text.len()
}

/// Where the item that `text` begins with ends: behind its `;` or its braces.
pub(crate) fn item_length(text: &str) -> usize {
    let mut depth = 0_usize;
    for (index, c) in text.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            ';' if depth == 0 => return index + 1,
            '{' if depth == 0 => return index + length_to_close(&text[index..], '{', '}'),
            _ => {}
        }
    }
    text.len()
}

fn blank(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect()
}

fn blank_tests(masked: &str) -> String {
    let mut code = String::with_capacity(masked.len());
    let mut rest = masked;
    while let Some(start) = rest.find(TEST_ATTRIBUTE) {
        code.push_str(&rest[..start]);
        let item = skip_attributes(&rest[start..]);
        let end = rest.len() - item.len() + item_length(item);
        code.push_str(&blank(&rest[start..end]));
        rest = &rest[end..];
    }
    code + rest
}

/// Blanks comments and what stands in string and character literals, line by line.
fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let is_name = before.is_alphanumeric() || before == '_';
        let taken = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment_length(rest),
            '"' => string_length(rest),
            'r' | 'b' | 'c' if !is_name => raw_string_length(rest),
            '\'' => char_length(rest),
            _ => 0,
        };
        if taken == 0 {
            masked.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            masked.push_str(&blank(&rest[..taken]));
            rest = &rest[taken..];
        }
        before = first;
    }
    masked
}

fn block_comment_length(text: &str) -> usize {
    let (mut depth, mut index) = (0_usize, 0);
    while index < text.len() {
        let rest = &text.as_bytes()[index..];
        if rest.starts_with(b"/*") {
            depth += 1;
            index += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            index += 2;
            if depth == 0 {
                return index;
            }
        } else {
            index += 1;
        }
    }
    text.len()
}

fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of `r".."`, `r#".."#`, `br".."`, `b".."`; 0 when the text begins with something else.
fn raw_string_length(text: &str) -> usize {
    let prefix = text.len() - text.trim_start_matches(['b', 'c', 'r']).len();
    let hashes = text[prefix..].len() - text[prefix..].trim_start_matches('#').len();
    if prefix > 2 || !text[prefix + hashes..].starts_with('"') {
        return 0;
    }
    if !text[..prefix].contains('r') {
        return if hashes == 0 { prefix + string_length(&text[prefix..]) } else { 0 };
    }
    let start = prefix + hashes + 1;
    let end = format!("\"{}", "#".repeat(hashes));
    text[start..].find(&end).map_or(text.len(), |found| start + found + end.len())
}

/// Length of a character literal; 0 for a lifetime.
fn char_length(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            // The escaped character itself may be a quote.
            let from = 3;
            text.get(from..).and_then(|rest| rest.find('\'')).map_or(0, |found| from + found + 1)
        }
        Some(_) => match chars.next() {
            Some((index, '\'')) => index + 1,
            _ => 0,
        },
        None => 0,
    }
}

#[test]
fn comments_strings_and_tests_are_no_code() {
    let text = r##"
//! use crate::app;
fn one<'a>(c: char) -> &'a str { /* fs::read /* x */ */ if c == '"' { "fs::read \" {" } else { r#"}"# } }
#[cfg(test)]
#[expect(unused)]
mod tests { fn three() { rusqlite() } }
fn two() { b'\'' }
"##;
    let source = Source::new("agent/src/os/fs.rs", text);
    assert_eq!(source.code.lines().count(), text.lines().count());
    for gone in ["crate::app", "fs::read", "rusqlite", "three"] {
        assert!(!source.code.contains(gone), "{gone} in {}", source.code);
    }
    assert!(source.code.contains("fn two()"), "{}", source.code);
    assert_eq!((source.package(), source.top_module(), source.stem()), ("agent", "os", "fs"));
}

#[test]
fn a_module_file_for_tests_is_found_by_its_declaration() {
    let parent = Source::new("agent/src/state/mod.rs", "#[cfg(test)]\npub(crate) mod conformance;\n");
    assert!(test_modules(&parent).contains(&"agent/src/state/conformance.rs".to_owned()));
    let file = Source::new("agent/src/state.rs", "#[cfg(test)]\nmod faults;\n");
    assert!(test_modules(&file).contains(&"agent/src/state/faults.rs".to_owned()));
}
