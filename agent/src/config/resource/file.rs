//! Regular files.

use campanile_common::api::ChangeVerb;
use campanile_common::config::{File, Presence};

use super::super::step::{Content, Ownership, Step};
use super::diff::{self, OTHERS_READ};
use super::view::{Node, PathSeen, Seen, View};
use super::{Draft, Planned};

/// A path, and the mode and owner that are wanted there, in the names of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) path: PathSeen,
    pub(crate) wanted: Ownership,
}

pub(crate) fn observe(view: &View<'_>, name: &str, file: &File) -> Result<Observed, String> {
    let wanted = view.wanted(file.mode.as_deref(), file.owner.as_deref(), file.group.as_deref())?;
    Ok(Observed { path: view.see_path(name)?, wanted })
}

pub(crate) fn plan(name: &str, file: &File, content: Option<&Content>, observed: &Observed) -> Planned {
    let seen = &observed.path.seen;
    if file.ensure == Presence::Absent {
        return plan_absent(name, seen);
    }
    let content = content.ok_or("it has no content; lint the bundle")?;
    let mut draft = Draft::new(ChangeVerb::Update);
    let (is_same, has_other_names) = match &seen.node {
        Node::Absent => {
            draft.verb = ChangeVerb::Create;
            (false, false)
        }
        Node::File { bytes, links } => (bytes.as_ref() == Some(&content.bytes), *links > 1),
        Node::Link { target } => {
            draft.say(format!("link to {target} -> file"));
            (false, false)
        }
        Node::Directory => return Err(format!("{name} is a directory; remove it or choose another path")),
        Node::Other => return Err(format!("{name} is a device, a socket or a named pipe; remove it first")),
    };
    let is_file = matches!(seen.node, Node::File { .. });
    let owns = ownership_change(&mut draft, seen, &observed.wanted, is_file);
    if is_same && !owns {
        return Ok(None);
    }
    if is_same && !has_other_names {
        draft.steps.push(Step::Own { path: name.to_owned(), ownership: observed.wanted.clone() });
        return Ok(Some(draft));
    }
    if !is_same {
        say_content(&mut draft, name, content, seen);
    }
    make_missing(&mut draft, &observed.path.missing);
    draft.steps.push(Step::Put {
        path: name.to_owned(),
        bytes: content.bytes.clone(),
        ownership: full_ownership(seen, &observed.wanted, content.is_secret, is_file),
        validate: if is_same { Vec::new() } else { file.validate.clone() },
        backup: file.backup.clone().filter(|_| is_file && !is_same),
    });
    Ok(Some(draft))
}

fn plan_absent(name: &str, seen: &Seen) -> Planned {
    let mut draft = Draft::new(ChangeVerb::Remove);
    match &seen.node {
        Node::Absent => return Ok(None),
        Node::Directory => {
            return Err(format!("{name} is a directory; name it as `directory:{name}` to remove it"));
        }
        Node::File { bytes: Some(bytes), .. } => {
            draft.say(format!("file of {} bytes", bytes.len()));
            if seen.mode & OTHERS_READ != 0 {
                draft.diff = diff::unified(name, Some(bytes), None);
            }
        }
        Node::File { bytes: None, .. } => draft.say("a long file"),
        Node::Link { target } => draft.say(format!("link to {target}")),
        Node::Other => {
            return Err(format!("{name} is a device, a socket or a named pipe; remove it by hand"));
        }
    }
    draft.steps.push(Step::Remove { path: name.to_owned() });
    Ok(Some(draft))
}

/// A diff where neither side holds a secret. What not everybody may read on the node may be one, of an older
/// generation or of another hand.
fn say_content(draft: &mut Draft, name: &str, content: &Content, seen: &Seen) {
    let (old, is_open) = match &seen.node {
        Node::File { bytes, .. } => (bytes.as_deref(), seen.mode & OTHERS_READ != 0 && bytes.is_some()),
        _ => (None, true),
    };
    let shown = Some(()).filter(|()| is_open && !content.is_secret);
    draft.diff = shown.and_then(|()| diff::unified(name, old, Some(&content.bytes)));
    if draft.diff.is_some() {
        draft.say("content");
    } else {
        let old = if matches!(seen.node, Node::File { bytes: None, .. }) { None } else { old.or(Some(&[])) };
        draft.say(diff::sizes(old.map(<[u8]>::len), content.bytes.len()));
    }
}

/// Says what of mode and owner changes.
pub(super) fn ownership_change(draft: &mut Draft, seen: &Seen, wanted: &Ownership, is_there: bool) -> bool {
    if !is_there {
        return false;
    }
    let before = draft.what.len();
    if let Some(mode) = wanted.mode.filter(|mode| *mode != seen.mode) {
        draft.say(format!("mode {:04o} -> {mode:04o}", seen.mode));
    }
    for (what, old, new) in [("owner", &seen.owner, &wanted.owner), ("group", &seen.group, &wanted.group)] {
        if let Some(new) = new.as_ref().filter(|new| *new != old) {
            draft.say(format!("{what} {old} -> {new}"));
        }
    }
    draft.what.len() > before
}

/// Everything that is known of how a file is to be: what is wanted, else what it has, else the default.
fn full_ownership(seen: &Seen, wanted: &Ownership, is_secret: bool, is_file: bool) -> Ownership {
    let old = if is_file { seen.ownership() } else { Ownership::default() };
    // A secret that nobody said who may read is its owner's alone.
    let default = if is_secret { 0o600 } else { 0o644 };
    Ownership {
        mode: Some(wanted.mode.or(old.mode).unwrap_or(default)),
        owner: wanted.owner.clone().or(old.owner),
        group: wanted.group.clone().or(old.group),
    }
}

/// Makes the folders on the way, each once in a draft.
pub(super) fn make_missing(draft: &mut Draft, missing: &[String]) {
    for folder in missing {
        if draft.steps.iter().any(|step| matches!(step, Step::Directory { path, .. } if path == folder)) {
            continue;
        }
        draft.say(format!("directory {folder}"));
        let ownership = Ownership { mode: Some(0o755), ..Ownership::default() };
        draft.steps.push(Step::Directory { path: folder.clone(), ownership });
    }
}
