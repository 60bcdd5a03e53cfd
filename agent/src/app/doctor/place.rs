//! The folders that the agent and the steward write to: whose they are, who else may look, and room for more files.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::Access;

use super::check::{Check, fail, ok, warn};
use crate::os::{statvfs, user};

/// Below it the next spool segment or journal may find no inode.
const FILES_WARN: u64 = 1000;
/// Keys are in it; the whole folder is as private as they are.
const IDENTITY_FILE: &str = "identity.json";

/// What was found of a folder.
#[derive(Debug)]
struct Found {
    owner: u32,
    mode: u32,
    /// Of the file with the key, where there is one.
    key_mode: Option<u32>,
    /// None where only its owner can be asked.
    is_writable: Option<bool>,
    /// Free inodes; none where the file system has no limit.
    files_free: Option<u64>,
}

/// Looks at one folder, which is to belong to `owner` where such a user exists.
pub(super) fn check(name: &'static str, folder: &Path, owner: &str) -> Check {
    let place = folder.display();
    let found = match look(folder) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return warn(
                name,
                format!("{place} does not exist"),
                "enroll and the steward make it: run both as root",
            );
        }
        Err(error) => return warn(name, format!("{place}: {error}"), "run doctor as root to see it"),
    };
    judge(name, folder, &found, user::named(owner).map(|user| (user.uid, user.name)))
}

fn look(folder: &Path) -> std::io::Result<Found> {
    let metadata = std::fs::metadata(folder)?;
    let own = rustix::process::geteuid();
    let key_mode =
        std::fs::symlink_metadata(folder.join(IDENTITY_FILE)).ok().map(|found| found.mode() & 0o777);
    let is_asked = own.is_root() || own.as_raw() == metadata.uid();
    let space = statvfs::space(&folder.to_string_lossy())?;
    Ok(Found {
        owner: metadata.uid(),
        mode: metadata.mode() & 0o777,
        key_mode,
        is_writable: is_asked.then(|| rustix::fs::access(folder, Access::WRITE_OK).is_ok()),
        files_free: (space.files > 0).then_some(space.files_free),
    })
}

/// `wanted` is who it is to belong to.
fn judge(name: &'static str, folder: &Path, found: &Found, wanted: Option<(u32, String)>) -> Check {
    let place = folder.display();
    if let Some((uid, user)) = wanted.filter(|(uid, _)| *uid != found.owner) {
        let detail = format!("{place} belongs to user {}, not to {user} ({uid})", found.owner);
        return fail(name, detail, format!("chown -R {user}: {place}"));
    }
    if let Some(mode) = found.key_mode.filter(|mode| mode & 0o077 != 0) {
        let detail = format!("others may read the key of this node in {place} (mode {mode:o})");
        return fail(
            name,
            detail,
            format!("chmod 600 {place}/{IDENTITY_FILE}; then enrol it anew, with --replace"),
        );
    }
    if found.is_writable == Some(false) {
        return fail(
            name,
            format!("{place} cannot be written"),
            "is its file system mounted read-only? see dmesg",
        );
    }
    if let Some(free) = found.files_free.filter(|free| *free < FILES_WARN) {
        return warn(
            name,
            format!("only {free} more files fit into the file system of {place}"),
            "remove some files",
        );
    }
    if found.mode & 0o022 != 0 {
        let detail = format!("others may write into {place} (mode {:o})", found.mode);
        return warn(name, detail, format!("chmod 700 {place}"));
    }
    ok(name, format!("{place} is its owner's and can be written"))
}

#[cfg(test)]
mod tests {
    use campanile_common::checkup::State;

    use super::*;

    fn found() -> Found {
        Found {
            owner: 7,
            mode: 0o700,
            key_mode: Some(0o600),
            is_writable: Some(true),
            files_free: Some(5000),
        }
    }

    fn judged(found: &Found) -> (State, String) {
        let check = judge("folder", Path::new("/s"), found, Some((7, "ours".to_owned())));
        (check.state, check.to_string())
    }

    #[test]
    fn a_folder_as_it_should_be_is_fine() {
        assert_eq!(judged(&found()).0, State::Ok);
        assert_eq!(judged(&Found { files_free: None, is_writable: None, ..found() }).0, State::Ok);
    }

    #[test]
    fn what_is_wrong_with_a_folder_is_named_with_the_command_that_mends_it() {
        for (found, state, command) in [
            (Found { owner: 0, ..found() }, State::Fail, "chown -R ours: /s"),
            (Found { key_mode: Some(0o644), ..found() }, State::Fail, "chmod 600 /s/identity.json"),
            (Found { is_writable: Some(false), ..found() }, State::Fail, "read-only"),
            (Found { files_free: Some(3), ..found() }, State::Warn, "remove some files"),
            (Found { mode: 0o777, ..found() }, State::Warn, "chmod 700 /s"),
        ] {
            let (found, line) = judged(&found);
            assert!(found == state && line.contains(command), "{line}");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        assert_eq!(check("folder", Path::new("/nonexistent/x"), "nobody-such").state, State::Warn);
    }
}
