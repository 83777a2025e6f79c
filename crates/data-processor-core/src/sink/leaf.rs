//! Leaves of aligned columns: flat values with the level at which a row has one.

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef, BinaryViewArray, BooleanArray, StringViewArray};
use arrow_schema::DataType;

use super::schema::{Column, Kind};
use crate::error::{Error, ErrorKind, Result};

/// One leaf of a batch that no list lies above.
pub struct Leaf<'a> {
    /// The values; those of rows without a value mean nothing.
    pub source: Source<'a>,
    /// Definition level per row; None where every row has a value.
    pub levels: Option<Vec<u8>>,
    /// The level of a row that has a value: how many optional columns lie on the way.
    pub full: u8,
}

/// Values as their producer laid them out.
pub enum Source<'a> {
    /// Bits.
    Bool(&'a BooleanArray),
    /// int, date.
    I32(&'a [i32]),
    /// long, timestamps.
    I64(&'a [i64]),
    /// float.
    F32(&'a [f32]),
    /// double.
    F64(&'a [f64]),
    /// Unscaled decimals.
    Decimal(&'a [i128]),
    /// Text or binary with 32-bit offsets.
    Bytes(&'a [i32], &'a [u8]),
    /// Text or binary with 64-bit offsets.
    LargeBytes(&'a [i64], &'a [u8]),
    /// Text views.
    TextView(&'a StringViewArray),
    /// Binary views.
    BytesView(&'a BinaryViewArray),
    /// Codes into a dictionary.
    Coded(&'a [i32], Box<Source<'a>>),
    /// uuid, fixed.
    Fixed(&'a [u8], usize),
}

impl Leaf<'_> {
    /// Whether a row has a value.
    #[inline]
    pub fn present(&self, row: usize) -> bool {
        self.levels.as_ref().is_none_or(|levels| levels[row] == self.full)
    }
}

impl<'a> Source<'a> {
    /// The bytes of a text, binary or fixed value; empty for numbers.
    #[inline]
    pub fn bytes(&self, row: usize) -> &'a [u8] {
        match self {
            Source::Bytes(ends, bytes) => &bytes[ends[row] as usize..ends[row + 1] as usize],
            Source::LargeBytes(ends, bytes) => &bytes[ends[row] as usize..ends[row + 1] as usize],
            Source::TextView(values) => values.value(row).as_bytes(),
            Source::BytesView(values) => values.value(row),
            Source::Coded(codes, values) => values.bytes(codes[row] as usize),
            Source::Fixed(bytes, width) => &bytes[row * width..(row + 1) * width],
            _ => &[],
        }
    }

    /// How many values.
    pub fn len(&self) -> usize {
        match self {
            Source::Bool(values) => values.len(),
            Source::I32(values) => values.len(),
            Source::I64(values) => values.len(),
            Source::F32(values) => values.len(),
            Source::F64(values) => values.len(),
            Source::Decimal(values) => values.len(),
            Source::Bytes(ends, _) => ends.len() - 1,
            Source::LargeBytes(ends, _) => ends.len() - 1,
            Source::TextView(values) => values.len(),
            Source::BytesView(values) => values.len(),
            Source::Coded(codes, _) => codes.len(),
            Source::Fixed(bytes, width) => bytes.len() / width.max(&1),
        }
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn of(array: &'a dyn Array) -> Result<Source<'a>> {
        Ok(match array.data_type() {
            DataType::Boolean => Source::Bool(array.as_boolean()),
            DataType::Int32 => Source::I32(array.as_primitive::<Int32Type>().values()),
            DataType::Date32 => Source::I32(array.as_primitive::<Date32Type>().values()),
            DataType::Int64 => Source::I64(array.as_primitive::<Int64Type>().values()),
            DataType::Timestamp(..) => Source::I64(array.as_primitive::<TimestampMicrosecondType>().values()),
            DataType::Float32 => Source::F32(array.as_primitive::<Float32Type>().values()),
            DataType::Float64 => Source::F64(array.as_primitive::<Float64Type>().values()),
            DataType::Decimal128(..) => Source::Decimal(array.as_primitive::<Decimal128Type>().values()),
            DataType::Utf8 => Source::Bytes(array.as_string::<i32>().value_offsets(), array.as_string::<i32>().value_data()),
            DataType::LargeUtf8 => {
                Source::LargeBytes(array.as_string::<i64>().value_offsets(), array.as_string::<i64>().value_data())
            }
            DataType::Binary => Source::Bytes(array.as_binary::<i32>().value_offsets(), array.as_binary::<i32>().value_data()),
            DataType::LargeBinary => {
                Source::LargeBytes(array.as_binary::<i64>().value_offsets(), array.as_binary::<i64>().value_data())
            }
            DataType::Utf8View => Source::TextView(array.as_string_view()),
            DataType::BinaryView => Source::BytesView(array.as_binary_view()),
            DataType::FixedSizeBinary(width) => Source::Fixed(array.as_fixed_size_binary().value_data(), *width as usize),
            DataType::Dictionary(..) => {
                let coded = array.as_dictionary::<Int32Type>();
                Source::Coded(coded.keys().values(), Box::new(Source::of(coded.values().as_ref())?))
            }
            other => {
                return Err(Error::new(ErrorKind::Parquet, "parquet.unsupported_type", format!("Arrow {other} is not written")));
            }
        })
    }
}

/// Leaves of an aligned column in the order of its Parquet schema. The column holds no list.
pub fn leaves<'a>(array: &'a ArrayRef, column: &Column) -> Result<Vec<Leaf<'a>>> {
    let mut found = Vec::new();
    go_down(array.as_ref(), column, None, 0, &mut found)?;
    Ok(found)
}

fn go_down<'a>(array: &'a dyn Array, column: &Column, above: Option<&[u8]>, depth: u8, found: &mut Vec<Leaf<'a>>) -> Result<()> {
    let full = depth + u8::from(!column.required);
    let nulls = if column.required { None } else { array.logical_nulls().filter(|nulls| nulls.null_count() > 0) };
    let levels = match (above, nulls) {
        (None, None) => None,
        (Some(above), None) => Some(above.iter().map(|level| if *level == depth { full } else { *level }).collect()),
        (None, Some(nulls)) => Some(nulls.iter().map(|valid| depth + u8::from(valid)).collect()),
        (Some(above), Some(nulls)) => {
            let level = |(level, valid): (&u8, bool)| if *level == depth { depth + u8::from(valid) } else { *level };
            Some(above.iter().zip(nulls.iter()).map(level).collect::<Vec<u8>>())
        }
    };
    match &column.kind {
        Kind::Struct(children) => {
            let parent = array.as_struct();
            let mut children = children.iter().zip(parent.columns());
            children.try_for_each(|(child, array)| go_down(array.as_ref(), child, levels.as_deref(), full, found))
        }
        _ => {
            found.push(Leaf { source: Source::of(array)?, levels, full });
            Ok(())
        }
    }
}

/// Whether a list lies anywhere in a column.
pub fn has_list(column: &Column) -> bool {
    match &column.kind {
        Kind::List(_) => true,
        Kind::Struct(children) => children.iter().any(has_list),
        _ => false,
    }
}

/// The leaf columns below a column, in the order of its Parquet schema, each with whether a list lies above it.
pub fn leaf_columns<'s>(column: &'s Column, in_list: bool, found: &mut Vec<(&'s Column, bool)>) {
    match &column.kind {
        Kind::Struct(children) => children.iter().for_each(|child| leaf_columns(child, in_list, found)),
        Kind::List(element) => leaf_columns(element, true, found),
        _ => found.push((column, in_list)),
    }
}
