//! Records as Arrow rows in the `RAW` layout.

use std::sync::Arc;

use arrow_array::TimestampMicrosecondArray;
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, BinaryArray, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray, StructArray};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType};

use super::codec::RecordRef;
use super::decode::RunRef;
use crate::batch::raw_schema;

/// Binary column under construction. The reader stops long before 2 GiB.
#[derive(Default)]
struct Bytes {
    offsets: Vec<i32>,
    values: Vec<u8>,
    present: Vec<bool>,
}

impl Bytes {
    fn push(&mut self, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.values.extend_from_slice(value);
        }
        self.offsets.push(self.values.len() as i32);
        self.present.push(value.is_some());
    }

    fn finish(self) -> Result<ArrayRef, ArrowError> {
        let offsets: ScalarBuffer<i32> = std::iter::once(0).chain(self.offsets).collect();
        let nulls = Some(NullBuffer::from(self.present)).filter(|nulls| nulls.null_count() > 0);
        Ok(Arc::new(BinaryArray::try_new(OffsetBuffer::new(offsets), Buffer::from_vec(self.values), nulls)?))
    }
}

/// Rows being read; one partition, so offsets only grow.
#[derive(Default)]
pub(crate) struct RawRows {
    value: Bytes,
    key: Bytes,
    offset: Vec<i64>,
    received_at: Vec<i64>,
    request: Vec<i64>,
    format: Vec<String>,
    format_code: Vec<usize>,
    line: Vec<Option<i64>>,
    /// Check of the last row.
    pub check: u32,
}

impl RawRows {
    pub fn len(&self) -> usize {
        self.offset.len()
    }

    pub fn is_empty(&self) -> bool {
        self.offset.is_empty()
    }

    pub fn size(&self) -> usize {
        self.value.values.len() + self.key.values.len() + self.len() * 64
    }

    pub fn push(&mut self, offset: i64, run: &RunRef<'_>, record: RecordRef<'_>) {
        if self.format.last().is_none_or(|last| last != run.format) {
            self.format.push(run.format.to_owned());
        }
        self.value.push(record.value);
        self.key.push(record.key);
        self.offset.push(offset);
        self.received_at.push(run.received_at_us);
        self.request.push(run.request);
        self.format_code.push(self.format.len() - 1);
        self.line.push(record.line.map(|line| i64::try_from(line).unwrap_or(i64::MAX)));
    }

    /// The rows with the columns `log` and `partition` "0".
    pub fn finish(self, log_id: &str) -> Result<RecordBatch, ArrowError> {
        let schema = raw_schema();
        let rows = self.len();
        let DataType::Struct(source_fields) = schema.field(7).data_type().clone() else {
            return Err(ArrowError::SchemaError("source is a struct".to_owned()));
        };
        let format: StringArray = self.format_code.iter().map(|&code| Some(self.format[code].as_str())).collect();
        let line = Int64Array::from(self.line);
        let source = StructArray::try_new(source_fields, vec![Arc::new(format), Arc::new(line)], None)?;
        let columns: Vec<ArrayRef> = vec![
            self.value.finish()?,
            self.key.finish()?,
            constant(log_id, rows)?,
            constant("0", rows)?,
            Arc::new(Int64Array::from(self.offset)),
            Arc::new(TimestampMicrosecondArray::from(self.received_at).with_timezone("UTC")),
            Arc::new(Int64Array::from(self.request)),
            Arc::new(source),
        ];
        RecordBatch::try_new(schema, columns)
    }
}

fn constant(text: &str, rows: usize) -> Result<ArrayRef, ArrowError> {
    let values = Arc::new(StringArray::from(vec![text]));
    Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(Int32Array::from(vec![0; rows]), values)?))
}
