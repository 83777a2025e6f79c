//! Files of typed formats as batches of good rows and verdicts: memory is bounded by the batch, not by the file.

use std::sync::Arc;

use arrow_array::types::{Date32Type, Int32Type};
use arrow_array::{ArrayRef, PrimitiveArray, RecordBatch, RecordBatchOptions};
use arrow_buffer::ScalarBuffer;
use arrow_schema::{FieldRef, Schema};

use super::arrow;
use super::judge::Judge;
use super::rows::contract_arrays;
use super::slow::Refused;
use super::time::{DAY_US, HOUR_US};
use crate::batch::lineage_fields;
use crate::contract::Plan;
use crate::error::Result;

/// Records of a file, judged.
#[derive(Debug)]
pub struct Batch {
    /// The contract's columns, `event_date` and `event_hour` of the records that met it, in order.
    pub rows: RecordBatch,
    /// The others: number of each in its file, from 0, and what is wrong with it.
    pub refused: Vec<(u64, Refused)>,
    /// Number of the batch's first record in its file.
    pub first: u64,
    /// Records in the batch, good or refused.
    pub count: usize,
}

/// The rows that a judge holds; it is left empty.
pub fn rows(plan: &Plan, judge: &mut Judge) -> Result<RecordBatch> {
    let columns = &mut judge.columns;
    let count = columns.rows;
    let date = std::mem::take(&mut columns.event_date);
    let hour = std::mem::take(&mut columns.event_hour);
    let (mut fields, mut arrays): (Vec<FieldRef>, Vec<ArrayRef>) = contract_arrays(plan, columns).into_iter().unzip();
    columns.rows = 0;
    day_and_hour(date, hour, &mut fields, &mut arrays);
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options).map_err(arrow)
}

fn day_and_hour(date: Vec<i32>, hour: Vec<i32>, fields: &mut Vec<FieldRef>, arrays: &mut Vec<ArrayRef>) {
    fields.extend(lineage_fields().into_iter().take(2).map(Arc::new));
    arrays.push(Arc::new(PrimitiveArray::<Date32Type>::new(ScalarBuffer::from(date), None)));
    arrays.push(Arc::new(PrimitiveArray::<Int32Type>::new(ScalarBuffer::from(hour), None)));
}

/// Adds day and hour of event times, µs since 1970.
pub fn lineage(times: &[i64], fields: &mut Vec<FieldRef>, arrays: &mut Vec<ArrayRef>) {
    let date = times.iter().map(|at| at.div_euclid(DAY_US) as i32).collect();
    let hour = times.iter().map(|at| (at.rem_euclid(DAY_US) / HOUR_US) as i32).collect();
    day_and_hour(date, hour, fields, arrays);
}
