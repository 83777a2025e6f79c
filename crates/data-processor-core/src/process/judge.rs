//! A record's verdict: the fast road first, the slow one where it does not know.

use std::sync::Mutex;

use super::columns::Columns;
use super::fast;
use super::leaf::{first_instant, in_time};
use super::slow::{self, Refused};
use super::text::{PAD, skip_blank, skip_space};
use super::violation::Stage;
use crate::contract::{Kind, Plan};

/// A piece of input copied behind [`PAD`] zero bytes' shelter, and what is known of it.
#[derive(Default)]
pub struct Padded {
    bytes: Vec<u8>,
    utf8: bool,
}

impl Padded {
    /// Copies `text` and zeros after it.
    pub fn load(&mut self, text: &[u8]) {
        self.bytes.clear();
        self.bytes.reserve(text.len() + PAD);
        self.bytes.extend_from_slice(text);
        self.bytes.resize(text.len() + PAD, 0);
        self.utf8 = simdutf8::basic::from_utf8(text).is_ok();
    }

    /// The text with its padding.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether all of it is UTF-8.
    pub fn is_utf8(&self) -> bool {
        self.utf8
    }

    /// Whether `start..end` is UTF-8 for itself: no sequence is cut at either end of a text that is UTF-8.
    fn holds_utf8(&self, start: usize, end: usize) -> bool {
        let whole = |at: usize| self.bytes[at] & 0xc0 != 0x80;
        if self.utf8 { whole(start) && whole(end) } else { simdutf8::basic::from_utf8(&self.bytes[start..end]).is_ok() }
    }
}

/// Judges records into columns.
pub struct Judge<'a> {
    plan: &'a Plan,
    /// The rows of records that met their contract.
    pub columns: Columns,
    /// A copy of one record for the slow road.
    single: Vec<u8>,
}

impl<'a> Judge<'a> {
    /// A judge with room for `rows` good rows.
    pub fn new(plan: &'a Plan, rows: usize) -> Self {
        Judge::reusing(plan, Columns::new(plan, rows))
    }

    /// A judge that goes on with these columns.
    pub fn reusing(plan: &'a Plan, columns: Columns) -> Self {
        Judge { plan, columns, single: Vec::new() }
    }

    /// Judges the record in `start..end` of a padded buffer: a row of the columns, or what is wrong with it.
    #[inline]
    pub fn record(&mut self, padded: &Padded, start: usize, end: usize, received_us: i64) -> Result<(), Refused> {
        if end - start > self.plan.max_bytes {
            return Err((Stage::Parse, vec![slow::too_large(end - start, self.plan)])); // its bytes may not even have been loaded
        }
        if self.plan.fast && padded.holds_utf8(start, end) {
            if self.fast(padded.bytes(), start, end, received_us).is_some() {
                return Ok(());
            }
            self.columns.retract(self.plan);
        }
        self.slowly(&padded.bytes()[start..end], received_us)
    }

    /// Tries the fast road for the line at `start`, whose end is not known: the place of its line feed, when it is good.
    ///
    /// What is in `start..until` must be UTF-8 and whole lines; the last one may lack its line feed. After None the columns hold
    /// part of a record: retract them.
    #[inline(always)]
    pub fn line(&mut self, bytes: &[u8], start: usize, until: usize, received_us: i64) -> Option<usize> {
        if !self.plan.fast {
            return None;
        }
        let open = skip_blank(bytes, start);
        let closed = fast::record::<true>(self.plan, bytes, open, &mut self.columns)?;
        let end = if bytes[closed] == b'\n' { closed } else { skip_blank(bytes, closed) };
        if end < until && bytes[end] != b'\n' || end > until || end - start > self.plan.max_bytes {
            return None;
        }
        self.accept(received_us)?;
        Some(end)
    }

    /// Judges the line at `at` that is blank or that [`Judge::line`] did not take (`tried`): its end, and the verdict unless it is
    /// blank. What a road left behind is forgotten.
    #[cold]
    pub fn other_line(
        &mut self,
        bytes: &[u8],
        at: usize,
        until: usize,
        tried: bool,
        received_us: i64,
    ) -> (usize, Option<Result<(), Refused>>) {
        self.retract();
        let stop = memchr::memchr(b'\n', &bytes[at..until]).map_or(until, |end| at + end);
        let line = &bytes[at..without_return(bytes, at, stop)];
        if line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')) {
            return (stop, None);
        }
        // Behind a line lies a line feed, or the end: a good one ends just there.
        let fast = !tried && simdutf8::basic::from_utf8(line).is_ok();
        if fast && self.line(bytes, at, stop, received_us).is_some() {
            return (stop, Some(Ok(())));
        }
        self.retract();
        (stop, Some(self.slowly(line, received_us)))
    }

    /// Tries the fast road for a record whose end is not known: the place after it and after white space, when it is good.
    ///
    /// The buffer must be UTF-8. After None the columns hold part of a record: retract them.
    pub fn element(&mut self, padded: &Padded, start: usize, received_us: i64) -> Option<usize> {
        if !self.plan.fast {
            return None;
        }
        let bytes = padded.bytes();
        let end = fast::record::<false>(self.plan, bytes, start, &mut self.columns)?;
        if end - start > self.plan.max_bytes {
            return None;
        }
        self.accept(received_us)?;
        Some(end)
    }

    /// Most bytes of a record.
    pub fn max_bytes(&self) -> usize {
        self.plan.max_bytes
    }

    /// Forgets all rows, for those who want verdicts only.
    pub fn forget(&mut self) {
        self.columns.forget(self.plan);
    }

    /// Gives the columns back, empty.
    pub fn into_columns(mut self) -> Columns {
        self.forget();
        self.columns
    }

    /// Forgets what a road left behind.
    pub fn retract(&mut self) {
        self.columns.retract(self.plan);
    }

    /// Whether the fast road took the record in `start..end`.
    #[inline(always)]
    fn fast(&mut self, bytes: &[u8], start: usize, end: usize, received_us: i64) -> Option<()> {
        let closed = fast::record::<false>(self.plan, bytes, skip_space(bytes, start), &mut self.columns)?;
        // What follows the record in the buffer is not its own: a bracket found there belongs to another record.
        let ends_there = closed == end || closed < end && skip_space(bytes, closed) >= end;
        ends_there.then(|| self.accept(received_us))?
    }

    /// Accepts the pushed row if its event time is one it may have.
    #[inline(always)]
    pub fn accept(&mut self, received_us: i64) -> Option<()> {
        let event_us = self.event_us();
        let bounds = &self.plan.event_time;
        if event_us.is_some_and(|event_us| !in_time(bounds, event_us, received_us)) {
            return None;
        }
        self.columns.accept(event_us.unwrap_or(received_us));
        Some(())
    }

    /// Event time of the pushed row; None where it has none.
    #[inline(always)]
    fn event_us(&self) -> Option<i64> {
        match self.plan.event_time.leaf? {
            Kind::Timestamp(leaf) => self.columns.timestamps[leaf].last(),
            Kind::Date(leaf) => self.columns.dates[leaf].last().map(|day| first_instant(day, self.plan.dates[leaf])),
            _ => None,
        }
    }

    /// The plan.
    pub fn plan(&self) -> &'a Plan {
        self.plan
    }

    /// The slow road; `record` is one record's bytes. The columns hold whole rows only.
    #[cold]
    pub fn slowly(&mut self, record: &[u8], received_us: i64) -> Result<(), Refused> {
        if record.len() > self.plan.max_bytes {
            return Err((Stage::Parse, vec![slow::too_large(record.len(), self.plan)]));
        }
        self.single.clear();
        self.single.extend_from_slice(record);
        self.single.resize(record.len() + PAD, 0);
        let judged = slow::record(self.plan, &self.single, &mut self.columns, received_us);
        match judged {
            Ok(()) => self.columns.accept(self.event_us().unwrap_or(received_us)),
            Err(_) => self.columns.retract(self.plan),
        }
        judged
    }
}

/// End of the line in `start..end` without one carriage return.
#[inline(always)]
pub fn without_return(bytes: &[u8], start: usize, end: usize) -> usize {
    end - usize::from(end > start && bytes[end - 1] == b'\r')
}

/// Columns that calls hand on to each other: those of a plan hold verdicts only, those of its typed plan hold rows.
#[derive(Default)]
pub struct Spare(Mutex<Vec<Columns>>);

/// Most spare columns a plan keeps: calls at the same time, not more.
const SPARE: usize = 8;

impl Spare {
    /// Columns of an earlier call.
    pub fn take(&self) -> Option<Columns> {
        self.0.lock().ok()?.pop()
    }

    /// Keeps columns for a later call.
    pub fn give(&self, columns: Columns) {
        if let Ok(mut kept) = self.0.lock()
            && kept.len() < SPARE
        {
            kept.push(columns);
        }
    }
}

impl std::fmt::Debug for Spare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Spare")
    }
}
