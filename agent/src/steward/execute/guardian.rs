//! Starts the guardian of a change that may cut this node off: beneath no guard, and out of the steward's own unit where
//! there are units, so that it outlives both.

#![expect(clippy::disallowed_methods, reason = "an edge: it starts a process")]

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use super::Launcher;

impl Launcher {
    /// Starts this program with these arguments. What comes back is to be taken leave of; it says nothing.
    pub(in crate::steward) fn start_guardian(&self, arguments: &[String], nonce: u64) -> io::Result<Child> {
        let mut command = match &self.systemd_run {
            Some(systemd_run) => {
                let mut command = Command::new(systemd_run);
                // The service manager starts it, not we. Not the name that the file has: an upgrade removes it.
                let program = format!("/proc/{}/exe", rustix::process::getpid());
                let unit = format!("--unit=campanile-revert-{nonce:016x}.service");
                let about = "--description=Undoes a change that cuts this node off";
                command
                    .args(["--quiet", "--collect", "--service-type=exec", &unit, about, "--"])
                    .arg(program);
                command
            }
            None => Command::new(&self.program),
        };
        command
            .args(arguments)
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
    }
}
