//! The founding interface in steps of its own: parse, validate, transform. `process` does all three at once.

use std::sync::{Arc, OnceLock};

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Int32Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, BooleanArray, PrimitiveArray, RecordBatch, RecordBatchOptions, StructArray};
use arrow_schema::{FieldRef, Schema};
use arrow_select::filter::filter_record_batch;
use bytes::Bytes;

use super::admit::{Admission, Format, Indexed, admit_rows};
use super::batches::Batch;
use super::csv::{self, Dialect, Judged};
use super::given::{File, Given, Records};
use super::judge::{Judge, Padded};
use super::leaf::first_instant;
use super::rows::contract_arrays;
use super::slow::Refused;
use super::time::{DAY_US, HOUR_US};
use super::{arrow, avro, check, guarded, parquet_input};
use crate::batch::lineage_fields;
use crate::contract::{Kind, Plan};
use crate::error::{Error, ErrorKind, Result};

/// Parsed records: the typed columns of those that could be typed, and every violation found so far.
pub struct Events {
    /// The contract they were typed by.
    pub plan: Arc<Plan>,
    /// The contract's columns, one row per typed record.
    pub rows: RecordBatch,
    /// What parsing found: record rules, missing and wrong types, times, unknown and repeated members.
    pub violations: Vec<Indexed>,
    given: Given,
    /// Record of each row.
    records: Vec<u32>,
    received_us: i64,
}

/// The generic event contract, compiled once.
pub fn generic() -> Arc<Plan> {
    static PLAN: OnceLock<Arc<Plan>> = OnceLock::new();
    Arc::clone(PLAN.get_or_init(|| Arc::new(Plan::generic())))
}

/// The format of a JSON text: an array or one value is `json`, anything else one value per line.
fn json_or_lines(body: &[u8]) -> Format {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first != Some(&b'[') && is_value_and_more(body) {
        return Format::Ndjson;
    }
    let mut padded = Padded::default();
    padded.load(body);
    let mut limits = super::syntax::Limits { depth: usize::MAX, members: 0 };
    let one = first == Some(&b'[') || super::syntax::whole_value(padded.bytes(), body.len(), &mut limits).is_ok();
    if one { Format::Json } else { Format::Ndjson }
}

/// Whether the first line is a value and something follows it: the rest need not be looked at.
fn is_value_and_more(body: &[u8]) -> bool {
    let Some(end) = memchr::memchr(b'\n', body) else { return false };
    let mut line = Padded::default();
    line.load(&body[..end]);
    let mut limits = super::syntax::Limits { depth: usize::MAX, members: 0 };
    super::syntax::whole_value(line.bytes(), end, &mut limits).is_ok() && !body[end..].iter().all(u8::is_ascii_whitespace)
}

/// Parses a body into typed columns. Rules of range, enum, length, pattern and format of text are not applied yet.
///
/// `received_us` bounds event times. Errors: as [`super::admit::admit_in`].
pub fn parse(plan: Arc<Plan>, body: Bytes, format: Option<Format>, received_us: i64) -> Result<Events> {
    let format = format.unwrap_or_else(|| json_or_lines(&body));
    parse_in(plan, body, format, &Dialect::default(), received_us)
}

/// As [`parse`], a CSV body in this dialect.
pub fn parse_in(plan: Arc<Plan>, body: Bytes, format: Format, dialect: &Dialect, received_us: i64) -> Result<Events> {
    match format {
        Format::Json | Format::Ndjson => {}
        Format::Csv => return parse_rows(plan, body, dialect, received_us),
        Format::Avro | Format::Parquet => return parse_file(plan, body, format, received_us),
    }
    let typed = plan.typed()?;
    let (admission, mut columns, records) = admit_rows(&typed, body, format, dialect, received_us)?;
    let Admission { body, ranges, lines, errors: violations, .. } = admission;
    guarded(|| {
        let count = columns.rows;
        let (fields, arrays): (Vec<_>, Vec<_>) = contract_arrays(&typed, &mut columns).into_iter().unzip();
        typed.spare.give(columns);
        let rows = batch(fields, arrays, count)?;
        let given = Given::Records(Arc::new(Records { body, ranges, lines, format }));
        Ok(Events { plan: Arc::clone(&plan), rows, violations, given, records, received_us })
    })
}

/// Columns of a whole file, by the roads of its format: no record of it becomes JSON that need not.
fn parse_file(plan: Arc<Plan>, file: Bytes, format: Format, received_us: i64) -> Result<Events> {
    let (typed, all) = (plan.typed()?, u32::MAX as usize);
    let (batch, more) = match format {
        Format::Avro => {
            let mut reader = avro::Reader::open(typed, file.clone(), received_us, all)?;
            (reader.batch()?, reader.batch()?)
        }
        _ => {
            let mut reader = parquet_input::Reader::open(typed, file.clone(), received_us, all)?;
            (reader.batch()?, reader.batch()?)
        }
    };
    let body_error = |code, message| Error::new(ErrorKind::Body, code, message);
    let Some(Batch { rows, refused, count, .. }) = batch else {
        return Err(body_error("body.empty", "the body holds no record").hint("send at least one event"));
    };
    if more.is_some() {
        return Err(
            body_error("body.too_large", "the body holds more records than fit into memory at once").hint("read it by batches")
        );
    }
    let mut is_typed = vec![true; count];
    refused.iter().for_each(|(index, _)| is_typed[*index as usize] = false);
    let records = (0..count as u32).filter(|index| is_typed[*index as usize]).collect();
    let each = |(index, (_, found)): (u64, Refused)| {
        found.into_iter().map(move |violation| Indexed { index: index as usize, violation })
    };
    let violations = refused.into_iter().flat_map(each).collect();
    // Day and hour of the event time are the last two: `transform` makes its own.
    let rows = rows.project(&(0..rows.num_columns() - 2).collect::<Vec<_>>()).map_err(arrow)?;
    let file = File {
        plan: Arc::clone(&plan),
        bytes: file,
        format,
        dialect: Dialect::default(),
        lines: None,
        starts: Vec::new(),
        long: Vec::new(), // their doubles are spelled with the fewest digits
        count,
        records: OnceLock::new(),
    };
    Ok(Events { plan, rows, violations, given: Given::File(Arc::new(file)), records, received_us })
}

/// Columns of a CSV body: no row of it becomes JSON that need not.
fn parse_rows(plan: Arc<Plan>, body: Bytes, dialect: &Dialect, received_us: i64) -> Result<Events> {
    let typed = plan.typed()?;
    guarded(|| {
        let mut judge = Judge::new(&typed, body.len() / SMALL_ROW + 1);
        let Judged { lines, starts, records, long, violations } = csv::judged(&typed, &body, dialect, &mut judge, received_us)?;
        if lines.is_empty() {
            return Err(Error::new(ErrorKind::Body, "body.empty", "the body holds no record").hint("send at least one event"));
        }
        let count = judge.columns.rows;
        let (fields, arrays): (Vec<_>, Vec<_>) = contract_arrays(&typed, &mut judge.columns).into_iter().unzip();
        let file = File {
            plan: Arc::clone(&plan),
            bytes: body.clone(),
            format: Format::Csv,
            dialect: dialect.clone(),
            count: lines.len(),
            lines: Some(lines),
            starts,
            long,
            records: OnceLock::new(),
        };
        let given = Given::File(Arc::new(file));
        Ok(Events { plan: Arc::clone(&plan), rows: batch(fields, arrays, count)?, violations, given, records, received_us })
    })
}

/// Bytes of a small row of cells: room for rows is made by it.
const SMALL_ROW: usize = 128;

/// Types records by a plan.
fn typed(plan: Arc<Plan>, given: Given, received_us: i64) -> Result<Events> {
    let (typed, texts) = (plan.typed()?, given.records()?);
    guarded(|| {
        let mut judge = Judge::new(&typed, texts.ranges.len());
        let (mut violations, mut records) = (Vec::new(), Vec::with_capacity(texts.ranges.len()));
        texts.judge(&mut judge, &texts.ranges, received_us, |index, verdict| match verdict {
            Ok(()) => records.push(index as u32),
            Err((_, found)) => violations.extend(found.into_iter().map(|violation| Indexed { index, violation })),
        });
        let rows = judge.columns.rows;
        let (fields, arrays): (Vec<_>, Vec<_>) = contract_arrays(&typed, &mut judge.columns).into_iter().unzip();
        Ok(Events { plan: Arc::clone(&plan), rows: batch(fields, arrays, rows)?, violations, given, records, received_us })
    })
}

fn batch(fields: Vec<FieldRef>, arrays: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options).map_err(arrow)
}

impl Events {
    /// Records parsed, typed or not.
    pub fn len(&self) -> usize {
        self.given.len()
    }

    /// 1-based line or row of a record in its body; None where the body has none. Panics when `index` is not below `len()`.
    pub fn line(&self, index: usize) -> Option<u64> {
        self.given.line(index)
    }

    /// Whether nothing was parsed.
    pub fn is_empty(&self) -> bool {
        self.given.len() == 0
    }

    /// Records that could not be typed, or whose rows may break a rule: by column for typed ones, all under another plan.
    fn doubtful(&self, plan: &Plan) -> Vec<u32> {
        if plan.hash != self.plan.hash {
            return (0..self.given.len() as u32).collect();
        }
        let long = self.given.long();
        let marks = check::marked(plan, self.rows.columns(), self.rows.num_rows(), long.is_some());
        let mut sure = vec![false; self.given.len()];
        for (record, mark) in self.records.iter().zip(marks) {
            sure[*record as usize] = !mark;
        }
        long.unwrap_or_default().iter().for_each(|record| sure[*record as usize] = false);
        (0..self.given.len() as u32).filter(|record| !sure[*record as usize]).collect()
    }

    /// Judges the doubtful records again by their text: every violation of each, in order of records.
    fn violations_of(&self, plan: &Plan) -> Result<Vec<Indexed>> {
        guarded(|| {
            let doubtful = self.doubtful(plan);
            if doubtful.is_empty() {
                return Ok(Vec::new());
            }
            let (given, ranges) = self.given.some_records(&doubtful)?;
            let mut judge = Judge::new(plan, ranges.len());
            let mut violations = Vec::new();
            given.judge(&mut judge, &ranges, self.received_us, |at, verdict| {
                let index = doubtful[at] as usize;
                let found = verdict.err().map(|(_, found)| found).unwrap_or_default();
                violations.extend(found.into_iter().map(|violation| Indexed { index, violation }));
            });
            Ok(violations)
        })
    }
}

/// Every violation of every record, in order of records.
pub fn validate(events: &Events, plan: &Plan) -> Result<Vec<Indexed>> {
    events.violations_of(plan)
}

/// The valid rows with `event_date` and `event_hour` (UTC, of the event time; of parsing where a record has none).
pub fn transform(events: &Events, plan: &Arc<Plan>) -> Result<RecordBatch> {
    guarded(|| transformed(events, plan))
}

fn transformed(events: &Events, plan: &Arc<Plan>) -> Result<RecordBatch> {
    if plan.hash != events.plan.hash {
        return transform(&typed(Arc::clone(plan), events.given.clone(), events.received_us)?, plan);
    }
    let broken: Vec<usize> = validate(events, plan)?.iter().map(|found| found.index).collect();
    let good: Vec<bool> = events.records.iter().map(|record| broken.binary_search(&(*record as usize)).is_err()).collect();
    let good = BooleanArray::from(good);
    let rows = if broken.is_empty() { events.rows.clone() } else { filter_record_batch(&events.rows, &good).map_err(arrow)? };
    let times = event_times(plan, &rows, events.received_us);
    let date = PrimitiveArray::<Date32Type>::from_iter_values(times.iter().map(|at| at.div_euclid(DAY_US) as i32));
    let hour = PrimitiveArray::<Int32Type>::from_iter_values(times.iter().map(|at| (at.rem_euclid(DAY_US) / HOUR_US) as i32));
    let mut fields = rows.schema().fields().to_vec();
    fields.extend(lineage_fields().into_iter().take(2).map(Arc::new));
    let mut arrays = rows.columns().to_vec();
    arrays.extend([Arc::new(date) as ArrayRef, Arc::new(hour)]);
    batch(fields, arrays, rows.num_rows())
}

/// Event time of each row, µs.
fn event_times(plan: &Plan, rows: &RecordBatch, received_us: i64) -> Vec<i64> {
    let leaf = plan.event_time.leaf.and_then(|kind| Some((kind, column_of(plan, 0, kind, &StructArray::from(rows.clone()))?)));
    let valid = |column: &ArrayRef, row: usize| column.is_valid(row);
    match leaf {
        Some((Kind::Timestamp(_), column)) => {
            let values = column.as_primitive::<TimestampMicrosecondType>().values();
            values.iter().enumerate().map(|(row, at)| if valid(&column, row) { *at } else { received_us }).collect()
        }
        Some((Kind::Date(leaf), column)) => {
            let values = column.as_primitive::<Date32Type>().values();
            let instant = |day: i32| first_instant(day, plan.dates[leaf]);
            values.iter().enumerate().map(|(row, day)| if valid(&column, row) { instant(*day) } else { received_us }).collect()
        }
        _ => vec![received_us; rows.num_rows()],
    }
}

/// The column of a leaf that is in no array.
fn column_of(plan: &Plan, node: usize, leaf: Kind, columns: &StructArray) -> Option<ArrayRef> {
    plan.nodes[node].fields.iter().zip(columns.columns()).find_map(|(field, column)| match field.kind {
        kind if kind == leaf => Some(Arc::clone(column)),
        Kind::Object(below) => column_of(plan, below, leaf, column.as_struct()),
        _ => None,
    })
}
