//! The layouts of rows that cross to Python, the same as `frazil.batch`.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

/// Microseconds since 1970, UTC.
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Text that repeats: int32 codes into a dictionary.
pub fn text_code() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// Format of the body and line or row in it.
pub fn source_fields() -> Fields {
    Fields::from(vec![Field::new("format", DataType::Utf8, true), Field::new("line", DataType::Int64, true)])
}

fn source() -> DataType {
    DataType::Struct(source_fields())
}

/// Records as a log gives them.
pub fn raw_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("value", DataType::Binary, true),
        Field::new("key", DataType::Binary, true),
        Field::new("log", text_code(), false),
        Field::new("partition", text_code(), false),
        Field::new("offset", DataType::Int64, false),
        Field::new("received_at", timestamp(), false),
        Field::new("request", DataType::Int64, false),
        Field::new("source", source(), true),
    ]))
}

/// What every good row carries after its contract's columns.
pub fn lineage_fields() -> Vec<Field> {
    vec![
        Field::new("event_date", DataType::Date32, false),
        Field::new("event_hour", DataType::Int32, false),
        Field::new("_log", text_code(), false),
        Field::new("_partition", text_code(), false),
        Field::new("_offset", DataType::Int64, false),
        Field::new("_request", DataType::Int64, false),
        Field::new("_received_at", timestamp(), false),
        Field::new("_contract_version", text_code(), false),
    ]
}

/// The fields of one violation in a letter.
pub fn violation_fields() -> Fields {
    let mut fields = vec![Field::new("index", DataType::Int64, true)];
    fields.extend(["path", "code", "message", "hint", "value"].map(|name| Field::new(name, DataType::Utf8, true)));
    Fields::from(fields)
}

/// Dead letters and recorded duplicates.
pub fn letters_schema() -> SchemaRef {
    let violation = Field::new("element", DataType::Struct(violation_fields()), true);
    let place = Fields::from(vec![
        Field::new("log", DataType::Utf8, true),
        Field::new("partition", DataType::Utf8, true),
        Field::new("offset", DataType::Int64, true),
    ]);
    Arc::new(Schema::new(vec![
        Field::new("contract", DataType::Utf8, false),
        Field::new("contract_version", DataType::Utf8, false),
        Field::new("_log", DataType::Utf8, false),
        Field::new("_partition", DataType::Utf8, false),
        Field::new("_offset", DataType::Int64, false),
        Field::new("_request", DataType::Int64, false),
        Field::new("_received_at", timestamp(), false),
        Field::new("stage", DataType::Utf8, false),
        Field::new("violations", DataType::List(Arc::new(violation)), false),
        Field::new("value", DataType::Binary, true),
        Field::new("key", DataType::Binary, true),
        Field::new("source", source(), true),
        Field::new("first", DataType::Struct(place), true),
        Field::new("_replay", DataType::Utf8, true),
    ]))
}
