//! What is wrong with the repository, or stops a restore.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::*;
use crate::backend::{Backend, BackendError, Listed, Memory, Object, ObjectKind};

/// Names and contents.
type Files = Vec<(String, Vec<u8>)>;

/// Files of one chunk each, `same` in two, and one of six chunks.
fn several() -> (Saved, Arc<Memory>, Files) {
    let mut made = Made::new();
    let backend = made.backend.clone();
    let mut files: Files = (0..20).map(|number| (format!("f{number:02}"), noise(50_000, number))).collect();
    files.push(("same".to_owned(), noise(50_000, 3)));
    files.push(("long".to_owned(), noise(6 * CHUNK_BYTES, 99)));
    let nodes = files.iter().map(|(name, content)| made.file(name, content)).collect();
    (made.finish(nodes), backend, files)
}

/// The pack that holds `content`'s first chunk, and where.
fn place(saved: &Saved, content: &[u8]) -> crate::index::Location {
    let id = ObjectId::of(&content[..content.len().min(CHUNK_BYTES)]);
    saved.0.1.find(Blob { kind: crate::pack::BlobKind::Data, id }).unwrap()
}

/// Restores into an empty folder and compares: every file is right, or it is named and nothing is there.
fn restored_or_named(saved: &Saved, files: &[(String, Vec<u8>)]) -> Vec<String> {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let outcome = restore(saved, &Request::new(folder.path().to_owned()));
    let failed: Vec<String> =
        outcome.failures.iter().map(|failure| failure.path.display().to_string()).collect();
    for (name, content) in files {
        let path = folder.path().join(name);
        if failed.contains(name) {
            assert!(!path.exists(), "{name}");
        } else {
            assert!(fs::read(&path).unwrap() == *content, "{name}");
        }
    }
    let temporaries = listed(folder.path()).iter().filter(|line| line.contains(".campanile")).count();
    assert_eq!((temporaries, outcome.files), (0, (files.len() - failed.len()) as u64));
    failed
}

#[test]
fn a_damaged_blob_costs_the_files_that_have_it_and_no_others() {
    let (saved, backend, files) = several();
    for (damaged, expected) in [(3, vec!["f03", "same"]), (21, vec!["long"]), (0, vec!["f00"])] {
        let location = place(&saved, &files[damaged].1);
        let object = Object::new(ObjectKind::Pack, location.pack);
        let whole = backend.get(object, None).unwrap();
        let mut bytes = whole.clone();
        bytes[location.entry.offset as usize + 100] ^= 4;
        backend.overwrite(object, bytes);
        assert_eq!(restored_or_named(&saved, &files), expected);
        backend.overwrite(object, whole);
    }
    assert!(restored_or_named(&saved, &files).is_empty());
}

#[test]
fn a_pack_that_is_cut_short_still_gives_what_is_left_of_it() {
    let (saved, backend, files) = several();
    let location = place(&saved, &files[9].1);
    let object = Object::new(ObjectKind::Pack, location.pack);
    let whole = backend.get(object, None).unwrap();
    backend.overwrite(object, whole[..location.entry.offset as usize + 1].to_vec());
    let failed = restored_or_named(&saved, &files);
    let expected: Vec<String> = (9..20).map(|number| format!("f{number:02}")).collect();
    assert!(failed.iter().filter(|name| *name != "long").eq(&expected), "{failed:?}");
}

#[test]
fn a_pack_that_is_gone_and_a_blob_that_no_index_names_are_told_apart() {
    let (saved, backend, files) = several();
    let location = place(&saved, &files[0].1);
    backend.remove(Object::new(ObjectKind::Pack, location.pack)).unwrap();
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let request = Request::new(folder.path().to_owned());
    let outcome = restore(&saved, &request);
    assert_eq!((outcome.failures_total, outcome.files), (files.len() as u64, 0));
    let first = &outcome.failures[0].problem;
    assert!(first.to_string().contains("is not there"), "{first}");
    let ((repository, index), tree) = saved;
    let mut trees_alone = Index::default();
    let of_trees = index.blobs().filter(|location| location.entry.blob.kind == crate::pack::BlobKind::Tree);
    of_trees.for_each(|location| trees_alone.add(location.pack, [location.entry]));
    let outcome = run_tree(&repository, &trees_alone, tree, &request, &()).unwrap();
    assert!(outcome.failures.iter().all(|failure| matches!(failure.problem, Problem::NoBlob(_))));
    assert!(listed(folder.path()).is_empty());
}

#[test]
fn another_name_of_a_file_that_was_not_restored_leads_to_nothing() {
    let mut made = Made::new();
    let backend = made.backend.clone();
    let [x, y] = ["x", "y"].map(|name| hard_linked(&mut made, name, b"shared", 7));
    let saved = made.finish(vec![x, y]);
    let location = place(&saved, b"shared");
    backend.remove(Object::new(ObjectKind::Pack, location.pack)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x"), "old").unwrap();
    let outcome = restore(&saved, &Request::new(folder.path().to_owned()));
    assert_eq!(outcome.failures_total, 2);
    assert!(matches!(outcome.failures[1].problem, Problem::LinkedFile(_)));
    assert_eq!(fs::read_to_string(folder.path().join("x")).unwrap(), "old");
    assert!(!folder.path().join("y").exists());
}

#[test]
fn a_folder_whose_tree_is_damaged_is_named_and_nothing_is_removed_from_it() {
    let mut made = Made::new();
    let mut broken = made.folder("broken", vec![]);
    broken.subtree = Some(ObjectId([9; 32]));
    let file = made.file("file", b"content");
    let saved = made.finish(vec![broken, file]);
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("broken")).unwrap();
    fs::write(folder.path().join("broken/precious"), "x").unwrap();
    let request = Request { delete_extra: true, ..Request::new(folder.path().to_owned()) };
    let outcome = restore(&saved, &request);
    assert!(matches!(outcome.failures[..], [Failure { problem: Problem::Folder(_), .. }]));
    assert!(folder.path().join("broken/precious").exists() && folder.path().join("file").exists());
}

/// Fails after so many reads.
#[derive(Debug)]
struct Cut {
    inner: Arc<Memory>,
    left: AtomicUsize,
}

impl Backend for Cut {
    fn put(&self, object: Object, bytes: &[u8]) -> Result<(), BackendError> {
        self.inner.put(object, bytes)
    }

    fn get(&self, object: Object, range: Option<std::ops::Range<u64>>) -> Result<Vec<u8>, BackendError> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map_err(|_| BackendError::Unreachable("the line is cut".to_owned()))?;
        self.inner.get(object, range)
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>, BackendError> {
        self.inner.list(kind)
    }

    fn remove(&self, object: Object) -> Result<(), BackendError> {
        self.inner.remove(object)
    }
}

/// Stops after so many bytes were written.
struct Cancel(AtomicU64, u64);

impl Progress for Cancel {
    fn wrote(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= self.1
    }
}

#[test]
fn a_store_that_goes_away_ends_the_run_and_leaves_nothing_half_done() {
    let (saved, inner, files) = several();
    let ((repository, index), tree) = &saved;
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let request = Request::new(folder.path().to_owned());
    for reads in 1..4 {
        // One for the config, one for the root's tree.
        let cut = Arc::new(Cut { inner: inner.clone(), left: AtomicUsize::new(reads) });
        let cut = Repository::open(cut, repository.key().clone()).unwrap();
        let error = run_tree(&cut, index, *tree, &request, &()).unwrap_err();
        assert!(
            matches!(&error, RestoreError::Repository(source)
            if matches!(**source, RepositoryError::Backend(BackendError::Unreachable(_)))),
            "{error}"
        );
        assert!(listed(folder.path()).is_empty(), "{reads}");
    }
    let outcome = restore(&saved, &request);
    assert_eq!(outcome.files, files.len() as u64);
}

#[test]
fn a_cancelled_run_leaves_nothing_half_done() {
    let (saved, _, _) = several();
    let ((repository, index), tree) = &saved;
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let request = Request { workers: 1, ..Request::new(folder.path().to_owned()) };
    for bytes in [0, 50_000, 400_000, 2_500_000] {
        let cancel = Cancel(AtomicU64::new(0), bytes);
        let error = run_tree(repository, index, *tree, &request, &cancel).unwrap_err();
        assert!(matches!(error, RestoreError::Cancelled), "{error}");
        assert!(listed(folder.path()).is_empty(), "{bytes}");
    }
}
