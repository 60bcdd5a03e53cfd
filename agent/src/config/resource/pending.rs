//! What the changes planned so far will have done: several resources edit one file, a file needs a folder or a user
//! that another resource makes.

use std::collections::{BTreeMap, BTreeSet};

use campanile_common::config::{Kind, Presence, Spec};

use super::super::host::Host;
use super::super::step::{Change, Desired, Ownership, Step};
use super::account::HOMES;
use super::view::{Node, Seen};

/// Effects of the changes planned so far, in this plan alone.
#[derive(Debug, Default)]
pub struct Pending {
    nodes: BTreeMap<String, Seen>,
    /// Users that come, with their homes.
    users: BTreeMap<String, String>,
    groups: BTreeSet<String>,
    kinds: BTreeSet<Kind>,
}

impl Pending {
    /// What a path will be, where it changes.
    pub(crate) fn node(&self, path: &str) -> Option<&Seen> {
        self.nodes.get(path)
    }

    /// The home of a user that comes.
    pub(crate) fn home(&self, user: &str) -> Option<&str> {
        self.users.get(user).map(String::as_str)
    }

    pub(crate) fn makes_user(&self, name: &str) -> bool {
        self.users.contains_key(name)
    }

    pub(crate) fn makes_group(&self, name: &str) -> bool {
        self.groups.contains(name)
    }

    /// Packages bring programs, units, users and folders that nobody can see before.
    pub(crate) fn makes_packages(&self) -> bool {
        self.kinds.contains(&Kind::Package)
    }

    pub(crate) fn makes_modules(&self) -> bool {
        self.kinds.contains(&Kind::Module)
    }

    /// Whether any path that begins so is put in place.
    pub(crate) fn puts_below(&self, prefix: &str) -> bool {
        let from = self.nodes.range(prefix.to_owned()..);
        from.take_while(|(path, _)| path.starts_with(prefix)).any(|(_, seen)| seen.node != Node::Absent)
    }

    /// The names in a folder with those that come and without those that go.
    pub(crate) fn amend(&self, folder: &str, names: Vec<String>) -> Vec<String> {
        let mut names: BTreeSet<String> = names.into_iter().collect();
        let prefix = format!("{folder}/");
        for (path, seen) in
            self.nodes.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix))
        {
            let name = &path[prefix.len()..];
            if name.contains('/') {
                continue;
            }
            if seen.node == Node::Absent {
                names.remove(name);
            } else {
                names.insert(name.to_owned());
            }
        }
        names.into_iter().collect()
    }

    /// Adds what a change will do.
    pub(crate) fn take(&mut self, host: &Host, desired: &Desired, change: &Change) {
        self.kinds.insert(desired.resource.id.kind);
        let name = &desired.resource.id.name;
        match &desired.resource.spec {
            Spec::User(user) if user.ensure == Presence::Present => {
                let known = host.user(name).map(|entry| entry.home);
                let home = user.home.clone().or(known).unwrap_or_else(|| format!("{HOMES}/{name}"));
                self.users.insert(name.clone(), home);
                self.groups.insert(user.group.clone().unwrap_or_else(|| name.clone()));
            }
            Spec::Group(group) if group.ensure == Presence::Present => {
                self.groups.insert(name.clone());
            }
            _ => {}
        }
        for step in &change.steps {
            self.take_step(step);
        }
    }

    fn take_step(&mut self, step: &Step) {
        let seen = |node: Node, ownership: &Ownership, default: u32| Seen {
            node,
            mode: ownership.mode.unwrap_or(default),
            owner: ownership.owner.clone().unwrap_or_default(),
            group: ownership.group.clone().unwrap_or_default(),
        };
        match step {
            Step::Put { path, bytes, ownership, .. } => {
                let node = Node::File { bytes: Some(bytes.clone()), links: 1 };
                self.nodes.insert(path.clone(), seen(node, ownership, 0o644));
            }
            Step::Directory { path, ownership } => {
                self.nodes.insert(path.clone(), seen(Node::Directory, ownership, 0o755));
            }
            Step::Link { path, target } => {
                let node = Node::Link { target: target.clone() };
                self.nodes.insert(path.clone(), seen(node, &Ownership::default(), 0o777));
            }
            Step::Remove { path } => {
                self.nodes.insert(path.clone(), Seen::absent());
            }
            // No other resource looks at what this one owns.
            Step::Own { .. } | Step::Keep { .. } | Step::Run { .. } => {}
        }
    }
}
