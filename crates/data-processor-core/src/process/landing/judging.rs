//! Lines judged piece by piece, and the pieces put in order: keys, numbers and lines are those of the whole input.

use std::sync::Arc;

use arrow_array::types::{Int32Type, TimestampMicrosecondType};
use arrow_array::{
    ArrayRef, BinaryArray, DictionaryArray, Int64Array, PrimitiveArray, RecordBatch, StringArray, StructArray, new_null_array,
};

use super::lines::{Piece, longest};
use crate::batch::{raw_schema, source_fields};
use crate::contract::Plan;
use crate::error::{Error, ErrorKind, Result};
use crate::process::columns::Columns;
use crate::process::dedupe::{EarlierKeys, KeyRoom, Keys, secret};
use crate::process::judge::{Judge, without_return};
use crate::process::raw::Raw;
use crate::process::slow::{self, Refused};
use crate::process::violation::Stage;
use crate::process::{arrow, batches, letters};

/// Input bytes of an event, about: room for rows is made by it.
const EVENT_BYTES: usize = 256;
/// Bytes of lines that are looked at together: they stay in the processor's first cache.
const BLOCK_BYTES: usize = 16 << 10;

/// How lines are judged.
#[derive(Clone)]
pub struct Terms {
    /// Columns of the key; none: nothing is a duplicate.
    pub key: Vec<String>,
    /// The room that keys may take.
    pub room: KeyRoom,
    /// Input bytes of the batches that are judged at one time.
    pub batch_bytes: usize,
    /// When the input came, µs since 1970: bounds event times.
    pub received_us: i64,
    /// What letters name as their log.
    pub name: String,
}

/// What a batch of lines holds.
pub struct Judged {
    /// The contract's columns, `event_date` and `event_hour` of the good rows.
    pub rows: RecordBatch,
    /// Good rows that are left out as duplicates, rising.
    pub repeats: Vec<u32>,
    /// Records of the batch.
    pub records: usize,
    /// Dead letters.
    pub letters: RecordBatch,
}

/// A dead record on its way into a letter; number and line are counted in its piece until it is [`Order`]ed.
struct Dead {
    value: Option<Vec<u8>>,
    number: u64,
    line: u64,
    refused: Refused,
}

/// What a piece holds, seen for itself.
pub struct Seen {
    rows: RecordBatch,
    dead: Vec<Dead>,
    records: u64,
    lines: u64,
}

/// Judges pieces, each for itself; keeps its columns' memory.
#[derive(Default)]
pub struct Desk {
    columns: Option<Columns>,
}

impl Desk {
    /// Begins with a piece of about so many bytes.
    pub fn open<'a>(&mut self, plan: &'a Plan, bytes: usize, received_us: i64) -> Sitting<'a> {
        let room = bytes / EVENT_BYTES;
        let mut columns = self.columns.take().unwrap_or_else(|| Columns::new(plan, room));
        columns.make_room(plan, room);
        Sitting { judge: Judge::reusing(plan, columns), received_us, records: 0, lines: 0, dead: Vec::new() }
    }

    /// What was seen.
    pub fn close(&mut self, sitting: Sitting) -> Result<Seen> {
        let Sitting { mut judge, records, lines, dead, .. } = sitting;
        if judge.columns.overflowed() {
            return Err(Error::new(ErrorKind::Process, "process.too_large", "a column of the batch passes 2 GiB")
                .hint("choose smaller batches"));
        }
        let plan = judge.plan();
        let rows = batches::rows(plan, &mut judge)?;
        self.columns = Some(judge.columns);
        Ok(Seen { rows, dead, records, lines })
    }
}

/// A piece on the desk.
pub struct Sitting<'a> {
    judge: Judge<'a>,
    received_us: i64,
    records: u64,
    lines: u64,
    dead: Vec<Dead>,
}

impl Sitting<'_> {
    /// Judges the piece's next lines.
    pub fn all(&mut self, piece: &Piece) {
        let (bytes, end, mut at) = (piece.padded(), piece.len(), 0);
        while at < end {
            let near = (at + BLOCK_BYTES).min(end);
            let until = match memchr::memrchr(b'\n', &bytes[at..near]) {
                _ if near == end => end,
                Some(last) => at + last + 1,
                None => memchr::memchr(b'\n', &bytes[near..end]).map_or(end, |more| near + more + 1),
            };
            let utf8 = simdutf8::basic::from_utf8(&bytes[at..until]).is_ok();
            while at < until {
                self.lines += 1;
                // A good line says itself where it ends.
                let good = if utf8 { self.judge.line(bytes, at, until, self.received_us) } else { None };
                at = match good {
                    Some(stop) => {
                        self.records += 1;
                        stop + 1
                    }
                    None => self.other(bytes, at, until, utf8) + 1,
                };
            }
        }
        if let Some(size) = piece.skipped {
            self.lines += 1;
            self.refuse(None, (Stage::Parse, vec![slow::too_large(size, self.judge.plan())]));
        }
    }

    /// A line that is blank, broken or hard to read; the place of its end.
    #[cold]
    fn other(&mut self, bytes: &[u8], at: usize, until: usize, tried: bool) -> usize {
        let (stop, verdict) = self.judge.other_line(bytes, at, until, tried, self.received_us);
        match verdict {
            None => {}
            Some(Ok(())) => self.records += 1,
            Some(Err(refused)) => {
                let line = &bytes[at..without_return(bytes, at, stop)];
                let kept = line.len() <= longest(self.judge.max_bytes());
                self.refuse(kept.then(|| line.to_vec()), refused);
            }
        }
        stop
    }

    fn refuse(&mut self, value: Option<Vec<u8>>, refused: Refused) {
        self.dead.push(Dead { value, number: self.records, line: self.lines, refused });
        self.records += 1;
    }
}

/// Pieces in their order.
pub struct Order {
    plan: Arc<Plan>,
    terms: Terms,
    keys: EarlierKeys,
    secret: (u64, u64),
    /// Records so far.
    records: u64,
    /// Lines so far.
    lines: u64,
}

impl Order {
    /// Before the first piece.
    pub fn new(plan: Arc<Plan>, terms: Terms) -> Order {
        Order { plan, keys: EarlierKeys::new(terms.room.clone()), terms, secret: secret(), records: 0, lines: 0 }
    }

    /// Lines so far.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Keys so far.
    pub fn keys(&self) -> &EarlierKeys {
        &self.keys
    }

    /// The next piece as a batch: what repeats an earlier key is found, dead records become letters.
    pub fn next(&mut self, seen: Seen) -> Result<Judged> {
        let Seen { rows, mut dead, records, lines } = seen;
        for one in &mut dead {
            one.number += self.records;
            one.line += self.lines;
        }
        let repeats = self.repeats(&rows)?;
        self.records += records;
        self.lines += lines;
        Ok(Judged { rows, repeats, records: records as usize, letters: self.letters(dead)? })
    }

    /// Rows whose key was seen before.
    fn repeats(&mut self, rows: &RecordBatch) -> Result<Vec<u32>> {
        if self.terms.key.is_empty() {
            return Ok(Vec::new());
        }
        let keys = Keys::of(rows, &self.terms.key, self.secret)?;
        self.keys.repeats(keys.len(), |row| keys.code(row))
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
