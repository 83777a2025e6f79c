//! What other processes see of the windows: results, late events, how far they are. Never writes.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, params};

use super::store::failed;
use crate::error::Result;

/// The file, open for reading.
pub struct WindowReader {
    connection: Connection,
}

/// The newest result of one window of one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Grows with every result given out; a newer one of the same window and key takes the place of the older.
    pub seq: i64,
    /// Name of the window.
    pub window: String,
    /// First instant, µs.
    pub start: i64,
    /// First instant after it, µs.
    pub end: i64,
    /// Key as a JSON array of texts.
    pub key: String,
    /// From 1, without gaps.
    pub revision: i64,
    /// 0 provisional, 1 final, 2 merged into an earlier session.
    pub state: i64,
    /// Columns as a JSON object.
    pub body: String,
    /// When it was given out, µs.
    pub at: i64,
}

/// How far one window is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Name of the window.
    pub window: String,
    /// Instant before which windows are final, µs.
    pub watermark: Option<i64>,
    /// Open windows over all keys.
    pub open: i64,
    /// Pairs of event and window that were late, ever.
    pub late: i64,
    /// Position of the contract's log from which on events are counted, JSON; empty: from its beginning.
    pub since: String,
}

/// An event that was too late for a window.
#[derive(Clone, Debug, PartialEq)]
pub struct Late {
    /// Key as a JSON array of texts.
    pub key: String,
    /// Start of the window it missed, µs.
    pub start: i64,
    /// Its event time, µs.
    pub time: i64,
    /// The watermark it met, µs.
    pub watermark: i64,
    /// Where its record lies.
    pub place: (String, String, i64),
}

/// An event that is remembered: log, partition, offset, sequence of its commit, replay.
pub type Counted = (String, String, i64, i64, Option<String>);

impl WindowReader {
    /// Opens a file that is there.
    pub fn open(path: &Path) -> Result<WindowReader> {
        let opened = || -> rusqlite::Result<Connection> {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(std::time::Duration::from_secs(5))?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            connection.execute_batch("PRAGMA query_only=ON; PRAGMA wal_autocheckpoint=0;")?;
            Ok(connection)
        };
        Ok(WindowReader { connection: opened().map_err(failed)? })
    }

    /// The position that is counted up to, JSON; empty at the beginning.
    pub fn position(&self) -> Result<String> {
        super::store::words(&self.connection, "position").map_err(failed)
    }

    /// The largest number of a result given out; 0 before the first.
    pub fn last(&self) -> Result<i64> {
        let mut query = self.connection.prepare_cached("SELECT COALESCE(MAX(seq), 0) FROM results").map_err(failed)?;
        query.query_row([], |row| row.get(0)).map_err(failed)
    }

    /// Results after a number, oldest first, at most `limit`, of one window or of all.
    pub fn changes(&self, after: i64, window: Option<&str>, limit: i64) -> Result<Vec<Outcome>> {
        let read = || -> rusqlite::Result<Vec<Outcome>> {
            let mut query = self.connection.prepare_cached(
                "SELECT seq, name, start, \"end\", key, revision, state, body, at FROM results JOIN windows ON windows.id = window
                 WHERE seq > ?1 AND (?2 IS NULL OR name = ?2) ORDER BY seq LIMIT ?3",
            )?;
            let found = query.query_map(params![after, window, limit], |row| {
                Ok(Outcome {
                    seq: row.get(0)?,
                    window: row.get(1)?,
                    start: row.get(2)?,
                    end: row.get(3)?,
                    key: row.get(4)?,
                    revision: row.get(5)?,
                    state: row.get(6)?,
                    body: row.get(7)?,
                    at: row.get(8)?,
                })
            })?;
            found.collect()
        };
        read().map_err(failed)
    }

    /// How far every window is.
    pub fn progress(&self) -> Result<Vec<Progress>> {
        let read = || -> rusqlite::Result<Vec<Progress>> {
            let mut query = self.connection.prepare_cached(
                "SELECT name, watermark, (SELECT COUNT(*) FROM groups WHERE window = id AND closed = 0), late, since
                 FROM windows ORDER BY name",
            )?;
            let found = query.query_map([], |row| {
                let (window, watermark, open) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(Progress { window, watermark, open, late: row.get(3)?, since: row.get(4)? })
            })?;
            found.collect()
        };
        read().map_err(failed)
    }

    /// Late events of a window, newest first, at most `limit`.
    pub fn late(&self, window: &str, limit: i64) -> Result<Vec<Late>> {
        let read = || -> rusqlite::Result<Vec<Late>> {
            let mut query = self.connection.prepare_cached(
                "SELECT key, start, time, late.watermark, log, part, offset FROM late JOIN windows ON windows.id = late.window
                 JOIN sources ON sources.id = source WHERE name = ?1 ORDER BY late.id DESC LIMIT ?2",
            )?;
            let found = query.query_map(params![window, limit], |row| {
                let place = (row.get(4)?, row.get(5)?, row.get(6)?);
                Ok(Late { key: row.get(0)?, start: row.get(1)?, time: row.get(2)?, watermark: row.get(3)?, place })
            })?;
            found.collect()
        };
        read().map_err(failed)
    }

    /// Places of events that are remembered, in order: log, partition, offset, sequence of the commit, replay.
    pub fn landed(&self) -> Result<Vec<Counted>> {
        let read = || -> rusqlite::Result<_> {
            let mut query = self.connection.prepare_cached(
                "SELECT log, part, offset, landing, replay FROM keys JOIN sources ON sources.id = source ORDER BY log, part, offset",
            )?;
            let found = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))?;
            found.collect()
        };
        read().map_err(failed)
    }
}
