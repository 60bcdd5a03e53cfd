//! Where a node's objects lie in its folder: restic's own layout, so that stock restic reads the folder with the
//! password, and a few folders beside it that restic does not look at.
//!
//! Every name is made here from a kind and a hash: nothing that a node says becomes part of a path.

use std::path::{Path, PathBuf};

use campanile_common::backup::{StoredKind, StoredObject};
use campanile_common::id::Digest;

/// Objects that are not whole yet; emptied at each start.
pub(super) const NEW: &str = "new";
/// What was let go and can be brought back.
pub(super) const TRASH: &str = "trash";
/// The packs that each snapshot needs.
pub(super) const CLOSURES: &str = "closures";
/// Proposals that wait for a person.
pub(super) const HOLDS: &str = "holds";
/// The receipt journal.
pub(super) const RECEIPTS: &str = "receipts";
/// Never written by the store; restic wants it.
const LOCKS: &str = "locks";

/// All folders of a node, those above first.
pub(super) fn folders() -> Vec<PathBuf> {
    let plain = ["keys", "snapshots", "index", "data", LOCKS, NEW, TRASH, CLOSURES, HOLDS];
    let packs = (0..=u8::MAX).map(|byte| Path::new("data").join(format!("{byte:02x}")));
    plain.into_iter().map(PathBuf::from).chain(packs).collect()
}

/// The folder of a kind.
pub(super) const fn folder(kind: StoredKind) -> &'static str {
    match kind {
        StoredKind::Config => ".",
        StoredKind::Key => "keys",
        StoredKind::Snapshot => "snapshots",
        StoredKind::Index => "index",
        StoredKind::Pack => "data",
    }
}

/// Where an object lies.
pub(super) fn place(object: StoredObject) -> PathBuf {
    let name = object.id.to_string();
    match object.kind {
        StoredKind::Config => PathBuf::from("config"),
        StoredKind::Pack => Path::new("data").join(&name[..2]).join(name),
        kind @ (StoredKind::Key | StoredKind::Snapshot | StoredKind::Index) => {
            Path::new(folder(kind)).join(name)
        }
    }
}

/// Where it lies once it was let go.
pub(super) fn trash(object: StoredObject) -> PathBuf {
    Path::new(TRASH).join(format!("{}-{}", object.kind, object.id))
}

/// The object that a name in the trash stands for.
pub(super) fn of_trash(name: &str) -> Option<StoredObject> {
    let (kind, id) = name.split_once('-')?;
    let kind = StoredKind::ALL.into_iter().find(|known| known.as_str() == kind)?;
    let object = StoredObject::new(kind, id.parse().ok()?);
    // Upper case digits are read, and not written.
    (trash(object).file_name()?.to_str() == Some(name)).then_some(object)
}

/// Where the list of the packs lies that a snapshot needs.
pub(super) fn closure(snapshot: Digest) -> PathBuf {
    Path::new(CLOSURES).join(snapshot.to_string())
}

/// Where a proposal lies that waits.
pub(super) fn hold(id: u64) -> PathBuf {
    Path::new(HOLDS).join(id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_restic() {
        let id = Digest::from_bytes([0xAB; 32]);
        let place = |kind| place(StoredObject::new(kind, id)).display().to_string();
        assert_eq!(place(StoredKind::Pack), format!("data/ab/{id}"));
        assert_eq!(place(StoredKind::Snapshot), format!("snapshots/{id}"));
        assert_eq!(place(StoredKind::Index), format!("index/{id}"));
        assert_eq!(place(StoredKind::Key), format!("keys/{id}"));
        assert_eq!(super::place(StoredObject::CONFIG), Path::new("config"));
    }

    #[test]
    fn a_name_in_the_trash_reads_back_and_others_are_none() {
        for kind in StoredKind::ALL {
            let object = StoredObject::new(kind, Digest::from_bytes([0xCD; 32]));
            assert_eq!(of_trash(trash(object).file_name().unwrap().to_str().unwrap()), Some(object));
        }
        let upper = format!("pack-{}", "AB".repeat(32));
        for name in ["pack-", "pack-../../etc", "lock-00", &upper, "pack"] {
            assert_eq!(of_trash(name), None, "{name}");
        }
    }
}
