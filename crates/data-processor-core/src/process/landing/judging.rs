//! Lines judged and freed of duplicates, batch by batch.

use std::io::Read;
use std::sync::Arc;

use arrow_array::types::{Int32Type, TimestampMicrosecondType};
use arrow_array::{
    ArrayRef, BinaryArray, DictionaryArray, Int64Array, PrimitiveArray, RecordBatch, StringArray, StructArray, new_null_array,
};

use super::lines::Lines;
use crate::batch::{raw_schema, source_fields};
use crate::contract::{Kind, Plan};
use crate::error::{Error, ErrorKind, Result};
use crate::process::columns::Columns;
use crate::process::dedupe::{KeySet, Keys, secret};
use crate::process::judge::{Judge, Padded};
use crate::process::raw::Raw;
use crate::process::slow::{self, Refused};
use crate::process::violation::Stage;
use crate::process::{arrow, batches, guarded, in_blocks, letters};

/// Input bytes of an event, about: room for rows is made by it.
const EVENT_BYTES: usize = 256;

/// What a batch of lines holds.
pub struct Judged {
    /// The contract's columns, `event_date` and `event_hour` of the good rows.
    pub rows: RecordBatch,
    /// Good rows that are left out as duplicates, rising; those that were found earlier are not among the rows.
    pub repeats: Vec<u32>,
    /// Records of the batch.
    pub records: usize,
    /// Duplicates.
    pub duplicates: usize,
    /// Dead letters.
    pub letters: RecordBatch,
}

/// Which columns make a row's key.
enum Key {
    None,
    /// A UUID that every row has: looked at while it is parsed.
    Uuid(usize),
    /// Anything else: looked at when the batch is made.
    Columns(Vec<String>),
}

/// A dead record on its way into a letter.
struct Dead {
    value: Option<Vec<u8>>,
    number: u64,
    line: u64,
    refused: Refused,
}

/// How lines are judged.
pub struct Terms {
    /// Columns of the key; none: nothing is a duplicate.
    pub key: Vec<String>,
    /// Input bytes of a batch.
    pub batch_bytes: usize,
    /// When the input came, µs since 1970: bounds event times.
    pub received_us: i64,
    /// What letters name as their log.
    pub name: String,
}

/// Judges lines.
pub struct Judging<R> {
    plan: Arc<Plan>,
    lines: Lines<R>,
    terms: Terms,
    key: Key,
    seen: KeySet,
    secret: (u64, u64),
    columns: Option<Columns>,
    padded: Padded,
    /// Records so far.
    records: u64,
}

impl<R: Read> Judging<R> {
    /// Judges the lines of a source.
    pub fn new(plan: Arc<Plan>, source: R, terms: Terms) -> Judging<R> {
        let uuid = |name: &str| {
            let field = plan.record().fields.iter().find(|field| field.name == name && !field.nullable)?;
            if let Kind::Uuid(at) = field.kind { Some(at) } else { None }
        };
        let key = match terms.key.as_slice() {
            [] => Key::None,
            [one] => uuid(one).map_or_else(|| Key::Columns(terms.key.clone()), Key::Uuid),
            _ => Key::Columns(terms.key.clone()),
        };
        Judging {
            lines: Lines::new(source, plan.max_bytes),
            columns: Some(Columns::new(&plan, terms.batch_bytes / EVENT_BYTES)),
            plan,
            terms,
            key,
            seen: KeySet::default(),
            secret: secret(),
            padded: Padded::default(),
            records: 0,
        }
    }

    /// Bytes that keys take.
    pub fn key_bytes(&self) -> usize {
        self.seen.size_bytes()
    }

    /// The next batch; None at the end.
    pub fn batch(&mut self) -> Result<Option<Judged>> {
        guarded(|| {
            let plan = Arc::clone(&self.plan);
            let room = self.terms.batch_bytes / EVENT_BYTES;
            let mut columns = self.columns.take().unwrap_or_else(|| Columns::new(&plan, room));
            columns.make_room(&plan, room);
            let mut judge = Judge::reusing(&plan, columns);
            let (mut bytes, mut dead, mut duplicates, first) = (0, Vec::new(), 0, self.records);
            while bytes < self.terms.batch_bytes {
                let Some(piece) = self.lines.next()? else { break };
                bytes += self.lines.bytes().len();
                duplicates += self.piece(&mut judge, &piece.records, &mut dead);
                if let Some((line, size)) = piece.skipped {
                    let refused = (Stage::Parse, vec![slow::too_large(size, &plan)]);
                    dead.push(Dead { value: None, number: self.records, line, refused });
                    self.records += 1;
                    bytes += size;
                }
            }
            let records = (self.records - first) as usize;
            if bytes == 0 {
                return Ok(None);
            }
            if judge.columns.overflowed() {
                return Err(Error::new(ErrorKind::Process, "process.too_large", "a column of the batch passes 2 GiB")
                    .hint("choose smaller batches"));
            }
            let rows = batches::rows(&plan, &mut judge)?;
            self.columns = Some(judge.columns);
            let repeats = self.repeats(&rows)?;
            duplicates += repeats.len();
            Ok(Some(Judged { rows, repeats, records, duplicates, letters: self.letters(dead)? }))
        })
    }

    /// Judges records; how many were duplicates.
    fn piece(&mut self, judge: &mut Judge, records: &[(usize, usize, u64)], dead: &mut Vec<Dead>) -> usize {
        let (bytes, first, received_us) = (self.lines.bytes(), self.records, self.terms.received_us);
        let (seen, mut duplicates, max_bytes) = (&mut self.seen, 0, judge.max_bytes());
        let uuid = if let Key::Uuid(at) = self.key { Some(at) } else { None };
        let range = |at: usize| (records[at].0, records[at].1);
        in_blocks(bytes, max_bytes, records.len(), range, &mut self.padded, |padded, at, from, to| {
            match judge.record(padded, from, to, received_us) {
                Ok(()) => {
                    if let Some(key) = uuid.and_then(|at| judge.columns.uuids[at].last())
                        && !seen.insert(key)
                    {
                        judge.drop_last();
                        duplicates += 1;
                    }
                }
                Err(refused) => {
                    let (start, end, line) = records[at];
                    dead.push(Dead { value: Some(bytes[start..end].to_vec()), number: first + at as u64, line, refused });
                }
            }
        });
        self.records += records.len() as u64;
        duplicates
    }

    /// Rows whose key was seen before, where it was not looked at while it was parsed.
    fn repeats(&mut self, rows: &RecordBatch) -> Result<Vec<u32>> {
        let Key::Columns(key) = &self.key else { return Ok(Vec::new()) };
        let keys = Keys::of(rows, key, self.secret)?;
        Ok((0..keys.len()).filter(|row| !self.seen.insert(keys.code(*row))).map(|row| row as u32).collect())
    }

    /// Letters of dead records, in `LETTERS` layout: offset is the record's number in the input, from 0.
    fn letters(&self, dead: Vec<Dead>) -> Result<RecordBatch> {
        let count = dead.len();
        let one = |text: &str| -> ArrayRef {
            let codes = PrimitiveArray::<Int32Type>::from_value(0, count);
            Arc::new(DictionaryArray::new(codes, Arc::new(StringArray::from(vec![text]))))
        };
        let received = PrimitiveArray::<TimestampMicrosecondType>::from_value(self.terms.received_us, count);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(BinaryArray::from_iter(dead.iter().map(|dead| dead.value.as_deref()))),
            new_null_array(&arrow_schema::DataType::Binary, count),
            one(&self.terms.name),
            one("0"),
            Arc::new(Int64Array::from_iter_values(dead.iter().map(|dead| dead.number as i64))),
            Arc::new(received.with_timezone("UTC")),
            Arc::new(Int64Array::from_value(0, count)),
            Arc::new(StructArray::new(
                source_fields(),
                vec![
                    Arc::new(StringArray::from_iter_values(std::iter::repeat_n("ndjson", count))),
                    Arc::new(Int64Array::from_iter_values(dead.iter().map(|dead| dead.line as i64))),
                ],
                None,
            )),
        ];
        let raw = RecordBatch::try_new(raw_schema(), columns).map_err(arrow)?;
        let refused: Vec<(u32, Refused)> = (0..).zip(dead.into_iter().map(|dead| dead.refused)).collect();
        letters::letters(&self.plan, &Raw::new(&raw)?, &refused)
    }
}
