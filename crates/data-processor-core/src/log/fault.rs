//! Errors of files and of SQLite as errors of the log.

use std::io;
use std::path::Path;

use rusqlite::ffi::ErrorCode;

use crate::error::{Error, ErrorKind, Fact};

/// Seconds a client should wait when the disk is full: freeing it takes somebody or a retention run.
const DISK_RETRY_SECONDS: i64 = 10;

/// What was being done; the same failure means more after a write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    Reading,
    Writing,
}

pub(crate) fn disk_full(path: &Path, facts: impl Into<String>) -> Error {
    Error::new(ErrorKind::LogThrottled, "log.disk_full", facts)
        .hint("free some space: the log takes records again by itself")
        .text("path", path.display().to_string())
        .int("retry_after", DISK_RETRY_SECONDS)
}

pub(crate) fn queue_full(queued: usize, limit: usize) -> Error {
    Error::new(ErrorKind::LogThrottled, "log.queue_full", "the writer has as many bytes to write as it may hold")
        .hint("send again after a moment; the disk is slower than what arrives")
        .int("queued_bytes", queued as i64)
        .int("queue_bytes", limit as i64)
        .int("retry_after", 1)
}

pub(crate) fn too_large(path: &Path, limit: usize) -> Error {
    Error::new(ErrorKind::Body, "log.record_too_large", format!("the log takes records of at most {limit} bytes"))
        .hint("nothing was stored; send the record in parts")
        .text("path", path.display().to_string())
        .int("limit_bytes", limit as i64)
}

pub(crate) fn write_failed(path: &Path, cause: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::LogUnavailable, "log.write_failed", format!("the log could not be written: {cause}"))
        .hint("look at the disk (dmesg), then restart; what was acknowledged is kept")
        .text("path", path.display().to_string())
}

fn unavailable(path: &Path, cause: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::LogUnavailable, "log.unavailable", format!("the log did not answer: {cause}"))
        .hint("nothing was consumed or stored; try again")
        .text("path", path.display().to_string())
}

pub(crate) fn checksum(path: &Path, offset: i64, cause: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::LogCorrupt, "log.checksum", format!("the segment's bytes are not those that were written: {cause}"))
        .hint("restore the segment from a backup, or move on with `frazil log switch`")
        .text("segment", path.display().to_string())
        .int("offset", offset)
}

pub(crate) fn truncated(path: &Path, end: i64, known: i64) -> Error {
    Error::new(ErrorKind::LogCorrupt, "log.truncated", format!("the log ends at offset {end}, but offset {known} was in it"))
        .hint("restore the log from a backup, or move on with `frazil log switch`")
        .text("path", path.display().to_string())
        .int("end", end)
        .int("offset", known)
}

pub(crate) fn recreated(path: &Path, expected: &str, found: &str) -> Error {
    Error::new(ErrorKind::LogCorrupt, "log.recreated", "this is another log than the one that was here")
        .hint("put the old log back, or move on with `frazil log switch`")
        .text("path", path.display().to_string())
        .text("expected", expected)
        .text("found", found)
}

pub(crate) fn sealed(path: &Path) -> Error {
    Error::new(ErrorKind::LogUnavailable, "log.sealed", "the log takes no more records: another one follows it")
        .hint("finish `frazil log switch`, set the new `url` under [log] and start again")
        .text("path", path.display().to_string())
}

/// A failed file operation that wrote no record.
pub(crate) fn io(error: &io::Error, path: &Path) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => disk_full(path, format!("the disk is full: {error}")),
        _ => unavailable(path, error),
    }
}

/// A failed SQLite call. `log.write_failed` says that the outcome of a write is unknown: the writer stops for good.
pub(crate) fn sqlite(error: &rusqlite::Error, path: &Path, doing: Doing) -> Error {
    use ErrorCode as Code;
    match error.sqlite_error_code() {
        Some(Code::DiskFull) => disk_full(path, format!("the disk is full: {error}")),
        Some(Code::DatabaseBusy | Code::DatabaseLocked | Code::OutOfMemory | Code::CannotOpen) => unavailable(path, error),
        Some(Code::DatabaseCorrupt | Code::NotADatabase) => checksum(path, UNKNOWN, error),
        _ if doing == Doing::Writing => write_failed(path, error),
        Some(Code::SystemIoFailure | Code::ReadOnly | Code::PermissionDenied | Code::FileLockingProtocolFailed) => {
            unavailable(path, error)
        }
        // A table that is not there, a value of another type: not what this code wrote.
        _ => checksum(path, UNKNOWN, error),
    }
}

/// SQLite does not say at which record it stopped.
const UNKNOWN: i64 = -1;

/// An error of a read that wanted the record at `offset`.
pub(crate) fn wanting(mut error: Error, offset: i64) -> Error {
    for (name, fact) in &mut error.context {
        if *name == "offset" && *fact == Fact::Int(UNKNOWN) {
            *fact = Fact::Int(offset);
        }
    }
    error
}

/// Whether the writer must not go on: after a failed write nobody knows what the disk holds.
pub(crate) fn is_final(error: &Error) -> bool {
    error.kind == ErrorKind::LogCorrupt || error.code == "log.write_failed"
}
