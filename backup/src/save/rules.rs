//! What is left out of a save: patterns, caches, folders with a marker, files beyond a size, other file systems.
//!
//! Pure: a path and what is known of it come in, the answer goes out.

mod pattern;

use pattern::Pattern;
pub use pattern::PatternError;

/// What [`Rules::exclude_caches`] looks for, and what such a file begins with (<https://bford.info/cachedir/>).
const CACHE_TAG: (&[u8], &[u8]) = (b"CACHEDIR.TAG", b"Signature: 8a477f597d28d172789f06886806bc55");

/// A file that marks its folder: all else in there is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// Its name.
    pub name: Vec<u8>,
    /// What it begins with; empty when any will do.
    pub header: Vec<u8>,
}

/// What is left out.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    patterns: Vec<Pattern>,
    markers: Vec<Marker>,
    size_bytes_max: Option<u64>,
    is_one_file_system: bool,
}

impl Rules {
    /// Leaves out what `patterns` say, in order: the last one that matches a path decides.
    ///
    /// As in restic: `*`, `?` and `[a-z]` match within a name, `**` any number of folders; a pattern with a leading
    /// `/` is about whole paths, any other about how a path ends; `!` takes back what an earlier one leaves out; with
    /// `/` at the end it is about folders alone. What is below a folder that is left out is not looked at.
    ///
    /// # Errors
    /// [`PatternError`] with the first that is not understood.
    pub fn new<'p>(patterns: impl IntoIterator<Item = &'p [u8]>) -> Result<Self, PatternError> {
        let patterns = patterns.into_iter().map(Pattern::parse).collect::<Result<_, _>>()?;
        Ok(Self { patterns, ..Self::default() })
    }

    /// Leaves out the content of folders that are marked as caches.
    #[must_use]
    pub fn exclude_caches(self) -> Self {
        let (name, header) = CACHE_TAG;
        self.exclude_if_present(Marker { name: name.to_vec(), header: header.to_vec() })
    }

    /// Leaves out what lies beside such a file.
    #[must_use]
    pub fn exclude_if_present(mut self, marker: Marker) -> Self {
        self.markers.push(marker);
        self
    }

    /// Leaves out files with more bytes.
    #[must_use]
    pub fn exclude_larger_than(mut self, size_bytes: u64) -> Self {
        self.size_bytes_max = Some(size_bytes);
        self
    }

    /// Stays on the file systems that the roots are on. A folder on which another is mounted is saved empty.
    #[must_use]
    pub fn one_file_system(mut self) -> Self {
        self.is_one_file_system = true;
        self
    }

    /// Whether to stay on the roots' file systems.
    pub fn is_one_file_system(&self) -> bool {
        self.is_one_file_system
    }

    /// The patterns, as they were given.
    pub fn texts(&self) -> impl Iterator<Item = &[u8]> {
        self.patterns.iter().map(|pattern| pattern.text.as_slice())
    }

    /// Files that mark their folder.
    pub fn markers(&self) -> &[Marker] {
        &self.markers
    }

    /// Whether an absolute path is left out. `size_bytes` is that of a regular file.
    pub fn excludes(&self, path: &[u8], is_folder: bool, size_bytes: u64) -> bool {
        if !is_folder && self.size_bytes_max.is_some_and(|most| size_bytes > most) {
            return true;
        }
        let deciding = self.patterns.iter().rev().find(|pattern| pattern.matches(path, is_folder));
        deciding.is_some_and(|pattern| !pattern.is_taken_back)
    }
}

#[cfg(test)]
mod tests;
