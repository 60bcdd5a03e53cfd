//! Commands that root types and that work in the state folder run as the folder's owner: a file that root left there
//! would keep the service from writing.

#![expect(clippy::disallowed_methods, reason = "a root runs itself as another user")]

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use super::init::ground::{self, Owner};

/// What this program is, also when its file was replaced meanwhile.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Runs the same command line as the owner of `folder`, where that is another than root; gives its exit code.
pub(super) fn rerun(folder: &Path) -> anyhow::Result<Option<i32>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let Owner::Other(uid, gid) = ground::owner(folder)? else { return Ok(None) };
    // The groups of root go with its user.
    let status = Command::new(OWN_PROGRAM)
        .args(std::env::args_os().skip(1))
        .uid(uid)
        .gid(gid)
        .status()
        .with_context(|| format!("cannot run as user {uid}"))?;
    Ok(Some(status.code().unwrap_or(1)))
}
