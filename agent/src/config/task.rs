//! The program `guard config`: plans, applies, compares, brings to an end, guards. Everything it does beside that is to
//! store how it went.

#![expect(clippy::disallowed_methods, reason = "an edge: the program behind a command")]

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use campanile_common::api::{EXIT_FAILED, EXIT_PENDING, EXIT_REVERTED, EXIT_UNCHANGED};
use campanile_common::authority::Authority;
use campanile_common::config::{Drift as OnDrift, VerifiedGeneration};
use campanile_common::id::{Digest, NodeId};
use campanile_common::wire::v1::config::Drifted;

use super::drift;
use super::execute::{self, Executed, How, Recovery};
use super::guardian;
use super::host::Host;
use super::load;
use super::output::Output;
use super::planning;
use super::resource;
use super::state::{self, State};
use super::step::{Desired, Plan, Problem};
use super::undo::{self, ApplyLock, Attempt, Undo, is_pending};
use crate::os::{clock, file, random};
use crate::settings::Settings;

/// Paths whose change could be drift, for whoever watches them.
const WATCHED_FILE: &str = "watched.json";
/// Window of an enforcement of drift.
const ENFORCE_WITHIN: Duration = Duration::from_secs(60);

/// What the program is to do.
#[derive(Debug, Clone)]
pub enum Work {
    /// Print what an apply would do.
    Plan(Digest),
    /// Go to a generation.
    Apply {
        /// Its digest.
        generation: Digest,
        /// Every change is to be confirmed, not only those that can cut the node off.
        is_confirmed: bool,
        /// How long the node has to reach its aggregator.
        confirm_within: Duration,
    },
    /// Compare the node with the current generation.
    Check {
        /// Put right what is to be enforced.
        is_enforcing: bool,
    },
    /// Bring an interrupted apply to its end.
    Recover,
    /// Watch over a change that must be confirmed.
    Guardian,
}

/// Which node this is, and who may sign.
#[derive(Debug)]
pub struct Trust {
    /// The node.
    pub node: NodeId,
    /// The pinned authority.
    pub authority: Authority,
}

struct Program {
    folder: PathBuf,
    host: Host,
    output: Output,
    trust: Result<Trust, String>,
}

/// Something that ends the program, with nothing changed.
#[derive(Debug)]
struct Failed(Vec<Problem>);

impl<E: std::error::Error> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(vec![Problem::new(error.to_string())])
    }
}

/// Does it and prints lines; the exit code. `trust` is what the steward pinned, or why that cannot be told.
pub fn run(work: Work, settings: &Settings, trust: Result<Trust, String>) -> u8 {
    let output = Output::new(Box::new(std::io::stdout()));
    let host = match Host::open(&settings.config, &policies_folder(settings)) {
        Ok(host) => host,
        Err(error) => {
            output.problem(&Problem::new(error.to_string()));
            output.summary(0, 0, 0, "failed", &[]);
            return EXIT_FAILED;
        }
    };
    let program = Program { folder: state::folder_of(&settings.steward.state_dir), host, output, trust };
    let ended = match work {
        Work::Plan(generation) => program.plan(generation),
        Work::Apply { generation, is_confirmed, confirm_within } => {
            program.apply(generation, is_confirmed, confirm_within)
        }
        Work::Check { is_enforcing } => program.check(is_enforcing),
        Work::Recover => program.recover(),
        Work::Guardian => program.guard(),
    };
    ended.unwrap_or_else(|Failed(problems)| {
        problems.iter().for_each(|problem| program.output.problem(problem));
        program.output.summary(0, 0, 0, "failed", &[]);
        EXIT_FAILED
    })
}

/// The folder of backup policies, made where it is missing. Where it cannot be made, nothing can be put in it, and that is
/// said when it is tried: whatever is interrupted must be brought to its end all the same.
fn policies_folder(settings: &Settings) -> PathBuf {
    let folder = settings.steward.policies_dir();
    drop(DirBuilder::new().recursive(true).mode(0o700).create(&folder));
    std::fs::canonicalize(&folder).or_else(|_| std::path::absolute(&folder)).unwrap_or(folder)
}

fn text_of(problems: &[Problem]) -> String {
    let first = problems.first().map_or_else(String::new, |first| match &first.resource {
        Some(resource) => format!("{resource}: {}", first.message),
        None => first.message.clone(),
    });
    match problems.len() {
        0 | 1 => first,
        count => format!("{first} (and {} more)", count - 1),
    }
}

impl Program {
    fn trust(&self) -> Result<&Trust, Failed> {
        self.trust.as_ref().map_err(|text| Failed(vec![Problem::new(text.clone())]))
    }

    fn verified(&self, generation: Digest) -> Result<VerifiedGeneration, Failed> {
        load::verified(&self.folder, self.trust()?, generation).map_err(|problem| Failed(vec![problem]))
    }

    fn load(&self, verified: &VerifiedGeneration) -> Result<Vec<Desired>, Failed> {
        load::load(&self.folder, self.trust()?, verified, &self.output).map_err(Failed)
    }

    fn plan(&self, generation: Digest) -> Result<u8, Failed> {
        let verified = self.verified(generation)?;
        let desired = self.load(&verified)?;
        let plan = planning::plan(&self.host, verified.generation().number, &desired, false, &planning::all)
            .map_err(Failed)?;
        plan.changes.iter().for_each(|change| self.output.change(change));
        self.output.summary(plan.number, plan.changes.len(), plan.unchanged, "planned", &[]);
        Ok(if plan.changes.is_empty() { EXIT_UNCHANGED } else { EXIT_PENDING })
    }

    fn apply(&self, generation: Digest, is_confirmed: bool, within: Duration) -> Result<u8, Failed> {
        let _lock = ApplyLock::take(&self.folder)?;
        self.bring_to_an_end()?;
        let verified = self.verified(generation)?;
        verified.may_follow(State::load(&self.folder)?.highest)?;
        let number = verified.generation().number;
        let named = (number, generation);
        State::update(&self.folder, |state| state.begin(named))?;
        let planned = self.load(&verified).and_then(|desired| {
            planning::plan(&self.host, number, &desired, is_confirmed, &planning::all)
                .map(|plan| (desired, plan))
                .map_err(Failed)
        });
        let (desired, plan) = match planned {
            Ok(planned) => planned,
            // Of a generation that it follows without an order, the state alone tells what is wrong with it.
            Err(Failed(problems)) => {
                return self.end(named, 0, &Executed::Failed { problems, left: Vec::new() }, None, 0);
            }
        };
        plan.changes.iter().for_each(|change| self.output.change(change));
        let attempt = Attempt { named, nonce: nonce(), is_enforcement: false };
        let (executed, kept) = self.execute(&plan, attempt, within, named)?;
        let code = self.end(named, attempt.nonce, &executed, Some(&plan), plan.changes.len())?;
        kept.map_or(Ok(()), Undo::end)?;
        self.write_watched(&desired);
        Ok(code)
    }

    /// Where it cannot even be told what happened, the state says so.
    fn execute(
        &self,
        plan: &Plan,
        attempt: Attempt,
        confirm_within: Duration,
        named: (u64, Digest),
    ) -> Result<(Executed, Option<Undo>), Failed> {
        if plan.changes.is_empty() {
            return Ok((Executed::Applied, None));
        }
        let how = How { folder: &self.folder, attempt, confirm_within };
        execute::apply(&self.host, plan, &how, &self.output).map_err(|error| {
            let detail = self.output.redacted(&error.to_string());
            // The first error is the one that counts.
            drop(State::update(&self.folder, |state| state.fail(named, &detail)));
            Failed::from(error)
        })
    }

    /// Stores and prints how an apply ended.
    fn end(
        &self,
        named: (u64, Digest),
        nonce: u64,
        executed: &Executed,
        plan: Option<&Plan>,
        changes: usize,
    ) -> Result<u8, Failed> {
        let unchanged = plan.map_or(0, |plan| plan.unchanged);
        match executed {
            Executed::Applied => {
                State::update(&self.folder, |state| state.succeed(named, clock::now()))?;
                self.output.summary(named.0, changes, unchanged, "applied", &[]);
                Ok(EXIT_UNCHANGED)
            }
            Executed::Failed { problems, left } => {
                problems.iter().for_each(|problem| self.output.problem(problem));
                let detail = self.output.redacted(&with_left(&text_of(problems), left));
                State::update(&self.folder, |state| state.fail(named, &detail))?;
                self.output.summary(named.0, 0, unchanged, "failed", left);
                Ok(EXIT_FAILED)
            }
            Executed::Reverted { left } => {
                let detail = self.output.redacted(&with_left(NOT_CONFIRMED, left));
                State::update(&self.folder, |state| state.revert(named, nonce, &detail))?;
                self.output.problem(&Problem::new(NOT_CONFIRMED));
                self.output.summary(named.0, 0, unchanged, "reverted", left);
                Ok(EXIT_REVERTED)
            }
        }
    }

    fn check(&self, is_enforcing: bool) -> Result<u8, Failed> {
        let _lock = ApplyLock::take(&self.folder)?;
        self.bring_to_an_end()?;
        let Some((number, generation)) = State::load(&self.folder)?.current else {
            self.output.summary(0, 0, 0, "planned", &[]);
            return Ok(EXIT_UNCHANGED);
        };
        let desired = self.load(&self.verified(generation)?)?;
        let (plan, problems) = planning::compare(&self.host, number, &desired);
        let mut drifted = drift::found(&self.host, &plan, &problems, &desired, &self.hands(), clock::now());
        drifted.iter_mut().for_each(|it| it.detail = self.output.redacted(&it.detail));
        plan.changes.iter().for_each(|change| self.output.change(change));
        problems.iter().for_each(|problem| self.output.problem(problem));
        let is_enforced = |one: &Desired, is_notified: bool| {
            is_enforcing && (is_notified || one.resource.rules.on_drift == OnDrift::Enforce)
        };
        let enforced = planning::plan(&self.host, number, &desired, false, &is_enforced);
        let mut left = Vec::new();
        if let Ok(enforced) = enforced.map(|plan| Plan { number, ..plan })
            && !enforced.changes.is_empty()
        {
            left = self.enforce(&enforced, (number, generation), &mut drifted)?;
        }
        State::update(&self.folder, |state| state.set_drifted(drifted))?;
        self.write_watched(&desired);
        self.output.summary(number, plan.changes.len(), plan.unchanged, "planned", &left);
        Ok(if plan.changes.is_empty() && problems.is_empty() { EXIT_UNCHANGED } else { EXIT_PENDING })
    }

    /// Puts right what is to be enforced; what is left where that failed.
    fn enforce(
        &self,
        plan: &Plan,
        named: (u64, Digest),
        drifted: &mut [Drifted],
    ) -> Result<Vec<String>, Failed> {
        let attempt = Attempt { named, nonce: nonce(), is_enforcement: true };
        let how = How { folder: &self.folder, attempt, confirm_within: ENFORCE_WITHIN };
        let (executed, kept) = execute::apply(&self.host, plan, &how, &self.output)?;
        let mut ended_as = |text: &str| {
            for it in drifted.iter_mut().filter(|it| plan.changes.iter().any(|c| c.resource == it.resource)) {
                it.detail = format!("{}; {text}", it.detail);
            }
        };
        let left = match executed {
            Executed::Applied => {
                for it in drifted.iter_mut() {
                    it.is_enforced = plan.changes.iter().any(|change| change.resource == it.resource);
                }
                Vec::new()
            }
            Executed::Failed { problems, left } => {
                problems.iter().for_each(|problem| self.output.problem(problem));
                let text = self.output.redacted(&text_of(&problems));
                ended_as(&format!("it could not be put right: {text}"));
                left
            }
            Executed::Reverted { left } => {
                ended_as("putting it right was undone: the aggregator could not be reached");
                left
            }
        };
        State::update(&self.folder, State::settle)?;
        kept.map_or(Ok(()), Undo::end)?;
        Ok(left)
    }

    fn recover(&self) -> Result<u8, Failed> {
        let _lock = ApplyLock::take(&self.folder)?;
        self.bring_to_an_end()?;
        Ok(EXIT_UNCHANGED)
    }

    fn guard(&self) -> Result<u8, Failed> {
        if let Some(_lock) = guardian::watch(&self.folder)? {
            self.bring_to_an_end()?;
        }
        Ok(EXIT_UNCHANGED)
    }

    /// Brings an interrupted apply to its end, under the lock that the caller holds.
    fn bring_to_an_end(&self) -> Result<(), Failed> {
        let Some(found) = execute::recover(&self.host, &self.folder)? else {
            // It was interrupted before it had changed anything, or after everything was put back.
            State::update(&self.folder, State::interrupt)?;
            return Ok(undo::forget(&self.folder)?);
        };
        let Attempt { named, nonce, is_enforcement } = found.attempt;
        let change: Box<dyn FnOnce(&mut State)> = match found.how {
            _ if is_enforcement => Box::new(State::settle),
            Recovery::Finished => Box::new(move |state| state.succeed(named, clock::now())),
            Recovery::Undone { restored, had_ended } => {
                let cause = if had_ended { NOT_CONFIRMED } else { INTERRUPTED };
                let detail = with_left(cause, &restored.left);
                self.output.problem(&Problem::new(detail.clone()));
                Box::new(move |state| match had_ended {
                    true => state.revert(named, nonce, &detail),
                    false => state.fail(named, &detail),
                })
            }
        };
        State::update(&self.folder, change)?;
        Ok(found.kept.end()?)
    }

    /// Who wrote what is configured, as far as the steward saw it.
    fn hands(&self) -> Vec<drift::Hand> {
        let text = std::fs::read(self.folder.join(drift::HANDS_FILE)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn write_watched(&self, desired: &[Desired]) {
        let mut paths: Vec<String> = desired.iter().flat_map(resource::watched_paths).collect();
        paths.sort();
        paths.dedup();
        let text = serde_json::to_vec(&paths).expect("paths are text");
        let path: &Path = &self.folder.join(WATCHED_FILE);
        if std::fs::read(path).ok().as_deref() != Some(&text) {
            // Without it drift is found by the periodic comparison alone.
            drop(file::replace(path, &text));
        }
    }
}

const NOT_CONFIRMED: &str =
    "the node did not reach its aggregator anew in time after the change, so it was undone";
const INTERRUPTED: &str = "the apply was interrupted, and what it had changed was undone";

fn with_left(text: &str, left: &[String]) -> String {
    if left.is_empty() { text.to_owned() } else { format!("{text}; not undone: {}", left.join("; ")) }
}

/// Zero is none.
fn nonce() -> u64 {
    random::number().max(1)
}

/// True when an apply was interrupted, or is under way, in the folder `config`.
pub fn has_unfinished(config_folder: &Path) -> bool {
    is_pending(config_folder)
}
