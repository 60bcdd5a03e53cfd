//! Commands with a guard.

use campanile_common::api::ChangeVerb;
use campanile_common::config::Command;

use super::super::step::{Invocation, Step, Undo};
use super::view::{Node, View};
use super::{Draft, Planned};

/// Seconds that a command may take which names no time.
const TIMEOUT_S: u32 = 600;

/// What the guards say; none for a guard that there is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observed {
    /// The path of `creates` exists.
    pub(crate) is_created: Option<bool>,
    /// `unless` succeeds.
    pub(crate) unless: Option<bool>,
    /// `only_if` succeeds.
    pub(crate) only_if: Option<bool>,
}

/// Runs the guards: they only tell.
pub(crate) fn observe(view: &View<'_>, command: &Command) -> Result<Observed, String> {
    let is_created =
        command.creates.as_ref().map(|path| view.see(path).map(|seen| seen.node != Node::Absent));
    let is_created = is_created.transpose()?;
    if is_created == Some(true) {
        return Ok(Observed { is_created, unless: None, only_if: None });
    }
    let succeeds = |argv: &[String]| -> Result<Option<bool>, String> {
        let Some(program) = argv.first() else { return Ok(None) };
        // A program that is not there, or not yet, does not succeed.
        if view.host.program(program).is_none() {
            return Ok(Some(false));
        }
        view.ask_with(&invocation(argv, command)).map(|ran| Some(ran.is_success()))
    };
    Ok(Observed { is_created, unless: succeeds(&command.unless)?, only_if: succeeds(&command.only_if)? })
}

fn invocation(argv: &[String], command: &Command) -> Invocation {
    Invocation {
        argv: argv.to_vec(),
        stdin: Vec::new(),
        user: command.user.clone(),
        timeout_s: command.timeout_s.unwrap_or(TIMEOUT_S),
    }
}

pub(crate) fn plan(name: &str, command: &Command, observed: &Observed, is_notified: bool) -> Planned {
    let has_guard = observed.is_created.is_some() || observed.unless.is_some() || observed.only_if.is_some();
    let is_held_back =
        observed.is_created == Some(true) || observed.unless == Some(true) || observed.only_if == Some(false);
    if is_held_back || !has_guard && !is_notified {
        return Ok(None);
    }
    let mut draft = Draft::new(ChangeVerb::Run);
    draft.say(command.run.join(" "));
    let undo = Undo::Left(format!("command:{name} ran; what it did is not undone"));
    draft.steps.push(Step::Run { invocation: invocation(&command.run, command), undo });
    Ok(Some(draft))
}
