//! The snapshot before, whose trees tell what is unchanged.

use std::sync::Arc;

use super::known::KnownTree;
use super::{Parent, Request};
use crate::backend::{BackendError, Listed, Object, ObjectKind};
use crate::id::ObjectId;
use crate::index::{Index, Location};
use crate::opener::open_blob;
use crate::pack::{Blob, BlobKind};
use crate::repository::{Repository, RepositoryError};
use crate::snapshot::Snapshot;

/// Read of a pack at a time. A tree stands behind those of its folders, so that what is in front of it is wanted next.
const WINDOW_BYTES: usize = 256 << 10;

/// The snapshot that the request means: for [`Parent::Newest`], the latest of the same machine and paths. One that says
/// it is of the future, from a clock that was wrong, would stay the latest for long while files change.
///
/// A snapshot that is damaged or gone since it was listed is not taken; who checks the repository says so.
pub(super) fn choose(
    repository: &Repository,
    request: &Request,
    paths: &[String],
) -> Result<Option<(ObjectId, Snapshot)>, RepositoryError> {
    match request.parent {
        Parent::None => Ok(None),
        Parent::Snapshot(id) => Ok(Some((id, repository.read_snapshot(id)?))),
        Parent::Newest => {
            let mut newest: Option<(ObjectId, Snapshot)> = None;
            for Listed { id, .. } in repository.backend().list(ObjectKind::Snapshot)? {
                let snapshot = match repository.read_snapshot(id) {
                    Ok(snapshot) => snapshot,
                    Err(
                        RepositoryError::Damaged { .. } | RepositoryError::Backend(BackendError::Missing(_)),
                    ) => continue,
                    Err(error) => return Err(error),
                };
                let is_ours = snapshot.hostname == request.hostname
                    && snapshot.paths == paths
                    && snapshot.time <= request.time;
                let is_newer = newest.as_ref().is_none_or(|(_, newest)| newest.time < snapshot.time);
                if is_ours && is_newer {
                    newest = Some((id, snapshot));
                }
            }
            Ok(newest)
        }
    }
}

/// Reads trees in the order of a walk, with few requests: what was read around one is kept.
#[derive(Debug)]
pub(super) struct TreeReader<'r> {
    repository: &'r Repository,
    index: &'r Index,
    pack: Option<ObjectId>,
    start: u64,
    window: Vec<u8>,
}

impl<'r> TreeReader<'r> {
    pub(super) fn new(repository: &'r Repository, index: &'r Index) -> Self {
        Self { repository, index, pack: None, start: 0, window: Vec::new() }
    }

    /// A tree; none when it is in no index, or not readable: its folder is read as if it were new.
    pub(super) fn read(&mut self, id: ObjectId) -> Option<Arc<KnownTree>> {
        let location = self.index.find(Blob { kind: BlobKind::Tree, id })?;
        let mut sealed = self.sealed(location).ok()?;
        let Location { entry, .. } = location;
        let text = open_blob(self.repository.key(), entry.blob, &mut sealed, entry.uncompressed).ok()?;
        Some(Arc::new(KnownTree { id, text }))
    }

    fn sealed(&mut self, location: Location) -> Result<Vec<u8>, BackendError> {
        let start = u64::from(location.entry.offset);
        let end = start + u64::from(location.entry.length);
        let held_end = self.start + self.window.len() as u64;
        let is_held = self.pack == Some(location.pack) && self.start <= start;
        if !is_held || end > held_end {
            let wanted = start.min(end.saturating_sub(WINDOW_BYTES as u64));
            // What is held up to the wanted end is not asked for again.
            let goes_on = is_held && wanted <= held_end;
            let from = if goes_on { held_end } else { wanted };
            let object = Object::new(ObjectKind::Pack, location.pack);
            let read = self.repository.backend().get(object, Some(from..end))?;
            if goes_on {
                let dropped = usize::try_from(wanted.saturating_sub(self.start)).unwrap_or(0);
                self.window.drain(..dropped.min(self.window.len()));
                self.start += dropped as u64;
                self.window.extend_from_slice(&read);
            } else {
                (self.pack, self.start, self.window) = (Some(location.pack), from, read);
            }
        }
        let at = usize::try_from(start - self.start).unwrap_or(usize::MAX);
        let length = usize::try_from(end - start).unwrap_or(usize::MAX);
        let bytes = self.window.get(at..).and_then(|rest| rest.get(..length));
        bytes.map(<[u8]>::to_vec).ok_or(BackendError::Short(Object::new(ObjectKind::Pack, location.pack)))
    }
}
