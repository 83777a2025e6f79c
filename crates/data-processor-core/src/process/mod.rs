//! Judging records: parse, validate, transform, deduplicate.
//!
//! A record goes down the fast road (`fast`: valid plain JSON straight into columns) or, where that one does not know, the slow
//! road (`slow`, `leaf`: every violation). `judge` chooses; `rows` and `letters` make Arrow of the outcome.

pub mod admit;
pub mod avro;
pub mod batches;
pub mod body;
mod check;
mod columns;
pub mod csv;
pub mod dedupe;
pub mod events;
mod fast;
pub mod format;
mod given;
mod intern;
mod judge;
pub mod landing;
mod leaf;
mod letters;
mod nulls;
pub mod number;
pub mod parquet_input;
mod raw;
mod rows;
mod slow;
pub mod source;
pub mod spell;
pub mod syntax;
pub mod text;
pub mod time;
pub mod violation;
pub mod wide;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::types::{Date32Type, Int32Type};
use arrow_array::{Array, ArrayRef, BooleanArray, DictionaryArray, PrimitiveArray, RecordBatch, StringArray};
use arrow_buffer::{BooleanBufferBuilder, ScalarBuffer};
use arrow_schema::{FieldRef, Schema};
use arrow_select::filter::{FilterBuilder, FilterPredicate};

use crate::batch::lineage_fields;
use crate::contract::Plan;
use crate::error::{Error, ErrorKind, Result};
pub(crate) use judge::Spare;
use judge::{Judge, Padded};
use raw::Raw;
use slow::Refused;
use violation::Stage;

/// Records that are copied and judged together, in bytes: they stay in the processor's own cache.
const BLOCK_BYTES: usize = 128 << 10;

/// Most bytes between two records that are copied with them: what lies between records that stand far apart is left where it is.
const GAP_BYTES: usize = 256;

/// Judges raw records (`RAW` layout): good rows (contract columns, `LINEAGE`) and dead rows (`LETTERS`).
///
/// Pure and per record: good + dead == raw, order kept, and the cut of batches changes nothing but how text is encoded.
///
/// Errors: `process.layout` for other columns, `process.too_large` where a column would pass 2 GiB, `process.panicked`.
pub fn process(plan: &Plan, rows: &RecordBatch) -> Result<(RecordBatch, RecordBatch)> {
    guarded(|| {
        let raw = Raw::new(rows)?;
        let mut judge = Judge::new(plan, rows.num_rows());
        let refused = judge_all(plan, &raw, &mut judge);
        if judge.columns.overflowed() {
            return Err(Error::new(ErrorKind::Process, "process.too_large", "a column of the batch passes 2 GiB")
                .hint("process fewer records at once"));
        }
        let good = good_rows(plan, &raw, judge, &refused)?;
        Ok((good, letters::letters(plan, &raw, &refused)?))
    })
}

/// Runs work on untrusted input: a panic is an error of ours, never the end of the process.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Error::new(
            ErrorKind::Process,
            "process.panicked",
            format!("the kernel stopped: {}", said.unwrap_or("no reason given")),
        )
        .hint("report this with the records; nothing was stored"))
    })
}

fn arrow(error: arrow_schema::ArrowError) -> Error {
    Error::new(ErrorKind::Process, "process.arrow", error.to_string())
}

/// Copies records block by block behind padding and visits each: its index, and its start and end in the block.
///
/// `range` gives the place of each record in `bytes`, in rising order.
fn in_blocks(
    bytes: &[u8],
    max_bytes: usize,
    count: usize,
    range: impl Fn(usize) -> (usize, usize),
    padded: &mut Padded,
    mut visit: impl FnMut(&Padded, usize, usize, usize),
) {
    let mut first = 0;
    while first < count {
        let start = range(first).0;
        let mut until = first + 1;
        let near = |next: usize| range(next).1 - start <= BLOCK_BYTES && range(next).0 - range(next - 1).1 <= GAP_BYTES;
        while until < count && near(until) {
            until += 1;
        }
        let end = range(until - 1).1;
        // A lone record over the limit is refused by its size: nothing reads it.
        padded.load(if end - start > BLOCK_BYTES.max(max_bytes) { &[] } else { &bytes[start..end] });
        for index in first..until {
            let (from, to) = range(index);
            visit(padded, index, from - start, to - start);
        }
        first = until;
    }
}

/// Verdicts of all records; those refused, in order.
fn judge_all(plan: &Plan, raw: &Raw, judge: &mut Judge) -> Vec<(u32, Refused)> {
    let (offsets, received) = (raw.value.value_offsets(), raw.received_at.values());
    let range = |row: usize| (offsets[row] as usize, offsets[row + 1] as usize);
    let mut refused = Vec::new();
    in_blocks(raw.value.value_data(), plan.max_bytes, raw.value.len(), range, &mut Padded::default(), |padded, row, from, to| {
        let verdict = match raw.value.is_null(row) {
            true => Err((Stage::Parse, vec![slow::null_record()])),
            false => judge.record(padded, from, to, received[row]),
        };
        if let Err(reasons) = verdict {
            let from_csv = raw.format(row) == Some(source::Format::Csv.as_str());
            let reasons = if from_csv { csv::reworded(raw.value.value(row), reasons) } else { reasons };
            refused.push((row as u32, reasons));
        }
    });
    refused
}

/// The good rows: the contract's columns, then where each record came from.
fn good_rows(plan: &Plan, raw: &Raw, mut judge: Judge, refused: &[(u32, Refused)]) -> Result<RecordBatch> {
    let columns = &mut judge.columns;
    let count = columns.rows;
    let date = PrimitiveArray::<Date32Type>::new(ScalarBuffer::from(std::mem::take(&mut columns.event_date)), None);
    let hour = PrimitiveArray::<Int32Type>::new(ScalarBuffer::from(std::mem::take(&mut columns.event_hour)), None);
    let made = rows::contract_arrays(plan, columns);
    let (mut fields, mut arrays): (Vec<FieldRef>, Vec<ArrayRef>) = made.into_iter().unzip();
    let kept = kept(raw.value.len(), refused);
    let keep = |array: &dyn Array| match &kept {
        None => Ok(arrow_array::make_array(array.to_data())),
        Some(kept) => kept.filter(array).map_err(arrow),
    };
    fields.extend(lineage_fields().into_iter().map(Arc::new));
    arrays.extend([
        Arc::new(date) as ArrayRef,
        Arc::new(hour),
        keep(raw.log)?,
        keep(raw.partition)?,
        keep(raw.offset)?,
        keep(raw.request)?,
        keep(raw.received_at)?,
        constant(&plan.version, count),
    ]);
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(arrow)
}

/// Which rows are kept; None: all.
fn kept(rows: usize, refused: &[(u32, Refused)]) -> Option<FilterPredicate> {
    if refused.is_empty() {
        return None;
    }
    let mut kept = BooleanBufferBuilder::new(rows);
    kept.append_n(rows, true);
    refused.iter().for_each(|(row, _)| kept.set_bit(*row as usize, false));
    Some(FilterBuilder::new(&BooleanArray::new(kept.finish(), None)).optimize().build())
}

/// A dictionary column of one text.
fn constant(text: &str, rows: usize) -> ArrayRef {
    let codes = PrimitiveArray::<Int32Type>::new(ScalarBuffer::from(vec![0; rows]), None);
    let texts = StringArray::from(vec![text]);
    Arc::new(DictionaryArray::new(codes, Arc::new(texts)))
}
