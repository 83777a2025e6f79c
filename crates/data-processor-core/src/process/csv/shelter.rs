//! The text of a CSV body as the direct road reads it: UTF-8, and readable for [`PAD`] bytes after each row. Nothing but the end of
//! the body is copied, and a piece is looked at shortly before its rows are read: then it lies in the processor's own cache.

use super::cells::Cell;
use crate::process::text::PAD;

/// Bytes that are proved to be UTF-8 together.
const PIECE: usize = 32 << 10;

/// A body, and what is known of it.
pub struct Shelter<'a> {
    body: &'a [u8],
    /// The piece that was looked at last, and whether it is UTF-8.
    since: usize,
    known: usize,
    is_utf8: bool,
    /// A row near the end of the body, padded, and where its cells stand in it.
    last: (Vec<u8>, Vec<Cell>),
}

impl<'a> Shelter<'a> {
    /// Knows nothing yet.
    pub fn new(body: &'a [u8]) -> Shelter<'a> {
        Shelter { body, since: 0, known: 0, is_utf8: true, last: Default::default() }
    }

    /// Whether a row is UTF-8 and can be read where it stands.
    #[inline(always)]
    pub fn holds(&mut self, cells: &[Cell]) -> bool {
        let (start, end) = (cells[0].start, cells[cells.len() - 1].end);
        self.is_utf8(start, end) && end + PAD <= self.body.len()
    }

    /// The text that a row's cells lie in, and where they stand in it. None when it may not be UTF-8.
    pub fn row<'c>(&'c mut self, cells: &'c [Cell]) -> Option<(&'c [u8], &'c [Cell])> {
        let (start, end) = (cells.first()?.start, cells.last()?.end);
        if !self.is_utf8(start, end) {
            return None;
        }
        if end + PAD <= self.body.len() {
            return Some((self.body, cells));
        }
        Some(self.copied(start, end, cells))
    }

    /// Whether a row is UTF-8: rows come in order.
    #[inline(always)]
    fn is_utf8(&mut self, start: usize, end: usize) -> bool {
        if end > self.known || start < self.since {
            self.look(start, end);
        }
        self.is_utf8
    }

    /// Looks at the piece that begins with a row, and ends between two characters or with the row.
    #[cold]
    fn look(&mut self, start: usize, end: usize) {
        let mut until = (start + PIECE).min(self.body.len());
        for _ in 0..3 {
            let is_inside = self.body.get(until).is_some_and(|byte| byte & 0xc0 == 0x80);
            until -= usize::from(is_inside && until > end);
        }
        (self.since, self.known) = (start, until.max(end));
        self.is_utf8 = simdutf8::basic::from_utf8(&self.body[start..self.known]).is_ok();
    }

    #[cold]
    fn copied(&mut self, start: usize, end: usize, cells: &[Cell]) -> (&[u8], &[Cell]) {
        let (text, moved) = &mut self.last;
        text.clear();
        text.extend_from_slice(&self.body[start..end]);
        text.resize(end - start + PAD, 0);
        moved.clear();
        moved.extend(cells.iter().map(|cell| Cell { start: cell.start - start, end: cell.end - start, ..*cell }));
        (text, moved)
    }
}
