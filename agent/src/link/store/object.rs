//! Between the engine's words and the wire's.

use std::io;

use campanile_backup::backend::{BackendError, Object, ObjectKind};
use campanile_backup::id::ObjectId;
use campanile_common::backup::{StoredKind, StoredObject};
use campanile_common::id::Digest;
use campanile_common::wire::v1::store::{StayReason, StoreFailure};

/// The kind as the store knows it; a lock is none.
pub(super) const fn stored_kind(kind: ObjectKind) -> Option<StoredKind> {
    match kind {
        ObjectKind::Config => Some(StoredKind::Config),
        ObjectKind::Key => Some(StoredKind::Key),
        ObjectKind::Snapshot => Some(StoredKind::Snapshot),
        ObjectKind::Index => Some(StoredKind::Index),
        ObjectKind::Pack => Some(StoredKind::Pack),
        ObjectKind::Lock => None,
    }
}

const fn object_kind(kind: StoredKind) -> ObjectKind {
    match kind {
        StoredKind::Config => ObjectKind::Config,
        StoredKind::Key => ObjectKind::Key,
        StoredKind::Snapshot => ObjectKind::Snapshot,
        StoredKind::Index => ObjectKind::Index,
        StoredKind::Pack => ObjectKind::Pack,
    }
}

pub(super) const fn digest(id: ObjectId) -> Digest {
    Digest::from_bytes(id.0)
}

/// The object as the store knows it.
pub(super) fn stored(object: Object) -> Option<StoredObject> {
    Some(StoredObject::new(stored_kind(object.kind)?, digest(object.id)))
}

/// The object as the engine knows it.
pub(super) fn object_of(stored: StoredObject) -> Object {
    Object::new(object_kind(stored.kind), ObjectId(*stored.id.as_bytes()))
}

/// The names of a kind, in rising order, each once, one behind the other.
pub(super) fn names(objects: &[(Object, StoredObject)], kind: StoredKind) -> Vec<u8> {
    let of_kind = objects.iter().filter(|(_, stored)| stored.kind == kind);
    let mut ids: Vec<Digest> = of_kind.map(|(_, stored)| stored.id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.iter().flat_map(|id| *id.as_bytes()).collect()
}

/// Why an object stays, for a person.
pub(super) const fn stay_text(reason: StayReason) -> &'static str {
    match reason {
        StayReason::Newest => "it is the newest",
        StayReason::Floor => "the store received it within the floor of its policy",
        StayReason::Kept => "the store's policy keeps it, by the time at which it was received",
        StayReason::Needed => "a snapshot that stays needs it",
        StayReason::Never => "the store never lets it go",
    }
}

/// A failure of the store as the engine knows it.
pub(super) fn error(object: Object, code: StoreFailure, reason: String) -> BackendError {
    match code {
        StoreFailure::Missing => BackendError::Missing(object),
        StoreFailure::Short => BackendError::Short(object),
        StoreFailure::Full => BackendError::Full { object, reason },
        StoreFailure::TooMany | StoreFailure::Unavailable => BackendError::Unreachable(reason),
        StoreFailure::Refused
        | StoreFailure::Mismatch
        | StoreFailure::Incomplete
        | StoreFailure::Malformed => BackendError::Refused { object, reason },
        StoreFailure::Damaged => {
            let source = io::Error::new(io::ErrorKind::InvalidData, reason);
            BackendError::Io { doing: "read", object, source }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_but_a_lock_goes_there_and_back() {
        for kind in ObjectKind::ALL {
            let object = Object::new(kind, ObjectId([7; 32]));
            match stored(object) {
                Some(stored) => assert_eq!(object_of(stored), object),
                None => assert_eq!(kind, ObjectKind::Lock),
            }
        }
    }

    #[test]
    fn names_rise_and_come_once() {
        let object = |number| {
            let object = Object::new(ObjectKind::Pack, ObjectId([number; 32]));
            (object, stored(object).unwrap())
        };
        let names = names(&[object(3), object(1), object(3)], StoredKind::Pack);
        assert_eq!(names, [[1; 32], [3; 32]].concat());
    }
}
