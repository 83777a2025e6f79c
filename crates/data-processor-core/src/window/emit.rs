//! Results: what a commit gives out, and which windows it ends.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::group::{Group, Touched};
use super::spec::{Emit, Shape};
use super::store::gap_us;
use super::turn::Turn;

/// States of a result, as the file spells them.
pub const PROVISIONAL: i64 = 0;
/// Nothing changes it any more.
pub const FINAL: i64 = 1;
/// The session became part of an earlier one.
pub const MERGED: i64 = 2;

/// Windows that are ended at a time.
const PAGE: usize = 2_000;

/// Giving out results once a batch is counted; `after` is the watermark that now holds.
pub(super) struct Emission<'a, 'b> {
    pub(super) turn: &'a mut Turn<'b>,
    pub(super) after: Option<i64>,
}

impl Emission<'_, '_> {
    /// Saves what changed and gives out results, in the order of keys and starts; then ends every window that is due.
    pub(super) fn give(&mut self, mut touched: BTreeMap<String, Touched>) -> rusqlite::Result<u64> {
        let mut given = 0;
        while let Some((key, what)) = touched.pop_first() {
            for (start, end, revision) in &what.merged {
                self.turn.forget(&key, *start)?;
                if *revision > 0 {
                    given += self.result(&key, (*start, *end), revision + 1, MERGED, "{}")?;
                }
            }
            for start in what.changed {
                given += self.changed(&key, start)?;
            }
            self.turn.cache.drop_if_empty(self.turn.id, &key);
            self.turn.make_room(&touched)?;
        }
        given += self.end_due()?;
        self.forget_closed()?;
        Ok(given)
    }

    fn changed(&mut self, key: &str, start: i64) -> rusqlite::Result<u64> {
        let (spec, after) = (self.turn.spec, self.after);
        let found = self.turn.change(key, |state| {
            let group = state.get_mut(&start)?;
            if spec.is_final(group.end, after) {
                return None;
            }
            group.revision += i64::from(spec.emit == Emit::Update);
            Some((group.clone(), (spec.emit == Emit::Update).then(|| group.result(spec))))
        })?;
        let Some((group, body)) = found else { return self.end(key, start) };
        self.turn.save(key, start, &group)?;
        body.map_or(Ok(0), |body| self.result(key, (start, group.end), group.revision, PROVISIONAL, &body))
    }

    fn end(&mut self, key: &str, start: i64) -> rusqlite::Result<u64> {
        let spec = self.turn.spec;
        let ended = self.turn.change(key, |state| {
            let mut group = state.remove(&start)?;
            group.revision += 1;
            let body = group.result(spec);
            if matches!(spec.shape, Shape::Session { .. }) {
                group = Group { closed: true, accumulators: Vec::new(), ..group };
                state.insert(start, group.clone());
            }
            Some((group, body))
        })?;
        let (group, body) = ended.ok_or(rusqlite::Error::InvalidQuery)?; // the file knows a window that it does not hold
        if group.closed {
            self.turn.save(key, start, &group)?;
        } else {
            self.turn.forget(key, start)?;
        }
        self.result(key, (start, group.end), group.revision, FINAL, &body)
    }

    /// Ends windows that the watermark has passed, the oldest first: a page at a time, however many there are.
    fn end_due(&mut self) -> rusqlite::Result<u64> {
        let Some(after) = self.after else { return Ok(0) };
        let last = if gap_us(self.turn.spec) > 0 { after.saturating_sub(1) } else { after };
        let mut given = 0;
        loop {
            let due = self.page(false, last)?;
            for (key, start) in &due {
                given += self.end(key, *start)?;
                self.turn.cache.drop_if_empty(self.turn.id, key);
                self.turn.make_room(&BTreeMap::new())?;
            }
            if due.len() < PAGE {
                return Ok(given);
            }
        }
    }

    /// Final sessions that no event in time can touch any more.
    fn forget_closed(&mut self) -> rusqlite::Result<()> {
        let (Some(after), gap @ 1..) = (self.after, gap_us(self.turn.spec)) else { return Ok(()) };
        loop {
            let gone = self.page(true, after.saturating_sub(gap))?;
            for (key, start) in &gone {
                self.turn.forget(key, *start)?;
                self.turn.change(key, |state| state.remove(start))?;
                self.turn.cache.drop_if_empty(self.turn.id, key);
                self.turn.make_room(&BTreeMap::new())?;
            }
            if gone.len() < PAGE {
                return Ok(());
            }
        }
    }

    /// The next windows that ended at or before an instant.
    fn page(&self, closed: bool, last: i64) -> rusqlite::Result<Vec<(String, i64)>> {
        let sql = "SELECT key, start FROM groups WHERE window = ?1 AND closed = ?2 AND \"end\" <= ?3 ORDER BY \"end\", key, start LIMIT ?4";
        let mut query = self.turn.transaction.prepare_cached(sql)?;
        query.query_map(params![self.turn.id, closed, last, PAGE as i64], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
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
