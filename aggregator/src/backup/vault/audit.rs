//! Reads objects back and compares them with their names: no key is needed for that.

use std::io;

use campanile_common::backup::{StoredKind, StoredObject};
use campanile_common::id::Digest;
use campanile_common::time::Timestamp;

use super::{Vault, load};
use crate::backup::note::Note;
use crate::backup::record::{Bound, Flaw, Record, Suspicion};
use crate::backup::verify::{Step, next_step};
use crate::backup::{Failure, layout};

/// What a step of reading back came to.
#[derive(Debug)]
pub struct Verified {
    /// Bytes that were read.
    pub bytes: u64,
    /// What was found.
    pub notes: Vec<Note>,
}

impl Vault {
    /// Reads the next few objects back; none when nothing is due before the next cycle.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn verify_step(&self, step: &Step, now: Timestamp) -> Result<Option<Verified>, Failure> {
        let Some(objects) = self.with(|account| next_step(account, step, now)) else { return Ok(None) };
        let after = self.with(|account| account.progress.last);
        let Some(last) = objects.last().copied() else {
            self.lock().write(&[Record::CycleEnded { at: now }], false)?;
            return Ok(Some(Verified { bytes: 0, notes: Vec::new() }));
        };
        let (mut bytes, mut notes) = (0, Vec::new());
        for object in objects {
            // Read without the lock: the file may go to the trash meanwhile, which is looked for below.
            let (flaw, read) = self.check(object);
            bytes += read;
            notes.extend(self.conclude(object, flaw, now)?);
        }
        self.lock().write(&[Record::Verified { after, last, at: now }], false)?;
        Ok(Some(Verified { bytes, notes }))
    }

    /// Reads one object back out of turn, since something about it looks wrong.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn doubt(&self, object: StoredObject, now: Timestamp) -> Result<Vec<Note>, Failure> {
        let (flaw, _) = self.check(object);
        self.conclude(object, flaw, now)
    }

    /// What is wrong with an object, and how many bytes were read.
    fn check(&self, object: StoredObject) -> (Option<Flaw>, u64) {
        let wanted = self.with(|account| account.objects.get(&object).cloned());
        let Some(wanted) = wanted else { return (None, 0) };
        let named: Option<Digest> = match wanted.bound.as_deref() {
            Some(Bound::Content(digest)) => Some(*digest),
            Some(Bound::Closure(_)) | None => (object.kind != StoredKind::Config).then_some(object.id),
        };
        let list = wanted.closure().map(|closure| (layout::closure(object.id), closure.digest));
        let own = (layout::place(object), named.unwrap_or(object.id));
        let mut read = 0;
        for (place, digest) in [Some(own), list].into_iter().flatten() {
            match load::hash(&self.path(place)) {
                Ok((found, size)) => {
                    read += size;
                    if found != digest {
                        return (Some(Flaw::Damaged), read);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return (Some(Flaw::Missing), read),
                Err(error) => {
                    tracing::error!(%object, %error, "a stored object cannot be read");
                    return (Some(Flaw::Unreadable), read);
                }
            }
        }
        (None, read)
    }

    /// Writes down what is new about an object that is still stored.
    fn conclude(
        &self,
        object: StoredObject,
        flaw: Option<Flaw>,
        now: Timestamp,
    ) -> Result<Vec<Note>, Failure> {
        let mut state = self.lock();
        if !state.account.objects.contains_key(&object) {
            return Ok(Vec::new());
        }
        let known = state.account.findings.get(&object).map(|finding| finding.flaw);
        match (known, flaw) {
            (before, Some(flaw)) if before != Some(flaw) => {
                state.write(&[Record::Found { object, at: now, flaw }], true)?;
                let detail = format!("{object} is {}", flaw.as_str());
                let mut notes = vec![Note::Found { object, flaw }];
                notes.extend(state.hold(vec![Suspicion::Damage], detail, 0, now)?);
                Ok(notes)
            }
            (Some(_), None) => {
                state.write(&[Record::Healed { object }], true)?;
                Ok(vec![Note::Healed { object }])
            }
            (Some(_) | None, Some(_)) | (None, None) => Ok(Vec::new()),
        }
    }
}
