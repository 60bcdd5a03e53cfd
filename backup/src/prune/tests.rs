//! Plans of packs that go and stay, and prunes that are cut at every step.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::backend::{Backend, BackendError, Listed, Memory, Object, ObjectKind};
use crate::check::{self, Share};
use crate::fixture_repository::{Fixture, save};
use crate::id::ObjectId;
use crate::key::MasterKey;
use crate::pack::BlobKind;
use crate::repository::Repository;
use crate::tree::FileTime;
use crate::walk::{Seen, blobs, walk};

const THOROUGH: Policy =
    Policy { unused_percent_max: 0, small_packs_max: 0, repack_bytes_max: u64::MAX, whole_packs_only: false };

/// Packs that no index names.
fn assert_clean(repository: &Repository) -> Vec<Listed> {
    let structure = check::structure(repository).unwrap();
    assert_eq!(structure.findings, []);
    assert_eq!(check::content(repository, Share::ALL, &|_| {}).unwrap().findings, []);
    structure.leftovers
}

fn prune(repository: &Repository, forgotten: &[ObjectId], policy: &Policy) -> Result<Arc<Plan>, PruneError> {
    let facts = Facts::load(repository, forgotten)?;
    let plan = plan(&facts, policy)?;
    let removals = execute(repository, &facts, &plan, &mut |_| true)?;
    apply(&**repository.backend(), &removals, &mut |_| true)
        .map_err(crate::repository::RepositoryError::from)?;
    Ok(Arc::new(plan))
}

fn three() -> (Fixture, Vec<ObjectId>) {
    let mut fixture = Fixture::new();
    let ids = vec![
        fixture.snapshot(&[("a", 1), ("b", 2), ("dir/x", 10), ("dir/y", 11)]),
        fixture.snapshot(&[("a", 1), ("dir/c", 3), ("e", 12)]),
        fixture.snapshot(&[("d", 4), ("dir/c", 3), ("f", 13)]),
    ];
    (fixture, ids)
}

/// Blobs that the snapshots need, and all that indexes name, with how often.
fn needed_and_named(repository: &Repository) -> (usize, usize) {
    let index = repository.load_index().unwrap();
    let mut needed = std::collections::BTreeSet::new();
    for (_, snapshot) in repository.snapshots().unwrap() {
        walk(repository, &index, snapshot.tree, &mut Seen::default(), &mut |id, tree| {
            needed.extend(blobs(id, tree));
            Ok::<_, crate::repository::RepositoryError>(())
        })
        .unwrap();
    }
    let table = crate::pack_table::PackTable::load(repository).unwrap();
    (needed.len(), table.packs().map(|(_, entries)| entries.len()).sum())
}

#[test]
fn a_thorough_prune_leaves_just_what_is_needed_and_then_nothing_to_do() {
    let (fixture, ids) = three();
    let plan = prune(&fixture.repository, &ids[..1], &THOROUGH).unwrap();
    assert!(plan.figures.freed_bytes > 0 && !plan.repack.is_empty() && !plan.remove.is_empty());
    assert!(assert_clean(&fixture.repository).is_empty());
    let (needed, named) = needed_and_named(&fixture.repository);
    assert_eq!(needed, named);
    assert_eq!(fixture.repository.snapshots().unwrap().len(), 2);
    let facts = Facts::load(&fixture.repository, &[]).unwrap();
    let tolerant = Policy { small_packs_max: 16, ..THOROUGH };
    assert!(super::plan(&facts, &tolerant).unwrap().is_empty());
}

#[test]
fn figures_are_what_then_happens() {
    let (fixture, ids) = three();
    let packs =
        || fixture.memory.list(ObjectKind::Pack).unwrap().iter().map(|listed| listed.size).sum::<u64>();
    let before = packs();
    let plan = prune(&fixture.repository, &ids[..2], &Policy { small_packs_max: 99, ..THOROUGH }).unwrap();
    // Packs that are put together have fewer frames around their headers.
    let frames = 36 * plan.repack.len() as u64;
    assert!((before - plan.figures.freed_bytes).abs_diff(packs()) <= frames);
    assert!(plan.figures.needed_bytes < packs());
}

#[test]
fn without_waste_nothing_is_done() {
    let (fixture, _) = three();
    let size = fixture.memory.size();
    let plan = prune(&fixture.repository, &[], &Policy::default()).unwrap();
    assert!(plan.is_empty() && fixture.memory.size() == size);
}

#[test]
fn whole_packs_alone_go_when_nothing_may_be_packed_anew() {
    let (fixture, ids) = three();
    let policy = Policy { whole_packs_only: true, ..THOROUGH };
    let packs = fixture.memory.list(ObjectKind::Pack).unwrap();
    let plan = prune(&fixture.repository, &ids[..1], &policy).unwrap();
    assert!(plan.repack.is_empty() && plan.remove.len() == 1);
    let left = fixture.memory.list(ObjectKind::Pack).unwrap();
    assert!(left.len() == packs.len() - 1 && left.iter().all(|pack| packs.contains(pack)));
    assert_clean(&fixture.repository);
}

#[test]
fn some_waste_is_allowed_and_a_run_has_its_limit() {
    let (fixture, ids) = three();
    let facts = Facts::load(&fixture.repository, &ids[..1]).unwrap();
    let lax = Policy { unused_percent_max: 100, small_packs_max: 99, ..THOROUGH };
    assert!(super::plan(&facts, &lax).unwrap().repack.is_empty());
    let none = Policy { repack_bytes_max: 0, ..THOROUGH };
    assert!(super::plan(&facts, &none).unwrap().repack.is_empty());
    let all = super::plan(&facts, &THOROUGH).unwrap();
    let some = Policy { repack_bytes_max: all.figures.repacked_bytes / 2, ..THOROUGH };
    let some = super::plan(&facts, &some).unwrap();
    assert!(!some.repack.is_empty() && some.repack.len() < all.repack.len());
}

#[test]
fn small_packs_and_small_indexes_are_put_together_when_they_are_many() {
    let mut fixture = Fixture::new();
    for number in 0..20 {
        let _ = fixture.snapshot(&[("a", 1), ("b", 100 + number)]);
    }
    assert_eq!((fixture.count(ObjectKind::Pack), fixture.count(ObjectKind::Index)), (40, 20));
    prune(&fixture.repository, &[], &Policy::default()).unwrap();
    assert_eq!((fixture.count(ObjectKind::Pack), fixture.count(ObjectKind::Index)), (2, 1));
    assert_eq!(fixture.repository.snapshots().unwrap().len(), 20);
    assert_clean(&fixture.repository);
}

#[test]
fn leftovers_of_a_cut_run_go() {
    let (fixture, _) = three();
    let indexes = fixture.memory.list(ObjectKind::Index).unwrap();
    let spare = fixture.repository.clone();
    let time = FileTime { seconds: 1_777_777_777, nanoseconds: 0 };
    let id = save(&spare, &[("z", 77)], time);
    fixture.memory.remove(Object::new(ObjectKind::Snapshot, id)).unwrap();
    for listed in fixture.memory.list(ObjectKind::Index).unwrap() {
        if !indexes.contains(&listed) {
            fixture.memory.remove(Object::new(ObjectKind::Index, listed.id)).unwrap();
        }
    }
    assert_eq!(assert_clean(&spare).len(), 2);
    let plan = prune(&spare, &[], &Policy::default()).unwrap();
    assert_eq!((plan.remove.len(), plan.figures.freed_bytes), (2, plan.figures.leftover_bytes));
    assert!(assert_clean(&spare).is_empty());
}

#[test]
fn a_damaged_repository_is_not_pruned() {
    let (fixture, ids) = three();
    let index = fixture.repository.load_index().unwrap();
    let place = |kind| index.blobs().find(|place| place.entry.blob.kind == kind).unwrap();
    let lose = |pack| {
        let object = Object::new(ObjectKind::Pack, pack);
        let bytes = fixture.memory.get(object, None).unwrap();
        fixture.memory.remove(object).unwrap();
        (object, bytes)
    };
    let before = fixture.memory.size();
    let (object, bytes) = lose(place(BlobKind::Tree).pack);
    assert!(matches!(prune(&fixture.repository, &[], &THOROUGH), Err(PruneError::Facts(_))));
    fixture.memory.overwrite(object, bytes);
    let (object, bytes) = lose(place(BlobKind::Data).pack);
    let refused = prune(&fixture.repository, &[], &THOROUGH).unwrap_err();
    assert!(matches!(refused, PruneError::Plan(PlanError::NoBlob(_))), "{refused}");
    fixture.memory.overwrite(object, bytes[1..].to_vec());
    let refused = prune(&fixture.repository, &[], &THOROUGH).unwrap_err();
    assert!(matches!(refused, PruneError::Plan(PlanError::Size { .. })), "{refused}");
    fixture.memory.overwrite(object, bytes.clone());
    let mut flipped = bytes.clone();
    flipped[20] ^= 1;
    fixture.memory.overwrite(object, flipped);
    // It may lie in a pack that nobody rewrites; what is packed anew is compared.
    if let Err(refused) = prune(&fixture.repository, &[], &THOROUGH) {
        assert!(matches!(refused, PruneError::Repository(_)), "{refused}");
    } else {
        panic!("a small pack is packed anew, and was damaged");
    }
    fixture.memory.overwrite(object, bytes);
    assert!(fixture.memory.size() >= before);
    assert_clean(&fixture.repository);
    let absent = prune(&fixture.repository, &[ObjectId::of(b"absent")], &THOROUGH);
    assert!(matches!(absent, Err(PruneError::Facts(FactsError::NoSnapshot(_)))));
    prune(&fixture.repository, &ids[..1], &THOROUGH).unwrap();
    assert_clean(&fixture.repository);
}

/// A store that stops after so many writes and removals: killed, or full.
#[derive(Debug)]
struct Cut {
    memory: Memory,
    left: AtomicU64,
    /// Whether removals go on: a full disk.
    only_full: bool,
}

impl Cut {
    fn step(&self, object: Object) -> Result<(), BackendError> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map(drop).map_err(|_| BackendError::Full { object, reason: "the disk is full".to_owned() })
    }
}

impl Backend for Cut {
    fn put(&self, object: Object, bytes: &[u8]) -> Result<(), BackendError> {
        self.step(object)?;
        self.memory.put(object, bytes)
    }

    fn get(&self, object: Object, range: Option<std::ops::Range<u64>>) -> Result<Vec<u8>, BackendError> {
        self.memory.get(object, range)
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>, BackendError> {
        self.memory.list(kind)
    }

    fn remove(&self, object: Object) -> Result<(), BackendError> {
        if !self.only_full {
            self.step(object)?;
        }
        self.memory.remove(object)
    }
}

fn cut_at(steps: u64, only_full: bool) -> (Arc<Cut>, Repository, Result<Arc<Plan>, PruneError>) {
    let cut = Arc::new(Cut { memory: Memory::default(), left: AtomicU64::new(u64::MAX), only_full });
    let repository = Repository::create(cut.clone(), MasterKey::generate()).unwrap();
    let saved: Vec<ObjectId> = (0..6)
        .map(|number| {
            let time = FileTime { seconds: 1_777_000_000 + number, nanoseconds: 0 };
            let seed = number.unsigned_abs();
            save(&repository, &[("a", 1), ("b", 20 + seed), ("dir/c", 30 + seed / 2), ("e", 40)], time)
        })
        .collect();
    cut.left.store(steps, Ordering::SeqCst);
    let pruned = prune(&repository, &[saved[0], saved[2], saved[3]], &THOROUGH);
    (cut, repository, pruned)
}

#[test]
fn a_prune_that_is_cut_at_any_step_leaves_all_in_order_and_the_next_finishes() {
    for steps in 0.. {
        let (cut, repository, pruned) = cut_at(steps, false);
        assert_clean(&repository);
        if pruned.is_ok() {
            assert!(steps > 15, "{steps} steps are all");
            return;
        }
        cut.left.store(u64::MAX, Ordering::SeqCst);
        prune(&repository, &[], &THOROUGH).unwrap();
        assert!(assert_clean(&repository).is_empty(), "{steps}");
        let (needed, named) = needed_and_named(&repository);
        assert_eq!(needed, named, "{steps}");
    }
}

#[test]
fn a_full_disk_loses_nothing_and_whole_packs_make_room() {
    for steps in 0..3 {
        let (cut, repository, pruned) = cut_at(steps, true);
        assert!(matches!(pruned, Err(PruneError::Repository(_))), "{steps}");
        assert_clean(&repository);
        assert_eq!(repository.snapshots().unwrap().len(), 6);
        // Room for the one index object that is written first.
        cut.left.store(1, Ordering::SeqCst);
        let size = cut.memory.size();
        let all: Vec<ObjectId> = repository.snapshots().unwrap().into_iter().map(|(id, _)| id).collect();
        prune(&repository, &all[..3], &Policy { whole_packs_only: true, ..THOROUGH }).unwrap();
        assert!(cut.memory.size() < size);
        assert_clean(&repository);
    }
}

#[test]
fn a_caller_who_stops_it_loses_nothing() {
    let (fixture, ids) = three();
    let facts = Facts::load(&fixture.repository, &ids[..1]).unwrap();
    let plan = plan(&facts, &THOROUGH).unwrap();
    let stopped = execute(&fixture.repository, &facts, &plan, &mut |_| false);
    assert!(matches!(stopped, Err(PruneError::Stopped)));
    assert_clean(&fixture.repository);
    let removals = execute(&fixture.repository, &facts, &plan, &mut |_| true).unwrap();
    let mut left = 2;
    let removed = apply(&*fixture.memory, &removals, &mut |_| {
        left -= 1;
        left >= 0
    });
    assert_eq!(removed.unwrap(), 2);
    assert_clean(&fixture.repository);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_prune_of_any_repository_keeps_what_is_needed(
        saves in prop::collection::vec(prop::collection::vec(0_u64..12, 1..6), 1..8),
        forgotten in prop::collection::vec(any::<bool>(), 8),
        unused_percent_max in 0_u8..60,
        small_packs_max in 0_usize..4,
        repack_bytes_max in prop_oneof![Just(u64::MAX), 0_u64..20_000],
        whole_packs_only: bool,
    ) {
        const NAMES: [&str; 6] = ["a", "b", "dir/c", "dir/d", "e", "f"];
        let mut fixture = Fixture::new();
        let mut ids = Vec::new();
        for seeds in &saves {
            let files: Vec<(&str, u64)> = NAMES.into_iter().zip(seeds.iter().copied()).collect();
            ids.push(fixture.snapshot(&files));
        }
        let gone: Vec<ObjectId> =
            ids.iter().zip(forgotten).filter(|(_, gone)| *gone).map(|(id, _)| *id).collect();
        let policy = Policy { unused_percent_max, small_packs_max, repack_bytes_max, whole_packs_only };
        let plan = prune(&fixture.repository, &gone, &policy).unwrap();
        prop_assert!(plan.figures.repacked_bytes <= repack_bytes_max);
        prop_assert!(!whole_packs_only || plan.repack.is_empty());
        prop_assert!(assert_clean(&fixture.repository).is_empty());
        prop_assert_eq!(fixture.repository.snapshots().unwrap().len(), ids.len() - gone.len());
        let facts = Facts::load(&fixture.repository, &[]).unwrap();
        let again = super::plan(&facts, &policy).unwrap();
        prop_assert!(again.remove.is_empty());
    }
}
