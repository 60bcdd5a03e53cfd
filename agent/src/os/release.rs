//! Which release a state folder is of: an older program refuses what a newer one left, before it writes anything there.
//!
//! One number, the level, speaks for every file in the folder. A release that writes one which the release before would
//! misread raises it. A folder without the file is of the first level.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file;

/// In the state folders of the agent and of the steward.
const FILE: &str = "release.json";
const BYTES_MAX: u64 = 4096;
/// What this program writes, and the newest that it reads.
const LEVEL: u32 = 1;
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The file. Every release reads it: fields may come, and these stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    level: u32,
    release: String,
}

/// A state folder that this program cannot use.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// A newer release used it.
    #[error(
        "the state in {folder} was written by {release} (level {found}); this is {VERSION}, which knows up to {LEVEL}; \
         nothing was changed: install {release} again, or move the folder away and enrol this node anew"
    )]
    TooNew {
        /// Which folder.
        folder: PathBuf,
        /// By whom.
        release: String,
        /// Its level.
        found: u32,
    },
    /// Not what was written.
    #[error(
        "{path} is damaged: {source}; remove it if no release newer than {VERSION} was ever installed here"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Unreadable.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Begins to use a state folder, and notes this release in it.
///
/// # Errors
/// When a newer release used it, or that cannot be told. Nothing was written then.
pub fn enter(folder: &Path) -> Result<(), ReleaseError> {
    let path = folder.join(FILE);
    let found = read(&path)?;
    if let Some(Mark { level, release }) = &found
        && *level > LEVEL
    {
        return Err(ReleaseError::TooNew {
            folder: folder.to_owned(),
            release: release.clone(),
            found: *level,
        });
    }
    let mark = Mark { level: LEVEL, release: VERSION.to_owned() };
    if found.as_ref() == Some(&mark) {
        return Ok(());
    }
    if let Some(Mark { release, .. }) = &found {
        tracing::info!(from = release, to = VERSION, "the state was last used by another release");
    }
    let text = serde_json::to_vec(&mark).expect("a number and a text");
    if let Err(error) = file::replace(&path, &text) {
        // On a full disk the node goes on; this release has not written anything yet that another would misread.
        tracing::warn!(path = %path.display(), %error, "cannot note which release uses the state");
    }
    Ok(())
}

fn read(path: &Path) -> Result<Option<Mark>, ReleaseError> {
    let bytes = file::read_secret(path, BYTES_MAX)
        .map_err(|source| ReleaseError::Read { path: path.to_owned(), source })?;
    let parse = |bytes: &[u8]| serde_json::from_slice(bytes);
    bytes
        .map(|bytes| parse(&bytes))
        .transpose()
        .map_err(|source| ReleaseError::Damaged { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_noted_once_and_that_of_an_earlier_release_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        enter(folder.path()).unwrap();
        let mark = Mark { level: LEVEL, release: VERSION.to_owned() };
        assert_eq!(read(&path).unwrap(), Some(mark.clone()));
        let before = file::stamp(&path).unwrap();
        enter(folder.path()).unwrap();
        assert_eq!(file::stamp(&path).unwrap(), before, "nothing is written twice");
        file::replace(&path, br#"{"level":1,"release":"0.0.9","later":true}"#).unwrap();
        enter(folder.path()).unwrap();
        assert_eq!(read(&path).unwrap(), Some(mark));
    }

    #[test]
    fn what_a_newer_release_left_is_refused_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let newer = br#"{"level":2,"release":"9.9.9","later":{"a":1}}"#;
        file::replace(&path, newer).unwrap();
        let error = enter(folder.path()).unwrap_err();
        assert!(matches!(error, ReleaseError::TooNew { found: 2, .. }), "{error}");
        assert!(error.to_string().contains("install 9.9.9 again"), "{error}");
        assert_eq!(&file::read_secret(&path, BYTES_MAX).unwrap().unwrap()[..], newer);
        for damaged in [&b""[..], b"{", b"{}", br#"{"level":"x","release":"1"}"#] {
            file::replace(&path, damaged).unwrap();
            assert!(matches!(enter(folder.path()), Err(ReleaseError::Damaged { .. })));
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_used_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        // Where the new file would be written first.
        std::fs::create_dir(folder.path().join("release.json.new")).unwrap();
        enter(folder.path()).unwrap();
        assert_eq!(read(&folder.path().join(FILE)).unwrap(), None);
    }
}
