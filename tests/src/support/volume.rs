//! A small file system that can be filled up.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory, mounted on a folder until it is dropped.
#[derive(Debug)]
pub struct SmallVolume {
    folder: PathBuf,
}

impl SmallVolume {
    /// Mounts one of so many kibibytes on `folder`, which is made; none, with a line that says so, where this user
    /// may not mount.
    ///
    /// # Panics
    /// When the folder cannot be made.
    pub fn mount(folder: &Path, kibibytes: u32) -> Option<Self> {
        fs::create_dir_all(folder).expect("the folder is ours");
        let size = format!("size={kibibytes}k,mode=700");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "campanile-test"]).arg(folder).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self { folder: folder.to_owned() }),
            Ok(output) => {
                eprintln!(
                    "SKIPPED: no file system to fill: {}",
                    String::from_utf8_lossy(&output.stderr).trim()
                );
                None
            }
            Err(error) => {
                eprintln!("SKIPPED: no file system to fill: {error}");
                None
            }
        }
    }

    /// Takes all the space that is left.
    ///
    /// # Panics
    /// When it cannot be taken for another reason than that there is none.
    pub fn fill(&self) {
        let mut file = File::create(self.filler()).expect("files can be made");
        for chunk in [65_536, 512] {
            loop {
                match file.write_all(&vec![0; chunk]) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("cannot fill {}: {error}", self.folder.display()),
                }
            }
        }
    }

    /// Gives it back.
    ///
    /// # Panics
    /// When it was not filled.
    pub fn free(&self) {
        fs::remove_file(self.filler()).expect("it was filled");
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }
}

impl Drop for SmallVolume {
    fn drop(&mut self) {
        // Lazily: a process that still ends must not keep it in the tree.
        drop(Command::new("umount").arg("--lazy").arg(&self.folder).output());
    }
}
