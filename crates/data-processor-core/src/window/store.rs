//! One SQLite file per contract: state of its windows, position and keys, changed together in one transaction.
//!
//! The file is the truth and may be larger than memory; what was used last is kept in a cache of bounded size, which is
//! dropped whenever the file says something else; within a commit, too, what does not fit goes to the file. Committed means fsynced (WAL, `synchronous=FULL`). One process writes;
//! others read by [`super::WindowReader`].

use std::path::Path;

use arrow_array::RecordBatch;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::cache::{Cache, Memory};
use super::columns::{Events, Inputs};
use super::keys::Keys;
use super::spec::{Shape, WindowSpec};
use super::turn::Turn;
use crate::error::{Error, ErrorKind, Result};
use crate::process::dedupe::random;

/// Pages of 4 KiB that a commit may find in the WAL before it takes them over into the file: hot pages are written once for many.
const WAL_PAGES: i64 = 8_192;

const LAYOUT: &str = "
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value ANY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS windows (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, hash TEXT NOT NULL,
  watermark INTEGER, late INTEGER NOT NULL DEFAULT 0, since TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS groups (window INTEGER, key TEXT, start INTEGER, \"end\" INTEGER NOT NULL, revision INTEGER NOT NULL,
  closed INTEGER NOT NULL, state BLOB NOT NULL, PRIMARY KEY (window, key, start)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS groups_by_end ON groups (window, closed, \"end\");
CREATE TABLE IF NOT EXISTS results (seq INTEGER PRIMARY KEY AUTOINCREMENT, window INTEGER NOT NULL, key TEXT NOT NULL,
  start INTEGER NOT NULL, \"end\" INTEGER NOT NULL, revision INTEGER NOT NULL, state INTEGER NOT NULL, body TEXT NOT NULL,
  at INTEGER NOT NULL, UNIQUE (window, key, start));
CREATE TABLE IF NOT EXISTS sources (id INTEGER PRIMARY KEY, log TEXT NOT NULL, part TEXT NOT NULL, UNIQUE (log, part));
CREATE TABLE IF NOT EXISTS late (id INTEGER PRIMARY KEY, window INTEGER NOT NULL, key TEXT NOT NULL, start INTEGER NOT NULL,
  time INTEGER NOT NULL, watermark INTEGER NOT NULL, source INTEGER NOT NULL, offset INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS keys (key BLOB PRIMARY KEY, content INTEGER NOT NULL, time INTEGER NOT NULL,
  source INTEGER NOT NULL, offset INTEGER NOT NULL, landing INTEGER NOT NULL, replay TEXT) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS keys_by_time ON keys (time);
";

/// One version of the file: what a decision is made against.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Number of commits, maintenance included.
    pub sequence: i64,
    /// Position after the last decision, JSON; empty at the beginning.
    pub position: String,
    /// Running totals, JSON; empty at the beginning.
    pub totals: String,
}

/// What a commit sets beside the events.
pub struct Change<'a> {
    /// Sequence of the standing it was decided against.
    pub head: i64,
    /// The position it leads to, JSON.
    pub position: &'a str,
    /// The totals it leads to, JSON.
    pub totals: &'a str,
    /// The replay that brings the events.
    pub replay: Option<&'a str>,
    /// Time of the commit, µs.
    pub now_us: i64,
}

/// What a commit did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Appended {
    /// Its sequence.
    pub sequence: i64,
    /// Results given out.
    pub results: u64,
    /// Pairs of event and window that were late.
    pub late: u64,
}

/// The file, open for writing.
pub struct WindowStore {
    connection: Connection,
    specs: Vec<(i64, WindowSpec)>,
    keys: Keys,
    cache: Cache,
}

impl WindowStore {
    /// Opens or makes the file for these windows. State of windows that are not among them, or of another hash, is dropped.
    ///
    /// `key` and `content` are the columns that identify an event and that its repetitions agree in; no key: only places
    /// protect it. `most_bytes` bounds what is held of open windows in memory: the rest lies in the file.
    pub fn open(path: &Path, specs: Vec<WindowSpec>, key: Vec<String>, content: Vec<String>, most_bytes: usize) -> Result<Self> {
        let opened = || -> rusqlite::Result<(Connection, (u64, u64))> {
            let connection = Connection::open(path)?;
            connection.busy_timeout(std::time::Duration::from_secs(5))?;
            connection.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-16384;")?;
            connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
            connection.execute_batch(LAYOUT)?;
            for name in ["secret0", "secret1"] {
                let made = random().cast_signed();
                connection.execute("INSERT OR IGNORE INTO meta VALUES (?1, ?2)", params![name, made])?;
            }
            let secret = (number(&connection, "secret0")?.cast_unsigned(), number(&connection, "secret1")?.cast_unsigned());
            Ok((connection, secret))
        };
        let (mut connection, secret) = opened().map_err(failed)?;
        let specs = adopt(&mut connection, specs).map_err(failed)?;
        let cache = Cache::new(most_bytes);
        Ok(WindowStore { connection, specs, keys: Keys::new(key, content, secret), cache })
    }

    /// Where the file stands.
    pub fn head(&self) -> Result<Standing> {
        let read = || -> rusqlite::Result<Standing> {
            Ok(Standing {
                sequence: number(&self.connection, "sequence")?,
                position: words(&self.connection, "position")?,
                totals: words(&self.connection, "totals")?,
            })
        };
        read().map_err(failed)
    }

    /// What is known of each event's key: fate (0 new, 1 the same event, 2 another one) and where the first came from.
    pub fn seen(&mut self, rows: &RecordBatch, events: &RecordBatch) -> Result<RecordBatch> {
        self.keys.seen(&self.connection, rows, &Events::of(events)?)
    }

    /// How much of the open windows is held in memory.
    pub fn memory(&self) -> Memory {
        self.cache.memory
    }

    /// Whether an event from this place is counted.
    pub fn landed(&self, log: &str, partition: &str, offset: i64) -> Result<bool> {
        super::keys::landed(&self.connection, log, partition, offset).map_err(failed)
    }

    /// Counts the events, moves the position and gives out results, in one transaction.
    ///
    /// Fails with `window.conflict` when anything but maintenance was committed since `change.head`; nothing is changed then.
    pub fn append(&mut self, rows: &RecordBatch, events: &RecordBatch, change: &Change<'_>) -> Result<Appended> {
        let done = self.transact(rows, events, change);
        if done.is_err() {
            self.cache.clear(); // what it holds was rolled back
        }
        done
    }

    fn transact(&mut self, rows: &RecordBatch, events: &RecordBatch, change: &Change<'_>) -> Result<Appended> {
        let WindowStore { connection, specs, keys, cache } = self;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let sequence = number(&transaction, "sequence").map_err(failed)?;
        check_head(&transaction, sequence, change.head)?;
        if cache.reflects != sequence {
            cache.clear();
        }
        let batch = Events::of(events)?;
        let mut done = Appended { sequence: sequence + 1, ..Appended::default() };
        keys.land(&transaction, rows, &batch, change)?;
        let mut oldest: Option<i64> = None;
        for (n, (id, spec)) in specs.iter().enumerate() {
            let inputs = Inputs::of(events, n, spec)?;
            let mut turn = Turn { transaction: &transaction, id: *id, spec, cache, now_us: change.now_us };
            let (watermark, results, late) = turn.run(&batch, &inputs)?;
            done.results += results;
            done.late += late;
            let needed = watermark.map_or(i64::MIN, |at| at.saturating_sub(spec.span_us()));
            oldest = Some(oldest.map_or(needed, |least| least.min(needed)));
        }
        let oldest = oldest.unwrap_or(i64::MIN);
        let settle = || -> rusqlite::Result<()> {
            transaction.prepare_cached("DELETE FROM keys WHERE time <= ?1")?.execute([oldest])?;
            set(&transaction, "sequence", done.sequence)?;
            set(&transaction, "decided", done.sequence)?;
            set(&transaction, "position", change.position)?;
            set(&transaction, "totals", change.totals)
        };
        settle().map_err(failed)?;
        cache.reflects = -1;
        transaction.commit().map_err(failed)?;
        cache.reflects = done.sequence;
        keys.follow(sequence, done.sequence, oldest);
        Ok(done)
    }

    /// Forgets final results and late events whose windows ended `keep_us` before the watermark; returns how many.
    pub fn maintain(&mut self, keep_us: i64) -> Result<u64> {
        let WindowStore { connection, specs, cache, keys } = self;
        let mut tidy = || -> rusqlite::Result<(i64, u64)> {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut gone = 0;
            for (id, _) in specs.iter() {
                let past = "COALESCE((SELECT watermark FROM windows WHERE id = ?1), -9223372036854775807) - ?2";
                let results = format!("DELETE FROM results WHERE window = ?1 AND state > 0 AND \"end\" < {past}");
                gone += transaction.execute(&results, params![id, keep_us])?;
                gone += transaction
                    .execute(&format!("DELETE FROM late WHERE window = ?1 AND time < {past}"), params![id, keep_us])?;
            }
            let sequence = number(&transaction, "sequence")? + 1;
            set(&transaction, "sequence", sequence)?;
            transaction.commit()?;
            Ok((sequence, gone as u64))
        };
        let (sequence, gone) = tidy().map_err(failed)?;
        keys.follow(sequence - 1, sequence, i64::MIN);
        if cache.reflects == sequence - 1 {
            cache.reflects = sequence;
        }
        Ok(gone)
    }
}

/// Fails when anything but maintenance was committed since `head`.
fn check_head(transaction: &Transaction<'_>, sequence: i64, head: i64) -> Result<()> {
    if number(transaction, "decided").map_err(failed)? <= head && head <= sequence {
        return Ok(());
    }
    Err(Error::new(ErrorKind::WindowConflict, "window.conflict", "the windows changed since their head was read")
        .hint("nothing is half done: read the head and decide again")
        .int("sequence", sequence)
        .int("head", head))
}

/// Numbers the windows; drops what is left of windows that are gone or were changed.
fn adopt(connection: &mut Connection, specs: Vec<WindowSpec>) -> rusqlite::Result<Vec<(i64, WindowSpec)>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let known: Vec<(i64, String, String)> = transaction
        .prepare("SELECT id, name, hash FROM windows")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (id, name, hash) in &known {
        if !specs.iter().any(|spec| spec.name == *name && spec.hash == *hash) {
            for table in ["groups", "results", "late"] {
                transaction.execute(&format!("DELETE FROM {table} WHERE window = ?1"), [id])?;
            }
            transaction.execute("DELETE FROM windows WHERE id = ?1", [id])?;
        }
    }
    let since = words(&transaction, "position")?;
    let mut numbered = Vec::new();
    for spec in specs {
        let insert = "INSERT OR IGNORE INTO windows (name, hash, since) VALUES (?1, ?2, ?3)";
        transaction.execute(insert, params![spec.name, spec.hash, since])?;
        numbered.push((transaction.query_row("SELECT id FROM windows WHERE name = ?1", [&spec.name], |row| row.get(0))?, spec));
    }
    transaction.commit()?;
    Ok(numbered)
}

/// What SQLite says, as an error of ours.
pub(super) fn failed(error: rusqlite::Error) -> Error {
    use rusqlite::ffi::ErrorCode;
    let broken = matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
        || matches!(error, rusqlite::Error::InvalidQuery | rusqlite::Error::FromSqlConversionFailure(..));
    if broken {
        return Error::new(
            ErrorKind::WindowCorrupt,
            "window.corrupt",
            format!("the state of the windows cannot be read: {error}"),
        )
        .hint("stop, remove the state file of this contract's windows, and start again: they are counted anew from the log");
    }
    if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) {
        return Error::new(ErrorKind::WindowConflict, "window.conflict", "an event of the batch is counted already")
            .hint("read the head and decide again");
    }
    Error::new(ErrorKind::WindowUnavailable, "window.unavailable", format!("the state of the windows did not answer: {error}"))
        .hint("nothing was stored; is there space on the disk?")
}

pub(super) fn number(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    let found =
        connection.prepare_cached("SELECT value FROM meta WHERE name = ?1")?.query_row([name], |row| row.get(0)).optional()?;
    Ok(found.unwrap_or(0))
}

pub(super) fn words(connection: &Connection, name: &str) -> rusqlite::Result<String> {
    let found =
        connection.prepare_cached("SELECT value FROM meta WHERE name = ?1")?.query_row([name], |row| row.get(0)).optional()?;
    Ok(found.unwrap_or_default())
}

fn set(connection: &Connection, name: &str, value: impl rusqlite::ToSql) -> rusqlite::Result<()> {
    connection.prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?.execute(params![name, value]).map(drop)
}

/// The gap of a session; 0 for other shapes.
pub(super) fn gap_us(spec: &WindowSpec) -> i64 {
    match spec.shape {
        Shape::Session { gap_us } => gap_us,
        Shape::Hopping { .. } => 0,
    }
}
