//! Files of lines that several resources and other hands share: only own lines change.

use super::super::step::{Ownership, Step};
use super::Draft;
use super::diff::{self, OTHERS_READ};
use super::file::make_missing;
use super::view::{Node, PathSeen};

/// Lines of a text, and whether each is one of ours.
pub(super) fn replace(text: &str, line: Option<&str>, is_ours: impl Fn(&str) -> bool) -> String {
    let mut out = String::with_capacity(text.len() + 80);
    let mut left = line;
    for old in text.lines() {
        if !is_ours(old) {
            out.push_str(old);
            out.push('\n');
        } else if let Some(line) = left.take() {
            out.push_str(line);
            out.push('\n');
        }
    }
    if let Some(line) = left {
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// True where the line is there once and no other of ours is.
pub(super) fn is_as_wanted(text: &str, line: Option<&str>, is_ours: impl Fn(&str) -> bool) -> bool {
    let mut ours = text.lines().filter(|old| is_ours(old));
    ours.next() == line && ours.next().is_none()
}

/// Adds the steps that give a file a new text; with `fresh` where it is not there yet.
pub(super) fn put(draft: &mut Draft, path: &str, observed: &PathSeen, text: String, fresh: Ownership) {
    let seen = &observed.seen;
    let old = match &seen.node {
        Node::File { bytes, .. } => bytes.as_deref(),
        _ => None,
    };
    let is_open = match old {
        Some(_) => seen.mode & OTHERS_READ != 0,
        None => fresh.mode.is_none_or(|mode| mode & OTHERS_READ != 0),
    };
    if is_open {
        draft.diff = diff::unified(path, old, Some(text.as_bytes()));
    }
    make_missing(draft, &observed.missing);
    draft.steps.push(Step::Put {
        path: path.to_owned(),
        bytes: text.into_bytes(),
        ownership: if old.is_some() { seen.ownership() } else { fresh },
        validate: Vec::new(),
        backup: None,
    });
}

/// Mode of a file of settings that everybody may read.
pub(super) fn open_to_all() -> Ownership {
    Ownership { mode: Some(0o644), ..Ownership::default() }
}
