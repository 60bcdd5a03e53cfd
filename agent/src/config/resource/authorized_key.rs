//! Keys in users' `authorized_keys`, each marked with the label of its resource.

use campanile_common::api::ChangeVerb;
use campanile_common::config::{Presence, SshKey};

use super::super::step::{Ownership, Step};
use super::lines;
use super::view::{Node, PathSeen, View};
use super::{Draft, Planned};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observed {
    /// The user's home; none where there is no such user.
    pub(crate) home: Option<String>,
    /// Whether the folder of keys is there.
    pub(crate) has_folder: bool,
    /// The file of keys.
    pub(crate) file: PathSeen,
}

pub(crate) fn observe(view: &View<'_>, name: &str, key: &SshKey) -> Result<Observed, String> {
    let user = user_of(name);
    let home = match view.pending.home(user) {
        Some(home) => Some(home.to_owned()),
        None => view.host.user(user).map(|entry| entry.home),
    };
    let Some(home) = home else {
        if key.ensure == Presence::Absent {
            let file = PathSeen { seen: super::view::Seen::absent(), missing: Vec::new() };
            return Ok(Observed { home: None, has_folder: false, file });
        }
        return Err(format!("this node has no user `{user}`; add `user:{user}` to the bundle"));
    };
    let folder = view.see(&format!("{home}/.ssh"))?;
    let file = view.see_path(&path_in(&home))?;
    Ok(Observed { home: Some(home), has_folder: folder.node == Node::Directory, file })
}

pub(crate) fn user_of(name: &str) -> &str {
    name.split_once('/').map_or(name, |(user, _)| user)
}

fn path_in(home: &str) -> String {
    format!("{home}/.ssh/authorized_keys")
}

pub(crate) fn plan(name: &str, key: &SshKey, observed: &Observed) -> Planned {
    let Some(home) = &observed.home else { return Ok(None) };
    let path = path_in(home);
    let (user, label) = name.split_once('/').ok_or("its name is not USER/LABEL")?;
    let marker = format!("campanile:{label}");
    let words: Vec<&str> = key.key.split_ascii_whitespace().take(2).collect();
    let [kind, blob] = words.as_slice() else { return Err("its key is not of the form TYPE KEY".to_owned()) };
    let options = key.options.as_ref().map(|options| format!("{options} ")).unwrap_or_default();
    let line = format!("{options}{kind} {blob} {marker}");
    let wanted = (key.ensure == Presence::Present).then_some(line.as_str());
    // A key that somebody else put there is the same key: it would still let in.
    let is_ours = |line: &str| {
        let is_comment = line.trim_start().starts_with('#');
        let mut words = line.split_ascii_whitespace();
        !is_comment && words.any(|word| word == marker || word == *blob)
    };
    let text = observed.file.seen.text(&path)?.unwrap_or_default();
    if lines::is_as_wanted(text, wanted, is_ours) {
        return Ok(None);
    }
    let verb = match (wanted, text.lines().any(is_ours)) {
        (None, _) => ChangeVerb::Remove,
        (Some(_), false) => ChangeVerb::Create,
        (Some(_), true) => ChangeVerb::Update,
    };
    let mut draft = Draft::new(verb);
    draft.say(format!("{kind} key {label} in {path}"));
    let owned_by_user = |mode: u32| Ownership { mode: Some(mode), owner: Some(user.to_owned()), group: None };
    let mut file = observed.file.clone();
    if !observed.has_folder {
        let folder = format!("{home}/.ssh");
        // Those above it are made as any folder; this one is the user's alone.
        file.missing.retain(|missing| *missing != folder);
        super::file::make_missing(&mut draft, &std::mem::take(&mut file.missing));
        draft.say(format!("directory {folder}"));
        draft.steps.push(Step::Directory { path: folder, ownership: owned_by_user(0o700) });
    }
    lines::put(&mut draft, &path, &file, lines::replace(text, wanted, is_ours), owned_by_user(0o600));
    Ok(Some(draft))
}
