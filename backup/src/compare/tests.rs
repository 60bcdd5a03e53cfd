//! Comparisons of real folders with snapshots that were made of them.

#![expect(clippy::disallowed_methods, reason = "tests look at real files")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use super::*;
use crate::backend::Memory;
use crate::fixture::noise;
use crate::key::MasterKey;
use crate::pack::{Blob, BlobKind};
use crate::restore;
use crate::save;
use crate::snapshot::Snapshot;
use crate::tree::FileTime;

struct Case {
    folder: tempfile::TempDir,
    repository: Repository,
    snapshot: Snapshot,
}

impl Case {
    /// Saves `files/{a,sub/large,sub/link}` and restores it to `back`.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = folder.path().join("files");
        fs::create_dir_all(files.join("sub")).unwrap();
        fs::write(files.join("a"), "first\n").unwrap();
        fs::write(files.join("sub/large"), noise(3 << 20, 1)).unwrap();
        symlink("/nowhere", files.join("sub/link")).unwrap();
        // A file that is read in the moment of its change is taken for changed.
        std::thread::sleep(std::time::Duration::from_millis(50));
        let repository = Repository::create(Arc::new(Memory::default()), MasterKey::generate()).unwrap();
        let request = save::Request::new(
            vec![files],
            "node".to_owned(),
            FileTime { seconds: 1_777_000_000, nanoseconds: 0 },
        );
        let saved = save::run(&repository, &request, &()).unwrap();
        let snapshot = repository.read_snapshot(saved.snapshot).unwrap();
        let case = Self { folder, repository, snapshot };
        let request = restore::Request::new(case.back());
        let index = case.repository.load_index().unwrap();
        let outcome = restore::run(&case.repository, &index, &case.snapshot, &request, &()).unwrap();
        assert!(outcome.is_complete(), "{outcome:?}");
        case
    }

    fn back(&self) -> PathBuf {
        self.folder.path().join("back")
    }

    fn live(&self, name: &str) -> PathBuf {
        self.folder.path().join("files").join(name)
    }

    /// Where a live file was restored.
    fn restored(&self, name: &str) -> PathBuf {
        self.back().join(self.live(name).strip_prefix("/").unwrap())
    }

    fn compare(&self) -> Comparison {
        let index = self.repository.load_index().unwrap();
        run(&self.repository, &index, self.snapshot.tree, &self.back(), Some(Path::new("/")), &()).unwrap()
    }

    /// What differs, each with the end of its path.
    fn differences(&self) -> Vec<String> {
        let root = self.folder.path().display().to_string();
        self.compare()
            .differences
            .iter()
            .map(|difference| difference.to_string().replace(&root, ""))
            .collect()
    }
}

#[test]
fn what_was_restored_and_what_was_not_touched_since_are_as_the_snapshot_says() {
    let case = Case::new();
    let compared = case.compare();
    assert_eq!(compared.differences_total, 0, "{compared:?}");
    assert_eq!((compared.same, compared.changed, compared.unread), (2, 0, 0));
    assert_eq!(compared.same_bytes, (3 << 20) + 6);
    assert!(compared.entries >= 5, "{compared:?}");
}

#[test]
fn files_that_were_changed_replaced_or_removed_since_are_counted_alone() {
    let case = Case::new();
    fs::write(case.live("a"), "other\n").unwrap();
    fs::remove_dir_all(case.live("sub")).unwrap();
    symlink("/", case.live("sub")).unwrap();
    let compared = case.compare();
    assert_eq!((compared.same, compared.changed, compared.differences_total), (0, 2, 0), "{compared:?}");
}

#[test]
fn a_file_whose_content_changed_under_its_times_is_named() {
    let mut case = Case::new();
    // The same as a disk that lost a bit: the snapshot gets the times that the file has now.
    let mut bytes = fs::read(case.live("sub/large")).unwrap();
    bytes[2_000_000] ^= 1;
    fs::write(case.live("sub/large"), bytes).unwrap();
    case.snapshot.tree = retimed(&case);
    assert_eq!(
        case.differences(),
        [
            "/files/sub/large is damaged on the disk or in the backup: its content differs though length and times are \
          those of the snapshot"
        ]
    );
    let compared = case.compare();
    assert_eq!((compared.same, compared.changed), (1, 0));
}

/// The tree of the case with the times of the files as they are now.
fn retimed(case: &Case) -> ObjectId {
    fn again(
        case: &Case,
        index: &Index,
        writer: &crate::writer::Writer,
        tree: ObjectId,
        path: &Path,
    ) -> ObjectId {
        let mut tree = case.repository.read_tree(index, tree).unwrap();
        for node in &mut tree.nodes {
            let path = path.join(&node.name);
            if let Some(subtree) = node.subtree {
                node.subtree = Some(again(case, index, writer, subtree, &path));
            } else if node.kind == NodeKind::File {
                let found = fs::symlink_metadata(&path).unwrap();
                let time = |seconds, nanoseconds: i64| FileTime {
                    seconds,
                    nanoseconds: nanoseconds.try_into().unwrap(),
                };
                node.mtime = time(found.mtime(), found.mtime_nsec());
                node.ctime = time(found.ctime(), found.ctime_nsec());
            }
        }
        let bytes = tree.to_json();
        let blob = Blob { kind: BlobKind::Tree, id: ObjectId::of(&bytes) };
        if writer.claim(index, blob) {
            let sealed =
                crate::pack::Compressor::new().unwrap().seal(case.repository.key(), blob, &bytes).unwrap();
            writer.add(&sealed, bytes.len()).unwrap();
        }
        blob.id
    }
    let index = case.repository.load_index().unwrap();
    let writer = crate::writer::Writer::new(&case.repository);
    let tree = again(case, &index, &writer, case.snapshot.tree, Path::new("/"));
    writer.finish().unwrap();
    tree
}

#[test]
fn what_is_not_as_it_was_saved_in_the_restored_folder_is_named() {
    let case = Case::new();
    fs::set_permissions(case.restored("a"), Permissions::from_mode(0o600)).unwrap();
    fs::write(case.restored("sub/large"), "short").unwrap();
    fs::remove_file(case.restored("sub/link")).unwrap();
    symlink("/elsewhere", case.restored("sub/link")).unwrap();
    fs::write(case.restored("sub/more"), "").unwrap();
    let found = case.differences();
    let expected = [
        "/files/a, as restored: its mode is 0600 instead of 0644",
        "/files/sub/more, as restored: the snapshot does not have it",
        "/files/sub/large, as restored: it has 5 bytes instead of 3145728",
        "/files/sub/link, as restored: the link leads elsewhere",
    ];
    assert_eq!(found, expected);
    fs::remove_dir_all(case.restored("sub")).unwrap();
    assert!(case.differences().contains(&"/files/sub/large, as restored: it is missing".to_owned()));
}
