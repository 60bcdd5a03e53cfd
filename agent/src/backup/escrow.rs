//! Who can open a repository beside its node.
//!
//! A key file for stock restic has a random password, sealed to each recipient that the policy names and carried inside
//! the key file: who holds such an identity needs nothing but the repository, `age` and `restic`. Recipients come from
//! the signed policy alone, and which key file was made for them is remembered here: what a store shows is not believed.
//! A recipient that the policy drops keeps the way in that it had, for the master key stays.

use std::path::PathBuf;

use campanile_backup::backend::{BackendError, Object, ObjectKind};
use campanile_backup::id::ObjectId;
use campanile_backup::key_file::{Escrow, KeyFile};
use campanile_backup::repository::Repository;
use campanile_common::api::KeyLine;
use campanile_common::time::Timestamp;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::error::BackupError;
use super::key::{KeyError, Recipient, armored, seal};
use crate::os::{file, random, user};

/// Longest record, and longest key file that is shown.
const RECORD_BYTES_MAX: u64 = 256 << 10;

/// Key files that are remembered; older ones are forgotten, and written anew where they are wanted.
const MADE_MAX: usize = 64;

/// The key files that were made here, the newest last.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    made: Vec<Made>,
}

/// A key file, and for whom it is.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    key: ObjectId,
    recipients: Vec<String>,
}

/// Sees to it that `recipients` can open the repository. True when a key file was written.
pub(super) fn ensure(
    repository: &Repository,
    path: PathBuf,
    recipients: &[String],
    node: &str,
    now: Timestamp,
) -> Result<bool, BackupError> {
    let parsed = recipients.iter().map(|text| text.parse::<Recipient>()).collect::<Result<Vec<_>, _>>();
    let parsed = parsed.map_err(KeyError::from)?;
    let mut wanted: Vec<String> = parsed.iter().map(ToString::to_string).collect();
    wanted.sort();
    wanted.dedup();
    let mut record = load(&path)?;
    if has_way_in(repository, &record, &wanted)? {
        return Ok(false);
    }
    let password = Zeroizing::new(HEXLOWER.encode(&random::bytes::<32>()));
    let (username, created) = (user::own().name, now.to_string());
    let mut made = KeyFile::seal(repository.key(), password.as_bytes(), created, username, node.to_owned());
    let sealed = seal(&parsed, password.as_bytes()).map_err(KeyError::from)?;
    made.escrow = Some(Escrow { recipients: wanted.clone(), password: armored(&sealed) });
    let id = repository.add_key(&made)?;
    record.made.push(Made { key: id, recipients: wanted });
    let excess = record.made.len().saturating_sub(MADE_MAX);
    record.made.drain(..excess);
    let text = serde_json::to_vec(&record).expect("texts are written");
    file::replace(&path, &text).map_err(|source| KeyError::File { path, source })?;
    Ok(true)
}

/// None is the empty one: the key file is then written anew.
fn load(path: &std::path::Path) -> Result<Record, KeyError> {
    let failed = |source| KeyError::File { path: path.to_owned(), source };
    let Some(text) = file::read_secret(path, RECORD_BYTES_MAX).map_err(failed)? else {
        return Ok(Record::default());
    };
    serde_json::from_slice(&text).map_err(|_| KeyError::Damaged { path: path.to_owned() })
}

/// Whether each recipient has a key file that was made here and is still there. Several policies may name others for
/// one repository.
fn has_way_in(repository: &Repository, record: &Record, wanted: &[String]) -> Result<bool, BackendError> {
    let mut left: Vec<&String> = wanted.iter().collect();
    for made in record.made.iter().rev() {
        if left.iter().any(|one| made.recipients.contains(one)) && is_there(repository, made.key)? {
            left.retain(|one| !made.recipients.contains(one));
        }
    }
    Ok(left.is_empty())
}

/// Whether a key file is there with all its bytes.
fn is_there(repository: &Repository, id: ObjectId) -> Result<bool, BackendError> {
    match repository.backend().get(Object::new(ObjectKind::Key, id), None) {
        Ok(bytes) => Ok(ObjectId::of(&bytes) == id),
        Err(BackendError::Missing(_) | BackendError::Short(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// All ways into a repository.
pub(super) fn shown(repository: &Repository, path: PathBuf) -> Result<Vec<KeyLine>, BackupError> {
    let record = load(&path)?;
    let mut lines = Vec::new();
    for listed in repository.backend().list(ObjectKind::Key)? {
        let bytes = repository.backend().get(Object::new(ObjectKind::Key, listed.id), None)?;
        let Ok(found) = KeyFile::from_json(&bytes) else { continue };
        let is_named = record.made.iter().any(|made| made.key == listed.id);
        lines.push(KeyLine {
            id: listed.id.to_string(),
            created: found.created,
            ours: is_named && ObjectId::of(&bytes) == listed.id,
            recipients: found.escrow.map(|escrow| escrow.recipients).unwrap_or_default(),
        });
    }
    lines.sort_by(|left, right| (&left.created, &left.id).cmp(&(&right.created, &right.id)));
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use campanile_backup::backend::Memory;
    use campanile_backup::key::MasterKey;

    const NOW: Timestamp = Timestamp::from_millis(1_777_000_000_000);

    fn repository() -> Repository {
        Repository::create(Arc::new(Memory::default()), MasterKey::generate()).unwrap()
    }

    fn identity() -> (age::x25519::Identity, String) {
        let identity = age::x25519::Identity::generate();
        let recipient = identity.to_public().to_string();
        (identity, recipient)
    }

    #[test]
    fn a_recipient_of_the_policy_opens_the_repository_and_a_new_one_gets_a_way_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = || folder.path().join("repository.escrow");
        let (repository, (first, one), (second, two)) = (repository(), identity(), identity());
        assert!(ensure(&repository, path(), std::slice::from_ref(&one), "web-1", NOW).unwrap());
        assert!(!ensure(&repository, path(), std::slice::from_ref(&one), "web-1", NOW).unwrap(), "once");
        assert!(ensure(&repository, path(), &[two.clone(), one.clone()], "web-1", NOW).unwrap());
        assert!(!ensure(&repository, path(), &[one.clone(), two.clone()], "web-1", NOW).unwrap());
        assert!(!ensure(&repository, path(), std::slice::from_ref(&one), "web-1", NOW).unwrap());
        let lines = shown(&repository, path()).unwrap();
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| line.ours && line.recipients.contains(&one)));
        let mut openers = Vec::new();
        for listed in repository.backend().list(ObjectKind::Key).unwrap() {
            let bytes = repository.backend().get(Object::new(ObjectKind::Key, listed.id), None).unwrap();
            let file = KeyFile::from_json(&bytes).unwrap();
            let escrow = file.escrow.clone().unwrap();
            let body: String = escrow.password.lines().filter(|line| !line.starts_with("-----")).collect();
            let sealed = data_encoding::BASE64.decode(body.as_bytes()).unwrap();
            for identity in [&first, &second] {
                if let Ok(password) = age::decrypt(identity, &sealed) {
                    assert_eq!(&file.open(&password).unwrap(), repository.key());
                    openers.push(identity.to_public().to_string());
                }
            }
        }
        openers.sort();
        let mut expected = vec![one.clone(), one, two];
        expected.sort();
        assert_eq!(openers, expected);
    }

    #[test]
    fn a_key_file_that_the_store_lost_or_never_had_is_written_anew_and_no_other_is_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = || folder.path().join("repository.escrow");
        let (repository, (_, one)) = (repository(), identity());
        // The store claims that the recipient has a way in.
        let mut forged =
            KeyFile::seal(&MasterKey::generate(), b"x", NOW.to_string(), String::new(), String::new());
        forged.escrow = Some(Escrow { recipients: vec![one.clone()], password: "none".to_owned() });
        repository.add_key(&forged).unwrap();
        assert!(ensure(&repository, path(), std::slice::from_ref(&one), "web-1", NOW).unwrap());
        let ours: Vec<bool> = shown(&repository, path()).unwrap().iter().map(|line| line.ours).collect();
        assert_eq!(ours.iter().filter(|ours| **ours).count(), 1);
        let id = load(&path()).unwrap().made[0].key;
        repository.backend().remove(Object::new(ObjectKind::Key, id)).unwrap();
        assert!(ensure(&repository, path(), &[one], "web-1", NOW).unwrap(), "it was lost");
    }

    #[test]
    fn what_is_no_recipient_is_refused_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let repository = repository();
        let path = folder.path().join("repository.escrow");
        assert!(ensure(&repository, path, &["age1nobody".to_owned()], "web-1", NOW).is_err());
        assert!(repository.backend().list(ObjectKind::Key).unwrap().is_empty());
    }
}
