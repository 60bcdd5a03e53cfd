//! Packages of the agent and the command line, as files of one folder, and the script that installs an agent from them:
//! a fleet without internet installs its nodes from its own aggregator.
//!
//! [`name`] decides which files are packages, [`script`] writes the script. What is served is what lies in the folder
//! now; a digest is computed once for each file and kept while its stamp stays the same.
//!
//! Invariant: only plain files with the name of a package are ever opened, and one whose digest differs from what the
//! folder's `SHA256SUMS` says is not served.

mod name;
mod script;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use campanile_common::authority::sha256;
use campanile_common::id::Digest;

use crate::os::shelf::{self, Stamp};

pub use name::{PackageKind, PackageName};
pub use script::{SCRIPT_NAME, Site, typed_line};

/// Beside the packages: what they are to be.
const SUMS: &str = "SHA256SUMS";
/// Longest list of digests: of a few hundred files.
const SUMS_BYTES_MAX: u64 = 64 * 1024;

/// One package that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// What its name says.
    pub name: PackageName,
    /// Its length.
    pub size_bytes: u64,
    /// Its SHA-256.
    pub digest: Digest,
}

/// What is in the folder. Cloning shares what was computed.
#[derive(Debug, Clone)]
pub struct Packages {
    folder: PathBuf,
    site: Site,
    known: Arc<Mutex<BTreeMap<String, (Stamp, Digest)>>>,
}

impl Packages {
    /// The packages in `folder`, for nodes of `site`. The folder is looked at when somebody asks.
    pub fn new(folder: PathBuf, site: Site) -> Self {
        Self { folder, site, known: Arc::default() }
    }

    /// The packages that are there, by name. Reads files whose digest is not known: not for a thread of the runtime.
    pub fn list(&self) -> Vec<Package> {
        let found = match shelf::list(&self.folder) {
            Ok(found) => found,
            Err(error) => {
                if error.kind() != std::io::ErrorKind::NotFound {
                    tracing::warn!(folder = %self.folder.display(), %error, "packages cannot be listed");
                }
                return Vec::new();
            }
        };
        let sums = shelf::read_text(&self.folder, SUMS, SUMS_BYTES_MAX).ok();
        let mut packages: Vec<Package> = found
            .into_iter()
            .filter_map(|(file, stamp)| {
                let name = PackageName::parse(&file)?;
                let digest = self.digest(&file, stamp)?;
                let is_as_listed =
                    sums.as_ref().is_none_or(|sums| listed(sums, &file) == Some(digest.to_string()));
                if !is_as_listed {
                    tracing::warn!(file, "not served: its digest is not the one in SHA256SUMS");
                }
                is_as_listed.then_some(Package { name, size_bytes: stamp.size_bytes, digest })
            })
            .collect();
        packages.sort_by(|a, b| a.name.file().cmp(b.name.file()));
        packages
    }

    /// The package in this file, and the file; none when it is not served.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(&self, file: &str) -> std::io::Result<Option<(Package, shelf::Reader)>> {
        let Some(package) = self.list().into_iter().find(|package| package.name.file() == file) else {
            return Ok(None);
        };
        let reader = shelf::open(&self.folder, file)?;
        // Replaced between the two: whoever asks again gets the new one.
        Ok((reader.size_bytes() == package.size_bytes).then_some((package, reader)))
    }

    /// The script that installs an agent and enrols it, with its digest; none while there is no agent to install.
    pub fn script(&self) -> Option<(String, Digest)> {
        let text = script::render(&self.site, &self.list())?;
        let digest = sha256(&[text.as_bytes()]);
        Some((text, digest))
    }

    fn digest(&self, file: &str, stamp: Stamp) -> Option<Digest> {
        let known = |packages: &Self| {
            packages.known.lock().unwrap_or_else(PoisonError::into_inner).get(file).copied()
        };
        if let Some((_, digest)) = known(self).filter(|(of, _)| *of == stamp) {
            return Some(digest);
        }
        let digest = shelf::digest(&self.folder, file)
            .inspect_err(|error| tracing::warn!(file, %error, "package cannot be read"))
            .ok()?;
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(file.to_owned(), (stamp, digest));
        Some(digest)
    }
}

/// The digest that `sha256sum` wrote for `file`.
fn listed(sums: &str, file: &str) -> Option<String> {
    sums.lines().find_map(|line| {
        let (digest, name) = line.split_once([' ', '*'])?;
        (name.trim_start_matches([' ', '*']) == file).then(|| digest.to_owned())
    })
}

#[cfg(test)]
mod tests;
