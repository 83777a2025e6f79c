//! Nulls of a column in the making.

use arrow_buffer::{BooleanBufferBuilder, NullBuffer};

/// Which rows are null: their numbers, rising. A row that is not null costs nothing.
#[derive(Default)]
pub struct Nulls(Vec<u32>);

impl Nulls {
    /// Makes a row null; rows rise.
    pub fn push(&mut self, row: usize) {
        self.0.push(row as u32);
    }

    /// The rows, rising.
    pub fn rows(&self) -> &[u32] {
        &self.0
    }

    /// Forgets rows from `rows` on.
    pub fn truncate(&mut self, rows: usize) {
        while self.0.last().is_some_and(|row| *row as usize >= rows) {
            self.0.pop();
        }
    }

    /// Whether the last null is this row.
    #[inline(always)]
    pub fn is_last(&self, row: usize) -> bool {
        self.0.last() == Some(&(row as u32))
    }

    /// One bit for each of so many rows, unless none is null. Forgets the rows.
    pub fn finish(&mut self, rows: usize) -> Option<NullBuffer> {
        if self.0.is_empty() {
            return None;
        }
        let mut valid = BooleanBufferBuilder::new(rows);
        valid.append_n(rows, true);
        self.0.drain(..).for_each(|row| valid.set_bit(row as usize, false));
        Some(NullBuffer::new(valid.finish()))
    }
}

/// A column of objects: how many there are, and which are null.
#[derive(Default)]
pub struct Objects {
    rows: usize,
    nulls: Nulls,
}

impl Objects {
    /// Adds an object.
    #[inline(always)]
    pub fn append_non_null(&mut self) {
        self.rows += 1;
    }

    /// Adds a null.
    pub fn append_null(&mut self) {
        self.nulls.push(self.rows);
        self.rows += 1;
    }

    /// Forgets objects from `rows` on.
    pub fn truncate(&mut self, rows: usize) {
        self.rows = self.rows.min(rows);
        self.nulls.truncate(rows);
    }

    /// How many objects, and their nulls. Forgets them.
    pub fn finish(&mut self) -> (usize, Option<NullBuffer>) {
        let rows = std::mem::take(&mut self.rows);
        (rows, self.nulls.finish(rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_are_the_rows_that_were_pushed_and_not_cut_off() {
        let mut nulls = Nulls::default();
        assert_eq!(nulls.finish(3), None);
        for row in [1, 4, 5, 9] {
            nulls.push(row);
        }
        assert!(nulls.is_last(9) && !nulls.is_last(5));
        nulls.truncate(5);
        let made = nulls.finish(7).unwrap();
        assert_eq!((0..7).filter(|row| made.is_null(*row)).collect::<Vec<_>>(), [1, 4]);
        assert_eq!(nulls.finish(7), None);
    }

    #[test]
    fn objects_are_counted_null_or_not() {
        let mut objects = Objects::default();
        objects.append_non_null();
        objects.append_null();
        objects.append_null();
        objects.truncate(2);
        let (rows, nulls) = objects.finish();
        assert_eq!((rows, nulls.map(|nulls| nulls.null_count())), (2, Some(1)));
        assert_eq!(objects.finish(), (0, None));
    }
}
