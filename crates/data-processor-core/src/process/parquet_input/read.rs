//! A Parquet file as batches.

use std::sync::Arc;

use bytes::Bytes;

use super::File;
use super::direct;
use super::text::Writer;
use crate::contract::Plan;
use crate::error::{Error, ErrorKind, Result};
use crate::process::batches::{Batch, rows};
use crate::process::guarded;
use crate::process::judge::{Judge, Padded};
use crate::process::slow::Refused;

/// Reads a file batch by batch.
pub struct Reader {
    plan: Arc<Plan>,
    file: Option<File>,
    next: u64,
    received_us: i64,
}

impl Reader {
    /// Opens a file. A record without a time of its own has `received_us`; a batch holds at most `rows` records.
    ///
    /// Errors: `body.invalid_parquet`.
    pub fn open(plan: Arc<Plan>, file: Bytes, received_us: i64, rows: usize) -> Result<Reader> {
        let file = Some(guarded(|| File::open(&plan, file, rows))?);
        Ok(Reader { plan, file, next: 0, received_us })
    }

    /// The next batch; None at the end. After an error the rest of the file is not readable.
    ///
    /// Errors: `body.invalid_parquet`, `process.too_large`.
    pub fn batch(&mut self) -> Result<Option<Batch>> {
        let outcome = guarded(|| self.judged());
        if outcome.is_err() {
            self.file = None;
        }
        outcome
    }

    fn judged(&mut self) -> Result<Option<Batch>> {
        let Some(file) = &mut self.file else { return Ok(None) };
        let Some(given) = file.batch()? else { return Ok(None) };
        let (first, count) = (self.next, given.num_rows());
        self.next += count as u64;
        let writer = Writer { plan: &self.plan };
        let (mut text, mut padded) = (Vec::new(), Padded::default());
        let mut say = |judge: &mut Judge, row: usize| -> std::result::Result<(), Refused> {
            text.clear();
            writer.record(&given, row, &mut text);
            padded.load(&text);
            judge.record(&padded, 0, text.len(), self.received_us)
        };
        if let Some((rows, refused)) = direct::judged(&self.plan, &given, self.received_us, &mut say)? {
            let refused = refused.into_iter().map(|(row, refused)| (first + row as u64, refused)).collect();
            return Ok(Some(Batch { rows, refused, first, count }));
        }
        let mut judge = Judge::new(&self.plan, count);
        let mut refused = Vec::new();
        for row in 0..count {
            if let Err(reasons) = say(&mut judge, row) {
                refused.push((first + row as u64, reasons));
            }
        }
        if judge.columns.overflowed() {
            return Err(Error::new(ErrorKind::Process, "process.too_large", "a column of the batch passes 2 GiB")
                .hint("read fewer records at once"));
        }
        Ok(Some(Batch { rows: rows(&self.plan, &mut judge)?, refused, first, count }))
    }
}
