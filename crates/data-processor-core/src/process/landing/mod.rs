//! NDJSON of any size into a table's files: read, judged, freed of duplicates and written batch by batch.
//!
//! Memory is bounded by the batch, the writer's buffer and the room for keys, which go to a disk beyond it. More threads judge batches ahead of
//! the one that writes, and close files together; rows, letters and files are the same.

mod crew;
mod judging;
mod lines;

use std::io::Read;
use std::sync::Arc;

use arrow_array::RecordBatch;

use crew::Crew;
use judging::Order;
pub use judging::{Judged, Terms};

use crate::contract::Plan;
use crate::error::{Error, ErrorKind, Result};
use crate::process::guarded;
use crate::sink::{DataFile, TableWriter};

/// An input of any kind.
pub type Source = Box<dyn Read + Send>;

/// What became of one batch.
pub struct Landed {
    /// Records of the batch: good, duplicates and letters together.
    pub records: usize,
    /// Rows written.
    pub good: usize,
    /// Good records whose key came before.
    pub duplicates: usize,
    /// Dead letters, in `LETTERS` layout.
    pub letters: RecordBatch,
}

/// Lines of an input as batches.
pub struct Judging {
    crew: Crew<Source>,
    order: Order,
}

impl Judging {
    /// An input of which nothing was read; `threads` judge it.
    pub fn new(plan: Arc<Plan>, source: Source, terms: Terms, threads: usize) -> Judging {
        let piece_bytes = terms.batch_bytes / threads.max(1);
        let crew = Crew::new(Arc::clone(&plan), source, piece_bytes, terms.received_us, threads);
        Judging { crew, order: Order::new(plan, terms) }
    }

    /// The next batch; None at the end.
    pub fn batch(&mut self) -> Result<Option<Judged>> {
        match self.crew.next() {
            Ok(Some(seen)) => guarded(|| self.order.next(seen).map(Some)),
            Ok(None) => Ok(None),
            Err(error) if error.code == "landing.read" => Err(error.int("line", self.order.lines() + 1)),
            Err(error) => Err(error),
        }
    }
}

/// An input on its way into files.
pub struct Landing {
    /// None once it has ended.
    judging: Option<Judging>,
    writer: Option<TableWriter>,
    threads: usize,
    complete: bool,
}

impl Landing {
    /// An input of which nothing was read. `threads`: 1, or more that judge ahead.
    pub fn new(plan: Arc<Plan>, source: Source, terms: Terms, writer: TableWriter, threads: usize) -> Landing {
        let judging = Judging::new(plan, source, terms, threads);
        Landing { judging: Some(judging), writer: Some(writer), threads, complete: false }
    }

    /// Lands the next batch; None at the end. After an error nothing is left of the files.
    pub fn batch(&mut self) -> Result<Option<Landed>> {
        let landed = self.step();
        if !matches!(landed, Ok(Some(_))) {
            self.judging = None;
        }
        match &landed {
            Ok(None) => self.complete = self.writer.is_some(),
            Err(_) => self.writer = None,
            Ok(Some(_)) => {}
        }
        landed
    }

    /// Bytes that keys take: in memory and on the disk. None at the end.
    pub fn key_bytes(&self) -> (usize, u64) {
        let keys = self.judging.as_ref().map(|judging| judging.order.keys());
        keys.map_or((0, 0), |keys| (keys.size_bytes(), keys.spilled_bytes()))
    }

    fn step(&mut self) -> Result<Option<Landed>> {
        let Some(judging) = &mut self.judging else { return Ok(None) };
        let (Some(judged), Some(writer)) = (judging.batch()?, &mut self.writer) else { return Ok(None) };
        let Judged { rows, repeats, records, letters } = judged;
        writer.write_but(&rows, &repeats)?;
        Ok(Some(Landed { records, good: rows.num_rows() - repeats.len(), duplicates: repeats.len(), letters }))
    }

    /// Closes the files once every batch has landed.
    ///
    /// Errors: `landing.unfinished` before the end, after an error, and the second time.
    pub fn finish(&mut self) -> Result<Vec<DataFile>> {
        match self.writer.take_if(|_| self.complete) {
            Some(writer) => writer.finish_on(self.threads),
            None => Err(Error::new(ErrorKind::Process, "landing.unfinished", "not every batch of the input has landed")
                .hint("take batches until there are no more, then finish once")),
        }
    }
}
