//! Reads a settings file and its drop-ins.

#![expect(clippy::disallowed_methods, reason = "`os` is where files are touched")]

use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// A settings file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Unreadable.
    #[error("cannot read settings {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not TOML, an unknown key or a value of the wrong kind; the source names the line.
    #[error("settings {path} cannot be used")]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
}

impl FileError {
    /// One line: which file, where in it, what is wrong.
    pub fn brief(&self) -> String {
        match self {
            Self::Read { path, source } => format!("{} cannot be read: {source}", path.display()),
            Self::Malformed { path, source } => {
                let shown = source.to_string();
                let first = shown.lines().next().unwrap_or_default();
                let place = first.strip_prefix("TOML parse error at ").map(|place| format!("{place}: "));
                format!(
                    "{}: {}{}",
                    path.display(),
                    place.unwrap_or_default(),
                    source.message().replace('\n', ", ")
                )
            }
        }
    }
}

/// Reads `path`, then every `*.toml` in the folder of the same name ending in `.d`, in order of their names; a later
/// value wins, tables merge. Each file is checked by itself, so that an error names its file and line.
///
/// # Errors
/// When a file is unreadable or malformed, or has an unknown key.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, FileError> {
    let mut merged = toml::Table::new();
    for path in files(path)? {
        let text = std::fs::read_to_string(&path)
            .map_err(|source| FileError::Read { path: path.clone(), source })?;
        let malformed = |source| FileError::Malformed { path: path.clone(), source: Box::new(source) };
        toml::from_str::<T>(&text).map_err(malformed)?;
        merge(&mut merged, toml::from_str(&text).map_err(malformed)?);
    }
    toml::Value::Table(merged)
        .try_into()
        .map_err(|source| FileError::Malformed { path: path.to_owned(), source: Box::new(source) })
}

/// The files that [`read`] reads.
///
/// # Errors
/// When the folder of the drop-ins is unreadable.
pub fn files(path: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut paths = vec![path.to_owned()];
    paths.extend(drop_ins(path)?);
    Ok(paths)
}

fn drop_ins(path: &Path) -> Result<Vec<PathBuf>, FileError> {
    let folder = path.with_extension("d");
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(FileError::Read { path: folder, source }),
    };
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| FileError::Read { path: folder, source })?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    Ok(paths)
}

fn merge(into: &mut toml::Table, from: toml::Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(toml::Value::Table(into)), toml::Value::Table(from)) => merge(into, from),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}
