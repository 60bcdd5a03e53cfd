//! Brings a store of an earlier release to the schema of this one; refuses one of a later release.
//!
//! The schema's number speaks for the whole state folder: a release that writes a record or a file which the release
//! before would misread adds a migration, an empty one if need be. So an older program refuses here, before it has
//! written anything.
//! Invariant: nothing is migrated before a copy of the store as it was lies beside it; a migration is one transaction.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};

use super::{failure, open};
use crate::os::disk;
use crate::state::StateError;

/// Room that is left to everything else.
const ROOM_SPARE: u64 = 16 * 1024 * 1024;
/// Entries of the store's own list of releases; the oldest go.
const RELEASES_MAX: u32 = 100;

/// What a program knows of stores.
#[derive(Debug, Clone, Copy)]
pub(super) struct Release<'a> {
    /// Its version.
    pub(super) version: &'a str,
    /// In order; the schema's number is how many were applied. Never edited once released.
    pub(super) migrations: &'a [&'a str],
}

/// This program.
pub(super) const THIS: Release<'static> = Release {
    version: env!("CARGO_PKG_VERSION"),
    migrations: &[
        include_str!("../../../migrations/0001_state.sql"),
        include_str!("../../../migrations/0002_release.sql"),
    ],
};

/// What a store was when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Before {
    /// Who used it last; unknown of a store from before releases were noted.
    pub(super) version: Option<String>,
    /// Its schema.
    pub(super) schema: u32,
}

impl Before {
    /// Who used it last, for a message.
    fn writer(&self) -> String {
        self.version.clone().unwrap_or_else(|| "an early release".to_owned())
    }
}

impl Release<'_> {
    /// Newest schema that it knows.
    pub(super) fn schema(&self) -> u32 {
        u32::try_from(self.migrations.len()).expect("migrations are few")
    }

    /// Applies what is missing to a connection, and notes itself. One transaction: a kill leaves all or nothing.
    pub(super) fn apply(&self, connection: &mut Connection) -> rusqlite::Result<()> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let applied = schema_of(&transaction)?;
        for (number, migration) in (1_u32..).zip(self.migrations) {
            if number > applied {
                transaction.execute_batch(migration)?;
                transaction.pragma_update(None, "user_version", number)?;
            }
        }
        if version_of(&transaction)?.as_deref() != Some(self.version) && has_list(&transaction)? {
            transaction.execute(
                "INSERT INTO release (version, schema) VALUES (?1, ?2)",
                (self.version, schema_of(&transaction)?),
            )?;
            transaction.execute(
                "DELETE FROM release WHERE number <= (SELECT max(number) FROM release) - ?1",
                [RELEASES_MAX],
            )?;
        }
        transaction.commit()
    }

    /// What the store is, when this program may use it. Writes nothing.
    pub(super) fn check(&self, path: &Path, connection: &Connection) -> Result<Before, StateError> {
        let failed = |error| failure::of_sql(path, "read the schema's number", &error);
        let schema = schema_of(connection).map_err(failed)?;
        let before = Before { version: version_of(connection).map_err(failed)?, schema };
        if schema == 0 {
            let detail = "it has no schema".to_owned();
            return Err(StateError::Damaged { path: path.to_owned(), detail });
        }
        if schema > self.schema() {
            return Err(StateError::TooNew {
                path: path.to_owned(),
                found: schema,
                known: self.schema(),
                written_by: before.writer(),
                way_back: self.way_back(path),
            });
        }
        Ok(before)
    }

    /// How to go on with this program after all.
    fn way_back(&self, path: &Path) -> String {
        let mut copies = (1..=self.schema()).rev().map(|schema| copy_of(path, schema));
        let copy = copies.find(|copy| matches!(disk::length(copy), Ok(Some(_))));
        copy.map_or_else(
            || "restore a self-backup that this release made".to_owned(),
            |copy| format!("go back to the copy from before the upgrade, {}", copy.display()),
        )
    }

    /// Refuses to upgrade beneath a process that serves from the store.
    pub(super) fn check_served(&self, path: &Path, before: &Before) -> Result<(), StateError> {
        if before.schema == self.schema() {
            return Ok(());
        }
        Err(StateError::Behind {
            path: path.to_owned(),
            found: before.schema,
            known: self.schema(),
            written_by: before.writer(),
        })
    }

    /// Makes a store that is behind current, after a copy of it is safe beside it.
    pub(super) fn upgrade(
        &self,
        path: &Path,
        connection: &mut Connection,
        before: &Before,
    ) -> Result<(), StateError> {
        let is_behind = before.schema < self.schema();
        if is_behind {
            check_room(path)?;
            let copy = copy(path, connection, before.schema)?;
            tracing::info!(copy = %copy.display(), schema = before.schema, "state store copied before it is upgraded");
        }
        self.apply(connection).map_err(|error| failure::of_sql(path, "upgrade", &error))?;
        if is_behind {
            remove_older(path, before.schema);
        }
        if before.version.as_deref() != Some(self.version) {
            tracing::info!(
                from = before.writer(),
                to = self.version,
                schema_before = before.schema,
                schema = self.schema(),
                "state store was last used by another release"
            );
        }
        Ok(())
    }
}

fn schema_of(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn has_list(connection: &Connection) -> rusqlite::Result<bool> {
    connection.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'release'")?.exists([])
}

fn version_of(connection: &Connection) -> rusqlite::Result<Option<String>> {
    if !has_list(connection)? {
        return Ok(None);
    }
    let newest = "SELECT version FROM release ORDER BY number DESC LIMIT 1";
    connection.query_row(newest, [], |row| row.get(0)).optional()
}

/// Where the copy of a store lies that had this schema.
fn copy_of(path: &Path, schema: u32) -> PathBuf {
    open::beside(path, &format!(".schema-{schema}"))
}

/// The copy, and as much again for what the migrations write before they are committed.
fn check_room(path: &Path) -> Result<(), StateError> {
    let failed = |error| failure::of_file(path, "look for room beside", &error);
    let wal = disk::length(&open::beside(path, "-wal")).map_err(failed)?.unwrap_or(0);
    let length = disk::length(path).map_err(failed)?.unwrap_or(0).saturating_add(wal);
    let needed = length.saturating_mul(2).saturating_add(ROOM_SPARE);
    let free = disk::free_bytes(path).map_err(failed)?;
    if free < needed {
        return Err(StateError::NoRoomToUpgrade { path: path.to_owned(), needed, free });
    }
    Ok(())
}

/// Puts a checked copy of the store beside it; one of an upgrade that was cut is replaced, for the store may have been
/// used since.
fn copy(path: &Path, connection: &Connection, schema: u32) -> Result<PathBuf, StateError> {
    let copy = copy_of(path, schema);
    let new = open::beside(&copy, ".new");
    let file_failed = |error| failure::of_file(&new, "make", &error);
    disk::remove_if_present(&new).map_err(file_failed)?;
    // SQLite fills an empty file, and would make one that all may read.
    disk::create_private(&new).map_err(file_failed)?;
    let Some(target) = new.to_str() else {
        return Err(StateError::Unavailable { detail: format!("{} is not UTF-8", new.display()) });
    };
    connection.execute("VACUUM INTO ?1", [target]).map_err(|error| failure::of_sql(&new, "copy", &error))?;
    let opened = open::connect(&new).map_err(|error| failure::of_sql(&new, "open", &error))?;
    open::check_pages(&new, &opened)?;
    let found = schema_of(&opened).map_err(|error| failure::of_sql(&new, "read", &error))?;
    if found != schema {
        let detail = format!("the copy has schema {found} instead of {schema}");
        return Err(StateError::Damaged { path: new, detail });
    }
    drop(opened);
    disk::move_durably(&new, &copy).map_err(|error| failure::of_file(&copy, "make", &error))?;
    Ok(copy)
}

/// A way back leads one release back: copies from before the last go.
fn remove_older(path: &Path, schema: u32) {
    for older in 1..schema {
        let copy = copy_of(path, older);
        if let Err(error) = disk::remove_if_present(&copy) {
            tracing::warn!(copy = %copy.display(), %error, "a copy of an earlier state store is still there");
        }
    }
}
