//! A request body split into records, each judged: what the door answers and what the log appends.

use bytes::Bytes;

use super::columns::Columns;
use super::csv::{self, Dialect, Layout};
use super::judge::{Judge, Padded, without_return};
use super::slow::Refused;
use super::source::Canonical;
pub use super::source::Format;
use super::syntax::{Fault, Limits, value_end};
use super::text::{PAD, skip_space};
use super::violation::Violation;
use super::wide::come_near;
use super::{BLOCK_BYTES, avro, guarded, in_blocks, parquet_input};
use crate::contract::Plan;
use crate::error::{Error, ErrorKind, Result};

/// A violation and the record it belongs to, counted from 0 in its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indexed {
    /// Record of the body.
    pub index: usize,
    /// The broken rule.
    pub violation: Violation,
}

/// The records of one body, as ranges of it: no record of JSON is copied, others are canonical JSON.
#[derive(Debug, Default)]
pub struct Admission {
    /// The whole body, or its records in canonical JSON.
    pub body: Bytes,
    /// Start and end of each record in `body`.
    pub ranges: Vec<(u32, u32)>,
    /// 1-based line or row of each record; None for a body without lines.
    pub lines: Option<Vec<u32>>,
    /// Where the columns of a CSV body stand.
    pub layout: Option<Layout>,
    /// Records that met the contract at the door.
    pub accepted: usize,
    /// The first violations, in order of records.
    pub errors: Vec<Indexed>,
    /// Violations found in all.
    pub errors_total: usize,
}

impl Admission {
    /// Records in the body.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there is no record; never so for an admitted body.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Records that broke the contract at the door.
    pub fn rejected(&self) -> usize {
        self.len() - self.accepted
    }

    /// A record byte for byte. Panics when `index` is not below `len()`.
    pub fn record(&self, index: usize) -> &[u8] {
        let (start, end) = self.ranges[index];
        &self.body[start as usize..end as usize]
    }

    /// 1-based line of an NDJSON or CSV record, or row of a file.
    pub fn line(&self, index: usize) -> Option<u64> {
        self.lines.as_ref().map(|lines| u64::from(lines[index]))
    }
}

/// Splits a body into records and judges each; keeps the first `max_errors` violations.
///
/// Errors, with nothing of the body to be stored: `body.empty`, `body.invalid_json`, `body.invalid_encoding` (`at` in the facts),
/// `body.invalid_csv` (`line`, `column`), `body.invalid_avro`, `avro.bad_schema`, `avro.unknown_codec`, `body.invalid_parquet`,
/// `body.too_large` from 4 GiB, or 256 MiB of records as JSON where they come in another format, `process.panicked`.
pub fn admit(plan: &Plan, body: Bytes, format: Format, received_us: i64, max_errors: usize) -> Result<Admission> {
    admit_in(plan, body, format, &Dialect::default(), received_us, max_errors)
}

/// As [`admit`], a CSV body in this dialect.
pub fn admit_in(
    plan: &Plan,
    body: Bytes,
    format: Format,
    dialect: &Dialect,
    received_us: i64,
    max_errors: usize,
) -> Result<Admission> {
    let spare = plan.spare.take().unwrap_or_else(|| Columns::for_verdicts(plan, ROWS));
    let mut door = Door::new(Judge::reusing(plan, spare), format, received_us, max_errors);
    door.most = MOST_TEXT;
    let Door { judge, admission, .. } = door.judged(plan, body, dialect)?;
    plan.spare.give(judge.into_columns());
    Ok(admission)
}

/// Most bytes that the records of a CSV, Avro or Parquet body at the door may have as JSON.
const MOST_TEXT: usize = 256 << 20;

/// Bytes of a small record: room for rows is made by it.
const SMALL: usize = 256;

/// As [`admit_in`] with all violations, and the rows of the accepted records: their columns and the record of each.
///
/// `plan` is a typed one; the columns are for its spare ones once the rows are taken out.
pub(super) fn admit_rows(
    plan: &Plan,
    body: Bytes,
    format: Format,
    dialect: &Dialect,
    received_us: i64,
) -> Result<(Admission, Columns, Vec<u32>)> {
    let rows = body.len() / SMALL + 1;
    let mut columns = plan.spare.take().unwrap_or_else(|| Columns::new(plan, 0));
    columns.keeps_hours = false;
    columns.make_room(plan, rows);
    let mut door = Door::new(Judge::reusing(plan, columns), format, received_us, usize::MAX);
    door.records = Some(Vec::new());
    let Door { judge, admission, records, .. } = door.judged(plan, body, dialect)?;
    Ok((admission, judge.columns, records.unwrap_or_default()))
}

fn body_error(code: &'static str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Body, code, message)
}

/// Rows after which the door forgets its columns: it wants verdicts only.
const ROWS: usize = 1024;

/// Lines of a body so far.
struct Lines {
    /// Start and end of each record.
    ranges: Vec<(u32, u32)>,
    /// 1-based line of each record.
    numbers: Vec<u32>,
    /// Lines met, blank ones too.
    met: u32,
}

impl Lines {
    fn for_body(body: &[u8]) -> Lines {
        let records = body.len() / SMALL + 1;
        Lines { ranges: Vec::with_capacity(records), numbers: Vec::with_capacity(records), met: 0 }
    }

    /// Adds a line: the start and end of its record, or none.
    #[inline(always)]
    fn add(&mut self, record: Option<(usize, usize)>) {
        self.met += 1;
        if let Some((start, end)) = record {
            self.ranges.push((start as u32, end as u32));
            self.numbers.push(self.met);
        }
    }
}

struct Door<'a> {
    judge: Judge<'a>,
    padded: Padded,
    received_us: i64,
    max_errors: usize,
    format: Format,
    /// Most bytes of records that are made here.
    most: usize,
    admission: Admission,
    /// The record of each row, where rows are kept.
    records: Option<Vec<u32>>,
}

impl<'a> Door<'a> {
    fn new(judge: Judge<'a>, format: Format, received_us: i64, max_errors: usize) -> Self {
        let (padded, admission) = (Padded::default(), Admission::default());
        Door { judge, padded, received_us, max_errors, format, most: usize::MAX, admission, records: None }
    }

    fn judged(mut self, plan: &Plan, body: Bytes, dialect: &Dialect) -> Result<Self> {
        if u32::try_from(body.len()).is_err() {
            return Err(body_error("body.too_large", "the body passes 4 GiB").hint("send smaller bodies"));
        }
        guarded(|| {
            match self.format {
                Format::Json => self.json(body)?,
                Format::Ndjson => self.ndjson(body),
                Format::Csv => {
                    let (records, layout) = csv::canonical(plan, &body, dialect, self.most)?;
                    self.canonical(records);
                    self.admission.layout = Some(layout);
                }
                Format::Avro => {
                    let mut records = Canonical::new(body.len() * 2, self.most);
                    avro::canonical(plan, &body, |text| records.row(text))?;
                    self.canonical(records);
                }
                Format::Parquet => {
                    let mut records = Canonical::new(body.len() * 2, self.most);
                    parquet_input::canonical(plan, body, |text| records.row(text))?;
                    self.canonical(records);
                }
            }
            if self.admission.is_empty() {
                return Err(body_error("body.empty", "the body holds no record").hint("send at least one event"));
            }
            Ok(())
        })?;
        Ok(self)
    }

    /// Lines are judged where they lie, as far as enough bytes follow them; the last ones behind padding.
    fn ndjson(&mut self, body: Bytes) {
        let last = body.len().checked_sub(PAD).and_then(|before| memchr::memrchr(b'\n', &body[..before]));
        let sheltered = last.map_or(0, |at| at + 1);
        let mut lines = Lines::for_body(&body);
        self.sheltered(&body, sheltered, &mut lines);
        let judged = lines.ranges.len();
        let mut at = sheltered;
        for end in memchr::memchr_iter(b'\n', &body[sheltered..]).map(|end| sheltered + end).chain([body.len()]) {
            let stop = without_return(&body, at, end);
            let blank = body[at..stop].iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
            lines.add((!blank).then_some((at, stop)));
            at = end + 1;
        }
        self.ranges(body, lines.ranges, lines.numbers, judged);
    }

    /// Judges whole lines, those before `end`: [`PAD`] bytes follow each one's line feed.
    fn sheltered(&mut self, body: &[u8], end: usize, lines: &mut Lines) {
        let mut at = 0;
        while at < end {
            let near = (at + BLOCK_BYTES).min(end);
            let last = memchr::memrchr(b'\n', &body[at..near]).map(|last| at + last);
            let last = last.or_else(|| memchr::memchr(b'\n', &body[near..end]).map(|more| near + more));
            let until = last.map_or(end, |last| last + 1);
            let utf8 = simdutf8::basic::from_utf8(&body[at..until]).is_ok();
            while at < until {
                // A good line says itself where it ends.
                let good = if utf8 { self.judge.line(body, at, until, self.received_us) } else { None };
                let (stop, verdict) = match good {
                    Some(stop) => (stop, Some(Ok(()))),
                    None => self.judge.other_line(body, at, until, utf8, self.received_us),
                };
                // While a line is read, as much of the next block is fetched.
                come_near(body, at + BLOCK_BYTES, stop + 1 + BLOCK_BYTES);
                let record = verdict.is_some().then(|| (at, without_return(body, at, stop)));
                if let Some(verdict) = verdict {
                    self.note(lines.ranges.len(), verdict);
                }
                lines.add(record);
                at = stop + 1;
            }
        }
    }

    fn canonical(&mut self, records: Canonical) {
        self.ranges(Bytes::from(records.text), records.ranges, records.lines, 0);
    }

    /// Judges records whose places are known, those after the first `judged`.
    fn ranges(&mut self, body: Bytes, ranges: Vec<(u32, u32)>, lines: Vec<u32>, judged: usize) {
        let mut padded = std::mem::take(&mut self.padded);
        let max_bytes = self.judge.max_bytes();
        let range = |at: usize| (ranges[judged + at].0 as usize, ranges[judged + at].1 as usize);
        in_blocks(&body, max_bytes, ranges.len() - judged, range, &mut padded, |padded, index, from, to| {
            let mut verdict = self.judge.record(padded, from, to, self.received_us);
            if self.format == Format::Csv {
                let (start, end) = range(index);
                verdict = verdict.map_err(|refused| csv::reworded(&body[start..end], refused));
            }
            self.note(judged + index, verdict);
        });
        (self.admission.body, self.admission.ranges, self.admission.lines) = (body, ranges, Some(lines));
    }

    fn note(&mut self, index: usize, verdict: std::result::Result<(), Refused>) {
        match verdict {
            Ok(()) => {
                self.admission.accepted += 1;
                self.records.iter_mut().for_each(|records| records.push(index as u32));
            }
            Err((_, violations)) => {
                self.admission.errors_total += violations.len();
                let room = self.max_errors - self.admission.errors.len();
                self.admission.errors.extend(violations.into_iter().take(room).map(|violation| Indexed { index, violation }));
            }
        }
        if self.records.is_none() && self.judge.columns.rows >= ROWS {
            self.judge.forget();
        }
    }

    fn json(&mut self, body: Bytes) -> Result<()> {
        self.admission.body = body.clone();
        if let Err(error) = simdutf8::compat::from_utf8(&body) {
            let at = error.valid_up_to();
            return Err(body_error("body.invalid_encoding", format!("the body is not UTF-8 at byte {at}"))
                .hint("encode the body as UTF-8")
                .int("at", at));
        }
        let mut padded = std::mem::take(&mut self.padded);
        padded.load(&body);
        let start = skip_space(padded.bytes(), 0);
        if start == body.len() {
            return Ok(());
        }
        let end = if padded.bytes()[start] == b'[' { self.elements(&padded, start) } else { self.element(&padded, start) };
        let end = end.and_then(|end| match skip_space(padded.bytes(), end) {
            rest if rest == body.len() => Ok(rest),
            at => Err(at),
        });
        end.map(|_| ()).map_err(|at| {
            let at = at.min(body.len());
            let hint = "send one JSON object or array, complete; or NDJSON as application/x-ndjson";
            body_error("body.invalid_json", format!("the body is not JSON at byte {at}")).hint(hint).int("at", at)
        })
    }

    /// Each element of the array at `open`; the place after it, or the byte that is not JSON.
    fn elements(&mut self, padded: &Padded, open: usize) -> std::result::Result<usize, usize> {
        let bytes = padded.bytes();
        let mut at = skip_space(bytes, open + 1);
        if bytes[at] == b']' {
            return Ok(at + 1);
        }
        loop {
            at = skip_space(bytes, self.element(padded, at)?);
            match bytes[at] {
                b',' => at = skip_space(bytes, at + 1),
                b']' => return Ok(at + 1),
                _ => return Err(at),
            }
        }
    }

    /// One record; the place after it. The fast road finds its end by itself, otherwise syntax does, without limits.
    fn element(&mut self, padded: &Padded, start: usize) -> std::result::Result<usize, usize> {
        let index = self.admission.ranges.len();
        let (end, verdict) = match self.judge.element(padded, start, self.received_us) {
            Some(end) => (end, Ok(())),
            None => {
                self.judge.retract();
                let mut limits = Limits { depth: usize::MAX, members: 0 };
                let end = value_end(padded.bytes(), start, &mut limits).map_err(|fault| match fault {
                    Fault::Invalid { at } => at,
                    Fault::TooDeep => start,
                })?;
                (end, self.judge.record(padded, start, end, self.received_us))
            }
        };
        self.admission.ranges.push((start as u32, end as u32));
        self.note(index, verdict);
        Ok(end)
    }
}
