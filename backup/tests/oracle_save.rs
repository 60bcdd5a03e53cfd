//! What is saved, judged by stock `restic`, which has to be on PATH: it finds no error, restores the same files, cuts
//! the same chunks, and each is a parent to the other's snapshots.

#![expect(
    clippy::disallowed_methods,
    reason = "files are made, saved by one program and restored by another"
)]
#![expect(clippy::unwrap_used, reason = "what a test cannot do ends it")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use campanile_backup::backend::Directory;
use campanile_backup::id::ObjectId;
use campanile_backup::key::MasterKey;
use campanile_backup::key_file::KeyFile;
use campanile_backup::pack::BlobKind;
use campanile_backup::repository::Repository;
use campanile_backup::save::{self, Outcome, Request};
use campanile_backup::tree::FileTime;
use rustix::fs::{CWD, Mode, XattrFlags, lgetxattr, lsetxattr, mkfifoat};

const PASSWORD: &str = "an oracle's password";
const CHUNK_BYTES_MIN: usize = 512 << 10;
const CHUNK_BYTES_MAX: usize = 8 << 20;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// Half of them compress.
    fn content(&mut self, length: usize) -> Vec<u8> {
        let mask = if self.below(2) == 0 { u64::MAX } else { 0x0707_0707_0707_0707 };
        let mut bytes: Vec<u8> =
            (0..length.div_ceil(8)).flat_map(|_| (self.next() & mask).to_le_bytes()).collect();
        bytes.truncate(length);
        bytes
    }

    fn name(&mut self, number: usize) -> OsString {
        let kinds: [&[u8]; 6] = [
            b"plain",
            "gr\u{fc}\u{df}e \u{4e16}".as_bytes(),
            b"byte\xff\xfe",
            b"sp ace\n\t",
            b"<q\"u&o\\te>",
            b"-dash",
        ];
        let kind = kinds[self.below(kinds.len())];
        let mut name = kind.to_vec();
        name.extend_from_slice(format!(".{number}").as_bytes());
        if self.below(20) == 0 {
            name.resize(255, b'n');
        }
        OsStr::from_bytes(&name).to_owned()
    }

    fn size(&mut self) -> usize {
        let edges = [0, 1, CHUNK_BYTES_MIN - 1, CHUNK_BYTES_MIN, CHUNK_BYTES_MIN + 1, CHUNK_BYTES_MAX + 1];
        match self.below(12) {
            0..=5 => self.below(20_000),
            6..=8 => self.below(300_000),
            9 => self.below(4 << 20),
            _ => edges[self.below(edges.len())],
        }
    }
}

/// Makes a tree of everything that a folder can hold.
fn make(root: &Path, seed: u64) {
    let mut random = Random(seed);
    let mut folders = vec![root.to_owned()];
    let mut files: Vec<PathBuf> = Vec::new();
    for number in 0..90 {
        let path = folders[random.below(folders.len())].join(random.name(number));
        match random.below(12) {
            0 | 1 => {
                fs::create_dir(&path).unwrap();
                folders.push(path);
                continue;
            }
            2 => symlink(if random.below(2) == 0 { "no/wh\u{fc}re" } else { "plain.1" }, &path).unwrap(),
            3 => mkfifoat(CWD, &path, Mode::from_raw_mode(0o620)).unwrap(),
            4 if !files.is_empty() => fs::hard_link(&files[random.below(files.len())], &path).unwrap(),
            5 => {
                let file = File::create(&path).unwrap();
                file.set_len(9 << 20).unwrap();
                let at = random.below(8 << 20) as u64;
                file.write_all_at(&random.content(10_000), at).unwrap();
            }
            _ => {
                let size = random.size();
                fs::write(&path, random.content(size)).unwrap();
                fs::set_permissions(
                    &path,
                    fs::Permissions::from_mode([0o644, 0o4750, 0o400][random.below(3)]),
                )
                .unwrap();
                if random.below(4) == 0 {
                    // Not every file system has them.
                    let _is_set = lsetxattr(&path, "user.note", b"\0value\xff", XattrFlags::empty());
                }
                files.push(path);
            }
        }
    }
    fs::write(root.join("largest"), random.content(20 << 20)).unwrap();
    for folder in folders.iter().skip(1).rev() {
        File::open(folder)
            .unwrap()
            .set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(random.next() >> 34, 5))
            .unwrap();
    }
}

/// All that a restore gives back, by path.
fn look(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut seen = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let mut value = [0; 100];
            let attribute = lgetxattr(&path, "user.note", &mut value).map(|length| value[..length].to_vec());
            let content = match metadata.file_type() {
                kind if kind.is_file() => ObjectId::of(&fs::read(&path).unwrap()).to_string(),
                kind if kind.is_symlink() => format!("{:?}", fs::read_link(&path).unwrap()),
                _ => String::new(),
            };
            let links = if metadata.is_dir() { 0 } else { metadata.nlink() };
            let time = (metadata.mtime(), metadata.mtime_nsec());
            let details = format!("{:o} {time:?} {links} {attribute:?} {content}", metadata.mode());
            seen.insert(path.strip_prefix(root).unwrap().to_owned(), details);
            if metadata.is_dir() {
                folders.push(path);
            }
        }
    }
    seen
}

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new(seed: u64) -> Self {
        println!("seed {seed}");
        let place = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(place.tree()).unwrap();
        make(&place.tree(), seed);
        place
    }

    fn tree(&self) -> PathBuf {
        self.folder.path().join("tree")
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    fn restic(&self, arguments: &[&str]) -> String {
        let output = Command::new("restic")
            .args(["--no-cache", "--repo"])
            .arg(self.repository())
            .args(arguments)
            .env("RESTIC_PASSWORD", PASSWORD)
            .env("TMPDIR", self.folder.path())
            .output()
            .expect("restic is on PATH: scripts/setup.sh test installs it");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "restic {arguments:?}: {out}{err}");
        out.into_owned()
    }

    /// Its summary of a backup of the tree.
    fn restic_backup(&self, flags: &[&str]) -> serde_json::Value {
        let tree = self.tree();
        let arguments = [&["backup", "--json", "--host", "web-1", tree.to_str().unwrap()], flags].concat();
        let printed = self.restic(&arguments);
        serde_json::from_str(printed.lines().last().unwrap()).unwrap()
    }

    fn create(&self) -> Repository {
        let directory = Directory::create(&self.repository()).unwrap();
        let repository = Repository::create(Arc::new(directory), MasterKey::generate()).unwrap();
        let created = "2026-05-03T10:14:00Z".to_owned();
        let file =
            KeyFile::seal(repository.key(), PASSWORD.as_bytes(), created, String::new(), "web-1".to_owned());
        repository.add_key(&file).unwrap();
        repository
    }

    fn open(&self) -> Repository {
        let directory = Directory::open(&self.repository()).unwrap();
        Repository::open_with_password(Arc::new(directory), PASSWORD.as_bytes()).unwrap()
    }

    fn save(&self, repository: &Repository) -> Outcome {
        // Later than any that restic makes today.
        let time = FileTime { seconds: 4_102_444_800, nanoseconds: 0 };
        let request = Request::new(vec![self.tree()], "web-1".to_owned(), time);
        let outcome = save::run(repository, &request, &()).unwrap();
        assert!(!outcome.is_partial(), "{:?}", outcome.unread);
        outcome
    }
}

fn chunks(repository: &Repository) -> BTreeSet<ObjectId> {
    let index = repository.load_index().unwrap();
    let blobs = index.blobs().map(|location| location.entry.blob);
    blobs.filter(|blob| blob.kind == BlobKind::Data).map(|blob| blob.id).collect()
}

#[test]
fn restic_checks_lists_and_restores_what_was_saved() {
    for seed in [1, 2] {
        let place = Place::new(seed);
        let repository = place.create();
        let outcome = place.save(&repository);
        assert!(place.restic(&["check", "--read-data"]).contains("no errors were found"));
        let listed: serde_json::Value =
            serde_json::from_str(&place.restic(&["snapshots", "--json"])).unwrap();
        assert_eq!(listed[0]["id"], outcome.snapshot.to_string());
        assert_eq!(listed[0]["paths"][0], place.tree().to_str().unwrap());
        let target = place.folder.path().join("restored");
        place.restic(&["restore", "latest", "--target", target.to_str().unwrap()]);
        let restored = look(&target.join(place.tree().strip_prefix("/").unwrap()));
        let original = look(&place.tree());
        assert_eq!(restored.len(), original.len());
        for (path, details) in original {
            assert_eq!(restored.get(&path), Some(&details), "{path:?}");
        }
    }
}

#[test]
fn restic_cuts_the_same_chunks_and_takes_our_snapshot_as_a_parent() {
    let place = Place::new(3);
    let repository = place.create();
    let outcome = place.save(&repository);
    let before = chunks(&repository);
    let by_parent = place.restic_backup(&[]);
    assert_eq!(by_parent["files_unmodified"].as_u64(), Some(outcome.summary.files_new), "{by_parent}");
    let again = place.restic_backup(&["--force"]);
    assert_eq!((&again["files_unmodified"], &again["data_blobs"]), (&0.into(), &0.into()), "{again}");
    assert_eq!(chunks(&repository), before);
    assert!(place.restic(&["check", "--read-data"]).contains("no errors were found"));
}

#[test]
fn a_snapshot_of_restic_is_a_parent_and_its_chunks_are_ours() {
    let place = Place::new(4);
    place.restic(&["init"]);
    let theirs = place.restic_backup(&[]);
    let repository = place.open();
    let before = chunks(&repository);
    let outcome = place.save(&repository);
    assert!(outcome.parent.is_some());
    assert_eq!(Some(outcome.summary.files_unmodified), theirs["files_new"].as_u64(), "{:?}", outcome.summary);
    let time = FileTime { seconds: 4_102_444_801, nanoseconds: 0 };
    let request = Request::new(vec![place.tree()], "another".to_owned(), time);
    let read = save::run(&repository, &request, &()).unwrap();
    assert_eq!((read.parent, read.summary.files_unmodified, read.written.data_blobs), (None, 0, 0));
    assert_eq!(chunks(&repository), before);
    assert!(place.restic(&["check", "--read-data"]).contains("no errors were found"));
}
