//! Users.

use campanile_common::api::ChangeVerb;
use campanile_common::config::{Account, Presence};

use super::super::host::UserEntry;
use super::super::step::Undo;
use super::group::change_accounts;
use super::view::{Node, View};
use super::{Draft, Planned, undo_by};

/// Where homes are that nobody says anything of.
pub(super) const HOMES: &str = "/home";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) entry: Option<UserEntry>,
    /// Name of the primary group.
    pub(crate) group: String,
    /// Further groups, in order.
    pub(crate) groups: Vec<String>,
    /// A group of the user's own name is there, or comes before the user.
    pub(crate) has_own_group: bool,
    /// The home that a new user gets is there already.
    pub(crate) has_home: bool,
}

pub(crate) fn observe(view: &View<'_>, name: &str, user: &Account) -> Result<Observed, String> {
    view.needs(&["useradd", "usermod", "userdel"])?;
    let entry = view.host.user(name).filter(|entry| entry.name == name);
    if user.ensure == Presence::Present {
        let named = user.group.iter().chain(user.groups.iter().flatten());
        for group in named {
            view.wanted(None, None, Some(group))?;
        }
    }
    let group = entry.as_ref().map(|entry| view.host.group_name(entry.gid)).unwrap_or_default();
    let all = view.host.groups().into_iter();
    let mut groups: Vec<String> = all
        .filter(|group| group.members.iter().any(|member| member == name))
        .map(|group| group.name)
        .collect();
    groups.sort();
    let has_own_group = view.host.group(name).is_some() || view.pending.makes_group(name);
    let has_home = view.see(&home_of(name, user))?.node != Node::Absent;
    Ok(Observed { entry, group, groups, has_own_group, has_home })
}

fn home_of(name: &str, user: &Account) -> String {
    user.home.clone().unwrap_or_else(|| format!("{HOMES}/{name}"))
}

pub(crate) fn plan(name: &str, user: &Account, observed: &Observed) -> Planned {
    match (user.ensure, &observed.entry) {
        (Presence::Absent, None) => Ok(None),
        (Presence::Absent, Some(entry)) => {
            let mut draft = Draft::new(ChangeVerb::Remove);
            draft.say(format!("uid {}; its home {} stays", entry.uid, entry.home));
            change_accounts(&mut draft, vec!["userdel".to_owned(), name.to_owned()], Undo::Nothing);
            Ok(Some(draft))
        }
        (Presence::Present, None) => Ok(Some(create(name, user, observed))),
        (Presence::Present, Some(entry)) => Ok(update(name, user, observed, entry)),
    }
}

fn create(name: &str, user: &Account, observed: &Observed) -> Draft {
    let mut draft = Draft::new(ChangeVerb::Create);
    let mut argv = vec!["useradd".to_owned()];
    let mut give = |flag: &str, value: String| argv.extend([flag.to_owned(), value]);
    if let Some(uid) = user.uid {
        give("-u", uid.to_string());
    }
    match (&user.group, observed.has_own_group) {
        (Some(group), _) => give("-g", group.clone()),
        (None, true) => give("-g", name.to_owned()),
        (None, false) => {}
    }
    if let Some(groups) = user.groups.as_ref().filter(|groups| !groups.is_empty()) {
        give("-G", groups.join(","));
    }
    give("-d", home_of(name, user));
    if let Some(shell) = &user.shell {
        give("-s", shell.clone());
    }
    if let Some(comment) = &user.comment {
        give("-c", comment.clone());
    }
    if user.group.is_none() && !observed.has_own_group {
        argv.push("-U".to_owned());
    }
    if user.system {
        argv.push("-r".to_owned());
    }
    let makes_home = !user.system && !observed.has_home;
    argv.push(if makes_home { "-m" } else { "-M" }.to_owned());
    argv.push(name.to_owned());
    draft.say(user.uid.map_or("next free uid".to_owned(), |uid| format!("uid {uid}")));
    draft.say(format!("home {}", home_of(name, user)));
    // A home that was not there before goes with the user; the files of users are put back as they were.
    let undo = if makes_home { undo_by(&["userdel", "-r", name]) } else { Undo::Nothing };
    change_accounts(&mut draft, argv, undo);
    draft
}

fn update(name: &str, user: &Account, observed: &Observed, entry: &UserEntry) -> Option<Draft> {
    let mut draft = Draft::new(ChangeVerb::Update);
    let mut argv = vec!["usermod".to_owned()];
    let mut change = |what: &str, flag: &str, old: &str, new: Option<String>| {
        if let Some(new) = new.filter(|new| new != old) {
            draft.say(format!("{what} {old} -> {new}"));
            argv.extend([flag.to_owned(), new]);
        }
    };
    change("uid", "-u", &entry.uid.to_string(), user.uid.map(|uid| uid.to_string()));
    change("group", "-g", &observed.group, user.group.clone());
    let wanted = user.groups.clone().map(|mut groups| {
        groups.sort();
        groups.dedup();
        groups.join(",")
    });
    change("groups", "-G", &observed.groups.join(","), wanted);
    change("home", "-d", &entry.home, user.home.clone());
    change("shell", "-s", &entry.shell, user.shell.clone());
    change("comment", "-c", &entry.comment, user.comment.clone());
    if draft.what.is_empty() {
        return None;
    }
    argv.push(name.to_owned());
    change_accounts(&mut draft, argv, Undo::Nothing);
    Some(draft)
}
