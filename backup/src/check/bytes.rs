//! Without a key: every object's bytes are those that it was named for.
//!
//! The `config` alone is not named by its hash; [`structure`](super::structure) opens it. Locks come and go and are left
//! out. Memory: one piece of an object.

use ring::digest::{Context, SHA256};

use super::finding::{Coverage, Fault, Findings, Report, Subject};
use super::share::Share;
use crate::backend::{Backend, BackendError, Listed, Object, ObjectKind};
use crate::id::ObjectId;
use crate::repository::RepositoryError;

/// So much is read at once.
const PIECE_BYTES: u64 = 1 << 20;
const KINDS: [ObjectKind; 4] = [ObjectKind::Key, ObjectKind::Snapshot, ObjectKind::Index, ObjectKind::Pack];

/// Reads the objects of `share` and compares their hash with their name. `progress` is told the bytes of each object
/// after it was read.
///
/// # Errors
/// When the store cannot be asked. What is missing or damaged is a finding.
pub fn bytes(
    backend: &dyn Backend,
    share: Share,
    progress: &mut dyn FnMut(u64),
) -> Result<Report, RepositoryError> {
    let mut findings = Findings::default();
    let mut coverage = Coverage::default();
    for kind in KINDS {
        for listed in backend.list(kind)? {
            coverage.of_objects += 1;
            coverage.of_bytes += listed.size;
            if !share.has(listed.id) {
                continue;
            }
            let object = Object::new(kind, listed.id);
            if let Some(fault) = examine(backend, object, listed)? {
                findings.note(Subject::Object(object), fault);
            }
            coverage.objects += 1;
            coverage.bytes += listed.size;
            progress(listed.size);
        }
    }
    Ok(findings.into_report(Vec::new(), coverage))
}

fn examine(backend: &dyn Backend, object: Object, listed: Listed) -> Result<Option<Fault>, RepositoryError> {
    let mut context = Context::new(&SHA256);
    let mut at = 0;
    while at < listed.size {
        let end = listed.size.min(at + PIECE_BYTES);
        match backend.get(object, Some(at..end)) {
            Ok(piece) => context.update(&piece),
            Err(BackendError::Missing(_)) => return Ok(Some(Fault::Missing)),
            Err(BackendError::Short(_)) => {
                return Ok(Some(Fault::Damaged("it was cut short while it was read".to_owned())));
            }
            Err(BackendError::Io { source, .. }) => return Ok(Some(Fault::Unreadable(source.to_string()))),
            Err(error) => return Err(error.into()),
        }
        at = end;
    }
    let digest = context.finish();
    Ok((ObjectId::of_digest(&digest) != object.id).then_some(Fault::Name))
}
