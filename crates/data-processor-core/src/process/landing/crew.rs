//! Threads that judge pieces ahead of the one who writes them.
//!
//! Whoever is free takes the next piece of the input; what became of it waits at the board until its turn. The caller judges, too,
//! when nothing waits for it: nobody is idle while there is input and room.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::judging::{Desk, Seen};
use super::lines::{Lines, Piece};
use crate::contract::Plan;
use crate::error::Result;
use crate::process::guarded;

/// Pieces per thread that may be taken before the one whose turn it is.
const AHEAD: usize = 2;
/// Bytes that a thread alone reads at a time: they are still in the processor's cache when they are judged. Several threads
/// take a piece at once, since its lines lie together.
const BLOCK_BYTES: usize = 256 << 10;

/// The input: the number of the next piece, and its lines.
struct Input<R> {
    number: usize,
    lines: Lines<R>,
}

/// What is known of pieces.
#[derive(Default)]
struct Board {
    /// Pieces that somebody reads or has read.
    taken: usize,
    /// Pieces given out; the next one has this number.
    given: usize,
    /// Pieces in all, once the end was seen.
    total: Option<usize>,
    /// Nobody wants more.
    dropped: bool,
    seen: BTreeMap<usize, Result<Seen>>,
}

/// What threads share.
struct Shared<R> {
    plan: Arc<Plan>,
    piece_bytes: usize,
    /// Reads per piece.
    blocks: usize,
    received_us: i64,
    ahead: usize,
    input: Mutex<Input<R>>,
    board: Mutex<Board>,
    changed: Condvar,
}

/// A thread's own room.
#[derive(Default)]
struct Place {
    piece: Piece,
    desk: Desk,
}

/// An input that is judged by one or more threads, in order.
pub struct Crew<R> {
    shared: Arc<Shared<R>>,
    place: Place,
}

/// A thread that panicked left nothing half done: boards change by single steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<R: Read + Send + 'static> Crew<R> {
    /// Judges lines of `source` in pieces of about so many bytes; `threads` counts the caller's.
    pub fn new(plan: Arc<Plan>, source: R, piece_bytes: usize, received_us: i64, threads: usize) -> Crew<R> {
        let threads = threads.max(1);
        let shared = Arc::new(Shared {
            input: Mutex::new(Input { number: 0, lines: Lines::new(source, plan.max_bytes) }),
            plan,
            piece_bytes,
            blocks: if threads > 1 { 1 } else { (piece_bytes / BLOCK_BYTES).max(1) },
            received_us,
            ahead: if threads > 1 { AHEAD * threads } else { 1 },
            board: Mutex::default(),
            changed: Condvar::new(),
        });
        for _ in 1..threads {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.help());
        }
        Crew { shared, place: Place::default() }
    }

    /// The next piece, judged; None at the end.
    pub fn next(&mut self) -> Result<Option<Seen>> {
        let shared = &self.shared;
        let mut board = lock(&shared.board);
        loop {
            let turn = board.given;
            if let Some(seen) = board.seen.remove(&turn) {
                board.given += 1;
                shared.changed.notify_all();
                return seen.map(Some);
            }
            if board.total.is_some_and(|total| turn >= total) {
                return Ok(None);
            }
            if shared.take(&mut board) {
                drop(board);
                shared.work(&mut self.place);
                board = lock(&shared.board);
            } else {
                board = shared.changed.wait(board).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl<R> Drop for Crew<R> {
    /// Helpers stop after the piece they are at. Nobody waits for them: they may wait for a lock that our caller holds.
    fn drop(&mut self) {
        lock(&self.shared.board).dropped = true;
        self.shared.changed.notify_all();
    }
}

impl<R: Read> Shared<R> {
    /// Takes a piece if there may be one and there is room for it.
    fn take(&self, board: &mut Board) -> bool {
        let free = board.total.is_none() && board.taken < board.given + self.ahead;
        board.taken += usize::from(free);
        free
    }

    /// A helper's life.
    fn help(&self) {
        let mut place = Place::default();
        loop {
            let mut board = lock(&self.board);
            while !self.take(&mut board) {
                if board.dropped || board.total.is_some() {
                    return;
                }
                board = self.changed.wait(board).unwrap_or_else(PoisonError::into_inner);
            }
            if board.dropped {
                return;
            }
            drop(board);
            self.work(&mut place);
        }
    }

    /// Reads and judges the next piece; the board is told.
    fn work(&self, place: &mut Place) {
        let mut number = None;
        let seen = guarded(|| self.judge(place, &mut number));
        let mut board = lock(&self.board);
        if let (Some(number), Some(seen)) = (number, seen.transpose()) {
            board.seen.insert(number, seen);
        }
        self.changed.notify_all();
    }

    /// Reads and judges the next piece, whose number is told; None at the end.
    fn judge(&self, place: &mut Place, number: &mut Option<usize>) -> Result<Option<Seen>> {
        let Place { piece, desk } = place;
        let mut sitting = None;
        for _ in 0..self.blocks {
            let mut input = lock(&self.input);
            let mine = *number.get_or_insert(input.number);
            input.number = mine + 1;
            let more = input.lines.next(self.piece_bytes / self.blocks, piece);
            if !matches!(more, Ok(true)) {
                // After an error nothing more is read; its piece is the last.
                let mut board = lock(&self.board);
                let total = mine + usize::from(more.is_err() || sitting.is_some());
                board.total = Some(board.total.map_or(total, |known| known.min(total)));
            }
            drop(input);
            if !more? {
                break;
            }
            let whole = piece.len() * self.blocks;
            sitting.get_or_insert_with(|| desk.open(&self.plan, whole, self.received_us)).all(piece);
        }
        sitting.map(|sitting| desk.close(sitting)).transpose()
    }
}
