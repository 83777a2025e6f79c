//! Rows of a CSV text and their cells, as places in the text.

use std::borrow::Cow;

use super::dialect::Dialect;
use super::scan::{BLOCK, ends};
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

/// How a cell is spelled. As wide as a place: a cell without gaps is copied in whole words, not in pieces that wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Spelling {
    /// As it is.
    Plain,
    /// Between quotes.
    Quoted,
    /// Between quotes, with doubled quotes inside.
    Doubled,
}

impl Cell {
    /// Its first byte, the quote before its text included.
    pub fn first_byte(&self) -> usize {
        self.start - usize::from(self.spelling != Spelling::Plain)
    }

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
    /// The unquoted cells that end in the block from `base` on and were not read yet.
    base: usize,
    ends: u64,
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
        let ends = ends(bytes, at, dialect.delimiter);
        Rows { bytes, delimiter: dialect.delimiter, quote: dialect.quote, at, line: 1, base: at, ends }
    }

    /// Adds the cells of the row that begins at `start` to `cells`, and goes on after it; lines are counted no more.
    ///
    /// Errors: as [`Rows::next`].
    pub fn again(&mut self, start: usize, cells: &mut Vec<Cell>) -> Result<()> {
        self.at = start;
        self.look(start);
        self.row(cells)
    }

    /// Adds the cells of the next row that is not a blank line to `cells`: the 1-based line it begins at, or None at the end.
    ///
    /// Errors: `body.invalid_csv` for a quote that stays open, or text after a closing one (`line`, `column` in the facts).
    #[inline]
    pub fn next(&mut self, cells: &mut Vec<Cell>) -> Result<Option<u32>> {
        let before = cells.len();
        loop {
            if self.at == self.bytes.len() {
                return Ok(None);
            }
            let line = self.line;
            self.row(cells)?;
            let blank = matches!(cells[before..], [Cell { start, end, spelling: Spelling::Plain }] if start == end);
            if !blank {
                return Ok(Some(line));
            }
            cells.truncate(before);
        }
    }

    /// Looks at the block from `base` on.
    #[inline(always)]
    fn look(&mut self, base: usize) {
        (self.base, self.ends) = (base, ends(self.bytes, base, self.delimiter));
    }

    /// The end of the unquoted cell that was begun before.
    #[inline(always)]
    fn plain_end(&mut self) -> usize {
        while self.ends == 0 {
            if self.bytes.len() - self.base <= BLOCK {
                return self.bytes.len();
            }
            self.look(self.base + BLOCK);
        }
        let end = self.base + self.ends.trailing_zeros() as usize;
        self.ends &= self.ends - 1;
        end
    }

    #[inline]
    fn row(&mut self, cells: &mut Vec<Cell>) -> Result<()> {
        let (bytes, before) = (self.bytes, cells.len());
        let mut start = self.at;
        self.at = loop {
            let end = match bytes.get(start) {
                Some(byte) if self.quote == Some(*byte) => self.quoted(start + 1, cells, before)?,
                _ => {
                    let end = self.plain_end();
                    cells.push(Cell { start, end, spelling: Spelling::Plain });
                    end
                }
            };
            match bytes.get(end) {
                Some(byte) if *byte == self.delimiter => start = end + 1,
                Some(b'\r') if bytes.get(end + 1) == Some(&b'\n') => {
                    self.look(end + 2);
                    break end + 2;
                }
                Some(_) => break end + 1,
                None => break end,
            }
        };
        self.line += 1;
        Ok(())
    }

    /// Reads the cell whose text begins after its opening quote at `start`; line breaks inside count. The place after its closing quote.
    /// `before`: cells of earlier rows.
    fn quoted(&mut self, start: usize, cells: &mut Vec<Cell>, before: usize) -> Result<usize> {
        let (bytes, line, column) = (self.bytes, self.line, cells.len() - before + 1);
        let quote = self.quote.unwrap_or_default();
        let (mut at, mut spelling) = (start, Spelling::Quoted);
        loop {
            let Some(found) = memchr::memchr(quote, &bytes[at..]) else {
                return Err(bad_quoting(format!("line {line}, column {column}: the quote is never closed"), line, column));
            };
            at += found;
            if bytes.get(at + 1) != Some(&quote) {
                break;
            }
            (at, spelling) = (at + 2, Spelling::Doubled);
        }
        cells.push(Cell { start, end: at, spelling });
        self.line += breaks(&bytes[start..at]);
        self.look(at + 1);
        if at + 1 < bytes.len() && self.ends & 1 == 0 {
            let line = self.line;
            return Err(bad_quoting(format!("line {line}, column {column}: text after a closing quote"), line, column));
        }
        self.ends &= !1;
        Ok(at + 1)
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
