//! Results: what a commit gives out, and which windows it ends.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use rusqlite::{Connection, params};

use super::group::{Group, Touched};
use super::spec::{Emit, Shape};
use super::store::{Turn, gap_us};

/// States of a result, as the file spells them.
pub const PROVISIONAL: i64 = 0;
/// Nothing changes it any more.
pub const FINAL: i64 = 1;
/// The session became part of an earlier one.
pub const MERGED: i64 = 2;

/// Giving out results once a batch is counted; `after` is the watermark that now holds.
pub(super) struct Emission<'a, 'b> {
    pub(super) turn: &'a mut Turn<'b>,
    pub(super) after: Option<i64>,
}

impl Emission<'_, '_> {
    /// Saves what changed and gives out results, in the order of keys and starts; then ends every window that is due.
    pub(super) fn give(&mut self, touched: HashMap<String, Touched>) -> rusqlite::Result<u64> {
        let mut given = 0;
        for (key, what) in touched.into_iter().collect::<BTreeMap<_, _>>() {
            for (start, end, revision) in &what.merged {
                self.forget(&key, *start)?;
                if *revision > 0 {
                    given += self.result(&key, (*start, *end), revision + 1, MERGED, "{}")?;
                }
            }
            for start in what.changed {
                given += self.changed(&key, start)?;
            }
            self.drop_if_empty(&key)?;
        }
        for (key, start) in self.due()? {
            given += self.end(&key, start)?;
            self.drop_if_empty(&key)?;
        }
        self.forget_closed()?;
        Ok(given)
    }

    fn changed(&mut self, key: &str, start: i64) -> rusqlite::Result<u64> {
        let (spec, after) = (self.turn.spec, self.after);
        let Some(group) = self.turn.state(key)?.get_mut(&start) else { return Ok(0) };
        if spec.is_final(group.end, after) {
            return self.end(key, start);
        }
        if spec.emit == Emit::Final {
            let group = group.clone();
            return self.save(key, start, &group).map(|()| 0);
        }
        group.revision += 1;
        let group = group.clone();
        self.save(key, start, &group)?;
        self.result(key, (start, group.end), group.revision, PROVISIONAL, &group.result(spec))
    }

    fn end(&mut self, key: &str, start: i64) -> rusqlite::Result<u64> {
        let spec = self.turn.spec;
        let state = self.turn.state(key)?;
        let Some(mut group) = state.remove(&start) else { return Ok(0) };
        group.revision += 1;
        let given = (start, group.end, group.revision, group.result(spec));
        if matches!(spec.shape, Shape::Session { .. }) {
            let closed = Group { closed: true, accumulators: Vec::new(), ..group };
            state.insert(start, closed.clone());
            self.save(key, start, &closed)?;
        } else {
            self.forget(key, start)?;
        }
        self.result(key, (given.0, given.1), given.2, FINAL, &given.3)
    }

    /// Windows that the watermark has passed.
    fn due(&self) -> rusqlite::Result<Vec<(String, i64)>> {
        let Some(after) = self.after else { return Ok(Vec::new()) };
        let last = if gap_us(self.turn.spec) > 0 { after.saturating_sub(1) } else { after };
        let mut query = self.turn.transaction.prepare_cached(
            "SELECT key, start FROM groups WHERE window = ?1 AND closed = 0 AND \"end\" <= ?2 ORDER BY key, start",
        )?;
        query.query_map(params![self.turn.id, last], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    }

    /// Final sessions that no event in time can touch any more.
    fn forget_closed(&mut self) -> rusqlite::Result<()> {
        let (Some(after), gap @ 1..) = (self.after, gap_us(self.turn.spec)) else { return Ok(()) };
        let gone: Vec<(String, i64)> = {
            let mut query = self
                .turn
                .transaction
                .prepare_cached("SELECT key, start FROM groups WHERE window = ?1 AND closed = 1 AND \"end\" <= ?2")?;
            let found =
                query.query_map(params![self.turn.id, after.saturating_sub(gap)], |row| Ok((row.get(0)?, row.get(1)?)))?;
            found.collect::<rusqlite::Result<_>>()?
        };
        for (key, start) in gone {
            self.forget(&key, start)?;
            self.turn.state(&key)?.remove(&start);
            self.drop_if_empty(&key)?;
        }
        Ok(())
    }

    fn drop_if_empty(&mut self, key: &str) -> rusqlite::Result<()> {
        if self.turn.state(key)?.is_empty() {
            self.turn.states.remove(&(self.turn.id, key.to_owned()));
        }
        Ok(())
    }

    fn save(&self, key: &str, start: i64, group: &Group) -> rusqlite::Result<()> {
        let sql = "INSERT OR REPLACE INTO groups (window, key, start, \"end\", revision, closed, state) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        self.turn
            .transaction
            .prepare_cached(sql)?
            .execute(params![self.turn.id, key, start, group.end, group.revision, group.closed, group.encode()])
            .map(drop)
    }

    fn forget(&self, key: &str, start: i64) -> rusqlite::Result<()> {
        let mut delete =
            self.turn.transaction.prepare_cached("DELETE FROM groups WHERE window = ?1 AND key = ?2 AND start = ?3")?;
        delete.execute(params![self.turn.id, key, start]).map(drop)
    }

    fn result(&self, key: &str, window: (i64, i64), revision: i64, state: i64, body: &str) -> rusqlite::Result<u64> {
        let connection: &Connection = self.turn.transaction;
        let sql = "INSERT OR REPLACE INTO results (window, key, start, \"end\", revision, state, body, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        connection
            .prepare_cached(sql)?
            .execute(params![self.turn.id, key, window.0, window.1, revision, state, body, self.turn.now_us])
            .map(|_| 1)
    }
}
