//! Parquet files as records: columns of any physical layout become canonical JSON, which the JSON roads judge.
//!
//! The file's own layout alone decides, no schema that a writer left in its metadata. Columns whose types no contract has (intervals)
//! are refused with the file.

#[cfg(test)]
mod agreement;
mod direct;
mod pages;
mod read;
mod text;

pub use read::Reader;

use bytes::Bytes;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray, StructArray};
use arrow_schema::{DataType, Field, FieldRef, Fields, SchemaRef, TimeUnit};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::{ConvertedType, Type as Physical};
use parquet::file::metadata::ParquetMetaData;
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::contract::Plan;
use crate::error::{Error, ErrorKind, Result};
use crate::process::guarded;
use text::Writer;

/// Rows that the crate decodes together, whoever asks for how many: where pages contradict their own counts, it depends on that whether
/// they can be read. What so many rows are made of stays in the processor's own cache.
const ROWS: usize = 16 << 10;
/// Most bytes of one decompressed page or row group that a file may claim for each of its own, and what any file may claim.
const RATIO: i64 = 2000;
const FLOOR: i64 = 256 << 20;
/// Most values that a batch holds, of the columns of a file and of its contract: for each byte of the file, and for any file.
const CELLS_A_BYTE: usize = 16;
const CELLS: usize = 32 << 20;

/// A file whose footer was read: it is known to be one, and of types that contracts have.
pub struct Footer {
    file: Bytes,
    metadata: ArrowReaderMetadata,
    schema: SchemaRef,
}

/// Rows of a file batch by batch, in its order, as the `parquet` crate reads them: any layout.
pub struct File {
    reader: ParquetRecordBatchReader,
    /// Rows that were decoded, but not given yet.
    rest: Option<RecordBatch>,
    /// Rows that are read, but not given: a reader that skips them does not look at all of their pages, and finds less wrong.
    first: usize,
    /// Whether the reader may take texts as they are: it does with JSON, and wherever the older of two words for text is missing.
    is_unchecked: bool,
}

fn invalid(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Body, "body.invalid_parquet", format!("the body is not a Parquet file that can be read: {what}"))
        .hint("send a whole Parquet file, uncompressed or with snappy, zstd, gzip or lz4")
}

/// Most bytes of text that a file of so many bytes may become.
pub(crate) fn most_text(bytes: usize) -> usize {
    (256 << 20) + bytes.saturating_mul(64)
}

impl Footer {
    /// Reads the footer of a file that is all in memory.
    ///
    /// Errors: `body.invalid_parquet` for anything that cannot be read or has a column of a type that JSON and contracts have not.
    pub fn read(file: Bytes) -> Result<Footer> {
        read(|| {
            let length = file.len() as i64;
            let metadata = ArrowReaderMetadata::load(&file, options()).map_err(invalid)?;
            for group in metadata.metadata().row_groups() {
                let claimed =
                    group.columns().iter().map(|column| column.uncompressed_size().max(0)).fold(0i64, i64::saturating_add);
                if claimed > FLOOR.saturating_add(length.saturating_mul(RATIO)) || group.num_rows() < 0 {
                    return Err(invalid(format!("a row group claims {claimed} bytes")));
                }
            }
            let schema = hinted(metadata.schema(), metadata.metadata().file_metadata().schema_descr());
            schema.fields().iter().try_for_each(|field| known(field.data_type(), field.name()))?;
            Ok(Footer { file, metadata, schema })
        })
    }

    /// Most rows of a batch: a few bytes of a file may stand for any number of rows.
    pub fn most_rows(&self, plan: &Plan) -> usize {
        let given = self.metadata.metadata().file_metadata().schema_descr().num_columns();
        let made: usize = plan.nodes.iter().map(|node| node.fields.len()).sum();
        (CELLS + self.file.len().saturating_mul(CELLS_A_BYTE)) / (given + made).max(1)
    }

    /// The rows page by page; None where the file is not as plain as that.
    pub fn pages(&self, plan: &Plan) -> Option<pages::Rows> {
        pages::Rows::open(plan, &self.file, self.metadata.metadata(), &self.schema)
    }

    /// The rows from number `first` on. Errors: `body.invalid_parquet`.
    pub fn rows(&self, plan: &Plan, first: usize) -> Result<File> {
        self.file(first, in_codes(plan, &self.schema, self.metadata.metadata()))
    }

    /// All rows; texts stay codes wherever the file has them so: a long text that repeats lies in memory once.
    fn rows_in_codes(&self) -> Result<File> {
        self.file(0, all_in_codes(&self.schema, self.metadata.metadata()))
    }

    fn file(&self, first: usize, schema: SchemaRef) -> Result<File> {
        read(|| {
            let options = options().with_schema(schema);
            let metadata = ArrowReaderMetadata::try_new(Arc::clone(self.metadata.metadata()), options).map_err(invalid)?;
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.clone(), metadata);
            let reader = builder.with_batch_size(ROWS).build().map_err(invalid)?;
            let columns = self.metadata.metadata().file_metadata().schema_descr().columns();
            let is_unchecked = columns.iter().any(|column| is_unchecked(column));
            Ok(File { reader, rest: None, first, is_unchecked })
        })
    }
}

/// Whether the reader takes the texts of a column as they are, and gives those of a dictionary as bytes.
fn is_unchecked(column: &ColumnDescriptor) -> bool {
    column.physical_type() == Physical::BYTE_ARRAY && column.converted_type() != ConvertedType::UTF8
}

/// A column of a reader that checks no text, its texts checked: of objects, lists and maps, too. Its field has the type `kind`.
fn checked(kind: &DataType, column: &ArrayRef) -> Result<ArrayRef> {
    match kind {
        DataType::Utf8 => {
            let texts = column.as_string::<i32>();
            StringArray::try_new(texts.offsets().clone(), texts.values().clone(), None).map_err(invalid)?;
        }
        DataType::Dictionary(_, kind) if **kind == DataType::Utf8 => {
            let codes = column.as_any_dictionary();
            let texts = match codes.values().as_binary_opt::<i32>() {
                Some(bytes) => Arc::new(StringArray::try_from_binary(bytes.clone()).map_err(invalid)?),
                None => checked(kind, codes.values())?,
            };
            return Ok(codes.with_values(texts));
        }
        DataType::Struct(fields) => {
            let (object, nulls) = (column.as_struct(), column.nulls().cloned());
            let each = fields.iter().zip(object.columns()).map(|(field, column)| checked(field.data_type(), column));
            let columns = each.collect::<Result<_>>()?;
            return Ok(Arc::new(StructArray::try_new(fields.clone(), columns, nulls).map_err(invalid)?));
        }
        DataType::List(item) => drop(checked(item.data_type(), column.as_list::<i32>().values())?),
        DataType::Map(entry, _) => drop(checked(entry.data_type(), &(Arc::new(column.as_map().entries().clone()) as ArrayRef))?),
        _ => {}
    }
    Ok(Arc::clone(column))
}

fn options() -> ArrowReaderOptions {
    ArrowReaderOptions::new().with_skip_arrow_metadata(true)
}

impl File {
    /// The next rows, at most so many and at most [`ROWS`]; None at the end. Errors: `body.invalid_parquet`.
    pub fn batch(&mut self, most: usize) -> Result<Option<RecordBatch>> {
        read(|| {
            loop {
                let Some(batch) = self.rest.take().map_or_else(|| self.decoded(), |rest| Ok(Some(rest)))? else {
                    return Ok(None);
                };
                let past = self.first.min(batch.num_rows());
                self.first -= past;
                let (left, given) = (batch.num_rows() - past, most.min(batch.num_rows() - past));
                if left > given {
                    self.rest = Some(batch.slice(past + given, left - given));
                }
                if given > 0 {
                    return Ok(Some(batch.slice(past, given)));
                }
            }
        })
    }

    fn decoded(&mut self) -> Result<Option<RecordBatch>> {
        let Some(batch) = self.reader.next().transpose().map_err(invalid)? else { return Ok(None) };
        if !self.is_unchecked {
            return Ok(Some(batch));
        }
        let (schema, options) = (batch.schema(), RecordBatchOptions::new().with_row_count(Some(batch.num_rows())));
        let each = schema.fields().iter().zip(batch.columns());
        let columns = each.map(|(field, column)| checked(field.data_type(), column)).collect::<Result<_>>()?;
        RecordBatch::try_new_with_options(schema, columns, &options).map(Some).map_err(invalid)
    }
}

/// Reads a part of a file. The reader below believes some of what a footer says and stops with a panic where that is not so: to us
/// it is a file that cannot be read, and nothing of it is read any more.
fn read<T>(part: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(part)).unwrap_or_else(|_| Err(invalid("its footer and its pages contradict each other")))
}

/// The schema of a file, times of twelve bytes as instants: those who write them mean UTC.
fn hinted(schema: &SchemaRef, physical: &SchemaDescriptor) -> SchemaRef {
    let mut leaf = 0;
    let fields = schema.fields().iter().map(|field| hinted_field(field, physical, &mut leaf)).collect::<Fields>();
    Arc::new(arrow_schema::Schema::new(fields))
}

fn hinted_field(field: &FieldRef, physical: &SchemaDescriptor, leaf: &mut usize) -> FieldRef {
    let kind = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| hinted_field(field, physical, leaf)).collect()),
        DataType::List(item) => DataType::List(hinted_field(item, physical, leaf)),
        DataType::Map(entries, sorted) => DataType::Map(hinted_field(entries, physical, leaf), *sorted),
        kind => {
            let twelve = *leaf < physical.num_columns() && physical.column(*leaf).physical_type() == Physical::INT96;
            *leaf += 1;
            if twelve { DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())) } else { kind.clone() }
        }
    };
    Arc::new(Field::new(field.name(), kind, field.is_nullable()).with_metadata(field.metadata().clone()))
}

/// The schema with texts that repeat as codes into a dictionary, as the file has them.
fn in_codes(plan: &Plan, schema: &SchemaRef, file: &ParquetMetaData) -> SchemaRef {
    let repeats = |column: usize| {
        file.row_groups().iter().all(|group| {
            let chunk = group.column(column);
            let pages = chunk.data_page_offset();
            // A small dictionary page before the pages: few texts, and none of them outside.
            chunk.dictionary_page_offset().is_some_and(|at| at < pages && (pages - at) * 4 < chunk.compressed_size() + SMALL)
        })
    };
    Arc::new(arrow_schema::Schema::new(direct::in_codes(plan, plan.record(), schema.fields(), &mut 0, &repeats)))
}

/// The schema with every text and every run of bytes, alone or in objects, as codes into its dictionary where it has one.
fn all_in_codes(schema: &SchemaRef, file: &ParquetMetaData) -> SchemaRef {
    let has_codes = |column: usize| file.row_groups().iter().all(|group| group.column(column).dictionary_page_offset().is_some());
    let mut leaf = 0;
    let fields = schema.fields().iter().map(|field| coded(field, &mut leaf, &has_codes)).collect::<Fields>();
    Arc::new(arrow_schema::Schema::new(fields))
}

fn coded(field: &FieldRef, leaf: &mut usize, has_codes: &impl Fn(usize) -> bool) -> FieldRef {
    let kind = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| coded(field, leaf, has_codes)).collect()),
        kind @ (DataType::Utf8 | DataType::Binary) if has_codes(*leaf) => {
            *leaf += 1;
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(kind.clone()))
        }
        kind => {
            *leaf += direct::leaves(kind);
            kind.clone()
        }
    };
    Arc::new(field.as_ref().clone().with_data_type(kind))
}

/// Dictionary pages of so many bytes are worth keeping whatever follows them.
const SMALL: i64 = 16 << 10;

/// Whether JSON can say what a column holds.
fn known(kind: &DataType, name: &str) -> Result<()> {
    match kind {
        DataType::Struct(fields) => fields.iter().try_for_each(|field| known(field.data_type(), field.name())),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => known(item.data_type(), name),
        DataType::Map(entries, _) => known(entries.data_type(), name),
        DataType::Dictionary(_, value) => known(value, name),
        kind if text::speaks(kind) => Ok(()),
        other => Err(invalid(format!("column `{name}` has the type {other}, which no contract has")).text("column", name)),
    }
}

/// The text of each row of a file, in order.
///
/// Errors, with nothing of the body to be stored: `body.invalid_parquet`, `body.too_large`.
pub fn canonical(plan: &Plan, file: Bytes, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    guarded(|| {
        let mut most = most_text(file.len());
        let mut opened = Footer::read(file)?.rows_in_codes()?;
        let (writer, mut text) = (Writer { plan }, Vec::new());
        while let Some(batch) = opened.batch(ROWS)? {
            for row in 0..batch.num_rows() {
                text.clear();
                writer.record(&batch, row, &mut text);
                most = most.checked_sub(text.len() + 1).ok_or_else(|| {
                    Error::new(ErrorKind::Body, "body.too_large", "the records of the Parquet file grow too large")
                        .hint("send the file in parts")
                })?;
                each(&text)?;
            }
        }
        Ok(())
    })
}
