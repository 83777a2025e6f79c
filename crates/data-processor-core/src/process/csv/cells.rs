//! Rows of a CSV text and their cells, as places in the text.

use std::borrow::Cow;

use super::dialect::Dialect;
use super::scan::cell_end;
use crate::error::{Error, ErrorKind, Result};

/// A cell: the place of its text, without the quotes around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// First byte of its text.
    pub start: usize,
    /// End of its text.
    pub end: usize,
    /// How it is spelled.
    pub spelling: Spelling,
}

/// How a cell is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// As it is.
    Plain,
    /// Between quotes.
    Quoted,
    /// Between quotes, with doubled quotes inside.
    Doubled,
}

impl Cell {
    /// The cell's text.
    pub fn text<'a>(&self, bytes: &'a [u8], quote: Option<u8>) -> Cow<'a, [u8]> {
        let text = &bytes[self.start..self.end];
        if self.spelling != Spelling::Doubled {
            return Cow::Borrowed(text);
        }
        let mut single = Vec::with_capacity(text.len());
        let mut at = 0;
        while at < text.len() {
            single.push(text[at]);
            at += if Some(text[at]) == quote { 2 } else { 1 };
        }
        Cow::Owned(single)
    }
}

/// Walks over the rows of a text.
pub struct Rows<'a> {
    bytes: &'a [u8],
    delimiter: u8,
    quote: Option<u8>,
    at: usize,
    line: u32,
}

fn bad_quoting(message: String, line: u32, column: usize) -> Error {
    Error::new(ErrorKind::Body, "body.invalid_csv", message)
        .hint("close each quote, double the quotes inside a cell, and put the delimiter right after the closing one")
        .int("line", line)
        .int("column", column)
}

impl<'a> Rows<'a> {
    /// Rows of a text; a byte order mark before it is left out.
    pub fn new(bytes: &'a [u8], dialect: &Dialect) -> Rows<'a> {
        let at = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        Rows { bytes, delimiter: dialect.delimiter, quote: dialect.quote, at, line: 1 }
    }

    /// Reads the next row that is not a blank line into `cells`: the 1-based line it begins at, or None at the end.
    ///
    /// Errors: `body.invalid_csv` for a quote that stays open, or text after a closing one (`line`, `column` in the facts).
    #[inline]
    pub fn next(&mut self, cells: &mut Vec<Cell>) -> Result<Option<u32>> {
        loop {
            cells.clear();
            if self.at == self.bytes.len() {
                return Ok(None);
            }
            let line = self.line;
            self.row(cells)?;
            let blank = matches!(cells[..], [Cell { start, end, spelling: Spelling::Plain }] if start == end);
            if !blank {
                return Ok(Some(line));
            }
        }
    }

    #[inline]
    fn row(&mut self, cells: &mut Vec<Cell>) -> Result<()> {
        let bytes = self.bytes;
        let mut at = self.at;
        loop {
            let quoted = self.quote.is_some() && bytes.get(at).copied() == self.quote;
            let cell = match quoted {
                true => self.quoted(at + 1, cells.len() + 1)?,
                false => Cell { start: at, end: cell_end(bytes, at, self.delimiter), spelling: Spelling::Plain },
            };
            cells.push(cell);
            at = cell.end + usize::from(quoted);
            match bytes.get(at) {
                Some(byte) if *byte == self.delimiter => at += 1,
                Some(b'\r') if bytes.get(at + 1) == Some(&b'\n') => break at += 2,
                Some(b'\r' | b'\n') => break at += 1,
                None => break,
                Some(_) => {
                    return Err(bad_quoting(
                        format!("line {}, column {}: text after a closing quote", self.line, cells.len()),
                        self.line,
                        cells.len(),
                    ));
                }
            }
        }
        self.at = at;
        self.line += 1;
        Ok(())
    }

    /// The cell whose text begins after its opening quote at `start`; line breaks inside count.
    fn quoted(&mut self, start: usize, column: usize) -> Result<Cell> {
        let bytes = self.bytes;
        let quote = self.quote.unwrap_or_default();
        let (mut at, mut spelling) = (start, Spelling::Quoted);
        loop {
            let Some(found) = memchr::memchr(quote, &bytes[at..]) else {
                let line = self.line;
                return Err(bad_quoting(format!("line {line}, column {column}: the quote is never closed"), line, column));
            };
            at += found;
            if bytes.get(at + 1) != Some(&quote) {
                break;
            }
            (at, spelling) = (at + 2, Spelling::Doubled);
        }
        self.line += breaks(&bytes[start..at]);
        Ok(Cell { start, end: at, spelling })
    }
}

/// Line breaks in a text: LF, CR, or both together.
fn breaks(text: &[u8]) -> u32 {
    let breaks = text.iter().enumerate().filter(|(at, byte)| match byte {
        b'\n' => true,
        b'\r' => text.get(at + 1) != Some(&b'\n'),
        _ => false,
    });
    breaks.count() as u32
}
