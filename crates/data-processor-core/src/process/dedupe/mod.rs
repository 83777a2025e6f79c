//! Deduplication by key: inside a batch exactly by value, against earlier ones by 128 bits per key.

mod cache;
mod cells;
mod codes;
mod earlier;
mod equal;
mod filter;
mod keys;
mod runs;
mod scratch;
mod shards;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_buffer::BooleanBufferBuilder;

pub use cache::KeyCache;
pub use cells::Cells;
pub use codes::codes;
pub use earlier::{EarlierKeys, KeyRoom};
pub use equal::equal_rows;
pub use keys::random;
pub(super) use keys::{Keys, secret};

use crate::error::{Error, ErrorKind, Result};

/// A batch and which of its rows are left out. Nothing is copied: a writer reads the rows that stay where they are.
#[derive(Clone, Debug)]
pub struct Distinct {
    rows: RecordBatch,
    /// Rows left out, rising.
    repeats: Vec<u32>,
}

impl Distinct {
    /// All rows of a batch.
    pub fn all(rows: RecordBatch) -> Distinct {
        Distinct { rows, repeats: Vec::new() }
    }

    /// The rows that stay.
    pub fn len(&self) -> usize {
        self.rows.num_rows() - self.repeats.len()
    }

    /// Whether no row stays.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batch, with the rows that are left out.
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// Rows left out, rising.
    pub fn repeats(&self) -> &[u32] {
        &self.repeats
    }

    /// The rows that stay as a batch of their own, order kept.
    pub fn copied(&self) -> Result<RecordBatch> {
        if self.repeats.is_empty() {
            return Ok(self.rows.clone());
        }
        let mut kept = BooleanBufferBuilder::new(self.rows.num_rows());
        kept.append_n(self.rows.num_rows(), true);
        self.repeats.iter().for_each(|row| kept.set_bit(*row as usize, false));
        let kept = BooleanArray::from(kept.finish());
        arrow_select::filter::filter_record_batch(&self.rows, &kept)
            .map_err(|e| Error::new(ErrorKind::Plan, "key.rows", e.to_string()))
    }
}

/// Rows whose key was not seen before in the batch; the first stays, order kept.
///
/// Parts of a key that are null compare equal, as in [`equal_rows`]. Without key columns nothing is a duplicate.
pub fn deduplicate(rows: &RecordBatch, key: &[String]) -> Result<Distinct> {
    let mut repeats = Vec::new();
    Keys::of(rows, key, secret())?.visit(|row, first| {
        if first.is_some() {
            repeats.push(row as u32);
        }
    });
    Ok(Distinct { rows: rows.clone(), repeats })
}
