//! Trees that lie, and others who change the target meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::*;
use crate::pack::{BlobKind, Compressor};
use crate::tree::Tree;
use crate::writer::Writer;

#[test]
fn a_link_in_the_way_of_a_folder_is_replaced_or_refused_and_never_followed() {
    let saved = some();
    let outside = tempfile::tempdir().unwrap();
    for (only, overwrite, is_replaced) in [
        ("a", Overwrite::Always, true),
        ("a", Overwrite::IfChanged, true),
        ("a", Overwrite::Never, false),
        ("a/b", Overwrite::Always, false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        symlink(outside.path(), folder.path().join("a")).unwrap();
        let request =
            Request { only: vec![only.into()], overwrite, ..Request::new(folder.path().to_owned()) };
        let outcome = restore(&saved, &request);
        let refused = matches!(outcome.failures[..], [Failure { problem: Problem::InTheWay { .. }, .. }]);
        assert_eq!(refused, !is_replaced, "{only} {overwrite:?}");
        let metadata = fs::symlink_metadata(folder.path().join("a")).unwrap();
        assert_eq!(metadata.is_dir(), is_replaced);
        assert!(listed(outside.path()).is_empty());
    }
}

#[test]
fn a_folder_in_the_place_of_a_file_stays_unless_it_is_empty_or_extra() {
    let saved = some();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("top/full")).unwrap();
    let request = Request { only: vec!["top".into()], ..Request::new(folder.path().to_owned()) };
    for dry_run in [true, false] {
        let outcome = restore(&saved, &Request { dry_run, ..request.clone() });
        assert!(matches!(outcome.failures[..], [Failure { problem: Problem::FolderInPlace, .. }]));
    }
    fs::remove_dir(folder.path().join("top/full")).unwrap();
    assert_eq!(restore(&saved, &request).files, 1);
    fs::remove_file(folder.path().join("top")).unwrap();
    fs::create_dir_all(folder.path().join("top/full")).unwrap();
    assert_eq!(restore(&saved, &Request { delete_extra: true, ..request }).files, 1);
}

#[test]
fn another_name_of_a_file_outside_keeps_its_content_and_its_details() {
    let saved = some();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("shadow"), "secret").unwrap();
    fs::set_permissions(folder.path().join("shadow"), Permissions::from_mode(0o400)).unwrap();
    let target = folder.path().join("target");
    fs::create_dir_all(target.join("a")).unwrap();
    for name in ["top", "a/empty", "a/link", "a/pipe", "a/b"] {
        fs::hard_link(folder.path().join("shadow"), target.join(name)).unwrap();
        // And one under the name that is used while it is written.
        let path = target.join(name);
        let temporary = crate::beneath::temporary(path.file_name().unwrap());
        fs::hard_link(folder.path().join("shadow"), path.with_file_name(temporary)).unwrap();
    }
    for overwrite in [Overwrite::IfChanged, Overwrite::Always] {
        let outcome = restore(&saved, &Request { overwrite, ..Request::new(target.clone()) });
        assert_eq!(problems(&outcome), [""; 0]);
        let metadata = fs::metadata(folder.path().join("shadow")).unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o400);
        assert_eq!(fs::read_to_string(folder.path().join("shadow")).unwrap(), "secret");
    }
    let lines = listed(&target);
    // What was never used is the attacker's own and stays: the folder's.
    assert_eq!(lines.iter().filter(|line| line.contains(".campanile")).count(), 1, "{lines:?}");
}

/// A tree whose text is not one that [`Tree`] would be read from.
#[test]
fn names_that_lead_out_of_the_target_are_never_used() {
    for name in ["..", ".", "", "../escaped", "/tmp/escaped", "a/../../escaped"] {
        let mut made = Made::new();
        let file = made.file("file", b"content");
        let ((repository, _), _) = made.finish(vec![file.clone()]);
        let mut lying = file.clone();
        lying.name = name.into();
        let writer = Writer::new(&repository);
        let add = |bytes: &[u8]| {
            let blob = Blob { kind: BlobKind::Tree, id: ObjectId::of(bytes) };
            let sealed = Compressor::new().unwrap().seal(repository.key(), blob, bytes).unwrap();
            writer.add(&sealed, bytes.len()).unwrap();
            blob.id
        };
        let mut inner = Node::bare("inner".into(), NodeKind::Directory);
        inner.subtree = Some(add(&Tree { nodes: vec![lying] }.to_json()));
        let tree = add(&Tree { nodes: vec![file, inner] }.to_json());
        writer.finish().unwrap();
        let index = repository.load_index().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("deep/target");
        let outcome = restore(&((repository, index), tree), &Request::new(target.clone()));
        assert!(matches!(outcome.failures[..], [Failure { problem: Problem::Folder(_), .. }]), "{name}");
        let lines = listed(folder.path());
        assert_eq!(lines.len(), 4, "{name}: {lines:?}");
    }
}

/// Somebody who may write the target swaps a folder for a link out of it, over and over.
#[test]
fn a_folder_that_is_swapped_for_a_link_meanwhile_leads_nowhere() {
    const ROUNDS: usize = 10_000;
    let mut made = Made::new();
    let [f, g] = ["f", "g"].map(|name| made.file(name, name.as_bytes()));
    let b = made.folder("b", vec![g]);
    let mut link = owned(Node::bare("link".into(), NodeKind::Symlink));
    link.set_target("x".into());
    let a = made.folder("a", vec![b, f, link]);
    let ((repository, index), tree) = made.finish(vec![a]);
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let (target, outside) = (folder.path().join("target"), folder.path().join("outside"));
    fs::create_dir_all(target.join("a")).unwrap();
    fs::create_dir_all(outside.join("b")).unwrap();
    for name in ["f", "b/g", "extra", "b/extra"] {
        fs::write(outside.join(name), "kept").unwrap();
    }
    let of_outside = || {
        let metadata = |name: &str| fs::metadata(outside.join(name)).unwrap();
        let times = ["", "b", "f", "b/g"].map(|name| (metadata(name).mode(), metadata(name).mtime_nsec()));
        (listed(&outside), times)
    };
    let before = of_outside();
    let (is_over, swap) = (AtomicBool::new(false), folder.path().join("swap"));
    let (mut whole, mut cut) = (0, 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                // One of them is there, whichever; the other fails.
                drop(fs::remove_file(&swap).or_else(|_| fs::remove_dir_all(&swap)));
                drop(symlink(&outside, &swap));
                for _ in 0..20 {
                    renameat_with(CWD, &swap, CWD, target.join("a"), RenameFlags::EXCHANGE).ok();
                }
            }
        });
        for round in 0..ROUNDS {
            let request = Request {
                overwrite: if round % 3 == 0 { Overwrite::IfChanged } else { Overwrite::Always },
                delete_extra: round % 2 == 0,
                workers: 1,
                ..Request::new(target.clone())
            };
            match run_tree(&repository, &index, tree, &request, &()) {
                Ok(outcome) if outcome.is_complete() => whole += 1,
                Ok(_) => cut += 1,
                Err(error) => panic!("round {round}: {error}"),
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(of_outside(), before);
    // Both ways were gone.
    assert!(whole > 0 && cut > 0, "{whole} whole, {cut} cut");
}
