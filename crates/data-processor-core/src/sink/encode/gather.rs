//! Values of some rows of a leaf, in order.

use std::ops::Range;

use super::super::leaf::Leaf;

/// Runs `each` on the rows that have a value.
#[inline]
pub fn for_present(leaf: &Leaf, rows: &[u32], mut each: impl FnMut(usize)) {
    match &leaf.levels {
        None => rows.iter().for_each(|row| each(*row as usize)),
        Some(levels) => rows.iter().map(|row| *row as usize).filter(|row| levels[*row] == leaf.full).for_each(each),
    }
}

/// Rising rows as a range, when none between them is left out and all have a value.
#[inline]
pub fn run_of(leaf: &Leaf, rows: &[u32]) -> Option<Range<usize>> {
    let (first, last) = (*rows.first()? as usize, *rows.last()? as usize);
    (leaf.levels.is_none() && last - first + 1 == rows.len()).then_some(first..last + 1)
}

/// Appends the values of the rows that have one.
#[inline]
pub fn gather<T: Copy, U>(leaf: &Leaf, rows: &[u32], values: &[T], out: &mut Vec<U>, made: impl Fn(T) -> U) {
    match run_of(leaf, rows) {
        Some(run) => out.extend(values[run].iter().map(|value| made(*value))),
        None if leaf.levels.is_none() => out.extend(rows.iter().map(|row| made(values[*row as usize]))),
        None => for_present(leaf, rows, |row| out.push(made(values[row]))),
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
