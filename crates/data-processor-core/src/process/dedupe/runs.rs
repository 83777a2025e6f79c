//! Sorted runs of keys in scratch files.
//!
//! Of a run memory holds a filter, and of each block of 256 keys the first one's order and a checksum: a key that is not there
//! seldom touches the disk, and one that may be there reads one block.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use super::filter::Filter;
use super::scratch::Scratch;
use super::shards::Words;
use crate::error::Result;

/// Bytes of a key.
const KEY_BYTES: usize = size_of::<Words>();
/// Bytes of a block: what a disk reads at once.
pub const BLOCK_BYTES: usize = 4096;
/// Keys of a block.
const BLOCK_KEYS: usize = BLOCK_BYTES / KEY_BYTES;

/// A key that is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// Where it comes in a run.
    pub order: u64,
    /// The key.
    pub words: Words,
    /// Its row.
    pub row: u32,
    /// It is in a run.
    pub found: bool,
}

/// Keys in rising order, in a file.
pub struct Run {
    scratch: Scratch,
    file: File,
    keys: usize,
    filter: Filter,
    /// The order of each block's first key.
    fences: Vec<u64>,
    checksums: Vec<u32>,
    /// How often its keys were merged.
    pub level: u32,
}

impl Run {
    /// Bytes held in memory.
    pub fn size_bytes(&self) -> usize {
        self.filter.size_bytes() + self.fences.capacity() * 8 + self.checksums.capacity() * 4
    }

    /// Bytes on the disk.
    pub fn file_bytes(&self) -> u64 {
        (self.keys * KEY_BYTES) as u64
    }

    /// False: no key of this order is here.
    #[inline]
    pub fn may_hold(&self, order: u64) -> bool {
        self.filter.may_hold(order)
    }

    /// Marks those asked for that are here. They are sorted: the file is read from front to back, no block twice.
    pub fn look_up(&self, asked: &mut [Asked], block: &mut Vec<u8>) -> Result<()> {
        let mut held = None;
        let mut before: Option<(Words, bool)> = None;
        for one in asked {
            if let Some((words, found)) = before
                && words == one.words
            {
                one.found |= found;
                continue;
            }
            if !one.found && self.may_hold(one.order) {
                one.found = self.holds(one, &mut held, block)?;
            }
            before = Some((one.words, one.found));
        }
        Ok(())
    }

    /// Whether a key is here; `block` has the one that is `held`.
    fn holds(&self, asked: &Asked, held: &mut Option<usize>, block: &mut Vec<u8>) -> Result<bool> {
        // Keys of one order may begin in the block before the one they fence.
        let mut at = self.fences.partition_point(|fence| *fence < asked.order).saturating_sub(1);
        while self.fences.get(at).is_some_and(|fence| *fence <= asked.order) {
            if *held != Some(at) {
                *held = None;
                self.read(at, 1, block)?;
                *held = Some(at);
            }
            if keys_of(block).any(|words| words == asked.words) {
                return Ok(true);
            }
            at += 1;
        }
        Ok(false)
    }

    /// Reads blocks and looks whether they are those that were written.
    fn read(&self, first: usize, blocks: usize, into: &mut Vec<u8>) -> Result<()> {
        let from = first * BLOCK_BYTES;
        into.resize((blocks * BLOCK_BYTES).min(self.keys * KEY_BYTES - from), 0);
        self.file.read_exact_at(into, from as u64).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.scratch.changed(),
            _ => self.scratch.failed("read", &error),
        })?;
        let sound = into.chunks(BLOCK_BYTES).zip(&self.checksums[first..]).all(|(block, sum)| crc32c::crc32c(block) == *sum);
        if sound { Ok(()) } else { Err(self.scratch.changed()) }
    }

    /// Gives up the filter, for a run that is about to be read from front to back.
    fn stream(mut self, buffer_bytes: usize) -> Stream {
        self.filter = Filter::for_keys(0);
        Stream { run: self, blocks: buffer_bytes / BLOCK_BYTES, next: 0, buffer: Vec::new(), at: 0 }
    }
}

fn keys_of(bytes: &[u8]) -> impl Iterator<Item = Words> {
    bytes.as_chunks::<KEY_BYTES>().0.iter().map(|key| words_of(*key))
}

#[inline(always)]
fn words_of(bytes: [u8; KEY_BYTES]) -> Words {
    bytemuck::cast(bytes)
}

/// A run on its way to the disk.
pub struct Writing {
    run: Run,
    buffer: Vec<u8>,
    buffer_bytes: usize,
}

impl Writing {
    /// An empty run that will hold just so many keys. `buffer_bytes`: whole blocks.
    pub fn new(scratch: &Scratch, keys: usize, level: u32, buffer_bytes: usize) -> Result<Writing> {
        let blocks = keys.div_ceil(BLOCK_KEYS);
        let run = Run {
            scratch: scratch.clone(),
            file: scratch.file()?,
            keys: 0,
            filter: Filter::for_keys(keys),
            fences: Vec::with_capacity(blocks),
            checksums: Vec::with_capacity(blocks),
            level,
        };
        Ok(Writing { run, buffer: Vec::with_capacity(buffer_bytes), buffer_bytes })
    }

    /// Adds the next key.
    #[inline]
    pub fn push(&mut self, order: u64, words: Words) -> Result<()> {
        if self.run.keys.is_multiple_of(BLOCK_KEYS) {
            self.run.fences.push(order);
        }
        self.run.keys += 1;
        self.run.filter.add(order);
        self.buffer.extend_from_slice(&bytemuck::cast::<Words, [u8; KEY_BYTES]>(words));
        if self.buffer.len() >= self.buffer_bytes { self.write() } else { Ok(()) }
    }

    /// Writes what is in the buffer: whole blocks, but at the end.
    fn write(&mut self) -> Result<()> {
        self.run.checksums.extend(self.buffer.chunks(BLOCK_BYTES).map(crc32c::crc32c));
        self.run.file.write_all(&self.buffer).map_err(|error| self.run.scratch.failed("written", &error))?;
        self.buffer.clear();
        Ok(())
    }

    /// The run.
    pub fn finish(mut self) -> Result<Run> {
        self.write()?;
        Ok(self.run)
    }
}

/// A run read from front to back.
struct Stream {
    run: Run,
    /// Blocks that are read at once.
    blocks: usize,
    /// The block to read next.
    next: usize,
    buffer: Vec<u8>,
    /// The place in the buffer.
    at: usize,
}

impl Stream {
    fn next(&mut self) -> Result<Option<Words>> {
        if self.at == self.buffer.len() {
            if self.next == self.run.fences.len() {
                return Ok(None);
            }
            self.run.read(self.next, self.blocks, &mut self.buffer)?;
            self.next = (self.next + self.blocks).min(self.run.fences.len());
            self.at = 0;
        }
        let words = self.buffer[self.at..].first_chunk().map(|key| words_of(*key));
        self.at += KEY_BYTES;
        Ok(words)
    }
}

/// Merges runs that have no key in common. Memory: their fences, the new filter, and a buffer for each and for the new one.
pub fn merged(scratch: &Scratch, runs: Vec<Run>, order: impl Fn(Words) -> u64, buffer_bytes: usize) -> Result<Run> {
    let keys = runs.iter().map(|run| run.keys).sum();
    let level = runs.iter().map(|run| run.level + 1).max().unwrap_or(0);
    let mut streams: Vec<Stream> = runs.into_iter().map(|run| run.stream(buffer_bytes)).collect();
    let mut writing = Writing::new(scratch, keys, level, buffer_bytes)?;
    let mut heads = Vec::with_capacity(streams.len());
    let head = |words: Option<Words>| words.map(|words| (order(words), words));
    for stream in &mut streams {
        heads.push(head(stream.next()?));
    }
    while let Some((at, (order, words))) = least(&heads) {
        writing.push(order, words)?;
        heads[at] = head(streams[at].next()?);
    }
    writing.finish()
}

/// The head that comes first, and whose it is.
#[inline]
fn least(heads: &[Option<(u64, Words)>]) -> Option<(usize, (u64, Words))> {
    let heads = heads.iter().enumerate().filter_map(|(at, head)| head.map(|head| (at, head)));
    heads.min_by_key(|(_, (order, _))| *order)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of keys whose order is their first word, or one for all of so many in turn.
    fn run(numbers: impl Iterator<Item = u32>, alike: u32) -> Run {
        let numbers: Vec<u32> = numbers.collect();
        let mut writing = Writing::new(&Scratch::at(None), numbers.len(), 0, 2 * BLOCK_BYTES).unwrap();
        numbers.iter().for_each(|number| writing.push(u64::from(number / alike), [*number, 0, 0, 7]).unwrap());
        writing.finish().unwrap()
    }

    fn found(run: &Run, numbers: impl Iterator<Item = u32>, alike: u32) -> Vec<u32> {
        let ask = |number: u32| Asked { order: u64::from(number / alike), words: [number, 0, 0, 7], row: number, found: false };
        let mut asked: Vec<Asked> = numbers.map(ask).collect();
        asked.sort_unstable();
        run.look_up(&mut asked, &mut Vec::new()).unwrap();
        asked.iter().filter(|one| one.found).map(|one| one.row).collect()
    }

    #[test]
    fn keys_are_found_however_many_share_their_order() {
        for alike in [1, 3, 256, 700, 100_000] {
            let run = run((0..5_000).map(|number| number * 2), alike);
            let asked = || (0..10_000).flat_map(|number| [number, number]);
            assert!(found(&run, asked(), alike).into_iter().eq(asked().filter(|number| number % 2 == 0)), "{alike}");
        }
    }

    #[test]
    fn merged_runs_hold_what_each_held() {
        let runs = (0..3).map(|part| run((0..4_000).filter(|number| number % 3 == part), 1)).collect();
        let whole = merged(&Scratch::at(None), runs, |words| u64::from(words[0]), BLOCK_BYTES).unwrap();
        assert_eq!((whole.keys, whole.level, whole.file_bytes()), (4_000, 1, 64_000));
        assert!(found(&whole, 0..5_000, 1).into_iter().eq(0..4_000));
    }

    #[test]
    fn bytes_that_changed_or_are_gone_are_an_error() {
        let ask = |run: &Run, number: u32| {
            let asked = Asked { order: u64::from(number), words: [number, 0, 0, 7], row: 0, found: false };
            run.look_up(&mut [asked], &mut Vec::new()).map_err(|error| error.code)
        };
        let run = run(0..2_000, 1);
        run.file.write_all_at(&[1], 5_000).unwrap();
        assert_eq!(ask(&run, 1), Ok(()));
        assert_eq!(ask(&run, 300), Err("key.scratch_changed"));
        run.file.set_len(9_000).unwrap();
        assert_eq!(ask(&run, 1_999), Err("key.scratch_changed"));
        let merge = merged(&Scratch::at(None), vec![run], |words| u64::from(words[0]), BLOCK_BYTES);
        assert_eq!(merge.err().map(|error| error.code), Some("key.scratch_changed"));
    }
}
