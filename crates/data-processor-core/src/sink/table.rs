//! Rows by day into files, each with its metrics.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnPath, TypePtr};

use super::align::{align, arrow_schema, field_of};
use super::bounds::Extent;
use super::calendar::{day_name, day_of};
use super::leaf::{Source, has_list, leaf_columns, leaves};
use super::place::Places;
use super::schema::{Column, IcebergSchema, Kind};
use super::{io_error, parquet_error};
use crate::error::{Error, ErrorKind, Result};

/// Rows handed to a file before its size is looked at.
const STEP_ROWS: usize = 16_384;
/// Encoded bytes kept in memory by all open files together.
const BUFFER_BYTES: usize = 256 << 20;

/// How pages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Not at all.
    None,
    /// Snappy.
    Snappy,
    /// Zstandard at a level from 1 to 22.
    Zstd(i32),
}

impl Codec {
    /// The codec of a name.
    pub fn named(name: &str, level: i32) -> Result<Codec> {
        match name {
            "zstd" if (1..=22).contains(&level) => Ok(Codec::Zstd(level)),
            "zstd" => Err(Error::new(ErrorKind::Format, "parquet.compression_level", format!("zstd has no level {level}"))
                .hint("levels are 1 (fast) to 22 (small)")
                .int("level", level)),
            "snappy" => Ok(Codec::Snappy),
            "none" => Ok(Codec::None),
            _ => Err(Error::new(
                ErrorKind::Format,
                "parquet.unknown_compression",
                format!("{name:?} is not a compression we write"),
            )
            .hint("known: zstd, snappy, none")
            .text("compression", name)),
        }
    }

    fn parquet(self) -> Compression {
        match self {
            Codec::None => Compression::UNCOMPRESSED,
            Codec::Snappy => Compression::SNAPPY,
            Codec::Zstd(level) => Compression::ZSTD(ZstdLevel::try_new(level).unwrap_or_default()),
        }
    }
}

/// Where and how rows are written.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// Directory below which files are created.
    pub location: PathBuf,
    /// Timestamp or date column whose UTC day parts the rows; dotted when nested.
    pub partition: Option<String>,
    /// What file names begin with.
    pub prefix: String,
    /// Compression of pages.
    pub codec: Codec,
    /// A file is closed once it has about this size.
    pub target_bytes: u64,
    /// Whether files and directories are synced to disk.
    pub durable: bool,
}

/// What Iceberg keeps about one written file; maps are by field id.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct DataFile {
    pub path: PathBuf,
    /// Days since 1970; None without partitions and for rows without a day.
    pub partition: Option<i32>,
    pub record_count: u64,
    pub file_size_in_bytes: u64,
    pub column_sizes: BTreeMap<i32, u64>,
    pub value_counts: BTreeMap<i32, u64>,
    pub null_value_counts: BTreeMap<i32, u64>,
    pub nan_value_counts: BTreeMap<i32, u64>,
    pub lower_bounds: BTreeMap<i32, Vec<u8>>,
    pub upper_bounds: BTreeMap<i32, Vec<u8>>,
    pub split_offsets: Vec<i64>,
}

/// A file being written.
struct OpenFile {
    path: PathBuf,
    day: Option<i32>,
    writer: SerializedFileWriter<File>,
    columns: Vec<ArrowColumnWriter>,
    extents: Vec<Extent>,
    group_rows: usize,
}

/// Writes batches of rows as day-partitioned Parquet files. Batches may come one after the other; nothing is in a file for
/// certain before [`TableWriter::finish`].
pub struct TableWriter {
    schema: IcebergSchema,
    parquet: TypePtr,
    options: WriteOptions,
    properties: Arc<WriterProperties>,
    day_path: Option<Vec<usize>>,
    open: BTreeMap<Option<i32>, OpenFile>,
    places: Places,
    created: Vec<PathBuf>,
    done: Vec<DataFile>,
    finished: bool,
}

impl TableWriter {
    /// A writer that has created nothing yet.
    pub fn new(schema: IcebergSchema, options: WriteOptions) -> Result<TableWriter> {
        let day_path = match &options.partition {
            None => None,
            Some(name) => match schema.find(name)? {
                (path, Column { kind: Kind::Timestamp | Kind::TimestampTz | Kind::Date, .. }) => Some(path),
                _ => {
                    let message = format!("{name:?} has no day: only timestamps and dates part rows by day");
                    return Err(Error::new(ErrorKind::Parquet, "parquet.partition_type", message).text("column", name.as_str()));
                }
            },
        };
        let properties = Arc::new(properties(&schema, options.codec));
        Ok(TableWriter {
            parquet: schema.parquet()?,
            schema,
            options,
            properties,
            day_path,
            open: BTreeMap::new(),
            places: Places::default(),
            created: Vec::new(),
            done: Vec::new(),
            finished: false,
        })
    }

    /// Adds rows; the order of rows of one day is kept.
    pub fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let columns = align(rows, &self.schema)?;
        for (day, selected) in self.by_day(&columns, rows.num_rows())? {
            for step in selected.chunks(STEP_ROWS) {
                self.append(day, &columns, step)?;
            }
        }
        Ok(())
    }

    /// Closes every file; they are durable when it returns, if that was asked for.
    pub fn finish(mut self) -> Result<Vec<DataFile>> {
        while let Some((_, file)) = self.open.pop_first() {
            self.close(file)?;
        }
        if self.options.durable {
            self.places.sync()?;
        }
        self.finished = true;
        let mut done = std::mem::take(&mut self.done);
        done.sort_by_key(|file| file.partition); // stable: files of a day stay in their order
        Ok(done)
    }

    /// Row numbers by day, the days in order.
    fn by_day(&self, columns: &[ArrayRef], rows: usize) -> Result<BTreeMap<Option<i32>, Vec<u32>>> {
        let mut days: BTreeMap<Option<i32>, Vec<u32>> = BTreeMap::new();
        let Some(path) = &self.day_path else {
            if rows > 0 {
                days.insert(None, (0..rows as u32).collect());
            }
            return Ok(days);
        };
        let mut at = 0;
        let mut column = &self.schema.columns[path[0]];
        for step in &path[1..] {
            let Kind::Struct(children) = &column.kind else { break };
            let mut skipped = Vec::new();
            children[..*step].iter().for_each(|child| leaf_columns(child, false, &mut skipped));
            at += skipped.len();
            column = &children[*step];
        }
        let found = leaves(&columns[path[0]], &self.schema.columns[path[0]])?;
        let leaf = &found[at];
        let day = |row: usize| match &leaf.source {
            _ if !leaf.present(row) => None,
            Source::I32(days) => Some(days[row]),
            Source::I64(instants) => Some(day_of(instants[row])),
            _ => None,
        };
        let mut run: (Option<i32>, Vec<u32>) = (None, Vec::new());
        for row in 0..rows {
            let today = day(row);
            if today != run.0 || row == 0 {
                if !run.1.is_empty() {
                    days.insert(run.0, std::mem::take(&mut run.1));
                }
                run = (today, days.remove(&today).unwrap_or_default());
            }
            run.1.push(row as u32);
        }
        if !run.1.is_empty() {
            days.insert(run.0, run.1);
        }
        Ok(days)
    }

    fn append(&mut self, day: Option<i32>, columns: &[ArrayRef], rows: &[u32]) -> Result<()> {
        if !self.open.contains_key(&day) {
            let file = self.create(day)?;
            self.open.insert(day, file);
        }
        let Some(file) = self.open.get_mut(&day) else { return Ok(()) };
        file.append(&self.schema, columns, rows)?;
        if file.size() >= self.options.target_bytes {
            if let Some(file) = self.open.remove(&day) {
                self.close(file)?;
            }
        } else if self.open.values().map(OpenFile::buffered).sum::<usize>() > BUFFER_BYTES
            && let Some(largest) = self.open.values_mut().max_by_key(|file| file.buffered())
        {
            largest.flush(&self.schema)?;
        }
        Ok(())
    }

    fn create(&mut self, day: Option<i32>) -> Result<OpenFile> {
        let mut path = self.options.location.clone();
        if let Some(name) = &self.options.partition {
            path.push(format!("{name}_day={}", day.map_or_else(|| "null".to_owned(), day_name)));
        }
        self.places.directory(&path)?;
        path.push(format!("{}{}.parquet", self.options.prefix, self.created.len()));
        let file = self.places.file(&path)?;
        self.created.push(path.clone());
        let writer = SerializedFileWriter::new(file, self.parquet.clone(), self.properties.clone())
            .map_err(|e| parquet_error(&path, &e))?;
        let columns = column_writers(&writer, &self.schema).map_err(|e| parquet_error(&path, &e))?;
        let extents = vec![Extent::default(); columns.len()];
        Ok(OpenFile { path, day, writer, columns, extents, group_rows: 0 })
    }

    fn close(&mut self, mut file: OpenFile) -> Result<()> {
        file.flush(&self.schema)?;
        self.done.push(file.finish(&self.schema, self.options.durable)?);
        Ok(())
    }
}

impl Drop for TableWriter {
    /// A write that failed leaves no file: no one was told of them.
    fn drop(&mut self) {
        if !self.finished {
            self.created.iter().for_each(|path| drop(std::fs::remove_file(path)));
        }
    }
}

fn properties(schema: &IcebergSchema, codec: Codec) -> WriterProperties {
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("frazil ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(codec.parquet())
        .set_statistics_enabled(EnabledStatistics::Chunk);
    for column in &schema.columns {
        let path = ColumnPath::from(column.name.as_str());
        match column.kind {
            Kind::Uuid => builder = builder.set_column_dictionary_enabled(path, false),
            Kind::Timestamp | Kind::TimestampTz => {
                builder = builder
                    .set_column_dictionary_enabled(path.clone(), false)
                    .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
            }
            _ => {}
        }
    }
    builder.build()
}

fn column_writers(
    writer: &SerializedFileWriter<File>,
    schema: &IcebergSchema,
) -> parquet::errors::Result<Vec<ArrowColumnWriter>> {
    let group = writer.flushed_row_groups().len();
    ArrowRowGroupWriterFactory::new(writer, arrow_schema(schema)).create_column_writers(group)
}

impl OpenFile {
    fn append(&mut self, schema: &IcebergSchema, columns: &[ArrayRef], rows: &[u32]) -> Result<()> {
        let wrong = |e: String| Error::new(ErrorKind::Parquet, "parquet.rows", e);
        let selected = UInt32Array::from(rows.to_vec());
        let mut at = 0;
        for (column, array) in schema.columns.iter().zip(columns) {
            if !has_list(column) {
                for (leaf, extent) in leaves(array, column)?.iter().zip(&mut self.extents[at..]) {
                    extent.see(leaf, rows);
                }
            }
            let taken = arrow_select::take::take(array.as_ref(), &selected, None).map_err(|e| wrong(e.to_string()))?;
            let field = field_of(column, &taken);
            for leaf in compute_leaves(&field, &taken).map_err(|e| wrong(e.to_string()))? {
                self.columns[at].write(&leaf).map_err(|e| parquet_error(&self.path, &e))?;
                at += 1;
            }
        }
        self.group_rows += rows.len();
        Ok(())
    }

    /// Encoded bytes not yet in the file.
    fn buffered(&self) -> usize {
        self.columns.iter().map(ArrowColumnWriter::get_estimated_total_bytes).sum()
    }

    fn size(&self) -> u64 {
        (self.writer.bytes_written() + self.buffered()) as u64
    }

    /// Writes what is buffered as a row group.
    fn flush(&mut self, schema: &IcebergSchema) -> Result<()> {
        if self.group_rows == 0 {
            return Ok(());
        }
        let broken = |e| parquet_error(&self.path, &e);
        let columns = std::mem::take(&mut self.columns);
        let mut group = self.writer.next_row_group().map_err(broken)?;
        for column in columns {
            column.close().and_then(|chunk| chunk.append_to_row_group(&mut group)).map_err(broken)?;
        }
        group.close().map_err(broken)?;
        self.columns = column_writers(&self.writer, schema).map_err(broken)?;
        self.group_rows = 0;
        Ok(())
    }

    fn finish(mut self, schema: &IcebergSchema, durable: bool) -> Result<DataFile> {
        let broken = |e| parquet_error(&self.path, &e);
        let footer = self.writer.finish().map_err(broken)?;
        let handle = self.writer.inner();
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
        for ((column, in_list), extent) in columns.iter().zip(&self.extents).filter(|((_, in_list), _)| !in_list) {
            debug_assert!(!in_list);
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
