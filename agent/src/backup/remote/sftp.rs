//! A repository in a folder of another machine, reached by the machine's own `ssh`.
//!
//! An object is written under another name, made durable where the server can do that, and then given its own, which
//! fails where there is one already: an object is there as a whole or not at all. A connection that is lost is made anew.

mod codec;
mod command;
mod file;
mod folder;
mod session;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use campanile_backup::backend::{Backend, BackendError, Listed, Object, ObjectKind};
use campanile_common::backup::{SftpLogin, SftpPlace};

use self::codec::{Code, Entry, Reply, Request, Status};
use self::command::Cut;
use self::file::{Trouble, details, done};
use self::session::Session;
use super::layout;
use super::patience::{Failure, Patience};
use crate::os::program::{SEARCH_PATH, is_executable};
use crate::os::{clock, random};

/// What names begin with that are no objects yet.
const NEW_START: &str = ".new-";
/// What is so old was left by somebody who is no more.
const LEFT_SECONDS: u64 = 24 * 3600;

/// A folder that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(in crate::backup) enum SftpError {
    /// There is no `ssh`.
    #[error("there is no program `ssh` on this node: install `openssh-client`")]
    NoProgram,
    /// The other machine does not let this one do it.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

/// A folder of another machine.
#[derive(Debug)]
pub(in crate::backup) struct Sftp {
    place: SftpPlace,
    program: PathBuf,
    arguments: Vec<String>,
    patience: Patience,
    /// What others left is removed.
    is_tidied: bool,
    session: Mutex<Option<Arc<Session>>>,
}

impl Sftp {
    /// Signs in. Folders of a repository are made where `is_made`.
    pub(in crate::backup) fn open(
        place: &SftpPlace,
        login: &SftpLogin,
        patience: Patience,
        is_made: bool,
    ) -> Result<Self, SftpError> {
        let programs = SEARCH_PATH.split(':').map(|folder| Path::new(folder).join("ssh"));
        let program = programs.into_iter().find(|path| is_executable(path)).ok_or(SftpError::NoProgram)?;
        let sftp = Self {
            place: place.clone(),
            program,
            arguments: command::arguments(place, login),
            patience,
            is_tidied: is_made,
            session: Mutex::new(None),
        };
        sftp.with(Object::CONFIG, "sign in for", |session| sftp.prepare(session, is_made))?;
        Ok(sftp)
    }

    fn prepare(&self, session: &Session, is_made: bool) -> Result<(), Trouble> {
        if !is_made || stat(session, &self.path(Object::CONFIG))?.is_some() {
            return Ok(());
        }
        let path = &self.place.path;
        let ends = path.match_indices('/').map(|(at, _)| at).filter(|at| *at > 0);
        let above = ends.chain([path.len()]).map(|end| path[..end].to_owned());
        let below: Vec<String> = layout::folders().map(|folder| format!("{path}/{folder}")).collect();
        folder::make(session, &above.collect::<Vec<_>>(), &below)
    }

    fn path(&self, object: Object) -> String {
        format!("{}/{}", self.place.path, layout::path(object))
    }

    /// Does something over a connection, and anew over another when that is lost.
    fn with<T>(
        &self,
        object: Object,
        doing: &'static str,
        work: impl Fn(&Session) -> Result<T, Trouble>,
    ) -> Result<T, BackendError> {
        self.patience.patiently(&self.place, || {
            let failed = |trouble| self.failure(object, doing, trouble);
            let session = self.session().map_err(|cut| failed(cut.into()))?;
            work(&session).map_err(failed)
        })
    }

    /// The connection; a new one where there is none any more.
    fn session(&self) -> Result<Arc<Session>, Cut> {
        let mut kept = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = kept.as_ref().filter(|session| !session.has_ended()) {
            return Ok(Arc::clone(session));
        }
        *kept = None;
        let session = Arc::new(Session::start(&self.program, &self.arguments)?);
        *kept = Some(Arc::clone(&session));
        Ok(session)
    }

    fn failure(&self, object: Object, doing: &'static str, trouble: Trouble) -> Failure {
        let host = &self.place.host;
        let refused = |reason| Failure::Lasting(BackendError::Refused { object, reason });
        let io = |source| Failure::Lasting(BackendError::Io { doing, object, source });
        match trouble {
            Trouble::Cut(Cut { reason, is_lasting: false }) => Failure::Passing(reason),
            Trouble::Cut(Cut { reason, is_lasting: true }) => refused(format!("{host}: {reason}")),
            Trouble::Short => Failure::Lasting(BackendError::Short(object)),
            Trouble::Full(reason) => Failure::Lasting(BackendError::Full { object, reason }),
            Trouble::Odd(what) => refused(format!("{host} answers with {what}")),
            Trouble::Status(Status { code, message }) => match code {
                Code::Missing if doing == "read" => Failure::Lasting(BackendError::Missing(object)),
                Code::Missing => io(io::Error::new(io::ErrorKind::NotFound, message)),
                Code::Denied => {
                    refused(format!("{host} does not permit it in {} ({message})", self.place.path))
                }
                Code::Disconnected => Failure::Passing(message),
                Code::Ok | Code::End | Code::Failure | Code::Unsupported | Code::Other(_) => {
                    io(io::Error::other(format!("{host} says: {message}")))
                }
            },
        }
    }

    fn write(&self, session: &Session, object: Object, bytes: &[u8]) -> Result<(), Trouble> {
        let path = self.path(object);
        if stat(session, &path)?.is_some() {
            return Ok(());
        }
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let new = format!("{folder}/{NEW_START}{:016x}", random::number());
        let mut written = file::write(session, &new, bytes);
        if matches!(&written, Err(trouble) if trouble.is(Code::Missing)) {
            folder::make(session, &[folder.to_owned()], &[])?;
            written = file::write(session, &new, bytes);
        }
        written.map_err(|trouble| self.explained(session, trouble, bytes.len()))?;
        let renamed = done(session.call(&Request::Rename { from: &new, to: &path })?);
        if renamed.is_err() {
            let is_there = stat(session, &path)?.is_some();
            drop(session.call(&Request::Remove(&new))?);
            // Somebody else has just stored it.
            return if is_there { Ok(()) } else { renamed };
        }
        Ok(())
    }

    /// Version 3 of SFTP has no word for a full disk.
    fn explained(&self, session: &Session, trouble: Trouble, wanted: usize) -> Trouble {
        if !trouble.is(Code::Failure) || !session.abilities.has_statvfs {
            return trouble;
        }
        let Ok(Reply::Extended(room)) = session.call(&Request::Room(&self.place.path)) else {
            return trouble;
        };
        match codec::free_bytes(&room) {
            Ok(free) if free < wanted as u64 => {
                Trouble::Full(format!("{free} bytes are left in {} of {}", self.place.path, self.place.host))
            }
            _ => trouble,
        }
    }

    fn names(&self, session: &Session, kind: ObjectKind) -> Result<Vec<(String, Entry)>, Trouble> {
        let top = format!("{}/{}", self.place.path, kind.folder());
        let entries = folder::entries(session, std::slice::from_ref(&top))?;
        if kind != ObjectKind::Pack {
            return Ok(entries);
        }
        let is_one = |entry: &Entry| entry.details.is_folder && !entry.name.starts_with('.');
        let folders = entries.into_iter().filter(|(_, entry)| is_one(entry));
        let folders: Vec<String> = folders.map(|(_, entry)| format!("{top}/{}", entry.name)).collect();
        folder::entries(session, &folders)
    }

    fn listed(&self, session: &Session, kind: ObjectKind) -> Result<Vec<Listed>, Trouble> {
        if kind == ObjectKind::Config {
            let size = stat(session, &self.path(Object::CONFIG))?;
            return Ok(size.into_iter().map(|size| Listed { id: Object::CONFIG.id, size }).collect());
        }
        let mut listed = Vec::new();
        for (folder, Entry { name, details }) in self.names(session, kind)? {
            let path = format!("{folder}/{name}");
            let below = path.strip_prefix(&self.place.path).and_then(|path| path.strip_prefix('/'));
            if let Some(object) = below.and_then(|below| layout::object(kind, below)) {
                let size = details.size.ok_or(Trouble::Odd("a file without a size"))?;
                listed.push(Listed { id: object.id, size });
            } else if self.is_tidied && is_left(&name, details.modified) {
                // One that cannot be removed is no object either.
                drop(session.call(&Request::Remove(&path))?);
            }
        }
        Ok(listed)
    }
}

/// Whether a file is what a cut write left, long ago.
fn is_left(name: &str, modified: Option<u32>) -> bool {
    let now = clock::now().as_secs();
    name.starts_with(NEW_START)
        && modified.is_some_and(|modified| now.saturating_sub(u64::from(modified)) > LEFT_SECONDS)
}

/// The size of a file; none when it is not there.
fn stat(session: &Session, path: &str) -> Result<Option<u64>, Trouble> {
    match details(session.call(&Request::Stat(path))?) {
        Ok(details) => Ok(Some(details.size.unwrap_or(0))),
        Err(trouble) if trouble.is(Code::Missing) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

impl Backend for Sftp {
    fn put(&self, object: Object, bytes: &[u8]) -> Result<(), BackendError> {
        self.with(object, "write", |session| self.write(session, object, bytes))
    }

    fn get(&self, object: Object, range: Option<Range<u64>>) -> Result<Vec<u8>, BackendError> {
        self.with(object, "read", |session| file::read(session, &self.path(object), range.clone()))
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>, BackendError> {
        self.with(Object { kind, ..Object::CONFIG }, "list", |session| self.listed(session, kind))
    }

    fn remove(&self, object: Object) -> Result<(), BackendError> {
        self.with(object, "remove", |session| {
            let removed = done(session.call(&Request::Remove(&self.path(object)))?);
            match removed {
                Err(trouble) if trouble.is(Code::Missing) => Ok(()),
                removed => removed,
            }
        })
    }
}
