//! A repository that is open: its key, its config, and reading and writing its objects.
//!
//! Everything that is read is compared with its name and its authenticator here and nowhere else.

use std::io;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backend::{Backend, BackendError, Listed, Object, ObjectKind};
use crate::chunker::Tables;
use crate::config::{RepositoryConfig, VERSION};
use crate::id::ObjectId;
use crate::index::{Index, IndexFile, Location};
use crate::key::{MasterKey, NotAuthentic};
use crate::key_file::{KeyFile, KeyFileError};
use crate::opener::open_blob;
use crate::pack::{BlobError, Entry, PackError, header_start, read_header};
use crate::snapshot::Snapshot;
use crate::tree::{Tree, TreeError};

/// Marks a compressed document; a plain one starts with `{` or `[`.
const COMPRESSED: u8 = 2;
/// No document is longer than this when it is decompressed: an index of 50,000 blobs has 10 MiB.
const DOCUMENT_BYTES_MAX: usize = 256 << 20;
const COMPRESSION_LEVEL: i32 = 3;

/// A repository that is open.
#[derive(Debug, Clone)]
pub struct Repository {
    backend: Arc<dyn Backend>,
    key: MasterKey,
    config: RepositoryConfig,
    tables: Arc<Tables>,
}

/// What is wrong with an object.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// Its bytes are not those that it was named for.
    #[error("its bytes are not the ones it was named for")]
    Name,
    /// Not sealed with this repository's key, or altered.
    #[error("it is {0}")]
    Sealed(#[from] NotAuthentic),
    /// Does not decompress.
    #[error("it does not decompress")]
    Compression(#[source] io::Error),
    /// Not the document that it should be.
    #[error("it is not a {0}")]
    Document(&'static str, #[source] serde_json::Error),
    /// Not a pack.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// Not the blob that it should hold.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// Not a tree.
    #[error("it is no tree")]
    Tree(#[from] TreeError),
}

/// Work on a repository that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// An object could not be read or written.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// An object is not what it should be.
    #[error("{object} is damaged: {damage}")]
    Damaged {
        /// Which.
        object: Object,
        /// What is wrong.
        damage: Damage,
    },
    /// No index names a blob.
    #[error("{0:?} is in no pack that an index names")]
    NoBlob(crate::pack::Blob),
    /// A repository is there already.
    #[error("there is a repository already")]
    Exists,
    /// No repository is there.
    #[error("there is no repository: no `config`")]
    NoRepository,
    /// In a version that is not known.
    #[error("the repository has version {0} of the format; {VERSION} is known")]
    Version(u32),
    /// Its polynomial is of no use.
    #[error("the repository's config names a polynomial that no chunker can use")]
    Polynomial,
    /// None of its key files opens.
    #[error("no key file opens with this password")]
    NoKey(#[source] KeyFileError),
    /// Compression failed, for want of memory.
    #[error("cannot compress")]
    Compress(#[source] io::Error),
}

impl RepositoryError {
    pub(crate) fn damaged(object: Object, damage: impl Into<Damage>) -> Self {
        Self::Damaged { object, damage: damage.into() }
    }
}

impl Repository {
    /// Makes a new repository, sealed with `key`. A key file, for a password, is written apart: [`Repository::add_key`].
    ///
    /// # Errors
    /// When one is there already, or nothing can be written.
    pub fn create(backend: Arc<dyn Backend>, key: MasterKey) -> Result<Self, RepositoryError> {
        if !backend.list(ObjectKind::Config)?.is_empty() {
            return Err(RepositoryError::Exists);
        }
        let config = RepositoryConfig::generate();
        let json = serde_json::to_vec(&config).expect("numbers are written");
        let mut sealed = Vec::new();
        key.seal(&json, &mut sealed);
        backend.put(Object::CONFIG, &sealed)?;
        // Of two who make it at once, the config that stands is the repository's.
        Self::open(backend, key)
    }

    /// Opens with the master key.
    ///
    /// # Errors
    /// When there is none, or the key is another's.
    pub fn open(backend: Arc<dyn Backend>, key: MasterKey) -> Result<Self, RepositoryError> {
        let mut sealed = match backend.get(Object::CONFIG, None) {
            Err(BackendError::Missing(_)) => return Err(RepositoryError::NoRepository),
            got => got?,
        };
        let damaged = |damage: Damage| RepositoryError::damaged(Object::CONFIG, damage);
        let json = key.open(&mut sealed).map_err(|error| damaged(error.into()))?;
        let config: RepositoryConfig =
            serde_json::from_slice(json).map_err(|error| damaged(Damage::Document("config", error)))?;
        if config.version != VERSION {
            return Err(RepositoryError::Version(config.version));
        }
        let tables = Tables::new(config.chunker_polynomial).ok_or(RepositoryError::Polynomial)?;
        Ok(Self { backend, key, config, tables: Arc::new(tables) })
    }

    /// Opens with a password, by the first of the key files that it opens.
    ///
    /// # Errors
    /// When none opens, or the repository cannot be read.
    pub fn open_with_password(backend: Arc<dyn Backend>, password: &[u8]) -> Result<Self, RepositoryError> {
        if backend.list(ObjectKind::Config)?.is_empty() {
            return Err(RepositoryError::NoRepository);
        }
        let mut last = KeyFileError::WrongPassword;
        for Listed { id, .. } in backend.list(ObjectKind::Key)? {
            let json = read_named(&*backend, Object::new(ObjectKind::Key, id))?;
            match KeyFile::from_json(&json).and_then(|file| file.open(password)) {
                Ok(key) => return Self::open(backend, key),
                Err(error) => last = error,
            }
        }
        Err(RepositoryError::NoKey(last))
    }

    /// Writes a key file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add_key(&self, file: &KeyFile) -> Result<ObjectId, RepositoryError> {
        let json = file.to_json();
        let id = ObjectId::of(&json);
        self.backend.put(Object::new(ObjectKind::Key, id), &json)?;
        Ok(id)
    }

    /// Where its objects lie.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// What its content is sealed with.
    pub fn key(&self) -> &MasterKey {
        &self.key
    }

    /// Its identity.
    pub fn config(&self) -> &RepositoryConfig {
        &self.config
    }

    /// Of its chunker.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Reads a document (a snapshot, an index, a lock): its name, its seal and its text are compared.
    ///
    /// # Errors
    /// When it is missing, damaged or unreadable.
    pub fn read_document<D: DeserializeOwned>(
        &self,
        object: Object,
        what: &'static str,
    ) -> Result<D, RepositoryError> {
        let damaged = |damage: Damage| RepositoryError::damaged(object, damage);
        let mut sealed = read_named(&*self.backend, object)?;
        let opened = self.key.open(&mut sealed).map_err(|error| damaged(error.into()))?;
        let plain;
        let json = match opened.split_first() {
            Some((&COMPRESSED, compressed)) => {
                plain = decompress(compressed).map_err(|error| damaged(Damage::Compression(error)))?;
                plain.as_slice()
            }
            _ => opened,
        };
        serde_json::from_slice(json).map_err(|error| damaged(Damage::Document(what, error)))
    }

    /// Seals and stores a document.
    ///
    /// # Errors
    /// When it was not stored.
    pub fn write_document(
        &self,
        kind: ObjectKind,
        document: &impl Serialize,
    ) -> Result<ObjectId, RepositoryError> {
        let sealed = self.seal_document(document)?;
        let id = ObjectId::of(&sealed);
        self.backend.put(Object::new(kind, id), &sealed)?;
        Ok(id)
    }

    /// The bytes that [`Repository::write_document`] would store.
    ///
    /// # Errors
    /// When there is no memory to compress.
    pub fn seal_document(&self, document: &impl Serialize) -> Result<Vec<u8>, RepositoryError> {
        let json = serde_json::to_vec(document).expect("texts and numbers are written");
        let mut plain = vec![COMPRESSED];
        let compressed = zstd::bulk::compress(&json, COMPRESSION_LEVEL).map_err(RepositoryError::Compress)?;
        plain.extend_from_slice(&compressed);
        let mut sealed = Vec::new();
        self.key.seal(&plain, &mut sealed);
        Ok(sealed)
    }

    /// All index objects together.
    ///
    /// # Errors
    /// When any is damaged or unreadable: blobs that it names would be stored again, or be missed.
    pub fn load_index(&self) -> Result<Index, RepositoryError> {
        let mut index = Index::default();
        let mut listed = self.backend.list(ObjectKind::Index)?;
        listed.sort_by_key(|listed| listed.id);
        for Listed { id, .. } in listed {
            index.add_file(&self.read_document::<IndexFile>(Object::new(ObjectKind::Index, id), "index")?);
        }
        Ok(index)
    }

    /// A snapshot.
    ///
    /// # Errors
    /// When it is missing, damaged or unreadable.
    pub fn read_snapshot(&self, id: ObjectId) -> Result<Snapshot, RepositoryError> {
        self.read_document(Object::new(ObjectKind::Snapshot, id), "snapshot")
    }

    /// All snapshots, oldest first.
    ///
    /// # Errors
    /// When any is damaged or unreadable.
    pub fn snapshots(&self) -> Result<Vec<(ObjectId, Snapshot)>, RepositoryError> {
        let listed = self.backend.list(ObjectKind::Snapshot)?;
        let mut snapshots = listed
            .into_iter()
            .map(|listed| Ok((listed.id, self.read_snapshot(listed.id)?)))
            .collect::<Result<Vec<_>, RepositoryError>>()?;
        snapshots.sort_by_key(|(id, snapshot)| (snapshot.time, *id));
        Ok(snapshots)
    }

    /// A blob, read from where the index says.
    ///
    /// # Errors
    /// When no index names it, or it is missing, damaged or unreadable.
    pub fn read_blob(&self, index: &Index, blob: crate::pack::Blob) -> Result<Vec<u8>, RepositoryError> {
        let location = index.find(blob).ok_or(RepositoryError::NoBlob(blob))?;
        self.read_located(location)
    }

    /// A blob, read from `location`.
    ///
    /// # Errors
    /// When it is missing, damaged or unreadable.
    pub fn read_located(&self, location: Location) -> Result<Vec<u8>, RepositoryError> {
        let Location { pack, entry } = location;
        let object = Object::new(ObjectKind::Pack, pack);
        let start = u64::from(entry.offset);
        let mut sealed = self.backend.get(object, Some(start..start + u64::from(entry.length)))?;
        open_blob(&self.key, entry.blob, &mut sealed, entry.uncompressed)
            .map_err(|error| RepositoryError::damaged(object, error))
    }

    /// A folder.
    ///
    /// # Errors
    /// When it is missing, damaged or unreadable.
    pub fn read_tree(&self, index: &Index, id: ObjectId) -> Result<Tree, RepositoryError> {
        let blob = crate::pack::Blob { kind: crate::pack::BlobKind::Tree, id };
        let location = index.find(blob).ok_or(RepositoryError::NoBlob(blob))?;
        let json = self.read_located(location)?;
        let object = Object::new(ObjectKind::Pack, location.pack);
        Tree::from_json(&json).map_err(|error| RepositoryError::damaged(object, error))
    }

    /// What a pack of `size` bytes holds, by its own header.
    ///
    /// # Errors
    /// When it is missing, damaged or unreadable. The blobs in it are not read.
    pub fn read_pack_header(&self, pack: Listed) -> Result<Vec<Entry>, RepositoryError> {
        let object = Object::new(ObjectKind::Pack, pack.id);
        let damaged = |error: PackError| RepositoryError::damaged(object, error);
        let tail_start = pack.size.checked_sub(4).ok_or(PackError::Short).map_err(damaged)?;
        let tail = self.backend.get(object, Some(tail_start..pack.size))?;
        let tail = tail.try_into().map_err(|_| damaged(PackError::Short))?;
        let start = header_start(pack.size, tail).map_err(damaged)?;
        let mut sealed = self.backend.get(object, Some(start..tail_start))?;
        read_header(&self.key, &mut sealed, start).map_err(damaged)
    }
}

/// A whole object whose bytes have its name.
fn read_named(backend: &dyn Backend, object: Object) -> Result<Vec<u8>, RepositoryError> {
    let bytes = backend.get(object, None)?;
    if ObjectId::of(&bytes) == object.id {
        Ok(bytes)
    } else {
        Err(RepositoryError::damaged(object, Damage::Name))
    }
}

fn decompress(compressed: &[u8]) -> io::Result<Vec<u8>> {
    use std::io::Read as _;

    let limit = u64::try_from(DOCUMENT_BYTES_MAX).unwrap_or(u64::MAX);
    let mut plain = Vec::new();
    zstd::stream::read::Decoder::new(compressed)?.take(limit + 1).read_to_end(&mut plain)?;
    if plain.len() > DOCUMENT_BYTES_MAX {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Memory;

    fn made() -> (Arc<Memory>, Repository) {
        let backend = Arc::new(Memory::default());
        let repository = Repository::create(backend.clone(), MasterKey::generate()).unwrap();
        (backend, repository)
    }

    #[test]
    fn a_repository_opens_with_its_key_and_with_a_password_of_its_own() {
        let (backend, repository) = made();
        let time = "2026-05-03T10:14:00Z".to_owned();
        let file = KeyFile::seal(repository.key(), b"secret", time, "root".to_owned(), "web-1".to_owned());
        repository.add_key(&file).unwrap();
        let opened = Repository::open_with_password(backend.clone(), b"secret").unwrap();
        assert_eq!(opened.config(), repository.config());
        let wrong = Repository::open_with_password(backend.clone(), b"guess");
        assert!(matches!(wrong, Err(RepositoryError::NoKey(_))));
        let foreign = Repository::open(backend.clone(), MasterKey::generate());
        assert!(matches!(foreign, Err(RepositoryError::Damaged { damage: Damage::Sealed(_), .. })));
        let again = Repository::create(backend, MasterKey::generate());
        assert!(matches!(again, Err(RepositoryError::Exists)));
        let nowhere = Repository::open(Arc::new(Memory::default()), MasterKey::generate());
        assert!(matches!(nowhere, Err(RepositoryError::NoRepository)));
    }

    #[test]
    fn documents_are_read_as_written_and_damage_has_a_name() {
        let (backend, repository) = made();
        let index = IndexFile::default();
        let id = repository.write_document(ObjectKind::Index, &index).unwrap();
        let object = Object::new(ObjectKind::Index, id);
        assert!(repository.load_index().unwrap().is_empty());
        let mut bytes = backend.get(object, None).unwrap();
        bytes[20] ^= 1;
        backend.overwrite(object, bytes);
        let error = repository.load_index().unwrap_err();
        assert!(
            matches!(&error, RepositoryError::Damaged { object: named, damage: Damage::Name } if *named == object)
        );
        assert!(error.to_string().contains(&id.to_string()), "{error}");
    }
}
