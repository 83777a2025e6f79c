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
            let mut spelled = Vec::with_capacity(self.values.len() * WIDTH);
            for value in &self.values {
                spelled.extend_from_slice(&(SPELLED as u32).to_le_bytes());
                let mut quoted = Vec::with_capacity(SPELLED + 2);
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
            None => Ok(()),
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
