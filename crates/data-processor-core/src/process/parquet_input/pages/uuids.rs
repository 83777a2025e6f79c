//! UUIDs that a file has as texts, read where they lie in its pages.

use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeBinaryArray};
use arrow_buffer::{Buffer, NullBuffer};
use arrow_schema::DataType;
use bytes::Bytes;

use super::Odd;
use super::sink::{ROOM, Sink, spread, within};
use super::texts::Texts;
use crate::process::{spell, wide};

/// Characters of a UUID, its length before them, and bytes that are loaded to read it.
const SPELLED: usize = 36;
const WIDTH: usize = SPELLED + 4;
const LOADED: usize = 40;

/// A column of UUIDs; one of texts as soon as some text of the batch is none.
pub struct Uuids {
    rows: usize,
    /// 16 bytes each.
    values: Vec<i128>,
    dictionary: Vec<i128>,
    /// The page of the dictionary and its texts, which were not read yet.
    page: (Bytes, usize),
    /// Whether every text of the dictionary is a UUID.
    all: bool,
    texts: Option<Texts>,
}

/// The UUID at the head of a page, after its length.
#[inline(always)]
fn uuid(page: &[u8]) -> Option<i128> {
    let given = page.get(..WIDTH)?;
    if given[..4] != (SPELLED as u32).to_le_bytes() {
        return None;
    }
    let value = if page.len() >= 4 + LOADED {
        wide::uuid(page, 4)
    } else {
        let mut shelter = [0; LOADED];
        shelter[..SPELLED].copy_from_slice(&given[4..]); // the last one of its page
        wide::uuid(&shelter, 0)
    };
    value.map(|value| value.to_be() as i128)
}

impl Uuids {
    /// An empty column.
    pub fn new() -> Uuids {
        Uuids { rows: 0, values: Vec::new(), dictionary: Vec::new(), page: (Bytes::new(), 0), all: true, texts: None }
    }

    /// The column as texts.
    fn as_texts(&mut self) -> Result<&mut Texts, Odd> {
        if self.texts.is_none() {
            let mut texts = Texts::new(false);
            texts.begin(self.rows);
            if self.page.1 > 0 {
                texts.dictionary(&self.page.0, self.page.1)?;
            }
            let (mut spelled, mut quoted) = (Vec::with_capacity(self.values.len() * WIDTH), Vec::with_capacity(SPELLED + 2));
            for value in &self.values {
                spelled.extend_from_slice(&(SPELLED as u32).to_le_bytes());
                quoted.clear();
                spell::uuid(value.to_ne_bytes(), &mut quoted);
                spelled.extend_from_slice(&quoted[1..=SPELLED]);
            }
            texts.plain(&spelled, self.values.len())?;
            self.values.clear();
            self.texts = Some(texts);
        }
        self.texts.as_mut().ok_or(Odd)
    }
}

impl Sink for Uuids {
    fn begin(&mut self, rows: usize) {
        (self.rows, self.texts) = (rows, None);
        self.values.clear();
        self.values.reserve_exact(rows.min(ROOM));
    }

    fn dictionary(&mut self, page: &Bytes, count: usize) -> Result<(), Odd> {
        self.page = (page.clone(), count);
        self.dictionary.clear();
        self.dictionary.extend(page.chunks(WIDTH).enumerate().take(count).map_while(|(at, _)| uuid(&page[at * WIDTH..])));
        self.all = self.dictionary.len() == count;
        match &mut self.texts {
            Some(texts) => texts.dictionary(page, count),
            None if self.all => Ok(()),
            None => Texts::new(false).dictionary(page, count), // they are texts, whether or not a row has one
        }
    }

    fn plain(&mut self, page: &[u8], count: usize) -> Result<usize, Odd> {
        let mut read = 0;
        if self.texts.is_none() {
            let values = (0..count).map_while(|at| uuid(page.get(at * WIDTH..)?));
            let before = self.values.len();
            self.values.extend(values);
            read = self.values.len() - before;
        }
        if read < count {
            return Ok(read * WIDTH + self.as_texts()?.plain(&page[read * WIDTH..], count - read)?);
        }
        Ok(read * WIDTH)
    }

    fn codes(&mut self, codes: &[u32]) -> Result<(), Odd> {
        if self.texts.is_some() || !self.all {
            return self.as_texts()?.codes(codes);
        }
        let dictionary = within(codes, &self.dictionary)?;
        self.values.extend(codes.iter().map(|code| dictionary[*code as usize]));
        Ok(())
    }

    fn spread(&mut self, valid: &[bool]) {
        match &mut self.texts {
            Some(texts) => texts.spread(valid),
            None => spread(&mut self.values, valid),
        }
    }

    fn finish(&mut self, kind: &DataType, nulls: Option<NullBuffer>) -> Result<ArrayRef, Odd> {
        if let Some(mut texts) = self.texts.take() {
            return texts.finish(kind, nulls);
        }
        let values = Buffer::from_vec(std::mem::take(&mut self.values));
        Ok(Arc::new(FixedSizeBinaryArray::try_new(16, values, nulls).map_err(|_| Odd)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::Array;
    use arrow_array::cast::AsArray;

    const FIRST: &str = "01934b6e-7c0a-7def-8123-456789abcdef";

    /// Texts, each after its length.
    fn page(texts: &[&[u8]]) -> Bytes {
        texts.iter().flat_map(|text| [&(text.len() as u32).to_le_bytes(), *text].concat()).collect::<Vec<u8>>().into()
    }

    #[test]
    fn a_column_with_a_text_that_is_no_uuid_is_one_of_texts() {
        let mut column = Uuids::new();
        column.begin(4);
        assert!(column.dictionary(&page(&[FIRST.as_bytes()]), 1).is_ok() && column.codes(&[0]).is_ok());
        column.spread(&[false, true]);
        assert_eq!(column.plain(&page(&[FIRST.as_bytes(), b"x"]), 2).ok(), Some(WIDTH + 5));
        let nulls = NullBuffer::from(vec![false, true, true, true]);
        let read = column.finish(&DataType::Utf8, Some(nulls)).unwrap();
        assert_eq!(read.as_string::<i32>().iter().collect::<Vec<_>>(), [None, Some(FIRST), Some(FIRST), Some("x")]);
        column.begin(1);
        assert!(column.codes(&[0]).is_ok());
        assert_eq!(column.finish(&DataType::Utf8, None).unwrap().data_type(), &DataType::FixedSizeBinary(16));
    }

    #[test]
    fn a_dictionary_of_what_is_no_text_or_too_short_is_odd() {
        let mut column = Uuids::new();
        column.begin(1);
        assert!(column.dictionary(&page(&[b"\xff"]), 1).is_err());
        assert!(column.dictionary(&page(&[FIRST.as_bytes()]), 2).is_err());
        assert!(column.dictionary(&page(&[b"x"]), 1).is_ok() && column.codes(&[1]).is_err());
    }
}
