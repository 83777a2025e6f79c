//! The writer of a topic: a bounded queue, one thread, one fsynced transaction per group.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use rusqlite::TransactionBehavior;

use super::codec::{self, Encoded, ROW_BYTES, Run};
use super::completion::Completions;
use super::directory::{Directory, Lock, acknowledge, closed};
use super::fault::{self, Doing};
use super::retention;
use super::segment::{self, Opening, Remembered, Segment};
use crate::error::{Error, ErrorKind, Result};

/// How long an idempotency key is remembered.
const DAY_US: i64 = 24 * 3600 * 1_000_000;
/// The write-ahead log of a live segment holds a page per commit: small commits fill it long before the records do.
const WAL_FACTOR: u64 = 8;

/// A record is a row of its own at most; SQLite holds no more than 1 GB in one.
const RECORD_BYTES: usize = 512 << 20;

/// Sizes of a writer.
#[derive(Clone, Debug)]
pub struct Options {
    /// A segment is sealed when it holds this much.
    pub segment_bytes: u64,
    /// Records that wait take at most this much memory.
    pub queue_bytes: usize,
    /// One transaction takes about this much.
    pub group_bytes: usize,
    /// Free space to leave; None: the smaller of 5 % and 1 GiB.
    pub min_free_bytes: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Options { segment_bytes: 64 << 20, queue_bytes: 256 << 20, group_bytes: 8 << 20, min_free_bytes: None }
    }
}

/// A client's key that makes a retry free: the digest of its request and the receipt to give back.
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// The client's key.
    pub key: String,
    /// A digest of the request.
    pub body: Vec<u8>,
    /// Opaque bytes that come back when the key is seen again.
    pub receipt: Vec<u8>,
}

/// A durable append. Of no records `last` is `first - 1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub first: i64,
    /// Offset of the last record.
    pub last: i64,
    /// Check of the last record.
    pub check: u32,
    /// The request that brought them.
    pub request: i64,
    /// The receipt kept with the idempotency key.
    pub receipt: Vec<u8>,
    /// The key was known: nothing was written, the facts are the first append's.
    pub repeated: bool,
}

pub(crate) type Outcome = Result<Appended>;

enum Answer {
    Waiter(Sender<Outcome>),
    Ticket(u64, Arc<Completions>),
}

struct Job {
    encoded: Encoded,
    idempotency: Option<Idempotency>,
    answer: Option<Answer>,
}

impl Job {
    fn answer(&mut self, outcome: Outcome) {
        match self.answer.take() {
            Some(Answer::Waiter(waiter)) => drop(waiter.send(outcome)),
            Some(Answer::Ticket(ticket, completions)) => completions.add(ticket, outcome),
            None => {}
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if self.answer.is_some() {
            self.answer(Err(fault::write_failed(Path::new(""), "the writer thread ended")));
        }
    }
}

struct Shared {
    directory: Directory,
    options: Options,
    queued: AtomicUsize,
    failure: OnceLock<Error>,
}

/// Appends to one topic. Several writers, in any process, may append to the same topic.
pub struct Writer {
    shared: Arc<Shared>,
    jobs: Mutex<Option<Sender<Job>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    completions: Arc<Completions>,
    tickets: AtomicU64,
}

impl Writer {
    /// Opens a topic's directory; makes it when there is none.
    pub fn open(path: &Path, options: Options) -> Result<Self> {
        let directory = Directory::open(path)?;
        let lock = directory.lock()?;
        let acknowledged = directory.acknowledged_file()?;
        let completions = Arc::new(Completions::new().map_err(|error| fault::io(&error, path))?);
        let shared = Arc::new(Shared { directory, options, queued: AtomicUsize::new(0), failure: OnceLock::new() });
        let (jobs, queue) = unbounded();
        let (sealed, to_checkpoint) = unbounded();
        let _ = sealed.send(None);
        let appender = Appender { shared: shared.clone(), lock, acknowledged, live: None, queue, sealed };
        let checkpointer = shared.clone();
        let threads = vec![
            spawn("log-writer", path, move || appender.run())?,
            spawn("log-checkpoint", path, move || retention::checkpoint_sealed(&checkpointer.directory, &to_checkpoint))?,
        ];
        Ok(Writer { shared, jobs: Mutex::new(Some(jobs)), threads: Mutex::new(threads), completions, tickets: AtomicU64::new(0) })
    }

    /// Identity of the log.
    pub fn log_id(&self) -> &str {
        &self.shared.directory.log_id
    }

    /// Appends and returns when the records are durable.
    pub fn append(&self, encoded: Encoded, idempotency: Option<Idempotency>) -> Result<Appended> {
        let (waiter, answer) = bounded(1);
        self.enqueue(encoded, idempotency, Answer::Waiter(waiter))?;
        answer.recv().unwrap_or_else(|_| Err(fault::write_failed(&self.shared.directory.path, "the writer thread ended")))
    }

    /// Queues an append and returns its ticket; [`Writer::completed`] has its outcome later.
    pub fn submit(&self, encoded: Encoded, idempotency: Option<Idempotency>) -> Result<u64> {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        self.enqueue(encoded, idempotency, Answer::Ticket(ticket, self.completions.clone()))?;
        Ok(ticket)
    }

    /// A file descriptor that is readable when [`Writer::completed`] has something.
    pub fn fileno(&self) -> std::os::fd::RawFd {
        self.completions.fileno()
    }

    /// Outcomes of submitted appends since the last call.
    pub fn completed(&self) -> Vec<(u64, Result<Appended>)> {
        self.completions.take()
    }

    /// Seals the live segment and starts the next; nothing when it is empty.
    pub fn roll(&self) -> Result<()> {
        let directory = &self.shared.directory;
        let lock = directory.lock()?;
        let _locked = lock.acquire(directory)?;
        let mut live = open_live(directory)?;
        roll(directory, &mut live)?;
        // What stands in its way now is tried again by the second thread.
        let _ = segment::checkpoint(directory, live.base);
        Ok(())
    }

    /// Takes no more records, in this process and in all others, now and after a restart: every later append is `log.sealed`.
    ///
    /// What was acknowledged before stays to be read. Safe to repeat.
    pub fn seal(&self) -> Result<()> {
        let directory = &self.shared.directory;
        let lock = directory.lock()?;
        let _locked = lock.acquire(directory)?;
        directory.still_ours()?;
        directory.close()
    }

    /// Deletes sealed segments that end at or before an offset, never the newest; returns how many.
    pub fn unlink(&self, through: i64) -> Result<usize> {
        retention::unlink(&self.shared.directory, through)
    }

    /// Finishes what was queued, then releases the files.
    pub fn close(&self) {
        let sender = self.jobs.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        drop(sender);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        for thread in threads {
            let _ = thread.join();
        }
    }

    fn enqueue(&self, encoded: Encoded, idempotency: Option<Idempotency>, answer: Answer) -> Result<()> {
        let shared = &self.shared;
        if let Some(failure) = shared.failure.get() {
            return Err(failure.clone());
        }
        if encoded.runs.iter().any(|run| run.size() > RECORD_BYTES) {
            return Err(fault::too_large(&shared.directory.path, RECORD_BYTES));
        }
        let (size, limit) = (encoded.size(), shared.options.queue_bytes);
        let queued = shared.queued.fetch_add(size, Ordering::AcqRel);
        // Alone in the queue even a huge append may pass, or it never could.
        if queued > 0 && queued + size > limit {
            shared.queued.fetch_sub(size, Ordering::AcqRel);
            return Err(fault::queue_full(queued, limit));
        }
        let mut job = Job { encoded, idempotency, answer: Some(answer) };
        let jobs = self.jobs.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let Some(sender) = jobs.as_ref() else {
            job.answer = None;
            return Err(closed(&shared.directory.path));
        };
        match sender.send(job) {
            Ok(()) => Ok(()),
            Err(mut refused) => {
                refused.0.answer = None;
                Err(fault::write_failed(&shared.directory.path, "the writer thread ended"))
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

fn spawn(name: &str, path: &Path, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|error| fault::io(&error, path))
}

/// What the writer thread owns.
struct Appender {
    shared: Arc<Shared>,
    lock: Lock,
    acknowledged: File,
    live: Option<Segment>,
    queue: Receiver<Job>,
    sealed: Sender<Option<Segment>>,
}

impl Appender {
    fn run(mut self) {
        while let Ok(first) = self.queue.recv() {
            let mut group = self.gather(first);
            let outcomes = match self.shared.failure.get() {
                Some(failure) => Err(failure.clone()),
                None => self.commit(&group),
            };
            if let Err(error) = &outcomes {
                self.live = None;
                if fault::is_final(error) {
                    // Later appends fail at once: after a failed write nobody knows what the disk holds.
                    let _ = self.shared.failure.set(error.clone());
                }
            }
            let bytes: usize = group.iter().map(|job| job.encoded.size()).sum();
            self.shared.queued.fetch_sub(bytes, Ordering::AcqRel);
            match outcomes {
                Ok(outcomes) => group.iter_mut().zip(outcomes).for_each(|(job, outcome)| job.answer(outcome)),
                Err(error) => group.iter_mut().for_each(|job| job.answer(Err(error.clone()))),
            }
            if self.shared.failure.get().is_none() {
                self.roll_when_full();
            }
        }
    }

    fn gather(&self, first: Job) -> Vec<Job> {
        let mut size = first.encoded.size();
        let mut group = vec![first];
        while size < self.shared.options.group_bytes {
            let Ok(job) = self.queue.try_recv() else { break };
            size += job.encoded.size();
            group.push(job);
        }
        group
    }

    fn commit(&mut self, group: &[Job]) -> Result<Vec<Outcome>> {
        let shared = self.shared.clone();
        let directory = &shared.directory;
        let bytes = group.iter().map(|job| job.encoded.size() as u64).sum();
        directory.check_floor(bytes, shared.options.min_free_bytes)?;
        let _locked = self.lock.acquire(directory)?;
        directory.still_ours()?;
        directory.takes_records()?;
        loop {
            let mut live = match self.live.take().filter(Segment::in_place) {
                Some(live) => live,
                None => open_live(directory)?,
            };
            let written = write_group(&mut live, group).map_err(|error| live.fault(&error, Doing::Writing))?;
            // None: another process sealed it since; the newest segment is another one now.
            let Some((outcomes, end)) = written else { continue };
            acknowledge(&self.acknowledged, end);
            self.live = Some(live);
            return Ok(outcomes);
        }
    }

    fn roll_when_full(&mut self) {
        let limit = self.shared.options.segment_bytes;
        let full = |live: &Segment| live.size().is_ok_and(|(held, wal)| held >= limit || wal >= limit.saturating_mul(WAL_FACTOR));
        if !self.live.as_ref().is_some_and(full) {
            return;
        }
        let Some(mut live) = self.live.take() else { return };
        let rolled = self.lock.acquire(&self.shared.directory).and_then(|_locked| roll(&self.shared.directory, &mut live));
        match rolled {
            Ok(()) => drop(self.sealed.send(Some(live))),
            // A roll that did not fit on the disk is tried again after the next group.
            Err(error) if fault::is_final(&error) => drop(self.shared.failure.set(error)),
            Err(_) => {}
        }
    }
}

/// The newest segment, open for appends; made when there is none or a crash left the newest one sealed.
///
/// The caller holds the lock.
fn open_live(directory: &Directory) -> Result<Segment> {
    loop {
        let Some(&base) = directory.bases()?.last() else {
            let known = directory.acknowledged();
            if known >= 0 {
                return Err(fault::truncated(&directory.path, -1, known));
            }
            segment::create(directory, 0, None)?;
            continue;
        };
        let live = match Segment::open(directory, base, Doing::Writing) {
            Ok(live) => live,
            Err(Opening::Gone) => continue,
            Err(Opening::Failed(error)) => return Err(error),
        };
        let facts =
            || -> rusqlite::Result<_> { Ok((segment::sealed_at(&live.connection)?, segment::end(&live.connection, base)?)) };
        let (sealed, end) = facts().map_err(|error| live.fault(&error, Doing::Reading))?;
        let known = directory.acknowledged();
        if end < known {
            return Err(fault::truncated(&live.path, end, known));
        }
        match sealed {
            None => return Ok(live),
            Some(last) => start_next(directory, &live, last)?,
        }
    }
}

/// Seals a segment and makes the next. The caller holds the lock.
fn roll(directory: &Directory, live: &mut Segment) -> Result<()> {
    let facts = |live: &Segment| -> rusqlite::Result<_> {
        Ok((segment::sealed_at(&live.connection)?, segment::end(&live.connection, live.base)?))
    };
    let (sealed, end) = facts(live).map_err(|error| live.fault(&error, Doing::Reading))?;
    if sealed.is_some() || end < live.base {
        return Ok(());
    }
    let last = live.seal().map_err(|error| live.fault(&error, Doing::Writing))?;
    start_next(directory, live, last)
}

fn start_next(directory: &Directory, before: &Segment, last: i64) -> Result<()> {
    let newest = segment::newest_key_us(&before.connection).map_err(|error| before.fault(&error, Doing::Reading))?;
    // A key used in the future by a clock that was wrong must not make the others old.
    let now = newest.unwrap_or(0).min(now_us());
    segment::create(directory, last + 1, Some((before, now - DAY_US)))
}

fn now_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Writes a group in one transaction; None when the segment is sealed.
fn write_group(live: &mut Segment, group: &[Job]) -> rusqlite::Result<Option<(Vec<Outcome>, i64)>> {
    let base = live.base;
    let transaction = live.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if segment::sealed_at(&transaction)?.is_some() {
        return Ok(None);
    }
    let mut outcomes = Vec::with_capacity(group.len());
    let mut rows =
        RowWriter { transaction: &transaction, first: segment::end(&transaction, base)? + 1, n: 0, size: 0, pieces: Vec::new() };
    for job in group {
        outcomes.push(write_job(&mut rows, job)?);
    }
    rows.flush()?;
    let end = rows.first - 1;
    transaction.commit()?;
    Ok(Some((outcomes, end)))
}

fn write_job<'t>(rows: &mut RowWriter<'t>, job: &'t Job) -> rusqlite::Result<Outcome> {
    let encoded = &job.encoded;
    if let Some(asked) = &job.idempotency
        && let Some(known) = segment::recall(rows.transaction, &asked.key, encoded.received_at_us.saturating_sub(DAY_US))?
    {
        return Ok(if known.body == asked.body { Ok(appended(known, true)) } else { Err(mismatch(&asked.key)) });
    }
    let first = rows.next();
    for run in &encoded.runs {
        rows.push(run)?;
    }
    let last = rows.next() - 1;
    let tail = encoded.runs.last().map(Run::last_record).unwrap_or_default();
    let check = codec::record_check(last, encoded.request, encoded.received_at_us, tail);
    let (body, receipt) = job.idempotency.as_ref().map_or_else(Default::default, |key| (key.body.clone(), key.receipt.clone()));
    let facts = Remembered { body, receipt, request: encoded.request, first, last, check };
    if let Some(asked) = &job.idempotency {
        segment::remember(rows.transaction, &asked.key, &facts, encoded.received_at_us)?;
    }
    Ok(Ok(appended(facts, false)))
}

fn appended(known: Remembered, repeated: bool) -> Appended {
    let Remembered { receipt, request, first, last, check, .. } = known;
    Appended { first, last, check, request, receipt, repeated }
}

fn mismatch(key: &str) -> Error {
    Error::new(ErrorKind::IdempotencyMismatch, "log.idempotency_mismatch", "the idempotency key was used with another body")
        .hint("send the same body again, or take a new key")
        .text("key", key)
}

/// Collects runs into rows: the small requests of a group share one. The runs are written from where they lie.
struct RowWriter<'t> {
    transaction: &'t rusqlite::Transaction<'t>,
    first: i64,
    n: i64,
    size: usize,
    pieces: Vec<&'t [u8]>,
}

impl<'t> RowWriter<'t> {
    fn next(&self) -> i64 {
        self.first + self.n
    }

    fn push(&mut self, run: &'t Run) -> rusqlite::Result<()> {
        if self.n > 0 && self.size + run.size() > ROW_BYTES {
            self.flush()?;
        }
        self.pieces.push(&run.laid);
        self.pieces.push(&run.body);
        self.size += run.size();
        self.n += i64::from(run.n);
        Ok(())
    }

    fn flush(&mut self) -> rusqlite::Result<()> {
        if self.n == 0 {
            return Ok(());
        }
        let checksum = codec::row_checksum(self.first, self.n, &self.pieces);
        segment::insert(self.transaction, self.first, self.n, checksum, &self.pieces, self.size)?;
        self.first += std::mem::take(&mut self.n);
        self.size = 0;
        self.pieces.clear();
        Ok(())
    }
}
