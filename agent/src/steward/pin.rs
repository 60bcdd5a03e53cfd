//! What the steward believes without being told: which node this is, of which fleet, who may order, and the catalogue
//! in force.
//!
//! `enroll` writes it once, as the user that the steward runs as; from then on the authority only moves along its
//! chain, and the catalogue only to newer versions. Nothing of it comes from the `run` process.

#![expect(clippy::disallowed_methods, reason = "an edge: what is pinned is files")]

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use campanile_common::authority::{
    Authority, AuthorityError, Catalogue, CatalogueError, SignedAuthority, SignedCatalogue,
};
use campanile_common::id::{Digest, FleetId, NodeId};
use campanile_common::wire::codec;
use serde::{Deserialize, Serialize};

use crate::os::file::{self, Stamp};

const PIN_FILE: &str = "pin";
const AUTHORITY_FOLDER: &str = "authority";
const CATALOGUE_FILE: &str = "catalogue";
/// Format of the file `pin`.
const FORMAT: u16 = 1;

/// What is pinned cannot be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// Never enrolled.
    #[error("the steward has no pin ({path} does not exist): enrol this node with `campanile-agent enroll`")]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Unreadable.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not what was written.
    #[error("{path} is damaged; enrol this node anew with `campanile-agent enroll --replace`")]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
    /// Of a newer program.
    #[error("{path} has format {found}, newest known is {FORMAT}; install the newer agent")]
    TooNew {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u16,
    },
    /// The chain does not hold.
    #[error("the authority in {path} does not hold: {source}; enrol this node anew with --replace")]
    Authority {
        /// Which folder.
        path: PathBuf,
        /// Why.
        source: AuthorityError,
    },
    /// Cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An authority that was offered is not accepted.
    #[error(transparent)]
    RefusedAuthority(AuthorityError),
    /// A catalogue that was offered is not accepted.
    #[error(transparent)]
    RefusedCatalogue(CatalogueError),
}

/// The file `pin`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PinFile {
    format: u16,
    fleet: FleetId,
    node: NodeId,
    /// Digest of the first document of the chain.
    authority: Digest,
}

/// What the steward believes.
#[derive(Debug)]
pub(super) struct Pin {
    folder: PathBuf,
    stamp: Option<Stamp>,
    pub(super) node: NodeId,
    pub(super) authority: Authority,
    /// The catalogue in force.
    pub(super) catalogue: Option<Catalogue>,
    /// The newest that was ever accepted, in force or not: older ones never come back.
    newest: Option<(u64, Digest)>,
}

/// Pins a node to its fleet: for `enroll`. Whatever was pinned before is replaced, the catalogue with it.
///
/// # Errors
/// When the chain does not hold, is of another fleet, or the folder cannot be written.
pub fn write_pin(
    folder: &Path,
    fleet: FleetId,
    node: NodeId,
    chain: &[SignedAuthority],
) -> Result<(), PinError> {
    let authorities = folder.join(AUTHORITY_FOLDER);
    let refused = |source| PinError::Authority { path: authorities.clone(), source };
    let first = chain.first().ok_or_else(|| refused(AuthorityError::Unreadable))?;
    let pin = PinFile { format: FORMAT, fleet, node, authority: first.digest() };
    let verified = follow(pin.authority, fleet, chain.to_vec()).map_err(refused)?;
    for made in [folder, &authorities] {
        let made_it = DirBuilder::new().recursive(true).mode(0o700).create(made);
        made_it.map_err(|source| PinError::Write { path: made.to_owned(), source })?;
    }
    let path = folder.join(PIN_FILE);
    let text = serde_json::to_vec_pretty(&pin).expect("a pin has no odd keys");
    // The pin goes first, so that no moment shows it above another chain, and comes last.
    for old in [path.clone(), folder.join(CATALOGUE_FILE)].into_iter().chain(files(&authorities)?) {
        remove(&old)?;
    }
    for version in verified {
        store_authority(folder, &version)?;
    }
    replace(&path, &text)
}

/// The node and the authority in force, verified anew: for the program that applies the configuration.
///
/// # Errors
/// When nothing is pinned, or it does not hold.
pub fn trusted(folder: &Path) -> Result<(NodeId, Authority), PinError> {
    Pin::load(folder).map(|pin| (pin.node, pin.authority))
}

fn remove(path: &Path) -> Result<(), PinError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(PinError::Write { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), PinError> {
    file::replace(path, bytes).map_err(|source| PinError::Write { path: path.to_owned(), source })
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, PinError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PinError::Read { path: path.to_owned(), source }),
    }
}

/// Files of the folder in order of their names; those of an interrupted write are none.
fn files(folder: &Path) -> Result<Vec<PathBuf>, PinError> {
    let error = |source| PinError::Read { path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(error(source)),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>();
    let mut paths = paths.map_err(error)?;
    paths.retain(|path| path.extension().is_none());
    paths.sort();
    Ok(paths)
}

/// The chain, verified from its pinned beginning.
fn follow(
    pinned: Digest,
    fleet: FleetId,
    chain: Vec<SignedAuthority>,
) -> Result<Vec<Authority>, AuthorityError> {
    let mut verified: Vec<Authority> = Vec::new();
    for next in chain {
        let authority = match verified.last() {
            None => next.verify_pinned(pinned)?,
            Some(authority) => authority.verify_next(next)?,
        };
        verified.push(authority);
    }
    match verified.last().map(|authority| authority.document().fleet) {
        None => Err(AuthorityError::Unreadable),
        Some(found) if found != fleet => Err(AuthorityError::ForeignFleet { found, ours: fleet }),
        Some(_) => Ok(verified),
    }
}

fn store_authority(folder: &Path, authority: &Authority) -> Result<(), PinError> {
    let name = format!("{:010}", authority.document().version);
    let path = folder.join(AUTHORITY_FOLDER).join(name);
    let bytes = codec::encode("SignedAuthority", authority.signed())
        .map_err(|_| PinError::RefusedAuthority(AuthorityError::Unreadable))?;
    replace(&path, &bytes)
}

impl Pin {
    /// Reads what is pinned and verifies all of it anew.
    pub(super) fn load(folder: &Path) -> Result<Self, PinError> {
        let path = folder.join(PIN_FILE);
        let stamp = stamp(folder);
        let text = read(&path)?.ok_or_else(|| PinError::Missing { path: path.clone() })?;
        #[derive(Deserialize)]
        struct Format {
            format: u16,
        }
        let damaged = |path: &Path| PinError::Damaged { path: path.to_owned() };
        let Format { format } = serde_json::from_slice(&text).map_err(|_| damaged(&path))?;
        if format > FORMAT {
            return Err(PinError::TooNew { path, found: format });
        }
        let pin: PinFile = serde_json::from_slice(&text).map_err(|_| damaged(&path))?;
        let authorities = folder.join(AUTHORITY_FOLDER);
        let mut chain = Vec::new();
        for file in files(&authorities)? {
            let bytes = read(&file)?.ok_or_else(|| damaged(&file))?;
            chain.push(codec::decode("SignedAuthority", &bytes).map_err(|_| damaged(&file))?);
        }
        let chain = follow(pin.authority, pin.fleet, chain)
            .map_err(|source| PinError::Authority { path: authorities, source })?;
        let authority = chain.into_iter().next_back().expect("a chain that was followed has an end");
        let mut loaded = Self {
            folder: folder.to_owned(),
            stamp,
            node: pin.node,
            authority,
            catalogue: None,
            newest: None,
        };
        loaded.load_catalogue()?;
        Ok(loaded)
    }

    fn load_catalogue(&mut self) -> Result<(), PinError> {
        let path = self.folder.join(CATALOGUE_FILE);
        let Some(bytes) = read(&path)? else { return Ok(()) };
        let damaged = || PinError::Damaged { path: path.clone() };
        let signed: SignedCatalogue = codec::decode("SignedCatalogue", &bytes).map_err(|_| damaged())?;
        self.newest = Some((signed.read().map_err(|_| damaged())?.version, signed.digest()));
        // One that the authority in force does not back any more stays on file, for its version alone.
        self.catalogue = signed.verify(&self.authority, None).ok();
        Ok(())
    }

    /// True when `enroll` has pinned something else since.
    pub(super) fn is_outdated(&self) -> bool {
        stamp(&self.folder) != self.stamp
    }

    /// Moves to the authority's next version. True when the catalogue fell out of force with it. A version already
    /// in force changes nothing.
    pub(super) fn follow(&mut self, offered: SignedAuthority) -> Result<bool, PinError> {
        if offered.digest() == self.authority.digest() {
            return Ok(false);
        }
        let next = self.authority.verify_next(offered).map_err(PinError::RefusedAuthority)?;
        store_authority(&self.folder, &next)?;
        self.authority = next;
        let Some(catalogue) = self.catalogue.take() else { return Ok(false) };
        self.catalogue = catalogue.signed().clone().verify(&self.authority, None).ok();
        Ok(self.catalogue.is_none())
    }

    /// Takes a newer catalogue. The one on file comes back with other signatures, where it fell out of force.
    pub(super) fn take_catalogue(&mut self, offered: SignedCatalogue) -> Result<(), PinError> {
        let digest = offered.digest();
        let current = match self.newest {
            Some((_, newest)) if newest == digest && self.catalogue.is_some() => return Ok(()),
            Some((version, newest)) if newest == digest => version.checked_sub(1),
            Some((version, _)) => Some(version),
            None => None,
        };
        let verified = offered.verify(&self.authority, current).map_err(PinError::RefusedCatalogue)?;
        let bytes = codec::encode("SignedCatalogue", verified.signed())
            .map_err(|_| PinError::RefusedCatalogue(CatalogueError::Unreadable))?;
        replace(&self.folder.join(CATALOGUE_FILE), &bytes)?;
        self.newest = Some((verified.document().version, digest));
        self.catalogue = Some(verified);
        Ok(())
    }
}

fn stamp(folder: &Path) -> Option<Stamp> {
    file::stamp(&folder.join(PIN_FILE)).ok().flatten()
}

#[cfg(test)]
mod tests;
