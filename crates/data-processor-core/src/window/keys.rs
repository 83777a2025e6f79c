//! Keys of events that were counted, kept as long as a repetition could be counted again.

use std::sync::Arc;

use arrow_array::{Int8Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use hashbrown::HashMap;
use rusqlite::{Connection, OptionalExtension, params};

use super::columns::Events;
use super::store::{Change, failed};
use crate::error::{Error, ErrorKind, Result};
use crate::process::dedupe::codes;

/// What identifies an event, and what its repetitions agree in; both as 128-bit codes under the file's own hash key.
pub(super) struct Keys {
    pub(super) key: Vec<String>,
    pub(super) content: Vec<String>,
    pub(super) secret: (u64, u64),
}

type Place = (String, String, i64);

impl Keys {
    /// For each row: fate (0 new, 1 the same event, 2 another one) and the place of the first with its key.
    pub(super) fn seen(&self, connection: &Connection, rows: &RecordBatch, events: &Events<'_>) -> Result<RecordBatch> {
        let (keys, contents) = self.of(rows)?;
        let mut first: HashMap<u128, (i64, Place)> = HashMap::new();
        let mut fates = Vec::with_capacity(keys.len());
        let mut places: Vec<Option<Place>> = Vec::with_capacity(keys.len());
        for (row, (key, content)) in keys.iter().zip(&contents).enumerate() {
            let known = match first.get(key) {
                Some(earlier) => Some(earlier.clone()),
                None if self.key.is_empty() => None,
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
        &self,
        connection: &Connection,
        rows: &RecordBatch,
        events: &Events<'_>,
        change: &Change<'_>,
    ) -> Result<()> {
        let (keys, contents) = self.of(rows)?;
        let remember = || -> rusqlite::Result<()> {
            let mut insert = connection.prepare_cached(
                "INSERT INTO keys (key, content, time, source, offset, landing, replay) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?;
            let mut sources: HashMap<(&str, &str), i64> = HashMap::new();
            for (row, (key, content)) in keys.iter().zip(&contents).enumerate() {
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
