//! One segment: a SQLite file with a row per group of records and the idempotency keys of the last day.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::blob::ZeroBlob;
use rusqlite::config::DbConfig;
use rusqlite::types::ToSqlOutput;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, params};

use super::directory::{Directory, Inode, inode};
use super::fault::{self, Doing};
use super::trickle;
use crate::error::Result;

/// Large blobs want large pages: half the CPU of 4 KiB pages.
const PAGE_BYTES: u64 = 32_768;
/// From here on a row is written in place.
const BLOB_BYTES: usize = 64 * 1024;
/// One for the schema and one for each table.
const EMPTY_PAGES: i64 = 4;
/// Others hold a segment's locks only while they recover it after a crash.
const BUSY: Duration = Duration::from_secs(10);

const SCHEMA: &str = "
CREATE TABLE segment(log TEXT NOT NULL, base INTEGER NOT NULL, last INTEGER);
CREATE TABLE batch(first INTEGER PRIMARY KEY, n INTEGER NOT NULL, crc32c INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE idempotency(key TEXT PRIMARY KEY, body BLOB NOT NULL, receipt BLOB NOT NULL, request INTEGER NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL, record_check INTEGER NOT NULL, at_us INTEGER NOT NULL) WITHOUT ROWID;";

/// An open segment file.
pub(crate) struct Segment {
    pub connection: Connection,
    pub base: i64,
    pub path: PathBuf,
    inode: Inode,
}

/// What is known of a segment's write-ahead log.
#[derive(Clone, Copy)]
pub(crate) enum Checkpoint {
    /// Nothing: it may be from before a crash.
    Found,
    /// This connection sealed the segment. `urgent`: others wait for their turn.
    Sealed { urgent: bool },
}

/// Why a segment could not be opened.
pub(crate) enum Opening {
    /// Retention unlinked it, or another file was put in its place: look at the directory again.
    Gone,
    Failed(crate::error::Error),
}

impl Segment {
    pub fn open(directory: &Directory, base: i64, doing: Doing) -> std::result::Result<Self, Opening> {
        let path = directory.segment(base);
        let Ok(before) = inode(&path) else { return Err(Opening::Gone) };
        let opened = || -> rusqlite::Result<(Connection, String)> {
            let connection = connect(&path, doing)?;
            let log_id = connection.query_row("SELECT log FROM segment", [], |row| row.get(0))?;
            Ok((connection, log_id))
        };
        let found = opened();
        if !inode(&path).is_ok_and(|after| after == before) {
            return Err(Opening::Gone);
        }
        // Opening changes nothing: a failure here is never a write whose outcome is unknown.
        let (connection, log_id) = found.map_err(|error| Opening::Failed(fault::sqlite(&error, &path, Doing::Reading)))?;
        if log_id != directory.log_id {
            return Err(Opening::Failed(fault::recreated(&path, &directory.log_id, &log_id)));
        }
        Ok(Segment { connection, base, path, inode: before })
    }

    /// Whether the path still names the file that is open.
    pub fn in_place(&self) -> bool {
        inode(&self.path).is_ok_and(|found| found == self.inode)
    }

    pub fn fault(&self, error: &rusqlite::Error, doing: Doing) -> crate::error::Error {
        if is_failed_write(error) && self.system_says_full() {
            // A quota or a limit of the process, before anything was synced: as good as a full disk.
            return fault::disk_full(&self.path, format!("no more may be written: {error}"));
        }
        fault::sqlite(error, &self.path, doing)
    }

    fn system_says_full(&self) -> bool {
        // SAFETY: the handle belongs to `self.connection`, which is open as long as `self` lives.
        let errno = unsafe { rusqlite::ffi::sqlite3_system_errno(self.connection.handle()) };
        [libc::EFBIG, libc::EDQUOT, libc::ENOSPC].contains(&errno)
    }

    /// Bytes of records and of the write-ahead log, which is never checkpointed while the segment is live.
    pub fn size(&self) -> rusqlite::Result<(u64, u64)> {
        let pages: i64 = self.connection.prepare_cached("PRAGMA page_count")?.query_row([], |row| row.get(0))?;
        Ok((
            (pages - EMPTY_PAGES).max(0).unsigned_abs() * PAGE_BYTES,
            fs::metadata(wal_of(&self.path)).map_or(0, |facts| facts.len()),
        ))
    }

    /// Moves its write-ahead log into its file. False while it is live, gone or a reader is in the way.
    ///
    /// Of one that this connection sealed the log is durable, and the file need not be so at once: it goes to the disk bit by bit, so
    /// that nobody's append waits for all of it. Whoever cuts the log off has made the file durable first, whoever wrote it.
    pub fn checkpoint(&self, how: Checkpoint) -> rusqlite::Result<bool> {
        self.connection.busy_timeout(Duration::from_millis(100))?;
        if !self.in_place() || sealed_at(&self.connection)?.is_none() {
            return Ok(false);
        }
        let checkpoint = |mode: &str| -> rusqlite::Result<i64> {
            self.connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get(0))
        };
        if let Checkpoint::Sealed { urgent } = how {
            self.connection.execute_batch("PRAGMA synchronous=OFF")?;
            let moved = checkpoint("PASSIVE");
            self.connection.execute_batch("PRAGMA synchronous=FULL")?;
            moved?;
            trickle::write_back(&self.path, urgent);
            trickle::forget(&wal_of(&self.path));
        } else {
            checkpoint("PASSIVE")?;
        }
        self.sync()?;
        Ok(checkpoint("TRUNCATE")? == 0)
    }

    /// Makes its file durable through SQLite's own descriptor: closing another one would drop the locks of all connections.
    fn sync(&self) -> rusqlite::Result<()> {
        use rusqlite::ffi;
        let mut file: *mut ffi::sqlite3_file = std::ptr::null_mut();
        let place = (&raw mut file).cast();
        // SAFETY: the connection is open as long as `self` lives; this call stores its file's address at `place`.
        let found = unsafe {
            ffi::sqlite3_file_control(self.connection.handle(), c"main".as_ptr(), ffi::SQLITE_FCNTL_FILE_POINTER, place)
        };
        // SAFETY: the file and its methods live as long as the connection.
        let sync = unsafe { file.as_ref().and_then(|file| file.pMethods.as_ref()).and_then(|methods| methods.xSync) };
        let code = match (found, sync) {
            // SAFETY: the method of this very file.
            (ffi::SQLITE_OK, Some(sync)) => unsafe { sync(file, ffi::SQLITE_SYNC_NORMAL) },
            _ => ffi::SQLITE_IOERR_FSYNC,
        };
        if code == ffi::SQLITE_OK { Ok(()) } else { Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)) }
    }

    /// Closes the segment for appends. The caller holds the lock.
    pub fn seal(&mut self) -> rusqlite::Result<i64> {
        let transaction = self.connection.transaction()?;
        let last = end(&transaction, self.base)?;
        transaction.execute("UPDATE segment SET last = ?1", [last])?;
        transaction.commit()?;
        Ok(last)
    }
}

fn is_failed_write(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_WRITE)
}

fn connect(path: &Path, doing: Doing) -> rusqlite::Result<Connection> {
    let access = match doing {
        Doing::Reading => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Doing::Writing => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.busy_timeout(BUSY)?;
    connection.execute_batch("PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0; PRAGMA cache_size=-2048;")?;
    Ok(connection)
}

/// The last offset a sealed segment holds; None while it is live.
pub(crate) fn sealed_at(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    connection.prepare_cached("SELECT last FROM segment")?.query_row([], |row| row.get(0))
}

/// The last offset in a segment, `base - 1` when it is empty.
pub(crate) fn end(connection: &Connection, base: i64) -> rusqlite::Result<i64> {
    let mut newest = connection.prepare_cached("SELECT first + n - 1 FROM batch ORDER BY first DESC LIMIT 1")?;
    Ok(newest.query_row([], |row| row.get(0)).optional()?.unwrap_or(base - 1))
}

/// Writes a row. What is large goes page by page from where it lies: bound as a value it would be copied twice more on its way.
pub(crate) fn insert(
    transaction: &Transaction<'_>,
    first: i64,
    n: i64,
    checksum: u32,
    pieces: &[&[u8]],
    size: usize,
) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached("INSERT INTO batch VALUES(?1, ?2, ?3, ?4)")?;
    if size < BLOB_BYTES {
        return insert.execute(params![first, n, checksum, pieces.concat()]).map(drop);
    }
    insert.execute(params![first, n, checksum, ZeroBlob(size as u64)])?;
    let mut blob = transaction.blob_open("main", "batch", "body", first, false)?;
    let mut at = 0;
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        blob.write_all_at(piece, at)?;
        at += piece.len();
    }
    blob.close()
}

/// The remembered append of an idempotency key.
pub(crate) struct Remembered {
    pub body: Vec<u8>,
    pub receipt: Vec<u8>,
    pub request: i64,
    pub first: i64,
    pub last: i64,
    pub check: u32,
}

pub(crate) fn recall(transaction: &Transaction<'_>, key: &str, after_us: i64) -> rusqlite::Result<Option<Remembered>> {
    let sql = "SELECT body, receipt, request, first, last, record_check FROM idempotency WHERE key = ?1 AND at_us > ?2";
    let found = transaction.prepare_cached(sql)?.query_row(params![key, after_us], |row| {
        Ok(Remembered {
            body: row.get(0)?,
            receipt: row.get(1)?,
            request: row.get(2)?,
            first: row.get(3)?,
            last: row.get(4)?,
            check: row.get(5)?,
        })
    });
    found.optional()
}

pub(crate) fn remember(transaction: &Transaction<'_>, key: &str, append: &Remembered, at_us: i64) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO idempotency VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    transaction.prepare_cached(sql)?.execute(params![
        key,
        append.body,
        append.receipt,
        append.request,
        append.first,
        append.last,
        append.check,
        at_us
    ])?;
    Ok(())
}

/// Makes a segment with the keys the one before it still remembers, and gives it its name when it is whole and durable.
///
/// The caller holds the lock, so a draft that lies around is from a crash.
pub(crate) fn create(directory: &Directory, base: i64, before: Option<(&Segment, i64)>) -> Result<()> {
    let draft = directory.path.join("next-segment.db");
    for name in [draft.clone(), wal_of(&draft), shm_of(&draft), draft.with_extension("db-journal")] {
        let _ = fs::remove_file(name);
    }
    let filled = || -> rusqlite::Result<()> {
        let mut connection = Connection::open(&draft)?;
        // Synced as a whole below: until it has its name nobody reads it.
        connection.execute_batch(&format!("PRAGMA page_size={PAGE_BYTES}; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"))?;
        let transaction = connection.transaction()?;
        transaction.execute_batch(SCHEMA)?;
        transaction.execute("INSERT INTO segment VALUES(?1, ?2, NULL)", params![directory.log_id, base])?;
        if let Some((before, after_us)) = before {
            carry_keys(&before.connection, &transaction, after_us)?;
        }
        transaction.commit()?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.close().map_err(|(_, error)| error)
    };
    // Nothing of this is visible or acknowledged before the rename: a failure leaves the log as it was.
    filled().map_err(|error| fault::sqlite(&error, &draft, Doing::Reading))?;
    let named = File::open(&draft).and_then(|file| file.sync_all()).and_then(|()| fs::rename(&draft, directory.segment(base)));
    named.map_err(|error| fault::io(&error, &draft))?;
    directory.sync().map_err(|error| fault::write_failed(&directory.path, error))
}

fn carry_keys(from: &Connection, to: &Transaction<'_>, after_us: i64) -> rusqlite::Result<()> {
    let mut keys = from.prepare("SELECT * FROM idempotency WHERE at_us > ?1 ORDER BY key")?;
    let mut insert = to.prepare("INSERT INTO idempotency VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
    let mut rows = keys.query([after_us])?;
    while let Some(row) = rows.next()? {
        for column in 0..8 {
            insert.raw_bind_parameter(column + 1, ToSqlOutput::Borrowed(row.get_ref(column)?))?;
        }
        insert.raw_execute()?;
    }
    Ok(())
}

/// When the newest key of a segment was used, µs since 1970.
pub(crate) fn newest_key_us(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    connection.query_row("SELECT max(at_us) FROM idempotency", [], |row| row.get(0))
}

/// Moves a sealed segment's write-ahead log into its file. False when a reader is in the way; try again later.
pub(crate) fn checkpoint(directory: &Directory, base: i64) -> std::result::Result<bool, Opening> {
    let path = directory.segment(base);
    if fs::metadata(wal_of(&path)).map_or(0, |facts| facts.len()) == 0 {
        return Ok(true);
    }
    let segment = Segment::open(directory, base, Doing::Writing)?;
    segment.checkpoint(Checkpoint::Found).map_err(|error| Opening::Failed(fault::sqlite(&error, &path, Doing::Reading)))
}

pub(crate) fn wal_of(path: &Path) -> PathBuf {
    path.with_extension("db-wal")
}

pub(crate) fn shm_of(path: &Path) -> PathBuf {
    path.with_extension("db-shm")
}
