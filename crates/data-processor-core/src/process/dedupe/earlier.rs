//! Keys of all earlier rows in bounded memory: those of late in a set, the others in sorted runs on a disk.

use std::path::PathBuf;

use super::runs::{Asked, BLOCK_BYTES, Run, Writing, merged};
use super::scratch::Scratch;
use super::shards::{KeySet, Taken, key_of, order, words};
use crate::error::{Error, Result};

/// Runs of one level that become one of the next.
const FAN: usize = 4;
/// Most bytes of a buffer for reading or writing a run.
const BUFFER_BYTES: usize = 256 << 10;
/// Rows whose keys are looked up on the disk together.
const TOGETHER: (usize, usize) = (1 << 10, 1 << 16);

/// The room that keys may take.
#[derive(Clone, Debug)]
pub struct KeyRoom {
    /// Most bytes in memory, apart from 1.3 bytes for each key on the disk; less than 256 KiB counts as that.
    pub bytes: usize,
    /// A folder on the disk that takes the others, 16 bytes each, twice while runs are merged; None: the system's own (`TMPDIR`).
    pub scratch: Option<PathBuf>,
}

impl Default for KeyRoom {
    fn default() -> Self {
        KeyRoom { bytes: 256 << 20, scratch: None }
    }
}

impl KeyRoom {
    /// Whether the folder can be written, before it is needed.
    ///
    /// Errors: `key.scratch_failed`, `key.scratch_full`.
    pub fn check(&self) -> Result<()> {
        Scratch::at(self.scratch.clone()).file().map(|_| ())
    }
}

/// Keys of all rows so far.
pub struct EarlierKeys {
    set: KeySet,
    /// Levels fall, fewer than [`FAN`] runs of each; no key is in two of them, or in one and in the set.
    runs: Vec<Run>,
    scratch: Scratch,
    /// Most bytes for what is done with runs, one thing at a time.
    aside_bytes: usize,
    asked: Vec<Asked>,
    /// What went wrong: keys may be lost since.
    failed: Option<Error>,
}

impl EarlierKeys {
    /// None so far.
    pub fn new(room: KeyRoom) -> EarlierKeys {
        let aside_bytes = room.bytes / 16;
        EarlierKeys {
            set: KeySet::bounded(room.bytes - aside_bytes),
            runs: Vec::new(),
            scratch: Scratch::at(room.scratch),
            aside_bytes,
            asked: Vec::new(),
            failed: None,
        }
    }

    /// Bytes held in memory, free ones included.
    pub fn size_bytes(&self) -> usize {
        let runs: usize = self.runs.iter().map(Run::size_bytes).sum();
        self.set.size_bytes() + runs + self.asked.capacity() * size_of::<Asked>()
    }

    /// Bytes on the disk.
    pub fn spilled_bytes(&self) -> u64 {
        self.runs.iter().map(Run::file_bytes).sum()
    }

    /// Rows whose key came before, here or in an earlier call, rising; all keys are taken over. `key` gives the key of each of `rows`.
    ///
    /// Errors: `key.scratch_failed`, `key.scratch_full`, `key.scratch_changed`; after one every call ends with it.
    pub fn repeats(&mut self, rows: usize, key: impl Fn(usize) -> u128) -> Result<Vec<u32>> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut repeats = Vec::new();
        let taken = self.take_over(rows, &key, &mut repeats);
        if !self.runs.is_empty() {
            repeats.sort_unstable();
        }
        self.failed = taken.err();
        self.failed.clone().map_or(Ok(repeats), Err)
    }

    fn take_over(&mut self, rows: usize, key: &impl Fn(usize) -> u128, repeats: &mut Vec<u32>) -> Result<()> {
        let mut from = 0;
        while from < rows {
            from = if self.runs.is_empty() {
                self.in_memory(from, rows, key, repeats)?
            } else {
                self.beyond(from, rows, key, repeats)?
            };
        }
        Ok(())
    }

    /// Takes keys over until the set is full; the first row that is left.
    fn in_memory(&mut self, from: usize, rows: usize, key: &impl Fn(usize) -> u128, repeats: &mut Vec<u32>) -> Result<usize> {
        for row in from..rows {
            let key = key(row);
            match self.set.take(self.set.hash(key), key) {
                Taken::New => {}
                Taken::Known => repeats.push(row as u32),
                Taken::Full => {
                    self.spill()?;
                    return Ok(row);
                }
            }
        }
        Ok(rows)
    }

    /// Takes over keys that may be in a run, as many as are looked up together; the first row that is left.
    fn beyond(&mut self, from: usize, rows: usize, key: &impl Fn(usize) -> u128, repeats: &mut Vec<u32>) -> Result<usize> {
        let together = (self.aside_bytes / size_of::<Asked>()).clamp(TOGETHER.0, TOGETHER.1);
        let (mut row, until, mut full) = (from, rows.min(from + together), false);
        while row < until && !full {
            let key = key(row);
            let hash = self.set.hash(key);
            let order = order(hash);
            if self.runs.iter().any(|run| run.may_hold(order)) && !self.set.contains(hash, key) {
                self.asked.push(Asked { order, words: words(key), row: row as u32, found: false });
            } else {
                match self.set.take(hash, key) {
                    Taken::New => {}
                    Taken::Known => repeats.push(row as u32),
                    Taken::Full => {
                        full = true;
                        continue;
                    }
                }
            }
            row += 1;
        }
        self.answer(repeats)?;
        if full {
            self.spill()?;
        }
        Ok(row)
    }

    /// Looks up what is asked for. No row asked for has a key that another row took over since: equal keys ask alike.
    fn answer(&mut self, repeats: &mut Vec<u32>) -> Result<()> {
        let mut asked = std::mem::take(&mut self.asked);
        asked.sort_unstable();
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        for run in &self.runs {
            run.look_up(&mut asked, &mut block)?;
        }
        let mut before = None;
        for one in &asked {
            if one.found || before.replace(one.words) == Some(one.words) {
                repeats.push(one.row);
                continue;
            }
            let key = key_of(one.words);
            let hash = self.set.hash(key);
            if self.set.take(hash, key) == Taken::Full {
                self.spill()?;
                self.set.take(hash, key);
            }
        }
        Ok(())
    }

    /// Moves the set to a run, and makes fewer runs of many.
    fn spill(&mut self) -> Result<()> {
        let mut writing = Writing::new(&self.scratch, self.set.len(), 0, self.buffer_bytes())?;
        self.set.drain(|keys| keys.iter().try_for_each(|(order, words)| writing.push(*order, *words)))?;
        self.runs.push(writing.finish()?);
        while let Some(last) = self.runs.last()
            && self.runs.iter().rev().take_while(|run| run.level == last.level).count() == FAN
        {
            let runs = self.runs.split_off(self.runs.len() - FAN);
            let set = &self.set;
            let run = merged(&self.scratch, runs, |words| order(set.hash(key_of(words))), self.buffer_bytes())?;
            self.runs.push(run);
        }
        Ok(())
    }

    /// Bytes of each buffer while runs are merged.
    fn buffer_bytes(&self) -> usize {
        (self.aside_bytes / (FAN + 1)).clamp(BLOCK_BYTES, BUFFER_BYTES) / BLOCK_BYTES * BLOCK_BYTES
    }
}
