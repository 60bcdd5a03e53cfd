//! Opens the file, and refuses it unless it is whole, ours and of a known schema.
//!
//! A new store is built beside its place and moved there when it is complete, so a file that is empty or cut short
//! is always damage. The lock file beside it orders processes that start together and remembers that there was a
//! store: one that has gone is not taken for a first start.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::failure;
use super::migrate::Release;
use crate::os::disk::{self, FileLock};
use crate::state::StateError;

/// `CAMP`: tells our files from other SQLite files.
const APPLICATION_ID: i32 = i32::from_be_bytes(*b"CAMP");
/// What every SQLite file begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const HEADER_BYTES: usize = 100;
/// Where the header holds the application id.
const APPLICATION_ID_RANGE: std::ops::Range<usize> = 68..72;
const PAGE_BYTES: u64 = 4096;
/// What the lock file holds once there is a store.
const MARK: &str = "campanile state store\n";
/// How long one process waits for another's transaction.
const BUSY_WAIT_MAX: Duration = Duration::from_secs(5);

/// Who opens a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opener {
    /// Nobody else uses it, or whoever does is of this release: it may be upgraded.
    Owner,
    /// An aggregator serves from it, perhaps one of another release.
    Guest,
}

/// The writer's connection to a store that was checked and has the newest schema.
pub(super) fn writer(
    path: &Path,
    bytes_max: u64,
    opener: Opener,
    release: &Release<'_>,
) -> Result<Connection, StateError> {
    let lock_path = beside(path, ".lock");
    let lock_failed = |error| failure::of_file(&lock_path, "lock", &error);
    let mut lock = FileLock::acquire(&lock_path).map_err(lock_failed)?;
    let was_made = !lock.content().map_err(lock_failed)?.is_empty();
    match disk::length(path).map_err(|error| failure::of_file(path, "read", &error))? {
        Some(length) => check_header(path, length)?,
        None => create(path, was_made, &lock_path, release)?,
    }
    let sql_failed = |error| failure::of_sql(path, "open", &error);
    let mut connection = connect(path).map_err(sql_failed)?;
    // A store that is refused stays as it is: a write-ahead log that a crash left is not even moved into the file.
    let wal = beside(path, "-wal");
    let wal_length = disk::length(&wal).map_err(|error| failure::of_file(&wal, "read", &error))?;
    let keep_log = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    connection.set_db_config(keep_log, wal_length.is_some_and(|length| length > 0)).map_err(sql_failed)?;
    let before = release.check(path, &connection)?;
    check_pages(path, &connection)?;
    match opener {
        Opener::Owner => release.upgrade(path, &mut connection, &before)?,
        Opener::Guest => release.check_served(path, &before)?,
    }
    if !was_made {
        lock.write(MARK).map_err(lock_failed)?;
    }
    connection.set_db_config(keep_log, false).map_err(sql_failed)?;
    prepare(&connection, bytes_max).map_err(sql_failed)?;
    Ok(connection)
}

/// A connection that reads alone.
pub(super) fn reader(path: &Path) -> Result<Connection, StateError> {
    connect(path)
        .and_then(|connection| {
            connection.pragma_update(None, "query_only", true)?;
            connection.pragma_update(None, "cache_size", -1024)?;
            Ok(connection)
        })
        .map_err(|error| failure::of_sql(path, "open", &error))
}

/// A connection with the checks that every one has.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_WAIT_MAX)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(connection)
}

fn prepare(connection: &Connection, bytes_max: u64) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -4096)?;
    // A write-ahead log that once grew gives its space back.
    connection.pragma_update(None, "journal_size_limit", 16 * 1024 * 1024)?;
    let pages_max = u32::try_from(bytes_max / PAGE_BYTES).unwrap_or(u32::MAX - 1).max(1);
    connection.pragma_update(None, "max_page_count", pages_max)
}

pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Looks at the file itself, before SQLite might repair, empty or extend it.
fn check_header(path: &Path, length: u64) -> Result<(), StateError> {
    let damaged = |detail: String| StateError::Damaged { path: path.to_owned(), detail };
    if length < PAGE_BYTES {
        return Err(damaged(format!("the file has {length} bytes, less than one page")));
    }
    // SQLite would fill up the last page with zeros. With a write-ahead log, a crash while the file grew explains it,
    // and the log holds the page.
    let wal = beside(path, "-wal");
    let wal_length = disk::length(&wal).map_err(|error| failure::of_file(&wal, "read", &error))?;
    if !length.is_multiple_of(PAGE_BYTES) && wal_length.unwrap_or(0) == 0 {
        return Err(damaged(format!("the file is cut off within a page, at {length} bytes")));
    }
    let header: [u8; HEADER_BYTES] =
        disk::first_bytes(path).map_err(|error| failure::of_file(path, "read", &error))?;
    if header[..MAGIC.len()] != MAGIC[..] {
        return Err(damaged("it does not begin as an SQLite file does".to_owned()));
    }
    if header[APPLICATION_ID_RANGE] != APPLICATION_ID.to_be_bytes() {
        return Err(StateError::Foreign { path: path.to_owned() });
    }
    Ok(())
}

fn create(path: &Path, was_made: bool, lock_path: &Path, release: &Release<'_>) -> Result<(), StateError> {
    let wal = beside(path, "-wal");
    let has_wal = disk::length(&wal).map_err(|error| failure::of_file(&wal, "read", &error))?.is_some();
    if was_made || has_wal {
        let witness = if has_wal { &wal } else { lock_path };
        let detail = format!(
            "the file is gone, but {} tells that there was one; remove that too only if the fleet is to begin anew",
            witness.display()
        );
        return Err(StateError::Damaged { path: path.to_owned(), detail });
    }
    let new = beside(path, ".new");
    let file_failed = |error| failure::of_file(&new, "make", &error);
    disk::remove_if_present(&new).map_err(file_failed)?;
    disk::remove_if_present(&beside(&new, "-journal")).map_err(file_failed)?;
    disk::create_private(&new).map_err(file_failed)?;
    let built = connect(&new).and_then(|mut connection| {
        connection.pragma_update(None, "page_size", PAGE_BYTES.cast_signed())?;
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
        release.apply(&mut connection)?;
        connection.close().map_err(|(_, error)| error)
    });
    built.map_err(|error| failure::of_sql(&new, "make", &error))?;
    disk::move_durably(&new, path).map_err(|error| failure::of_file(path, "make", &error))
}

pub(super) fn check_pages(path: &Path, connection: &Connection) -> Result<(), StateError> {
    let found: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| failure::of_sql(path, "check", &error))?;
    if found == "ok" {
        return Ok(());
    }
    Err(StateError::Damaged { path: path.to_owned(), detail: found.replace('\n', " ") })
}
