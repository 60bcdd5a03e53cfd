//! Puts back what an apply changed.
//!
//! Last item first, files in groups; then the programs that want every old byte back before they run; then everything
//! is compared with what it was, and what differs is put back once more. Safe to run again from the start wherever it
//! was ended.

use std::io;

use super::journal::{Item, Record};
use super::snapshot::{Was, observe};
use super::{Undo as Kept, UndoError};
use crate::config::batches::Batches;
use crate::config::host::Host;
use crate::config::step::{Invocation, Undo};
use crate::os::beneath::{Batch, BeneathError, Owned, Root};

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Restored {
    /// What is not as it was: for people.
    pub(crate) left: Vec<String>,
}

/// Puts everything back. `records` say how far the apply came.
pub(crate) fn restore(host: &Host, kept: &Kept, records: &[Record]) -> Result<Restored, UndoError> {
    kept.refuse_confirmation()?;
    let begun = |index: usize| {
        let is_it =
            |record: &&Record| matches!(record, Record::Doing(done) if usize::try_from(*done) == Ok(index));
        records.iter().any(|record| is_it(&record))
    };
    let items = kept.items();
    let ran: Vec<bool> =
        items.iter().enumerate().map(|(i, item)| matches!(item, Item::Program { .. }) && begun(i)).collect();
    let last_run = ran.iter().rposition(|ran| *ran);
    let (mut left, mut last) = (Vec::new(), Vec::<&Invocation>::new());
    let mut batches = Batches::new(host);
    for (index, item) in items.iter().enumerate().rev() {
        match item {
            // A path that is as it was is left alone, so what was never begun is not touched. What the journal says
            // of paths is not synced: after a power cut it may know less than the disk.
            Item::Path { path, was } => {
                // What fails here is tried again below, when more is as it was.
                put_back(host.root_of(path), batches.of(path), kept, path, was).ok();
            }
            Item::Kept { path, was } if last_run.is_some_and(|last| last >= index) => {
                put_back(host.root_of(path), batches.of(path), kept, path, was).ok();
            }
            Item::Program { undo } if ran[index] => match undo {
                Undo::Nothing | Undo::Last(_) => {}
                Undo::Run(invocations) => {
                    batches.settle().ok();
                    left.extend(run_all(host, invocations));
                }
                Undo::Left(text) => left.push(text.clone()),
            },
            Item::Kept { .. } | Item::Program { .. } => {}
        }
    }
    for (index, item) in items.iter().enumerate() {
        if let Item::Program { undo: Undo::Last(invocations) } = item
            && ran[index]
        {
            for invocation in invocations {
                if !last.contains(&invocation) {
                    last.push(invocation);
                }
            }
        }
    }
    batches.settle().ok();
    left.extend(last.into_iter().filter_map(|invocation| run(host, invocation)));
    for (index, item) in items.iter().enumerate().rev() {
        let (path, was) = match item {
            Item::Path { path, was } => (path, was),
            Item::Kept { path, was } if last_run.is_some_and(|last| last >= index) => (path, was),
            Item::Kept { .. } | Item::Program { .. } => continue,
        };
        let put =
            put_back(host.root_of(path), batches.of(path), kept, path, was).and_then(|()| batches.settle());
        let problem = match put {
            Err(error) => Some(error.full_text()),
            Ok(()) => match observe(host.root_of(path), path) {
                Ok((now, _)) if now.is_same(was) => None,
                Ok(_) => Some(format!("{path} is not as it was")),
                Err(error) => Some(error.full_text()),
            },
        };
        left.extend(problem);
    }
    Ok(Restored { left })
}

fn run_all(host: &Host, invocations: &[Invocation]) -> Vec<String> {
    invocations.iter().filter_map(|invocation| run(host, invocation)).collect()
}

/// What is left when it fails.
fn run(host: &Host, invocation: &Invocation) -> Option<String> {
    super::super::execute::succeed(host, invocation).err().map(|problem| problem.message)
}

/// Makes a path what it was, unless it is.
fn put_back(
    root: &Root,
    batch: &mut Batch<'_>,
    kept: &Kept,
    path: &str,
    was: &Was,
) -> Result<(), BeneathError> {
    batch.clear_attempt(path)?;
    let (now, _) = observe(root, path)?;
    if now.is_same(was) {
        return Ok(());
    }
    let is_in_the_way = match (was, &now) {
        (Was::Directory { .. }, Was::Directory { .. }) | (_, Was::Absent) => false,
        (Was::Directory { .. }, _) | (_, Was::Directory { .. }) => true,
        _ => false,
    };
    if is_in_the_way {
        batch.remove(path)?;
    }
    match was {
        Was::Absent => batch.remove(path),
        Was::File { offset, length, mode, uid, gid, .. } => {
            let bytes = kept.old_bytes(*offset, *length).map_err(|source| BeneathError::Io {
                what: "read the old content of",
                path: path.to_owned(),
                source,
            })?;
            let owned = Owned { mode: Some(*mode), uid: Some(*uid), gid: Some(*gid) };
            match batch.put(path, &bytes, owned) {
                Err(BeneathError::Io { source, .. }) if source.kind() == io::ErrorKind::StorageFull => {
                    // The new content, of this file and of those that wait, takes the room that the old needs, and is
                    // worthless.
                    batch.put_in_place()?;
                    batch.remove(path)?;
                    batch.put(path, &bytes, owned)
                }
                put => put,
            }
        }
        Was::Directory { mode, uid, gid } => {
            let owned = Owned { mode: Some(*mode), uid: Some(*uid), gid: Some(*gid) };
            if matches!(now, Was::Directory { .. }) {
                batch.own(path, owned)
            } else {
                batch.make_directory(path, owned)
            }
        }
        Was::Link { target } => batch.put_link(path, target),
        Was::Other => Ok(()),
    }
}
