//! The machine as it will be once the changes planned so far are made.

use super::super::host::Host;
use super::super::step::{Invocation, Ownership};
use super::pending::Pending;
use crate::os::beneath::{BeneathError, NodeKind};
use crate::os::program::Ran;

/// Longest file whose bytes are compared; a longer one differs from anything a bundle holds.
const FILE_BYTES_MAX: usize = campanile_common::config::PART_BYTES_MAX;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// Nothing.
    Absent,
    /// A regular file.
    File {
        /// Its bytes; none where they are more than any bundle's file.
        bytes: Option<Vec<u8>>,
        /// Names that it has.
        links: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Link {
        /// What it points at.
        target: String,
    },
    /// A device, a socket, a named pipe.
    Other,
}

/// What is at a path, and whose it is. Owners are names, or numbers as text where there is no name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// What.
    pub(crate) node: Node,
    /// Permission bits.
    pub(crate) mode: u32,
    /// User; empty where it is not settled yet.
    pub(crate) owner: String,
    /// Group, likewise.
    pub(crate) group: String,
}

impl Seen {
    /// Nothing there.
    pub(crate) fn absent() -> Self {
        Self { node: Node::Absent, mode: 0, owner: String::new(), group: String::new() }
    }

    /// What it has, as a step says it.
    pub(crate) fn ownership(&self) -> Ownership {
        let named = |name: &String| Some(name.clone()).filter(|name| !name.is_empty());
        Ownership { mode: Some(self.mode), owner: named(&self.owner), group: named(&self.group) }
    }

    /// Its text; none where there is no file. A file that is not text is none that lines are edited in.
    pub(crate) fn text(&self, path: &str) -> Result<Option<&str>, String> {
        match &self.node {
            Node::Absent => Ok(None),
            Node::File { bytes: Some(bytes), .. } => {
                let text = str::from_utf8(bytes);
                text.map(Some).map_err(|_| format!("{path} is no text in UTF-8; look at it by hand"))
            }
            Node::File { bytes: None, .. } => Err(format!("{path} is too long to be edited")),
            Node::Link { target } => {
                Err(format!("{path} is a link to {target}; remove the link, or edit that file"))
            }
            Node::Directory | Node::Other => Err(format!("{path} is no regular file; remove it first")),
        }
    }
}

/// A path with what a plan needs to know around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathSeen {
    /// What is there.
    pub(crate) seen: Seen,
    /// Folders on the way that are missing, outermost first.
    pub(crate) missing: Vec<String>,
}

/// The machine and what pends.
pub(crate) struct View<'a> {
    pub(crate) host: &'a Host,
    pub(crate) pending: &'a Pending,
}

impl View<'_> {
    /// What will be at a path.
    pub(crate) fn see(&self, path: &str) -> Result<Seen, String> {
        if let Some(seen) = self.pending.node(path) {
            return Ok(seen.clone());
        }
        self.read(path).map_err(|error| error.full_text())
    }

    fn read(&self, path: &str) -> Result<Seen, BeneathError> {
        let root = self.host.root_of(path);
        let Some(stat) = root.stat(path)? else { return Ok(Seen::absent()) };
        let node = match stat.kind {
            NodeKind::Directory => Node::Directory,
            NodeKind::Other => Node::Other,
            NodeKind::Link => Node::Link { target: root.read_link(path)? },
            NodeKind::File => match root.read(path, FILE_BYTES_MAX) {
                Ok(bytes) => Node::File { bytes: Some(bytes), links: stat.links },
                Err(BeneathError::TooLong { .. }) => Node::File { bytes: None, links: stat.links },
                Err(error) => return Err(error),
            },
        };
        let (owner, group) = (self.host.user_name(stat.uid), self.host.group_name(stat.gid));
        Ok(Seen { node, mode: stat.mode, owner, group })
    }

    /// What will be at a path, and which folders on the way are missing.
    pub(crate) fn see_path(&self, path: &str) -> Result<PathSeen, String> {
        let seen = self.see(path)?;
        let mut missing = Vec::new();
        if seen.node == Node::Absent {
            let mut folder = path;
            while let Some((parent, _)) = folder.rsplit_once('/').filter(|(parent, _)| !parent.is_empty()) {
                if !self.is_absent(parent)? {
                    break;
                }
                missing.push(parent.to_owned());
                folder = parent;
            }
            missing.reverse();
        }
        Ok(PathSeen { seen, missing })
    }

    fn is_absent(&self, folder: &str) -> Result<bool, String> {
        let kind = match self.pending.node(folder) {
            Some(seen) => match seen.node {
                Node::Absent => None,
                Node::Directory => Some(NodeKind::Directory),
                // A link that the plan makes: what it leads to is seen when it is executed.
                Node::Link { .. } => Some(NodeKind::Link),
                Node::File { .. } | Node::Other => Some(NodeKind::Other),
            },
            None => self.host.root().stat(folder).map_err(|error| error.full_text())?.map(|stat| stat.kind),
        };
        match kind {
            None => Ok(true),
            Some(NodeKind::Directory | NodeKind::Link) => Ok(false),
            Some(NodeKind::File | NodeKind::Other) => {
                Err(format!("{folder} is on the way and no directory; remove it first"))
            }
        }
    }

    /// Names that will be in a folder.
    pub(crate) fn list(&self, folder: &str) -> Result<Vec<String>, String> {
        let names = self.host.root().list(folder);
        let names = match names {
            Ok(names) => names,
            Err(error) if error.is_missing() => Vec::new(),
            Err(error) => return Err(error.full_text()),
        };
        Ok(self.pending.amend(folder, names))
    }

    /// Mode and owner as they are to be, with the names that [`Seen`] uses.
    pub(crate) fn wanted(
        &self,
        mode: Option<&str>,
        owner: Option<&str>,
        group: Option<&str>,
    ) -> Result<Ownership, String> {
        let mode = mode.map(|mode| u32::from_str_radix(mode, 8)).transpose();
        let mode = mode.map_err(|_| "its mode is no octal number".to_owned())?;
        let owner = owner.map(|name| self.owner(name)).transpose()?;
        let group = group.map(|name| self.group(name)).transpose()?;
        Ok(Ownership { mode, owner, group })
    }

    fn owner(&self, name: &str) -> Result<String, String> {
        if let Some(found) = self.host.user(name) {
            return Ok(self.host.user_name(found.uid));
        }
        let is_coming = self.pending.makes_user(name) || self.pending.makes_packages();
        if is_coming || name.parse::<u32>().is_ok() {
            return Ok(name.to_owned());
        }
        Err(format!("this node has no user `{name}`; add `user:{name}` to the bundle"))
    }

    fn group(&self, name: &str) -> Result<String, String> {
        if let Some(found) = self.host.group(name) {
            return Ok(self.host.group_name(found.gid));
        }
        let is_coming = self.pending.makes_group(name) || self.pending.makes_packages();
        if is_coming || name.parse::<u32>().is_ok() {
            return Ok(name.to_owned());
        }
        Err(format!("this node has no group `{name}`; add `group:{name}` to the bundle"))
    }

    /// Whether programs that change the whole machine may be used: true when they are there, false when a package
    /// that is to be installed may bring them.
    pub(crate) fn needs(&self, programs: &[&str]) -> Result<bool, String> {
        for name in programs {
            if !self.host.is_real_root() && !self.host.is_named(name) {
                let root = self.host.root().path().display();
                return Err(format!(
                    "not available beneath root {root}: it needs `{name}`, which changes the whole machine; \
                     configure it on nodes whose root is /"
                ));
            }
            if self.host.program(name).is_none() {
                if self.pending.makes_packages() {
                    return Ok(false);
                }
                return Err(format!("this node has no program `{name}`; add the package that brings it"));
            }
        }
        Ok(true)
    }

    /// Runs a program that only tells.
    pub(crate) fn ask(&self, argv: &[&str]) -> Result<Ran, String> {
        self.ask_with(&super::invocation(argv))
    }

    /// The same, with something to read.
    pub(crate) fn ask_with(&self, invocation: &Invocation) -> Result<Ran, String> {
        self.host.run(invocation).map_err(|problem| problem.message)
    }
}
