//! Backup policies: a file each in the steward's own state, which the program that backs up reads. Snapshots are another's:
//! none is touched here, whatever becomes of their policy.

use campanile_common::api::ChangeVerb;
use campanile_common::backup::{PolicyName, policy_to_file};
use campanile_common::config::{Backup, Presence};

use super::super::step::{Ownership, Step};
use super::diff;
use super::view::{Node, Seen, View};
use super::{Draft, Planned};

/// It names commands that run as root.
const MODE: u32 = 0o600;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) path: String,
    pub(crate) seen: Seen,
}

pub(crate) fn observe(view: &View<'_>, name: &str) -> Result<Observed, String> {
    let name: PolicyName =
        name.parse().map_err(|error: campanile_common::backup::PolicyNameError| error.to_string())?;
    let path = view.host.policy_path(&name);
    let seen = view.see(&path)?;
    Ok(Observed { path, seen })
}

pub(crate) fn plan(name: &str, backup: &Backup, observed: &Observed) -> Planned {
    let Observed { path, seen } = observed;
    let old = match &seen.node {
        Node::Absent => None,
        Node::File { bytes, .. } => Some(bytes.as_deref().unwrap_or_default()),
        Node::Link { .. } | Node::Directory | Node::Other => {
            return Err(format!("{path} is no regular file; remove it, only policies belong there"));
        }
    };
    if backup.ensure == Presence::Absent {
        let Some(old) = old else { return Ok(None) };
        let mut draft = Draft::new(ChangeVerb::Remove);
        draft.say("the policy; its snapshots stay");
        draft.diff = diff::unified(path, Some(old), None);
        draft.steps.push(Step::Remove { path: path.clone() });
        return Ok(Some(draft));
    }
    let name: PolicyName =
        name.parse().map_err(|error: campanile_common::backup::PolicyNameError| error.to_string())?;
    let text = policy_to_file(&name, backup);
    let is_same = old == Some(text.as_bytes());
    if is_same && seen.mode == MODE {
        return Ok(None);
    }
    let mut draft = Draft::new(if old.is_none() { ChangeVerb::Create } else { ChangeVerb::Update });
    if !is_same {
        draft.say("content");
        draft.diff = diff::unified(path, old, Some(text.as_bytes()));
    }
    if old.is_some() && seen.mode != MODE {
        draft.say(format!("mode {:04o} -> {MODE:04o}", seen.mode));
    }
    draft.steps.push(Step::Put {
        path: path.clone(),
        bytes: text.into_bytes(),
        ownership: Ownership { mode: Some(MODE), ..Ownership::default() },
        validate: Vec::new(),
        backup: None,
    });
    Ok(Some(draft))
}
