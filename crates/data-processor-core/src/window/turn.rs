//! One window's part of a commit: its events are counted, what is late is kept, what does not fit into memory is written.

use std::collections::BTreeMap;

use rusqlite::{Connection, Transaction, params};

use super::cache::Cache;
use super::columns::{Events, Inputs};
use super::emit::Emission;
use super::group::{self, Group, KeyState, Touched};
use super::spec::{Shape, WindowSpec};
use super::store::failed;
use crate::error::Result;

/// A hopping window never moves its end: what is found by it is left alone.
const KEEP_HOPPING: &str =
    "INSERT INTO groups (window, key, start, \"end\", revision, closed, state) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
    ON CONFLICT DO UPDATE SET revision = excluded.revision, state = excluded.state";
const KEEP_SESSION: &str = "INSERT INTO groups (window, key, start, \"end\", revision, closed, state) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
    ON CONFLICT DO UPDATE SET \"end\" = excluded.\"end\", closed = excluded.closed, revision = excluded.revision, state = excluded.state";

pub(super) struct Turn<'a> {
    pub(super) transaction: &'a Transaction<'a>,
    pub(super) id: i64,
    pub(super) spec: &'a WindowSpec,
    pub(super) cache: &'a mut Cache,
    pub(super) now_us: i64,
}

impl Turn<'_> {
    /// The watermark for the next batch, results given out, late pairs.
    pub(super) fn run(&mut self, events: &Events<'_>, inputs: &Inputs<'_>) -> Result<(Option<i64>, u64, u64)> {
        let before: Option<i64> = self
            .transaction
            .prepare_cached("SELECT watermark FROM windows WHERE id = ?1")
            .and_then(|mut query| query.query_row([self.id], |row| row.get(0)))
            .map_err(failed)?;
        let mut touched: BTreeMap<String, Touched> = BTreeMap::new();
        let mut late: Vec<(usize, String, i64)> = Vec::new();
        let spec = self.spec;
        for row in (0..events.time.len()).filter(|row| inputs.holds(*row)) {
            let key = inputs.key(row);
            let (at, values) = ((events.time[row], before), inputs.values(row));
            let what = touched.entry(key.clone()).or_default();
            let too_late = |start| late.push((row, key.clone(), start));
            self.change(&key, |state| group::add(spec, state, what, at, &values, too_late)).map_err(failed)?;
            self.make_room(&touched).map_err(failed)?;
        }
        let after = self.spec.watermark(before, events.largest());
        self.keep_late(events, &late, before).map_err(failed)?;
        let results = Emission { turn: self, after }.give(touched).map_err(failed)?;
        self.transaction
            .prepare_cached("UPDATE windows SET watermark = ?2, late = late + ?3 WHERE id = ?1")
            .and_then(|mut update| update.execute(params![self.id, after, late.len() as i64]))
            .map_err(failed)?;
        Ok((after, results, late.len() as u64))
    }

    fn keep_late(&self, events: &Events<'_>, late: &[(usize, String, i64)], watermark: Option<i64>) -> rusqlite::Result<()> {
        let mut insert = self.transaction.prepare_cached(
            "INSERT INTO late (window, key, start, time, watermark, source, offset) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        for (row, key, start) in late {
            let source = super::keys::source(self.transaction, events.log.value(*row), events.partition.value(*row))?;
            let at = watermark.unwrap_or(i64::MIN);
            insert.execute(params![self.id, key, start, events.time[*row], at, source, events.offset[*row]])?;
        }
        Ok(())
    }

    /// Changes the open windows of a key, from memory or the file.
    pub(super) fn change<T>(&mut self, key: &str, act: impl FnOnce(&mut KeyState) -> T) -> rusqlite::Result<T> {
        let (transaction, id) = (self.transaction, self.id);
        self.cache.change((id, key), || load(transaction, id, key), act)
    }

    /// Writes keys to the file until memory is within its bound; `touched` is what this turn changed and did not save yet.
    ///
    /// What is written is part of the transaction: no result of it is given out before the commit, and a rollback takes it back.
    pub(super) fn make_room(&mut self, touched: &BTreeMap<String, Touched>) -> rusqlite::Result<()> {
        if !self.cache.is_over() {
            return Ok(());
        }
        for (window, key, state) in self.cache.make_room() {
            let Some(what) = touched.get(&key).filter(|_| window == self.id) else { continue };
            for (start, _, _) in &what.merged {
                self.forget(&key, *start)?;
            }
            for start in &what.changed {
                if let Some(group) = state.get(start) {
                    self.save(&key, *start, group)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn save(&self, key: &str, start: i64, group: &Group) -> rusqlite::Result<()> {
        let sql = match self.spec.shape {
            Shape::Hopping { .. } => KEEP_HOPPING,
            Shape::Session { .. } => KEEP_SESSION,
        };
        self.transaction
            .prepare_cached(sql)?
            .execute(params![self.id, key, start, group.end, group.revision, group.closed, group.encode()])
            .map(drop)
    }

    pub(super) fn forget(&self, key: &str, start: i64) -> rusqlite::Result<()> {
        let mut delete = self.transaction.prepare_cached("DELETE FROM groups WHERE window = ?1 AND key = ?2 AND start = ?3")?;
        delete.execute(params![self.id, key, start]).map(drop)
    }
}

fn load(connection: &Connection, window: i64, key: &str) -> rusqlite::Result<KeyState> {
    let mut query =
        connection.prepare_cached("SELECT start, \"end\", revision, closed, state FROM groups WHERE window = ?1 AND key = ?2")?;
    let groups = query.query_map(params![window, key], |row| {
        let bytes: Vec<u8> = row.get(4)?;
        let accumulators = Group::decode(&bytes).ok_or(rusqlite::Error::InvalidQuery)?;
        let group = Group { end: row.get(1)?, revision: row.get(2)?, closed: row.get(3)?, accumulators };
        Ok((row.get(0)?, group))
    })?;
    groups.collect()
}
