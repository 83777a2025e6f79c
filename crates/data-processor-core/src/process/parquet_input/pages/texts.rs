//! Columns of texts: codes into the file's own dictionary where texts repeat, else end to end.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, DictionaryArray, PrimitiveArray, StringArray};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::Odd;
use super::laid::Laid;
use super::sink::{ROOM, Sink, spread, within};

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
        let dictionary = Arc::new(StringArray::new_null(0));
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
                Column::Merged(codes, merged) => laid.gather(&coded(codes), &merged.texts.array(None)?)?,
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
        self.dictionary = Arc::new(laid.array(None)?);
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
                return Ok(Arc::new(laid.array(nulls)?));
            }
            Column::Plain(laid) => return Ok(Arc::new(laid.array(nulls)?)),
            Column::Coded(codes, dictionary) => (codes, dictionary),
            Column::Merged(codes, merged) => (codes, Arc::new(merged.texts.array(None)?)),
        };
        let codes = PrimitiveArray::<Int32Type>::try_new(codes.into(), nulls).map_err(|_| Odd)?;
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
