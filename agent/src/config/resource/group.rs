//! Groups of users.

use campanile_common::api::ChangeVerb;
use campanile_common::config::{Group, Presence};

use super::super::host::GroupEntry;
use super::super::step::{Step, Undo};
use super::view::View;
use super::{Draft, Planned};

/// Files that the programs for users and groups change: kept, so that not a byte of them differs when undone.
const FILES: [&str; 6] =
    ["/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow", "/etc/subuid", "/etc/subgid"];

pub(crate) fn observe(view: &View<'_>, name: &str) -> Result<Option<GroupEntry>, String> {
    view.needs(&["groupadd", "groupmod", "groupdel"])?;
    Ok(view.host.group(name).filter(|entry| entry.name == name))
}

pub(crate) fn plan(name: &str, group: &Group, observed: &Option<GroupEntry>) -> Planned {
    let mut argv = Vec::new();
    let mut draft = Draft::new(ChangeVerb::Update);
    match (group.ensure, observed) {
        (Presence::Absent, None) => {}
        (Presence::Absent, Some(entry)) => {
            draft.verb = ChangeVerb::Remove;
            draft.say(format!("gid {}", entry.gid));
            argv = vec!["groupdel".to_owned()];
        }
        (Presence::Present, None) => {
            draft.verb = ChangeVerb::Create;
            draft.say(group.gid.map_or("next free gid".to_owned(), |gid| format!("gid {gid}")));
            argv = vec!["groupadd".to_owned()];
            argv.extend(group.system.then(|| "-r".to_owned()));
            argv.extend(group.gid.iter().flat_map(|gid| ["-g".to_owned(), gid.to_string()]));
        }
        (Presence::Present, Some(entry)) => {
            if let Some(gid) = group.gid.filter(|gid| *gid != entry.gid) {
                draft.say(format!("gid {} -> {gid}", entry.gid));
                argv = vec!["groupmod".to_owned(), "-g".to_owned(), gid.to_string()];
            }
        }
    }
    if argv.is_empty() {
        return Ok(None);
    }
    argv.push(name.to_owned());
    change_accounts(&mut draft, argv, Undo::Nothing);
    Ok(Some(draft))
}

/// Runs a program that changes the files of users and groups.
pub(super) fn change_accounts(draft: &mut Draft, argv: Vec<String>, undo: Undo) {
    draft.steps.extend(FILES.iter().map(|path| Step::Keep { path: (*path).to_owned() }));
    let words: Vec<&str> = argv.iter().map(String::as_str).collect();
    draft.run(&words, undo);
}
