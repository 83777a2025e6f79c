//! A Parquet file as batches.
//!
//! Page by page, a batch is read whole: what its columns are made of are the pages. What the `parquet` crate reads is judged in pieces,
//! which stay in the processor's own cache.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray, StructArray};
use arrow_schema::{DataType, Fields, Schema};
use arrow_select::concat::concat;
use bytes::Bytes;

use super::text::Writer;
use super::{File, Footer, ROWS, direct, pages};
use crate::contract::Plan;
use crate::error::{Error, ErrorKind, Result};
use crate::process::batches::{Batch, rows};
use crate::process::judge::{Judge, Padded};
use crate::process::slow::Refused;
use crate::process::{arrow, guarded};

/// Reads a file batch by batch.
pub struct Reader {
    plan: Arc<Plan>,
    road: Road,
    /// Most rows of a batch.
    rows: usize,
    next: u64,
    received_us: i64,
}

/// How the next rows are read.
enum Road {
    /// Page by page; the footer is kept for what is odd.
    Pages(Box<pages::Rows>, Footer),
    Any(File),
    /// Nothing is read any more.
    Closed,
}

impl Reader {
    /// Opens a file. A record without a time of its own has `received_us`; a batch holds at most `rows` records.
    ///
    /// Errors: `body.invalid_parquet`.
    pub fn open(plan: Arc<Plan>, file: Bytes, received_us: i64, rows: usize) -> Result<Reader> {
        let (road, rows) = guarded(|| {
            let footer = Footer::read(file)?;
            let rows = rows.clamp(1, footer.most_rows(&plan).max(1));
            let file = footer.rows(&plan, 0)?; // what it refuses is no file, however plain
            let road = match footer.pages(&plan) {
                Some(pages) => Road::Pages(Box::new(pages), footer),
                None => Road::Any(file),
            };
            Ok((road, rows))
        })?;
        Ok(Reader { plan, road, rows, next: 0, received_us })
    }

    /// The next batch; None at the end. After an error the rest of the file is not readable.
    ///
    /// Errors: `body.invalid_parquet`, `process.too_large`.
    pub fn batch(&mut self) -> Result<Option<Batch>> {
        let outcome = guarded(|| self.judged());
        if outcome.is_err() {
            self.road = Road::Closed;
        }
        outcome
    }

    fn judged(&mut self) -> Result<Option<Batch>> {
        let first = self.next;
        let mut pieces = Pieces::new(&self.plan, first, self.received_us);
        if let Road::Pages(pages, footer) = &mut self.road {
            match pages.batch(self.rows) {
                Ok(Some(given)) => pieces.take_whole(&given)?,
                Ok(None) => {}
                Err(pages::Odd) => self.road = Road::Any(footer.rows(&self.plan, first as usize)?),
            }
        }
        if let Road::Any(file) = &mut self.road {
            let end = first + self.rows as u64;
            while pieces.next < end
                && let Some(given) = file.batch((end - pieces.next) as usize)?
            {
                pieces.take(&given)?;
            }
        }
        self.next = pieces.next;
        let count = (self.next - first) as usize;
        if count == 0 {
            return Ok(None);
        }
        let (rows, refused) = pieces.joined()?;
        Ok(Some(Batch { rows, refused, first, count }))
    }
}

/// A batch on its way.
struct Pieces<'a> {
    plan: &'a Plan,
    received_us: i64,
    next: u64,
    made: Vec<RecordBatch>,
    refused: Vec<(u64, Refused)>,
    /// Rows that were judged by their text: all of the batch after the first that columns alone cannot tell.
    judge: Option<Judge<'a>>,
    spoken: Spoken,
}

/// Memory for the text of a row.
#[derive(Default)]
struct Spoken {
    text: Vec<u8>,
    padded: Padded,
}

impl Spoken {
    /// Judges a row by its text; it was received at `at`.
    fn judge(
        &mut self,
        plan: &Plan,
        judge: &mut Judge,
        given: &RecordBatch,
        row: usize,
        at: i64,
    ) -> std::result::Result<(), Refused> {
        self.text.clear();
        Writer { plan }.record(given, row, &mut self.text);
        self.padded.load(&self.text);
        judge.record(&self.padded, 0, self.text.len(), at)
    }
}

impl<'a> Pieces<'a> {
    fn new(plan: &'a Plan, next: u64, received_us: i64) -> Pieces<'a> {
        let (made, refused, spoken) = (Vec::new(), Vec::new(), Spoken::default());
        Pieces { plan, received_us, next, made, refused, judge: None, spoken }
    }

    /// Judges the next rows, all at once where their columns tell.
    fn take_whole(&mut self, given: &RecordBatch) -> Result<()> {
        if given.num_rows() <= ROWS {
            return self.take(given);
        }
        if self.direct(given)? {
            return Ok(());
        }
        let each = (0..given.num_rows()).step_by(ROWS);
        each.map(|first| given.slice(first, ROWS.min(given.num_rows() - first))).try_for_each(|piece| self.take(&piece))
    }

    /// Judges the next rows.
    fn take(&mut self, given: &RecordBatch) -> Result<()> {
        if self.judge.is_none() && self.direct(given)? {
            return Ok(());
        }
        let (first, count) = (self.next, given.num_rows());
        self.next += count as u64;
        let judge = self.judge.get_or_insert_with(|| Judge::new(self.plan, count));
        for row in 0..count {
            if let Err(reasons) = self.spoken.judge(self.plan, judge, given, row, self.received_us) {
                self.refused.push((first + row as u64, reasons));
            }
        }
        if judge.columns.overflowed() { Err(too_large()) } else { Ok(()) }
    }

    /// Judges rows by their columns; false, and nothing taken, where those alone cannot tell.
    fn direct(&mut self, given: &RecordBatch) -> Result<bool> {
        let Pieces { plan, received_us, spoken, .. } = self;
        let mut say = |judge: &mut Judge, row: usize| spoken.judge(plan, judge, given, row, *received_us);
        let Some((rows, found)) = direct::judged(plan, given, *received_us, &mut say)? else { return Ok(false) };
        let first = self.next;
        self.refused.extend(found.into_iter().map(|(row, reasons)| (first + row as u64, reasons)));
        self.made.push(rows);
        self.next += given.num_rows() as u64;
        Ok(true)
    }

    /// All good rows, and the others.
    fn joined(mut self) -> Result<(RecordBatch, Vec<(u64, Refused)>)> {
        if let Some(mut judge) = self.judge {
            self.made.push(rows(self.plan, &mut judge)?);
        }
        Ok((joined(self.made)?, self.refused))
    }
}

fn too_large() -> Error {
    Error::new(ErrorKind::Process, "process.too_large", "a column of the batch passes 2 GiB").hint("read fewer records at once")
}

/// The rows of pieces one after the other. Where some have a text as codes and others do not, it is plain.
fn joined(mut pieces: Vec<RecordBatch>) -> Result<RecordBatch> {
    if pieces.len() == 1 {
        return Ok(pieces.remove(0));
    }
    let mut columns = Vec::with_capacity(pieces[0].num_columns());
    for at in 0..pieces[0].num_columns() {
        let mut parts: Vec<ArrayRef> = pieces.iter().map(|piece| Arc::clone(piece.column(at))).collect();
        if parts.iter().any(|part| part.data_type() != parts[0].data_type()) {
            parts = parts.iter().map(in_plain_text).collect::<Result<_>>()?;
        }
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        columns.push(concat(&parts).map_err(|_| too_large())?);
    }
    let schema = pieces[0].schema();
    let fields = schema.fields().iter().zip(&columns);
    let fields: Fields =
        fields.map(|(field, column)| field.as_ref().clone().with_data_type(column.data_type().clone())).collect();
    let count = pieces.iter().map(RecordBatch::num_rows).sum();
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).map_err(arrow)
}

/// A column without codes, in objects too.
fn in_plain_text(column: &ArrayRef) -> Result<ArrayRef> {
    match column.data_type() {
        DataType::Dictionary(..) => {
            let codes = column.as_dictionary::<Int32Type>();
            let mut texts = StringBuilder::new();
            let Some(coded) = codes.downcast_dict::<StringArray>() else { return Ok(Arc::clone(column)) };
            coded.into_iter().for_each(|text| texts.append_option(text));
            Ok(Arc::new(texts.finish()))
        }
        DataType::Struct(fields) => {
            let given = column.as_struct();
            let columns = given.columns().iter().map(in_plain_text).collect::<Result<Vec<_>>>()?;
            let fields = fields.iter().zip(&columns);
            let fields = fields.map(|(field, column)| field.as_ref().clone().with_data_type(column.data_type().clone()));
            Ok(Arc::new(StructArray::try_new(fields.collect(), columns, given.nulls().cloned()).map_err(arrow)?))
        }
        _ => Ok(Arc::clone(column)),
    }
}
