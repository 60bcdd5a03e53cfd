//! Where the daemons' programs are.

use std::path::{Path, PathBuf};

use anyhow::bail;

use super::down::{AGENT, AGGREGATOR};
use crate::context::Environment;

/// The daemons' programs.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) agent: PathBuf,
    pub(super) aggregator: PathBuf,
}

/// In `bin_dir` if one is given, else beside this program, else in PATH.
pub(super) fn find(bin_dir: Option<&Path>, environment: &Environment) -> anyhow::Result<Programs> {
    let mut folders: Vec<PathBuf> = Vec::new();
    match bin_dir {
        Some(dir) => folders.push(dir.to_owned()),
        None => {
            folders.extend(std::env::current_exe().ok().and_then(|own| Some(own.parent()?.to_owned())));
            folders.extend(environment.get("PATH").into_iter().flat_map(std::env::split_paths));
        }
    }
    Ok(Programs { agent: find_one(AGENT, &folders)?, aggregator: find_one(AGGREGATOR, &folders)? })
}

fn find_one(name: &str, folders: &[PathBuf]) -> anyhow::Result<PathBuf> {
    match folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file()) {
        Some(path) => Ok(path.canonicalize()?),
        None => bail!(
            "{name} was found neither beside this program nor in PATH; say where it is with --bin-dir (looked in {})",
            folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_where_it_was_sought() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(AGENT), "").unwrap();
        let error = find(Some(folder.path()), &Environment::default()).unwrap_err().to_string();
        assert!(error.starts_with("campanile-aggregator was found neither"), "{error}");
        assert!(error.contains(folder.path().to_str().unwrap()), "{error}");
    }
}
