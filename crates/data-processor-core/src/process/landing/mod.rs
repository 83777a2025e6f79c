//! NDJSON of any size into a table's files: read, judged, freed of duplicates and written batch by batch.
//!
//! Memory is bounded by the batch and the writer's buffer, apart from 28 bytes or so per key. With two threads one reads and
//! judges while the other writes; rows, letters and files are the same.

mod judging;
mod lines;

use std::io::Read;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use arrow_array::RecordBatch;

pub use judging::{Judged, Judging, Terms};

use crate::contract::Plan;
use crate::error::{Error, ErrorKind, Result};
use crate::sink::{DataFile, TableWriter};

/// An input of any kind.
pub type Source = Box<dyn Read + Send>;

/// Judged batches that wait for the writer.
const AHEAD: usize = 1;

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

enum Road {
    Here(Box<Judging<Source>>),
    There { judged: Receiver<Result<Judged>>, worker: Option<JoinHandle<()>> },
    Ended,
}

/// An input on its way into files.
pub struct Landing {
    road: Road,
    writer: Option<TableWriter>,
    complete: bool,
}

impl Landing {
    /// An input of which nothing was read. `threads`: 1, or more for one that judges ahead.
    pub fn new(plan: Arc<Plan>, source: Source, terms: Terms, writer: TableWriter, threads: usize) -> Landing {
        let judging = Judging::new(plan, source, terms);
        let road = if threads > 1 { there(judging) } else { Road::Here(Box::new(judging)) };
        Landing { road, writer: Some(writer), complete: false }
    }

    /// Lands the next batch; None at the end. After an error nothing is left of the files.
    pub fn batch(&mut self) -> Result<Option<Landed>> {
        let landed = self.step();
        if !matches!(landed, Ok(Some(_))) {
            self.road = Road::Ended;
        }
        match &landed {
            Ok(None) => self.complete = self.writer.is_some(),
            Err(_) => self.writer = None,
            Ok(Some(_)) => {}
        }
        landed
    }

    fn step(&mut self) -> Result<Option<Landed>> {
        let judged = match &mut self.road {
            Road::Here(judging) => judging.batch()?,
            Road::There { judged, worker } => match judged.recv() {
                Ok(judged) => Some(judged?),
                Err(_) => {
                    worker
                        .take()
                        .map_or(Ok(()), JoinHandle::join)
                        .map_err(|_| Error::new(ErrorKind::Process, "process.panicked", "the thread that judges stopped"))?;
                    None
                }
            },
            Road::Ended => None,
        };
        let (Some(judged), Some(writer)) = (judged, &mut self.writer) else { return Ok(None) };
        writer.write_but(&judged.rows, &judged.repeats)?;
        let good = judged.rows.num_rows() - judged.repeats.len();
        Ok(Some(Landed { records: judged.records, good, duplicates: judged.duplicates, letters: judged.letters }))
    }

    /// Closes the files once every batch has landed.
    ///
    /// Errors: `landing.unfinished` before the end, after an error, and the second time.
    pub fn finish(&mut self) -> Result<Vec<DataFile>> {
        match self.writer.take_if(|_| self.complete) {
            Some(writer) => writer.finish(),
            None => Err(Error::new(ErrorKind::Process, "landing.unfinished", "not every batch of the input has landed")
                .hint("take batches until there are no more, then finish once")),
        }
    }
}

fn there(mut judging: Judging<Source>) -> Road {
    let (send, judged) = sync_channel(AHEAD);
    let worker = std::thread::spawn(move || {
        while let Some(batch) = judging.batch().transpose() {
            // Nobody listens any more: the landing was dropped.
            if send.send(batch).is_err() {
                return;
            }
        }
    });
    Road::There { judged, worker: Some(worker) }
}
