//! Writes what a prune must write before anything goes.

use super::facts::{Facts, FactsError};
use super::plan::{Plan, PlanError};
use super::removals::Removals;
use crate::id::ObjectId;
use crate::index_batch::IndexBatch;
use crate::opener::Opener;
use crate::repository::{Repository, RepositoryError};
use crate::transfer::{TransferError, transfer};
use crate::writer::Writer;

/// What was just done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// What is needed of a pack was packed anew: so many bytes.
    Repacked(ObjectId, u64),
}

/// A prune that did not succeed. Nothing that is needed was removed.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// What is there could not be told.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// What is there must not be pruned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Something could not be read or written. With a store that is full, a prune of whole packs makes room.
    #[error("prune stopped; nothing was removed")]
    Repository(#[from] RepositoryError),
    /// The caller stopped it.
    #[error("prune was stopped; nothing was removed")]
    Stopped,
}

/// Packs anew and indexes what stays. Returns what may be removed after that, and not before.
///
/// The caller holds the exclusive lock, and refreshes it in `keep_on`, which is called after each pack; with `false` the
/// run ends.
///
/// # Errors
/// When anything could not be read or written, or was stopped. Nothing has been removed then.
pub fn execute(
    repository: &Repository,
    facts: &Facts,
    plan: &Plan,
    keep_on: &mut dyn FnMut(Step) -> bool,
) -> Result<Removals, PruneError> {
    if !plan.repack.is_empty() {
        repack(repository, plan, keep_on)?;
    }
    let mut batch = IndexBatch::new(repository);
    for pack in &plan.reindex {
        batch.add(*pack, facts.table.entries(*pack).unwrap_or_default())?;
    }
    batch.finish()?;
    Ok(Removals {
        snapshots: plan.snapshots.clone(),
        indexes: plan.indexes.iter().copied().collect(),
        packs: plan.remove.iter().chain(plan.repack.keys()).copied().collect(),
    })
}

fn repack(
    repository: &Repository,
    plan: &Plan,
    keep_on: &mut dyn FnMut(Step) -> bool,
) -> Result<(), PruneError> {
    let mut opener = Opener::new().map_err(RepositoryError::Compress)?;
    let writer = Writer::new(repository);
    for (pack, entries) in &plan.repack {
        match transfer(repository, *pack, entries, &mut opener, &writer, repository.key()) {
            Ok(moved) if keep_on(Step::Repacked(*pack, moved)) => {}
            // What was stored so far is whole: it is indexed and found by the next run.
            Ok(_) => {
                writer.finish()?;
                return Err(PruneError::Stopped);
            }
            Err(TransferError::Source(error)) => {
                writer.finish()?;
                return Err(error.into());
            }
            Err(TransferError::Stopped) => break,
        }
    }
    writer.finish()?;
    Ok(())
}
