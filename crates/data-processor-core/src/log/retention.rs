//! Sealed segments: checkpointed by a second thread, unlinked when everybody has passed them.

use std::fs;
use std::io;

use crossbeam_channel::Receiver;

use super::directory::{Directory, base_of};
use super::fault;
use super::segment::{Checkpoint, Opening, Segment, checkpoint, shm_of, wal_of};
use crate::error::Result;

/// Moves the write-ahead logs of sealed segments into their files, whenever one was sealed, until the writer ends.
///
/// A segment comes with the connection that wrote it: another one would read all of the log first, to find out what is in it.
/// What a reader stands in the way of is tried again the next time: the log is whole either way.
pub(crate) fn checkpoint_sealed(directory: &Directory, sealed: &Receiver<Option<Segment>>) {
    let mut left = false;
    while let Ok(segment) = sealed.recv() {
        left |=
            segment.is_none_or(|segment| !segment.checkpoint(Checkpoint::Sealed { urgent: !sealed.is_empty() }).unwrap_or(false));
        if left && sealed.is_empty() {
            let Ok(bases) = directory.bases() else { continue };
            left = bases.iter().rev().skip(1).filter(|&&base| !matches!(checkpoint(directory, base), Ok(true))).count() > 0;
        }
    }
}

/// Deletes whole segments that end at or before an offset, oldest first, never the newest; returns how many.
pub(crate) fn unlink(directory: &Directory, through: i64) -> Result<usize> {
    let lock = directory.lock()?;
    let _locked = lock.acquire(directory)?;
    directory.still_ours()?;
    sweep(directory).map_err(|error| fault::io(&error, &directory.path))?;
    let bases = directory.bases()?;
    let mut gone = 0;
    for pair in bases.windows(2) {
        if pair[1] - 1 > through {
            break;
        }
        // A reader that has just opened it may lose sight of the write-ahead log: nothing may be left in there.
        match checkpoint(directory, pair[0]) {
            Ok(true) => {}
            Ok(false) => break,
            Err(Opening::Gone) => break,
            Err(Opening::Failed(error)) => return Err(error),
        }
        let path = directory.segment(pair[0]);
        fs::remove_file(&path).map_err(|error| fault::io(&error, &path))?;
        for name in [wal_of(&path), shm_of(&path)] {
            let _ = fs::remove_file(name);
        }
        gone += 1;
    }
    if gone > 0 {
        directory.sync().map_err(|error| fault::io(&error, &directory.path))?;
    }
    Ok(gone)
}

/// Removes what a reader made anew beside a segment that was being unlinked.
fn sweep(directory: &Directory) -> io::Result<()> {
    for name in directory.names()? {
        let Some(base) = [".db-wal", ".db-shm"].iter().find_map(|suffix| base_of(name.strip_suffix(suffix)?)) else { continue };
        if !directory.segment(base).exists() {
            fs::remove_file(directory.path.join(&name))?;
        }
    }
    Ok(())
}
