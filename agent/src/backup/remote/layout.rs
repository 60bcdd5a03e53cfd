//! Names of objects in restic's layout, relative to the repository. Pure.

use campanile_backup::backend::{Object, ObjectKind};
use campanile_backup::id::ObjectId;

/// Folders of packs.
const PACK_FOLDERS: u16 = 256;

/// Where an object lies.
pub(super) fn path(object: Object) -> String {
    let folder = object.kind.folder();
    let name = object.id.to_string();
    match object.kind {
        ObjectKind::Config => folder.to_owned(),
        ObjectKind::Pack => format!("{folder}/{}/{name}", &name[..2]),
        ObjectKind::Key | ObjectKind::Snapshot | ObjectKind::Index | ObjectKind::Lock => {
            format!("{folder}/{name}")
        }
    }
}

/// Which object of this kind a path names; none where it is something else.
pub(super) fn object(kind: ObjectKind, path_there: &str) -> Option<Object> {
    let object = match kind {
        ObjectKind::Config => Object::CONFIG,
        kind => Object::new(kind, path_there.rsplit('/').next()?.parse::<ObjectId>().ok()?),
    };
    (path(object) == path_there).then_some(object)
}

/// All folders of a repository; one stands behind the one that it is in.
pub(super) fn folders() -> impl Iterator<Item = String> {
    let kinds = ObjectKind::ALL.into_iter().filter(|kind| *kind != ObjectKind::Config);
    let packs = (0..PACK_FOLDERS).map(|byte| format!("{}/{byte:02x}", ObjectKind::Pack.folder()));
    kinds.map(|kind| kind.folder().to_owned()).chain(packs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_found_by_its_path_and_nothing_else_is() {
        let id = ObjectId::of(b"x");
        for kind in ObjectKind::ALL {
            let expected = if kind == ObjectKind::Config { Object::CONFIG } else { Object::new(kind, id) };
            assert_eq!(object(kind, &path(expected)), Some(expected), "{kind}");
            assert_eq!(object(kind, &format!("{}.new", path(expected))), None);
        }
        let pack = path(Object::new(ObjectKind::Pack, id));
        assert_eq!(pack, format!("data/{}/{id}", &id.to_string()[..2]));
        assert_eq!(object(ObjectKind::Pack, &format!("data/{id}")), None);
        assert_eq!(object(ObjectKind::Key, &format!("index/{id}")), None);
        assert_eq!(folders().count(), 5 + 256);
        assert_eq!(folders().last().unwrap(), "data/ff");
    }
}
