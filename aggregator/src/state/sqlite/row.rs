//! The rows: every SQL statement that reads or writes the map, its history and its leases.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::state::{Change, Entry, LeaseId, Range, Revision};

/// Changes of one read of the history; a commit is never cut.
const CHANGES_MAX: usize = 256;
/// Bytes of one read of the history.
const CHANGES_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Revisions are counted up from 0 by one: they do not reach the sign.
fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

/// Lowest and highest text around the keys with this prefix: keys are of characters from `!` to `~`.
fn bounds(prefix: &str) -> (String, String) {
    (prefix.to_owned(), format!("{prefix}\x7f"))
}

pub(super) fn get(connection: &Connection, key: &str) -> rusqlite::Result<Option<Entry>> {
    connection
        .prepare_cached("SELECT key, value, revision FROM entry WHERE key = ?1")?
        .query_row([key], entry)
        .optional()
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry { key: row.get(0)?, value: row.get(1)?, revision: Revision(number(row, 2)?) })
}

pub(super) fn range(connection: &Connection, range: &Range) -> rusqlite::Result<Vec<Entry>> {
    let (mut low, mut high) = bounds(&range.prefix);
    let sql = if range.descending {
        if let Some(before) = &range.after {
            high = high.min(before.clone());
        }
        "SELECT key, value, revision FROM entry WHERE key >= ?1 AND key < ?2 ORDER BY key DESC LIMIT ?3"
    } else {
        if let Some(after) = &range.after {
            // A space comes before every character of a key, so this is the first text past `after` itself.
            low = low.max(format!("{after} "));
        }
        "SELECT key, value, revision FROM entry WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3"
    };
    let limit = i64::try_from(range.limit).unwrap_or(i64::MAX);
    connection.prepare_cached(sql)?.query_map(params![low, high, limit], entry)?.collect()
}

fn counter(connection: &Connection, name: &str) -> rusqlite::Result<Revision> {
    connection
        .prepare_cached("SELECT value FROM counter WHERE name = ?1")?
        .query_row([name], |row| Ok(Revision(number(row, 0)?)))
}

fn set_counter(connection: &Connection, name: &str, revision: Revision) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE counter SET value = ?2 WHERE name = ?1")?
        .execute(params![name, to_sql(revision.0)])
        .map(drop)
}

/// The newest commit.
pub(super) fn revision(connection: &Connection) -> rusqlite::Result<Revision> {
    counter(connection, "revision")
}

pub(super) fn set_revision(connection: &Connection, revision: Revision) -> rusqlite::Result<()> {
    set_counter(connection, "revision", revision)
}

/// The newest commit whose changes are no longer kept.
pub(super) fn compacted(connection: &Connection) -> rusqlite::Result<Revision> {
    counter(connection, "compacted")
}

/// The commit that last wrote a key.
pub(super) fn revision_of(connection: &Connection, key: &str) -> rusqlite::Result<Option<Revision>> {
    connection
        .prepare_cached("SELECT revision FROM entry WHERE key = ?1")?
        .query_row([key], |row| Ok(Revision(number(row, 0)?)))
        .optional()
}

pub(super) fn put(
    connection: &Connection,
    key: &str,
    value: &[u8],
    revision: Revision,
    lease: Option<LeaseId>,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO entry (key, value, revision, lease) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (key) DO UPDATE SET value = ?2, revision = ?3, lease = ?4",
        )?
        .execute(params![key, value, to_sql(revision.0), lease.map(|lease| to_sql(lease.0))])
        .map(drop)
}

/// Removes a key; false when there was none.
pub(super) fn delete(connection: &Connection, key: &str) -> rusqlite::Result<bool> {
    Ok(connection.prepare_cached("DELETE FROM entry WHERE key = ?1")?.execute([key])? > 0)
}

/// Keeps one change for watches; returns the bytes it takes.
pub(super) fn remember(
    connection: &Connection,
    revision: Revision,
    position: usize,
    key: &str,
    value: Option<&[u8]>,
) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("INSERT INTO change (revision, position, key, value) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![to_sql(revision.0), i64::try_from(position).unwrap_or(i64::MAX), key, value])?;
    Ok(u64::try_from(key.len() + value.map_or(0, <[u8]>::len)).unwrap_or(u64::MAX))
}

/// Bytes of all changes that are kept.
pub(super) fn history_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row(
        "SELECT coalesce(sum(length(key) + coalesce(length(value), 0)), 0) FROM change",
        [],
        |row| number(row, 0),
    )
}

/// The last commit that has to be forgotten so that at most `bytes_max` are kept.
pub(super) fn last_beyond(connection: &Connection, bytes_max: u64) -> rusqlite::Result<Option<Revision>> {
    let mut statement = connection.prepare_cached(
        "SELECT revision, length(key) + coalesce(length(value), 0) FROM change ORDER BY revision DESC",
    )?;
    let mut rows = statement.query([])?;
    let mut bytes = 0_u64;
    while let Some(row) = rows.next()? {
        bytes = bytes.saturating_add(number(row, 1)?);
        if bytes > bytes_max {
            return Ok(Some(Revision(number(row, 0)?)));
        }
    }
    Ok(None)
}

/// Forgets the changes of all commits up to this one.
pub(super) fn forget_up_to(connection: &Connection, last: Revision) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM change WHERE revision <= ?1")?.execute([to_sql(last.0)])?;
    set_counter(connection, "compacted", last)
}

/// Part of the history.
#[derive(Debug)]
pub(super) struct HistoryPart {
    pub(super) changes: Vec<Change>,
    /// The history was read up to here.
    pub(super) through: Revision,
    /// What came before and at this commit is no longer kept.
    pub(super) compacted: Revision,
}

/// Changes under `prefix` by commits after `after`, in order; whole commits, and as many as make a good portion.
pub(super) fn history(
    connection: &Connection,
    prefix: &str,
    after: Revision,
) -> rusqlite::Result<HistoryPart> {
    // One snapshot for counters and changes: what is compacted in between must not look like silence.
    let snapshot = connection.unchecked_transaction()?;
    let mut part =
        HistoryPart { changes: Vec::new(), through: revision(&snapshot)?, compacted: compacted(&snapshot)? };
    if part.compacted > after {
        return Ok(part);
    }
    let (low, high) = bounds(prefix);
    let mut statement = snapshot.prepare_cached(
        "SELECT revision, key, value FROM change
         WHERE revision > ?1 AND key >= ?2 AND key < ?3 ORDER BY revision, position",
    )?;
    let mut rows = statement.query(params![to_sql(after.0), low, high])?;
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let change = Change { revision: Revision(number(row, 0)?), key: row.get(1)?, value: row.get(2)? };
        if let Some(last) = part.changes.last()
            && last.revision != change.revision
            && (part.changes.len() >= CHANGES_MAX || bytes >= CHANGES_BYTES_MAX)
        {
            part.through = last.revision;
            break;
        }
        bytes += change.key.len() + change.value.as_ref().map_or(0, Vec::len);
        part.changes.push(change);
    }
    Ok(part)
}

/// A lease as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LeaseRow {
    pub(super) lease: LeaseId,
    pub(super) ttl: Duration,
    pub(super) renewals: u64,
}

pub(super) fn leases(connection: &Connection) -> rusqlite::Result<Vec<LeaseRow>> {
    connection
        .prepare_cached("SELECT id, ttl_ms, renewals FROM lease ORDER BY id")?
        .query_map([], |row| {
            let ttl = Duration::from_millis(number(row, 1)?);
            Ok(LeaseRow { lease: LeaseId(number(row, 0)?), ttl, renewals: number(row, 2)? })
        })?
        .collect()
}

pub(super) fn lease(connection: &Connection, lease: LeaseId) -> rusqlite::Result<Option<LeaseRow>> {
    connection
        .prepare_cached("SELECT ttl_ms, renewals FROM lease WHERE id = ?1")?
        .query_row([to_sql(lease.0)], |row| {
            Ok(LeaseRow { lease, ttl: Duration::from_millis(number(row, 0)?), renewals: number(row, 1)? })
        })
        .optional()
}

pub(super) fn add_lease(connection: &Connection, ttl: Duration) -> rusqlite::Result<LeaseRow> {
    let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
    let id = connection
        .prepare_cached("INSERT INTO lease (ttl_ms, renewals) VALUES (?1, 0) RETURNING id")?
        .query_row([ttl_ms], |row| number(row, 0))?;
    Ok(LeaseRow { lease: LeaseId(id), ttl, renewals: 0 })
}

pub(super) fn renew_lease(connection: &Connection, lease: LeaseId) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE lease SET renewals = renewals + 1 WHERE id = ?1")?
        .execute([to_sql(lease.0)])
        .map(drop)
}

pub(super) fn remove_lease(connection: &Connection, lease: LeaseId) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM lease WHERE id = ?1")?.execute([to_sql(lease.0)]).map(drop)
}

/// Keys that go with a lease.
pub(super) fn keys_of(connection: &Connection, lease: LeaseId) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare_cached("SELECT key FROM entry WHERE lease = ?1 ORDER BY key")?
        .query_map([to_sql(lease.0)], |row| row.get(0))?
        .collect()
}
