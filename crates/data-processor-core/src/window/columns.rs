//! The columns a batch of events brings for the windows: `time`, `received`, the place, and per window `n` the columns
//! `n.where`, `n.k0…` and `n.a0…`.

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, BooleanArray, Decimal128Array, Float64Array, PrimitiveArray, RecordBatch, StringArray};
use arrow_schema::DataType;

use super::aggregate::{Value, quoted};
use super::spec::{Values, WindowSpec};
use crate::error::{Error, ErrorKind, Result};

/// Event times and places of a batch.
pub struct Events<'a> {
    /// Event time, µs.
    pub time: &'a [i64],
    /// Time of receipt, µs.
    pub received: &'a [i64],
    /// Log of each row.
    pub log: &'a StringArray,
    /// Partition of each row.
    pub partition: &'a StringArray,
    /// Offset of each row.
    pub offset: &'a [i64],
}

/// How far before its receipt's end an event time may move the watermark: clocks that run ahead must not make others late.
const AHEAD_US: i64 = 300_000_000;

impl<'a> Events<'a> {
    /// Reads a batch.
    pub fn of(rows: &'a RecordBatch) -> Result<Events<'a>> {
        Ok(Events {
            time: times(rows, "time")?.values(),
            received: times(rows, "received")?.values(),
            log: text(rows, "log")?,
            partition: text(rows, "partition")?,
            offset: column(rows, "offset", |array| array.as_primitive_opt::<Int64Type>())?.values(),
        })
    }

    /// The largest event time, at most five minutes after the receipt of its row.
    pub fn largest(&self) -> Option<i64> {
        self.time.iter().zip(self.received).map(|(at, received)| (*at).min(received.saturating_add(AHEAD_US))).max()
    }
}

/// The columns of one window.
pub struct Inputs<'a> {
    holds: &'a BooleanArray,
    keys: Vec<&'a StringArray>,
    values: Vec<Column<'a>>,
}

enum Column<'a> {
    Rows,
    Exact(&'a Decimal128Array),
    Time(&'a PrimitiveArray<TimestampMicrosecondType>),
    Float(&'a Float64Array),
    Text(&'a StringArray),
}

impl<'a> Inputs<'a> {
    /// Reads the columns of window number `n`.
    pub fn of(rows: &'a RecordBatch, n: usize, spec: &WindowSpec) -> Result<Inputs<'a>> {
        let value = |(at, one): (usize, &super::spec::AggregateSpec)| {
            let name = format!("{n}.a{at}");
            Ok(match one.values {
                Values::Rows => Column::Rows,
                Values::Exact => Column::Exact(column(rows, &name, |array| array.as_primitive_opt::<Decimal128Type>())?),
                Values::Float => Column::Float(column(rows, &name, |array| array.as_primitive_opt::<Float64Type>())?),
                Values::Time => Column::Time(times(rows, &name)?),
                Values::Text => Column::Text(text(rows, &name)?),
            })
        };
        Ok(Inputs {
            holds: column(rows, &format!("{n}.where"), |array| array.as_boolean_opt())?,
            keys: (0..spec.keys).map(|key| text(rows, &format!("{n}.k{key}"))).collect::<Result<_>>()?,
            values: spec.aggregates.iter().enumerate().map(value).collect::<Result<_>>()?,
        })
    }

    /// Whether the window is about this row.
    pub fn holds(&self, row: usize) -> bool {
        self.holds.is_valid(row) && self.holds.value(row)
    }

    /// The row's key as a JSON array of texts.
    pub fn key(&self, row: usize) -> String {
        let parts: Vec<String> =
            self.keys.iter().map(|key| if key.is_null(row) { "null".into() } else { quoted(key.value(row)) }).collect();
        format!("[{}]", parts.join(","))
    }

    /// The row's values, one per column of a result.
    pub fn values(&self, row: usize) -> Vec<Value<'a>> {
        self.values
            .iter()
            .map(|column| match column {
                Column::Rows => Value::Row,
                Column::Exact(array) if array.is_valid(row) => Value::Exact(array.value(row)),
                Column::Time(array) if array.is_valid(row) => Value::Exact(array.value(row).into()),
                Column::Float(array) if array.is_valid(row) => Value::Float(array.value(row)),
                Column::Text(array) if array.is_valid(row) => Value::Text(array.value(row)),
                _ => Value::Missing,
            })
            .collect()
    }
}

fn times<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a PrimitiveArray<TimestampMicrosecondType>> {
    column(rows, name, |array| array.as_primitive_opt::<TimestampMicrosecondType>())
}

fn text<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a StringArray> {
    column(rows, name, |array| match array.data_type() {
        DataType::Utf8 => array.as_string_opt::<i32>(),
        _ => None,
    })
}

fn column<'a, T>(rows: &'a RecordBatch, name: &str, read: impl Fn(&'a dyn Array) -> Option<&'a T>) -> Result<&'a T> {
    rows.column_by_name(name).and_then(|array| read(array.as_ref())).ok_or_else(|| {
        Error::new(ErrorKind::Plan, "window.columns", format!("the batch has no column {name:?} of the type its window needs"))
            .text("column", name)
    })
}
