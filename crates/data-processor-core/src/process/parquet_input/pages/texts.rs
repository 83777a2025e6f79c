//! Columns of texts: codes into the file's own dictionary where texts repeat, else end to end.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, DictionaryArray, PrimitiveArray, StringArray};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::DataType;
use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::Odd;
use super::sink::{ROOM, Sink, spread, within};

/// Bytes that are copied at once: most texts are no longer, and a copy of a length that is known is no call.
const STRIDE: usize = 16;
/// Bytes that room is made for at once.
const BLOCK: usize = 16 << 10;
/// Most bytes that are kept free for the texts of a batch that will follow.
const AHEAD: usize = 64 << 20;

/// Texts end to end.
struct Laid {
    bytes: Vec<u8>,
    /// Where each text ends, a zero before them.
    ends: Vec<i32>,
}

impl Default for Laid {
    fn default() -> Self {
        Laid { bytes: Vec::new(), ends: vec![0] }
    }
}

/// Copies `from[start..start + length]` to `to[at..]`.
#[inline(always)]
fn copy(from: &[u8], start: usize, length: usize, to: &mut [u8], at: usize) {
    if length <= STRIDE
        && let (Some(from), Some(to)) = (from.get(start..start + STRIDE), to.get_mut(at..at + STRIDE))
    {
        return to.copy_from_slice(from); // what is too much is written over, or cut off
    }
    to[at..at + length].copy_from_slice(&from[start..start + length]);
}

impl Laid {
    /// Adds texts, each after its length in four bytes; bytes that they took.
    fn plain(&mut self, page: &[u8], count: usize) -> Result<usize, Odd> {
        let (first, number, mut at) = (self.bytes.len(), self.ends.len(), 0);
        if count > page.len() / 4 {
            return Err(Odd);
        }
        self.ends.reserve(count);
        let mut end = first;
        for _ in 0..count {
            let length = u32::from_le_bytes(page.get(at..at + 4).ok_or(Odd)?.try_into().unwrap()) as usize;
            at += 4;
            if length > page.len() - at {
                return Err(Odd);
            }
            if end + length + STRIDE > self.bytes.len() {
                self.bytes.resize(end + length + BLOCK, 0);
            }
            copy(page, at, length, &mut self.bytes, end);
            (at, end) = (at + length, end + length);
            self.ends.push(end as i32);
        }
        self.bytes.truncate(end);
        self.check(first, number)?;
        Ok(at)
    }

    /// Whether the bytes from the `first` one on are texts that end at the ends from `number` on.
    fn check(&self, first: usize, number: usize) -> Result<(), Odd> {
        if self.bytes.len() > i32::MAX as usize {
            return Err(Odd);
        }
        let added = &self.bytes[first..];
        if added.is_ascii() {
            return Ok(());
        }
        let added = simdutf8::basic::from_utf8(added).map_err(|_| Odd)?;
        let whole = self.ends[number..].iter().all(|end| added.is_char_boundary(*end as usize - first));
        if whole { Ok(()) } else { Err(Odd) }
    }

    /// Adds texts of a dictionary.
    fn gather(&mut self, codes: &[u32], dictionary: &StringArray) -> Result<(), Odd> {
        let (bytes, ends) = (dictionary.value_data(), dictionary.value_offsets());
        within(codes, &ends[1..])?;
        let (first, number) = (self.bytes.len(), self.ends.len());
        let mut end = first;
        for code in codes {
            end += (ends[*code as usize + 1] - ends[*code as usize]) as usize;
            self.ends.push(end as i32);
        }
        if end > i32::MAX as usize {
            return Err(Odd);
        }
        self.bytes.resize(end, 0);
        for (code, pair) in codes.iter().zip(self.ends[number - 1..].windows(2)) {
            let length = (pair[1] - pair[0]) as usize;
            copy(bytes, ends[*code as usize] as usize, length, &mut self.bytes, pair[0] as usize);
        }
        Ok(())
    }

    /// Makes room for the texts of so many rows, by those that are there.
    fn expect(&mut self, rows: usize) {
        let texts = self.ends.len() - 1;
        let room = self.bytes.len() / texts.max(1) * 17 / 16 * rows.saturating_sub(texts);
        self.bytes.reserve_exact(room.min(AHEAD));
    }

    fn spread(&mut self, valid: &[bool]) {
        let mut dense = valid.iter().filter(|valid| **valid).count();
        let start = self.ends.len() - dense;
        self.ends.resize(start + valid.len(), 0);
        for (row, valid) in valid.iter().enumerate().rev() {
            // A null ends where the text before it does.
            self.ends[start + row] = self.ends[start + dense - 1];
            dense -= usize::from(*valid);
        }
    }

    fn array(self, nulls: Option<NullBuffer>) -> StringArray {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.ends));
        // SAFETY: `check` looked at all bytes of a page and at each end, and `gather` adds such texts whole. The offsets rise
        // (`OffsetBuffer::new` checks it), and the last one is the length of `bytes`.
        unsafe { StringArray::new_unchecked(offsets, Buffer::from_vec(self.bytes), nulls) }
    }
}

/// A column of texts.
pub struct Texts {
    /// Whether it may be codes.
    may_be_coded: bool,
    /// Rows of the batch.
    rows: usize,
    /// Of the pages that are being read.
    dictionary: Arc<StringArray>,
    column: Column,
}

enum Column {
    /// Nothing but so many nulls.
    Nulls(usize),
    Plain(Laid),
    /// Codes into a dictionary of the file.
    Coded(Vec<i32>, Arc<StringArray>),
    /// Codes into several dictionaries made one.
    Merged(Vec<i32>, Box<Merged>),
}

/// Codes of a column so far, and the place of each code of the present dictionary where it is another.
type Codes<'a> = (&'a mut Vec<i32>, Option<&'a [i32]>);

impl Texts {
    /// An empty column; codes instead of texts only where `may_be_coded`.
    pub fn new(may_be_coded: bool) -> Texts {
        let dictionary = Arc::new(Laid::default().array(None));
        Texts { may_be_coded, rows: 0, dictionary, column: Column::Nulls(0) }
    }

    /// Whether texts of the dictionary repeat so often in a batch that codes are less than they.
    fn repeats(&self) -> bool {
        self.may_be_coded && self.dictionary.len() <= self.rows / 2
    }

    /// The column as plain texts.
    fn as_plain(&mut self) -> Result<&mut Laid, Odd> {
        if !matches!(self.column, Column::Plain(_)) {
            let mut laid = Laid::default();
            laid.ends.reserve_exact(self.rows.min(ROOM));
            // A null is code 0 here: there is such a text, since there was a code.
            let coded = |codes: Vec<i32>| codes.into_iter().map(|code| code as u32).collect::<Vec<_>>();
            match std::mem::replace(&mut self.column, Column::Nulls(0)) {
                Column::Coded(codes, dictionary) => laid.gather(&coded(codes), &dictionary)?,
                Column::Merged(codes, merged) => laid.gather(&coded(codes), &merged.texts.array(None))?,
                Column::Nulls(nulls) => laid.ends.resize(nulls + 1, 0),
                Column::Plain(_) => {}
            }
            self.column = Column::Plain(laid);
        }
        match &mut self.column {
            Column::Plain(laid) => Ok(laid),
            _ => Err(Odd),
        }
    }

    /// The column as codes into this dictionary and those before it; None where it is to be plain.
    fn as_coded(&mut self) -> Result<Option<Codes<'_>>, Odd> {
        if !self.repeats() {
            return Ok(None);
        }
        let now = &self.dictionary;
        self.column = match std::mem::replace(&mut self.column, Column::Nulls(0)) {
            Column::Nulls(nulls) => {
                let mut codes = Vec::with_capacity(self.rows.min(ROOM));
                codes.resize(nulls, 0);
                Column::Coded(codes, Arc::clone(now))
            }
            Column::Coded(codes, before) if !Arc::ptr_eq(&before, now) => Column::Merged(codes, Box::new(Merged::new(before)?)),
            other => other,
        };
        match &mut self.column {
            Column::Coded(codes, _) => Ok(Some((codes, None))),
            Column::Merged(codes, merged) => Ok(Some((codes, Some(merged.places(now)?)))),
            _ => Ok(None),
        }
    }
}

impl Sink for Texts {
    fn begin(&mut self, rows: usize) {
        (self.rows, self.column) = (rows, Column::Nulls(0));
    }

    fn dictionary(&mut self, page: &Bytes, count: usize) -> Result<(), Odd> {
        let mut laid = Laid::default();
        laid.plain(page, count)?;
        self.dictionary = Arc::new(laid.array(None));
        Ok(())
    }

    fn plain(&mut self, page: &[u8], count: usize) -> Result<usize, Odd> {
        let (first, rows) = (!matches!(self.column, Column::Plain(_)), self.rows);
        let laid = self.as_plain()?;
        let read = laid.plain(page, count)?;
        if first {
            laid.expect(rows);
        }
        Ok(read)
    }

    fn codes(&mut self, codes: &[u32]) -> Result<(), Odd> {
        within(codes, &self.dictionary.value_offsets()[1..])?;
        match self.as_coded()? {
            Some((made, None)) => made.extend(codes.iter().map(|code| *code as i32)),
            Some((made, Some(places))) => made.extend(codes.iter().map(|code| places[*code as usize])),
            None => {
                let (first, rows) = (!matches!(self.column, Column::Plain(_)), self.rows);
                let dictionary = Arc::clone(&self.dictionary);
                let laid = self.as_plain()?;
                laid.gather(codes, &dictionary)?;
                if first {
                    laid.expect(rows);
                }
            }
        }
        Ok(())
    }

    fn spread(&mut self, valid: &[bool]) {
        match &mut self.column {
            Column::Coded(codes, _) | Column::Merged(codes, _) => spread(codes, valid),
            Column::Plain(laid) => laid.spread(valid),
            Column::Nulls(nulls) => *nulls += valid.len(),
        }
    }

    fn finish(&mut self, _kind: &DataType, nulls: Option<NullBuffer>) -> Result<ArrayRef, Odd> {
        let (codes, texts) = match std::mem::replace(&mut self.column, Column::Nulls(0)) {
            Column::Nulls(rows) => {
                let laid = Laid { bytes: Vec::new(), ends: vec![0; rows + 1] };
                return Ok(Arc::new(laid.array(nulls)));
            }
            Column::Plain(laid) => return Ok(Arc::new(laid.array(nulls))),
            Column::Coded(codes, dictionary) => (codes, dictionary),
            Column::Merged(codes, merged) => (codes, Arc::new(merged.texts.array(None))),
        };
        let codes = PrimitiveArray::<Int32Type>::new(codes.into(), nulls);
        Ok(Arc::new(DictionaryArray::try_new(codes, texts).map_err(|_| Odd)?))
    }
}

/// Dictionaries of several row groups made one.
struct Merged {
    texts: Laid,
    table: HashTable<u32>,
    hasher: RandomState,
    /// The dictionary that was added last, and the place of each of its texts.
    last: (Arc<StringArray>, Vec<i32>),
}

impl Merged {
    /// Begins with a dictionary, whose codes stay.
    fn new(first: Arc<StringArray>) -> Result<Merged, Odd> {
        let laid = Laid { bytes: first.value_data().to_vec(), ends: first.value_offsets().to_vec() };
        let mut merged =
            Merged { texts: laid, table: HashTable::new(), hasher: RandomState::default(), last: (first, Vec::new()) };
        let first = Arc::clone(&merged.last.0);
        merged.last.1 = (0..first.len()).map(|code| merged.place(&first, code, Some(code))).collect();
        Ok(merged)
    }

    /// The place of a text; a new one is `at` a place already, or is added.
    fn place(&mut self, dictionary: &StringArray, code: usize, at: Option<usize>) -> i32 {
        let text = dictionary.value(code).as_bytes();
        let Merged { texts, table, hasher, .. } = self;
        let lying = |texts: &Laid, at: u32| texts.ends[at as usize] as usize..texts.ends[at as usize + 1] as usize;
        let hash = hasher.hash_one(text);
        if let Some(found) = table.find(hash, |at| &texts.bytes[lying(texts, *at)] == text) {
            return *found as i32;
        }
        let place = at.unwrap_or_else(|| {
            texts.bytes.extend_from_slice(text);
            texts.ends.push(texts.bytes.len() as i32);
            texts.ends.len() - 2
        });
        table.insert_unique(hash, place as u32, |at| hasher.hash_one(&texts.bytes[lying(texts, *at)]));
        place as i32
    }

    /// The place of each text of a dictionary.
    fn places(&mut self, dictionary: &Arc<StringArray>) -> Result<&[i32], Odd> {
        if !Arc::ptr_eq(&self.last.0, dictionary) {
            if self.texts.bytes.len() + dictionary.value_data().len() > i32::MAX as usize {
                return Err(Odd);
            }
            let places = (0..dictionary.len()).map(|code| self.place(dictionary, code, None)).collect();
            self.last = (Arc::clone(dictionary), places);
        }
        Ok(&self.last.1)
    }
}
