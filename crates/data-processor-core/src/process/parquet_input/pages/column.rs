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
    /// Notes that so many rows were read, and nulls among them.
    fn passed(&mut self, rows: usize, nulls: usize) -> Result<(), Odd> {
        self.rows -= rows;
        if let Some(left) = &mut self.nulls {
            *left = left.checked_sub(nulls).filter(|left| self.rows > 0 || *left == 0).ok_or(Odd)?;
        }
        Ok(())
    }
}

/// Values of a page.
enum Values {
    Plain { bytes: Bytes, at: usize },
    Coded(Hybrid),
}

impl Values {
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
        let may_be_null = self.validity.level > 0;
        let (rows, nulls, encoding, levels, values) = match page {
            Page::DataPage { buf, num_values, encoding, def_level_encoding, .. } => {
                if !may_be_null {
                    (num_values, None, encoding, None, buf)
                } else if def_level_encoding == Encoding::RLE {
                    let (levels, values) = after_length(&buf)?;
                    (num_values, None, encoding, Some(levels), values)
                } else {
                    return Err(Odd);
                }
            }
            Page::DataPageV2 { buf, num_values, num_nulls, encoding, def_levels_byte_len, rep_levels_byte_len, .. } => {
                let length = def_levels_byte_len as usize;
                if rep_levels_byte_len > 0 || length > buf.len() || (length > 0) != may_be_null {
                    return Err(Odd);
                }
                (num_values, Some(num_nulls as usize), encoding, may_be_null.then(|| buf.slice(..length)), buf.slice(length..))
            }
            Page::DictionaryPage { .. } => return Err(Odd),
        };
        let rows = rows as usize;
        self.left = self.left.checked_sub(rows).ok_or(Odd)?;
        let width = (u32::BITS - self.validity.level.leading_zeros()) as usize;
        let hybrid = levels.map(|levels| Hybrid::new(levels, width)).transpose()?;
        self.page = Levels { rows, hybrid, nulls };
        self.values = self.encoded(encoding, values)?;
        Ok(())
    }

    fn encoded(&self, encoding: Encoding, bytes: Bytes) -> Result<Values, Odd> {
        let boolean = self.metadata.file_metadata().schema_descr().column(self.leaf).physical_type() == Physical::BOOLEAN;
        Ok(match encoding {
            Encoding::PLAIN if boolean => Values::Coded(Hybrid::bits(bytes)),
            Encoding::PLAIN => Values::Plain { bytes, at: 0 },
            Encoding::RLE if boolean => Values::Coded(Hybrid::new(after_length(&bytes)?.0, 1)?),
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
