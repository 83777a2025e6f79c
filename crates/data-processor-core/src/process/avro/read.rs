//! An object container file as batches: the direct road, and the JSON roads for what it does not take.

use bytes::Bytes;

use super::container::{Block, Blocks, Place};
use super::cursor::Cursor;
use super::record::{Budget, Writer};
use super::schema::Schema;
use super::{Road, broken, most_text};
use crate::contract::Plan;
use crate::error::{Error, ErrorKind, Result};
use crate::process::batches::{Batch, rows};
use crate::process::guarded;
use crate::process::judge::{Judge, Padded};
use std::sync::Arc;

/// Reads a file batch by batch.
pub struct Reader {
    plan: Arc<Plan>,
    file: Bytes,
    schema: Schema,
    place: Place,
    block: Block,
    /// Next byte and next value of the block.
    at: usize,
    taken: usize,
    budget: Budget,
    next: u64,
    received_us: i64,
    rows: usize,
}

impl Reader {
    /// Opens a file. A record without a time of its own has `received_us`; a batch holds at most `rows` records.
    ///
    /// Errors: `body.invalid_avro`, `avro.bad_schema`, `avro.unknown_codec`.
    pub fn open(plan: Arc<Plan>, file: Bytes, received_us: i64, rows: usize) -> Result<Reader> {
        let (place, schema) = guarded(|| {
            let (blocks, schema) = Blocks::open(&file)?;
            Ok((blocks.place(), schema))
        })?;
        let budget = Budget::new(most_text(file.len()));
        Ok(Reader {
            plan,
            file,
            schema,
            place,
            block: Block::default(),
            at: 0,
            taken: 0,
            budget,
            next: 0,
            received_us,
            rows: rows.max(1),
        })
    }

    /// The next batch; None at the end. After an error the rest of the file is not readable.
    ///
    /// Errors: `body.invalid_avro`, `body.too_large`, `process.too_large`.
    pub fn batch(&mut self) -> Result<Option<Batch>> {
        let outcome = guarded(|| self.judged());
        if outcome.is_err() {
            self.place.end(self.file.len());
            self.taken = self.block.values;
        }
        outcome
    }

    fn judged(&mut self) -> Result<Option<Batch>> {
        let (plan, first) = (Arc::clone(&self.plan), self.next);
        let mut judge = Judge::new(&plan, self.rows.min(1 << 16));
        let mut refused = Vec::new();
        let mut road = Road::new(&self.schema, &plan);
        let mut writer = Writer::going_on(&self.schema, &plan, self.budget);
        let mut blocks = Blocks::at_place(&self.file, self.place);
        let (mut text, mut padded) = (Vec::new(), Padded::default());
        while self.next - first < self.rows as u64 {
            if self.taken == self.block.values {
                if self.block.length > self.at {
                    return Err(broken(super::Fault::Number, self.next as usize));
                }
                (self.at, self.taken) = (0, 0);
                if !blocks.next(&mut self.block)? {
                    self.block = Block::default();
                    break;
                }
                continue;
            }
            let mut cursor = Cursor { bytes: &self.block.bytes, at: self.at, end: self.block.length };
            let direct = road.record(&mut cursor, &mut judge.columns).and_then(|()| judge.accept(self.received_us));
            if direct.is_none() {
                judge.retract();
                cursor.at = self.at;
                text.clear();
                writer.record(&mut cursor, &mut text).map_err(|fault| broken(fault, self.next as usize))?;
                padded.load(&text);
                if let Err(reasons) = judge.record(&padded, 0, text.len(), self.received_us) {
                    refused.push((self.next, reasons));
                }
            }
            self.at = cursor.at;
            self.taken += 1;
            self.next += 1;
        }
        self.place = blocks.place();
        self.budget = writer.budget();
        let count = (self.next - first) as usize;
        if judge.columns.overflowed() {
            return Err(Error::new(ErrorKind::Process, "process.too_large", "a column of the batch passes 2 GiB")
                .hint("read fewer records at once"));
        }
        Ok(if count == 0 { None } else { Some(Batch { rows: rows(&plan, &mut judge)?, refused, first, count }) })
    }
}
