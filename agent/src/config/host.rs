//! The machine that is configured: its files beneath a root, its programs, its users.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use campanile_common::backup::PolicyName;

use super::step::{Invocation, Ownership, Problem};
use crate::os::beneath::{BeneathError, Owned, Root};
use crate::os::program::{self, Program, Ran, RunAs, SEARCH_PATH};
use crate::os::user;
use crate::settings::ConfigSettings;

/// More than any machine's file of users has.
const USERS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A line of `/etc/passwd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserEntry {
    /// Login name.
    pub name: String,
    /// Number.
    pub uid: u32,
    /// Number of the primary group.
    pub gid: u32,
    /// Full name or purpose.
    pub comment: String,
    /// Home folder.
    pub home: String,
    /// Login shell.
    pub shell: String,
}

/// A line of `/etc/group`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupEntry {
    /// Its name.
    pub name: String,
    /// Number.
    pub gid: u32,
    /// Users beside those whose primary group it is.
    pub members: Vec<String>,
}

/// The machine.
#[derive(Debug)]
pub struct Host {
    root: Root,
    is_real_root: bool,
    programs: BTreeMap<String, PathBuf>,
    /// The whole machine, whatever is configured of it.
    machine: Root,
    /// The steward's own folder of backup policies, as an absolute path of the machine.
    policies: String,
}

impl Host {
    /// Opens the root that the settings name. `policies` is the steward's folder of backup policies, absolute and
    /// without links on the way.
    ///
    /// # Errors
    /// When it is not there.
    pub fn open(settings: &ConfigSettings, policies: &Path) -> Result<Self, BeneathError> {
        Ok(Self {
            root: Root::open(&settings.root)?,
            is_real_root: settings.root == Path::new("/"),
            programs: settings.programs.clone(),
            machine: Root::open(Path::new("/"))?,
            policies: policies.to_string_lossy().into_owned(),
        })
    }

    /// Its files.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The root that a path of a step lies beneath: backup policies are the steward's own, and lie where it keeps its
    /// state whatever folder is configured; everything else lies beneath [`Self::root`].
    pub fn root_of(&self, path: &str) -> &Root {
        let is_policy = path.strip_prefix(&self.policies).is_some_and(|rest| rest.starts_with('/'));
        if is_policy { &self.machine } else { &self.root }
    }

    /// The machine itself, whatever folder is configured.
    pub fn machine(&self) -> &Root {
        &self.machine
    }

    /// Path of the file of a backup policy.
    pub fn policy_path(&self, name: &PolicyName) -> String {
        format!("{}/{}", self.policies, name.file_name())
    }

    /// Whether everything of the machine is configured, or files in a folder of it alone.
    pub fn is_real_root(&self) -> bool {
        self.is_real_root
    }

    /// Whether the settings say where this program is.
    pub fn is_named(&self, name: &str) -> bool {
        self.programs.contains_key(name)
    }

    /// Where a program is: as the settings say, else in the usual folders. A path is taken as it is.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        if let Some(path) = self.programs.get(name) {
            return Some(path.clone());
        }
        if name.contains('/') {
            return Some(name.into()).filter(|path: &PathBuf| program::is_executable(path));
        }
        let places = SEARCH_PATH.split(':').map(|folder| Path::new(folder).join(name));
        places.into_iter().find(|path| program::is_executable(path))
    }

    /// Runs a program to its end, in the root's folder and with a clean environment.
    ///
    /// # Errors
    /// When it is not there, its user is not, it does not start, or takes too long. Any exit code is a success here.
    pub fn run(&self, invocation: &Invocation) -> Result<Ran, Problem> {
        let (name, arguments) =
            invocation.argv.split_first().ok_or_else(|| Problem::new("a step names no program"))?;
        let path = self
            .program(name)
            .ok_or_else(|| Problem::new(format!("this node has no program `{name}`; install it first")))?;
        let user = invocation.user.as_deref().map(|name| self.run_as(name)).transpose()?;
        let timeout = Duration::from_secs(invocation.timeout_s.into());
        let folder = self.root.path();
        let stdin = &invocation.stdin;
        program::run(&Program { path: &path, arguments, stdin, user: user.as_ref(), folder, timeout })
            .map_err(|error| {
                let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
                Problem::new(format!("{error}{}", source.unwrap_or_default()))
            })
    }

    fn run_as(&self, name: &str) -> Result<RunAs, Problem> {
        let found = self.user(name).ok_or_else(|| Problem::new(format!("this node has no user `{name}`")))?;
        Ok(RunAs { name: found.name, uid: found.uid, gid: found.gid, home: found.home })
    }

    /// The user of this name or number. The own user is known even where the root has no file of users.
    pub fn user(&self, name: &str) -> Option<UserEntry> {
        let number = name.parse::<u32>().ok();
        let is_wanted = |entry: &UserEntry| entry.name == name || Some(entry.uid) == number;
        self.lines("/etc/passwd").iter().filter_map(|line| parse_user(line)).find(is_wanted).or_else(|| {
            let own = user::own();
            let (comment, shell) = (String::new(), String::new());
            let own =
                UserEntry { name: own.name, uid: own.uid, gid: own.gid, comment, home: own.home, shell };
            Some(own).filter(is_wanted)
        })
    }

    /// The group of this name or number.
    pub fn group(&self, name: &str) -> Option<GroupEntry> {
        let number = name.parse::<u32>().ok();
        self.groups().into_iter().find(|entry| entry.name == name || Some(entry.gid) == number)
    }

    /// All groups.
    pub fn groups(&self) -> Vec<GroupEntry> {
        self.lines("/etc/group").iter().filter_map(|line| parse_group(line)).collect()
    }

    /// The name of a user, or the number as text where nobody has it.
    pub fn user_name(&self, uid: u32) -> String {
        self.user(&uid.to_string()).map_or_else(|| uid.to_string(), |entry| entry.name)
    }

    /// The name of a group, or the number as text.
    pub fn group_name(&self, gid: u32) -> String {
        self.group(&gid.to_string()).map_or_else(|| gid.to_string(), |entry| entry.name)
    }

    /// Mode and owner by number, as a step that is executed now needs them.
    ///
    /// # Errors
    /// When there is no such user or group.
    pub fn resolve(&self, ownership: &Ownership) -> Result<Owned, Problem> {
        let uid_of = |name: &String| {
            let found = self.user(name).map(|entry| entry.uid).or_else(|| name.parse().ok());
            found.ok_or_else(|| Problem::new(format!("this node has no user `{name}`; add `user:{name}`")))
        };
        let gid_of = |name: &String| {
            let found = self.group(name).map(|entry| entry.gid).or_else(|| name.parse().ok());
            found.ok_or_else(|| Problem::new(format!("this node has no group `{name}`; add `group:{name}`")))
        };
        Ok(Owned {
            mode: ownership.mode,
            uid: ownership.owner.as_ref().map(uid_of).transpose()?,
            gid: ownership.group.as_ref().map(gid_of).transpose()?,
        })
    }

    fn lines(&self, path: &str) -> Vec<String> {
        let bytes = self.root.read(path, USERS_BYTES_MAX).unwrap_or_default();
        String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
    }
}

fn parse_user(line: &str) -> Option<UserEntry> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, comment, home, shell] = fields.as_slice() else { return None };
    Some(UserEntry {
        name: (*name).to_owned(),
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        comment: (*comment).to_owned(),
        home: (*home).to_owned(),
        shell: (*shell).to_owned(),
    })
}

fn parse_group(line: &str) -> Option<GroupEntry> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, gid, members] = fields.as_slice() else { return None };
    let members = members.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    Some(GroupEntry { name: (*name).to_owned(), gid: gid.parse().ok()?, members })
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests lay out files")]
mod tests {
    use super::*;

    fn host(folder: &Path, programs: &[(&str, &str)]) -> Host {
        std::fs::create_dir_all(folder.join("etc")).unwrap();
        std::fs::write(folder.join("etc/passwd"), "app:x:4711:4712:App:/srv/app:/bin/sh\nbroken\n").unwrap();
        std::fs::write(folder.join("etc/group"), "app:x:4712:\nssl:x:4713:app,web\n").unwrap();
        let settings = ConfigSettings {
            root: folder.to_owned(),
            check_interval: Duration::from_secs(600),
            programs: programs.iter().map(|(name, path)| ((*name).to_owned(), path.into())).collect(),
        };
        Host::open(&settings, &folder.join("policies")).unwrap()
    }

    #[test]
    fn users_and_groups_are_those_of_the_root() {
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path(), &[]);
        assert_eq!(host.user("app").unwrap().home, "/srv/app");
        assert_eq!(host.user_name(4711), "app");
        assert_eq!(host.user_name(4799), "4799");
        assert_eq!(host.group("ssl").unwrap().members, ["app", "web"]);
        let named = |owner: &str, group: &str| Ownership {
            mode: Some(0o600),
            owner: Some(owner.to_owned()),
            group: Some(group.to_owned()),
        };
        let owned = host.resolve(&named("app", "4799")).unwrap();
        assert_eq!((owned.mode, owned.uid, owned.gid), (Some(0o600), Some(4711), Some(4799)));
        let problem = host.resolve(&named("nobody-here", "ssl")).unwrap_err();
        assert!(problem.message.contains("add `user:nobody-here`"), "{problem}");
    }

    #[test]
    fn programs_are_found_by_their_usual_name_or_where_the_settings_say() {
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path(), &[("nft", "/bin/echo")]);
        let invocation = |argv: &[&str]| Invocation {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            stdin: Vec::new(),
            user: None,
            timeout_s: 60,
        };
        assert_eq!(host.run(&invocation(&["nft", "list"])).unwrap().text(), "list\n");
        assert_eq!(host.run(&invocation(&["sh", "-c", "exit 3"])).unwrap().code, Some(3));
        let problem = host.run(&invocation(&["no-such-program"])).unwrap_err();
        assert!(problem.message.contains("no program `no-such-program`"), "{problem}");
    }
}
