//! What SQLite's errors mean for whoever asked.

use std::io;
use std::path::Path;

use rusqlite::{Error, ErrorCode};

use crate::os::disk;
use crate::state::StateError;

/// With less than this left, a failed write is for lack of space: SQLite reports some of those as I/O errors alone.
const SPACE_LEFT_MIN: u64 = 1024 * 1024;

/// The error of one SQL operation.
pub(super) fn of_sql(path: &Path, doing: &str, error: &Error) -> StateError {
    let damaged = || StateError::Damaged { path: path.to_owned(), detail: format!("{doing}: {error}") };
    match error {
        Error::SqliteFailure(failure, _) => match failure.code {
            ErrorCode::DiskFull => StateError::Full,
            ErrorCode::SystemIoFailure
                if disk::free_bytes(path).is_ok_and(|bytes| bytes < SPACE_LEFT_MIN) =>
            {
                StateError::Full
            }
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => damaged(),
            _ => StateError::Unavailable { detail: format!("{doing}: {error}") },
        },
        Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::InvalidColumnType(..)
        | Error::QueryReturnedNoRows
        | Error::Utf8Error(..) => damaged(),
        _ => StateError::Unavailable { detail: format!("{doing}: {error}") },
    }
}

/// The error of one file operation.
pub(super) fn of_file(path: &Path, doing: &str, error: &io::Error) -> StateError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StateError::Full,
        _ => StateError::Unavailable { detail: format!("cannot {doing} {}: {error}", path.display()) },
    }
}
