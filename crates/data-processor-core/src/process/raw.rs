//! Raw records in `RAW` layout, column by column.

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef, BinaryArray, RecordBatch, TimestampMicrosecondArray};

use crate::batch::raw_schema;
use crate::error::{Error, ErrorKind, Result};

/// A batch's columns, each of the type that the layout names.
pub struct Raw<'a> {
    /// The records' bytes.
    pub value: &'a BinaryArray,
    /// Keys.
    pub key: &'a ArrayRef,
    /// Ids of logs.
    pub log: &'a ArrayRef,
    /// Partitions.
    pub partition: &'a ArrayRef,
    /// Offsets.
    pub offset: &'a ArrayRef,
    /// Times of receipt.
    pub received_at: &'a TimestampMicrosecondArray,
    /// Requests.
    pub request: &'a ArrayRef,
    /// Formats and lines.
    pub source: &'a ArrayRef,
}

impl<'a> Raw<'a> {
    /// Checks that a batch has the layout. Errors: `process.layout` names the first column that differs.
    pub fn new(rows: &'a RecordBatch) -> Result<Raw<'a>> {
        let mut columns = Vec::with_capacity(8);
        for field in raw_schema().fields() {
            let column = rows.column_by_name(field.name()).ok_or_else(|| differs(field.name(), "it is missing"))?;
            if column.data_type() != field.data_type() {
                return Err(differs(field.name(), &format!("expected {}, found {}", field.data_type(), column.data_type())));
            }
            if !field.is_nullable() && column.null_count() > 0 {
                return Err(differs(field.name(), "it has nulls"));
            }
            columns.push(column);
        }
        Ok(Raw {
            value: columns[0].as_binary(),
            key: columns[1],
            log: columns[2],
            partition: columns[3],
            offset: columns[4],
            received_at: columns[5].as_primitive::<TimestampMicrosecondType>(),
            request: columns[6],
            source: columns[7],
        })
    }
}

impl Raw<'_> {
    /// Format of the body that brought a record, where one is known.
    pub fn format(&self, row: usize) -> Option<&str> {
        let source = self.source.as_struct();
        let formats = source.column(0).as_string::<i32>();
        (source.is_valid(row) && formats.is_valid(row)).then(|| formats.value(row))
    }
}

fn differs(column: &str, how: &str) -> Error {
    Error::new(ErrorKind::Process, "process.layout", format!("column `{column}` of raw records: {how}"))
        .hint("pass a record batch in `frazil.batch.RAW` layout")
        .text("column", column)
}
