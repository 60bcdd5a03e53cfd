//! Nothing leads out of the folder: links, races, odd names.

#![expect(clippy::disallowed_methods, reason = "tests look at real folders")]

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

#[test]
fn links_and_paths_upwards_lead_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("root/a/b")).unwrap();
    fs::create_dir(folder.path().join("beside")).unwrap();
    symlink(outside.path(), folder.path().join("root/out")).unwrap();
    symlink("a", folder.path().join("root/in")).unwrap();
    let root = Root::open(&folder.path().join("root")).unwrap();
    assert!(root.folder(Path::new("a/b"), OFlags::PATH).is_ok());
    assert!(root.folder(Path::new(""), OFlags::PATH).is_ok());
    for (path, expected) in [
        ("out", Errno::LOOP),
        ("in", Errno::LOOP),
        ("in/b", Errno::LOOP),
        ("../beside", Errno::XDEV),
        ("a/../../beside", Errno::XDEV),
        ("/etc", Errno::XDEV),
        ("nothing", Errno::NOENT),
    ] {
        let reached = root.folder(Path::new(path), OFlags::PATH);
        let errno = reached.err().unwrap();
        let is_link = expected == Errno::LOOP && errno == Errno::NOTDIR;
        assert!(errno == expected || is_link, "{path}: {errno}");
    }
}

#[test]
fn a_path_longer_than_the_kernel_takes_is_reached() {
    let folder = tempfile::tempdir().unwrap();
    let root = Root::open(folder.path()).unwrap();
    let name = "n".repeat(200);
    let mut path = std::path::PathBuf::new();
    for _ in 0..40 {
        let parent = root.folder(&path, OFlags::PATH).unwrap();
        rustix::fs::mkdirat(&parent, name.as_str(), Mode::from_raw_mode(0o700)).unwrap();
        path.push(&name);
    }
    assert!(path.as_os_str().len() > 8000);
    let deep = root.folder(&path, OFlags::PATH).unwrap();
    assert!(stat_in(&deep, OsStr::new("nothing")).unwrap().is_none());
    let top = root.folder(Path::new(""), OFlags::PATH).unwrap();
    assert_eq!(remove_all(&top, OsStr::new(&name)).unwrap(), 40);
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
}

#[test]
fn what_is_removed_is_never_what_a_link_leads_to() {
    let folder = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("kept"), "kept").unwrap();
    fs::create_dir_all(folder.path().join("gone/inner")).unwrap();
    fs::write(folder.path().join("gone/inner/file"), "x").unwrap();
    symlink(outside.path(), folder.path().join("gone/inner/link")).unwrap();
    symlink(outside.path(), folder.path().join("link")).unwrap();
    let root = Root::open(folder.path()).unwrap();
    let top = root.folder(Path::new(""), OFlags::PATH).unwrap();
    assert_eq!(remove_all(&top, OsStr::new("gone")).unwrap(), 4);
    assert_eq!(remove_all(&top, OsStr::new("link")).unwrap(), 1);
    assert_eq!(remove_all(&top, OsStr::new("link")).unwrap(), 0);
    assert!(outside.path().join("kept").exists());
}

#[test]
fn a_temporary_name_is_always_the_same_and_what_has_it_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    let root = Root::open(folder.path()).unwrap();
    let top = root.folder(Path::new(""), OFlags::PATH).unwrap();
    let name = temporary(OsStr::new("file"));
    assert_eq!(name, temporary(OsStr::new("file")));
    assert_ne!(name, temporary(OsStr::new("File")));
    let outside = tempfile::NamedTempFile::new().unwrap();
    fs::write(outside.path(), "kept").unwrap();
    symlink(outside.path(), folder.path().join(&name)).unwrap();
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
    let make = || open_in(&top, &name, flags, Mode::from_raw_mode(0o600));
    drop(make_anew(&top, &name, make).unwrap());
    assert!(fs::symlink_metadata(folder.path().join(&name)).unwrap().is_file());
    assert_eq!(fs::read_to_string(outside.path()).unwrap(), "kept");
    fs::write(folder.path().join("file"), "old").unwrap();
    assert_eq!(put_in_place(&top, &name, OsStr::new("file"), false), Err(Errno::EXIST));
    put_in_place(&top, &name, OsStr::new("file"), true).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("file")).unwrap(), "");
}
