//! Directories.

use campanile_common::api::ChangeVerb;
use campanile_common::config::{Directory, Presence};

use super::super::step::{Ownership, Step};
use super::file::{make_missing, ownership_change};
use super::view::{Node, PathSeen, View};
use super::{Draft, Planned};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) path: PathSeen,
    pub(crate) wanted: Ownership,
    /// Names in it, where it is to go.
    pub(crate) entries: Vec<String>,
}

pub(crate) fn observe(view: &View<'_>, name: &str, directory: &Directory) -> Result<Observed, String> {
    let wanted =
        view.wanted(directory.mode.as_deref(), directory.owner.as_deref(), directory.group.as_deref())?;
    let path = view.see_path(name)?;
    let is_to_go = directory.ensure == Presence::Absent && path.seen.node == Node::Directory;
    let entries = if is_to_go { view.list(name)? } else { Vec::new() };
    Ok(Observed { path, wanted, entries })
}

pub(crate) fn plan(name: &str, directory: &Directory, observed: &Observed) -> Planned {
    let seen = &observed.path.seen;
    let path = name.to_owned();
    match (&seen.node, directory.ensure) {
        (Node::Absent, Presence::Absent) => Ok(None),
        (Node::Directory, Presence::Absent) => match observed.entries.first() {
            Some(entry) => {
                let count = observed.entries.len();
                Err(format!("{name} holds `{entry}` ({count} in all); only an empty directory is removed"))
            }
            None => {
                let mut draft = Draft::new(ChangeVerb::Remove);
                draft.say("empty directory");
                draft.steps.push(Step::Remove { path });
                Ok(Some(draft))
            }
        },
        (Node::Absent, Presence::Present) => {
            let mut draft = Draft::new(ChangeVerb::Create);
            make_missing(&mut draft, &observed.path.missing);
            let mode = observed.wanted.mode.unwrap_or(0o755);
            draft.say(format!("mode {mode:04o}"));
            let ownership = Ownership { mode: Some(mode), ..observed.wanted.clone() };
            draft.steps.push(Step::Directory { path, ownership });
            Ok(Some(draft))
        }
        (Node::Directory, Presence::Present) => {
            let mut draft = Draft::new(ChangeVerb::Update);
            if ownership_change(&mut draft, seen, &observed.wanted, true) {
                draft.steps.push(Step::Own { path, ownership: observed.wanted.clone() });
            }
            Ok(draft.unless_empty())
        }
        (Node::File { .. } | Node::Link { .. } | Node::Other, _) => {
            Err(format!("{name} is no directory; remove it, or choose another path"))
        }
    }
}
