//! Saves of real files: changes meanwhile, holes, deep folders, cuts.

#![expect(clippy::disallowed_methods, reason = "a save is tested on files")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{Read as _, Write as _};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::*;
use crate::backend::{Backend, BackendError, Listed, Memory, Object, ObjectKind};
use crate::fixture::noise;
use crate::index::Index;
use crate::key::MasterKey;
use crate::pack::{Blob, BlobKind};
use crate::tree::{Node, NodeKind};

fn repository() -> Repository {
    on(Arc::new(Memory::default()))
}

fn on(backend: Arc<dyn Backend>) -> Repository {
    Repository::create(backend, MasterKey::generate()).unwrap()
}

fn request(root: &Path) -> Request {
    static SECONDS: AtomicU64 = AtomicU64::new(1_777_803_240);
    let seconds = i64::try_from(SECONDS.fetch_add(1, Ordering::Relaxed)).unwrap();
    let time = FileTime { seconds, nanoseconds: 0 };
    Request::new(vec![root.to_owned()], "web-1".to_owned(), time)
}

fn save(repository: &Repository, root: &Path) -> Outcome {
    run(repository, &request(root), &()).unwrap()
}

/// Every entry of a snapshot by its path, with content for files.
fn saved(repository: &Repository, outcome: &Outcome) -> BTreeMap<Vec<u8>, (Node, Vec<u8>)> {
    fn add(
        repository: &Repository,
        index: &Index,
        path: &[u8],
        tree: ObjectId,
        into: &mut BTreeMap<Vec<u8>, (Node, Vec<u8>)>,
    ) {
        for node in repository.read_tree(index, tree).unwrap().nodes {
            let path = [path, b"/", node.name.as_bytes()].concat();
            if let Some(subtree) = node.subtree {
                add(repository, index, &path, subtree, into);
            }
            let blobs = node.content.iter().flatten().map(|id| Blob { kind: BlobKind::Data, id: *id });
            let content: Vec<_> = blobs.map(|blob| repository.read_blob(index, blob).unwrap()).collect();
            into.insert(path, (node, content.concat()));
        }
    }
    let index = repository.load_index().unwrap();
    let mut entries = BTreeMap::new();
    add(repository, &index, b"", outcome.tree, &mut entries);
    entries
}

/// The entries below a root, by their path within it.
fn below(repository: &Repository, outcome: &Outcome, root: &Path) -> BTreeMap<String, (Node, Vec<u8>)> {
    let root = [root.as_os_str().as_bytes(), b"/"].concat();
    let entries = saved(repository, outcome).into_iter();
    entries
        .filter_map(|(path, entry)| {
            let name = path.strip_prefix(root.as_slice())?;
            Some((String::from_utf8_lossy(name).into_owned(), entry))
        })
        .collect()
}

fn names(repository: &Repository, outcome: &Outcome, root: &Path) -> Vec<String> {
    below(repository, outcome, root).into_keys().collect()
}

/// The tree of a root: those above it, such as that of `/tmp`, change at any time.
fn tree_of(repository: &Repository, outcome: &Outcome, root: &Path) -> ObjectId {
    let index = repository.load_index().unwrap();
    root.components().skip(1).fold(outcome.tree, |tree, component| {
        let nodes = repository.read_tree(&index, tree).unwrap();
        nodes.find(component.as_os_str()).unwrap().subtree.unwrap()
    })
}

/// Times that are past, so that nothing looks as if it were being changed. Times of files may be ahead of the clock that
/// steps: since Linux 6.13 the kernel takes the fine one for a file that was looked at.
fn settle() {
    let now = system::now();
    while system::file_clock() <= now {
        thread::yield_now();
    }
}

#[test]
fn files_folders_and_links_are_saved_with_their_content_and_details() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir(root.join("sub")).unwrap();
    fs::write(root.join("sub/large"), noise(3 << 20, 1)).unwrap();
    fs::write(root.join("empty"), b"").unwrap();
    fs::write(root.join(OsStr::from_bytes(b"byte\xff")), b"content").unwrap();
    fs::set_permissions(root.join("empty"), Permissions::from_mode(0o4751)).unwrap();
    symlink("no/where", root.join("link")).unwrap();
    fs::hard_link(root.join("sub/large"), root.join("other")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("pipe"), rustix::fs::Mode::RUSR).unwrap();
    let repository = repository();
    let outcome = save(&repository, root);
    assert!(!outcome.is_partial(), "{:?}", outcome.unread);
    let entries = below(&repository, &outcome, root);
    let names: Vec<&str> = entries.keys().map(String::as_str).collect();
    assert_eq!(names, ["byte\u{fffd}", "empty", "link", "other", "pipe", "sub", "sub/large"]);
    assert_eq!(entries["sub/large"].1, noise(3 << 20, 1));
    assert_eq!(entries["other"].0.content, entries["sub/large"].0.content);
    let (large, other) = (&entries["sub/large"].0, &entries["other"].0);
    assert_eq!((large.links, large.inode, large.size), (2, other.inode, 3 << 20));
    assert_eq!(entries["empty"].0.mode.unix(), 0o4751);
    assert_eq!(entries["link"].0.target(), "no/where");
    assert_eq!(entries["pipe"].0.kind, NodeKind::Fifo);
    assert_eq!(entries["byte\u{fffd}"].1, b"content");
    // The shared content counts in both of its files; a link and a pipe do not count.
    let Summary { total_files_processed, total_bytes_processed, files_new, .. } = outcome.summary;
    assert_eq!((total_files_processed, total_bytes_processed, files_new), (4, (6 << 20) + 7, 4));
    let snapshot = repository.read_snapshot(outcome.snapshot).unwrap();
    assert_eq!((snapshot.tree, snapshot.hostname.as_str()), (outcome.tree, "web-1"));
}

#[test]
fn what_is_unchanged_is_not_read_and_gives_the_same_tree() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for number in 0..20 {
        fs::create_dir(root.join(number.to_string())).unwrap();
        fs::write(root.join(format!("{number}/file")), noise(1000, number)).unwrap();
    }
    settle();
    let repository = repository();
    let first = save(&repository, root);
    let second = save(&repository, root);
    assert_eq!(second.parent, Some(first.snapshot));
    assert_eq!(tree_of(&repository, &second, root), tree_of(&repository, &first, root));
    assert!(second.summary.dirs_unmodified >= 21);
    assert_eq!(second.written.data_blobs, 0);
    assert_eq!((second.summary.files_unmodified, second.summary.total_files_processed), (20, 20));
    fs::write(root.join("7/file"), b"changed").unwrap();
    fs::remove_file(root.join("9/file")).unwrap();
    fs::write(root.join("9/new"), b"new").unwrap();
    settle();
    let third = save(&repository, root);
    let Summary { files_new, files_changed, files_unmodified, data_blobs, dirs_changed, .. } = third.summary;
    assert_eq!((files_new, files_changed, files_unmodified, data_blobs), (1, 1, 18, 2));
    // 7, 9 and those above them.
    assert_eq!(dirs_changed, 2 + root.components().count() as u64 - 1);
    let plain = Request { parent: Parent::None, ..request(root) };
    let plain = run(&repository, &plain, &()).unwrap();
    assert_eq!(tree_of(&repository, &plain, root), tree_of(&repository, &third, root));
}

#[test]
fn a_file_whose_content_is_lost_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), b"content").unwrap();
    settle();
    let repository = repository();
    let first = save(&repository, folder.path());
    // The packs of content go, those of trees stay.
    let index = repository.load_index().unwrap();
    let of_data = index.blobs().filter(|location| location.entry.blob.kind == BlobKind::Data);
    let lost: Vec<_> = of_data.map(|location| location.pack).collect();
    let mut kept = crate::index::IndexFile::default();
    for Listed { id, .. } in repository.backend().list(ObjectKind::Index).unwrap() {
        let object = Object::new(ObjectKind::Index, id);
        let file: crate::index::IndexFile = repository.read_document(object, "index").unwrap();
        kept.packs.extend(file.packs.into_iter().filter(|pack| !lost.contains(&pack.id)));
        repository.backend().remove(object).unwrap();
    }
    for pack in lost {
        repository.backend().remove(Object::new(ObjectKind::Pack, pack)).unwrap();
    }
    repository.write_document(ObjectKind::Index, &kept).unwrap();
    let second = save(&repository, folder.path());
    assert_eq!(second.written.data_blobs, 1);
    let root = folder.path();
    assert_eq!(tree_of(&repository, &second, root), tree_of(&repository, &first, root));
    assert_eq!(below(&repository, &second, folder.path())["file"].1, b"content");
}

#[test]
fn rules_leave_out_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for name in ["cache", "private", "no-cache", "skipped"] {
        fs::create_dir(root.join(name)).unwrap();
        fs::write(root.join(name).join("file"), b"x").unwrap();
    }
    fs::write(root.join("cache/CACHEDIR.TAG"), b"Signature: 8a477f597d28d172789f06886806bc55\n# by hand")
        .unwrap();
    fs::write(root.join("no-cache/CACHEDIR.TAG"), b"something else").unwrap();
    fs::write(root.join("private/.nobackup"), b"").unwrap();
    fs::write(root.join("big"), noise(2000, 1)).unwrap();
    fs::write(root.join("a.tmp"), b"").unwrap();
    let rules = Rules::new([&b"*.tmp"[..], b"skipped/"]).unwrap().exclude_caches().exclude_larger_than(1000);
    let rules = rules.exclude_if_present(Marker { name: b".nobackup".to_vec(), header: Vec::new() });
    let repository = repository();
    let outcome = run(&repository, &Request { rules, ..request(root) }, &()).unwrap();
    let expected = [
        "cache",
        "cache/CACHEDIR.TAG",
        "no-cache",
        "no-cache/CACHEDIR.TAG",
        "no-cache/file",
        "private",
        "private/.nobackup",
    ];
    assert_eq!(names(&repository, &outcome, root), expected);
    assert_eq!(repository.read_snapshot(outcome.snapshot).unwrap().excludes, ["*.tmp", "skipped/"]);
}

#[test]
fn another_file_system_is_recorded_as_an_empty_folder() {
    let rules = Rules::default().one_file_system();
    let mut request = Request { rules, ..request(Path::new("/dev")) };
    request.rules = request.rules.exclude_larger_than(0);
    let repository = repository();
    let outcome = run(&repository, &request, &()).unwrap();
    let entries = below(&repository, &outcome, Path::new("/dev"));
    let device = |path: &str| system::device(Path::new(path));
    for mounted in ["shm", "pts"] {
        let path = format!("/dev/{mounted}");
        if device(&path).is_some_and(|mounted| Some(mounted) != device("/dev")) {
            assert!(entries.contains_key(mounted));
            assert!(!entries.keys().any(|name| name.starts_with(&format!("{mounted}/"))));
        }
    }
    assert_eq!(entries["null"].0.kind, NodeKind::CharacterDevice);
    assert_eq!(entries["null"].0.device, 0x103);
}

#[test]
fn several_roots_hang_in_one_tree_and_a_missing_one_makes_it_partial() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for name in ["a", "b", "c"] {
        fs::create_dir(root.join(name)).unwrap();
        fs::write(root.join(name).join("file"), name).unwrap();
    }
    let repository = repository();
    let roots = ["a", "c/file", "missing", "gone/file"].map(|name| root.join(name)).to_vec();
    let outcome = run(&repository, &Request { roots, ..request(root) }, &()).unwrap();
    assert_eq!(names(&repository, &outcome, root), ["a", "a/file", "c", "c/file"]);
    assert!(outcome.is_partial());
    let unread: Vec<_> = outcome.unread.iter().map(|unread| (unread.path.clone(), &unread.why)).collect();
    assert_eq!(unread, [(root.join("gone"), &Why::Missing), (root.join("missing"), &Why::Missing)]);
    let nothing = run(&repository, &request(&root.join("missing")), &());
    assert!(matches!(nothing, Err(SaveError::NoRoot(Unread { why: Why::Missing, .. }))), "{nothing:?}");
}

/// Changes a file when the first of its chunks has been read.
struct Meddler<'m>(AtomicU64, &'m (dyn Fn() + Sync));

impl Progress for Meddler<'_> {
    fn pace(&self, counters: &Counters) -> Flow {
        if counters.read_bytes() > 0 && self.0.fetch_add(1, Ordering::Relaxed) == 0 {
            (self.1)();
        }
        Flow::Continue
    }
}

#[test]
fn a_file_that_changes_grows_or_shrinks_while_it_is_read_is_recorded_and_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let grow = || {
        File::options().append(true).open(&path).unwrap().write_all(&noise(1 << 20, 2)).unwrap();
    };
    let shrink = || File::options().write(true).open(&path).unwrap().set_len(600_000).unwrap();
    let change =
        || File::options().write(true).open(&path).unwrap().write_all_at(b"changed", 11 << 20).unwrap();
    for meddle in [&grow as &(dyn Fn() + Sync), &shrink, &change] {
        fs::write(&path, noise(12 << 20, 1)).unwrap();
        settle();
        let repository = repository();
        let one = NonZeroUsize::new(1).unwrap();
        let request = Request { workers: one, ..request(folder.path()) };
        let outcome = run(&repository, &request, &Meddler(AtomicU64::new(0), meddle)).unwrap();
        assert_eq!(outcome.unread, [Unread { path: path.clone(), why: Why::Changed }]);
        let (node, content) = &below(&repository, &outcome, folder.path())["file"];
        assert_eq!(node.size, content.len() as u64);
        let again = save(&repository, folder.path());
        assert!(!again.is_partial() && again.summary.files_changed == 1);
        assert!(below(&repository, &again, folder.path())["file"].1 == fs::read(&path).unwrap());
    }
}

#[test]
fn a_file_changed_within_the_same_step_of_the_clock_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let repository = repository();
    for number in 0..50_u32 {
        fs::write(&path, number.to_be_bytes()).unwrap();
        let outcome = save(&repository, folder.path());
        assert_eq!(below(&repository, &outcome, folder.path())["file"].1, number.to_be_bytes());
    }
}

#[test]
fn a_file_that_vanishes_or_becomes_another_thing_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for name in ["a", "b", "c", "d"] {
        fs::write(root.join(name), noise(2 << 20, 5)).unwrap();
    }
    let meddle = || {
        fs::remove_file(root.join("c")).unwrap();
        fs::remove_file(root.join("d")).unwrap();
        fs::create_dir(root.join("d")).unwrap();
    };
    let repository = repository();
    let request = Request { workers: NonZeroUsize::new(1).unwrap(), ..request(root) };
    let outcome = run(&repository, &request, &Meddler(AtomicU64::new(0), &meddle)).unwrap();
    // The walk may have been there before or after.
    assert_eq!(
        outcome.unread_count,
        2 - u64::from(names(&repository, &outcome, root).contains(&"d".to_owned()))
    );
    assert_eq!(outcome.unread[0], Unread { path: root.join("c"), why: Why::Missing });
    assert!(names(&repository, &outcome, root).starts_with(&["a".to_owned(), "b".to_owned()]));
}

#[test]
fn a_sparse_file_is_saved_without_reading_its_holes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse");
    let file = File::create(&path).unwrap();
    let size = 20_u64 << 30;
    file.set_len(size).unwrap();
    file.write_all_at(b"in the middle", 7_000_000_000).unwrap();
    file.write_all_at(b"the end", size - 7).unwrap();
    if system::stat_open(&file).unwrap().st_blocks > 10_000 {
        return; // This file system has no holes.
    }
    let seen = Seen(AtomicU64::new(0));
    struct Seen(AtomicU64);
    impl Progress for Seen {
        fn pace(&self, counters: &Counters) -> Flow {
            self.0.store(counters.read_bytes(), Ordering::Relaxed);
            Flow::Continue
        }
    }
    let repository = repository();
    let outcome = run(&repository, &request(folder.path()), &seen).unwrap();
    assert!(!outcome.is_partial());
    assert!(seen.0.load(Ordering::Relaxed) < 10 << 20, "holes were read");
    let index = repository.load_index().unwrap();
    let nodes = repository.read_tree(&index, tree_of(&repository, &outcome, folder.path())).unwrap();
    let node = nodes.find("sparse".as_ref()).unwrap();
    let length =
        |id: &ObjectId| index.find(Blob { kind: BlobKind::Data, id: *id }).unwrap().entry.plain_length();
    assert_eq!((node.size, node.content.iter().flatten().map(length).sum::<u64>()), (size, size));
}

#[test]
fn folders_deeper_than_any_path_may_be_long_are_saved_and_found_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let mut fd = system::open_folder(&system::open_root().unwrap(), OsStr::new("tmp")).unwrap();
    for component in folder.path().strip_prefix("/tmp").unwrap_or(folder.path()).components() {
        if let std::path::Component::Normal(name) = component {
            fd = system::open_folder(&fd, name).unwrap();
        }
    }
    let name = "n".repeat(100);
    let mode = rustix::fs::Mode::RWXU;
    for _ in 0..200 {
        rustix::fs::mkdirat(&fd, name.as_str(), mode).unwrap();
        rustix::fs::mkdirat(&fd, "z", mode).unwrap();
        fd = system::open_folder(&fd, OsStr::new(&name)).unwrap();
    }
    let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    File::from(rustix::fs::openat(&fd, "deep", flags, mode).unwrap()).write_all(b"down here").unwrap();
    settle();
    let repository = repository();
    let outcome = save(&repository, folder.path());
    assert!(!outcome.is_partial(), "{:?}", outcome.unread);
    let entries = below(&repository, &outcome, folder.path());
    assert_eq!(entries.len(), 401);
    assert!(entries.iter().any(|(path, (_, content))| path.len() > 20_000 && content == b"down here"));
    let again = save(&repository, folder.path());
    assert_eq!((again.summary.files_unmodified, again.written.data_blobs), (1, 0));
    let root = folder.path();
    assert_eq!(tree_of(&repository, &again, root), tree_of(&repository, &outcome, root));
}

#[test]
fn two_runs_of_one_tree_by_any_number_of_threads_are_alike() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for number in 0..300_u64 {
        let sub = root.join(format!("{}/{}", number % 7, number % 3));
        fs::create_dir_all(&sub).unwrap();
        fs::write(sub.join(number.to_string()), noise(usize::try_from(number * 37).unwrap(), number))
            .unwrap();
    }
    settle();
    let trees = [1, 2, 5].map(|workers| {
        let workers = NonZeroUsize::new(workers).unwrap();
        let repository = repository();
        let outcome = run(&repository, &Request { workers, ..request(root) }, &()).unwrap();
        assert_eq!(outcome.summary.files_new, 300);
        tree_of(&repository, &outcome, root)
    });
    assert_eq!(trees[0], trees[1]);
    assert_eq!(trees[0], trees[2]);
}

/// Dies after so many packs, until it is brought back; counts the bytes of packs that are put.
#[derive(Debug)]
struct Mortal {
    objects: Memory,
    packs_left: AtomicU64,
    put_bytes: AtomicU64,
}

impl Backend for Mortal {
    fn put(&self, object: Object, bytes: &[u8]) -> Result<(), BackendError> {
        if object.kind == ObjectKind::Pack {
            let left = self.packs_left.load(Ordering::Relaxed);
            if left == 0 {
                return Err(BackendError::Unreachable("it died".to_owned()));
            }
            self.packs_left.store(left - 1, Ordering::Relaxed);
            self.put_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        } else if self.packs_left.load(Ordering::Relaxed) == 0 {
            return Err(BackendError::Unreachable("it died".to_owned()));
        }
        self.objects.put(object, bytes)
    }

    fn get(&self, object: Object, range: Option<Range<u64>>) -> Result<Vec<u8>, BackendError> {
        self.objects.get(object, range)
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>, BackendError> {
        self.objects.list(kind)
    }

    fn remove(&self, object: Object) -> Result<(), BackendError> {
        self.objects.remove(object)
    }
}

#[test]
fn a_save_that_was_cut_goes_on_without_sending_anything_twice() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..30 {
        fs::write(folder.path().join(number.to_string()), noise(4 << 20, number)).unwrap();
    }
    let (objects, packs_left) = (Memory::default(), AtomicU64::new(1000));
    let mortal = Arc::new(Mortal { objects, packs_left, put_bytes: AtomicU64::new(0) });
    let repository = on(mortal.clone());
    mortal.packs_left.store(3, Ordering::Relaxed);
    let cut = run(&repository, &request(folder.path()), &());
    let is_cut = |error: &SaveError| {
        matches!(error, SaveError::Repository(RepositoryError::Backend(BackendError::Unreachable(_))))
    };
    assert!(cut.as_ref().is_err_and(is_cut), "{cut:?}");
    assert!(repository.load_index().unwrap().is_empty() && repository.snapshots().unwrap().is_empty());
    mortal.packs_left.store(1000, Ordering::Relaxed);
    let outcome = save(&repository, folder.path());
    assert_eq!(outcome.adopted.len(), 3);
    // All content once, and little besides.
    let put_bytes = mortal.put_bytes.load(Ordering::Relaxed);
    assert!(put_bytes < (120 << 20) + 1_000_000, "{put_bytes} bytes were put");
    let entries = below(&repository, &outcome, folder.path());
    assert!((0..30).all(|number| entries[&number.to_string()].1 == noise(4 << 20, number)));
    assert!(save(&repository, folder.path()).adopted.is_empty());
}

#[test]
fn a_save_that_is_stopped_makes_no_snapshot_and_leaves_what_the_next_one_uses() {
    struct After(u64);
    impl Progress for After {
        fn pace(&self, counters: &Counters) -> Flow {
            if counters.read_bytes() > self.0 { Flow::Stop } else { Flow::Continue }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    for number in 0..60 {
        fs::write(folder.path().join(number.to_string()), noise(1 << 20, number)).unwrap();
    }
    let repository = repository();
    let stopped = run(&repository, &request(folder.path()), &After(40 << 20));
    assert!(matches!(stopped, Err(SaveError::Stopped)), "{stopped:?}");
    assert!(repository.snapshots().unwrap().is_empty());
    let outcome = save(&repository, folder.path());
    assert!(outcome.summary.data_blobs < 40, "{:?}", outcome.summary);
}

#[test]
fn a_stream_is_saved_as_one_file_if_it_ended_well() {
    let repository = repository();
    let request = request(Path::new("/"));
    let dump = noise(5 << 20, 4);
    let outcome = stream(&repository, &request, "dump.sql", dump.as_slice(), || Ok(()), &()).unwrap();
    let entries = saved(&repository, &outcome);
    assert_eq!(entries.keys().collect::<Vec<_>>(), [b"/dump.sql"]);
    assert!(entries[b"/dump.sql".as_slice()].1 == dump);
    assert_eq!(repository.read_snapshot(outcome.snapshot).unwrap().paths, ["/dump.sql"]);
    let failed = || Err(io::Error::other("pg_dump ended with 1"));
    let half = stream(&repository, &request, "dump.sql", &dump[..1000], failed, &());
    assert!(matches!(half, Err(SaveError::Stream(_))), "{half:?}");
    for name in ["", "..", "a/b"] {
        let refused = stream(&repository, &request, name, dump.as_slice(), || Ok(()), &());
        assert!(matches!(refused, Err(SaveError::Name(_))), "{name}");
    }
    assert_eq!(repository.snapshots().unwrap().len(), 1);
}

/// Remembers the snapshot that was appended last.
#[derive(Debug, Default)]
struct Appended {
    memory: Memory,
    last: Mutex<Option<Appending>>,
}

/// A snapshot, its packs and its label.
type Appending = (ObjectId, BTreeSet<ObjectId>, Option<String>);

impl Appended {
    /// The packs of `outcome`, which was appended last.
    fn packs(&self, outcome: &Outcome) -> BTreeSet<ObjectId> {
        let (snapshot, packs, label) = self.last.lock().unwrap().take().unwrap();
        assert_eq!((snapshot, label.as_deref()), (outcome.snapshot, Some("etc")));
        packs
    }
}

impl Backend for Appended {
    fn put(&self, object: Object, bytes: &[u8]) -> Result<(), BackendError> {
        assert_ne!(object.kind, ObjectKind::Snapshot, "a snapshot comes with its packs");
        self.memory.put(object, bytes)
    }

    fn get(&self, object: Object, range: Option<Range<u64>>) -> Result<Vec<u8>, BackendError> {
        self.memory.get(object, range)
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>, BackendError> {
        self.memory.list(kind)
    }

    fn remove(&self, object: Object) -> Result<(), BackendError> {
        self.memory.remove(object)
    }

    fn append(
        &self,
        snapshot: ObjectId,
        bytes: &[u8],
        packs: &BTreeSet<ObjectId>,
        label: Option<&str>,
    ) -> Result<(), BackendError> {
        let there: BTreeSet<_> = self.list(ObjectKind::Pack)?.iter().map(|listed| listed.id).collect();
        assert!(packs.is_subset(&there), "packs are there before the snapshot that needs them");
        let indexed = self.list(ObjectKind::Index)?;
        assert!(!indexed.is_empty(), "and an index names them");
        *self.last.lock().unwrap() = Some((snapshot, packs.clone(), label.map(str::to_owned)));
        self.memory.put(Object::new(ObjectKind::Snapshot, snapshot), bytes)
    }
}

#[test]
fn a_snapshot_comes_with_the_packs_that_it_needs_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let backend = Arc::new(Appended::default());
    let repository = on(backend.clone());
    let labelled = |root: &Path| Request { label: Some("etc".to_owned()), ..request(root) };
    let mut sizes = Vec::new();
    for round in 0..6_u64 {
        // A third stays, a third changes, the rest comes and goes.
        for number in 0..30_u64 {
            let path = root.join(format!("dir{}/file{number}", number % 4));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match number % 3 {
                0 if round == 0 => fs::write(path, noise(700_000, number)).unwrap(),
                1 => fs::write(path, noise(5_000, number * 100 + round / 2)).unwrap(),
                2 if round % 2 == 0 => fs::write(path, noise(9_000, number)).unwrap(),
                2 => fs::remove_file(path).unwrap(),
                _ => {}
            }
        }
        settle();
        for _ in 0..2 {
            let outcome = run(&repository, &labelled(root), &()).unwrap();
            let packs = backend.packs(&outcome);
            let index = repository.load_index().unwrap();
            let closure = crate::closure::closure(&repository, &index, outcome.tree).unwrap();
            assert_eq!(packs, closure.into_iter().collect(), "round {round}");
            sizes.push((packs.len(), index.packs().len()));
        }
    }
    assert!(sizes.iter().any(|(needed, there)| needed + 3 < *there), "{sizes:?}");
}

#[test]
fn content_of_a_file_that_broke_off_is_stored_and_no_snapshot_needs_it() {
    let backend = Arc::new(Appended::default());
    let repository = on(backend.clone());
    let mut request = request(Path::new("/"));
    request.label = Some("etc".to_owned());
    let content = noise(40 << 20, 1);
    let broken = content.as_slice().chain(Broken);
    let error = stream(&repository, &request, "dump", broken, || Ok(()), &()).unwrap_err();
    assert!(matches!(error, SaveError::Stream(_)), "{error}");
    let stored = backend.list(ObjectKind::Pack).unwrap().len();
    assert!(stored >= 2, "{stored}");
    let outcome = stream(&repository, &request, "dump", &b"short"[..], || Ok(()), &()).unwrap();
    assert_eq!(backend.packs(&outcome).len(), 2, "one of content, one of trees");
}

/// Fails at once.
struct Broken;

impl io::Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the command was killed"))
    }
}

#[test]
fn a_save_of_changes_alone_makes_no_snapshot_without_any_whatever_is_beside_its_roots() {
    let (repository, folder) = (repository(), tempfile::tempdir().unwrap());
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::write(root.join("sub/a"), "first").unwrap();
    let again = || run(&repository, &Request { only_changes: true, ..request(&root) }, &());
    // The first has nothing to compare with.
    assert!(again().is_ok());
    assert!(matches!(again(), Err(SaveError::Unchanged)));
    fs::write(folder.path().join("beside"), "x").unwrap();
    assert!(matches!(again(), Err(SaveError::Unchanged)));
    // As it was, but for the time at which its details were set: past the step of the clock of files.
    thread::sleep(Duration::from_millis(20));
    fs::set_permissions(root.join("sub/a"), fs::metadata(root.join("sub/a")).unwrap().permissions()).unwrap();
    assert!(matches!(again(), Err(SaveError::Unchanged)));
    fs::write(root.join("sub/a"), "second").unwrap();
    assert!(again().is_ok());
    fs::remove_file(root.join("sub/a")).unwrap();
    assert!(again().is_ok());
    assert_eq!(repository.backend().list(ObjectKind::Snapshot).unwrap().len(), 3);
}
