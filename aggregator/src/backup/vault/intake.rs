//! Takes objects in: hashed as they come, synced, put in place, receipted.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use campanile_common::backup::{PolicyName, StoredKind, StoredObject};
use campanile_common::id::Digest;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::store::{
    CLOSURE_PACKS_MAX, DOCUMENT_BYTES_MAX, OBJECT_BYTES_MAX, StoreFailure,
};
use ring::digest::{Context, SHA256};

use super::{Reservation, Vault, failed, remove, sync_folder};
use crate::backup::limits::{Limits, Room};
use crate::backup::note::Note;
use crate::backup::record::{Bound, Closure, Record, Suspicion};
use crate::backup::{Failure, layout, retention};
use crate::os::disk;

/// Length of a name.
const NAME_BYTES: usize = Digest::BYTES;

/// What becomes of an object that a node wants to store.
#[derive(Debug)]
pub enum Begun {
    /// It is there, since then.
    Exists(Timestamp),
    /// It may come.
    Open(Box<Incoming>),
}

/// What comes with a snapshot; all of it is the node's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appending {
    /// How many names of packs come before it.
    pub packs: u64,
    /// The policy that made it; none for another program's.
    pub policy: Option<PolicyName>,
}

/// An object on its way in.
#[derive(Debug)]
pub struct Incoming {
    vault: Arc<Vault>,
    object: StoredObject,
    size: u64,
    body: Temporary,
    names: Option<Names>,
    _room: Reservation,
}

/// A file that goes when it is not put in place.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    file: File,
    hash: HashContext,
    written: u64,
    is_placed: bool,
}

/// A hash that is not told of.
pub(super) struct HashContext(pub(super) Context);

impl std::fmt::Debug for HashContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashContext")
    }
}

/// The packs that a snapshot needs, on their way in.
#[derive(Debug)]
struct Names {
    list: Temporary,
    expected: u64,
    policy: Option<PolicyName>,
    last: Option<Digest>,
    bytes: u64,
    new_bytes: u64,
    /// Packs received later are new.
    since: Option<Timestamp>,
}

/// What was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// When.
    pub at: Timestamp,
    /// False when it was there already.
    pub is_new: bool,
    /// What others should know.
    pub notes: Vec<Note>,
}

impl Temporary {
    fn create(path: PathBuf) -> Result<Self, Failure> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(failed("store objects"))?;
        Ok(Self { path, file, hash: HashContext(Context::new(&SHA256)), written: 0, is_placed: false })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).map_err(failed("store objects"))?;
        self.hash.0.update(bytes);
        self.written += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    fn digest(&self) -> Digest {
        let digest = self.hash.0.clone().finish();
        Digest::from_bytes(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    fn sync(&self) -> Result<(), Failure> {
        self.file.sync_data().map_err(failed("store objects"))
    }

    /// Moves it to its place and makes that durable.
    fn place(mut self, place: &Path) -> Result<(), Failure> {
        let move_it = || {
            std::fs::rename(&self.path, place)?;
            sync_folder(place.parent().unwrap_or(Path::new(".")))
        };
        move_it().map_err(failed("store objects"))?;
        self.is_placed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_placed {
            // What cannot be removed now goes at the next start.
            drop(remove(&self.path));
        }
    }
}

impl Vault {
    /// Begins to take in an object; `appending` is what comes with a snapshot, and with nothing else.
    ///
    /// # Errors
    /// When it is refused or finds no room. The note is an alarm.
    pub fn begin(
        self: &Arc<Self>,
        object: StoredObject,
        size: u64,
        appending: Option<Appending>,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<Begun, (Failure, Option<Note>)> {
        let packs = appending.as_ref().map(|appending| appending.packs);
        check_shape(object, size, packs).map_err(|failure| (failure, None))?;
        if let Some(received) = self.known(object).map_err(|failure| (failure, None))? {
            return Ok(Begun::Exists(received));
        }
        self.count(limits, now)?;
        let bytes = size.saturating_add(packs.unwrap_or(0).saturating_mul(32));
        let open = || {
            let room = Room {
                used: self.with(|account| account.bytes() + account.trash_bytes()) + self.in_flight(),
                free: disk::free_bytes(&self.root)
                    .map_err(failed("store objects"))?
                    .saturating_sub(self.in_flight()),
            };
            limits.check(room, bytes)?;
            let room = Reservation::new(self, bytes);
            let names = appending.map(|appending| self.names(appending)).transpose()?;
            let body = Temporary::create(self.temporary())?;
            Ok(Incoming { vault: Arc::clone(self), object, size, body, names, _room: room })
        };
        open().map(|incoming| Begun::Open(Box::new(incoming))).map_err(|failure| (failure, None))
    }

    /// When an object was received that is there and whole; one in the trash is brought back.
    fn known(&self, object: StoredObject) -> Result<Option<Timestamp>, Failure> {
        let mut state = self.lock();
        if state.account.trash.contains_key(&object) {
            self.bring_back(&mut state, &[object])?;
        }
        let is_flawed = state.account.findings.contains_key(&object);
        let receipt = state.account.objects.get(&object).filter(|_| !is_flawed);
        Ok(receipt.map(|receipt| receipt.received))
    }

    fn count(&self, limits: &Limits, now: Timestamp) -> Result<(), (Failure, Option<Note>)> {
        let mut state = self.lock();
        if state.hour.take(now, limits.objects_per_hour) {
            return Ok(());
        }
        let reason = format!("more than {} objects in an hour", limits.objects_per_hour);
        let alarm = state.hold(vec![Suspicion::Flood], reason.clone(), 0, now);
        let failure = Failure::new(StoreFailure::TooMany, reason);
        Err((failure, alarm.map_err(|error| (error.into(), None))?))
    }

    fn names(&self, appending: Appending) -> Result<Names, Failure> {
        let Appending { packs: expected, policy } = appending;
        let list = Temporary::create(self.temporary())?;
        let since = self.with(|account| account.newest_snapshot());
        Ok(Names { list, expected, policy, last: None, bytes: 0, new_bytes: 0, since })
    }
}

fn check_shape(object: StoredObject, size: u64, packs: Option<u64>) -> Result<(), Failure> {
    let refuse = |code, reason: &str| Err(Failure::new(code, reason.to_owned()));
    let is_config = object == StoredObject::CONFIG;
    if (object.kind == StoredKind::Config) != is_config {
        return refuse(StoreFailure::Malformed, "there is one config, and its name is all zero");
    }
    if (object.kind == StoredKind::Snapshot) != packs.is_some() {
        return refuse(StoreFailure::Refused, "a snapshot is appended, with the packs that it needs");
    }
    let max = match object.kind {
        StoredKind::Pack | StoredKind::Index => OBJECT_BYTES_MAX,
        StoredKind::Config | StoredKind::Key | StoredKind::Snapshot => DOCUMENT_BYTES_MAX,
    };
    if size == 0 || size > max {
        return refuse(
            StoreFailure::Refused,
            "an object has at least one byte, and no more than its kind may",
        );
    }
    if packs.is_some_and(|packs| packs > CLOSURE_PACKS_MAX) {
        return refuse(StoreFailure::Refused, "a snapshot needs fewer packs than that");
    }
    Ok(())
}

impl Incoming {
    /// How many bytes come: names, then the object's own.
    pub fn expected(&self) -> u64 {
        let names = self.names.as_ref().map_or(0, |names| names.expected);
        names * 32 + self.size
    }

    /// Takes a piece. Every piece but the last has a multiple of 32 bytes.
    ///
    /// # Errors
    /// When it is more than was announced, names what is not there, or cannot be written.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), Failure> {
        if let Some(names) = &mut self.names {
            let missing = names.expected * 32 - names.list.written;
            let length = usize::try_from(missing).unwrap_or(usize::MAX).min(bytes.len());
            let (own, rest) = bytes.split_at(length);
            names.take(&self.vault, own)?;
            bytes = rest;
        }
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if self.body.written + length > self.size {
            return Err(malformed("more bytes came than were announced"));
        }
        self.body.write(bytes)
    }

    /// Everything has come: verifies it, makes it durable and receipts it.
    ///
    /// # Errors
    /// When it is not what it was named for, or cannot be stored. The note is an alarm.
    pub fn finish(self, now: Timestamp) -> Result<Received, (Failure, Option<Note>)> {
        let vault = Arc::clone(&self.vault);
        let names = self.names.as_ref().map_or(0, |names| names.expected * 32 - names.list.written);
        if names > 0 || self.body.written != self.size {
            return Err((malformed("fewer bytes came than were announced"), None));
        }
        let digest = self.body.digest();
        if !vault.is_named(self.object, digest) {
            let detail = format!("{} came with bytes whose hash is {digest}", self.object);
            let alarm = vault.lock().hold(vec![Suspicion::WrongHash], detail, 0, now);
            let failure = Failure::new(
                StoreFailure::Mismatch,
                format!("the bytes of {} are not those that it is named for", self.object),
            );
            return Err((failure, alarm.map_err(|error| (error.into(), None))?));
        }
        self.commit(digest, now).map_err(|failure| (failure, None))
    }

    fn commit(self, digest: Digest, now: Timestamp) -> Result<Received, Failure> {
        let Self { vault, object, size, body, names, _room: room } = self;
        body.sync()?;
        let bound = match (&names, object.kind) {
            (Some(names), _) => Some(Bound::Closure(names.closure())),
            (None, StoredKind::Config) => Some(Bound::Content(digest)),
            (None, _) => None,
        };
        if let Some(names) = &names {
            names.list.sync()?;
        }
        let mut state = vault.lock();
        let is_flawed = state.account.findings.contains_key(&object);
        let known = state.account.objects.get(&object).map(|receipt| receipt.received);
        if let Some(at) = known.filter(|_| !is_flawed) {
            // Another stream was faster.
            return Ok(Received { at, is_new: false, notes: Vec::new() });
        }
        // Packs may have been let go while the snapshot came: those are brought back.
        if let (Some(names), None) = (names, known) {
            names.list.place(&vault.path(layout::closure(object.id)))?;
            vault.complete(&mut state, object.id)?;
        }
        body.place(&vault.path(layout::place(object)))?;
        drop(room);
        let mut notes = Vec::new();
        if let Some(at) = known {
            // The receipt stays: these are the bytes that were received then.
            state.write(&[Record::Healed { object }], true)?;
            notes.push(Note::Healed { object });
            return Ok(Received { at, is_new: true, notes });
        }
        let record = Record::Stored { object, size, at: now, bound };
        // A pack's receipt is not waited for, see the journal. Whatever a snapshot stands on is.
        state.write(&[record], object.kind == StoredKind::Snapshot)?;
        if object.kind == StoredKind::Snapshot {
            notes.extend(state.judge_newest(object.id, now)?);
        }
        Ok(Received { at: now, is_new: true, notes })
    }
}

impl Names {
    fn take(&mut self, vault: &Vault, bytes: &[u8]) -> Result<(), Failure> {
        let state = vault.lock();
        for name in bytes.chunks(NAME_BYTES) {
            let Ok(name) = <[u8; NAME_BYTES]>::try_from(name) else {
                return Err(malformed("a name was cut"));
            };
            let id = Digest::from_bytes(name);
            if self.last.is_some_and(|last| last >= id) {
                return Err(malformed("the names of packs do not rise"));
            }
            let pack = StoredObject::new(StoredKind::Pack, id);
            let trashed = || state.account.trash.get(&pack).map(|trashed| &trashed.receipt);
            let Some(receipt) = state.account.objects.get(&pack).or_else(trashed) else {
                let reason = format!("the snapshot needs {pack}, which is not there");
                return Err(Failure::new(StoreFailure::Incomplete, reason));
            };
            self.bytes = self.bytes.saturating_add(receipt.size);
            if self.since.is_none_or(|since| receipt.received > since) {
                self.new_bytes = self.new_bytes.saturating_add(receipt.size);
            }
            self.last = Some(id);
        }
        drop(state);
        self.list.write(bytes)
    }

    fn closure(&self) -> Closure {
        Closure {
            packs: self.expected,
            bytes: self.bytes,
            new_bytes: self.new_bytes,
            digest: self.list.digest(),
            policy: self.policy.clone(),
        }
    }
}

impl Vault {
    /// Whether these are the bytes of this object.
    fn is_named(&self, object: StoredObject, digest: Digest) -> bool {
        if object.kind != StoredKind::Config {
            return object.id == digest;
        }
        // The first one is; afterwards the receipt tells.
        let bound =
            self.with(|account| account.objects.get(&object).and_then(|receipt| receipt.bound.clone()));
        bound.is_none_or(|bound| *bound == Bound::Content(digest))
    }
}

impl super::State {
    /// Compares the newest snapshot with those before it.
    fn judge_newest(&mut self, snapshot: Digest, now: Timestamp) -> Result<Vec<Note>, Failure> {
        let history = self.account.history();
        let Some(facts) = history.iter().find(|facts| facts.id == snapshot) else { return Ok(Vec::new()) };
        let mut notes =
            vec![Note::SnapshotReceived { snapshot, bytes: facts.bytes, new_bytes: facts.new_bytes }];
        let found = retention::unusual_snapshot(&history, self.account.released());
        if !found.is_empty() {
            let detail =
                format!("snapshot {snapshot} needs {} bytes, {} of them new", facts.bytes, facts.new_bytes);
            notes.extend(self.hold(found, detail, 0, now)?);
        }
        Ok(notes)
    }
}

fn malformed(reason: &str) -> Failure {
    Failure::new(StoreFailure::Malformed, reason.to_owned())
}
