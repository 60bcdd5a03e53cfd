//! What may be removed, and removing it.

use serde::{Deserialize, Serialize};

use crate::backend::{Backend, BackendError, Object, ObjectKind};
use crate::id::ObjectId;

/// Objects that nobody needs, in the order in which they go.
#[must_use]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removals {
    /// First: what they need is needed no more.
    pub snapshots: Vec<ObjectId>,
    /// Second: others name what stays.
    pub indexes: Vec<ObjectId>,
    /// Last: no index names them any more.
    pub packs: Vec<ObjectId>,
}

impl Removals {
    /// All objects, in the order in which they go.
    pub fn objects(&self) -> impl Iterator<Item = Object> + '_ {
        let snapshots = self.snapshots.iter().map(|id| Object::new(ObjectKind::Snapshot, *id));
        let indexes = self.indexes.iter().map(|id| Object::new(ObjectKind::Index, *id));
        let packs = self.packs.iter().map(|id| Object::new(ObjectKind::Pack, *id));
        snapshots.chain(indexes).chain(packs)
    }

    /// Whether nothing is to be removed.
    pub fn is_empty(&self) -> bool {
        self.snapshots.is_empty() && self.indexes.is_empty() && self.packs.is_empty()
    }
}

/// Removes everything, in order, and what cut writes have left. `keep_on` is asked before each object; with `false` the rest stays, which a later prune
/// finds. How many objects were removed.
///
/// # Errors
/// When an object cannot be removed: the rest stays.
pub fn apply(
    backend: &dyn Backend,
    removals: &Removals,
    keep_on: &mut dyn FnMut(Object) -> bool,
) -> Result<u64, BackendError> {
    let mut removed = 0;
    for object in removals.objects() {
        if !keep_on(object) {
            return Ok(removed);
        }
        backend.remove(object)?;
        removed += 1;
    }
    backend.remove_leftovers()?;
    Ok(removed)
}
