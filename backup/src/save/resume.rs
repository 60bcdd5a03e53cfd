//! What a save that was cut left behind is taken over: packs that are stored and that no index names. Their headers
//! tell what is in them, so that none of it is sent again.

use crate::backend::{BackendError, Listed, ObjectKind};
use crate::id::ObjectId;
use crate::index::{INDEX_BLOBS_MAX, Index, IndexFile, IndexPack};
use crate::repository::{Repository, RepositoryError};

/// Adds such packs to `index`, stores index objects that name them, and says which they are. One whose header is
/// damaged, or that is gone again, is left alone.
///
/// # Errors
/// When packs cannot be listed or read, or an index cannot be stored.
pub fn adopt(repository: &Repository, index: &mut Index) -> Result<Vec<ObjectId>, RepositoryError> {
    let mut named = index.packs().to_vec();
    named.sort_unstable();
    let listed = repository.backend().list(ObjectKind::Pack)?;
    let mut adopted = Vec::new();
    let mut file = IndexFile::default();
    let mut blobs = 0;
    for pack in listed.into_iter().filter(|pack| named.binary_search(&pack.id).is_err()) {
        let Some(entries) = header(repository, pack)? else { continue };
        file.packs.push(IndexPack::new(pack.id, &entries));
        blobs += entries.len();
        index.add(pack.id, entries);
        adopted.push(pack.id);
        if blobs >= INDEX_BLOBS_MAX {
            repository.write_document(ObjectKind::Index, &file)?;
            (file, blobs) = (IndexFile::default(), 0);
        }
    }
    if !file.packs.is_empty() {
        repository.write_document(ObjectKind::Index, &file)?;
    }
    Ok(adopted)
}

fn header(repository: &Repository, pack: Listed) -> Result<Option<Vec<crate::pack::Entry>>, RepositoryError> {
    match repository.read_pack_header(pack) {
        Ok(entries) => Ok(Some(entries)),
        Err(
            RepositoryError::Damaged { .. }
            | RepositoryError::Backend(BackendError::Missing(_) | BackendError::Short(_)),
        ) => Ok(None),
        Err(error) => Err(error),
    }
}
