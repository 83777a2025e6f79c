//! One column of a file, read page after page into its sink.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_buffer::{BooleanBufferBuilder, NullBuffer};
use arrow_schema::DataType;
use bytes::Bytes;
use parquet::basic::{Encoding, Type as Physical};
use parquet::column::page::{Page, PageReader};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::serialized_reader::SerializedPageReader;

use super::Odd;
use super::hybrid::Hybrid;
use super::sink::Sink;

/// Levels and codes that are unpacked at once: they stay in the processor's own cache.
const STEP: usize = 1024;

/// Bytes of a value of fixed length: UUIDs are the only ones.
const UUID: usize = 16;

/// Which rows are null, of values or of an object around them.
pub struct Validity {
    /// Rows of this level and above are not null.
    level: u32,
    rows: usize,
    /// None as long as there was no null.
    bits: Option<BooleanBufferBuilder>,
}

impl Validity {
    /// Of values or objects whose rows have this level where they are not null.
    pub fn new(level: u32) -> Validity {
        Validity { level, rows: 0, bits: None }
    }

    fn bits(&mut self) -> &mut BooleanBufferBuilder {
        let rows = self.rows;
        self.bits.get_or_insert_with(|| {
            let mut bits = BooleanBufferBuilder::new(rows + STEP);
            bits.append_n(rows, true);
            bits
        })
    }

    fn same(&mut self, level: u32, rows: usize) {
        let valid = level >= self.level;
        if !valid || self.bits.is_some() {
            self.bits().append_n(rows, valid);
        }
        self.rows += rows;
    }

    fn each(&mut self, levels: &[u32]) {
        let limit = self.level;
        if self.bits.is_some() || levels.iter().any(|level| *level < limit) {
            let bits = self.bits();
            levels.iter().for_each(|level| bits.append(*level >= limit));
        }
        self.rows += levels.len();
    }

    /// The nulls of a batch, where it has any; begins anew.
    pub fn finish(&mut self) -> Option<NullBuffer> {
        self.rows = 0;
        Some(NullBuffer::new(self.bits.take()?.finish()))
    }
}

/// A column of a file. No list is around it.
pub struct Column {
    file: Arc<Bytes>,
    metadata: Arc<ParquetMetaData>,
    /// Number of the column in its file.
    leaf: usize,
    /// Number of the row group that is next, and rows of the present one that are in no page yet.
    group: usize,
    left: usize,
    pages: Option<SerializedPageReader<Bytes>>,
    /// Whether the present row group began with a dictionary.
    has_dictionary: bool,
    page: Levels,
    values: Values,
    sink: Box<dyn Sink + Send>,
    validity: Validity,
    /// Of the objects around it whose first column this is.
    pub around: Vec<Validity>,
}

/// Rows of a page that are to be read, and their levels; None where no row can be null.
struct Levels {
    rows: usize,
    hybrid: Option<Hybrid>,
    /// Nulls among them, where the page says it.
    nulls: Option<usize>,
}

impl Levels {
    /// Rows that are not null, of this level.
    fn count(&self, full: u32) -> Result<usize, Odd> {
        let mut left = self.rows;
        let (Some(hybrid), None) = (&self.hybrid, self.nulls) else { return Ok(left - self.nulls.unwrap_or(0)) };
        let (mut hybrid, mut unpacked, mut count) = (hybrid.clone(), [0; STEP], 0);
        while left > 0 {
            if let Some((level, rows)) = hybrid.same(left)? {
                count += if level == full { rows } else { 0 };
                left -= rows;
                continue;
            }
            let unpacked = &mut unpacked[..left.min(STEP)];
            hybrid.read(unpacked)?;
            count += unpacked.iter().filter(|level| **level == full).count();
            left -= unpacked.len();
        }
        Ok(count)
    }

    /// Notes that so many rows were read, and nulls among them.
    fn passed(&mut self, rows: usize, nulls: usize) -> Result<(), Odd> {
        self.rows -= rows;
        if let Some(left) = &mut self.nulls {
            *left = left.checked_sub(nulls).filter(|left| self.rows > 0 || *left == 0).ok_or(Odd)?;
        }
        Ok(())
    }
}

/// What a page is made of.
struct Parts {
    rows: usize,
    /// Nulls among them, where the page says it.
    nulls: Option<usize>,
    encoding: Encoding,
    levels: Option<Bytes>,
    values: Bytes,
}

impl Parts {
    /// The parts of a page of levels and values.
    fn of(page: Page, may_be_null: bool) -> Result<Parts, Odd> {
        Ok(match page {
            Page::DataPage { buf, num_values, encoding, .. } if !may_be_null => {
                Parts { rows: num_values as usize, nulls: None, encoding, levels: None, values: buf }
            }
            Page::DataPage { buf, num_values, encoding, def_level_encoding: Encoding::RLE, .. } => {
                let (levels, values) = after_length(&buf)?;
                Parts { rows: num_values as usize, nulls: None, encoding, levels: Some(levels), values }
            }
            Page::DataPageV2 { buf, num_values, num_nulls, encoding, def_levels_byte_len, rep_levels_byte_len, .. } => {
                let length = def_levels_byte_len as usize;
                if rep_levels_byte_len > 0 || length > buf.len() || (length > 0) != may_be_null || num_nulls > num_values {
                    return Err(Odd);
                }
                let levels = may_be_null.then(|| buf.slice(..length));
                Parts {
                    rows: num_values as usize,
                    nulls: Some(num_nulls as usize),
                    encoding,
                    levels,
                    values: buf.slice(length..),
                }
            }
            Page::DataPage { .. } | Page::DictionaryPage { .. } => return Err(Odd),
        })
    }
}

/// Values of a page.
enum Values {
    Plain { bytes: Bytes, at: usize },
    Coded(Hybrid),
}

impl Values {
    fn are_at_end(&self) -> bool {
        match self {
            Values::Plain { bytes, at } => *at == bytes.len(),
            Values::Coded(hybrid) => hybrid.is_at_end(),
        }
    }

    fn read(&mut self, count: usize, sink: &mut dyn Sink) -> Result<(), Odd> {
        match self {
            _ if count == 0 => {}
            Values::Plain { bytes, at } => *at += sink.plain(&bytes[*at..], count)?,
            Values::Coded(hybrid) => {
                let (mut codes, mut left) = ([0; STEP], count);
                while left > 0 {
                    let codes = &mut codes[..left.min(STEP)];
                    hybrid.read(codes)?;
                    sink.codes(codes)?;
                    left -= codes.len();
                }
            }
        }
        Ok(())
    }
}

impl Column {
    /// Column `leaf` of a file; `level` is how many of it and the objects around it may be null.
    pub fn new(file: Arc<Bytes>, metadata: Arc<ParquetMetaData>, leaf: usize, level: u32, sink: Box<dyn Sink + Send>) -> Column {
        let (page, values) = (Levels { rows: 0, hybrid: None, nulls: None }, Values::Plain { bytes: Bytes::new(), at: 0 });
        let (validity, around) = (Validity::new(level), Vec::new());
        Column {
            file,
            metadata,
            leaf,
            group: 0,
            left: 0,
            pages: None,
            has_dictionary: false,
            page,
            values,
            sink,
            validity,
            around,
        }
    }

    /// The next rows as an array of a type.
    pub fn read(&mut self, rows: usize, kind: &DataType) -> Result<ArrayRef, Odd> {
        self.sink.begin(rows);
        let mut left = rows;
        while left > 0 {
            while self.page.rows == 0 {
                self.next_page()?;
            }
            let most = left.min(self.page.rows);
            let read = match &self.page.hybrid {
                None => {
                    self.values.read(most, self.sink.as_mut())?;
                    self.page.passed(most, 0)?;
                    most
                }
                Some(_) => self.some_levels(most)?,
            };
            left -= read;
            if self.page.rows == 0 {
                self.end_page()?;
            }
        }
        while self.page.rows == 0 && self.left == 0 && self.pages.is_some() {
            self.next_page()?; // nothing may follow the last row of a row group
        }
        self.sink.finish(kind, self.validity.finish())
    }

    /// Reads at most so many rows that may be null; how many.
    fn some_levels(&mut self, most: usize) -> Result<usize, Odd> {
        let (full, sink) = (self.validity.level, self.sink.as_mut());
        let levels = self.page.hybrid.as_mut().ok_or(Odd)?;
        if let Some((level, rows)) = levels.same(most)? {
            self.around.iter_mut().chain([&mut self.validity]).for_each(|validity| validity.same(level, rows));
            if level == full {
                self.values.read(rows, sink)?;
            } else {
                let none = [false; STEP];
                (0..rows).step_by(STEP).for_each(|at| sink.spread(&none[..STEP.min(rows - at)]));
            }
            self.page.passed(rows, if level == full { 0 } else { rows })?;
            return if level > full { Err(Odd) } else { Ok(rows) };
        }
        let (mut unpacked, rows) = ([0; STEP], most.min(STEP));
        let unpacked = &mut unpacked[..rows];
        levels.read(unpacked)?;
        let (mut valid, mut count) = ([false; STEP], 0);
        for (valid, level) in valid.iter_mut().zip(&*unpacked) {
            *valid = *level == full;
            count += usize::from(*valid);
        }
        if unpacked.iter().any(|level| *level > full) {
            return Err(Odd);
        }
        self.around.iter_mut().chain([&mut self.validity]).for_each(|validity| validity.each(unpacked));
        self.values.read(count, sink)?;
        if count < rows {
            sink.spread(&valid[..rows]);
        }
        self.page.passed(rows, rows - count)?;
        Ok(rows)
    }

    /// Checks that a page ends with its last row: what is after it the crate may look at, and refuse.
    fn end_page(&self) -> Result<(), Odd> {
        let ended = self.values.are_at_end() && self.page.hybrid.as_ref().is_none_or(Hybrid::is_at_end);
        if ended { Ok(()) } else { Err(Odd) }
    }

    /// Takes the next page, of the next row group where this one is read.
    fn next_page(&mut self) -> Result<(), Odd> {
        let Some(pages) = &mut self.pages else { return self.next_group() };
        match pages.get_next_page().map_err(|_| Odd)? {
            None if self.left == 0 => self.pages = None,
            None => return Err(Odd),
            Some(Page::DictionaryPage { buf, num_values, encoding, .. }) => {
                if self.has_dictionary || !matches!(encoding, Encoding::PLAIN | Encoding::PLAIN_DICTIONARY) {
                    return Err(Odd);
                }
                self.has_dictionary = true;
                self.sink.dictionary(&buf, num_values as usize)?;
            }
            Some(page) => self.take(page)?,
        }
        Ok(())
    }

    fn next_group(&mut self) -> Result<(), Odd> {
        let groups = self.metadata.row_groups();
        let group = groups.get(self.group).ok_or(Odd)?;
        self.group += 1;
        self.left = group.num_rows() as usize;
        let pages = SerializedPageReader::new(Arc::clone(&self.file), group.column(self.leaf), self.left, None);
        (self.pages, self.has_dictionary) = (Some(pages.map_err(|_| Odd)?), false);
        Ok(())
    }

    /// Takes a page of levels and values.
    fn take(&mut self, page: Page) -> Result<(), Odd> {
        let Parts { rows, nulls, encoding, levels, values } = Parts::of(page, self.validity.level > 0)?;
        self.left = self.left.checked_sub(rows).ok_or(Odd)?;
        let width = (u32::BITS - self.validity.level.leading_zeros()) as usize;
        let hybrid = levels.map(|levels| Hybrid::new(levels, width)).transpose()?;
        self.page = Levels { rows, hybrid, nulls };
        if encoding == Encoding::PLAIN && self.physical() == Physical::FIXED_LEN_BYTE_ARRAY {
            // Of another length they may be what old writers made of them, and the crate mends those.
            let bytes = self.page.count(self.validity.level)?.checked_mul(UUID).ok_or(Odd)?;
            if values.len() != bytes {
                return Err(Odd);
            }
        }
        self.values = self.encoded(encoding, values)?;
        if rows == 0 { self.end_page() } else { Ok(()) }
    }

    fn physical(&self) -> Physical {
        self.metadata.file_metadata().schema_descr().column(self.leaf).physical_type()
    }

    fn encoded(&self, encoding: Encoding, bytes: Bytes) -> Result<Values, Odd> {
        let boolean = self.physical() == Physical::BOOLEAN;
        Ok(match encoding {
            Encoding::PLAIN if boolean => Values::Coded(Hybrid::bits(bytes)),
            Encoding::PLAIN => Values::Plain { bytes, at: 0 },
            Encoding::RLE if boolean => match after_length(&bytes)? {
                (bits, rest) if rest.is_empty() => Values::Coded(Hybrid::new(bits, 1)?),
                _ => return Err(Odd),
            },
            Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY if self.has_dictionary => {
                let width = *bytes.first().ok_or(Odd)?;
                Values::Coded(Hybrid::new(bytes.slice(1..), usize::from(width))?)
            }
            _ => return Err(Odd),
        })
    }
}

/// What follows a length of four bytes, and what follows that.
fn after_length(bytes: &Bytes) -> Result<(Bytes, Bytes), Odd> {
    let length = u32::from_le_bytes(bytes.get(..4).ok_or(Odd)?.try_into().unwrap()) as usize;
    if length > bytes.len() - 4 {
        return Err(Odd);
    }
    Ok((bytes.slice(4..4 + length), bytes.slice(4 + length..)))
}

#[cfg(test)]
mod tests {
    use super::super::sink::{Booleans, Fixed};
    use super::super::texts::Texts;
    use super::*;
    use arrow_array::builder::FixedSizeBinaryBuilder;
    use arrow_array::{Array, BooleanArray, Int64Array, RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};

    /// The only column of a file that was written with such values, before its first page.
    fn column(values: ArrayRef, sink: Box<dyn Sink + Send>) -> Column {
        let rows = values.len();
        let batch = RecordBatch::try_from_iter_with_nullable([("a", values, true)]).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        let file = Bytes::from(writer.into_inner().unwrap());
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).unwrap();
        let mut column = Column::new(Arc::new(file), Arc::clone(metadata.metadata()), 0, 1, sink);
        column.left = rows;
        column.sink.begin(rows);
        column
    }

    /// A page of the first version, its levels before its values.
    fn page(rows: u32, levels: &[u8], values: &[u8], encoding: Encoding) -> Page {
        let buf = [&(levels.len() as u32).to_le_bytes(), levels, values].concat().into();
        let (def_level_encoding, rep_level_encoding) = (Encoding::RLE, Encoding::RLE);
        Page::DataPage { buf, num_values: rows, encoding, def_level_encoding, rep_level_encoding, statistics: None }
    }

    /// Whether all rows of a page are read.
    fn is_read(column: &mut Column, page: Page) -> bool {
        let take = |column: &mut Column| {
            column.take(page)?;
            while column.page.rows > 0 {
                column.some_levels(column.page.rows)?;
            }
            column.end_page()
        };
        take(column).is_ok()
    }

    fn keys() -> Column {
        let mut keys = FixedSizeBinaryBuilder::new(UUID as i32);
        (0..5).for_each(|n| keys.append_value([n; UUID]).unwrap());
        column(Arc::new(keys.finish()), Box::new(Fixed::<i128>::default()))
    }

    const ALL: [u8; 2] = [10, 1];

    #[test]
    fn keys_that_old_writers_wrote_after_their_lengths_are_odd() {
        let plain: Vec<u8> = (0..5).flat_map(|n| [n; UUID]).collect();
        assert!(is_read(&mut keys(), page(5, &ALL, &plain, Encoding::PLAIN)));
        let old: Vec<u8> = (0..4).flat_map(|n| [&16u32.to_le_bytes()[..], &[n; UUID]].concat()).collect();
        assert_eq!(old.len(), plain.len(), "four as they wrote them are as long as five");
        let one_null = [3, 0b01111];
        assert!(!is_read(&mut keys(), page(5, &one_null, &old, Encoding::PLAIN)));
        assert!(is_read(&mut keys(), page(5, &one_null, &plain[UUID..], Encoding::PLAIN)));
        let mut dictionary = Fixed::<i128>::default();
        assert!(dictionary.dictionary(&old.clone().into(), 4).is_err() && dictionary.dictionary(&old.into(), 5).is_ok());
    }

    #[test]
    fn a_page_that_does_not_end_with_its_last_row_is_odd() {
        let numbers = || column(Arc::new(Int64Array::from_iter_values(0..5)), Box::new(Fixed::<i64>::default()));
        let values = [0; 40];
        assert!(is_read(&mut numbers(), page(5, &ALL, &values, Encoding::PLAIN)));
        assert!(!is_read(&mut numbers(), page(5, &ALL, &[0; 48], Encoding::PLAIN)));
        assert!(!is_read(&mut numbers(), page(5, &ALL, &values[..32], Encoding::PLAIN)));
        assert!(!is_read(&mut numbers(), page(5, &[10, 1, 0], &values, Encoding::PLAIN)), "more levels");
        assert!(!is_read(&mut numbers(), page(5, &[8, 1], &values, Encoding::PLAIN)), "fewer levels");
        assert!(!is_read(&mut numbers(), page(6, &[12, 1], &[0; 48], Encoding::PLAIN)), "more rows than the row group has");
        assert!(is_read(&mut numbers(), page(0, &[], &[], Encoding::PLAIN)));
        assert!(!is_read(&mut numbers(), page(0, &[], &[0], Encoding::PLAIN)));
        assert!(!is_read(&mut numbers(), page(5, &ALL, &[1, 10, 0], Encoding::RLE_DICTIONARY)), "no dictionary");
        let texts = || column(Arc::new(StringArray::from(vec!["a"; 5])), Box::new(Texts::new(true)));
        let text = [1, 0, 0, 0, b'a'].repeat(5);
        assert!(is_read(&mut texts(), page(5, &ALL, &text, Encoding::PLAIN)));
        assert!(!is_read(&mut texts(), page(5, &ALL, &[&text[..24], b"\0"].concat()[..24], Encoding::PLAIN)));
        assert!(!is_read(&mut texts(), page(5, &ALL, &[&text[..20], &[0xff; 5]].concat(), Encoding::PLAIN)), "a huge length");
    }

    #[test]
    fn booleans_in_runs_are_zero_or_one() {
        let bits = || column(Arc::new(BooleanArray::from(vec![true; 5])), Box::new(Booleans::default()));
        assert!(is_read(&mut bits(), page(5, &ALL, &[2, 0, 0, 0, 10, 1], Encoding::RLE)));
        assert!(!is_read(&mut bits(), page(5, &ALL, &[2, 0, 0, 0, 10, 2], Encoding::RLE)));
        assert!(!is_read(&mut bits(), page(5, &ALL, &[2, 0, 0, 0, 10, 1, 0], Encoding::RLE)));
        assert!(is_read(&mut bits(), page(5, &ALL, &[0x1f], Encoding::PLAIN)));
    }

    #[test]
    fn a_page_of_more_nulls_than_rows_or_other_ones_than_it_says_is_odd() {
        let numbers = || column(Arc::new(Int64Array::from_iter_values(0..5)), Box::new(Fixed::<i64>::default()));
        let page = |rows: u32, nulls: u32, levels: &[u8], values: usize| Page::DataPageV2 {
            buf: [levels, &vec![0; values * 8]].concat().into(),
            num_values: rows,
            encoding: Encoding::PLAIN,
            num_nulls: nulls,
            num_rows: rows,
            def_levels_byte_len: levels.len() as u32,
            rep_levels_byte_len: 0,
            is_compressed: false,
            statistics: None,
        };
        let two_nulls = [3, 0b11100];
        assert!(is_read(&mut numbers(), page(5, 2, &two_nulls, 3)));
        assert!(!is_read(&mut numbers(), page(5, 1, &two_nulls, 3)));
        assert!(!is_read(&mut numbers(), page(5, 3, &two_nulls, 3)));
        assert!(!is_read(&mut numbers(), page(0, 1, &[4, 1], 0)));
        assert!(!is_read(&mut numbers(), page(5, 2, &[], 3)), "no levels");
    }
}
