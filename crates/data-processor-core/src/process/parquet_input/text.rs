//! Rows of Arrow columns as canonical JSON: fields in the file's order, those that are null left out.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Decimal256Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Fields, TimeUnit};

use crate::contract::{Kind, Plan};
use crate::process::spell::{self, Unit};

/// Writes rows under a contract.
pub struct Writer<'a> {
    /// The contract.
    pub plan: &'a Plan,
}

/// Whether values of a type that holds no others can be written.
pub fn speaks(kind: &DataType) -> bool {
    kind.is_integer()
        || kind.is_floating()
        || matches!(
            kind,
            DataType::Null
                | DataType::Boolean
                | DataType::Decimal128(..)
                | DataType::Decimal256(..)
                | DataType::Utf8
                | DataType::Binary
                | DataType::FixedSizeBinary(_)
                | DataType::Date32
                | DataType::Time32(_)
                | DataType::Time64(_)
                | DataType::Timestamp(..)
        )
}

fn unit(unit: TimeUnit) -> Unit {
    match unit {
        TimeUnit::Second => Unit::Second,
        TimeUnit::Millisecond => Unit::Milli,
        TimeUnit::Microsecond => Unit::Micro,
        TimeUnit::Nanosecond => Unit::Nano,
    }
}

impl Writer<'_> {
    /// Appends a row.
    pub fn record(&self, batch: &RecordBatch, row: usize, out: &mut Vec<u8>) {
        self.object(batch.schema_ref().fields(), batch.columns(), row, Some(Kind::Object(0)), out);
    }

    fn object(&self, fields: &Fields, columns: &[arrow_array::ArrayRef], row: usize, target: Option<Kind>, out: &mut Vec<u8>) {
        out.push(b'{');
        let opened = out.len();
        for (field, column) in fields.iter().zip(columns) {
            let before = out.len();
            if before > opened {
                out.push(b',');
            }
            spell::quoted(field.name().as_bytes(), out);
            out.push(b':');
            let value = out.len();
            self.value(column.as_ref(), row, self.below(target, field.name().as_bytes()), out);
            if &out[value..] == b"null" {
                out.truncate(before);
            }
        }
        out.push(b'}');
    }

    /// What the contract has under a name of an object.
    fn below(&self, target: Option<Kind>, name: &[u8]) -> Option<Kind> {
        let Some(Kind::Object(number)) = target else { return None };
        let node = &self.plan.nodes[number];
        node.find(name).map(|field| node.fields[field].kind)
    }

    fn value(&self, column: &dyn Array, row: usize, target: Option<Kind>, out: &mut Vec<u8>) {
        if column.is_null(row) {
            return out.extend_from_slice(b"null");
        }
        match column.data_type() {
            DataType::Struct(fields) => self.object(fields, column.as_struct().columns(), row, target, out),
            DataType::List(_) => {
                let item = match target {
                    Some(Kind::Array(number)) => Some(self.plan.arrays[number].item.kind),
                    _ => None,
                };
                out.push(b'[');
                let items = column.as_list::<i32>().value(row);
                for at in 0..items.len() {
                    if at > 0 {
                        out.push(b',');
                    }
                    self.value(items.as_ref(), at, item, out);
                }
                out.push(b']');
            }
            DataType::Map(..) => self.map(&column.as_map().value(row), target, out),
            DataType::Dictionary(..) => {
                let column = column.as_dictionary::<Int32Type>();
                self.value(column.values().as_ref(), column.keys().value(row) as usize, target, out);
            }
            _ => leaf(column, row, target, out),
        }
    }

    /// A map's names and values; a name that is no text is written as text.
    fn map(&self, entries: &arrow_array::StructArray, target: Option<Kind>, out: &mut Vec<u8>) {
        let (names, values) = (entries.column(0), entries.column(1));
        out.push(b'{');
        for at in 0..entries.len() {
            if at > 0 {
                out.push(b',');
            }
            let mut name = Vec::new();
            match names.data_type() {
                DataType::Utf8 => name.extend_from_slice(names.as_string::<i32>().value(at).as_bytes()),
                _ => self.value(names.as_ref(), at, None, &mut name),
            }
            spell::quoted(&name, out);
            out.push(b':');
            self.value(values.as_ref(), at, self.below(target, &name), out);
        }
        out.push(b'}');
    }
}

/// A whole number of any width.
fn whole(column: &dyn Array, row: usize) -> i128 {
    match column.data_type() {
        DataType::Int8 => column.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => column.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).into(),
        DataType::UInt8 => column.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => column.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => column.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => column.as_primitive::<UInt64Type>().value(row).into(),
        _ => column.as_primitive::<Int64Type>().value(row).into(),
    }
}

fn leaf(column: &dyn Array, row: usize, target: Option<Kind>, out: &mut Vec<u8>) {
    match column.data_type() {
        DataType::Null => out.extend_from_slice(b"null"),
        DataType::Boolean => out.extend_from_slice(if column.as_boolean().value(row) { b"true" } else { b"false" }),
        DataType::Float16 => spell::double(column.as_primitive::<Float16Type>().value(row).to_f64(), out),
        DataType::Float32 => spell::double(column.as_primitive::<Float32Type>().value(row).into(), out),
        DataType::Float64 => spell::double(column.as_primitive::<Float64Type>().value(row), out),
        DataType::Decimal128(_, scale) => {
            spell::decimal(&column.as_primitive::<Decimal128Type>().value(row).to_string(), i32::from(*scale), out);
        }
        DataType::Decimal256(_, scale) => {
            spell::decimal(&column.as_primitive::<Decimal256Type>().value(row).to_string(), i32::from(*scale), out);
        }
        DataType::Utf8 => spell::text(column.as_string::<i32>().value(row).as_bytes(), target, out),
        DataType::Binary => spell::bytes(column.as_binary::<i32>().value(row), target, out),
        DataType::FixedSizeBinary(_) => {
            let value = column.as_fixed_size_binary().value(row);
            match <[u8; 16]>::try_from(value) {
                Ok(value) => spell::uuid(value, out),
                Err(_) => spell::bytes(value, target, out),
            }
        }
        DataType::Date32 => spell::date(column.as_primitive::<Date32Type>().value(row).into(), target, out),
        DataType::Time32(_) | DataType::Time64(_) => {
            let (value, unit) = time_of_day(column, row);
            spell::time_of_day(value, unit, target, out);
        }
        DataType::Timestamp(of, zone) => spell::instant(since_1970(column, row, *of), unit(*of), zone.is_some(), target, out),
        _ => spell::integer(whole(column, row), out), // `speaks` knows no other type
    }
}

fn time_of_day(column: &dyn Array, row: usize) -> (i64, Unit) {
    match column.data_type() {
        DataType::Time32(TimeUnit::Second) => (column.as_primitive::<Time32SecondType>().value(row).into(), Unit::Second),
        DataType::Time32(_) => (column.as_primitive::<Time32MillisecondType>().value(row).into(), Unit::Milli),
        DataType::Time64(TimeUnit::Nanosecond) => (column.as_primitive::<Time64NanosecondType>().value(row), Unit::Nano),
        _ => (column.as_primitive::<Time64MicrosecondType>().value(row), Unit::Micro),
    }
}

fn since_1970(column: &dyn Array, row: usize, unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => column.as_primitive::<TimestampSecondType>().value(row),
        TimeUnit::Millisecond => column.as_primitive::<TimestampMillisecondType>().value(row),
        TimeUnit::Microsecond => column.as_primitive::<TimestampMicrosecondType>().value(row),
        TimeUnit::Nanosecond => column.as_primitive::<TimestampNanosecondType>().value(row),
    }
}
