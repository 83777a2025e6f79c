//! Values of some rows of a leaf, in order.

use std::ops::Range;

use super::super::leaf::Leaf;

/// Rising rows as ranges without gaps: what is left out of a batch is rare, and neighbours are taken at once.
pub fn runs(rows: &[u32]) -> Runs<'_> {
    Runs(rows)
}

/// Ranges of rows that are still to come.
pub struct Runs<'a>(&'a [u32]);

impl Iterator for Runs<'_> {
    type Item = Range<usize>;

    #[inline]
    fn next(&mut self) -> Option<Range<usize>> {
        const STEP: usize = 16;
        let rows = self.0;
        let first = *rows.first()?;
        let follows = |at: usize| (rows[at] - first) as usize == at;
        let mut length = 1;
        if follows(rows.len() - 1) {
            length = rows.len();
        }
        while length + STEP <= rows.len() && follows(length + STEP - 1) {
            length += STEP;
        }
        while length < rows.len() && follows(length) {
            length += 1;
        }
        self.0 = &rows[length..];
        Some(first as usize..first as usize + length)
    }
}

/// Runs `each` on the rows that have a value.
#[inline]
pub fn for_present(leaf: &Leaf, rows: &[u32], mut each: impl FnMut(usize)) {
    match &leaf.levels {
        None => runs(rows).for_each(|run| run.for_each(&mut each)),
        Some(levels) => rows.iter().map(|row| *row as usize).filter(|row| levels[*row] == leaf.full).for_each(each),
    }
}

/// Appends the values of the rows that have one.
#[inline]
pub fn gather<T: Copy, U>(leaf: &Leaf, rows: &[u32], values: &[T], out: &mut Vec<U>, made: impl Fn(T) -> U) {
    match &leaf.levels {
        None => runs(rows).for_each(|run| out.extend(values[run].iter().map(|value| made(*value)))),
        Some(_) => for_present(leaf, rows, |row| out.push(made(values[row]))),
    }
}

/// No code yet.
pub const UNKNOWN: u32 = u32::MAX;

/// The dictionary codes of the last batch as codes of the chunk.
#[derive(Default)]
pub struct Memo {
    batch: u64,
    /// By code of the batch.
    pub codes: Vec<u32>,
}

impl Memo {
    /// Makes room for the codes of these rows; what was known of another batch is forgotten. A dictionary that is much larger
    /// than its batch is not gone through: the largest code decides.
    pub fn prepare(&mut self, batch: u64, leaf: &Leaf, rows: &[u32], codes: &[i32], values: usize) {
        if self.batch != batch {
            self.batch = batch;
            self.codes.clear();
        }
        let mut room = values;
        if values > rows.len() * 4 {
            room = 0;
            for_present(leaf, rows, |row| room = room.max(codes[row] as usize + 1));
        }
        if self.codes.len() < room {
            self.codes.resize(room.next_power_of_two().min(values), UNKNOWN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_the_rows() {
        for left_out in [vec![], vec![0], vec![99], vec![3, 4, 50], (0..100).step_by(2).collect(), (20..53).collect()] {
            let rows: Vec<u32> = (0..100).filter(|row| !left_out.contains(row)).collect();
            let found: Vec<Range<usize>> = runs(&rows).collect();
            assert!(found.windows(2).all(|pair| pair[0].end < pair[1].start));
            assert_eq!(found.into_iter().flatten().map(|row| row as u32).collect::<Vec<_>>(), rows);
        }
        assert_eq!(runs(&[]).count(), 0);
    }
}
