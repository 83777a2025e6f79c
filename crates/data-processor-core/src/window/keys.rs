//! Keys of events that were counted, kept as long as a repetition could be counted again.

use std::sync::Arc;

use arrow_array::{Int8Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use hashbrown::HashMap;
use rusqlite::{Connection, OptionalExtension, params};

use super::columns::Events;
use super::filter::Filters;
use super::store::{Change, failed};
use crate::error::{Error, ErrorKind, Result};
use crate::process::dedupe::codes;

/// What identifies an event, and what its repetitions agree in; both as 128-bit codes under the file's own hash key.
pub(super) struct Keys {
    key: Vec<String>,
    content: Vec<String>,
    secret: (u64, u64),
    filters: Filters,
    scan: Scan,
    /// Sequence of the file that the filters agree with.
    reflects: i64,
}

/// How far the filters know the keys that were in the file before: until all are known, each key is looked up.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Scan {
    Above([u8; 16]),
    Done,
}

/// Keys that are read at a time when a file is taken up.
const SCANNED: usize = 50_000;

type Place = (String, String, i64);

impl Keys {
    /// The keys of a file of which nothing is known yet.
    pub(super) fn new(key: Vec<String>, content: Vec<String>, secret: (u64, u64)) -> Keys {
        Keys { key, content, secret, filters: Filters::default(), scan: Scan::Above([0; 16]), reflects: -1 }
    }

    /// The file went from one sequence to the next by our own doing; keys of events up to `oldest` were forgotten.
    pub(super) fn follow(&mut self, from: i64, to: i64, oldest: i64) {
        self.reflects = if self.reflects == from { to } else { -1 };
        self.filters.forget(oldest);
    }

    /// Makes the filters agree with the file, by and by: whether they know all of its keys.
    fn take_up(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        let sequence = super::store::number(connection, "sequence")?;
        if self.reflects != sequence {
            (self.filters, self.scan, self.reflects) = (Filters::default(), Scan::Above([0; 16]), sequence);
        }
        let Scan::Above(last) = self.scan else { return Ok(true) };
        let mut query = connection.prepare_cached("SELECT key, time FROM keys WHERE key > ?1 ORDER BY key LIMIT ?2")?;
        let mut rows = query.query(params![last, SCANNED as i64])?;
        let (mut count, mut newest) = (0, last);
        while let Some(row) = rows.next()? {
            newest = row.get(0)?;
            self.filters.add(u128::from_be_bytes(newest), row.get(1)?);
            count += 1;
        }
        self.scan = if count < SCANNED { Scan::Done } else { Scan::Above(newest) };
        Ok(self.scan == Scan::Done)
    }

    /// For each row: fate (0 new, 1 the same event, 2 another one) and the place of the first with its key.
    pub(super) fn seen(&mut self, connection: &Connection, rows: &RecordBatch, events: &Events<'_>) -> Result<RecordBatch> {
        let (keys, contents) = self.of(rows)?;
        let _one_look = connection.unchecked_transaction().map_err(failed)?; // else each query takes and gives back the file's locks
        let all_known = !self.key.is_empty() && self.take_up(connection).map_err(failed)?;
        let mut first: HashMap<u128, (i64, Place)> = HashMap::new();
        let mut fates = Vec::with_capacity(keys.len());
        let mut places: Vec<Option<Place>> = Vec::with_capacity(keys.len());
        for (row, (key, content)) in keys.iter().zip(&contents).enumerate() {
            let known = match first.get(key) {
                Some(earlier) => Some(earlier.clone()),
                None if self.key.is_empty() || (all_known && !self.filters.may_hold(*key)) => None,
                None => stored(connection, *key).map_err(failed)?,
            };
            let fate = known.as_ref().map_or(0, |(before, _)| if before == content { 1 } else { 2 });
            if fate == 0 && !self.key.is_empty() {
                first.insert(*key, (*content, place(events, row)));
            }
            fates.push(fate);
            places.push(known.map(|(_, place)| place));
        }
        told(fates, &places)
    }

    /// Remembers the events of a commit.
    pub(super) fn land(
        &mut self,
        connection: &Connection,
        rows: &RecordBatch,
        events: &Events<'_>,
        change: &Change<'_>,
    ) -> Result<()> {
        let (keys, contents) = self.of(rows)?;
        if !self.key.is_empty() {
            keys.iter().zip(events.time).for_each(|(key, time)| self.filters.add(*key, *time)); // a rollback leaves too many: harmless
        }
        let remember = || -> rusqlite::Result<()> {
            let mut insert = connection.prepare_cached(
                "INSERT INTO keys (key, content, time, source, offset, landing, replay) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?;
            let mut sources: HashMap<(&str, &str), i64> = HashMap::new();
            let mut order: Vec<usize> = (0..keys.len()).collect();
            order.sort_unstable_by_key(|row| keys[*row]); // neighbours in the file's tree follow each other
            for row in order {
                let (key, content) = (keys[row], contents[row]);
                let (log, partition) = (events.log.value(row), events.partition.value(row));
                let source = match sources.get(&(log, partition)) {
                    Some(source) => *source,
                    None => *sources.entry((log, partition)).insert(source(connection, log, partition)?).get(),
                };
                let offset = events.offset[row];
                let code = if self.key.is_empty() { own(source, offset) } else { key.to_be_bytes() };
                insert.execute(params![code, content, events.time[row], source, offset, change.head + 1, change.replay])?;
            }
            Ok(())
        };
        remember().map_err(failed)
    }

    fn of(&self, rows: &RecordBatch) -> Result<(Vec<u128>, Vec<i64>)> {
        let contents = codes(rows, &self.content, self.secret)?.into_iter().map(|code| code as i64).collect();
        Ok((codes(rows, &self.key, self.secret)?, contents))
    }
}

/// The code of an event without a key: its place.
fn own(source: i64, offset: i64) -> [u8; 16] {
    (u128::from(source.cast_unsigned()) << 64 | u128::from(offset.cast_unsigned())).to_be_bytes()
}

fn place(events: &Events<'_>, row: usize) -> Place {
    (events.log.value(row).to_owned(), events.partition.value(row).to_owned(), events.offset[row])
}

fn stored(connection: &Connection, key: u128) -> rusqlite::Result<Option<(i64, Place)>> {
    let mut query = connection
        .prepare_cached("SELECT content, log, part, offset FROM keys JOIN sources ON sources.id = source WHERE key = ?1")?;
    query.query_row([key.to_be_bytes()], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?, row.get(3)?)))).optional()
}

/// The number of a log's partition in the file.
pub(super) fn source(connection: &Connection, log: &str, partition: &str) -> rusqlite::Result<i64> {
    connection.prepare_cached("INSERT OR IGNORE INTO sources (log, part) VALUES (?1, ?2)")?.execute([log, partition])?;
    connection
        .prepare_cached("SELECT id FROM sources WHERE log = ?1 AND part = ?2")?
        .query_row([log, partition], |row| row.get(0))
}

/// Whether an event from this place is remembered.
pub(super) fn landed(connection: &Connection, log: &str, partition: &str, offset: i64) -> rusqlite::Result<bool> {
    let sql =
        "SELECT EXISTS (SELECT 1 FROM keys JOIN sources ON sources.id = source WHERE log = ?1 AND part = ?2 AND offset = ?3)";
    connection.prepare_cached(sql)?.query_row(params![log, partition, offset], |row| row.get(0))
}

fn told(fates: Vec<i8>, places: &[Option<Place>]) -> Result<RecordBatch> {
    let log: StringArray = places.iter().map(|place| place.as_ref().map(|(log, _, _)| log.as_str())).collect();
    let partition: StringArray = places.iter().map(|place| place.as_ref().map(|(_, partition, _)| partition.as_str())).collect();
    let offset: Int64Array = places.iter().map(|place| place.as_ref().map(|(_, _, offset)| *offset)).collect();
    let schema = Schema::new(vec![
        Field::new("fate", DataType::Int8, false),
        Field::new("log", DataType::Utf8, true),
        Field::new("partition", DataType::Utf8, true),
        Field::new("offset", DataType::Int64, true),
    ]);
    let columns: Vec<arrow_array::ArrayRef> =
        vec![Arc::new(Int8Array::from(fates)), Arc::new(log), Arc::new(partition), Arc::new(offset)];
    RecordBatch::try_new(Arc::new(schema), columns)
        .map_err(|error| Error::new(ErrorKind::Process, "window.columns", error.to_string()))
}
