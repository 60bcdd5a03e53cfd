//! What `init` finds on the machine: whose the state folder is, what it holds, who the operator is, how it is reached;
//! and whether a fleet can be founded here at all.

use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use campanile_common::fleet::FLEET_FILE;
use campanile_common::time::Timestamp;

use super::reach::Reach;
use crate::os::clock::Clock;
use crate::os::file;
use crate::settings::Settings;

/// No clock that is right shows an earlier time: 2026-01-01. Certificates of a wrong one would be valid at no time.
const CLOCK_LEAST: Timestamp = Timestamp::from_millis(1_767_225_600_000);
/// Nor a later one: 2100-01-01.
const CLOCK_MOST: Timestamp = Timestamp::from_millis(4_102_444_800_000);
/// Room for a fleet's first days.
const SPACE_LEAST_BYTES: u64 = 64 << 20;

/// Who writes into the state folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::app) enum Owner {
    /// This process.
    Ourselves,
    /// A child that runs as this user and group.
    Other(u32, u32),
}

/// Whom the state folder belongs to.
pub(in crate::app) fn owner(folder: &Path) -> anyhow::Result<Owner> {
    let is_root = rustix::process::geteuid().is_root();
    match std::fs::symlink_metadata(folder) {
        Ok(found) if !found.is_dir() => bail!("the state folder {} is no folder", folder.display()),
        Ok(found) if is_root && found.uid() != 0 => Ok(Owner::Other(found.uid(), found.gid())),
        Ok(_) if is_root || rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_ok() => {
            Ok(Owner::Ourselves)
        }
        Ok(_) => bail!("{} belongs to another user: run this as root (sudo)", folder.display()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Owner::Ourselves),
        Err(error) => Err(error)
            .with_context(|| format!("cannot look at {}; run this as root (sudo)", folder.display())),
    }
}

/// True when a fleet is there.
pub(super) fn is_founded(folder: &Path) -> anyhow::Result<bool> {
    let path = folder.join(FLEET_FILE);
    path.try_exists().with_context(|| format!("cannot look at {}; run this as root (sudo)", path.display()))
}

/// True when an aggregator serves from the folder.
pub(in crate::app) fn is_served(folder: &Path) -> bool {
    file::is_locked(folder)
}

/// Refuses, before anything is made, where a fleet cannot be founded.
pub(super) fn check(settings: &Settings) -> anyhow::Result<()> {
    check_clock(Clock::system().now())?;
    check_folder(&settings.state_dir)?;
    check_port(settings.listen)
}

/// Refuses a clock that cannot be right.
pub(in crate::app) fn check_clock(now: Timestamp) -> anyhow::Result<()> {
    ensure!(
        (CLOCK_LEAST..CLOCK_MOST).contains(&now),
        "the clock of this machine says {now}, and certificates are made by it: set it (timedatectl set-ntp true), \
         and run this again"
    );
    Ok(())
}

/// Refuses a port that something else has.
pub(in crate::app) fn check_port(listen: std::net::SocketAddr) -> anyhow::Result<()> {
    TcpListener::bind(listen).map(drop).map_err(|error| taken("TCP", listen, &error))?;
    UdpSocket::bind(listen).map(drop).map_err(|error| taken("UDP", listen, &error))?;
    Ok(())
}

fn taken(protocol: &str, port: std::net::SocketAddr, error: &std::io::Error) -> anyhow::Error {
    anyhow::anyhow!(
        "the aggregator cannot listen on {protocol} {port} ({error}): stop what does (ss -lntup), or choose another \
         with the setting `listen`"
    )
}

fn check_folder(folder: &Path) -> anyhow::Result<()> {
    let there = match std::fs::read_dir(folder) {
        Ok(entries) => entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", folder.display())),
    };
    let mut there: Vec<String> = there.filter(|name| name != "lost+found").collect();
    there.sort();
    ensure!(
        there.is_empty(),
        "the state folder {} holds {} and no fleet: put them away, or restore what was there with \
         `campanile-aggregator restore`; nothing is overwritten",
        folder.display(),
        there.join(", ")
    );
    let space =
        rustix::fs::statvfs(folder).with_context(|| format!("cannot look at {}", folder.display()))?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    ensure!(
        free >= SPACE_LEAST_BYTES,
        "only {} MiB are free for {}; make room for at least {} MiB",
        free >> 20,
        folder.display(),
        SPACE_LEAST_BYTES >> 20
    );
    Ok(())
}

/// Who typed this.
#[derive(Debug)]
pub(super) struct Operator {
    pub(super) name: String,
    /// Whom root becomes for them: number, group, home.
    other: Option<(u32, u32, PathBuf)>,
}

impl Operator {
    /// Has `command` run as them, in their home.
    pub(super) fn become_in(&self, command: &mut Command) {
        if let Some((uid, gid, home)) = &self.other {
            command.uid(*uid).gid(*gid).env("HOME", home).env_remove("XDG_CONFIG_HOME");
        }
    }
}

/// The person behind `sudo`, or the user that runs this.
pub(super) fn operator() -> Operator {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let own = rustix::process::geteuid().as_raw();
    let behind = std::env::var("SUDO_USER").ok().filter(|name| own == 0 && name != "root");
    let behind = behind.and_then(|name| user(&users, |fields| fields[0] == name));
    if let Some((name, uid, gid, home)) = behind {
        return Operator { name, other: Some((uid, gid, home)) };
    }
    let name = user(&users, |fields| fields[2] == own.to_string()).map(|(name, ..)| name);
    Operator { name: name.unwrap_or_else(|| "operator".to_owned()), other: None }
}

fn user(users: &str, is_wanted: impl Fn(&[&str]) -> bool) -> Option<(String, u32, u32, PathBuf)> {
    users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let is_found = fields.len() == 7 && is_wanted(&fields);
        is_found.then(|| {
            Some((fields[0].to_owned(), fields[2].parse().ok()?, fields[3].parse().ok()?, fields[5].into()))
        })?
    })
}

/// The command line: beside this program, or where the shell would find it.
pub(super) fn command_line() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.to_owned()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    beside
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|dir| dir.join("campanile"))
        .find(|path| path.is_file())
}

/// The first word of the host's name.
pub(super) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let first = name.trim().split('.').next().unwrap_or_default().to_owned();
    if first.is_empty() || first == "localhost" { "fleet".to_owned() } else { first }
}

/// How this machine is reached, as far as it knows by itself.
pub(super) fn reach() -> Reach {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let host = read("/proc/sys/kernel/hostname").trim().to_owned();
    let known = asked(&["hosts", &host]);
    let mut reach = Reach {
        host: host.clone(),
        hosts_line: known,
        fib_trie: read("/proc/net/fib_trie"),
        route: read("/proc/net/route"),
        if_inet6: read("/proc/net/if_inet6"),
        in_dns: Vec::new(),
    };
    // Past /etc/hosts, where every machine knows itself: what others are told.
    for name in reach.names() {
        let answer = asked(&["-s", "dns", "ahosts", &name]);
        if answer.lines().any(|line| reach.is_own(line.split_whitespace().next().unwrap_or_default())) {
            reach.in_dns.push(name);
        }
    }
    reach
}

/// What `getent` says; nothing where it is not there, or where no name server answers in time.
fn asked(arguments: &[&str]) -> String {
    let done = Command::new("timeout")
        .args(["4", "getent"])
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    done.map(|done| String::from_utf8_lossy(&done.stdout).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_read_with_group_and_home() {
        let users = "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1001:Ada:/srv/ada:/bin/bash\nbroken:x\n";
        let found = user(users, |fields| fields[0] == "ada").unwrap();
        assert_eq!(found, ("ada".to_owned(), 1000, 1001, "/srv/ada".into()));
        assert!(user(users, |fields| fields[0] == "broken").is_none());
    }

    #[test]
    fn a_folder_that_holds_something_is_refused_with_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("lost+found")).unwrap();
        check_folder(folder.path()).unwrap();
        std::fs::write(folder.path().join("state.db"), "").unwrap();
        let error = check_folder(folder.path()).unwrap_err().to_string();
        assert!(error.contains("state.db") && error.contains("restore"), "{error}");
        assert!(!is_founded(folder.path()).unwrap());
        std::fs::write(folder.path().join(FLEET_FILE), "").unwrap();
        assert!(is_founded(folder.path()).unwrap());
    }
}
