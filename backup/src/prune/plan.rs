//! What a prune does: which packs go, which are packed anew, which indexes are replaced. Pure.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::BuildHasherDefault;

use super::facts::Facts;
use crate::id::ObjectId;
use crate::index::{INDEX_BLOBS_MAX, IdHasher};
use crate::pack::{Blob, BlobKind, Entry, PACK_BYTES, pack_bytes};

/// A pack with fewer bytes is small.
const SMALL_PACK_BYTES: u64 = PACK_BYTES as u64 / 4;
/// An index object that names fewer blobs is small.
const SMALL_INDEX_BLOBS: usize = INDEX_BLOBS_MAX / 10;
/// So many small indexes may be there before they are put together.
const SMALL_INDEXES_MAX: usize = 16;

/// How thorough a prune is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// So many of a hundred bytes of what is needed may be lost to blobs that nobody needs, in packs that others need.
    pub unused_percent_max: u8,
    /// So many small packs of data, and as many of trees, may be there before they are packed anew.
    pub small_packs_max: usize,
    /// At most so many bytes are packed anew; the rest waits for the next run.
    pub repack_bytes_max: u64,
    /// Packs that anybody needs stay as they are: for a store where what is written anew is paid twice, or is full.
    pub whole_packs_only: bool,
}

impl Default for Policy {
    /// A twentieth unused, as restic's default; 16 small packs, which some runs leave; no limit.
    fn default() -> Self {
        Self {
            unused_percent_max: 5,
            small_packs_max: 16,
            repack_bytes_max: u64::MAX,
            whole_packs_only: false,
        }
    }
}

/// Bytes of packs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Of blobs that are needed.
    pub needed_bytes: u64,
    /// Of all else in packs that indexes name, but for what their headers must have.
    pub unused_bytes: u64,
    /// Of packs that no index names.
    pub leftover_bytes: u64,
    /// Of blobs that are packed anew.
    pub repacked_bytes: u64,
    /// Fewer when all is done.
    pub freed_bytes: u64,
}

/// What is to be done.
#[must_use]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Snapshots that go.
    pub snapshots: Vec<ObjectId>,
    /// Packs that go after what is needed of them was packed anew.
    pub repack: BTreeMap<ObjectId, Vec<Entry>>,
    /// Packs that go as they are.
    pub remove: BTreeSet<ObjectId>,
    /// Indexes that go.
    pub indexes: BTreeSet<ObjectId>,
    /// Packs that stay and that only those indexes name: new ones must.
    pub reindex: BTreeSet<ObjectId>,
    /// What it comes to.
    pub figures: Figures,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.snapshots.is_empty()
            && self.remove.is_empty()
            && self.repack.is_empty()
            && self.indexes.is_empty()
    }
}

/// A repository that must not be pruned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A blob is needed and nowhere.
    #[error("{} {} is needed and in no pack; nothing is removed before a check says why", kind(.0), .0.id)]
    NoBlob(Blob),
    /// A pack that is needed is not as long as it should be.
    #[error("pack {id} has {found} bytes instead of {expected}; nothing is removed before a check says why")]
    Size {
        /// Which.
        id: ObjectId,
        /// As its index says.
        expected: u64,
        /// In the store.
        found: u64,
    },
}

fn kind(blob: &Blob) -> &'static str {
    match blob.kind {
        BlobKind::Data => "chunk",
        BlobKind::Tree => "tree",
    }
}

/// A pack with what is needed of it.
struct Rated {
    id: ObjectId,
    /// Bytes in the store.
    size: u64,
    /// Of the blobs that are needed from here.
    needed: u64,
    /// That a pack of these blobs alone would not have.
    waste: u64,
    kind: BlobKind,
}

/// Decides.
///
/// # Errors
/// When a blob that is needed is in no pack that is there as it should be.
pub fn plan(facts: &Facts, policy: &Policy) -> Result<Plan, PlanError> {
    let (rated, taken) = rate(facts)?;
    let mut plan = Plan { snapshots: facts.forgotten.clone(), ..Plan::default() };
    plan.figures.needed_bytes = rated.iter().map(|pack| pack.needed).sum();
    plan.figures.unused_bytes = rated.iter().map(|pack| pack.waste).sum();
    for (id, size) in &facts.stored {
        if facts.table.entries(*id).is_none() {
            plan.figures.leftover_bytes += size;
            plan.figures.freed_bytes += size;
            plan.remove.insert(*id);
        }
    }
    for pack in rated.iter().filter(|pack| pack.needed == 0) {
        plan.figures.freed_bytes += pack.size;
        plan.remove.insert(pack.id);
    }
    if !policy.whole_packs_only {
        repack(policy, &rated, &taken, &mut plan);
    }
    indexes(facts, &mut plan);
    Ok(plan)
}

/// Which pack each needed blob is taken from.
type Taken = BTreeMap<ObjectId, Vec<Entry>>;

/// Says for each pack what is needed of it. A blob that lies in several packs is needed from one: that with the largest
/// share of what is needed, so that the others become free.
fn rate(facts: &Facts) -> Result<(Vec<Rated>, Taken), PlanError> {
    let (mut packs, mut wrong): (Vec<Rated>, Vec<Rated>) = (Vec::new(), Vec::new());
    let mut error = None;
    for (id, entries) in facts.table.packs() {
        // One that is not there holds nothing; whether that matters shows below.
        let Some(size) = facts.stored.get(&id).copied() else { continue };
        let kind = entries.first().map_or(BlobKind::Data, |entry| entry.blob.kind);
        let expected = pack_bytes(entries);
        if expected != size {
            error = error.or(Some(PlanError::Size { id, expected, found: size }));
            wrong.push(Rated { id, size, needed: 0, waste: size, kind });
            continue;
        }
        let needed = entries.iter().filter(|entry| facts.needed.contains(&entry.blob));
        let needed = needed.map(|entry| u64::from(entry.length)).sum();
        packs.push(Rated { id, size, needed, waste: 0, kind });
    }
    let share = |pack: &Rated| u128::from(pack.needed) * 1_000_000 / u128::from(pack.size.max(1));
    packs.sort_by_key(|pack| (std::cmp::Reverse(share(pack)), pack.id));
    let mut found: HashSet<Blob, BuildHasherDefault<IdHasher>> = HashSet::default();
    let mut taken = Taken::new();
    for pack in &mut packs {
        let entries = facts.table.entries(pack.id).into_iter().flatten();
        let entries = entries.filter(|entry| facts.needed.contains(&entry.blob) && found.insert(entry.blob));
        let entries: Vec<Entry> = entries.copied().collect();
        pack.needed = entries.iter().map(|entry| u64::from(entry.length)).sum();
        pack.waste = if entries.is_empty() { pack.size } else { pack.size - pack_bytes(&entries) };
        taken.insert(pack.id, entries);
    }
    packs.append(&mut wrong);
    match facts.needed.iter().filter(|blob| !found.contains(blob)).min() {
        None => Ok((packs, taken)),
        Some(blob) => Err(error.unwrap_or(PlanError::NoBlob(*blob))),
    }
}

/// Chooses packs to pack anew: the most wasteful until the waste is within its limit, and the small ones when they are
/// many.
fn repack(policy: &Policy, rated: &[Rated], taken: &Taken, plan: &mut Plan) {
    let mut partly: Vec<&Rated> = rated.iter().filter(|pack| pack.needed > 0).collect();
    let share = |pack: &Rated| u128::from(pack.waste) * 1_000_000 / u128::from(pack.size.max(1));
    partly.sort_by_key(|pack| (std::cmp::Reverse(share(pack)), pack.id));
    let allowed = u128::from(plan.figures.needed_bytes) * u128::from(policy.unused_percent_max) / 100;
    let mut left: u128 = partly.iter().map(|pack| u128::from(pack.waste)).sum();
    let is_many = |kind| {
        let small = partly.iter().filter(|pack| pack.kind == kind && pack.size < SMALL_PACK_BYTES);
        small.count() > policy.small_packs_max
    };
    let (many_data, many_trees) = (is_many(BlobKind::Data), is_many(BlobKind::Tree));
    for pack in partly {
        let is_wasteful = left > allowed && pack.waste > 0;
        let is_small = pack.size < SMALL_PACK_BYTES
            && match pack.kind {
                BlobKind::Data => many_data,
                BlobKind::Tree => many_trees,
            };
        let is_within = plan.figures.repacked_bytes.saturating_add(pack.needed) <= policy.repack_bytes_max;
        if !(is_wasteful || is_small) || !is_within {
            continue;
        }
        left -= u128::from(pack.waste);
        plan.figures.repacked_bytes += pack.needed;
        plan.figures.freed_bytes += pack.waste;
        plan.repack.insert(pack.id, taken.get(&pack.id).cloned().unwrap_or_default());
    }
}

/// Chooses the indexes that are replaced: those that name a pack which goes or is gone, and the small ones with them, or
/// when they are many.
fn indexes(facts: &Facts, plan: &mut Plan) {
    let stays = |pack: &ObjectId| {
        facts.stored.contains_key(pack) && !plan.remove.contains(pack) && !plan.repack.contains_key(pack)
    };
    let blobs = |packs: &[ObjectId]| -> usize {
        packs.iter().filter_map(|pack| facts.table.entries(*pack)).map(<[Entry]>::len).sum()
    };
    let is_small = |packs: &[ObjectId]| blobs(packs) < SMALL_INDEX_BLOBS;
    let mut gone: BTreeSet<ObjectId> = facts
        .table
        .indexes()
        .filter(|(_, packs)| packs.is_empty() || !packs.iter().all(stays))
        .map(|(id, _)| id)
        .collect();
    let small: Vec<ObjectId> =
        facts.table.indexes().filter(|(_, packs)| is_small(packs)).map(|(id, _)| id).collect();
    if !gone.is_empty() || small.len() > SMALL_INDEXES_MAX {
        gone.extend(small);
    }
    let (replaced, kept): (Vec<_>, Vec<_>) = facts.table.indexes().partition(|(id, _)| gone.contains(id));
    let named: HashSet<ObjectId, BuildHasherDefault<IdHasher>> =
        kept.into_iter().flat_map(|(_, packs)| packs).copied().collect();
    let orphans = replaced.into_iter().flat_map(|(_, packs)| packs).copied();
    plan.reindex = orphans.filter(|pack| stays(pack) && !named.contains(pack)).collect();
    plan.indexes = gone;
}
