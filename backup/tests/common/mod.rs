//! Repositories made by stock restic, and what it says of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use campanile_backup::backend::Directory;
use campanile_backup::repository::Repository;

/// Of all repositories that tests make.
pub(crate) const PASSWORD: &str = "for tests";

/// A folder with sources and repositories, and stock restic.
pub(crate) struct Restic {
    folder: tempfile::TempDir,
}

impl Restic {
    /// In a folder of its own that goes with it.
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// restic on the repository `name`, ready to be started.
    pub(crate) fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("restic");
        command.arg("-r").arg(self.path(name)).args(arguments).current_dir(self.folder.path());
        command.env("RESTIC_PASSWORD", PASSWORD).env("RESTIC_FROM_PASSWORD", PASSWORD).env("TZ", "UTC");
        command.env("RESTIC_CACHE_DIR", self.path("cache"));
        command
    }

    /// Runs restic; `restic` must be on the path.
    pub(crate) fn run(&self, name: &str, arguments: &[&str]) -> Output {
        self.command(name, arguments).output().expect("restic is installed: see scripts/setup.sh")
    }

    /// Runs restic, which must succeed, and gives what it printed.
    pub(crate) fn succeed(&self, name: &str, arguments: &[&str]) -> String {
        let output = self.run(name, arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "restic {arguments:?}: {out}{err}");
        out.into_owned()
    }

    /// The repository, opened by us.
    pub(crate) fn open(&self, name: &str) -> Repository {
        let directory = Directory::open(&self.path(name)).unwrap();
        Repository::open_with_password(Arc::new(directory), PASSWORD.as_bytes()).unwrap()
    }

    /// Writes a file of pseudo-random content below the source folder.
    pub(crate) fn write(&self, path: &str, length: usize, seed: u64) {
        let path = self.path("source").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, noise(length, seed)).unwrap();
    }

    /// Eight snapshots of a source in which a part changes each time.
    pub(crate) fn eight_snapshots(&self, name: &str) {
        self.succeed(name, &["init"]);
        for round in 0..8 {
            for file in 0..40 {
                let seed = if file % 4 == 0 { round * 100 + file } else { file };
                self.write(&format!("dir{}/file{file}", file % 5), 3000, seed);
            }
            self.write("big", 400_000, round / 3);
            self.succeed(name, &["backup", "source"]);
        }
    }
}

/// The same bytes for the same seed.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(&mut next).take(length / 8 + 1).flatten().collect();
    bytes.truncate(length);
    bytes
}

/// Asserts that two folders have the same files with the same bytes.
pub(crate) fn assert_same(left: &Path, right: &Path) {
    let output = Command::new("diff").arg("-r").arg(left).arg(right).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
