//! Brings a node's folder and its journal together at the start.
//!
//! A cut leaves little to do: an object without a receipt was durable and not yet receipted, and gets a receipt of now,
//! once its bytes are what they are named for; a deletion that was said is completed; what was not whole is removed. A
//! receipt without an object is a finding, never forgotten.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use campanile_common::backup::{StoredKind, StoredObject};
use campanile_common::id::{Digest, NodeId};
use campanile_common::time::Timestamp;
use ring::digest::{Context, SHA256};

use super::{State, Vault, sync_folder};
use crate::backup::account::Account;
use crate::backup::journal::{Journal, JournalError};
use crate::backup::layout;
use crate::backup::note::Note;
use crate::backup::record::{Bound, Closure, Flaw, Record, Suspicion};

/// Lines that a journal may have beyond what it has to tell before it is rewritten.
const LINES_SPARE: usize = 1000;

/// A node's folder that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Reading or writing failed.
    #[error("cannot use backup folder {path}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Vault {
    /// Opens a node's folder below `folder`; makes it when there is none.
    ///
    /// # Errors
    /// When folder or journal cannot be used, or the journal is damaged.
    pub fn load(folder: &Path, node: NodeId, now: Timestamp) -> Result<(Arc<Self>, Vec<Note>), LoadError> {
        Self::load_as(folder, node, now, false)
    }

    pub(super) fn load_as(
        folder: &Path,
        node: NodeId,
        now: Timestamp,
        is_copy: bool,
    ) -> Result<(Arc<Self>, Vec<Note>), LoadError> {
        let root = folder.join(node.to_string());
        let io = |source| LoadError::Io { path: root.clone(), source };
        make_folders(&root).map_err(io)?;
        empty(&root.join(layout::NEW)).map_err(io)?;
        let present = scan(&root).map_err(io)?;
        let path = root.join(layout::RECEIPTS);
        let (mut journal, records) = if Journal::exists(&path)? {
            let read = Journal::open(&path, node)?;
            if read.cut > 0 {
                tracing::warn!(%node, bytes = read.cut, "the end of the receipt journal was cut off");
            }
            (read.journal, read.records)
        } else if present.is_empty() {
            (Journal::create(&path, node)?, Vec::new())
        } else {
            return Err(JournalError::Lost { path }.into());
        };
        let account = Account::replay(&records);
        let shortest = account.to_records();
        if records.len() > 2 * shortest.len() + LINES_SPARE {
            journal = journal.rewrite(node, &shortest)?;
        }
        let mut state = State { account, journal, hour: Default::default(), is_copy };
        let notes = Reconciliation { root: &root, state: &mut state, now, notes: Vec::new() }
            .run(&present)
            .map_err(|error| match error {
            Trouble::Io(source) => LoadError::Io { path: root.clone(), source },
            Trouble::Journal(error) => error.into(),
        })?;
        let vault = Self {
            node,
            root,
            state: Mutex::new(state),
            in_flight: Default::default(),
            next_name: Default::default(),
        };
        Ok((Arc::new(vault), notes))
    }
}

fn make_folders(root: &Path) -> io::Result<()> {
    // The last that is made: when it is there, all are.
    if root.join("data/ff").is_dir() {
        return Ok(());
    }
    for folder in layout::folders() {
        fs::create_dir_all(root.join(folder))?;
    }
    sync_folder(&root.join("data"))?;
    sync_folder(root)?;
    root.parent().map_or(Ok(()), sync_folder)
}

fn empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        fs::remove_file(entry?.path())?;
    }
    Ok(())
}

/// Where files of an object lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    None,
    Own,
    Trash,
    Both,
}

/// Every object that has a file.
fn scan(root: &Path) -> io::Result<BTreeMap<StoredObject, Place>> {
    let mut present = BTreeMap::new();
    if root.join(layout::place(StoredObject::CONFIG)).try_exists()? {
        present.insert(StoredObject::CONFIG, Place::Own);
    }
    let packs = (0..=u8::MAX).map(|byte| (StoredKind::Pack, root.join(format!("data/{byte:02x}"))));
    let kinds = [StoredKind::Key, StoredKind::Snapshot, StoredKind::Index];
    let others = kinds.map(|kind| (kind, root.join(layout::folder(kind))));
    for (kind, folder) in others.into_iter().chain(packs) {
        for name in names(&folder)? {
            let Ok(id) = name.parse::<Digest>() else { continue };
            let object = StoredObject::new(kind, id);
            if root.join(layout::place(object)) == folder.join(&name) {
                present.insert(object, Place::Own);
            }
        }
    }
    for object in names(&root.join(layout::TRASH))?.iter().filter_map(|name| layout::of_trash(name)) {
        let place = if present.contains_key(&object) { Place::Both } else { Place::Trash };
        present.insert(object, place);
    }
    Ok(present)
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.extend(entry?.file_name().into_string().ok());
    }
    Ok(names)
}

enum Trouble {
    Io(io::Error),
    Journal(JournalError),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<JournalError> for Trouble {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

struct Reconciliation<'a> {
    root: &'a Path,
    state: &'a mut State,
    now: Timestamp,
    notes: Vec<Note>,
}

impl Reconciliation<'_> {
    fn run(mut self, present: &BTreeMap<StoredObject, Place>) -> Result<Vec<Note>, Trouble> {
        let place = |object: &StoredObject| present.get(object).copied().unwrap_or(Place::None);
        let known: Vec<StoredObject> = self.state.account.objects.keys().copied().collect();
        for object in known {
            match place(&object) {
                Place::Own | Place::Both => {}
                Place::Trash => self.move_file(layout::trash(object), layout::place(object))?,
                Place::None => self.find(object)?,
            }
        }
        let trashed: Vec<StoredObject> = self.state.account.trash.keys().copied().collect();
        for object in &trashed {
            match place(object) {
                Place::Trash => {}
                Place::Own | Place::Both => self.move_file(layout::place(*object), layout::trash(*object))?,
                Place::None => {
                    tracing::warn!(%object, "gone from the trash before its time, or while it was emptied");
                    self.state.write(&[Record::Gone { object: *object }], false)?;
                }
            }
        }
        // Packs before snapshots: what a snapshot needs is known when it is looked at.
        for (object, place) in present.iter().rev() {
            let account = &self.state.account;
            let is_known = account.objects.contains_key(object) || trashed.contains(object);
            if !is_known && *place == Place::Trash {
                // Nobody said that it was let go: it is brought back.
                self.move_file(layout::trash(*object), layout::place(*object))?;
            }
            if !is_known {
                self.adopt(*object)?;
            }
        }
        self.state.journal.sync()?;
        Ok(self.notes)
    }

    fn move_file(&self, from: PathBuf, to: PathBuf) -> io::Result<()> {
        let (from, to) = (self.root.join(from), self.root.join(to));
        fs::rename(&from, &to)?;
        sync_folder(to.parent().unwrap_or(self.root))?;
        sync_folder(from.parent().unwrap_or(self.root))
    }

    fn find(&mut self, object: StoredObject) -> Result<(), Trouble> {
        if !self.state.account.findings.contains_key(&object) {
            let flaw = Flaw::Missing;
            self.state.write(&[Record::Found { object, at: self.now, flaw }], true)?;
            self.notes.push(Note::Found { object, flaw });
            let detail = format!("{object} is {}", flaw.as_str());
            self.notes.extend(self.state.hold(vec![Suspicion::Damage], detail, 0, self.now)?);
        }
        Ok(())
    }

    /// A receipt of now for an object that has none.
    fn adopt(&mut self, object: StoredObject) -> Result<(), Trouble> {
        let path = self.root.join(layout::place(object));
        let (digest, size) = hash(&path)?;
        if object.kind != StoredKind::Config && digest != object.id {
            tracing::error!(%object, "a file without a receipt whose bytes are others; left alone");
            return Ok(());
        }
        let bound = match object.kind {
            StoredKind::Config => Some(Bound::Content(digest)),
            StoredKind::Snapshot => Some(Bound::Closure(self.closure(object.id)?)),
            StoredKind::Key | StoredKind::Index | StoredKind::Pack => None,
        };
        tracing::info!(%object, "received before the last stop, receipted now");
        self.state.write(&[Record::Stored { object, size, at: self.now, bound }], false)?;
        Ok(())
    }

    /// The list beside a snapshot without a receipt; where there is none it needs every pack.
    fn closure(&self, snapshot: Digest) -> Result<Closure, Trouble> {
        let path = self.root.join(layout::closure(snapshot));
        if !path.try_exists()? {
            let packs = self.state.account.of_kind(StoredKind::Pack, None);
            let names: Vec<u8> = packs.flat_map(|(id, _)| *id.as_bytes()).collect();
            crate::os::file::write_durably(&path, &names)?;
        }
        let (digest, length) = hash(&path)?;
        let size = |id| {
            let pack = StoredObject::new(StoredKind::Pack, id);
            self.state.account.objects.get(&pack).map_or(0, |receipt| receipt.size)
        };
        let mut bytes = 0;
        let read = super::deletion::each_name(&File::open(&path)?, |name| {
            bytes += size(name);
            Ok(())
        });
        read.map_err(|failure| io::Error::new(io::ErrorKind::InvalidData, failure.reason))?;
        Ok(Closure { packs: length / 32, bytes, new_bytes: 0, digest, policy: None })
    }
}

/// Hash and length of a file.
pub(super) fn hash(path: &Path) -> io::Result<(Digest, u64)> {
    let mut file = File::open(path)?;
    let (mut context, mut size) = (Context::new(&SHA256), 0);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        context.update(&buffer[..length]);
        size += u64::try_from(length).unwrap_or(u64::MAX);
    }
    let digest = context.finish();
    Ok((Digest::from_bytes(digest.as_ref().try_into().expect("SHA-256 has 32 bytes")), size))
}
