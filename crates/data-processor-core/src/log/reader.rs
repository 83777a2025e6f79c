//! Readers: read-only connections, one short transaction per segment, every row checked.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use arrow_array::RecordBatch;
use rusqlite::Row;

use super::directory::{Directory, closed};
use super::fault::{self, Doing};
use super::raw::RawRows;
use super::segment::{self, Opening, Segment, wal_of};
use super::{codec, decode};
use crate::error::{Error, ErrorKind, Result};

/// A listing may be old by the time it is used; it is not old a hundred times in a row.
const ATTEMPTS: usize = 100;
/// A listing may miss a name that was made while it ran; this many in a row do not.
const LISTINGS: usize = 3;

const ROWS: &str = "SELECT first, n, crc32c, body FROM batch
    WHERE first >= coalesce((SELECT max(first) FROM batch WHERE first <= ?1), ?1) ORDER BY first";

/// One segment of a listing; `last` is where it ends now.
#[derive(Clone, Debug)]
pub struct SegmentFacts {
    /// First offset.
    pub first: i64,
    /// Last offset, `first - 1` when it is empty.
    pub last: i64,
    /// Whether it takes no more records.
    pub sealed: bool,
    /// Bytes on disk, write-ahead log included.
    pub bytes: u64,
    /// The file.
    pub path: PathBuf,
}

/// Reads one topic. Any number of readers, in any process.
pub struct Reader {
    directory: Directory,
    open: Mutex<State>,
}

struct State {
    segment: Option<Segment>,
    /// The offset whose record was seen in the open segment: where the last read ended.
    seen: Option<(i64, u32)>,
    closed: bool,
}

/// How far a scan of one segment came.
enum Scan {
    /// The wanted rows or bytes are there.
    Enough,
    /// The segment ends at this offset; `sealed`: the next segment goes on.
    End { last: i64, sealed: bool },
    /// The file is gone: look at the directory again.
    Gone,
}

/// What a read wants.
struct Want {
    next: i64,
    from_oldest: bool,
    limit: usize,
    max_bytes: usize,
}

impl Reader {
    /// Opens a topic's directory; makes it, so that the log has its identity from the start.
    pub fn open(path: &Path) -> Result<Self> {
        let directory = Directory::open(path)?;
        Ok(Reader { directory, open: Mutex::new(State { segment: None, seen: None, closed: false }) })
    }

    /// Identity of the log.
    pub fn log_id(&self) -> &str {
        &self.directory.log_id
    }

    /// Records after an offset (-1: from the oldest) and the check of the last one; None when there are none.
    ///
    /// Ends after `limit` rows or the row that reaches `max_bytes`. With `check` the record at `after` must be the
    /// one that has it, while the log still holds it.
    pub fn read(&self, after: i64, check: Option<&str>, limit: usize, max_bytes: usize) -> Result<Option<(RecordBatch, u32)>> {
        let mut state = self.state()?;
        self.directory.still_ours()?;
        // Before the segments are looked at: what is acknowledged now must be in them.
        let acknowledged = self.directory.acknowledged();
        if let Some(check) = check.filter(|_| after >= 0) {
            self.compare(&mut state, after, check)?;
        }
        let mut rows = RawRows::default();
        let mut want = Want { next: after + 1, from_oldest: after < 0, limit: limit.max(1), max_bytes: max_bytes.min(1 << 30) };
        self.fill(&mut state, &mut rows, &mut want, acknowledged)?;
        if rows.is_empty() {
            return Ok(None);
        }
        let (last, check) = (want.next - 1, rows.check);
        state.seen = Some((last, check));
        let batch = rows.finish(self.log_id()).map_err(|error| fault::checksum(&self.directory.path, last, error))?;
        Ok(Some((batch, check)))
    }

    /// Check of the record at an offset; None when the log does not hold it.
    pub fn check(&self, offset: i64) -> Result<Option<u32>> {
        let mut state = self.state()?;
        self.check_at(&mut state, offset)
    }

    /// The oldest offset still held, or the next one to come.
    pub fn first(&self) -> Result<i64> {
        self.directory.still_ours()?;
        Ok(self.directory.bases()?.first().copied().unwrap_or(0))
    }

    /// The last durable offset, -1 when nothing was ever written.
    pub fn end(&self) -> Result<i64> {
        let mut state = self.state()?;
        self.directory.still_ours()?;
        let acknowledged = self.directory.acknowledged();
        for _ in 0..ATTEMPTS {
            let Some(&base) = self.directory.bases()?.last() else { return self.not_before(-1, acknowledged) };
            let Some(segment) = self.segment(&mut state, base)? else { continue };
            let end = segment::end(&segment.connection, base).map_err(|error| segment.fault(&error, Doing::Reading))?;
            return self.not_before(end, acknowledged);
        }
        Err(self.restless())
    }

    /// The segments, oldest first.
    pub fn segments(&self) -> Result<Vec<SegmentFacts>> {
        let mut state = self.state()?;
        let mut listed = Vec::new();
        for base in self.directory.bases()? {
            let Some(segment) = self.segment(&mut state, base)? else { continue };
            let facts = || -> rusqlite::Result<_> {
                Ok((segment::end(&segment.connection, base)?, segment::sealed_at(&segment.connection)?.is_some()))
            };
            let (last, sealed) = facts().map_err(|error| segment.fault(&error, Doing::Reading))?;
            let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |facts| facts.len());
            let path = segment.path.clone();
            listed.push(SegmentFacts { first: base, last, sealed, bytes: bytes(&path) + bytes(&wal_of(&path)), path });
        }
        Ok(listed)
    }

    /// Releases the files.
    pub fn close(&self) {
        let mut state = self.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *state = State { segment: None, seen: None, closed: true };
    }

    fn state(&self) -> Result<std::sync::MutexGuard<'_, State>> {
        let state = self.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if state.closed { Err(closed(&self.directory.path)) } else { Ok(state) }
    }

    fn fill(&self, state: &mut State, rows: &mut RawRows, want: &mut Want, acknowledged: i64) -> Result<()> {
        let (mut exhausted, mut missing) = (None, 0);
        for _ in 0..ATTEMPTS {
            let bases = self.directory.bases()?;
            let Some(&oldest) = bases.first() else { return self.not_before(-1, acknowledged.max(want.next - 1)).map(drop) };
            want.next = if want.from_oldest && rows.is_empty() { oldest } else { want.next };
            let Some(index) = bases.partition_point(|&base| base <= want.next).checked_sub(1) else {
                // Unlinked under our feet: what was read is whole, the next read says what is missing.
                return if rows.is_empty() { Err(expired(want.next, oldest)) } else { Ok(()) };
            };
            let base = bases[index];
            if exhausted == Some(base) {
                if !rows.is_empty() {
                    return Ok(());
                }
                if index + 1 == bases.len() {
                    // Sealed a moment ago, the next segment is not there yet.
                    return self.not_before(want.next - 1, acknowledged).map(drop);
                }
                missing += 1;
                if missing > LISTINGS {
                    return Err(fault::checksum(&self.directory.segment(want.next), want.next, "a segment is missing"));
                }
                continue;
            }
            match self.scan(state, base, rows, want).map_err(|error| fault::wanting(error, want.next))? {
                Scan::Enough => return Ok(()),
                Scan::Gone => {}
                Scan::End { last, sealed } if want.next > last + 1 => {
                    return Err(self.beyond(base, last, sealed && index + 1 < bases.len(), want.next));
                }
                Scan::End { sealed: true, .. } => exhausted = Some(base),
                Scan::End { last, .. } => return self.not_before(last, acknowledged).map(drop),
            }
        }
        Err(self.restless())
    }

    /// A position beyond a segment's end: the one that should hold it is missing, or the log lost its tail.
    fn beyond(&self, base: i64, last: i64, others_follow: bool, wanted: i64) -> Error {
        let path = self.directory.segment(base);
        if others_follow {
            return fault::checksum(&path, wanted, "a segment is missing");
        }
        fault::truncated(&path, last, wanted - 1)
    }

    /// Reads a segment's rows from `want.next` on, in one short transaction.
    fn scan(&self, state: &mut State, base: i64, rows: &mut RawRows, want: &mut Want) -> Result<Scan> {
        let Some(segment) = self.segment(state, base)? else { return Ok(Scan::Gone) };
        let reading = |error: rusqlite::Error| segment.fault(&error, Doing::Reading);
        let transaction = segment.connection.unchecked_transaction().map_err(reading)?;
        let sealed = segment::sealed_at(&transaction).map_err(reading)?;
        let mut statement = transaction.prepare_cached(ROWS).map_err(reading)?;
        let mut found = statement.query([want.next]).map_err(reading)?;
        let mut end = None;
        while let Some(row) = found.next().map_err(reading)? {
            let place = Place::of(row).map_err(reading)?;
            // Rows follow each other without a gap, or one was lost.
            let expected = end.map_or(place.first.min(want.next), |end| end + 1);
            if place.first != expected {
                return Err(fault::checksum(&segment.path, expected, "a row is missing"));
            }
            end = Some(place.first + place.n - 1);
            let body = row.get_ref(3).and_then(|body| Ok(body.as_blob()?)).map_err(reading)?;
            if codec::row_checksum(place.first, place.n, &[body]) != place.checksum {
                return Err(fault::checksum(&segment.path, place.first, "the checksum differs"));
            }
            take_row(&place, body, rows, want)
                .ok_or_else(|| fault::checksum(&segment.path, place.first, "the row is malformed"))?;
            if rows.len() >= want.limit || rows.size() >= want.max_bytes {
                return Ok(Scan::Enough);
            }
        }
        let last = end.unwrap_or(base - 1);
        if sealed.is_some_and(|sealed| sealed != last) {
            return Err(fault::checksum(&segment.path, last + 1, "the segment is shorter than when it was sealed"));
        }
        Ok(Scan::End { last, sealed: sealed.is_some() })
    }

    fn compare(&self, state: &mut State, offset: i64, check: &str) -> Result<()> {
        let seen = state.seen.filter(|(at, _)| *at == offset).is_some_and(|(_, seen)| super::spell_check(seen) == check);
        if seen && state.segment.as_ref().is_some_and(Segment::in_place) {
            return Ok(());
        }
        match self.check_at(state, offset)? {
            Some(found) if super::spell_check(found) != check => Err(changed(&self.directory.path, offset, check, found)),
            _ => Ok(()), // not held any more: whether that is in order is the read's to say
        }
    }

    fn check_at(&self, state: &mut State, offset: i64) -> Result<Option<u32>> {
        for _ in 0..ATTEMPTS {
            let bases = self.directory.bases()?;
            let Some(index) = bases.partition_point(|&base| base <= offset).checked_sub(1) else { return Ok(None) };
            let mut rows = RawRows::default();
            let mut want = Want { next: offset, from_oldest: false, limit: 1, max_bytes: usize::MAX };
            match self.scan(state, bases[index], &mut rows, &mut want)? {
                Scan::Gone => {}
                _ => return Ok((!rows.is_empty()).then_some(rows.check)),
            }
        }
        Err(self.restless())
    }

    /// The open segment with this base; None when its file is gone.
    fn segment<'s>(&self, state: &'s mut State, base: i64) -> Result<Option<&'s Segment>> {
        if !state.segment.as_ref().is_some_and(|open| open.base == base && open.in_place()) {
            state.seen = None;
            state.segment = None;
            state.segment = match Segment::open(&self.directory, base, Doing::Reading) {
                Ok(segment) => Some(segment),
                Err(Opening::Gone) => None,
                Err(Opening::Failed(error)) => return Err(error),
            };
        }
        Ok(state.segment.as_ref())
    }

    fn not_before(&self, end: i64, known: i64) -> Result<i64> {
        if end < known { Err(fault::truncated(&self.directory.path, end, known)) } else { Ok(end) }
    }

    fn restless(&self) -> Error {
        Error::new(ErrorKind::LogUnavailable, "log.unavailable", "segments changed faster than they could be read")
            .hint("nothing was consumed; read again")
            .text("path", self.directory.path.display().to_string())
    }
}

struct Place {
    first: i64,
    n: i64,
    checksum: u32,
}

impl Place {
    fn of(row: &Row<'_>) -> rusqlite::Result<Place> {
        Ok(Place { first: row.get(0)?, n: row.get(1)?, checksum: row.get(2)? })
    }
}

/// Adds a row's records from `want.next` on; None when the row holds something else than it says.
fn take_row(place: &Place, body: &[u8], rows: &mut RawRows, want: &mut Want) -> Option<()> {
    let mut offset = place.first;
    let mut last = None;
    for run in decode::runs(body) {
        let run = run?;
        for record in run.records() {
            let record = record?;
            if offset == want.next && rows.len() < want.limit {
                rows.push(offset, &run, record);
                last = Some((offset, run, record));
                want.next += 1;
            }
            offset += 1;
        }
    }
    if let Some((offset, run, record)) = last {
        rows.check = codec::record_check(offset, run.request, run.received_at_us, record);
    }
    (offset == place.first + place.n).then_some(())
}

fn expired(wanted: i64, oldest: i64) -> Error {
    Error::new(
        ErrorKind::LogExpired,
        "log.offset_expired",
        format!("{} records were deleted before they were read", oldest - wanted),
    )
    .hint("accept the gap with `frazil process --skip-expired`, then raise the log's retention")
    .int("wanted", wanted)
    .int("oldest", oldest)
}

fn changed(path: &Path, offset: i64, expected: &str, found: u32) -> Error {
    Error::new(ErrorKind::LogCorrupt, "log.record_changed", format!("the record at offset {offset} is not the one that was read"))
        .hint("the log was restored or rewritten: put the right one back, or move on with `frazil log switch`")
        .text("path", path.display().to_string())
        .int("offset", offset)
        .text("expected", expected)
        .text("found", super::spell_check(found))
}
