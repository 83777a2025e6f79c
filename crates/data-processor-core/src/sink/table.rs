//! Rows by day into files, each with its metrics.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::TypePtr;

use super::align::align;
use super::calendar::{DAY_US, day_name, day_of};
use super::encode::Press;
use super::file::{OpenFile, Shaped};
use super::leaf::{Source, leaf_columns};
use super::place::Places;
use super::schema::{Column, IcebergSchema, Kind};
use crate::error::{Error, ErrorKind, Result};

/// Rows handed to a file before its size is looked at, and the fewer ones where files are small.
const STEP_ROWS: usize = 131_072;
const SMALL_STEP_ROWS: usize = 16_384;
const SMALL_FILE_BYTES: u64 = 16 << 20;
/// Batches without rows after which a file counts as idle, and the share of all memory that makes its row group worth writing.
const IDLE_BATCHES: u64 = 1;
const IDLE_SHARE: usize = 16;
/// Bytes of memory that all open files may take together, unless a writer is told otherwise.
pub const BUFFER_BYTES: usize = 256 << 20;

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

    /// The codec as Parquet names it.
    pub(crate) fn parquet(self) -> Compression {
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
    /// Bytes of memory that all open files may take together: past it the idle ones, then the largest, write a row group.
    pub buffer_bytes: usize,
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

/// Numbers below `rows` but for some of them, whose numbers rise.
fn all_but(rows: u32, without: &[u32]) -> Vec<u32> {
    let mut kept = Vec::with_capacity(rows as usize);
    let mut from = 0;
    for row in without {
        kept.extend(from..*row);
        from = row + 1;
    }
    kept.extend(from..rows);
    kept
}

/// How many of the first rows lie on a day.
fn of_one_day(day: i32, instants: &[i64], rows: &[u32]) -> usize {
    let midnight = i64::from(day).wrapping_mul(DAY_US); // of the first day there is, it lies before the first instant
    let within = |row: &&u32| instants[**row as usize].wrapping_sub(midnight).cast_unsigned() < DAY_US.cast_unsigned();
    rows.iter().take_while(within).count()
}

/// Writes batches of rows as day-partitioned Parquet files. Batches may come one after the other; nothing is in a file for
/// certain before [`TableWriter::finish`].
pub struct TableWriter {
    schema: Arc<IcebergSchema>,
    parquet: TypePtr,
    options: WriteOptions,
    properties: Arc<WriterProperties>,
    day_path: Option<Vec<usize>>,
    open: BTreeMap<Option<i32>, OpenFile>,
    press: Press,
    batches: u64,
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
        let properties = WriterProperties::builder()
            .set_created_by(concat!("frazil ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(options.codec.parquet())
            .set_statistics_enabled(EnabledStatistics::Chunk);
        Ok(TableWriter {
            press: Press::new(options.codec)?,
            batches: 0,
            parquet: schema.parquet()?,
            schema: Arc::new(schema),
            options,
            properties: Arc::new(properties.build()),
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
        self.write_but(rows, &[])
    }

    /// Adds rows but for some of them, whose numbers rise.
    pub fn write_but(&mut self, rows: &RecordBatch, without: &[u32]) -> Result<()> {
        let schema = self.schema.clone();
        let columns = align(rows, &schema)?;
        let shaped = Shaped::of(&schema, &columns)?;
        self.batches += 1;
        let step = if self.options.target_bytes < SMALL_FILE_BYTES { SMALL_STEP_ROWS } else { STEP_ROWS };
        for (day, selected) in self.by_day(&shaped, rows.num_rows(), without) {
            for rows in selected.chunks(step) {
                self.append(day, &shaped, rows)?;
            }
        }
        // Days come one after the other in most inputs: what a file keeps for its next rows is given back when none came.
        let before = self.batches - 1;
        self.open.values_mut().filter(|file| file.last_batch() == before).for_each(OpenFile::rest);
        Ok(())
    }

    /// Closes every file; they are durable when it returns, if that was asked for.
    pub fn finish(self) -> Result<Vec<DataFile>> {
        self.finish_on(1)
    }

    /// As [`TableWriter::finish`] on so many threads; the files are the same.
    pub fn finish_on(mut self, threads: usize) -> Result<Vec<DataFile>> {
        let open = std::mem::take(&mut self.open);
        let threads = threads.clamp(1, open.len().max(1));
        let files = Mutex::new(open.into_values().enumerate());
        let next = || files.lock().unwrap_or_else(PoisonError::into_inner).next();
        let close_some = || -> Result<Vec<(usize, DataFile)>> {
            let mut closed = Vec::new();
            while let Some((number, mut file)) = next() {
                // Each begins with what is known now, whoever closes it.
                let mut press = self.press.again()?;
                file.flush(&self.schema, &mut press)?;
                closed.push((number, file.finish(&self.schema, self.options.durable)?));
            }
            Ok(closed)
        };
        let mut closed = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(close_some)).collect();
            let mut closed = close_some();
            for other in others {
                let more = other.join().unwrap_or_else(|_| {
                    Err(Error::new(ErrorKind::Parquet, "parquet.encoding", "a thread that closes files stopped"))
                });
                closed = closed.and_then(|mut closed| more.map(|more| closed.extend(more)).map(|()| closed));
            }
            closed
        })?;
        closed.sort_by_key(|(number, _)| *number);
        self.done.extend(closed.into_iter().map(|(_, file)| file));
        if self.options.durable {
            self.places.sync()?;
        }
        self.finished = true;
        let mut done = std::mem::take(&mut self.done);
        done.sort_by_key(|file| file.partition); // stable: files of a day stay in their order
        Ok(done)
    }

    /// Numbers of the rows that are written by day, the days in order.
    fn by_day(&self, shaped: &Shaped, rows: usize, without: &[u32]) -> BTreeMap<Option<i32>, Vec<u32>> {
        let mut days: BTreeMap<Option<i32>, Vec<u32>> = BTreeMap::new();
        let written = all_but(rows as u32, without);
        if written.is_empty() {
            return days;
        }
        let leaf = self.day_path.as_ref().and_then(|path| shaped.leaf(path[0], self.leaves_before(path)));
        let Some(leaf) = leaf else { return BTreeMap::from([(None, written)]) };
        let day = |row: u32| match &leaf.source {
            _ if !leaf.present(row as usize) => None,
            Source::I32(days) => Some(days[row as usize]),
            Source::I64(instants) => Some(day_of(instants[row as usize])),
            _ => None,
        };
        let mut rest = written.as_slice();
        while let Some(first) = rest.first() {
            let today = day(*first);
            let length = match (today, &leaf.source, &leaf.levels) {
                (Some(today), Source::I64(instants), None) => of_one_day(today, instants, rest),
                _ => rest.iter().take_while(|row| day(**row) == today).count(),
            };
            if length == written.len() {
                return BTreeMap::from([(today, written)]);
            }
            days.entry(today).or_default().extend_from_slice(&rest[..length]);
            rest = &rest[length..];
        }
        days
    }

    /// How many leaves of a top-level column come before the one at a path.
    fn leaves_before(&self, path: &[usize]) -> usize {
        let mut before = Vec::new();
        let mut column = &self.schema.columns[path[0]];
        for step in &path[1..] {
            let Kind::Struct(children) = &column.kind else { break };
            children[..*step].iter().for_each(|child| leaf_columns(child, false, &mut before));
            column = &children[*step];
        }
        before.len()
    }

    fn append(&mut self, day: Option<i32>, shaped: &Shaped, rows: &[u32]) -> Result<()> {
        if !self.open.contains_key(&day) {
            let file = self.create(day)?;
            self.open.insert(day, file);
        }
        let Some(file) = self.open.get_mut(&day) else { return Ok(()) };
        file.append(shaped, rows, self.batches, &mut self.press)?;
        if file.size() >= self.options.target_bytes {
            if let Some(mut file) = self.open.remove(&day) {
                file.flush(&self.schema, &mut self.press)?;
                self.done.push(file.finish(&self.schema, self.options.durable)?);
            }
        } else {
            self.make_room()?;
        }
        Ok(())
    }

    /// Writes row groups until memory is within its bound: first of files that got no rows lately, so that those of busy ones grow.
    fn make_room(&mut self) -> Result<()> {
        let mut held: usize = self.open.values().map(OpenFile::held).sum();
        if held <= self.options.buffer_bytes {
            return Ok(());
        }
        let worth = self.options.buffer_bytes / IDLE_SHARE;
        let mut files: Vec<&mut OpenFile> = self.open.values_mut().collect();
        // Idle files that are worth a row group come first, the one that waited longest before the others; then the largest.
        let batches = self.batches;
        files.sort_by_key(|file| match (file.last_batch(), file.held()) {
            (last, held) if last + IDLE_BATCHES < batches && held >= worth => (last, 0),
            (_, held) => (u64::MAX, usize::MAX - held),
        });
        for file in files {
            if held <= self.options.buffer_bytes {
                break;
            }
            held -= file.held();
            file.flush(&self.schema, &mut self.press)?;
            held += file.held();
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
        OpenFile::new(path, day, file, &self.schema, &self.parquet, &self.properties)
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

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, StringArray, TimestampMicrosecondArray};

    use super::*;

    const BUFFER: usize = 4 << 20;

    fn writer(place: &std::path::Path) -> TableWriter {
        let schema = r#"{"type": "struct", "fields": [{"id": 1, "name": "at", "required": true, "type": "timestamptz"},
            {"id": 2, "name": "name", "required": true, "type": "string"}, {"id": 3, "name": "kind", "required": true, "type": "string"}]}"#;
        let options = WriteOptions {
            location: place.to_owned(),
            partition: Some("at".into()),
            prefix: String::new(),
            codec: Codec::Zstd(1),
            target_bytes: 128 << 20,
            durable: false,
            buffer_bytes: BUFFER,
        };
        TableWriter::new(IcebergSchema::from_json(schema).unwrap(), options).unwrap()
    }

    /// 4,096 rows at these instants.
    fn rows(seed: u64, at: impl Fn(u64) -> i64) -> RecordBatch {
        let numbers = || (0..4096_u64).map(|row| (seed * 4096 + row).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let at = TimestampMicrosecondArray::from_iter_values(numbers().map(at)).with_timezone("UTC");
        let name = StringArray::from_iter_values(numbers().map(|number| format!("{number:016x}-{number:020}")));
        let kind = StringArray::from_iter_values(numbers().map(|number| format!("k{}", number % 3000)));
        let columns: [(&str, ArrayRef); 3] = [("at", Arc::new(at)), ("name", Arc::new(name)), ("kind", Arc::new(kind))];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn held(writer: &TableWriter) -> usize {
        writer.open.values().map(OpenFile::held).sum()
    }

    #[test]
    fn what_open_files_hold_is_bounded_whatever_was_written() {
        let place = tempfile::tempdir().unwrap();
        let mut writer = writer(place.path());
        let mut most = 0;
        for batch in 0..120 {
            writer.write(&rows(batch, |number| (number >> 20) as i64 % (7 * DAY_US))).unwrap();
            most = most.max(held(&writer));
        }
        assert!(most <= BUFFER, "{most}");
        assert!(most > BUFFER / 2, "{most}: the bound is not reached");
        let files = writer.finish().unwrap();
        assert_eq!(files.iter().map(|file| file.record_count).sum::<u64>(), 120 * 4096);
        assert!(files.iter().all(|file| file.split_offsets.len() > 1));
    }

    #[test]
    fn days_that_are_over_are_written_before_the_one_that_grows() {
        let place = tempfile::tempdir().unwrap();
        let mut writer = writer(place.path());
        for batch in 0..64 {
            writer.write(&rows(batch, |_| (batch / 8) as i64 * DAY_US)).unwrap();
            assert!(held(&writer) <= BUFFER);
        }
        let files = writer.finish().unwrap();
        assert!(files.iter().map(|file| file.file_size_in_bytes).sum::<u64>() > BUFFER as u64);
        assert_eq!(files.iter().map(|file| file.split_offsets.len()).collect::<Vec<_>>(), [1; 8]);
    }
}
