//! Symbolic links.

use campanile_common::api::ChangeVerb;
use campanile_common::config::{Link, Presence};

use super::super::step::Step;
use super::file::make_missing;
use super::view::{Node, PathSeen, View};
use super::{Draft, Planned};

pub(crate) fn observe(view: &View<'_>, name: &str) -> Result<PathSeen, String> {
    view.see_path(name)
}

pub(crate) fn plan(name: &str, link: &Link, observed: &PathSeen) -> Planned {
    let path = name.to_owned();
    match (&observed.seen.node, link.ensure) {
        (Node::Absent, Presence::Absent) => Ok(None),
        (Node::Link { target }, Presence::Absent) => {
            let mut draft = Draft::new(ChangeVerb::Remove);
            draft.say(format!("link to {target}"));
            draft.steps.push(Step::Remove { path });
            Ok(Some(draft))
        }
        (Node::Link { target }, Presence::Present) if *target == link.target => Ok(None),
        (Node::Link { target }, Presence::Present) => {
            let mut draft = Draft::new(ChangeVerb::Update);
            draft.say(format!("target {target} -> {}", link.target));
            draft.steps.push(Step::Link { path, target: link.target.clone() });
            Ok(Some(draft))
        }
        (Node::Absent, Presence::Present) => {
            let mut draft = Draft::new(ChangeVerb::Create);
            draft.say(format!("target {}", link.target));
            make_missing(&mut draft, &observed.missing);
            draft.steps.push(Step::Link { path, target: link.target.clone() });
            Ok(Some(draft))
        }
        (Node::File { .. } | Node::Directory | Node::Other, _) => {
            Err(format!("{name} is no symbolic link; remove it, or choose another path"))
        }
    }
}
