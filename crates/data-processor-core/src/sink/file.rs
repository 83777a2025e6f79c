//! One Parquet file in the making.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::{ArrayRef, UInt32Array};
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::TypePtr;

use super::align::{arrow_schema, field_of};
use super::bounds::Extent;
use super::encode::{ChunkWriter, Press};
use super::leaf::{Leaf, has_list, leaf_columns, leaves};
use super::schema::{Column, IcebergSchema, Kind};
use super::table::DataFile;
use super::{io_error, parquet_error};
use crate::error::{Error, ErrorKind, Result};

/// A file behind a buffer: column chunks arrive in pieces of 8 KiB.
type Out = BufWriter<File>;

const OUT_BYTES: usize = 32 << 10;

/// A batch in the shape its columns are written in.
pub struct Shaped<'a>(Vec<ShapedColumn<'a>>);

enum ShapedColumn<'a> {
    Flat(Vec<Leaf<'a>>),
    /// A list lies in it.
    Nested(&'a Column, &'a ArrayRef),
}

impl<'a> Shaped<'a> {
    /// Looks at aligned columns leaf by leaf.
    pub fn of(schema: &'a IcebergSchema, columns: &'a [ArrayRef]) -> Result<Shaped<'a>> {
        let shape = |(column, array): (&'a Column, &'a ArrayRef)| {
            if has_list(column) { Ok(ShapedColumn::Nested(column, array)) } else { leaves(array, column).map(ShapedColumn::Flat) }
        };
        schema.columns.iter().zip(columns).map(shape).collect::<Result<_>>().map(Shaped)
    }

    /// A leaf of a top-level column.
    pub fn leaf(&self, column: usize, leaf: usize) -> Option<&Leaf<'a>> {
        match &self.0[column] {
            ShapedColumn::Flat(leaves) => leaves.get(leaf),
            ShapedColumn::Nested(..) => None,
        }
    }
}

/// Who encodes the leaves of a top-level column.
enum Encoders {
    Ours(Vec<ChunkWriter>),
    Arrow(Vec<ArrowColumnWriter>),
}

/// A file being written: pages of one row group in memory, earlier row groups on disk.
pub struct OpenFile {
    path: PathBuf,
    day: Option<i32>,
    writer: SerializedFileWriter<Out>,
    columns: Vec<Encoders>,
    extents: Vec<Extent>,
    group_rows: usize,
    last_batch: u64,
    held: usize,
    /// Of `held`, what encoders take before the first row.
    fresh: usize,
}

fn encoders(writer: &SerializedFileWriter<Out>, schema: &IcebergSchema) -> parquet::errors::Result<Vec<Encoders>> {
    let group = writer.flushed_row_groups().len();
    let arrow = match schema.columns.iter().any(has_list) {
        true => ArrowRowGroupWriterFactory::new(writer, arrow_schema(schema)).create_column_writers(group)?,
        false => Vec::new(), // each holds buffers of its own
    };
    let mut arrow = arrow.into_iter();
    let mut descriptors = writer.schema_descr().columns().iter().cloned().enumerate();
    let encoders = |column: &Column| {
        let mut leaves = Vec::new();
        leaf_columns(column, false, &mut leaves);
        let theirs: Vec<_> = arrow.by_ref().take(leaves.len()).collect();
        let descriptors: Vec<_> = descriptors.by_ref().take(leaves.len()).collect();
        if has_list(column) {
            return Encoders::Arrow(theirs);
        }
        Encoders::Ours(
            leaves
                .iter()
                .zip(descriptors)
                .map(|((leaf, _), (number, descriptor))| ChunkWriter::new(leaf, number, descriptor))
                .collect(),
        )
    };
    Ok(schema.columns.iter().map(encoders).collect())
}

/// Bytes of memory.
fn memory(columns: &[Encoders]) -> usize {
    let memory = |encoders: &Encoders| match encoders {
        Encoders::Ours(writers) => writers.iter().map(ChunkWriter::held).sum::<usize>(),
        Encoders::Arrow(writers) => writers.iter().map(ArrowColumnWriter::memory_size).sum(),
    };
    columns.iter().map(memory).sum()
}

impl OpenFile {
    /// A file without rows.
    pub fn new(
        path: PathBuf,
        day: Option<i32>,
        file: File,
        schema: &IcebergSchema,
        parquet: &TypePtr,
        properties: &Arc<WriterProperties>,
    ) -> Result<OpenFile> {
        let broken = |e| parquet_error(&path, &e);
        let writer = SerializedFileWriter::new(BufWriter::with_capacity(OUT_BYTES, file), parquet.clone(), properties.clone())
            .map_err(broken)?;
        let columns = encoders(&writer, schema).map_err(broken)?;
        let fresh = memory(&columns);
        let extents = vec![Extent::default(); writer.schema_descr().num_columns()];
        Ok(OpenFile { path, day, writer, columns, extents, group_rows: 0, last_batch: 0, held: fresh, fresh })
    }

    /// Appends rows of a batch; `batch` tells batches apart.
    pub fn append(&mut self, shaped: &Shaped, rows: &[u32], batch: u64, press: &mut Press) -> Result<()> {
        let wrong = |e: String| Error::new(ErrorKind::Parquet, "parquet.rows", e);
        for (encoders, column) in self.columns.iter_mut().zip(&shaped.0) {
            match (encoders, column) {
                (Encoders::Ours(writers), ShapedColumn::Flat(leaves)) => {
                    for (writer, leaf) in writers.iter_mut().zip(leaves) {
                        writer.append(leaf, rows, batch, press)?;
                    }
                }
                (Encoders::Arrow(writers), ShapedColumn::Nested(column, array)) => {
                    let selected = UInt32Array::from(rows.to_vec());
                    let taken = arrow_select::take::take(array.as_ref(), &selected, None).map_err(|e| wrong(e.to_string()))?;
                    let leaves = compute_leaves(&field_of(column, &taken), &taken).map_err(|e| wrong(e.to_string()))?;
                    for (writer, leaf) in writers.iter_mut().zip(&leaves) {
                        writer.write(leaf).map_err(|e| parquet_error(&self.path, &e))?;
                    }
                }
                _ => {} // both sides were made for the same schema
            }
        }
        self.group_rows += rows.len();
        self.last_batch = batch;
        self.weigh();
        Ok(())
    }

    /// Encoded bytes not yet in the file.
    fn buffered(&self) -> usize {
        let size = |encoders: &Encoders| match encoders {
            Encoders::Ours(writers) => writers.iter().map(ChunkWriter::size).sum::<usize>(),
            Encoders::Arrow(writers) => writers.iter().map(ArrowColumnWriter::get_estimated_total_bytes).sum(),
        };
        self.columns.iter().map(size).sum()
    }

    /// Bytes of memory that a row group would give back, about.
    pub fn held(&self) -> usize {
        self.held - self.fresh
    }

    /// Gives room back that only further rows would need.
    pub fn rest(&mut self) {
        for encoders in &mut self.columns {
            if let Encoders::Ours(writers) = encoders {
                writers.iter_mut().for_each(ChunkWriter::rest);
            }
        }
        self.weigh();
    }

    fn weigh(&mut self) {
        self.held = memory(&self.columns).max(self.fresh);
    }

    /// Number of the last batch that had rows for it.
    pub fn last_batch(&self) -> u64 {
        self.last_batch
    }

    /// Bytes of the file if it were closed now, about.
    pub fn size(&self) -> u64 {
        (self.writer.bytes_written() + self.buffered()) as u64
    }

    /// Writes what is buffered as a row group.
    pub fn flush(&mut self, schema: &IcebergSchema, press: &mut Press) -> Result<()> {
        if self.group_rows == 0 {
            return Ok(());
        }
        let broken = |e| parquet_error(&self.path, &e);
        let mut group = self.writer.next_row_group().map_err(broken)?;
        let mut extents = self.extents.iter_mut();
        for encoders in std::mem::take(&mut self.columns) {
            match encoders {
                Encoders::Ours(writers) => {
                    for (writer, extent) in writers.into_iter().zip(extents.by_ref()) {
                        append_ours(writer, &mut group, extent, press, &broken)?;
                    }
                }
                Encoders::Arrow(writers) => {
                    for (writer, _) in writers.into_iter().zip(extents.by_ref()) {
                        writer.close().and_then(|chunk| chunk.append_to_row_group(&mut group)).map_err(broken)?;
                    }
                }
            }
        }
        group.close().map_err(broken)?;
        self.columns = encoders(&self.writer, schema).map_err(broken)?;
        self.fresh = memory(&self.columns);
        self.held = self.fresh;
        self.group_rows = 0;
        Ok(())
    }

    /// Writes the footer; the file is durable afterwards if that is asked for.
    pub fn finish(mut self, schema: &IcebergSchema, durable: bool) -> Result<DataFile> {
        let footer = self.writer.finish().map_err(|e| parquet_error(&self.path, &e))?;
        let written = self.writer.inner_mut().flush();
        written.map_err(|e| io_error("writing", &self.path, &e))?;
        let handle = self.writer.inner().get_ref();
        if durable {
            handle.sync_all().map_err(|e| io_error("syncing", &self.path, &e))?;
        }
        let length = handle.metadata().map_err(|e| io_error("reading the size of", &self.path, &e))?.len();
        let mut entry = DataFile {
            partition: self.day,
            record_count: footer.file_metadata().num_rows() as u64,
            file_size_in_bytes: length,
            path: self.path,
            ..DataFile::default()
        };
        let mut columns = Vec::new();
        schema.columns.iter().for_each(|column| leaf_columns(column, false, &mut columns));
        for group in footer.row_groups() {
            let first = group.column(0);
            entry.split_offsets.push(first.dictionary_page_offset().unwrap_or_else(|| first.data_page_offset()));
            for ((column, _), chunk) in columns.iter().zip(group.columns()) {
                *entry.column_sizes.entry(column.id).or_default() += chunk.compressed_size() as u64;
                *entry.value_counts.entry(column.id).or_default() += chunk.num_values() as u64;
                let nulls = chunk.statistics().and_then(|statistics| statistics.null_count_opt()).unwrap_or_default();
                *entry.null_value_counts.entry(column.id).or_default() += nulls;
            }
        }
        for ((column, _), extent) in columns.iter().zip(&self.extents).filter(|((_, in_list), _)| !in_list) {
            if matches!(column.kind, Kind::Float | Kind::Double) {
                entry.nan_value_counts.insert(column.id, extent.nans);
            }
            let (low, high) = extent.bounds(&column.kind);
            low.and_then(|low| entry.lower_bounds.insert(column.id, low));
            high.and_then(|high| entry.upper_bounds.insert(column.id, high));
        }
        Ok(entry)
    }
}

fn append_ours(
    writer: ChunkWriter,
    group: &mut SerializedRowGroupWriter<'_, Out>,
    extent: &mut Extent,
    press: &mut Press,
    broken: &impl Fn(parquet::errors::ParquetError) -> Error,
) -> Result<()> {
    let (bytes, close, seen) = writer.close(press)?;
    extent.nans += seen.nans;
    extent.join(seen.edges);
    group.append_column(&bytes, close).map_err(broken)
}
