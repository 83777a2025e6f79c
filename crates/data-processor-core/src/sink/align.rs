//! Arrow rows brought into the shape of a schema: its columns, its order, its types, its nulls.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, LargeListArray, ListArray, RecordBatch, StructArray, UInt32Array, new_null_array};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};

use super::schema::{Column, IcebergSchema, Kind};
use crate::error::{Error, ErrorKind, Result};

/// The Arrow type a column has when its producer left the choice to us.
pub fn arrow_type(kind: &Kind) -> DataType {
    match kind {
        Kind::Boolean => DataType::Boolean,
        Kind::Int => DataType::Int32,
        Kind::Long => DataType::Int64,
        Kind::Float => DataType::Float32,
        Kind::Double => DataType::Float64,
        Kind::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale),
        Kind::Date => DataType::Date32,
        Kind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        Kind::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Kind::String => DataType::Utf8,
        Kind::Uuid => DataType::FixedSizeBinary(16),
        Kind::Binary => DataType::Binary,
        Kind::Fixed(length) => DataType::FixedSizeBinary(*length),
        Kind::Struct(children) => DataType::Struct(children.iter().map(arrow_field).collect::<Fields>()),
        Kind::List(element) => DataType::List(arrow_field(element)),
    }
}

fn arrow_field(column: &Column) -> FieldRef {
    Arc::new(Field::new(&column.name, arrow_type(&column.kind), !column.required))
}

/// The schema as Arrow's.
pub fn arrow_schema(schema: &IcebergSchema) -> SchemaRef {
    Arc::new(Schema::new(schema.columns.iter().map(arrow_field).collect::<Fields>()))
}

/// Columns of `rows` in the order of the schema. An optional column that is missing becomes null; a column the schema does not
/// know, a wrong type, a null in a required column are errors.
pub fn align(rows: &RecordBatch, schema: &IcebergSchema) -> Result<Vec<ArrayRef>> {
    for field in rows.schema_ref().fields() {
        if !schema.columns.iter().any(|column| column.name == *field.name()) {
            let message = format!("the schema has no column {:?}, its values would be lost", field.name());
            return Err(Error::new(ErrorKind::Parquet, "parquet.unknown_column", message)
                .hint("add the column to the table's schema or drop it from the rows")
                .text("column", field.name().as_str()));
        }
    }
    schema
        .columns
        .iter()
        .map(|column| fit(rows.column_by_name(&column.name), column, rows.num_rows(), None, &column.name))
        .collect()
}

fn fit(array: Option<&ArrayRef>, column: &Column, rows: usize, parent: Option<&NullBuffer>, path: &str) -> Result<ArrayRef> {
    let Some(array) = array.filter(|array| *array.data_type() != DataType::Null) else {
        if column.required && parent.is_none_or(|nulls| nulls.null_count() < rows) && rows > 0 {
            return Err(Error::new(
                ErrorKind::Parquet,
                "parquet.missing_column",
                format!("the rows lack the required column {path:?}"),
            )
            .text("column", path));
        }
        return Ok(new_null_array(&arrow_type(&column.kind), rows));
    };
    let nulls = NullBuffer::union(parent, array.logical_nulls().as_ref());
    if column.required {
        refuse_nulls(parent, nulls.as_ref(), path)?;
    }
    match &column.kind {
        Kind::Struct(children) => fit_struct(array, children, nulls.as_ref(), path),
        Kind::List(element) => fit_list(array, element, path),
        kind if accepts(kind, array.data_type()) => Ok(array.clone()),
        kind => Err(mismatch(array.data_type(), kind, path)),
    }
}

fn refuse_nulls(parent: Option<&NullBuffer>, nulls: Option<&NullBuffer>, path: &str) -> Result<()> {
    let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > parent.map_or(0, NullBuffer::null_count)) else { return Ok(()) };
    let row = (0..nulls.len()).find(|row| nulls.is_null(*row) && parent.is_none_or(|parent| parent.is_valid(*row)));
    let row = row.unwrap_or_default();
    Err(Error::new(
        ErrorKind::Parquet,
        "parquet.null_in_required",
        format!("row {row} has no value in the required column {path:?}"),
    )
    .text("column", path)
    .int("row", row as i64))
}

fn mismatch(found: &DataType, kind: &Kind, path: &str) -> Error {
    Error::new(
        ErrorKind::Parquet,
        "parquet.type_mismatch",
        format!("column {path:?} holds Arrow {found}, its schema says {kind:?}"),
    )
    .hint(format!("give it as Arrow {}", arrow_type(kind)))
    .text("column", path)
    .text("found", found.to_string())
}

fn accepts(kind: &Kind, found: &DataType) -> bool {
    match (kind, found) {
        (Kind::String, DataType::Dictionary(key, value)) => {
            **key == DataType::Int32 && matches!(**value, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
        }
        (Kind::String, found) => matches!(found, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View),
        (Kind::Binary, found) => matches!(found, DataType::Binary | DataType::LargeBinary | DataType::BinaryView),
        (Kind::TimestampTz, DataType::Timestamp(TimeUnit::Microsecond, zone)) => zone.is_some(), // an instant, whatever zone shows it
        (Kind::Decimal { precision, scale }, DataType::Decimal128(found, found_scale)) => {
            found <= precision && found_scale == scale
        }
        (kind, found) => arrow_type(kind) == *found,
    }
}

fn fit_struct(array: &ArrayRef, children: &[Column], nulls: Option<&NullBuffer>, path: &str) -> Result<ArrayRef> {
    let parent = array.as_struct_opt().ok_or_else(|| mismatch(array.data_type(), &Kind::Struct(children.to_vec()), path))?;
    for field in parent.fields() {
        if !children.iter().any(|child| child.name == *field.name()) {
            let message = format!("the schema has no column \"{path}.{}\", its values would be lost", field.name());
            return Err(Error::new(ErrorKind::Parquet, "parquet.unknown_column", message)
                .text("column", format!("{path}.{}", field.name())));
        }
    }
    let child =
        |child: &Column| fit(parent.column_by_name(&child.name), child, array.len(), nulls, &format!("{path}.{}", child.name));
    let arrays = children.iter().map(child).collect::<Result<Vec<_>>>()?;
    let fields = children.iter().zip(&arrays).map(|(child, array)| field_of(child, array)).collect::<Fields>();
    let built = StructArray::try_new_with_length(fields, arrays, parent.nulls().cloned(), array.len());
    built.map(|array| Arc::new(array) as ArrayRef).map_err(broken)
}

fn fit_list(array: &ArrayRef, element: &Column, path: &str) -> Result<ArrayRef> {
    // Items outside every list (behind a null, before a slice) do not count: taking all rows leaves them behind.
    let rows = UInt32Array::from_iter_values(0..array.len() as u32);
    let array = arrow_select::take::take(array.as_ref(), &rows, None).map_err(broken)?;
    let path = format!("{path}.element");
    let fitted = |values: &ArrayRef| fit(Some(values), element, values.len(), None, &path);
    if let Some(list) = array.as_list_opt::<i32>() {
        let values = fitted(list.values())?;
        let field = Arc::new(field_of(element, &values));
        return Ok(Arc::new(ListArray::try_new(field, list.offsets().clone(), values, list.nulls().cloned()).map_err(broken)?));
    }
    if let Some(list) = array.as_list_opt::<i64>() {
        let values = fitted(list.values())?;
        let field = Arc::new(field_of(element, &values));
        return Ok(Arc::new(
            LargeListArray::try_new(field, list.offsets().clone(), values, list.nulls().cloned()).map_err(broken)?,
        ));
    }
    Err(mismatch(array.data_type(), &Kind::List(Box::new(element.clone())), &path))
}

fn broken(error: arrow_schema::ArrowError) -> Error {
    Error::new(ErrorKind::Parquet, "parquet.rows", error.to_string())
}

/// The Arrow field of an aligned array: the type the producer chose, the nulls the schema allows.
pub fn field_of(column: &Column, array: &ArrayRef) -> Field {
    Field::new(&column.name, array.data_type().clone(), !column.required)
}
