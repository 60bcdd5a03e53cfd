//! Every blob of every pack is decrypted, decompressed and compared with its name.
//!
//! A pack is read once, in runs of neighbouring blobs. Its bytes are not hashed on top of that: each of them is under the
//! authenticator of a blob or of the header, or is one of the four at the end, without which there is no header.
//!
//! Memory: for each of the [`WORKERS`] a run of at most 4 MiB or one blob, and that blob decompressed (8 MiB and 8 MiB for
//! the largest chunk); the pack table, 60 bytes for each blob.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::finding::{Coverage, Fault, Findings, Report, fault_of};
use super::share::Share;
use super::structure;
use crate::backend::{Listed, Object, ObjectKind};
use crate::id::ObjectId;
use crate::index::{IdMap, IndexFile};
use crate::opener::Opener;
use crate::pack::{Blob, Entry, header_start, pack_bytes, read_header};
use crate::pack_table::PackTable;
use crate::repository::{Damage, Repository, RepositoryError};
use crate::runs::{range, runs, sealed};

/// Packs are read by so many threads.
pub const WORKERS: usize = 2;

/// Something wrong with a pack: with one blob, or with all of it.
struct Bad {
    pack: ObjectId,
    fault: Fault,
    blob: Option<Blob>,
}

/// Reads the packs of `share` back. `progress` is told the bytes of each pack after it was read. When anything is
/// wrong, all trees are walked to name what it hurts.
///
/// # Errors
/// When the store cannot be asked. What is missing or damaged is a finding.
///
/// # Panics
/// When a thread that reads has panicked.
pub fn content(
    repository: &Repository,
    share: Share,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Report, RepositoryError> {
    let mut findings = Findings::default();
    let table = table(repository, &mut findings)?;
    let mut packs = repository.backend().list(ObjectKind::Pack)?;
    // Neighbours in the store are read one after another.
    packs.sort_by_key(|listed| listed.id);
    let chosen: Vec<Listed> = packs.iter().filter(|listed| share.has(listed.id)).copied().collect();
    let (mut lost_packs, mut lost_blobs) = (IdMap::default(), IdMap::default());
    for Bad { pack, fault, blob } in read_all(repository, &table, &chosen, progress)? {
        let number = findings.note_object(ObjectKind::Pack, pack, fault);
        match blob {
            Some(blob) => lost_blobs.extend(Some(blob).zip(number)),
            None => lost_packs.extend(Some(pack).zip(number)),
        }
    }
    let sum = |listed: &[Listed]| listed.iter().map(|listed| listed.size).sum();
    let coverage = Coverage {
        objects: chosen.len() as u64,
        bytes: sum(&chosen),
        of_objects: packs.len() as u64,
        of_bytes: sum(&packs),
    };
    let leftovers = packs.iter().filter(|listed| table.entries(listed.id).is_none()).copied().collect();
    let is_there = |pack| packs.binary_search_by_key(&pack, |listed| listed.id).is_ok();
    if !findings.is_empty() || !table.packs().all(|(pack, _)| is_there(pack)) {
        drop(table);
        // A pack that is bad as a whole hurts all that lies in it; one with bad blobs those who need them.
        let survey = structure::survey(repository, &packs, &mut findings)?;
        let lost = survey.lost(lost_packs, lost_blobs);
        structure::walk(repository, &survey.index, &lost, &mut findings, &mut Coverage::default())?;
    }
    Ok(findings.into_report(leftovers, coverage))
}

fn table(repository: &Repository, findings: &mut Findings) -> Result<PackTable, RepositoryError> {
    let mut table = PackTable::default();
    for listed in repository.backend().list(ObjectKind::Index)? {
        let object = Object::new(ObjectKind::Index, listed.id);
        match repository.read_document::<IndexFile>(object, "index") {
            Ok(file) => table.add_file(listed.id, &file),
            Err(error) => drop(findings.note_error(error)?),
        }
    }
    Ok(table)
}

fn read_all(
    repository: &Repository,
    table: &PackTable,
    packs: &[Listed],
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Vec<Bad>, RepositoryError> {
    let next = AtomicUsize::new(0);
    let bad = Mutex::new(Vec::new());
    let work = || -> Result<(), RepositoryError> {
        let mut opener = Opener::new().map_err(RepositoryError::Compress)?;
        while let Some(listed) = packs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut found = Vec::new();
            let read = read_pack(repository, table.entries(listed.id), *listed, &mut opener, &mut found);
            if let Err(error) = read {
                // Nobody begins another pack when the store cannot be asked.
                let stop = |_: &RepositoryError| next.store(packs.len(), Ordering::Relaxed);
                let (_, fault) = fault_of(error).inspect_err(stop)?;
                found.push(Bad { pack: listed.id, fault, blob: None });
            }
            bad.lock().unwrap_or_else(PoisonError::into_inner).append(&mut found);
            progress(listed.size);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS.min(packs.len())).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("reading packs does not panic"))
    })?;
    Ok(bad.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Reads one pack; what is wrong with a blob goes to `found`, what is wrong with the pack is the error.
fn read_pack(
    repository: &Repository,
    named: Option<&[Entry]>,
    listed: Listed,
    opener: &mut Opener,
    found: &mut Vec<Bad>,
) -> Result<(), RepositoryError> {
    let object = Object::new(ObjectKind::Pack, listed.id);
    let own;
    let entries = match named {
        Some(entries) => {
            header(repository, entries, listed, found)?;
            entries
        }
        None => {
            own = repository.read_pack_header(listed)?;
            own.as_slice()
        }
    };
    for run in runs(entries) {
        let range = range(run);
        let start = range.start;
        let mut bytes = repository.backend().get(object, Some(range))?;
        for entry in run {
            let fault = match sealed(entry, start, &mut bytes) {
                None => Fault::Overlap,
                Some(sealed) => match opener.open(repository.key(), entry, sealed) {
                    Ok(_) => continue,
                    Err(error) => Fault::Damaged(error.to_string()),
                },
            };
            found.push(Bad { pack: listed.id, fault, blob: Some(entry.blob) });
        }
    }
    Ok(())
}

/// Compares the pack's own header with what the indexes say.
fn header(
    repository: &Repository,
    entries: &[Entry],
    listed: Listed,
    found: &mut Vec<Bad>,
) -> Result<(), RepositoryError> {
    let expected = pack_bytes(entries);
    let mut note = |fault| found.push(Bad { pack: listed.id, fault, blob: None });
    if expected != listed.size {
        note(Fault::Size { expected, found: listed.size });
        return Ok(());
    }
    let blobs_end: u64 = entries.iter().map(|entry| u64::from(entry.length)).sum();
    let object = Object::new(ObjectKind::Pack, listed.id);
    let mut bytes = repository.backend().get(object, Some(blobs_end..listed.size))?;
    let tail = bytes.split_off(bytes.len().saturating_sub(4));
    let own = tail
        .try_into()
        .map_err(|_| crate::pack::PackError::Short)
        .and_then(|tail| header_start(listed.size, tail))
        .and_then(|start| match start == blobs_end {
            true => read_header(repository.key(), &mut bytes, start),
            false => Err(crate::pack::PackError::Malformed),
        });
    match own {
        Ok(own) if own == entries => {}
        Ok(_) => note(Fault::Header),
        Err(error) => note(Fault::Damaged(Damage::from(error).to_string())),
    }
    Ok(())
}
