//! One leaf's column chunk in the making.

mod close;

use parquet::basic::{Encoding, Type as Physical};
use parquet::column::page::Page;
use parquet::schema::types::ColumnDescPtr;

use super::super::bounds::Extent;
use super::super::leaf::{Leaf, Source};
use super::super::schema::{Column, Kind};
use super::dictionary::Dictionary;
use super::gather::{Memo, UNKNOWN, for_present, gather, runs};
use super::pack;
use super::parts::{Parts, spelled};
use super::press::Press;
use crate::error::{Error, ErrorKind, Result};

/// Rows of a page.
const PAGE_ROWS: usize = 20_480;
/// Values after which a dictionary in which hardly anything repeats is given up.
const TRIAL: usize = 2_048;
/// Bytes of values at which a page is closed early, and a dictionary takes no more.
const PAGE_BYTES: usize = 1 << 20;
/// Rows whose codes are taken at once.
const GLANCE: usize = 1024;

/// How values are laid out in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Booleans, one bit each.
    Bits,
    /// Codes into the chunk's dictionary.
    Coded,
    /// Values one after the other.
    Plain,
    /// Lengths as differences, then the bytes of all values: less to compress than a length before each.
    Lengths,
    /// Differences, for whole numbers.
    Delta,
    /// Byte streams, for floats.
    Split,
}

/// Encodes the values of one leaf of one row group.
pub struct ChunkWriter {
    /// Number among the leaves of the schema.
    leaf: usize,
    descriptor: ColumnDescPtr,
    physical: Physical,
    width: usize,
    kind: Kind,
    way: Way,
    dictionary: Dictionary,
    memo: Memo,
    // the page being filled
    rows: usize,
    levels: Vec<u8>,
    codes: Vec<u32>,
    longs: Vec<i64>,
    raw: Vec<u8>,
    // the chunk so far
    parts: Parts,
    pages: u32,
    total_rows: u64,
    nulls: u64,
    uncompressed: usize,
    encodings: Vec<Encoding>,
    extent: Extent,
}

impl ChunkWriter {
    /// A writer for one column chunk; `leaf` and `descriptor` are the column's in the file's schema.
    pub fn new(column: &Column, leaf: usize, descriptor: ColumnDescPtr) -> ChunkWriter {
        let physical = descriptor.physical_type();
        let width = match physical {
            Physical::INT32 | Physical::FLOAT => 4,
            Physical::INT64 | Physical::DOUBLE => 8,
            Physical::FIXED_LEN_BYTE_ARRAY => descriptor.type_length().max(0) as usize,
            _ => 0,
        };
        let way = match column.kind {
            Kind::Boolean => Way::Bits,
            Kind::Date | Kind::Timestamp | Kind::TimestampTz => Way::Delta,
            Kind::Uuid => Way::Plain,
            _ => Way::Coded,
        };
        ChunkWriter {
            leaf,
            dictionary: Dictionary::new((physical == Physical::FIXED_LEN_BYTE_ARRAY).then_some(width)),
            descriptor,
            physical,
            width,
            kind: column.kind.clone(),
            way,
            memo: Memo::default(),
            rows: 0,
            levels: Vec::new(),
            codes: Vec::new(),
            longs: Vec::new(),
            raw: Vec::new(),
            parts: Parts::default(),
            pages: 0,
            total_rows: 0,
            nulls: 0,
            uncompressed: 0,
            encodings: vec![Encoding::RLE],
            extent: Extent::default(),
        }
    }

    /// Bytes in the file: pages that are done and an estimate of the one that is not.
    pub fn size(&self) -> usize {
        self.parts.bytes() + self.codes.len() + self.longs.len() * 3 + self.raw.len() + self.dictionary.size()
    }

    /// Bytes of memory.
    pub fn held(&self) -> usize {
        let page = self.codes.capacity() * 4 + self.longs.capacity() * 8 + self.raw.capacity() + self.levels.capacity();
        self.parts.bytes() + page + self.memo.codes.capacity() * 4 + self.dictionary.held()
    }

    /// Gives room back that only further rows would need.
    pub fn rest(&mut self) {
        self.codes.shrink_to_fit();
        self.longs.shrink_to_fit();
        self.raw.shrink_to_fit();
        self.levels.shrink_to_fit();
        self.memo = Memo::default();
    }

    /// Appends the rows of one batch; `batch` tells batches apart.
    pub fn append(&mut self, leaf: &Leaf, mut rows: &[u32], batch: u64, press: &mut Press) -> Result<()> {
        if self.way == Way::Coded && self.rows == 0 && self.pages == 0 && !press.tries_dictionary(self.leaf) {
            self.way = self.without_dictionary();
        }
        while !rows.is_empty() {
            let trial = self.way == Way::Coded && self.pages == 0 && self.codes.len() < TRIAL;
            let most = (PAGE_ROWS - self.rows).min(if trial { TRIAL } else { PAGE_ROWS });
            let piece = &rows[..rows.len().min(most)];
            self.make_room(leaf, piece.len());
            let taken = &piece[..self.take(leaf, piece, batch)];
            self.take_levels(leaf, taken);
            if self.way == Way::Coded {
                self.extent.count_nans(leaf, taken);
            } else {
                self.extent.see(leaf, taken);
            }
            self.rows += taken.len();
            rows = &rows[taken.len()..];
            if trial && self.codes.len() >= TRIAL && self.dictionary.len() * 10 > self.codes.len() * 9 {
                press.dictionary_failed(self.leaf);
                self.spell_out();
            }
            let full = self.way == Way::Coded && self.dictionary.size() >= PAGE_BYTES;
            if self.rows >= PAGE_ROWS || self.raw.len() >= PAGE_BYTES || full {
                self.flush_page(press)?;
            }
            if full && self.way == Way::Coded {
                self.way = self.without_dictionary();
            }
        }
        Ok(())
    }

    /// Makes room for so many rows at once: a page that grew bit by bit would take fresh memory for each doubling.
    fn make_room(&mut self, leaf: &Leaf, rows: usize) {
        match self.way {
            Way::Bits | Way::Coded => self.codes.reserve(rows),
            Way::Delta | Way::Split => self.longs.reserve(rows),
            Way::Plain => self.raw.reserve(rows * self.width),
            Way::Lengths => {
                self.longs.reserve(rows);
                if let Source::Bytes(ends, _) = &leaf.source {
                    let bytes = (ends[ends.len() - 1] - ends[0]) as usize;
                    self.raw.reserve(((bytes / leaf.source.len().max(1) + 1) * rows).min(PAGE_BYTES));
                }
            }
        }
    }

    /// Levels are kept from the first null of a page on: before it they are all the same.
    fn take_levels(&mut self, leaf: &Leaf, rows: &[u32]) {
        match &leaf.levels {
            _ if leaf.full == 0 => {}
            None if self.levels.is_empty() => {}
            None => self.levels.resize(self.levels.len() + rows.len(), leaf.full),
            Some(levels) => {
                if self.levels.is_empty() {
                    self.levels.resize(self.rows, leaf.full);
                }
                self.levels.extend(rows.iter().map(|row| levels[*row as usize]));
            }
        }
    }

    /// Takes values of rows into the page; how many rows were taken: fewer than given when the page or the dictionary is full.
    fn take(&mut self, leaf: &Leaf, rows: &[u32], batch: u64) -> usize {
        match (self.way, &leaf.source) {
            (Way::Bits, Source::Bool(values)) => for_present(leaf, rows, |row| self.codes.push(u32::from(values.value(row)))),
            (Way::Coded, Source::I32(values)) => {
                for_present(leaf, rows, |row| self.codes.push(self.dictionary.number(u64::from(values[row].cast_unsigned()))));
            }
            (Way::Coded, Source::I64(values)) => {
                for_present(leaf, rows, |row| self.codes.push(self.dictionary.number(values[row].cast_unsigned())));
            }
            (Way::Coded, Source::F32(values)) => {
                for_present(leaf, rows, |row| self.codes.push(self.dictionary.number(u64::from(values[row].to_bits()))));
            }
            (Way::Coded, Source::F64(values)) => {
                for_present(leaf, rows, |row| self.codes.push(self.dictionary.number(values[row].to_bits())));
            }
            (Way::Coded, Source::Decimal(values)) if self.physical != Physical::FIXED_LEN_BYTE_ARRAY => {
                for_present(leaf, rows, |row| self.codes.push(self.dictionary.number(self.decimal_bits(values[row]))));
            }
            (Way::Coded, Source::Decimal(values)) => {
                let width = self.width;
                for_present(leaf, rows, |row| self.codes.push(self.dictionary.bytes(&values[row].to_be_bytes()[16 - width..])));
            }
            (Way::Coded, Source::Coded(codes, values)) => return self.take_codes(leaf, rows, codes, values, batch),
            (Way::Coded, source) => return self.take_coded(leaf, rows, source),
            (Way::Delta, Source::I32(values)) => gather(leaf, rows, values, &mut self.longs, i64::from),
            (Way::Delta, Source::I64(values)) => gather(leaf, rows, values, &mut self.longs, |value| value),
            (Way::Delta, Source::Decimal(values)) => gather(leaf, rows, values, &mut self.longs, |value| value as i64),
            (Way::Split, Source::F32(values)) => {
                gather(leaf, rows, values, &mut self.longs, |value: f32| i64::from(value.to_bits()))
            }
            (Way::Split, Source::F64(values)) => {
                gather(leaf, rows, values, &mut self.longs, |value: f64| value.to_bits().cast_signed())
            }
            (_, Source::Decimal(values)) => {
                let width = self.width;
                for_present(leaf, rows, |row| self.raw.extend_from_slice(&values[row].to_be_bytes()[16 - width..]));
            }
            (_, Source::Fixed(values, 16)) => {
                let (values, _) = values.as_chunks::<16>();
                match &leaf.levels {
                    None => runs(rows).for_each(|run| self.raw.extend_from_slice(values[run].as_flattened())),
                    Some(_) => for_present(leaf, rows, |row| self.raw.extend_from_slice(&values[row])),
                }
            }
            (_, source) => return self.take_bytes(leaf, rows, source),
        }
        rows.len()
    }

    /// Decimals of up to 18 digits are kept as 32- or 64-bit numbers.
    fn decimal_bits(&self, unscaled: i128) -> u64 {
        if self.width == 4 { u64::from((unscaled as i32).cast_unsigned()) } else { (unscaled as i64).cast_unsigned() }
    }

    fn take_codes(&mut self, leaf: &Leaf, rows: &[u32], codes: &[i32], values: &Source, batch: u64) -> usize {
        self.memo.prepare(batch, leaf, rows, codes, values.len());
        let mut taken = 0;
        for piece in rows.chunks(GLANCE) {
            let start = self.codes.len();
            // What is not yet known is looked up afterwards: the loop over what is known has no branch.
            let known = &self.memo.codes;
            match &leaf.levels {
                None => runs(piece).for_each(|run| self.codes.extend(codes[run].iter().map(|code| known[*code as usize]))),
                Some(_) => for_present(leaf, piece, |row| self.codes.push(known[codes[row] as usize])),
            }
            if self.codes[start..].contains(&UNKNOWN)
                && let Some(until) = self.take_new(leaf, piece, codes, values, start)
            {
                return taken + until;
            }
            taken += piece.len();
        }
        rows.len()
    }

    /// Gives the values of rows whose codes begin at `start` a code where they have none. How many rows were taken, when the
    /// dictionary is full before all were.
    fn take_new(&mut self, leaf: &Leaf, rows: &[u32], codes: &[i32], values: &Source, start: usize) -> Option<usize> {
        let present = rows.iter().map(|row| *row as usize).enumerate().filter(|(_, row)| leaf.present(*row));
        for (at, (taken, row)) in (start..).zip(present) {
            if self.codes[at] == UNKNOWN {
                let from = codes[row] as usize;
                if self.memo.codes[from] == UNKNOWN {
                    self.memo.codes[from] = self.dictionary.bytes(values.bytes(from));
                }
                self.codes[at] = self.memo.codes[from];
                if self.dictionary.size() >= PAGE_BYTES {
                    self.codes.truncate(at + 1);
                    return Some(taken + 1);
                }
            }
        }
        None
    }

    fn take_coded(&mut self, leaf: &Leaf, rows: &[u32], source: &Source) -> usize {
        for (taken, row) in rows.iter().map(|row| *row as usize).enumerate().filter(|(_, row)| leaf.present(*row)) {
            self.codes.push(self.dictionary.bytes(source.bytes(row)));
            if self.dictionary.size() >= PAGE_BYTES {
                return taken + 1;
            }
        }
        rows.len()
    }

    fn take_bytes(&mut self, leaf: &Leaf, rows: &[u32], source: &Source) -> usize {
        let mut before = 0;
        if let (Source::Bytes(ends, bytes), None) = (source, &leaf.levels) {
            for run in runs(rows) {
                let text = &bytes[ends[run.start] as usize..ends[run.end] as usize];
                if self.raw.len() + text.len() >= PAGE_BYTES {
                    break;
                }
                before += run.len();
                self.raw.extend_from_slice(text);
                if self.way == Way::Lengths {
                    self.longs.extend(ends[run.start..=run.end].windows(2).map(|pair| i64::from(pair[1] - pair[0])));
                }
            }
        }
        let left = rows[before..].iter().map(|row| *row as usize).enumerate();
        for (taken, row) in left.filter(|(_, row)| leaf.present(*row)) {
            let value = source.bytes(row);
            self.raw.extend_from_slice(value);
            if self.way == Way::Lengths {
                self.longs.push(value.len() as i64);
            }
            if self.raw.len() >= PAGE_BYTES {
                return before + taken + 1;
            }
        }
        rows.len()
    }

    /// What follows when a dictionary does not pay.
    fn without_dictionary(&self) -> Way {
        match self.physical {
            Physical::INT32 | Physical::INT64 => Way::Delta,
            Physical::FLOAT | Physical::DOUBLE => Way::Split,
            Physical::BYTE_ARRAY => Way::Lengths,
            _ => Way::Plain,
        }
    }

    /// Gives the dictionary up before any page names it: the codes become values again.
    fn spell_out(&mut self) {
        self.way = self.without_dictionary();
        let codes = std::mem::take(&mut self.codes);
        let edges = self.dictionary.edges(&self.kind, self.physical);
        self.extent.join(edges);
        let numbers = self.dictionary.numbers();
        match self.way {
            Way::Delta if self.width == 4 => {
                self.longs.extend(codes.iter().map(|code| i64::from(numbers[*code as usize] as i32)))
            }
            Way::Delta | Way::Split => self.longs.extend(codes.iter().map(|code| numbers[*code as usize].cast_signed())),
            Way::Lengths => {
                for value in codes.iter().map(|code| self.dictionary.value(*code as usize)) {
                    self.raw.extend_from_slice(value);
                    self.longs.push(value.len() as i64);
                }
            }
            _ => codes.iter().for_each(|code| self.dictionary.spell(*code as usize, &mut self.raw)),
        }
        self.dictionary = Dictionary::new((self.physical == Physical::FIXED_LEN_BYTE_ARRAY).then_some(self.width));
    }

    fn flush_page(&mut self, press: &mut Press) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        if self.way == Way::Coded && self.pages == 0 && self.dictionary.len() * 2 > self.codes.len() {
            self.spell_out();
        }
        let (mut body, mut pressed) = std::mem::take(&mut press.room);
        body.clear();
        self.put_levels(&mut body);
        let encoding = self.put_values(&mut body);
        if !self.encodings.contains(&encoding) {
            self.encodings.push(encoding);
        }
        // Ids never shrink.
        match self.kind {
            Kind::Uuid => press.store(&body, &mut pressed)?,
            _ => press.page(self.leaf, &body, &mut pressed)?,
        }
        let page = |buf| Page::DataPage {
            buf,
            num_values: self.rows as u32,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let (page, uncompressed, pressed) = spelled(page, body.len(), pressed).map_err(failed)?;
        press.room = (body, pressed);
        self.parts.push(page);
        self.uncompressed += uncompressed;
        self.pages += 1;
        self.total_rows += self.rows as u64;
        self.rows = 0;
        Ok(())
    }

    fn put_levels(&mut self, body: &mut Vec<u8>) {
        let full = self.descriptor.max_def_level() as u8;
        if full > 0 {
            body.extend_from_slice(&[0; 4]);
            let width = pack::width_of(u32::from(full));
            match self.levels.is_empty() {
                true => pack::repeated(body, u32::from(full), self.rows, width),
                false => pack::hybrid(body, &self.levels, width),
            }
            let length = (body.len() - 4) as u32;
            body[..4].copy_from_slice(&length.to_le_bytes());
            self.nulls += self.levels.iter().filter(|level| **level != full).count() as u64;
            self.levels.clear();
        }
    }

    fn put_values(&mut self, body: &mut Vec<u8>) -> Encoding {
        let encoding = match self.way {
            Way::Coded if self.codes.is_empty() => Encoding::PLAIN,
            Way::Coded => {
                let width = pack::width_of(self.dictionary.len() as u32 - 1);
                body.push(width as u8);
                pack::hybrid(body, &self.codes, width);
                Encoding::RLE_DICTIONARY
            }
            Way::Bits => {
                let eight = |bits: &[u32]| bits.iter().enumerate().fold(0, |byte, (at, bit)| byte | (*bit as u8) << at);
                body.extend(self.codes.chunks(8).map(eight));
                Encoding::PLAIN
            }
            Way::Delta => {
                pack::delta(body, &self.longs, self.width == 4);
                Encoding::DELTA_BINARY_PACKED
            }
            Way::Split => {
                pack::split(body, &self.longs, self.width);
                Encoding::BYTE_STREAM_SPLIT
            }
            // What they begin with alike (DELTA_BYTE_ARRAY) is not left out: files were 3.5 % smaller, reading such a column took
            // 1.3 to 1.4 times as long, and Spark 4.1 to 4.3 reads other texts out of such pages that are not compressed.
            Way::Lengths => {
                pack::delta(body, &self.longs, true);
                body.extend_from_slice(&self.raw);
                Encoding::DELTA_LENGTH_BYTE_ARRAY
            }
            Way::Plain => {
                let whole = body.is_empty();
                if whole {
                    std::mem::swap(body, &mut self.raw)
                } else {
                    body.extend_from_slice(&self.raw)
                }
                Encoding::PLAIN
            }
        };
        self.codes.clear();
        self.longs.clear();
        self.raw.clear();
        encoding
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Parquet, "parquet.encoding", format!("a column chunk could not be encoded: {error}"))
}
