//! Against stock restic: what it saved is listed, compared, dumped and restored as it does itself; and what a restore
//! leaves when it is killed or the disk is full.

#![expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test makes files and runs restic")]

#[path = "common/random.rs"]
mod random;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use campanile_backup::backend::Directory;
use campanile_backup::diff::{Diff, Difference};
use campanile_backup::dump::dump;
use campanile_backup::index::Index;
use campanile_backup::key::MasterKey;
use campanile_backup::list::{Selection, Step, Walk, lookup, plain};
use campanile_backup::repository::Repository;
use campanile_backup::restore::{Request, RestoreError, run};
use campanile_backup::snapshot::Snapshot;
use campanile_backup::tree::NodeKind;
use random::Random;
use rustix::fs::{CWD, FileType, Mode, XattrFlags, lgetxattr, llistxattr, mknodat, setxattr};

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn bytes(&mut self, length: u64) -> Vec<u8> {
        let words = (0..length / 8 + 1).flat_map(|_| self.next().to_le_bytes());
        words.take(usize::try_from(length).unwrap()).collect()
    }
}

/// A folder with a source and a repository of restic.
struct Place {
    folder: tempfile::TempDir,
    compression: &'static str,
}

impl Place {
    fn new(compression: &'static str) -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap(), compression };
        fs::create_dir(place.source()).unwrap();
        place.restic(&["init", "--repository-version", "2"]);
        place
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    fn restic(&self, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new("restic")
            .args(["--no-cache", "--compression", self.compression, "-r"])
            .arg(self.folder.path().join("repository"))
            .args(arguments)
            .env("RESTIC_PASSWORD", "secret")
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    fn save(&self) {
        self.restic(&["backup", "-q", self.source().to_str().unwrap()]);
    }

    fn open(&self) -> (Repository, Index, Vec<Snapshot>) {
        let backend = Directory::open(&self.folder.path().join("repository")).unwrap();
        let repository = Repository::open_with_password(Arc::new(backend), b"secret").unwrap();
        let index = repository.load_index().unwrap();
        let snapshots = repository.snapshots().unwrap().into_iter().map(|(_, snapshot)| snapshot).collect();
        (repository, index, snapshots)
    }
}

/// Files, folders, links, pipes and devices of all sorts, the same for the same seed.
fn make_tree(root: &Path, seed: u64) {
    let mut random = Random(seed);
    let mut folders = vec![root.to_owned()];
    for number in 0..12 {
        let parent = folders[usize::try_from(random.below(folders.len() as u64)).unwrap()].clone();
        let folder = parent.join(format!("folder {number}"));
        fs::create_dir(&folder).unwrap();
        folders.push(folder);
    }
    let mut files: Vec<PathBuf> = Vec::new();
    for number in 0..60_u64 {
        let folder = &folders[usize::try_from(random.below(folders.len() as u64)).unwrap()];
        let mut name = OsString::from(format!("file {number} \"é\" "));
        name.push(OsStr::from_bytes(&[0xff, 0x0a, b'\\', 0x80][..usize::try_from(number % 5).unwrap()]));
        let path = folder.join(&name);
        match number % 10 {
            0 => fs::write(&path, b"").unwrap(),
            1 => {
                let mut content = random.bytes(2_000_000);
                content.splice(500_000..600_000, vec![0; 1_500_000]);
                fs::write(&path, content).unwrap();
            }
            2 => File::create(&path).unwrap().set_len(20_000_000).unwrap(),
            3 => symlink(format!("../nowhere {number} é"), &path).unwrap(),
            4 => mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap(),
            5 if !files.is_empty() => fs::hard_link(&files[files.len() / 2], &path).unwrap(),
            6 if rustix::process::geteuid().is_root() => {
                mknodat(CWD, &path, FileType::CharacterDevice, Mode::from_raw_mode(0o600), 0x0105).unwrap();
            }
            _ => {
                let length = random.below(200_000);
                fs::write(&path, random.bytes(length)).unwrap();
                setxattr(&path, "user.note", &random.bytes(40), XattrFlags::empty()).unwrap();
                let mode = [0o644, 0o400, 0o4755, 0o2750, 0o777][usize::try_from(random.below(5)).unwrap()];
                fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
                files.push(path.clone());
            }
        }
        if fs::symlink_metadata(&path).unwrap().is_file() {
            let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(random.below(1_700_000_000_000_000_000));
            File::open(&path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
        }
    }
    for (number, folder) in folders.iter().enumerate().skip(1).rev() {
        setxattr(folder, "user.folder", b"value", XattrFlags::empty()).unwrap();
        fs::set_permissions(folder, Permissions::from_mode([0o755, 0o1777, 0o700][number % 3])).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(random.below(1_700_000_000_000_000_000));
        File::open(folder).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
    }
}

/// Everything that a restore gives back, by path; names of one file have its first path in common.
fn told(root: &Path) -> BTreeMap<PathBuf, String> {
    fn tell(
        path: &Path,
        root: &Path,
        all: &mut BTreeMap<PathBuf, String>,
        inodes: &mut BTreeMap<u64, PathBuf>,
    ) {
        let metadata = fs::symlink_metadata(path).unwrap();
        let below = path.strip_prefix(root).unwrap().to_owned();
        let mut text = format!(
            "{:o} {} {} {}.{:09} {} ",
            metadata.mode(),
            metadata.uid(),
            metadata.gid(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.rdev()
        );
        let mut names = vec![0; 4096];
        let length = llistxattr(path, names.as_mut_slice()).unwrap_or(0);
        let names: BTreeSet<&[u8]> =
            names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
        for name in names {
            let mut value = vec![0; 4096];
            let length = lgetxattr(path, name, value.as_mut_slice()).unwrap();
            text += &format!("{} {:?} ", String::from_utf8_lossy(name), &value[..length]);
        }
        if metadata.is_symlink() {
            text += &format!("{:?}", fs::read_link(path).unwrap());
        } else if metadata.is_file() {
            let content = fs::read(path).unwrap();
            let first = inodes.entry(metadata.ino()).or_insert_with(|| below.clone());
            text += &format!("{} {:?}", campanile_backup::id::ObjectId::of(&content), first);
        } else if metadata.is_dir() {
            let mut entries: Vec<_> =
                fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
            entries.sort();
            entries.iter().for_each(|entry| tell(entry, root, all, inodes));
        }
        all.insert(below, text);
    }
    let mut all = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    let mut entries: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries.iter().for_each(|entry| tell(entry, root, &mut all, &mut inodes));
    all
}

#[test]
fn what_restic_saved_is_restored_as_it_was_and_as_restic_restores_it() {
    for (seed, compression) in [(1, "auto"), (2, "off"), (3, "max")] {
        let place = Place::new(compression);
        make_tree(&place.source(), seed);
        place.save();
        let (repository, index, snapshots) = place.open();
        let ours = place.folder.path().join("ours");
        let request = Request::new(ours.clone());
        let outcome = run(&repository, &index, &snapshots[0], &request, &()).unwrap();
        assert!(outcome.is_complete(), "seed {seed}: {:?}", outcome.failures);
        let theirs = place.folder.path().join("theirs");
        place.restic(&["restore", "-q", "latest", "--target", theirs.to_str().unwrap()]);
        let below = plain(&place.source());
        let expected = told(&place.source());
        assert!(expected.len() > 70);
        assert_eq!(told(&ours.join(&below)), expected, "seed {seed}");
        let of_restic = told(&theirs.join(&below));
        let differing = expected.iter().filter(|(path, text)| of_restic.get(*path) != Some(text)).count();
        assert_eq!(differing, 0, "seed {seed}");
        assert!(blocks(&ours.join(&below)) <= blocks(&place.source()), "holes are holes again");
        let again = run(&repository, &index, &snapshots[0], &request, &()).unwrap();
        assert_eq!((again.files, again.specials, again.failures_total), (0, 0, 0), "seed {seed}");
    }
}

/// Bytes that the files below a folder take.
fn blocks(root: &Path) -> u64 {
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let sizes = entries.map(|path| {
        let metadata = fs::symlink_metadata(&path).unwrap();
        // Folders are left aside: where restic and this test made them is not the same.
        if metadata.is_dir() { blocks(&path) } else { metadata.blocks() * 512 / metadata.nlink() }
    });
    sizes.sum()
}

#[test]
fn a_listing_is_the_one_of_restic() {
    let place = Place::new("auto");
    make_tree(&place.source(), 5);
    place.save();
    let (repository, index, snapshots) = place.open();
    let mut ours = BTreeSet::new();
    for step in Walk::new(&repository, &index, snapshots[0].tree, Selection::default()).unwrap() {
        let (path, node) = match step.unwrap() {
            Step::Enter { path, node, .. } => (path.to_path_buf(), node),
            Step::Entry { folder, node } => (folder.join(&node.name), node),
            Step::Leave { .. } => continue,
        };
        let kind = serde_json::to_value(node.kind).unwrap();
        let size = if node.kind == NodeKind::File { node.size } else { 0 };
        let text =
            format!("/{} {kind} {} {} {size} {}", path.to_string_lossy(), node.uid, node.mode.0, node.mtime);
        ours.insert(text);
    }
    let mut theirs = BTreeSet::new();
    for line in place.restic(&["ls", "--json", "latest"]).split(|byte| *byte == b'\n').skip(1) {
        let Ok(node) = serde_json::from_slice::<serde_json::Value>(line) else { continue };
        let time = node["mtime"].as_str().unwrap();
        let time = campanile_backup::tree::FileTime::from_rfc3339(time).unwrap();
        let text = format!(
            "{} {} {} {} {} {time}",
            node["path"].as_str().unwrap(),
            node["type"],
            node["uid"],
            node["mode"],
            node["size"].as_u64().unwrap_or(0),
        );
        theirs.insert(text);
    }
    assert!(theirs.len() > 70);
    assert_eq!(ours, theirs);
}

#[test]
fn differences_are_those_that_restic_tells() {
    let place = Place::new("auto");
    let source = place.source();
    for path in ["a/b/kept", "a/b/changed", "a/gone/x/y", "turned", "touched", "z/kept"] {
        fs::create_dir_all(source.join(path).parent().unwrap()).unwrap();
        fs::write(source.join(path), path).unwrap();
    }
    place.save();
    fs::write(source.join("a/b/changed"), "now else").unwrap();
    fs::remove_dir_all(source.join("a/gone")).unwrap();
    fs::create_dir_all(source.join("come/deep")).unwrap();
    fs::write(source.join("come/deep/new"), "new").unwrap();
    fs::remove_file(source.join("turned")).unwrap();
    symlink("z", source.join("turned")).unwrap();
    fs::set_permissions(source.join("touched"), Permissions::from_mode(0o600)).unwrap();
    place.save();
    let (repository, index, snapshots) = place.open();
    let mut ours = BTreeSet::new();
    for change in Diff::new(&repository, &index, snapshots[0].tree, snapshots[1].tree).unwrap() {
        let change = change.unwrap();
        let mark = match change.difference {
            Difference::Added => "+",
            Difference::Removed => "-",
            Difference::Content => "M",
            Difference::Kind => "T",
            Difference::Details if change.kind == NodeKind::File => "U",
            Difference::Details => continue,
        };
        ours.insert(format!("{mark} /{}", change.path.display()));
    }
    let list = place.restic(&["snapshots", "--json"]);
    let list: serde_json::Value = serde_json::from_slice(&list).unwrap();
    let ids: Vec<&str> = list.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    let text = String::from_utf8(place.restic(&["diff", "--metadata", ids[0], ids[1]])).unwrap();
    let mut theirs = BTreeSet::new();
    for line in text.lines().filter(|line| line.contains("  /")) {
        let (marks, path) = line.split_at(line.find('/').unwrap());
        let is_folder = path.ends_with('/');
        // A folder whose content differs is a change of its details to restic.
        if marks.trim() == "U" && is_folder {
            continue;
        }
        let mark = marks.trim().chars().next().unwrap();
        theirs.insert(format!("{mark} {}", path.trim().trim_end_matches('/')));
    }
    assert!(theirs.len() >= 8, "{text}");
    assert_eq!(ours, theirs, "{text}");
}

#[test]
fn a_file_is_dumped_as_restic_dumps_it() {
    let place = Place::new("auto");
    let content = Random(9).bytes(5_000_000);
    fs::write(place.source().join("file"), &content).unwrap();
    place.save();
    let (repository, index, snapshots) = place.open();
    let path = place.source().join("file");
    let node = lookup(&repository, &index, snapshots[0].tree, &path).unwrap().unwrap();
    let mut ours = Vec::new();
    dump(&repository, &index, &node, None, &mut ours).unwrap();
    assert!(ours == content);
    assert!(place.restic(&["dump", "latest", path.to_str().unwrap()]) == content);
}

/// What a child is told: where the repository, its key and the target are.
const CHILD: &str = "CAMPANILE_RESTORE_CHILD";

/// Does nothing but as the child of another test, which kills it or gives it a full disk.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let key = MasterKey::from_json(&fs::read(folder.join("key")).unwrap()).unwrap();
    let backend = Directory::open(&folder.join("repository")).unwrap();
    let repository = Repository::open(Arc::new(backend), key).unwrap();
    let index = repository.load_index().unwrap();
    let (_, snapshot) = repository.snapshots().unwrap().pop().unwrap();
    let request = Request::new(folder.join("target"));
    match run(&repository, &index, &snapshot, &request, &()) {
        Ok(outcome) => println!("complete: {}", outcome.is_complete()),
        Err(error @ RestoreError::Full { .. }) => println!("full: {error}"),
        Err(error) => println!("failed: {error}"),
    }
}

fn child_of(folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).env(CHILD, folder);
    command
}

#[test]
fn a_restore_that_is_killed_leaves_whole_files_and_the_next_one_finishes() {
    // `CAMPANILE_BACKUP_KILLS` for more.
    let rounds: u64 = std::env::var("CAMPANILE_BACKUP_KILLS").map_or(40, |text| text.parse().unwrap());
    let place = Place::new("auto");
    let mut random = Random(11);
    fs::create_dir(place.source().join("many")).unwrap();
    for number in 0..150 {
        fs::write(place.source().join(format!("many/{number}")), random.bytes(20_000)).unwrap();
    }
    for number in 0..4 {
        fs::write(place.source().join(format!("large {number}")), random.bytes(8_000_000)).unwrap();
    }
    place.save();
    let (repository, _, _) = place.open();
    fs::write(place.folder.path().join("key"), repository.key().to_json().as_bytes()).unwrap();
    let target = place.folder.path().join("target");
    let restored = target.join(plain(&place.source()));
    let expected = told(&place.source());
    let (mut cut, mut begun) = (0, 0);
    for round in 0..rounds {
        if round % 4 == 0 {
            // From the beginning, over old files.
            drop(fs::remove_dir_all(&target));
            fs::create_dir_all(restored.join("many")).unwrap();
            for path in expected.keys().filter(|path| place.source().join(path).is_file()) {
                fs::write(restored.join(path), "old").unwrap();
            }
        }
        let mut child = child_of(place.folder.path()).stdout(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(random.below(250)));
        child.kill().unwrap();
        cut += u64::from(!child.wait().unwrap().success());
        let temporaries =
            |path: &Path| path.file_name().unwrap().as_bytes().starts_with(b".campanile-restore-");
        for (path, text) in told(&restored) {
            if temporaries(&path) {
                begun += 1;
                continue;
            }
            let is_file = place.source().join(&path).is_file();
            let is_whole = expected.get(&path) == Some(&text);
            let is_old = is_file && fs::read(restored.join(&path)).unwrap() == b"old";
            assert!(!is_file || is_whole || is_old, "round {round}: {}", path.display());
        }
    }
    println!(
        "restore: {cut} of {rounds} killed in the middle, {begun} files had been begun, 0 halves in their place"
    );
    assert!(cut > rounds / 4 && begun > 0, "{cut} of {rounds} were killed, {begun} files had been begun");
    let output = child_of(place.folder.path()).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("complete: true"));
    assert_eq!(told(&restored), expected);
}

/// In a file system of 6 MiB, mounted where nobody else sees it.
#[test]
fn a_full_disk_is_told_and_what_was_not_finished_is_removed() {
    let place = Place::new("auto");
    let mut random = Random(12);
    for number in 0..20 {
        fs::write(place.source().join(format!("file {number}")), random.bytes(900_000)).unwrap();
    }
    place.save();
    let (repository, _, _) = place.open();
    fs::write(place.folder.path().join("key"), repository.key().to_json().as_bytes()).unwrap();
    fs::create_dir(place.folder.path().join("target")).unwrap();
    let command = child_of(place.folder.path());
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c"])
        .arg(
            "mount -t tmpfs -o size=6m none \"$1/target\" && \"$2\" --exact child --nocapture && \
             echo left: $(find \"$1/target\" -type f | wc -l)",
        )
        .args([OsStr::new("sh"), place.folder.path().as_os_str(), command.get_program()])
        .env(CHILD, place.folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("full: no room for /"), "{text} {}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("left: 0"), "{text}");
}
