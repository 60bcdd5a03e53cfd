//! Writing one path: whole files and links that take the place of what was there in one step, made durable at once.

use super::{Batch, BeneathError, Owned, Root};

impl Root {
    /// Puts a regular file in place, whole: whoever looks finds the old bytes or the new, also after a power cut.
    /// Takes the place of a file or a link, never of a folder, and is always a new inode.
    ///
    /// # Errors
    /// When the folder is missing or the disk full; what was there is then as it was.
    pub fn put(&self, path: &str, bytes: &[u8], owned: Owned) -> Result<(), BeneathError> {
        self.alone(|batch| batch.put(path, bytes, owned))
    }

    /// Makes a symbolic link, or puts it in the place of a file or another link.
    ///
    /// # Errors
    /// When a folder is in its place, or its folder is missing.
    pub fn put_link(&self, path: &str, target: &str) -> Result<(), BeneathError> {
        self.alone(|batch| batch.put_link(path, target))
    }

    /// Makes a folder that is not there.
    ///
    /// # Errors
    /// When something is there, or its own folder is missing.
    pub fn make_directory(&self, path: &str, owned: Owned) -> Result<(), BeneathError> {
        self.alone(|batch| batch.make_directory(path, owned))
    }

    /// Changes mode and owner of a file or folder, never of what a link leads to, nor of a file with other names.
    ///
    /// # Errors
    /// When it is missing or of another kind.
    pub fn own(&self, path: &str, owned: Owned) -> Result<(), BeneathError> {
        self.alone(|batch| batch.own(path, owned))
    }

    /// Removes a file, a link, or an empty folder. That it is gone already is no error.
    ///
    /// # Errors
    /// When it is a folder that is not empty.
    pub fn remove(&self, path: &str) -> Result<(), BeneathError> {
        self.alone(|batch| batch.remove(path))
    }

    /// Removes what a killed process left of its attempt to write this path.
    ///
    /// # Errors
    /// When its folder cannot be reached or written.
    pub fn clear_attempt(&self, path: &str) -> Result<(), BeneathError> {
        self.alone(|batch| batch.clear_attempt(path))
    }

    fn alone(
        &self,
        change: impl FnOnce(&mut Batch<'_>) -> Result<(), BeneathError>,
    ) -> Result<(), BeneathError> {
        let mut batch = self.batch();
        change(&mut batch)?;
        batch.settle()
    }
}
