//! Makes the changes of a plan, step by step. Files are put in place in groups: what a program of the plan could see is
//! there before it runs, and everything is on disk before anybody hears that it is done.

use super::batches::Batches;
use super::execute::succeed;
use super::host::Host;
use super::step::{Invocation, Ownership, Problem, Step};
use super::undo::{Was, observe};
use crate::os::beneath::{BeneathError, NodeKind, Owned};

/// Where users and groups are read.
const ACCOUNT_FILES: [&str; 2] = ["/etc/passwd", "/etc/group"];

/// Whoever makes changes. What it has not settled when it goes may or may not be made.
#[derive(Debug)]
pub(super) struct Changer<'a> {
    host: &'a Host,
    batches: Batches<'a>,
}

fn told(error: &BeneathError) -> Problem {
    Problem::new(error.full_text())
}

impl<'a> Changer<'a> {
    pub(super) fn new(host: &'a Host) -> Self {
        Self { host, batches: Batches::new(host) }
    }

    /// Makes one change, or at least begins it. A program has to end within `seconds`, where that is said.
    pub(super) fn step(&mut self, step: &Step, seconds: Option<u32>) -> Result<(), Problem> {
        let done = match step {
            Step::Put { path, bytes, ownership, backup, .. } => {
                return self.put(path, bytes, ownership, backup.as_deref());
            }
            Step::Directory { path, ownership } => {
                let there = self.host.root_of(path).stat(path).map_err(|error| told(&error))?;
                if there.is_some_and(|there| there.kind == NodeKind::Directory) {
                    return Ok(());
                }
                let owned = self.resolve(ownership)?;
                self.batches.of(path).make_directory(path, owned)
            }
            Step::Own { path, ownership } => {
                let owned = self.resolve(ownership)?;
                self.batches.of(path).own(path, owned)
            }
            Step::Link { path, target } => self.batches.of(path).put_link(path, target),
            Step::Remove { path } => self.batches.of(path).remove(path),
            Step::Keep { .. } => Ok(()),
            Step::Run { invocation, .. } => return self.program(invocation, seconds),
        };
        done.map_err(|error| told(&error))
    }

    /// Everything so far is on disk afterwards.
    pub(super) fn settle(&mut self) -> Result<(), Problem> {
        self.batches.settle().map_err(|error| told(&error))
    }

    fn put(
        &mut self,
        path: &str,
        bytes: &[u8],
        ownership: &Ownership,
        backup: Option<&str>,
    ) -> Result<(), Problem> {
        if self.batches.is_waiting(path) {
            self.batches.put_in_place().map_err(|error| told(&error))?;
        }
        let mut owned = self.resolve(ownership)?;
        let there = self.host.root_of(path).stat(path).map_err(|error| told(&error))?;
        if let Some(there) = there.filter(|there| there.kind == NodeKind::File) {
            if let Some(suffix) = backup
                && let (Was::File { mode, uid, gid, .. }, Some(content)) =
                    observe(self.host.root_of(path), path).map_err(|error| told(&error))?
            {
                let owned = Owned { mode: Some(mode), uid: Some(uid), gid: Some(gid) };
                self.batches
                    .of(path)
                    .put(&format!("{path}{suffix}"), &content, owned)
                    .map_err(|error| told(&error))?;
            }
            owned.mode = owned.mode.or(Some(there.mode));
            owned.uid = owned.uid.or(Some(there.uid));
            owned.gid = owned.gid.or(Some(there.gid));
        }
        self.batches.of(path).put(path, bytes, owned).map_err(|error| told(&error))
    }

    /// Users and groups may come with a file that still waits.
    fn resolve(&mut self, ownership: &Ownership) -> Result<Owned, Problem> {
        if ACCOUNT_FILES.iter().any(|path| self.batches.is_waiting(path)) {
            self.batches.put_in_place().map_err(|error| told(&error))?;
        }
        self.host.resolve(ownership)
    }

    fn program(&mut self, invocation: &Invocation, seconds: Option<u32>) -> Result<(), Problem> {
        self.settle()?;
        let mut invocation = invocation.clone();
        if let Some(seconds) = seconds {
            invocation.timeout_s = invocation.timeout_s.min(seconds.max(1));
        }
        succeed(self.host, &invocation)
    }
}
