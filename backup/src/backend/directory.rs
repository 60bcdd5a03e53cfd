//! Objects as files in restic's own layout, so that stock `restic -r DIR` works on the same folder.

#![expect(clippy::disallowed_methods, reason = "a backend is where objects are read and written")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use data_encoding::HEXLOWER;

use super::{Backend, BackendError, Listed, Object, ObjectKind};
use crate::random;

/// What the name of a file begins with while it is written.
const UNFINISHED: &str = ".new-";
/// A file that was written to within this time may still be finished.
const UNFINISHED_AGE: Duration = Duration::from_secs(24 * 3600);

/// A folder of the file system.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// The repository at `root`, which must be there.
    ///
    /// # Errors
    /// When `root` is no folder.
    pub fn open(root: &Path) -> io::Result<Self> {
        if !fs::metadata(root)?.is_dir() {
            return Err(io::Error::from(io::ErrorKind::NotADirectory));
        }
        Ok(Self { root: root.to_owned() })
    }

    /// Makes the folders of a repository at `root`.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn create(root: &Path) -> io::Result<Self> {
        for kind in ObjectKind::ALL.into_iter().filter(|kind| *kind != ObjectKind::Config) {
            fs::create_dir_all(root.join(kind.folder()))?;
        }
        for byte in 0..=u8::MAX {
            fs::create_dir_all(root.join(ObjectKind::Pack.folder()).join(HEXLOWER.encode(&[byte])))?;
        }
        Ok(Self { root: root.to_owned() })
    }

    /// Where an object lies.
    pub fn path(&self, object: Object) -> PathBuf {
        let folder = self.root.join(object.kind.folder());
        let name = object.id.to_string();
        match object.kind {
            ObjectKind::Config => folder,
            ObjectKind::Pack => folder.join(&name[..2]).join(name),
            ObjectKind::Key | ObjectKind::Snapshot | ObjectKind::Index | ObjectKind::Lock => {
                folder.join(name)
            }
        }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let folder = path.parent().unwrap_or(&self.root);
        let temporary = folder.join(format!("{UNFINISHED}{}", HEXLOWER.encode(&random::bytes::<8>())));
        let written = write_synced(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
        if let Err(error) = written {
            // What is left is no object; that it could not be removed changes nothing about the error.
            drop(fs::remove_file(&temporary));
            return Err(error);
        }
        File::open(folder)?.sync_all()
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Readable for nobody else; as restic leaves them.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn failed(doing: &'static str, object: Object) -> impl Fn(io::Error) -> BackendError {
    move |source| match source.kind() {
        io::ErrorKind::NotFound if doing != "write" => BackendError::Missing(object),
        io::ErrorKind::UnexpectedEof => BackendError::Short(object),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            BackendError::Full { object, reason: source.to_string() }
        }
        _ => BackendError::Io { doing, object, source },
    }
}

impl Backend for Directory {
    fn put(&self, object: Object, bytes: &[u8]) -> Result<(), BackendError> {
        let path = self.path(object);
        match fs::symlink_metadata(&path) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.write(&path, bytes).map_err(failed("write", object))
            }
            Err(error) => Err(failed("write", object)(error)),
        }
    }

    fn get(&self, object: Object, range: Option<Range<u64>>) -> Result<Vec<u8>, BackendError> {
        let failed = failed("read", object);
        let mut file = File::open(self.path(object)).map_err(&failed)?;
        let Some(range) = range else {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map_err(failed)?;
            return Ok(bytes);
        };
        // Compared first, so that a damaged index cannot make a buffer of any size.
        let size = file.metadata().map_err(&failed)?.len();
        let length = range.end.checked_sub(range.start).filter(|_| range.end <= size);
        let length =
            length.and_then(|length| usize::try_from(length).ok()).ok_or(BackendError::Short(object))?;
        // Not filled with zeros first: these are most of the bytes that a check or a restore handles.
        let mut bytes = Vec::with_capacity(length);
        file.seek(SeekFrom::Start(range.start)).map_err(&failed)?;
        file.take(length as u64).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() == length { Ok(bytes) } else { Err(BackendError::Short(object)) }
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>, BackendError> {
        let some = Object { kind, ..Object::CONFIG };
        let failed = failed("list", some);
        let folder = self.root.join(kind.folder());
        let mut listed = Vec::new();
        match kind {
            ObjectKind::Config => {
                let size = match fs::metadata(&folder) {
                    Ok(metadata) => metadata.len(),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listed),
                    Err(error) => return Err(failed(error)),
                };
                listed.push(Listed { id: some.id, size });
            }
            ObjectKind::Pack => {
                for entry in fs::read_dir(&folder).map_err(&failed)? {
                    let entry = entry.map_err(&failed)?;
                    if entry.file_type().map_err(&failed)?.is_dir() {
                        list_folder(&entry.path(), &mut listed).map_err(&failed)?;
                    }
                }
            }
            ObjectKind::Key | ObjectKind::Snapshot | ObjectKind::Index | ObjectKind::Lock => {
                list_folder(&folder, &mut listed).map_err(failed)?;
            }
        }
        Ok(listed)
    }

    fn remove(&self, object: Object) -> Result<(), BackendError> {
        match fs::remove_file(self.path(object)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", object)(error)),
            _ => Ok(()),
        }
    }

    fn remove_leftovers(&self) -> Result<u64, BackendError> {
        let failed = failed("remove what a cut write left beside", Object::CONFIG);
        let mut removed = remove_unfinished(&self.root).map_err(&failed)?;
        for kind in ObjectKind::ALL.into_iter().filter(|kind| *kind != ObjectKind::Config) {
            let folder = self.root.join(kind.folder());
            removed += remove_unfinished(&folder).map_err(&failed)?;
            if kind == ObjectKind::Pack {
                for byte in 0..=u8::MAX {
                    removed += remove_unfinished(&folder.join(HEXLOWER.encode(&[byte]))).map_err(&failed)?;
                }
            }
        }
        Ok(removed)
    }
}

/// Of one folder; of one that is not there, nothing.
fn remove_unfinished(folder: &Path) -> io::Result<u64> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
            continue;
        }
        match remove_if_old(&entry) {
            Ok(is_removed) => removed += u64::from(is_removed),
            // Gone since it was listed: it was finished.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

/// By the clock that the file's own time is from. One of the future is not old.
fn remove_if_old(entry: &fs::DirEntry) -> io::Result<bool> {
    let metadata = entry.metadata()?;
    let age = SystemTime::now().duration_since(metadata.modified()?).unwrap_or_default();
    let is_old = metadata.is_file() && age >= UNFINISHED_AGE;
    if is_old {
        fs::remove_file(entry.path())?;
    }
    Ok(is_old)
}

/// Files whose name is an object's; what a cut write left has another.
fn list_folder(folder: &Path, listed: &mut Vec<Listed>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        match entry.metadata() {
            Ok(metadata) => listed.push(Listed { id, size: metadata.len() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ObjectId;

    #[test]
    fn objects_are_stored_once_and_read_in_parts() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::create(folder.path()).unwrap();
        for kind in ObjectKind::ALL {
            let object = match kind {
                ObjectKind::Config => Object::CONFIG,
                kind => Object::new(kind, ObjectId::of(b"0123456789")),
            };
            assert!(matches!(directory.get(object, None), Err(BackendError::Missing(_))));
            assert!(directory.list(kind).unwrap().is_empty());
            directory.put(object, b"0123456789").unwrap();
            directory.put(object, b"something else").unwrap();
            assert_eq!(directory.get(object, None).unwrap(), b"0123456789");
            assert_eq!(directory.get(object, Some(2..5)).unwrap(), b"234");
            assert!(matches!(directory.get(object, Some(8..11)), Err(BackendError::Short(_))));
            assert!(matches!(directory.get(object, Some(0..u64::MAX)), Err(BackendError::Short(_))));
            assert_eq!(directory.list(kind).unwrap(), [Listed { id: object.id, size: 10 }]);
            directory.remove(object).unwrap();
            directory.remove(object).unwrap();
            assert!(directory.list(kind).unwrap().is_empty());
        }
    }

    #[test]
    fn what_a_cut_write_left_is_no_object() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::create(folder.path()).unwrap();
        fs::write(folder.path().join("index/.new-0011223344556677"), b"half").unwrap();
        assert!(directory.list(ObjectKind::Index).unwrap().is_empty());
    }

    #[test]
    fn what_cut_writes_left_goes_after_a_day_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::create(folder.path()).unwrap();
        let object = Object::new(ObjectKind::Pack, ObjectId::of(b"a pack"));
        directory.put(object, b"a pack").unwrap();
        let make = |name: &str, hours: u64| {
            let path = folder.path().join(name);
            fs::write(&path, b"half").unwrap();
            let time = SystemTime::now() - Duration::from_secs(hours * 3600);
            File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
            path
        };
        let old = [".new-00", "index/.new-0011223344556677", "data/ff/.new-01"].map(|name| make(name, 25));
        let kept = [make("data/ff/.new-02", 23), make("snapshots/notes", 25), directory.path(object)];
        assert_eq!(directory.remove_leftovers().unwrap(), 3);
        assert!(old.iter().all(|path| !path.exists()) && kept.iter().all(|path| path.exists()));
        assert_eq!(directory.remove_leftovers().unwrap(), 0);
    }

    #[test]
    fn a_folder_that_is_not_there_is_not_opened() {
        assert!(Directory::open(Path::new("/nowhere/at/all")).is_err());
    }
}
