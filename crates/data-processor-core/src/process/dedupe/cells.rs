//! Arrow columns read cell by cell, whatever layout their producer chose.
//!
//! Text is text as plain UTF-8, as views or as dictionary codes; an int is a long. So a row just parsed can be compared with
//! the same row read back from a table.

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, BooleanArray, FixedSizeBinaryArray, RecordBatch};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, TimeUnit};

use crate::error::{Error, ErrorKind, Result};

/// The values of one column; [`Cells::is_null`] says which of them count.
pub struct Cells<'a> {
    nulls: Option<NullBuffer>,
    values: Values<'a>,
}

/// Values by what they are compared as.
pub(super) enum Values<'a> {
    Nothing,
    Bool(&'a BooleanArray),
    Int(&'a [i32]),
    Long(&'a [i64]),
    Float(&'a [f32]),
    Double(&'a [f64]),
    Decimal(&'a [i128], i8),
    Text(&'a arrow_array::StringArray),
    LargeText(&'a arrow_array::LargeStringArray),
    ViewText(&'a arrow_array::StringViewArray),
    Coded(&'a [i32], Box<Cells<'a>>),
    Bytes(&'a arrow_array::BinaryArray),
    LargeBytes(&'a arrow_array::LargeBinaryArray),
    ViewBytes(&'a arrow_array::BinaryViewArray),
    Fixed(&'a FixedSizeBinaryArray),
    Struct(Vec<(&'a str, Cells<'a>)>),
    List(&'a [i32], Box<Cells<'a>>),
    LargeList(&'a [i64], Box<Cells<'a>>),
}

/// What values can be compared with: two columns compare only within one class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    Nothing,
    Bool,
    Int,
    Float,
    Decimal(i8),
    Text,
    Bytes,
    Struct,
    List,
}

impl<'a> Cells<'a> {
    /// Reads an array. Fails for layouts that no contract produces.
    pub fn of(array: &'a dyn Array) -> Result<Cells<'a>> {
        Ok(Cells { nulls: array.logical_nulls().filter(|nulls| nulls.null_count() > 0), values: Values::of(array)? })
    }

    /// The column of a batch by its name, dotted when nested (`context.country`); a parent that is null makes its children null.
    pub fn named(rows: &'a RecordBatch, name: &str) -> Result<Cells<'a>> {
        if let Some(column) = rows.column_by_name(name) {
            return Cells::of(column.as_ref());
        }
        let unknown = || {
            let names: Vec<_> = rows.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
            Error::new(ErrorKind::Plan, "key.unknown_column", format!("the rows have no column {name:?}"))
                .hint(format!("the columns are {}", names.join(", ")))
                .text("column", name)
        };
        let mut parts = name.split('.');
        let mut column = rows.column_by_name(parts.next().unwrap_or_default()).ok_or_else(unknown)?;
        let mut nulls = column.logical_nulls();
        for part in parts {
            column = column.as_struct_opt().and_then(|parent| parent.column_by_name(part)).ok_or_else(unknown)?;
            nulls = NullBuffer::union(nulls.as_ref(), column.logical_nulls().as_ref());
        }
        Ok(Cells { nulls: nulls.filter(|nulls| nulls.null_count() > 0), values: Values::of(column.as_ref())? })
    }

    pub(super) fn values(&self) -> &Values<'a> {
        &self.values
    }

    /// Whether there is no value in a row.
    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    pub(super) fn class(&self) -> Class {
        match &self.values {
            Values::Nothing => Class::Nothing,
            Values::Bool(_) => Class::Bool,
            Values::Int(_) | Values::Long(_) => Class::Int,
            Values::Float(_) | Values::Double(_) => Class::Float,
            Values::Decimal(_, scale) => Class::Decimal(*scale),
            Values::Text(_) | Values::LargeText(_) | Values::ViewText(_) => Class::Text,
            Values::Coded(_, values) => values.class(),
            Values::Bytes(_) | Values::LargeBytes(_) | Values::ViewBytes(_) | Values::Fixed(_) => Class::Bytes,
            Values::Struct(_) => Class::Struct,
            Values::List(..) | Values::LargeList(..) => Class::List,
        }
    }

    /// The bytes of a text or binary cell; empty for other classes.
    #[inline]
    pub(super) fn bytes(&self, row: usize) -> &[u8] {
        match &self.values {
            Values::Text(values) => values.value(row).as_bytes(),
            Values::LargeText(values) => values.value(row).as_bytes(),
            Values::ViewText(values) => values.value(row).as_bytes(),
            Values::Bytes(values) => values.value(row),
            Values::LargeBytes(values) => values.value(row),
            Values::ViewBytes(values) => values.value(row),
            Values::Fixed(values) => values.value(row),
            Values::Coded(codes, values) => values.bytes(codes[row] as usize),
            _ => &[],
        }
    }

    pub(super) fn long(&self, row: usize) -> i64 {
        match &self.values {
            Values::Bool(values) => i64::from(values.value(row)),
            Values::Int(values) => i64::from(values[row]),
            Values::Long(values) => values[row],
            Values::Coded(codes, values) => values.long(codes[row] as usize),
            _ => 0,
        }
    }

    pub(super) fn double(&self, row: usize) -> f64 {
        match &self.values {
            Values::Float(values) => f64::from(values[row]),
            Values::Double(values) => values[row],
            _ => 0.0,
        }
    }

    /// First item, one past the last, and the items of a list cell.
    pub(super) fn items(&self, row: usize) -> Option<(usize, usize, &Cells<'a>)> {
        match &self.values {
            Values::List(ends, items) => Some((ends[row] as usize, ends[row + 1] as usize, items)),
            Values::LargeList(ends, items) => Some((ends[row] as usize, ends[row + 1] as usize, items)),
            _ => None,
        }
    }
}

impl<'a> Values<'a> {
    fn of(array: &'a dyn Array) -> Result<Values<'a>> {
        Ok(match array.data_type() {
            DataType::Null => Values::Nothing,
            DataType::Boolean => Values::Bool(array.as_boolean()),
            DataType::Int32 => Values::Int(array.as_primitive::<Int32Type>().values()),
            DataType::Date32 => Values::Int(array.as_primitive::<Date32Type>().values()),
            DataType::Int64 => Values::Long(array.as_primitive::<Int64Type>().values()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Values::Long(array.as_primitive::<TimestampMicrosecondType>().values())
            }
            DataType::Float32 => Values::Float(array.as_primitive::<Float32Type>().values()),
            DataType::Float64 => Values::Double(array.as_primitive::<Float64Type>().values()),
            DataType::Decimal128(_, scale) => Values::Decimal(array.as_primitive::<Decimal128Type>().values(), *scale),
            DataType::Utf8 => Values::Text(array.as_string()),
            DataType::LargeUtf8 => Values::LargeText(array.as_string()),
            DataType::Utf8View => Values::ViewText(array.as_string_view()),
            DataType::Binary => Values::Bytes(array.as_binary()),
            DataType::LargeBinary => Values::LargeBytes(array.as_binary()),
            DataType::BinaryView => Values::ViewBytes(array.as_binary_view()),
            DataType::FixedSizeBinary(_) => Values::Fixed(array.as_fixed_size_binary()),
            DataType::Dictionary(key, _) if **key == DataType::Int32 => {
                let coded = array.as_dictionary::<Int32Type>();
                Values::Coded(coded.keys().values(), Box::new(Cells::of(coded.values().as_ref())?))
            }
            DataType::Struct(fields) => {
                let parent = array.as_struct();
                let children = fields.iter().zip(parent.columns());
                Values::Struct(
                    children
                        .map(|(field, child)| Ok((field.name().as_str(), Cells::of(child.as_ref())?)))
                        .collect::<Result<_>>()?,
                )
            }
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Values::List(list.value_offsets(), Box::new(Cells::of(list.values().as_ref())?))
            }
            DataType::LargeList(_) => {
                let list = array.as_list::<i64>();
                Values::LargeList(list.value_offsets(), Box::new(Cells::of(list.values().as_ref())?))
            }
            other => {
                return Err(Error::new(
                    ErrorKind::Plan,
                    "key.unsupported_type",
                    format!("values of Arrow type {other} cannot be compared"),
                )
                .text("type", other.to_string()));
            }
        })
    }
}
