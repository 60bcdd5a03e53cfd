//! Carries out decisions: to the trash, back from it, and away when the time there is over.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use campanile_common::backup::{StoredKind, StoredObject};
use campanile_common::id::Digest;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::store::{Decided, NAMED_MAX, StoreFailure};
use serde::{Deserialize, Serialize};

use super::{State, Vault, failed, remove, sync_folder};
use crate::backup::note::{Note, reasons_text};
use crate::backup::record::{Record, Settlement, Suspicion};
use crate::backup::retention::{Decision, Proposal, Rules, decide, staying};
use crate::backup::{Failure, layout};
use crate::os::file;

/// Names that are read from a closure at once.
const NAMES_PIECE: usize = 8192;
/// Up to so many packs are searched for in each closure; more are found by reading it through.
const SEARCHED_MAX: usize = 64;
/// Objects that leave the trash in one turn of the lock.
const EXPIRED_MAX: usize = 1000;

/// A proposal that waits, as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Waiting {
    snapshots: Vec<Digest>,
    indexes: Vec<Digest>,
    packs: Vec<Digest>,
}

impl Vault {
    /// Decides a proposal and carries out what is let go.
    ///
    /// # Errors
    /// When the store fails: nothing that was let go cannot be brought back then.
    pub fn propose(
        &self,
        proposal: &Proposal,
        rules: &Rules,
        now: Timestamp,
    ) -> Result<(Decided, Vec<Note>), Failure> {
        let mut state = self.lock();
        let decision = self.decide(&state, proposal, rules, now, false)?;
        if decision.hold.is_empty() {
            return self.carry_out(&mut state, decision, rules, now);
        }
        let is_waiting_already = !state.account.holds.is_empty();
        let reasons = reasons_text(&decision.hold);
        let mut notes = Vec::new();
        if !is_waiting_already {
            let waiting = Waiting {
                snapshots: proposal.snapshots.clone(),
                indexes: proposal.indexes.clone(),
                packs: proposal.packs.clone(),
            };
            let path = self.path(layout::hold(state.account.next_hold()));
            let json = serde_json::to_vec(&waiting).expect("names are JSON");
            file::write_durably(&path, &json).map_err(failed("keep a proposal"))?;
            let detail = format!(
                "a proposal to let go of {} snapshots, {} indexes and {} packs",
                proposal.snapshots.len(),
                proposal.indexes.len(),
                proposal.packs.len()
            );
            let proposed = u64::try_from(proposal.count()).unwrap_or(u64::MAX);
            notes.extend(state.hold(decision.hold, detail, proposed, now)?);
        }
        let held = format!("nothing of this node is let go until a person has looked: {reasons}");
        let decided = Decided {
            deleted: 0,
            recoverable_until: None,
            stays: Vec::new(),
            stays_count: 0,
            held: Some(held),
        };
        Ok((decided, notes))
    }

    fn decide(
        &self,
        state: &State,
        proposal: &Proposal,
        rules: &Rules,
        now: Timestamp,
        is_released: bool,
    ) -> Result<Decision, Failure> {
        let stay = staying(proposal, &state.account, rules, now);
        let going = |id: &Digest| proposal.snapshots.binary_search(id).is_ok() && !stay.contains_key(id);
        let left = state.account.of_kind(StoredKind::Snapshot, None).map(|(id, _)| id);
        let mut needed = BTreeSet::new();
        if !proposal.packs.is_empty() {
            for snapshot in left.filter(|id| !going(id)) {
                self.note_needed(snapshot, &proposal.packs, &mut needed)?;
            }
        }
        Ok(decide(proposal, &state.account, &stay, &needed, now, is_released))
    }

    /// Adds those of `packs` that a snapshot needs.
    fn note_needed(
        &self,
        snapshot: Digest,
        packs: &[Digest],
        needed: &mut BTreeSet<Digest>,
    ) -> Result<(), Failure> {
        let file = self.open_closure(snapshot)?;
        if packs.len() > SEARCHED_MAX {
            return each_name(&file, |name| {
                if packs.binary_search(&name).is_ok() {
                    needed.insert(name);
                }
                Ok(())
            });
        }
        for pack in packs.iter().filter(|pack| !needed.contains(pack)).copied().collect::<Vec<_>>() {
            if holds_name(&file, pack).map_err(failed("read what snapshots need"))? {
                needed.insert(pack);
            }
        }
        Ok(())
    }

    /// Without its list a snapshot needs everything: nothing is let go.
    fn open_closure(&self, snapshot: Digest) -> Result<File, Failure> {
        File::open(self.path(layout::closure(snapshot))).map_err(failed("read what snapshots need"))
    }

    fn carry_out(
        &self,
        state: &mut State,
        decision: Decision,
        rules: &Rules,
        now: Timestamp,
    ) -> Result<(Decided, Vec<Note>), Failure> {
        let until = Timestamp::from_millis(now.as_millis().saturating_add(rules.floor_ms()));
        let Decision { delete, stay, hold: _ } = decision;
        if !delete.is_empty() {
            // Said before it is done: what a cut leaves is completed at the next start.
            let trashed = |object: &StoredObject| Record::Trashed { object: *object, at: now, until };
            state.write(&delete.iter().map(trashed).collect::<Vec<_>>(), true)?;
            self.move_all(&delete, layout::place, layout::trash)?;
        }
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let snapshots = delete.iter().filter(|object| object.kind == StoredKind::Snapshot).count();
        let notes = if delete.is_empty() {
            Vec::new()
        } else {
            vec![Note::Deleted { snapshots, objects: delete.len(), until }]
        };
        let decided = Decided {
            deleted: count(delete.len()),
            recoverable_until: (!delete.is_empty()).then_some(until),
            stays_count: count(stay.len()),
            stays: stay.into_iter().take(NAMED_MAX).collect(),
            held: None,
        };
        Ok((decided, notes))
    }

    pub(super) fn move_all(
        &self,
        objects: &[StoredObject],
        from: fn(StoredObject) -> PathBuf,
        to: fn(StoredObject) -> PathBuf,
    ) -> Result<(), Failure> {
        let mut folders: HashSet<PathBuf> = HashSet::new();
        let mut moved = || {
            for object in objects {
                let (from, to) = (self.path(from(*object)), self.path(to(*object)));
                std::fs::rename(&from, &to)?;
                folders.extend([from, to].iter().filter_map(|path| path.parent()).map(Path::to_owned));
            }
            folders.iter().try_for_each(|folder| sync_folder(folder))
        };
        moved().map_err(failed("move objects"))
    }

    /// Brings objects back that are in the trash; others are left as they are.
    pub(super) fn bring_back(&self, state: &mut State, objects: &[StoredObject]) -> Result<usize, Failure> {
        let trashed = objects.iter().filter(|object| state.account.trash.contains_key(object));
        let mut objects: Vec<StoredObject> = trashed.copied().collect();
        // Packs first: a snapshot is there only with what it needs.
        objects.sort_by(|a, b| b.cmp(a));
        if objects.is_empty() {
            return Ok(0);
        }
        self.move_all(&objects, layout::trash, layout::place)?;
        let restored = |object: &StoredObject| Record::Restored { object: *object };
        state.write(&objects.iter().map(restored).collect::<Vec<_>>(), true)?;
        Ok(objects.len())
    }

    /// Everything that a snapshot needs is in its place when this returns.
    pub(super) fn complete(&self, state: &mut State, snapshot: Digest) -> Result<(), Failure> {
        let mut trashed = Vec::new();
        each_name(&self.open_closure(snapshot)?, |name| {
            let pack = StoredObject::new(StoredKind::Pack, name);
            if state.account.objects.contains_key(&pack) {
                return Ok(());
            }
            if state.account.trash.contains_key(&pack) {
                trashed.push(pack);
                return Ok(());
            }
            let reason = format!("the snapshot needs {pack}, which is not there");
            Err(Failure::new(StoreFailure::Incomplete, reason))
        })?;
        self.bring_back(state, &trashed).map(drop)
    }

    /// Brings back a snapshot with everything that it needs and every index, or all of the trash.
    ///
    /// # Errors
    /// When it is not in the trash, or the store fails.
    pub fn undelete(&self, snapshot: Option<Digest>) -> Result<Vec<Note>, Failure> {
        let mut state = self.lock();
        let objects = match snapshot {
            None => state.account.trash.keys().copied().collect(),
            Some(snapshot) => {
                let object = StoredObject::new(StoredKind::Snapshot, snapshot);
                if !state.account.trash.contains_key(&object) {
                    let reason = format!("{object} is not in the trash");
                    return Err(Failure::new(StoreFailure::Missing, reason));
                }
                let mut objects = vec![object];
                each_name(&self.open_closure(snapshot)?, |name| {
                    objects.push(StoredObject::new(StoredKind::Pack, name));
                    Ok(())
                })?;
                let is_index = |object: &&StoredObject| object.kind == StoredKind::Index;
                objects.extend(state.account.trash.keys().filter(is_index).copied());
                objects
            }
        };
        let objects = self.bring_back(&mut state, &objects)?;
        Ok(if objects == 0 { Vec::new() } else { vec![Note::Restored { objects }] })
    }

    /// Settles what waits. Released, its proposal is carried out as far as the rules let it be.
    ///
    /// # Errors
    /// When nothing waits under that number, or the store fails.
    pub fn settle(
        &self,
        id: u64,
        settlement: Settlement,
        rules: &Rules,
        now: Timestamp,
    ) -> Result<(Option<Decided>, Vec<Note>), Failure> {
        let mut state = self.lock();
        let Some(hold) = state.account.holds.get(&id).cloned() else {
            return Err(Failure::new(StoreFailure::Missing, format!("nothing waits under number {id}")));
        };
        let path = self.path(layout::hold(id));
        let mut notes = vec![Note::Settled { id, settlement }];
        let mut decided = None;
        if settlement == Settlement::Released && hold.proposed > 0 {
            let proposal = read_waiting(&path)?;
            let decision = self.decide(&state, &proposal, rules, now, true)?;
            let (done, more) = self.carry_out(&mut state, decision, rules, now)?;
            decided = Some(done);
            notes.extend(more);
        }
        state.write(&[Record::Settled { id, at: now, settlement }], true)?;
        remove(&path).map_err(failed("drop a proposal"))?;
        Ok((decided, notes))
    }

    /// Removes what has been in the trash for long enough; nothing while something waits for a person.
    ///
    /// # Errors
    /// When the store fails.
    pub fn expire(&self, now: Timestamp) -> Result<Vec<Note>, Failure> {
        let mut state = self.lock();
        if !state.account.holds.is_empty() {
            return Ok(Vec::new());
        }
        let due = state.account.trash.iter().filter(|(_, trashed)| trashed.until <= now);
        let due: Vec<(StoredObject, u64)> =
            due.take(EXPIRED_MAX).map(|(object, trashed)| (*object, trashed.receipt.bytes())).collect();
        if due.is_empty() {
            return Ok(Vec::new());
        }
        for (object, _) in &due {
            remove(&self.path(layout::trash(*object))).map_err(failed("empty the trash"))?;
            if object.kind == StoredKind::Snapshot {
                remove(&self.path(layout::closure(object.id))).map_err(failed("empty the trash"))?;
            }
        }
        let gone = |(object, _): &(StoredObject, u64)| Record::Gone { object: *object };
        state.write(&due.iter().map(gone).collect::<Vec<_>>(), true)?;
        Ok(vec![Note::Expired { objects: due.len(), bytes: due.iter().map(|(_, bytes)| bytes).sum() }])
    }

    /// Raises an alarm that is not about an object on its way.
    ///
    /// # Errors
    /// When the store fails.
    pub fn alarm(&self, reason: Suspicion, detail: String, now: Timestamp) -> Result<Option<Note>, Failure> {
        Ok(self.lock().hold(vec![reason], detail, 0, now)?)
    }
}

fn read_waiting(path: &Path) -> Result<Proposal, Failure> {
    let bytes = std::fs::read(path).map_err(failed("read a proposal"))?;
    let Waiting { snapshots, indexes, packs } = serde_json::from_slice(&bytes).map_err(|error| {
        tracing::error!(path = %path.display(), %error, "a proposal that waits is damaged");
        let reason = "the proposal that waits is damaged: refuse it".to_owned();
        Failure::new(StoreFailure::Damaged, reason)
    })?;
    Ok(Proposal { snapshots, indexes, packs })
}

/// Gives every name of a closure to `look`, in order.
pub(super) fn each_name(
    file: &File,
    mut look: impl FnMut(Digest) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let length = file.metadata().map_err(failed("read what snapshots need"))?.len();
    if length % 32 != 0 {
        let reason = "the list of packs of a snapshot is damaged".to_owned();
        return Err(Failure::new(StoreFailure::Damaged, reason));
    }
    let mut buffer = vec![0; NAMES_PIECE * 32];
    let mut left = usize::try_from(length).unwrap_or(usize::MAX);
    let mut file = file;
    while left > 0 {
        let piece = &mut buffer[..left.min(NAMES_PIECE * 32)];
        file.read_exact(piece).map_err(failed("read what snapshots need"))?;
        for name in piece.chunks_exact(32) {
            look(Digest::from_bytes(name.try_into().expect("32 bytes")))?;
        }
        left -= piece.len();
    }
    Ok(())
}

/// Looks for a name by halves.
fn holds_name(file: &File, name: Digest) -> std::io::Result<bool> {
    let (mut low, mut high) = (0, file.metadata()?.len() / 32);
    let mut found = [0; 32];
    while low < high {
        let middle = low + (high - low) / 2;
        file.read_exact_at(&mut found, middle * 32)?;
        match found.cmp(name.as_bytes()) {
            std::cmp::Ordering::Equal => return Ok(true),
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    Ok(false)
}
