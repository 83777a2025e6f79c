//! Iceberg schemas (JSON of the spec) and the Parquet schemas that carry them.

use std::sync::Arc;

use arrow_schema::{DataType, Field, TimeUnit};
use parquet::basic::{LogicalType, Repetition, TimeUnit as ParquetUnit, Type as Physical};
use parquet::schema::types::{Type, TypePtr};
use serde::Deserialize;

use crate::error::{Error, ErrorKind, Result};

/// Deepest nesting of a schema that is written.
const MAX_DEPTH: usize = 32;

/// One field of an Iceberg struct, or the element of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// The field id that follows the column through renames.
    pub id: i32,
    /// Its name; `element` for a list's element.
    pub name: String,
    /// Whether null is refused.
    pub required: bool,
    /// Its type.
    pub kind: Kind,
}

/// Iceberg's types, as far as contracts give rise to them.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Kind {
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Decimal { precision: u8, scale: i8 },
    Date,
    Timestamp,
    TimestampTz,
    String,
    Uuid,
    Binary,
    Fixed(i32),
    Struct(Vec<Column>),
    List(Box<Column>),
}

/// An Iceberg schema: its top-level columns in order.
#[derive(Clone, Debug, PartialEq)]
pub struct IcebergSchema {
    /// The columns.
    pub columns: Vec<Column>,
}

#[derive(Deserialize)]
struct StructSpelling {
    fields: Vec<FieldSpelling>,
}

#[derive(Deserialize)]
struct FieldSpelling {
    id: i32,
    name: String,
    required: bool,
    #[serde(rename = "type")]
    kind: serde_json::Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ListSpelling {
    element_id: i32,
    element_required: bool,
    element: serde_json::Value,
}

impl IcebergSchema {
    /// Reads the JSON spelling of the Iceberg spec (appendix C). Fails on types no contract produces: `time`, nanoseconds, maps.
    pub fn from_json(text: &str) -> Result<IcebergSchema> {
        let spelling: StructSpelling =
            serde_json::from_str(text).map_err(|e| invalid(format!("the schema is not Iceberg's JSON: {e}")))?;
        Ok(IcebergSchema { columns: columns(spelling.fields, 0)? })
    }

    /// The schema of Arrow rows that have none yet: ids in order, a struct's or list's own id before those of its parts.
    pub fn of_arrow(schema: &arrow_schema::Schema) -> Result<IcebergSchema> {
        let mut last = 0;
        let columns = schema.fields().iter().map(|field| from_arrow(field, field.name(), &mut last)).collect::<Result<_>>()?;
        Ok(IcebergSchema { columns })
    }

    /// The Parquet schema with field ids at every level.
    pub fn parquet(&self) -> Result<TypePtr> {
        let fields = self.columns.iter().map(parquet_type).collect::<Result<_>>()?;
        Type::group_type_builder("table").with_fields(fields).build().map(Arc::new).map_err(|e| invalid(e.to_string()))
    }

    /// The column whose day parts rows when nothing names one: the first required timestamp.
    pub fn day_column(&self) -> Option<&str> {
        let timestamp = |column: &&Column| column.required && matches!(column.kind, Kind::Timestamp | Kind::TimestampTz);
        self.columns.iter().find(timestamp).map(|column| column.name.as_str())
    }

    /// The column of a dotted path with the places to go down to it.
    pub fn find(&self, path: &str) -> Result<(Vec<usize>, &Column)> {
        let mut columns = &self.columns;
        let mut found = (Vec::new(), None);
        for part in path.split('.') {
            let at = columns.iter().position(|column| column.name == part);
            let at = at.ok_or_else(|| invalid(format!("the schema has no column {path:?}")).text("column", path))?;
            found.0.push(at);
            found.1 = Some(&columns[at]);
            columns = match &columns[at].kind {
                Kind::Struct(children) => children,
                _ => const { &Vec::new() },
            };
        }
        found.1.map(|column| (found.0, column)).ok_or_else(|| invalid("an empty column name"))
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Parquet, "parquet.schema", message)
}

fn from_arrow(field: &Field, name: &str, last: &mut i32) -> Result<Column> {
    *last += 1;
    let id = *last;
    let kind = match field.data_type() {
        DataType::Boolean => Kind::Boolean,
        DataType::Int32 => Kind::Int,
        DataType::Int64 => Kind::Long,
        DataType::Float32 => Kind::Float,
        DataType::Float64 => Kind::Double,
        DataType::Decimal128(precision, scale) if *scale >= 0 => Kind::Decimal { precision: *precision, scale: *scale },
        DataType::Date32 => Kind::Date,
        DataType::Timestamp(TimeUnit::Microsecond, None) => Kind::Timestamp,
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => Kind::TimestampTz,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..) => Kind::String,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Kind::Binary,
        DataType::FixedSizeBinary(16) => Kind::Uuid,
        DataType::FixedSizeBinary(length) => Kind::Fixed(*length),
        DataType::Struct(fields) => {
            Kind::Struct(fields.iter().map(|field| from_arrow(field, field.name(), last)).collect::<Result<_>>()?)
        }
        DataType::List(item) | DataType::LargeList(item) => Kind::List(Box::new(from_arrow(item, "element", last)?)),
        other => return Err(unsupported(&other.to_string(), name)),
    };
    Ok(Column { id, name: name.to_owned(), required: !field.is_nullable(), kind })
}

fn columns(fields: Vec<FieldSpelling>, depth: usize) -> Result<Vec<Column>> {
    let column = |field: FieldSpelling| {
        Ok(Column { id: field.id, kind: kind(&field.kind, &field.name, depth + 1)?, name: field.name, required: field.required })
    };
    fields.into_iter().map(column).collect()
}

fn kind(spelling: &serde_json::Value, name: &str, depth: usize) -> Result<Kind> {
    if depth > MAX_DEPTH {
        return Err(invalid(format!("column {name:?} is nested deeper than {MAX_DEPTH} levels")));
    }
    let broken = |e: serde_json::Error| invalid(format!("type of column {name:?}: {e}"));
    match spelling.get("type").and_then(|t| t.as_str()) {
        Some("struct") => {
            let spelling: StructSpelling = serde_json::from_value(spelling.clone()).map_err(broken)?;
            Ok(Kind::Struct(columns(spelling.fields, depth)?))
        }
        Some("list") => {
            let spelling: ListSpelling = serde_json::from_value(spelling.clone()).map_err(broken)?;
            Ok(Kind::List(Box::new(Column {
                id: spelling.element_id,
                kind: kind(&spelling.element, &format!("{name}.element"), depth + 1)?,
                name: "element".into(),
                required: spelling.element_required,
            })))
        }
        Some(other) => Err(unsupported(other, name)),
        None => primitive(spelling.as_str().unwrap_or_default(), name),
    }
}

fn unsupported(kind: &str, name: &str) -> Error {
    Error::new(ErrorKind::Parquet, "parquet.unsupported_type", format!("column {name:?} has the type {kind:?}, which is not written"))
        .hint("known types: boolean int long float double decimal(p,s) date timestamp timestamptz string uuid binary fixed[n] struct list")
        .text("column", name)
        .text("type", kind)
}

fn primitive(text: &str, name: &str) -> Result<Kind> {
    Ok(match text {
        "boolean" => Kind::Boolean,
        "int" => Kind::Int,
        "long" => Kind::Long,
        "float" => Kind::Float,
        "double" => Kind::Double,
        "date" => Kind::Date,
        "timestamp" => Kind::Timestamp,
        "timestamptz" => Kind::TimestampTz,
        "string" => Kind::String,
        "uuid" => Kind::Uuid,
        "binary" => Kind::Binary,
        _ => return sized(text).ok_or_else(|| unsupported(text, name)),
    })
}

/// `decimal(P,S)` and `fixed[N]`.
fn sized(text: &str) -> Option<Kind> {
    if let Some(length) = text.strip_prefix("fixed[").and_then(|rest| rest.strip_suffix(']')) {
        return length.trim().parse().ok().filter(|length| *length > 0).map(Kind::Fixed);
    }
    let (precision, scale) = text.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
    let (precision, scale) = (precision.trim().parse::<u8>().ok()?, scale.trim().parse::<i8>().ok()?);
    let sound = (1..=38).contains(&precision) && scale >= 0 && scale as u8 <= precision;
    sound.then_some(Kind::Decimal { precision, scale })
}

/// Bytes of the smallest fixed-length array that holds a decimal of a precision.
pub fn decimal_bytes(precision: u8) -> i32 {
    let largest = 10_i128.pow(u32::from(precision)) - 1;
    (1..16).find(|bytes| (1_i128 << (8 * bytes - 1)) > largest).unwrap_or(16)
}

fn parquet_type(column: &Column) -> Result<TypePtr> {
    let repetition = if column.required { Repetition::REQUIRED } else { Repetition::OPTIONAL };
    let group = |fields: Vec<TypePtr>, logical: Option<LogicalType>| {
        let builder = Type::group_type_builder(&column.name).with_fields(fields).with_logical_type(logical);
        builder.with_repetition(repetition).with_id(Some(column.id)).build()
    };
    let built = match &column.kind {
        Kind::Struct(children) => group(children.iter().map(parquet_type).collect::<Result<_>>()?, None),
        Kind::List(element) => {
            let list =
                Type::group_type_builder("list").with_fields(vec![parquet_type(element)?]).with_repetition(Repetition::REPEATED);
            list.build().and_then(|list| group(vec![Arc::new(list)], Some(LogicalType::List)))
        }
        kind => {
            let (physical, length, logical) = physical(kind);
            let mut builder = Type::primitive_type_builder(&column.name, physical).with_length(length).with_logical_type(logical);
            if let Kind::Decimal { precision, scale } = kind {
                builder = builder.with_precision(i32::from(*precision)).with_scale(i32::from(*scale));
            }
            builder.with_repetition(repetition).with_id(Some(column.id)).build()
        }
    };
    built.map(Arc::new).map_err(|e| invalid(format!("column {:?}: {e}", column.name)))
}

/// Physical type, its length and the logical type of a primitive, by Iceberg's table of Parquet mappings.
pub fn physical(kind: &Kind) -> (Physical, i32, Option<LogicalType>) {
    match kind {
        Kind::Boolean => (Physical::BOOLEAN, 0, None),
        Kind::Int => (Physical::INT32, 0, None),
        Kind::Long => (Physical::INT64, 0, None),
        Kind::Float => (Physical::FLOAT, 0, None),
        Kind::Double => (Physical::DOUBLE, 0, None),
        Kind::Decimal { precision, scale } => {
            let logical = Some(LogicalType::decimal(i32::from(*scale), i32::from(*precision)));
            match precision {
                ..=9 => (Physical::INT32, 0, logical),
                10..=18 => (Physical::INT64, 0, logical),
                _ => (Physical::FIXED_LEN_BYTE_ARRAY, decimal_bytes(*precision), logical),
            }
        }
        Kind::Date => (Physical::INT32, 0, Some(LogicalType::Date)),
        Kind::Timestamp => (Physical::INT64, 0, Some(LogicalType::timestamp(false, ParquetUnit::MICROS))),
        Kind::TimestampTz => (Physical::INT64, 0, Some(LogicalType::timestamp(true, ParquetUnit::MICROS))),
        Kind::String => (Physical::BYTE_ARRAY, 0, Some(LogicalType::String)),
        Kind::Uuid => (Physical::FIXED_LEN_BYTE_ARRAY, 16, Some(LogicalType::Uuid)),
        Kind::Binary => (Physical::BYTE_ARRAY, 0, None),
        Kind::Fixed(length) => (Physical::FIXED_LEN_BYTE_ARRAY, *length, None),
        Kind::Struct(_) | Kind::List(_) => (Physical::BYTE_ARRAY, 0, None),
    }
}
