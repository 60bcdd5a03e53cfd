//! Everything that snapshots need is named by an index and lies in a pack of the right length.
//!
//! Reads the config, the keys' names, all indexes, snapshots and trees; of packs that hold no trees only the length is
//! asked for. Memory: the index (70 bytes for each blob), 50 bytes for each pack and tree.

use super::affected::Walk;
use super::finding::{Coverage, Fault, Findings, Report, Subject};
use crate::backend::{Listed, Object, ObjectKind};
use crate::id::ObjectId;
use crate::index::{IdMap, Index, IndexFile};
use crate::pack::{Blob, Entry, pack_bytes};
use crate::repository::{Damage, Repository, RepositoryError};

/// Checks how everything hangs together.
///
/// # Errors
/// When the store cannot be asked. What is missing or damaged is a finding.
pub fn structure(repository: &Repository) -> Result<Report, RepositoryError> {
    let mut findings = Findings::default();
    config_and_keys(repository, &mut findings)?;
    let packs = repository.backend().list(ObjectKind::Pack)?;
    let survey = survey(repository, &packs, &mut findings)?;
    let lost = survey.lost(IdMap::default(), IdMap::default());
    let mut coverage = survey.coverage;
    walk(repository, &survey.index, &lost, &mut findings, &mut coverage)?;
    Ok(findings.into_report(survey.leftovers, coverage))
}

fn config_and_keys(repository: &Repository, findings: &mut Findings) -> Result<(), RepositoryError> {
    match Repository::open(repository.backend().clone(), repository.key().clone()) {
        Ok(again) if again.config() == repository.config() => {}
        Ok(_) => {
            let other = Fault::Damaged("it is not the one that the repository was opened with".to_owned());
            findings.note(Subject::Object(Object::CONFIG), other);
        }
        Err(error) => drop(findings.note_error(error)?),
    }
    for listed in repository.backend().list(ObjectKind::Key)? {
        let object = Object::new(ObjectKind::Key, listed.id);
        let read = repository.backend().get(object, None).map_err(RepositoryError::from);
        let named = read.and_then(|bytes| match ObjectId::of(&bytes) == listed.id {
            true => Ok(()),
            false => Err(RepositoryError::damaged(object, Damage::Name)),
        });
        if let Err(error) = named {
            findings.note_error(error)?;
        }
    }
    Ok(())
}

/// What the indexes say, beside what is there.
pub(super) struct Survey {
    pub(super) index: Index,
    /// Packs that are not there or not of their length, and the findings that say so.
    bad: IdMap<ObjectId, u32>,
    leftovers: Vec<Listed>,
    coverage: Coverage,
}

/// Reads all indexes and compares them with the packs that are there.
pub(super) fn survey(
    repository: &Repository,
    packs: &[Listed],
    findings: &mut Findings,
) -> Result<Survey, RepositoryError> {
    let sizes: IdMap<ObjectId, u64> = packs.iter().map(|listed| (listed.id, listed.size)).collect();
    let mut named: IdMap<ObjectId, ()> = IdMap::default();
    let mut index = Index::default();
    let mut bad = IdMap::default();
    let mut coverage = Coverage::default();
    let mut indexes = repository.backend().list(ObjectKind::Index)?;
    indexes.sort_by_key(|listed| listed.id);
    for listed in indexes {
        coverage.of_objects += 1;
        coverage.of_bytes += listed.size;
        let object = Object::new(ObjectKind::Index, listed.id);
        let file: IndexFile = match repository.read_document(object, "index") {
            Ok(file) => file,
            Err(error) => {
                findings.note_error(error)?;
                continue;
            }
        };
        coverage.objects += 1;
        coverage.bytes += listed.size;
        for pack in &file.packs {
            let entries: Vec<Entry> = pack.entries().collect();
            if let Some(fault) = pack_fault(entries.clone(), sizes.get(&pack.id).copied()) {
                bad.extend(Some(pack.id).zip(findings.note_object(ObjectKind::Pack, pack.id, fault)));
            }
            named.insert(pack.id, ());
            index.add(pack.id, entries);
        }
    }
    let leftovers = packs.iter().filter(|listed| !named.contains_key(&listed.id)).copied().collect();
    Ok(Survey { index, bad, leftovers, coverage })
}

/// What is wrong with a pack, as far as its length and an index tell.
fn pack_fault(mut entries: Vec<Entry>, size: Option<u64>) -> Option<Fault> {
    let Some(found) = size else { return Some(Fault::Missing) };
    let expected = pack_bytes(&entries);
    if expected != found {
        return Some(Fault::Size { expected, found });
    }
    entries.sort_by_key(|entry| entry.offset);
    let mut at = 0;
    for entry in entries {
        if u64::from(entry.offset) != at {
            return Some(Fault::Overlap);
        }
        at += u64::from(entry.length);
    }
    None
}

impl Survey {
    /// Blobs that are lost, with their findings: those in `blobs`, and all whose pack is bad as a whole, here or in
    /// `packs`.
    pub(super) fn lost(
        &self,
        mut packs: IdMap<ObjectId, u32>,
        mut blobs: IdMap<Blob, u32>,
    ) -> IdMap<Blob, u32> {
        packs.extend(&self.bad);
        if packs.is_empty() {
            return blobs;
        }
        for location in self.index.blobs() {
            if let Some(number) = packs.get(&location.pack) {
                blobs.entry(location.entry.blob).or_insert(*number);
            }
        }
        blobs
    }
}

/// Walks all snapshots, oldest first.
pub(super) fn walk(
    repository: &Repository,
    index: &Index,
    lost: &IdMap<Blob, u32>,
    findings: &mut Findings,
    coverage: &mut Coverage,
) -> Result<(), RepositoryError> {
    let mut snapshots = Vec::new();
    for listed in repository.backend().list(ObjectKind::Snapshot)? {
        coverage.of_objects += 1;
        coverage.of_bytes += listed.size;
        match repository.read_snapshot(listed.id) {
            Ok(snapshot) => {
                coverage.objects += 1;
                coverage.bytes += listed.size;
                snapshots.push((snapshot.time, listed.id, snapshot.tree));
            }
            Err(error) => {
                if let Some(number) = findings.note_error(error)? {
                    findings.affects_snapshot(number, listed.id);
                }
            }
        }
    }
    snapshots.sort();
    let unnamed = findings.of_kind(ObjectKind::Index).map(|(number, _)| number).min();
    let mut walk = Walk::new(repository, index, lost, unnamed, findings);
    snapshots.into_iter().try_for_each(|(_, id, tree)| walk.snapshot(id, tree))
}
