//! This node's master keys: one for each place that has a repository.
//!
//! A key is made at first use and stored before anything is sealed with it: a file that its owner alone may read, sealed
//! to this node's sealing identity, so that an unattended run pays for no password. Whoever has the node has its key;
//! what a stolen node cannot do is for the store to see to.

use std::io;
use std::path::{Path, PathBuf};

use campanile_backup::id::ObjectId;
use campanile_backup::key::MasterKey;
use zeroize::Zeroizing;

use super::target::Target;
use crate::config::sealing::{self, Identity, SealingError};
use crate::os::{file, folder};

pub(super) use crate::config::sealing::{NotARecipient, Recipient, armored, seal};

/// Longest key file: a key has some 200 bytes, sealed 500.
const KEY_BYTES_MAX: u64 = 8192;

/// A key that cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyError {
    /// The sealing identity.
    #[error("this node's sealing key cannot be used: {0}")]
    Identity(#[source] io::Error),
    /// A file.
    #[error("the key {path} cannot be read or written: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Sealed to another identity, or altered.
    #[error(
        "the key {path} does not open with this node's sealing key ({source}); put back the file or the sealing key, \
         or recover with an escrow identity"
    )]
    Sealed {
        /// Which.
        path: PathBuf,
        /// Why.
        source: SealingError,
    },
    /// Opened, and no key.
    #[error("the key {path} is damaged; put back the file, or recover with an escrow identity")]
    Damaged {
        /// Which.
        path: PathBuf,
    },
    /// A repository without its key.
    #[error(
        "a repository is there already and this node has no key for it ({path}); put back the file, recover with an \
         escrow identity, or choose another target"
    )]
    Lost {
        /// Where it should be.
        path: PathBuf,
    },
    /// Sealed to another node, or altered.
    #[error("the key of the other node's repository does not open with this node's sealing key: {0}")]
    NotForUs(#[source] SealingError),
    /// Nothing that opens the other node's repository.
    #[error(
        "the order brings no way into the other node's repository; give it again with the escrow identity"
    )]
    NoWays,
    /// A recipient to which nothing can be sealed.
    #[error(transparent)]
    Recipient(#[from] NotARecipient),
}

/// The keys of this node.
#[derive(Debug)]
pub(super) struct Keys {
    folder: PathBuf,
    identity: Identity,
}

impl Keys {
    /// Those in `folder`, which is made, with the sealing identity at `identity`, which is made as well.
    pub(super) fn open(folder: &Path, identity: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File { path: folder.to_owned(), source };
        folder::make_private(folder).map_err(failed)?;
        if let Some(above) = identity.parent() {
            folder::make_private(above).map_err(KeyError::Identity)?;
        }
        let identity = Identity::load_or_create(identity).map_err(KeyError::Identity)?;
        Ok(Self { folder: folder.to_owned(), identity })
    }

    /// Where the key for a target is; with another `ending`, what belongs to it.
    pub(super) fn path(&self, target: &Target, ending: &str) -> PathBuf {
        self.folder.join(match target {
            Target::Aggregator => format!("repository.{ending}"),
            Target::Folder(_) | Target::S3 { .. } | Target::Sftp { .. } => {
                let id = ObjectId::of(target.to_string().as_bytes());
                format!("repository-{}.{ending}", id.short())
            }
        })
    }

    /// The key for a target; none when it was never made.
    pub(super) fn load(&self, target: &Target) -> Result<Option<MasterKey>, KeyError> {
        let path = self.path(target, "key");
        let read = file::read_secret(&path, KEY_BYTES_MAX);
        let failed = |source| KeyError::File { path: path.clone(), source };
        let Some(sealed) = read.map_err(failed)? else { return Ok(None) };
        let opened =
            self.identity.open(&sealed).map_err(|source| KeyError::Sealed { path: path.clone(), source })?;
        MasterKey::from_json(&opened).map(Some).map_err(|_| KeyError::Damaged { path })
    }

    /// The key for a target, made when there is none: durable when this returns. Of two processes that make it at
    /// once, both get the same.
    pub(super) fn load_or_make(&self, target: &Target) -> Result<MasterKey, KeyError> {
        if let Some(key) = self.load(target)? {
            return Ok(key);
        }
        let path = self.path(target, "key");
        let key = MasterKey::generate();
        let sealed = sealing::seal(&[self.identity.to_recipient()], key.to_json().as_bytes())?;
        match file::create(&path, &sealed) {
            Ok(()) => Ok(key),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.load(target)?.ok_or(KeyError::Damaged { path })
            }
            Err(source) => Err(KeyError::File { path, source }),
        }
    }
}

/// Opens what an order brought, with the sealing identity that is there: one that is made now opens nothing.
pub(super) fn open_sealed(identity: &Path, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let identity = Identity::load(identity).map_err(KeyError::Identity)?;
    let identity = identity.ok_or(KeyError::NotForUs(SealingError::NotForUs))?;
    identity.open(sealed).map_err(KeyError::NotForUs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(folder: &Path) -> Keys {
        Keys::open(&folder.join("backup"), &folder.join("config/secrets.key")).unwrap()
    }

    #[test]
    fn a_key_is_made_once_and_each_target_has_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::Folder("/srv/backup".into());
        assert!(keys(folder.path()).load(&target).unwrap().is_none());
        let made = keys(folder.path()).load_or_make(&target).unwrap();
        assert_eq!(keys(folder.path()).load_or_make(&target).unwrap(), made);
        assert_ne!(keys(folder.path()).load_or_make(&Target::Aggregator).unwrap(), made);
        assert!(folder.path().join("backup/repository.key").exists());
    }

    #[test]
    fn of_many_that_make_it_at_once_all_get_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let make = || keys(folder.path()).load_or_make(&Target::Aggregator).unwrap();
        let made: Vec<MasterKey> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(made.iter().all(|key| *key == made[0]));
    }

    #[test]
    fn a_key_of_another_node_or_an_altered_one_is_told_apart_from_none() {
        let folder = tempfile::tempdir().unwrap();
        let (keys, target) = (keys(folder.path()), Target::Aggregator);
        keys.load_or_make(&target).unwrap();
        let other = Identity::load_or_create(&folder.path().join("other")).unwrap();
        let theirs = Keys { folder: keys.folder.clone(), identity: other };
        let error = theirs.load(&target).unwrap_err();
        assert!(matches!(error, KeyError::Sealed { source: SealingError::NotForUs, .. }), "{error}");
        let path = keys.path(&target, "key");
        let nonsense = sealing::seal(&[keys.identity.to_recipient()], b"no key").unwrap();
        file::replace(&path, &nonsense).unwrap();
        assert!(matches!(keys.load(&target), Err(KeyError::Damaged { .. })));
    }
}
