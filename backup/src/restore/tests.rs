//! Whole restores: kinds of entries, rules of overwriting, damage, a store that is lost.

#![expect(clippy::disallowed_methods, reason = "tests look at real files")]

mod damage;
mod hostile;

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::sync::Mutex;

use super::*;
use crate::fixture::{CHUNK_BYTES, Made, noise, owned};
use crate::tree::{FileTime, GoMode, Node, NodeKind};

type Saved = ((Repository, Index), ObjectId);

fn restore(saved: &Saved, request: &Request) -> Outcome {
    let ((repository, index), tree) = saved;
    run_tree(repository, index, *tree, request, &()).unwrap()
}

/// Everything below a folder, with what it is, for comparison.
fn listed(folder: &Path) -> Vec<String> {
    fn list(folder: &Path, root: &Path, lines: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let mode = metadata.mode() & 0o7777;
            let what = if metadata.is_dir() {
                list(&path, root, lines);
                "/".to_owned()
            } else if metadata.is_symlink() {
                format!(" -> {}", fs::read_link(&path).unwrap().display())
            } else if metadata.file_type().is_fifo() {
                " fifo".to_owned()
            } else {
                format!(" {}", ObjectId::of(&fs::read(&path).unwrap()).short())
            };
            lines.push(format!("{} {mode:o}{what}", path.strip_prefix(root).unwrap().display()));
        }
    }
    let mut lines = Vec::new();
    list(folder, folder, &mut lines);
    lines.sort();
    lines
}

fn problems(outcome: &Outcome) -> Vec<String> {
    outcome
        .failures
        .iter()
        .map(|failure| format!("{}: {}", failure.path.display(), failure.problem))
        .collect()
}

/// `a/{b/{large,small},empty,link,pipe}` and `top`.
fn some() -> Saved {
    let mut made = Made::new();
    let large = made.file("large", &noise(3 * CHUNK_BYTES + 5, 1));
    let small = made.file("small", b"small");
    let mut b = made.folder("b", vec![large, small]);
    b.mode = GoMode::new(NodeKind::Directory, 0o2711);
    let mut empty = made.file("empty", b"");
    empty.mode = GoMode::new(NodeKind::File, 0o4755);
    let mut link = owned(Node::bare("link".into(), NodeKind::Symlink));
    link.set_target("/nowhere/at/all".into());
    let pipe = owned(Node::bare("pipe".into(), NodeKind::Fifo));
    let mut a = made.folder("a", vec![b, empty, link, pipe]);
    a.mode = GoMode::new(NodeKind::Directory, 0o555);
    let top = made.file("top", b"top");
    made.finish(vec![a, top])
}

fn is_of_snapshot(path: &Path) -> bool {
    let metadata = fs::symlink_metadata(path).unwrap();
    let times = [metadata.mtime(), metadata.mtime_nsec()];
    times == [1_777_803_240, 123_456_789]
}

#[test]
fn everything_is_restored_with_its_details() {
    let saved = some();
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("deep/target");
    let outcome = restore(&saved, &Request::new(target.clone()));
    assert_eq!(problems(&outcome), [""; 0]);
    let counts = (outcome.files, outcome.folders, outcome.symlinks, outcome.specials, outcome.bytes);
    assert_eq!(counts, (4, 2, 1, 1, 3 * CHUNK_BYTES as u64 + 13));
    // Before anything is read.
    let atime = fs::symlink_metadata(target.join("a/empty")).unwrap();
    assert_eq!((atime.atime(), atime.atime_nsec()), (1_777_803_241, 987_654_321));
    let lines = listed(&target);
    let large = ObjectId::of(&noise(3 * CHUNK_BYTES + 5, 1)).short();
    let expected = [
        "a 555/".to_owned(),
        "a/b 2711/".to_owned(),
        format!("a/b/large 640 {large}"),
        format!("a/b/small 640 {}", ObjectId::of(b"small").short()),
        format!("a/empty 4755 {}", ObjectId::of(b"").short()),
        "a/link 777 -> /nowhere/at/all".to_owned(),
        "a/pipe 600 fifo".to_owned(),
        format!("top 640 {}", ObjectId::of(b"top").short()),
    ];
    assert_eq!(lines, expected);
    for path in ["a", "a/b", "a/b/large", "a/empty", "a/link", "a/pipe", "top"] {
        assert!(is_of_snapshot(&target.join(path)), "{path}");
    }
}

#[test]
fn a_second_run_changes_nothing_and_repairs_what_was_changed() {
    let saved = some();
    let folder = tempfile::tempdir().unwrap();
    let request = Request::new(folder.path().to_owned());
    let _outcome = restore(&saved, &request);
    let before = listed(folder.path());
    let again = restore(&saved, &request);
    assert_eq!((again.files, again.symlinks, again.specials, again.unchanged), (0, 0, 0, 6));
    // The same length and times, another content.
    let small = folder.path().join("a/b/small");
    let times = fs::metadata(&small).unwrap();
    fs::write(&small, "SMALL").unwrap();
    let file = fs::File::options().write(true).open(&small).unwrap();
    file.set_times(fs::FileTimes::new().set_modified(times.modified().unwrap())).unwrap();
    let unverified = Request { verify: false, ..request.clone() };
    assert_eq!(restore(&saved, &unverified).files, 0);
    assert_eq!(restore(&saved, &request).files, 1);
    // Another mode, another time, a link elsewhere, something missing.
    fs::set_permissions(folder.path().join("top"), Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(folder.path().join("a/b"), Permissions::from_mode(0o700)).unwrap();
    fs::write(folder.path().join("a/empty"), "").unwrap();
    fs::remove_file(folder.path().join("a/link")).unwrap();
    symlink("/etc/passwd", folder.path().join("a/link")).unwrap();
    fs::remove_file(&small).unwrap();
    let repaired = restore(&saved, &request);
    assert_eq!((repaired.files, repaired.symlinks, repaired.unchanged), (3, 1, 2));
    assert_eq!(listed(folder.path()), before);
}

#[test]
fn what_is_there_is_kept_or_replaced_as_asked() {
    let saved = some();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("a")).unwrap();
    fs::write(folder.path().join("a/empty"), "mine").unwrap();
    fs::write(folder.path().join("extra"), "mine").unwrap();
    let never = Request { overwrite: Overwrite::Never, ..Request::new(folder.path().to_owned()) };
    let outcome = restore(&saved, &never);
    assert_eq!((outcome.kept, outcome.files), (1, 3));
    assert_eq!(fs::read_to_string(folder.path().join("a/empty")).unwrap(), "mine");
    assert_ne!(fs::metadata(folder.path().join("a")).unwrap().mode() & 0o777, 0o555);
    let always = Request { overwrite: Overwrite::Always, ..never };
    let inode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().ino();
    let before = inode("top");
    let outcome = restore(&saved, &always);
    assert_eq!((outcome.files, outcome.unchanged), (4, 0));
    assert_ne!(inode("top"), before);
    assert_eq!(fs::read_to_string(folder.path().join("a/empty")).unwrap(), "");
    assert_eq!(fs::read_to_string(folder.path().join("extra")).unwrap(), "mine");
}

#[test]
fn only_what_was_asked_for_is_restored_and_a_path_that_is_not_there_is_refused() {
    let saved = some();
    let folder = tempfile::tempdir().unwrap();
    let request = Request {
        only: vec!["/a/b".into()],
        excludes: vec!["larg?".to_owned()],
        ..Request::new(folder.path().to_owned())
    };
    let outcome = restore(&saved, &request);
    assert_eq!((outcome.files, outcome.folders), (1, 2));
    let small = format!("a/b/small 640 {}", ObjectId::of(b"small").short());
    assert_eq!(listed(folder.path()), ["a 555/", "a/b 2711/", &small]);
    let absent = Request { only: vec!["/a/c".into()], ..request };
    let ((repository, index), tree) = &saved;
    let refused = run_tree(repository, index, *tree, &absent, &());
    assert!(matches!(refused, Err(RestoreError::Lookup(LookupError::Absent(_)))));
}

#[test]
fn what_is_extra_is_removed_only_when_asked_and_within_what_is_restored() {
    let saved = some();
    let folder = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("kept"), "kept").unwrap();
    let request = Request { only: vec!["a".into()], ..Request::new(folder.path().to_owned()) };
    let _outcome = restore(&saved, &request);
    let wanted = listed(folder.path());
    for path in ["a/x/y/z", "a/b/x"] {
        fs::create_dir_all(folder.path().join(path)).unwrap();
        fs::write(folder.path().join(path).join("file"), "extra").unwrap();
    }
    symlink(outside.path(), folder.path().join("a/x/link")).unwrap();
    fs::write(folder.path().join("a/secret.key"), "excluded").unwrap();
    fs::write(folder.path().join("beside"), "not restored").unwrap();
    assert_eq!(restore(&saved, &request).deleted, 0);
    let request = Request { delete_extra: true, excludes: vec!["*.key".to_owned()], ..request };
    let told = restore(&saved, &Request { dry_run: true, ..request.clone() });
    assert_eq!((told.deleted, folder.path().join("a/x").exists()), (2, true));
    assert_eq!(restore(&saved, &request).deleted, 7);
    fs::remove_file(folder.path().join("beside")).unwrap();
    fs::remove_file(folder.path().join("a/secret.key")).unwrap();
    assert_eq!(listed(folder.path()), wanted);
    assert!(outside.path().join("kept").exists());
    let both = Request { overwrite: Overwrite::Never, ..request };
    let ((repository, index), tree) = &saved;
    assert!(matches!(run_tree(repository, index, *tree, &both, &()), Err(RestoreError::Request(_))));
}

/// Notes what is decided.
#[derive(Default)]
struct Noted(Mutex<Vec<(PathBuf, Action)>>);

impl Progress for Noted {
    fn decided(&self, path: &Path, action: Action) {
        self.0.lock().unwrap().push((path.to_owned(), action));
    }
}

#[test]
fn a_dry_run_tells_what_a_run_then_does_and_touches_nothing() {
    let saved = some();
    let ((repository, index), tree) = &saved;
    let folder = tempfile::tempdir().unwrap();
    let told = |request: &Request| {
        let noted = Noted::default();
        let outcome = run_tree(repository, index, *tree, request, &noted).unwrap();
        let counts = (outcome.files, outcome.folders, outcome.symlinks, outcome.specials, outcome.bytes);
        (noted.0.into_inner().unwrap(), counts, (outcome.unchanged, outcome.deleted))
    };
    let target = folder.path().join("target");
    let request = Request::new(target.clone());
    let dry = Request { dry_run: true, ..request.clone() };
    let planned = told(&dry);
    assert!(!target.exists());
    assert_eq!(told(&request), planned);
    fs::write(target.join("top"), "changed").unwrap();
    fs::remove_dir_all(target.join("a/b")).unwrap();
    fs::write(target.join("a/b"), "no folder").unwrap();
    let before = listed(&target);
    let planned = told(&dry);
    assert_eq!(listed(&target), before);
    assert!(planned.0.contains(&("a/b".into(), Action::Replace)));
    assert!(planned.0.contains(&("a/pipe".into(), Action::Unchanged)));
    assert_eq!(told(&request), planned);
}

fn hard_linked(made: &mut Made, name: &str, content: &[u8], inode: u64) -> Node {
    let mut node = made.file(name, content);
    (node.inode, node.device_id, node.links) = (inode, 5, 3);
    node
}

#[test]
fn names_of_one_file_are_names_of_one_file_again() {
    let mut made = Made::new();
    let [x, y, z] = ["x", "y", "z"].map(|name| hard_linked(&mut made, name, b"shared", 7));
    let other = hard_linked(&mut made, "other", b"changed while it was saved", 7);
    let a = made.folder("a", vec![y]);
    let saved = made.finish(vec![a, x, z, other]);
    let folder = tempfile::tempdir().unwrap();
    let request = Request::new(folder.path().to_owned());
    let outcome = restore(&saved, &request);
    assert_eq!((outcome.files, outcome.hard_links), (2, 2));
    let inode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().ino();
    assert!(inode("a/y") == inode("x") && inode("x") == inode("z") && inode("other") != inode("x"));
    assert_eq!(fs::read(folder.path().join("other")).unwrap(), b"changed while it was saved");
    let again = restore(&saved, &request);
    assert_eq!((again.files, again.hard_links, again.unchanged), (0, 0, 4));
    fs::remove_file(folder.path().join("z")).unwrap();
    fs::copy(folder.path().join("x"), folder.path().join("z")).unwrap();
    fs::remove_file(folder.path().join("a/y")).unwrap();
    let repaired = restore(&saved, &request);
    assert_eq!((repaired.files, repaired.hard_links), (1, 2));
    assert!(inode("a/y") == inode("x") && inode("x") == inode("z"));
    let lines = listed(folder.path());
    assert!(!lines.iter().any(|line| line.contains(".campanile")), "{lines:?}");
}

#[test]
fn files_whose_parts_lie_in_many_packs_are_put_together() {
    let mut made = Made::new();
    // Each file has a piece in the first pack and one in the last, in both orders; more than are held open.
    let front: Vec<Node> = (0..5).map(|seed| made.file("part", &noise(9_000, seed))).collect();
    let whole = noise(20 * CHUNK_BYTES, 5);
    let mut nodes = vec![made.file("whole", &whole)];
    let back: Vec<Node> = (6..9).map(|seed| made.file("part", &noise(7_000, seed))).collect();
    for number in 0..300_usize {
        let mut parts = [&front[number % 5], &back[number % 3]];
        if number.is_multiple_of(2) {
            parts.reverse();
        }
        let mut node = made.file(&format!("f{number:03}"), b"");
        node.content = Some(parts.iter().flat_map(|part| part.content.clone().unwrap()).collect());
        node.size = 16_000;
        nodes.push(node);
    }
    let expected = |number: usize| {
        let mut parts = [noise(9_000, number as u64 % 5), noise(7_000, 6 + number as u64 % 3)];
        if number.is_multiple_of(2) {
            parts.reverse();
        }
        parts.concat()
    };
    let saved = made.finish(nodes);
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    for workers in [1, 4] {
        let request =
            Request { workers, overwrite: Overwrite::Always, ..Request::new(folder.path().to_owned()) };
        let outcome = restore(&saved, &request);
        assert_eq!((problems(&outcome), outcome.files), (Vec::new(), 301));
        for number in 0..300 {
            let content = fs::read(folder.path().join(format!("f{number:03}"))).unwrap();
            assert!(content == expected(number), "{number}");
        }
        assert!(fs::read(folder.path().join("whole")).unwrap() == whole);
        let again = restore(&saved, &Request { overwrite: Overwrite::IfChanged, ..request });
        assert_eq!((again.files, again.unchanged), (0, 301));
    }
}

#[test]
fn set_id_bits_of_others_are_not_given_to_who_restores() {
    let mut made = Made::new();
    let mut file = made.file("program", b"x");
    (file.uid, file.gid) = (12_345, 12_346);
    file.mode = GoMode::new(NodeKind::File, 0o6755);
    let saved = made.finish(vec![file]);
    let folder = tempfile::tempdir().unwrap();
    let request = Request { owner: false, ..Request::new(folder.path().to_owned()) };
    let outcome = restore(&saved, &request);
    assert!(matches!(outcome.failures[..], [Failure { problem: Problem::SetId, .. }]));
    let metadata = fs::metadata(folder.path().join("program")).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o755, rustix::process::geteuid().as_raw()));
    assert_eq!(restore(&saved, &request).unchanged, 1);
}

#[test]
fn sockets_are_skipped_and_what_cannot_be_told_is_named() {
    let mut made = Made::new();
    let socket = Node::bare("socket".into(), NodeKind::Socket);
    let odd = Node::bare("odd".into(), NodeKind::Irregular);
    let file = made.file("file", b"x");
    let saved = made.finish(vec![socket, odd, file]);
    let folder = tempfile::tempdir().unwrap();
    let outcome = restore(&saved, &Request::new(folder.path().to_owned()));
    assert_eq!((outcome.sockets_skipped, outcome.files, outcome.failures_total), (1, 1, 1));
    assert_eq!(problems(&outcome), ["odd: the snapshot does not say what it is"]);
}

#[test]
fn a_path_longer_than_the_kernel_takes_is_restored() {
    let mut made = Made::new();
    let name = "n".repeat(250);
    let mut node = made.file("file", b"deep");
    for _ in 0..30 {
        node = made.folder(&name, vec![node]);
        node.mtime = FileTime { seconds: 3, nanoseconds: 4 };
    }
    let saved = made.finish(vec![node]);
    let folder = tempfile::tempdir().unwrap();
    let request = Request::new(folder.path().to_owned());
    let outcome = restore(&saved, &request);
    assert_eq!((problems(&outcome), outcome.files, outcome.folders), (Vec::new(), 1, 30));
    assert_eq!(restore(&saved, &request).unchanged, 1);
}
