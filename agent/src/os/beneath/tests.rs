//! Paths, links, races, mounts and full disks.

#![expect(clippy::disallowed_methods, reason = "tests lay out files and read them back")]

use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

/// `outside` lies beside the root, `secret` in it holds what must not change.
struct Scene {
    folder: tempfile::TempDir,
    root: Root,
}

fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    for name in ["root", "outside", "root/etc", "root/safe"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    for name in ["root", "root/etc", "root/safe", "outside"] {
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write(folder.path().join("outside/file"), "outside").unwrap();
    fs::write(folder.path().join("root/safe/file"), "safe").unwrap();
    let root = Root::open(&folder.path().join("root")).unwrap();
    Scene { folder, root }
}

impl Scene {
    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join("root").join(path.trim_start_matches('/'))
    }

    fn outside(&self) -> PathBuf {
        self.folder.path().join("outside")
    }

    fn put(&self, path: &str, text: &str) -> Result<(), BeneathError> {
        self.root.put(path, text.as_bytes(), Owned::default())
    }

    fn assert_untouched(&self) {
        assert_eq!(fs::read_dir(self.outside()).unwrap().count(), 1, "nothing new outside");
        assert_eq!(fs::read_to_string(self.outside().join("file")).unwrap(), "outside");
        assert_eq!(fs::read_to_string(self.at("safe/file")).unwrap(), "safe");
    }
}

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("NOT TESTED: mounting needs root");
    }
    is_root
}

/// A small file system of its own, for as long as it lives.
struct Mounted(PathBuf);

impl Mounted {
    fn on(path: PathBuf, options: &str) -> Self {
        let mut mount = std::process::Command::new("mount");
        let status = mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&path).status().unwrap();
        assert!(status.success(), "root can mount");
        Self(path)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        std::process::Command::new("umount").arg("-l").arg(&self.0).status().unwrap();
    }
}

#[test]
fn a_file_is_written_whole_with_its_mode_and_read_back() {
    let scene = scene();
    let owned = Owned { mode: Some(0o640), ..Owned::default() };
    scene.root.put("/etc/motd", b"hello", owned).unwrap();
    assert_eq!(scene.root.read("/etc/motd", 5).unwrap(), b"hello");
    let stat = scene.root.stat("/etc/motd").unwrap().unwrap();
    assert_eq!((stat.kind, stat.mode, stat.length, stat.links), (NodeKind::File, 0o640, 5, 1));
    assert!(matches!(scene.root.read("/etc/motd", 4), Err(BeneathError::TooLong { .. })));
    assert_eq!(scene.root.list("/etc").unwrap(), ["motd"], "nothing is left of the way it was written");
    assert_eq!(scene.root.list("/").unwrap(), ["etc", "safe"]);
    assert_eq!(scene.root.stat("/etc/nothing").unwrap(), None);
    assert_eq!(scene.root.stat("/nowhere/nothing").unwrap(), None);
    assert!(scene.put("/nowhere/file", "x").unwrap_err().is_missing());
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    let scene = scene();
    for path in
        ["etc/motd", "", "/", "/etc/../../outside/file", "/../outside/file", "/etc//a", "/etc/./a", "/a/"]
    {
        let error = scene.put(path, "evil").unwrap_err();
        assert!(matches!(error, BeneathError::NotPlain(_)), "{path}: {error}");
    }
    assert!(matches!(scene.put("/etc/a\0b", "evil"), Err(BeneathError::NotPlain(_))));
    scene.assert_untouched();
}

#[test]
fn links_that_only_root_can_have_made_are_followed_and_stay_beneath_the_root() {
    let scene = scene();
    symlink("safe", scene.at("run")).unwrap();
    symlink("/safe", scene.at("absolute")).unwrap();
    symlink("../../../../../../safe", scene.at("etc/up")).unwrap();
    for (index, path) in ["/run", "/absolute", "/etc/up"].into_iter().enumerate() {
        scene.put(&format!("{path}/{index}"), "x").unwrap();
        assert_eq!(scene.root.read(&format!("/safe/{index}"), 10).unwrap(), b"x");
    }
    // The host's own path of a folder outside means a path beneath the root, where there is none.
    symlink(scene.outside(), scene.at("escape")).unwrap();
    assert!(scene.put("/escape/file", "evil").unwrap_err().is_missing());
    symlink("../outside", scene.at("dots")).unwrap();
    assert!(scene.put("/dots/file", "evil").unwrap_err().is_missing());
    symlink("circle", scene.at("circle")).unwrap();
    assert!(matches!(scene.put("/circle/file", "x"), Err(BeneathError::Circle(_))));
    scene.assert_untouched();
}

#[test]
fn links_that_others_could_have_made_are_not_followed() {
    let scene = scene();
    fs::create_dir(scene.at("shared")).unwrap();
    symlink("/safe", scene.at("shared/link")).unwrap();
    for mode in [0o777, 0o1777, 0o775] {
        fs::set_permissions(scene.at("shared"), fs::Permissions::from_mode(mode)).unwrap();
        let error = scene.put("/shared/link/file", "evil").unwrap_err();
        assert!(
            matches!(&error, BeneathError::UntrustedLink { link, .. } if link == "/shared/link"),
            "{error}"
        );
        assert!(matches!(scene.root.read("/shared/link/file", 10), Err(BeneathError::UntrustedLink { .. })));
        assert!(matches!(scene.root.remove("/shared/link/file"), Err(BeneathError::UntrustedLink { .. })));
    }
    fs::set_permissions(scene.at("shared"), fs::Permissions::from_mode(0o755)).unwrap();
    scene.put("/shared/link/new", "x").unwrap();
    if is_root() {
        std::os::unix::fs::lchown(scene.at("shared/link"), Some(4711), None).unwrap();
        assert!(matches!(scene.put("/shared/link/file", "evil"), Err(BeneathError::UntrustedLink { .. })));
        std::os::unix::fs::lchown(scene.at("shared/link"), Some(0), None).unwrap();
        std::os::unix::fs::chown(scene.at("shared"), Some(4711), None).unwrap();
        assert!(matches!(scene.put("/shared/link/file", "evil"), Err(BeneathError::UntrustedLink { .. })));
    }
    scene.assert_untouched();
}

#[test]
fn links_of_proc_that_are_no_paths_are_never_followed() {
    let root = Root::open(Path::new("/")).unwrap();
    for path in ["/proc/self/cwd/Cargo.toml", "/proc/self/root/etc/hostname"] {
        assert!(root.read(path, 1 << 20).is_err(), "{path}");
    }
    assert!(!root.read("/proc/self/stat", 1 << 16).unwrap().is_empty(), "while /proc/self is a path");
}

#[test]
fn a_link_in_place_is_replaced_or_removed_itself() {
    let scene = scene();
    symlink("/safe/file", scene.at("etc/a")).unwrap();
    symlink(scene.outside().join("file"), scene.at("etc/b")).unwrap();
    assert_eq!(scene.root.stat("/etc/a").unwrap().unwrap().kind, NodeKind::Link);
    assert_eq!(scene.root.read_link("/etc/a").unwrap(), "/safe/file");
    assert!(matches!(scene.root.read("/etc/a", 10), Err(BeneathError::Kind { .. })));
    let owned = Owned { mode: Some(0o777), ..Owned::default() };
    assert!(matches!(scene.root.own("/etc/a", owned), Err(BeneathError::Kind { .. })));
    scene.put("/etc/a", "new").unwrap();
    assert_eq!(scene.root.read("/etc/a", 10).unwrap(), b"new");
    scene.root.remove("/etc/b").unwrap();
    assert_eq!(scene.root.stat("/etc/b").unwrap(), None);
    scene.root.put_link("/etc/a", "/elsewhere").unwrap();
    assert_eq!(scene.root.read_link("/etc/a").unwrap(), "/elsewhere");
    scene.assert_untouched();
}

#[test]
fn another_name_of_a_file_keeps_the_old_bytes_and_the_old_mode() {
    let scene = scene();
    fs::hard_link(scene.at("safe/file"), scene.at("etc/name")).unwrap();
    let before = fs::metadata(scene.at("safe/file")).unwrap();
    let owned = Owned { mode: Some(0o777), ..Owned::default() };
    assert!(matches!(scene.root.own("/etc/name", owned), Err(BeneathError::HardLinks(_))));
    scene.root.put("/etc/name", b"new", owned).unwrap();
    let after = fs::metadata(scene.at("safe/file")).unwrap();
    assert_eq!((before.ino(), before.mode()), (after.ino(), after.mode()));
    scene.assert_untouched();
}

#[test]
fn what_cannot_be_replaced_or_read_is_refused_at_once() {
    let scene = scene();
    assert!(matches!(scene.put("/safe", "x"), Err(BeneathError::Kind { .. })));
    assert!(matches!(scene.root.put_link("/safe", "x"), Err(BeneathError::Kind { .. })));
    assert!(scene.root.remove("/safe").is_err(), "it is not empty");
    let status = std::process::Command::new("mkfifo").arg(scene.at("etc/pipe")).status().unwrap();
    assert!(status.success());
    // Opening it would wait for a writer.
    assert!(matches!(scene.root.read("/etc/pipe", 10), Err(BeneathError::Kind { .. })));
    scene.put("/etc/pipe", "file").unwrap();
    assert_eq!(scene.root.read("/etc/pipe", 10).unwrap(), b"file");
    scene.assert_untouched();
}

#[test]
fn folders_are_made_owned_and_removed() {
    let scene = scene();
    let owned = Owned { mode: Some(0o710), ..Owned::default() };
    scene.root.make_directory("/etc/new", owned).unwrap();
    assert_eq!(scene.root.stat("/etc/new").unwrap().unwrap().mode, 0o710);
    assert!(scene.root.make_directory("/etc/new", owned).is_err(), "it is there");
    scene.root.own("/etc/new", Owned { mode: Some(0o2755), ..Owned::default() }).unwrap();
    assert_eq!(scene.root.stat("/etc/new").unwrap().unwrap().mode, 0o2755);
    scene.root.remove("/etc/new").unwrap();
    scene.root.remove("/etc/new").unwrap();
    scene.root.remove("/nowhere/at/all").unwrap();
    assert_eq!(scene.root.stat("/etc/new").unwrap(), None);
}

#[test]
fn what_a_kill_left_of_an_attempt_is_cleared_and_in_nobodys_way() {
    let scene = scene();
    let temporary_name = || format!(".campanile-{:08x}.new", crc32fast::hash(b"motd"));
    let left = |scene: &Scene| fs::write(scene.at(&format!("etc/{}", temporary_name())), "half");
    left(&scene).unwrap();
    scene.root.clear_attempt("/etc/motd").unwrap();
    assert_eq!(scene.root.list("/etc").unwrap(), Vec::<String>::new());
    left(&scene).unwrap();
    scene.put("/etc/motd", "whole").unwrap();
    assert_eq!(scene.root.list("/etc").unwrap(), ["motd"]);
    // Somebody put a link under that name: it is not written through.
    symlink("/safe/file", scene.at(&format!("etc/{}", temporary_name()))).unwrap();
    scene.put("/etc/motd", "again").unwrap();
    assert_eq!(scene.root.read("/etc/motd", 10).unwrap(), b"again");
    scene.assert_untouched();
}

/// A user who owns a folder swaps a folder in it for a link, as fast as the machine allows, to make the writer change
/// what the user may not.
#[test]
fn whoever_swaps_folders_for_links_in_a_race_gets_nothing_written_elsewhere() {
    let scene = scene();
    fs::create_dir(scene.at("shared")).unwrap();
    fs::set_permissions(scene.at("shared"), fs::Permissions::from_mode(0o777)).unwrap();
    fs::create_dir(scene.at("shared/way")).unwrap();
    symlink("/safe", scene.at("shared/inside")).unwrap();
    symlink(scene.outside(), scene.at("shared/outside")).unwrap();
    let shared = fs::File::open(scene.at("shared")).unwrap();
    let is_done = AtomicBool::new(false);
    let (mut written, mut refused) = (0_u32, 0_u32);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            use rustix::fs::{RenameFlags, renameat_with};
            while !is_done.load(Ordering::Relaxed) {
                for link in ["inside", "outside"] {
                    for _ in 0..2 {
                        renameat_with(&shared, "way", &shared, link, RenameFlags::EXCHANGE).unwrap();
                    }
                }
            }
        });
        for round in 0..100_000_u32 {
            let outcome = match round % 4 {
                // Writing is slower than the rest, and done as often as fits in the time of a test.
                0 if round % 40 == 0 => scene.put("/shared/way/file", "evil"),
                1 => scene.root.remove("/shared/way/file"),
                2 => scene.root.own("/shared/way/file", Owned { mode: Some(0o777), ..Owned::default() }),
                _ => scene.root.place("/shared/way/file").and_then(|place| {
                    let flags = OFlags::WRONLY;
                    place.open(flags).map(drop).map_err(BeneathError::io("open", "/shared/way/file"))
                }),
            };
            match outcome {
                Ok(()) => written += 1,
                Err(_) => refused += 1,
            }
        }
        is_done.store(true, Ordering::Relaxed);
    });
    scene.assert_untouched();
    assert_eq!(fs::metadata(scene.at("safe/file")).unwrap().mode() & 0o777, 0o644);
    assert!(written > 0 && refused > 0, "the race was run: {written} written, {refused} refused");
}

#[test]
fn a_mount_on_the_way_is_crossed_or_refused_as_it_was_asked() {
    if !is_root() {
        return;
    }
    let scene = scene();
    fs::create_dir(scene.at("mnt")).unwrap();
    let _mounted = Mounted::on(scene.at("mnt"), "size=1m");
    scene.put("/mnt/file", "x").unwrap();
    let strict = Root::open(&scene.at("")).unwrap().within_its_file_system();
    let refused = |outcome: Result<(), BeneathError>| matches!(outcome, Err(BeneathError::MountPoint(_)));
    assert!(refused(strict.put("/mnt/file", b"y", Owned::default())));
    assert!(refused(strict.read("/mnt/file", 10).map(drop)));
    symlink("/mnt", scene.at("link")).unwrap();
    assert!(refused(strict.put("/link/file", b"y", Owned::default())), "nor by a link");
    assert_eq!(scene.root.read("/mnt/file", 10).unwrap(), b"x");
}

#[test]
fn a_full_disk_leaves_the_old_file_and_nothing_else() {
    if !is_root() {
        return;
    }
    let scene = scene();
    fs::create_dir(scene.at("mnt")).unwrap();
    let _mounted = Mounted::on(scene.at("mnt"), "size=64k");
    scene.put("/mnt/file", "old").unwrap();
    let error = scene.put("/mnt/file", &"x".repeat(1 << 20)).unwrap_err();
    assert!(matches!(error, BeneathError::Io { what: "write", .. }), "{error}");
    assert_eq!(scene.root.read("/mnt/file", 10).unwrap(), b"old");
    assert_eq!(scene.root.list("/mnt").unwrap(), ["file"]);
}

/// Every attempt beside a path that is there now.
fn attempts(scene: &Scene, folder: &str) -> usize {
    let names = scene.root.list(folder).unwrap();
    names.iter().filter(|name| name.starts_with(".campanile-")).count()
}

#[test]
fn many_files_take_their_places_together_and_leave_no_attempt() {
    let scene = scene();
    let mut batch = scene.root.batch();
    let path =
        |number: usize| format!("/etc/{}file-{number}", if number.is_multiple_of(3) { "more/" } else { "" });
    batch.make_directory("/etc/more", Owned::default()).unwrap();
    for number in 0..600 {
        let owned = Owned { mode: Some(0o600), ..Owned::default() };
        batch.put(&path(number), number.to_string().as_bytes(), owned).unwrap();
    }
    assert!(batch.is_waiting(&path(599)) && !batch.is_waiting(&path(0)), "so many wait at most");
    assert!(!scene.at(&path(599)).exists(), "what waits is not in place");
    batch.put_link("/etc/link", "file-1").unwrap();
    assert!(scene.at(&path(599)).exists(), "what comes later is made later");
    batch.settle().unwrap();
    for number in 0..600 {
        assert_eq!(fs::read_to_string(scene.at(&path(number))).unwrap(), number.to_string());
        assert_eq!(scene.root.stat(&path(number)).unwrap().unwrap().mode, 0o600);
    }
    assert_eq!((attempts(&scene, "/etc"), attempts(&scene, "/etc/more")), (0, 0));
}

#[test]
fn what_still_waits_when_a_batch_goes_is_gone() {
    let scene = scene();
    scene.put("/etc/old", "old").unwrap();
    let mut batch = scene.root.batch();
    batch.put("/etc/old", b"new", Owned::default()).unwrap();
    batch.put("/etc/new", b"new", Owned::default()).unwrap();
    assert_eq!(attempts(&scene, "/etc"), 2);
    drop(batch);
    assert_eq!(attempts(&scene, "/etc"), 0);
    assert_eq!(fs::read_to_string(scene.at("/etc/old")).unwrap(), "old");
    assert!(!scene.at("/etc/new").exists());
}

#[test]
fn one_path_twice_and_two_that_share_the_name_of_their_attempt_do_not_mix() {
    // The same checksum.
    let (one, other) = ("/etc/file-29685295", "/etc/file-32060020");
    let scene = scene();
    let mut batch = scene.root.batch();
    let put = |batch: &mut Batch<'_>, path: &str, text: &str| {
        batch.put(path, text.as_bytes(), Owned::default()).unwrap();
    };
    put(&mut batch, one, "first");
    put(&mut batch, other, "other");
    assert!(scene.at(one).exists() && !scene.at(other).exists());
    put(&mut batch, other, "another");
    batch.clear_attempt(one).unwrap();
    batch.settle().unwrap();
    assert_eq!(fs::read_to_string(scene.at(one)).unwrap(), "first");
    assert_eq!(fs::read_to_string(scene.at(other)).unwrap(), "another");
    assert_eq!(attempts(&scene, "/etc"), 0);
}

#[test]
fn a_file_that_cannot_take_its_place_is_named_and_those_behind_it_leave_no_attempt() {
    let scene = scene();
    let mut batch = scene.root.batch();
    for name in ["a", "b", "c"] {
        batch.put(&format!("/etc/{name}"), b"new", Owned::default()).unwrap();
    }
    // By another hand, after it was looked at.
    fs::create_dir(scene.at("/etc/b")).unwrap();
    let text = batch.settle().unwrap_err().full_text();
    assert!(text.starts_with("cannot put in place /etc/b"), "{text}");
    assert_eq!(attempts(&scene, "/etc"), 0);
    assert!(scene.at("/etc/a").exists() && !scene.at("/etc/c").exists());
}
