//! Columns of a batch as Arrow arrays: vectors are moved into buffers, nothing is copied.

use std::sync::Arc;

use arrow_array::types::{Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BooleanArray, DictionaryArray, FixedSizeBinaryArray, ListArray, PrimitiveArray,
    StringArray, StructArray,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field as ArrowField, FieldRef, Fields};

use super::columns::{Columns, Fixed, Plain, Text};
use crate::contract::{Field, Kind, Plan, Unknown};

/// Name of the column of unknown members.
pub const EXTRA: &str = "_extra";

/// The contract's columns, and `_extra` where unknown members are kept. The columns are left empty.
pub fn contract_arrays(plan: &Plan, columns: &mut Columns) -> Vec<(FieldRef, ArrayRef)> {
    let mut made: Vec<(FieldRef, ArrayRef)> =
        plan.record().fields.iter().map(|field| leaf_or_nested(plan, columns, field)).collect();
    if plan.unknown == Unknown::Keep {
        let extra = plain(&mut columns.extra);
        made.push((Arc::new(ArrowField::new(EXTRA, DataType::Utf8, true)), extra));
    }
    made
}

fn leaf_or_nested(plan: &Plan, columns: &mut Columns, field: &Field) -> (FieldRef, ArrayRef) {
    let array = array(plan, columns, field.kind);
    (Arc::new(ArrowField::new(&field.name, array.data_type().clone(), field.nullable)), array)
}

fn array(plan: &Plan, columns: &mut Columns, kind: Kind) -> ArrayRef {
    match kind {
        Kind::Uuid(at) => {
            let column = &mut columns.uuids[at];
            let nulls = column.nulls.finish(column.bytes.len() / 16);
            let bytes = Buffer::from_vec(std::mem::take(&mut column.bytes));
            Arc::new(FixedSizeBinaryArray::new(16, bytes, nulls))
        }
        Kind::Text(at) => text(&mut columns.texts[at]),
        Kind::Json(at) => plain(&mut columns.jsons[at]),
        Kind::Integer(at) => Arc::new(fixed::<Int64Type>(&mut columns.integers[at])),
        Kind::Number(at) => Arc::new(fixed::<Float64Type>(&mut columns.numbers[at])),
        Kind::Decimal(at) => {
            let rule = &plan.decimals[at];
            let made = fixed::<Decimal128Type>(&mut columns.decimals[at]);
            let kind = DataType::Decimal128(rule.precision, rule.scale as i8);
            Arc::new(made.with_data_type(kind))
        }
        Kind::Boolean(at) => {
            let column = &mut columns.booleans[at];
            let values = std::mem::take(&mut column.values);
            let nulls = column.nulls.finish(values.len());
            Arc::new(BooleanArray::new(BooleanBuffer::from(values), nulls))
        }
        Kind::Timestamp(at) => Arc::new(fixed::<TimestampMicrosecondType>(&mut columns.timestamps[at]).with_timezone("UTC")),
        Kind::Date(at) => Arc::new(fixed::<Date32Type>(&mut columns.dates[at])),
        Kind::Object(number) => object(plan, columns, number),
        Kind::Array(number) => list(plan, columns, number),
    }
}

fn object(plan: &Plan, columns: &mut Columns, number: usize) -> ArrayRef {
    let (fields, arrays): (Vec<_>, Vec<_>) =
        plan.nodes[number].fields.iter().map(|field| leaf_or_nested(plan, columns, field)).unzip();
    let (rows, nulls) = columns.objects[number].finish();
    if arrays.is_empty() {
        return Arc::new(StructArray::new_empty_fields(rows, nulls));
    }
    Arc::new(StructArray::new(Fields::from(fields), arrays, nulls))
}

fn list(plan: &Plan, columns: &mut Columns, number: usize) -> ArrayRef {
    let (field, items) = leaf_or_nested(plan, columns, &plan.arrays[number].item);
    let column = &mut columns.arrays[number];
    let nulls = column.nulls.finish(column.ends.len() - 1);
    let ends = OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(&mut column.ends, vec![0])));
    Arc::new(ListArray::new(field, ends, items, nulls))
}

fn fixed<T: ArrowPrimitiveType>(column: &mut Fixed<T::Native>) -> PrimitiveArray<T> {
    let nulls = column.nulls.finish(column.values.len());
    PrimitiveArray::new(ScalarBuffer::from(std::mem::take(&mut column.values)), nulls)
}

fn plain(column: &mut Plain) -> ArrayRef {
    let (bytes, ends) = column.take();
    let nulls = column.nulls.finish(ends.len() - 1);
    Arc::new(texts(bytes, ends, nulls))
}

/// Texts laid end to end as an array.
fn texts(bytes: Vec<u8>, ends: Vec<i32>, nulls: Option<NullBuffer>) -> StringArray {
    let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
    // SAFETY: each text was cut out of a record that is UTF-8, at quotes or brackets, or decoded to whole characters; the offsets
    // rise (`OffsetBuffer::new` checks it) and the last one is the length of `bytes`.
    unsafe { StringArray::new_unchecked(offsets, Buffer::from_vec(bytes), nulls) }
}

fn text(column: &mut Text) -> ArrayRef {
    if let Some(column) = &mut column.plain {
        return plain(column);
    }
    let (bytes, mut ends) = column.interner.take();
    ends.insert(0, 0);
    let distinct = texts(bytes, ends, None);
    let codes: PrimitiveArray<Int32Type> = fixed(&mut column.codes);
    Arc::new(DictionaryArray::new(codes, Arc::new(distinct)))
}
