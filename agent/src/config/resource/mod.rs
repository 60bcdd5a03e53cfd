//! Resources: how each kind is observed, and what is done where it differs. One file per kind.
//!
//! `observe` reads the machine, through what the plan so far will have changed ([`Pending`]); `plan` is pure: what is
//! desired and what was observed in, a [`Draft`] out. A draft's steps are all that is ever executed, so that a plan is
//! what an apply does. Observing runs programs that only tell (`dpkg-query`, `systemctl show`, a command's guard).

mod account;
mod authorized_key;
mod backup;
mod command;
mod diff;
mod directory;
mod file;
mod firewall;
mod group;
mod host_line;
mod lines;
mod link;
mod module;
mod mount;
mod package;
mod pending;
mod reach;
mod service;
mod sysctl;
#[cfg(test)]
mod tests;
mod timer;
mod view;

use campanile_common::api::{ChangeVerb, PlannedChange};
use campanile_common::config::Spec;

pub use pending::Pending;
pub use reach::{cuts_off, watched_paths};

use super::host::Host;
use super::step::{Change, Desired, Invocation, Problem, Step, Undo};
use view::View;

/// Seconds that a program may take which only looks, or changes something small.
const QUICK_S: u32 = 120;

/// What is done to one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    /// In a word.
    pub(crate) verb: ChangeVerb,
    /// In a few words each.
    pub(crate) what: Vec<String>,
    /// Unified diff of content that everybody may see.
    pub(crate) diff: Option<String>,
    /// The steps.
    pub(crate) steps: Vec<Step>,
}

impl Draft {
    fn new(verb: ChangeVerb) -> Self {
        Self { verb, what: Vec::new(), diff: None, steps: Vec::new() }
    }

    fn say(&mut self, what: impl Into<String>) {
        self.what.push(what.into());
    }

    fn run(&mut self, argv: &[&str], undo: Undo) {
        self.steps.push(Step::Run { invocation: invocation(argv), undo });
    }

    /// None where nothing is done.
    fn unless_empty(self) -> Option<Self> {
        Some(self).filter(|draft| !draft.steps.is_empty())
    }
}

/// A plan of one resource: none where it is as it should be, and a sentence where it cannot be planned.
pub(crate) type Planned = Result<Option<Draft>, String>;

fn invocation(argv: &[&str]) -> Invocation {
    let argv = argv.iter().map(|word| (*word).to_owned()).collect();
    Invocation { argv, stdin: Vec::new(), user: None, timeout_s: QUICK_S }
}

fn undo_by(argv: &[&str]) -> Undo {
    Undo::Run(vec![invocation(argv)])
}

/// What is to be done to a resource, given what the changes planned so far (`pending`) will have done; the change is
/// added to them. `is_notified`: something that notifies it changes.
///
/// # Errors
/// When it cannot be planned: what is in the way, and what to do.
pub fn plan(
    host: &Host,
    pending: &mut Pending,
    desired: &Desired,
    is_notified: bool,
) -> Result<Option<Change>, Problem> {
    let id = &desired.resource.id;
    let view = View { host, pending };
    let planned = plan_kind(&view, desired, is_notified)
        .map_err(|message| Problem { resource: Some(id.clone()), message })?;
    let Some(draft) = planned else { return Ok(None) };
    let shown = PlannedChange {
        resource: id.to_string(),
        verb: draft.verb,
        what: draft.what,
        diff: draft.diff,
        confirmed: desired.resource.rules.confirm || cuts_off(desired),
    };
    let change = Change { resource: id.clone(), shown, steps: draft.steps };
    pending.take(host, desired, &change);
    Ok(Some(change))
}

fn plan_kind(view: &View<'_>, desired: &Desired, is_notified: bool) -> Planned {
    let name = desired.resource.id.name.as_str();
    let content = desired.content.as_ref();
    match &desired.resource.spec {
        Spec::Group(group) => group::plan(name, group, &group::observe(view, name)?),
        Spec::User(user) => account::plan(name, user, &account::observe(view, name, user)?),
        Spec::Package(package) => package::plan(name, package, &package::observe(view, name, package)?),
        Spec::Directory(directory) => {
            directory::plan(name, directory, &directory::observe(view, name, directory)?)
        }
        Spec::File(file) => file::plan(name, file, content, &file::observe(view, name, file)?),
        Spec::Link(link) => link::plan(name, link, &link::observe(view, name)?),
        Spec::AuthorizedKey(key) => {
            authorized_key::plan(name, key, &authorized_key::observe(view, name, key)?)
        }
        Spec::Host(entry) => host_line::plan(name, entry, &host_line::observe(view)?),
        Spec::Sysctl(sysctl) => sysctl::plan(name, sysctl, &sysctl::observe(view, name)?),
        Spec::Module(module) => module::plan(name, module, &module::observe(view, name, module)?),
        Spec::Mount(mount) => mount::plan(name, mount, &mount::observe(view, name)?),
        Spec::Firewall(firewall) => {
            firewall::plan(name, firewall, content, &firewall::observe(view, name, content)?)
        }
        Spec::Service(service) => service::plan(name, service, &service::observe(view, name)?, is_notified),
        Spec::Timer(timer) => timer::plan(name, timer, &timer::observe(view, name)?),
        Spec::Command(command) => {
            command::plan(name, command, &command::observe(view, command)?, is_notified)
        }
        Spec::Backup(backup) => backup::plan(name, backup, &backup::observe(view, name)?),
    }
}
