//! Executes a plan: looks at the new content, keeps the old, then makes each change, and puts everything back when one
//! fails or the whole is not confirmed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::changing::Changer;
use super::confirm::{self, Deadline};
use super::guardian;
use super::host::Host;
use super::output::Output;
use super::state::{State, StateError};
use super::step::{Invocation, Plan, Problem, Step};
use super::undo::{self, Attempt, Item, Record, Restored, Undo as Kept, UndoError, Was, observe};
use crate::os::beneath::NodeKind;
use crate::os::statvfs;
use crate::os::stopwatch::pause;

/// How long a plan may take beyond its window once it may have cut the node off.
const EXECUTION_PATIENCE: Duration = Duration::from_secs(300);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// What a new file takes beside its bytes, roughly.
const FILE_OVERHEAD_BYTES: u64 = 4096;

/// How a plan is executed.
#[derive(Debug)]
pub(crate) struct How<'a> {
    /// The folder `config`.
    pub(crate) folder: &'a Path,
    /// What it is about.
    pub(crate) attempt: Attempt,
    /// How long the node has to reach its aggregator.
    pub(crate) confirm_within: Duration,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Executed {
    /// All is changed.
    Applied,
    /// Nothing is: it failed, and what had been changed is as it was, save what is left.
    Failed { problems: Vec<Problem>, left: Vec<String> },
    /// Nothing is: the node did not reach its aggregator in time.
    Reverted { left: Vec<String> },
}

/// An apply that was interrupted, brought to an end. What it was is forgotten with [`Kept::end`], once the state is
/// stored.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) attempt: Attempt,
    pub(crate) kept: Kept,
    pub(crate) how: Recovery,
}

/// How it was brought to an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// It had come to its end: all is changed.
    Finished,
    /// All is as it was. `had_ended`: every change had been made, and was not confirmed.
    Undone { restored: Restored, had_ended: bool },
}

/// An apply cannot be carried out, or be brought to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecuteError {
    /// What it keeps.
    #[error(transparent)]
    Undo(#[from] UndoError),
    /// The state.
    #[error(transparent)]
    State(#[from] StateError),
}

enum Stop {
    Failed(Problem),
    NotConfirmed,
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem)
    }
}

/// Carries out `plan`, or nothing of it. What is kept to undo it is still there afterwards where it is `Some`: the
/// caller stores the state and then ends it.
pub(crate) fn apply(
    host: &Host,
    plan: &Plan,
    how: &How<'_>,
    output: &Output,
) -> Result<(Executed, Option<Kept>), ExecuteError> {
    let failed = |problems| Ok((Executed::Failed { problems, left: Vec::new() }, None));
    let mut problems = validate(host, how.folder, plan)?;
    problems.extend(lack_of_space(host, plan));
    if !problems.is_empty() {
        return failed(problems);
    }
    output.step("staged");
    let (items, bytes) = match snapshot(host, plan) {
        Ok(taken) => taken,
        Err(problem) => return failed(vec![problem]),
    };
    let kept = Kept::begin(how.folder, &how.attempt, items, &bytes)?;
    drop(bytes);
    output.step("snapshot");
    let mut run = Run { host, how, output, kept, records: Vec::new(), until: None };
    let executed = match run.changes(plan) {
        Ok(()) => {
            run.kept.record(&Record::Committed)?;
            Executed::Applied
        }
        Err(stop) => {
            output.step("reverting");
            let Restored { left } = undo::restore(host, &run.kept, &run.records)?;
            match stop {
                Stop::Failed(problem) => Executed::Failed { problems: vec![problem], left },
                Stop::NotConfirmed => Executed::Reverted { left },
            }
        }
    };
    Ok((executed, Some(run.kept)))
}

/// Brings an interrupted apply to its end, where there was one: back, unless it had come to its end or was confirmed.
/// The caller holds the lock.
pub(crate) fn recover(host: &Host, folder: &Path) -> Result<Option<Recovered>, ExecuteError> {
    undo::clear_stage(folder)?;
    let Some((mut kept, attempt, records)) = Kept::found(folder)? else { return Ok(None) };
    let had_ended = confirm::awaiting(kept.folder()) == Some(attempt.nonce);
    if records.contains(&Record::Committed) {
        return Ok(Some(Recovered { attempt, kept, how: Recovery::Finished }));
    }
    if confirm::is_confirmed(kept.folder(), attempt.nonce) {
        kept.record(&Record::Committed)?;
        return Ok(Some(Recovered { attempt, kept, how: Recovery::Finished }));
    }
    let restored = undo::restore(host, &kept, &records)?;
    Ok(Some(Recovered { attempt, kept, how: Recovery::Undone { restored, had_ended } }))
}

/// Runs a program that must end with exit code 0.
pub(crate) fn succeed(host: &Host, invocation: &Invocation) -> Result<(), Problem> {
    let shown = invocation.argv.join(" ");
    let ran = host.run(invocation)?;
    if ran.is_success() {
        return Ok(());
    }
    Err(Problem::new(format!("`{shown}` failed: {}", ran.last_words())))
}

/// Every validator on its new content, and nothing else touched.
fn validate(host: &Host, folder: &Path, plan: &Plan) -> Result<Vec<Problem>, UndoError> {
    let (mut problems, mut stage, mut number) = (Vec::new(), None, 0);
    for change in &plan.changes {
        for step in &change.steps {
            let Step::Put { path, bytes, validate, .. } = step else { continue };
            if validate.is_empty() {
                continue;
            }
            let stage = match &stage {
                Some(stage) => stage,
                None => stage.insert(undo::fresh_stage(folder)?),
            };
            let name = path.rsplit('/').next().unwrap_or("content");
            let staged = undo::stage(stage, number, name, bytes)?.display().to_string();
            number += 1;
            let argv = validate.iter().map(|word| word.replace("{}", &staged)).collect();
            let invocation =
                Invocation { argv, stdin: Vec::new(), user: None, timeout_s: VALIDATOR_TIMEOUT_S };
            if let Err(found) = succeed(host, &invocation) {
                let message = format!("the new content of {path} does not pass its check: {}", found.message);
                problems.push(Problem { resource: Some(change.resource.clone()), message });
            }
        }
    }
    undo::clear_stage(folder)?;
    Ok(problems)
}

const VALIDATOR_TIMEOUT_S: u32 = 60;

/// File systems that lack the room for what is put on them.
fn lack_of_space(host: &Host, plan: &Plan) -> Vec<Problem> {
    let mut needed: BTreeMap<u64, (String, u64)> = BTreeMap::new();
    for step in plan.changes.iter().flat_map(|change| &change.steps) {
        let Step::Put { path, bytes, backup, .. } = step else { continue };
        let copies = 1 + u64::from(backup.is_some());
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let size = length.saturating_add(FILE_OVERHEAD_BYTES).saturating_mul(copies);
        if let Some((device, folder)) = place_of(host, path) {
            needed.entry(device).or_insert((folder, 0)).1 += size;
        }
    }
    let lacks = needed.into_values().filter_map(|(folder, needed)| {
        let there = host.root_of(&format!("{folder}/")).path().join(folder.trim_start_matches('/'));
        let space = statvfs::space(&there.to_string_lossy()).ok()?;
        let message = format!(
            "the file system of {folder} has {} bytes left, and the changes take {needed}; make room there first",
            space.avail_bytes
        );
        (space.avail_bytes < needed).then(|| Problem::new(message))
    });
    lacks.collect()
}

/// File system and path of the nearest folder that is there.
fn place_of(host: &Host, path: &str) -> Option<(u64, String)> {
    let root = host.root_of(path);
    let mut folder = path;
    while let Some((parent, _)) = folder.rsplit_once('/').filter(|(parent, _)| !parent.is_empty()) {
        folder = parent;
        if let Some(stat) = root.stat(folder).ok().flatten().filter(|it| it.kind == NodeKind::Directory) {
            return Some((stat.device, folder.to_owned()));
        }
    }
    let stat = root.stat("/").ok().flatten()?;
    Some((stat.device, "/".to_owned()))
}

/// What is at every path that the plan changes, and the bytes of the files among them.
fn snapshot(host: &Host, plan: &Plan) -> Result<(Vec<Item>, Vec<Vec<u8>>), Problem> {
    let (mut items, mut bytes, mut end) = (Vec::new(), Vec::new(), 0_u64);
    let mut known: BTreeMap<String, Was> = BTreeMap::new();
    let mut look = |path: &str| -> Result<Was, Problem> {
        if let Some(was) = known.get(path) {
            return Ok(was.clone());
        }
        let (mut was, content) =
            observe(host.root_of(path), path).map_err(|error| Problem::new(error.full_text()))?;
        if let (Was::File { offset, length, .. }, Some(content)) = (&mut was, content) {
            *offset = end;
            end += *length;
            bytes.push(content);
        }
        if was == Was::Other {
            let message = format!("{path} is a device, a socket or a named pipe; remove it by hand first");
            return Err(Problem::new(message));
        }
        known.insert(path.to_owned(), was.clone());
        Ok(was)
    };
    for change in &plan.changes {
        for step in &change.steps {
            let about = |mut problem: Problem| {
                problem.resource = Some(change.resource.clone());
                problem
            };
            let item = match step {
                Step::Put { path, backup, .. } => {
                    if let Some(suffix) = backup {
                        let path = format!("{path}{suffix}");
                        let was = look(&path).map_err(about)?;
                        items.push(Item::Path { path, was });
                    }
                    Item::Path { path: path.clone(), was: look(path).map_err(about)? }
                }
                Step::Directory { path, .. }
                | Step::Own { path, .. }
                | Step::Link { path, .. }
                | Step::Remove { path } => Item::Path { path: path.clone(), was: look(path).map_err(about)? },
                Step::Keep { path } => Item::Kept { path: path.clone(), was: look(path).map_err(about)? },
                Step::Run { undo, .. } => Item::Program { undo: undo.clone() },
            };
            items.push(item);
        }
    }
    Ok((items, bytes))
}

struct Run<'a> {
    host: &'a Host,
    how: &'a How<'a>,
    output: &'a Output,
    kept: Kept,
    records: Vec<Record>,
    /// The node may be cut off until then.
    until: Option<Deadline>,
}

impl Run<'_> {
    fn changes(&mut self, plan: &Plan) -> Result<(), Stop> {
        let mut index = 0_u32;
        let mut changer = Changer::new(self.host);
        for change in &plan.changes {
            if change.shown.confirmed && self.until.is_none() {
                changer.settle()?;
                self.arm()?;
            }
            for step in &change.steps {
                if self.until.as_ref().is_some_and(|until| until.left().is_zero()) {
                    return Err(Stop::NotConfirmed);
                }
                match step {
                    Step::Put { backup: Some(_), .. } => index += 1,
                    // What fails here is none of the program's.
                    Step::Run { .. } => changer.settle()?,
                    _ => {}
                }
                self.record(Record::Doing(index))?;
                index += 1;
                // A program that may have cut the node off ends with the window.
                let left = self.until.as_ref().map(Deadline::left);
                let seconds = left.map(|left| u32::try_from(left.as_secs()).unwrap_or(u32::MAX));
                changer.step(step, seconds).map_err(|mut problem| {
                    problem.resource = Some(change.resource.clone());
                    problem
                })?;
            }
        }
        changer.settle()?;
        self.output.step("applied");
        if self.until.is_some() { self.await_confirmation() } else { Ok(()) }
    }

    fn record(&mut self, record: Record) -> Result<(), Problem> {
        self.kept.record(&record).map_err(|error| Problem::new(error.to_string()))?;
        self.records.push(record);
        Ok(())
    }

    /// From here on a guardian puts everything back, unless it is confirmed.
    fn arm(&mut self) -> Result<(), Problem> {
        let nonce = self.how.attempt.nonce;
        let until = Deadline::after(nonce, self.how.confirm_within.saturating_add(EXECUTION_PATIENCE));
        confirm::set_deadline(self.kept.folder(), &until)
            .map_err(|error| Problem::new(format!("cannot set a deadline for the change: {error}")))?;
        guardian::ensure(self.kept.folder(), nonce)?;
        self.until = Some(until);
        Ok(())
    }

    fn await_confirmation(&mut self) -> Result<(), Stop> {
        let (undo, nonce) = (self.kept.folder(), self.how.attempt.nonce);
        let until = Deadline::after(nonce, self.how.confirm_within);
        let failed = |error: std::io::Error| {
            Problem::new(format!("cannot wait for the change to be confirmed: {error}"))
        };
        confirm::set_deadline(undo, &until).map_err(failed)?;
        let confirming = |state: &mut State| state.confirm();
        State::update(self.how.folder, confirming).map_err(|error| Problem::new(error.to_string()))?;
        confirm::set_awaiting(undo, nonce).map_err(failed)?;
        self.output.step("confirming");
        while !confirm::is_confirmed(undo, nonce) {
            if until.left().is_zero() {
                return Err(Stop::NotConfirmed);
            }
            pause(LOOK_INTERVAL);
        }
        self.output.step("confirmed");
        Ok(())
    }
}
