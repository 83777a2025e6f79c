//! How records lie in a row: runs, each with the facts of its request.
//!
//! ```text
//! row    = run*                      at most about ROW_BYTES, or one record that is larger
//! run    = bytes u32, n u32, request i64, received_at_us i64, format length u8, format, laid    (little endian)
//! laid   = record* | lines u8, index bytes u32, index, body    the latter when the highest bit of n is set
//! record = flags u8, [value length, value], [key length, key], [line]                          (lengths, line: LEB128)
//! index  = (bytes to skip, value length, [line - the line before])*: where the records lie in the body  (LEB128)
//! ```
//!
//! A body that was admitted goes into the log as it came, with an index in front of it: no record of it is copied for itself.

use bytes::Bytes;

use super::decode::take_record;

/// A row is closed when it holds this much: one read decodes little more than it was asked for.
pub(crate) const ROW_BYTES: usize = 1 << 20;

pub(super) const HEADER: usize = 4 + 4 + 8 + 8 + 1;
pub(super) const HAS_VALUE: u8 = 1;
pub(super) const HAS_KEY: u8 = 2;
pub(super) const HAS_LINE: u8 = 4;
/// The records lie in a body.
pub(super) const IN_BODY: u32 = 1 << 31;
/// What lies between two records of a body is kept when it is no more than this; white space need not be.
const GAP_BYTES: usize = 64;

/// One record: its bytes as they came (None: a record without a value), its ordering key, its line or row in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RecordRef<'a> {
    /// The record's own bytes.
    pub value: Option<&'a [u8]>,
    /// Ordering key.
    pub key: Option<&'a [u8]>,
    /// Line or row in the body, from 1.
    pub line: Option<u64>,
}

impl RecordRef<'_> {
    /// Gives the bytes of `record` as the grammar above has them, in pieces.
    fn lay_out(&self, mut give: impl FnMut(&[u8])) {
        let flag = |present: bool, bit: u8| if present { bit } else { 0 };
        let flags =
            flag(self.value.is_some(), HAS_VALUE) | flag(self.key.is_some(), HAS_KEY) | flag(self.line.is_some(), HAS_LINE);
        give(&[flags]);
        for text in [self.value, self.key].into_iter().flatten() {
            give(varint(text.len() as u64, &mut [0; 10]));
            give(text);
        }
        if let Some(line) = self.line {
            give(varint(line, &mut [0; 10]));
        }
    }
}

/// Where a run's last record is, for its check.
#[derive(Clone, Copy, Debug)]
enum Last {
    /// Laid out from this byte of `laid` on.
    LaidOut(usize),
    /// The last bytes of `body`, and its line.
    Body(usize, Option<u64>),
}

/// Records of one request that lie together: `laid`, then `body`.
#[derive(Debug)]
pub(crate) struct Run {
    pub n: u32,
    pub laid: Vec<u8>,
    pub body: Bytes,
    last: Last,
}

impl Run {
    pub fn size(&self) -> usize {
        self.laid.len() + self.body.len()
    }

    pub fn last_record(&self) -> RecordRef<'_> {
        match self.last {
            Last::LaidOut(at) => take_record(&mut &self.laid[at..]).unwrap_or_default(),
            Last::Body(length, line) => RecordRef { value: Some(&self.body[self.body.len() - length..]), key: None, line },
        }
    }

    /// Writes what the header says of the run's size, now that it is known.
    fn close(&mut self, kind: u32) {
        let after = (self.size() - 4) as u32;
        self.laid[..4].copy_from_slice(&after.to_le_bytes());
        self.laid[4..8].copy_from_slice(&(self.n | kind).to_le_bytes());
    }
}

/// The records of one append, ready to be written.
#[derive(Debug)]
pub struct Encoded {
    pub(crate) runs: Vec<Run>,
    pub(crate) n: i64,
    pub(crate) size: usize,
    pub(crate) request: i64,
    pub(crate) received_at_us: i64,
}

impl Encoded {
    fn none(request: i64, received_at_us: i64) -> Self {
        Encoded { runs: Vec::new(), n: 0, size: 0, request, received_at_us }
    }

    /// The records that lie in `body` at these places, in order and apart, with the line of each when there are lines.
    ///
    /// The body is held, not copied. Of `format` the first 255 bytes are kept; `received_at_us` is µs since 1970 UTC.
    pub fn of_body(
        request: i64,
        received_at_us: i64,
        format: &str,
        body: &Bytes,
        ranges: &[(u32, u32)],
        lines: Option<&[u32]>,
    ) -> Self {
        let header = header(request, received_at_us, format);
        let mut encoded = Encoded::none(request, received_at_us);
        let mut at = 0;
        while at < ranges.len() {
            let run = body_run(&header, body, &ranges[at..], lines.map(|lines| &lines[at..]));
            at += run.n as usize;
            encoded.add(run);
        }
        encoded
    }

    fn add(&mut self, run: Run) {
        self.n += i64::from(run.n);
        self.size += run.size();
        self.runs.push(run);
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.n as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// Bytes they take in the log.
    pub fn size(&self) -> usize {
        self.size
    }
}

fn header(request: i64, received_at_us: i64, format: &str) -> Vec<u8> {
    let cut = (0..=format.len().min(255)).rev().find(|&at| format.is_char_boundary(at)).unwrap_or(0);
    let format = &format[..cut];
    let mut header = vec![0; 8];
    header.extend_from_slice(&request.to_le_bytes());
    header.extend_from_slice(&received_at_us.to_le_bytes());
    header.push(format.len() as u8);
    header.extend_from_slice(format.as_bytes());
    header
}

/// The first of these records, as many as lie close together and fit into a row.
fn body_run(header: &[u8], body: &Bytes, ranges: &[(u32, u32)], lines: Option<&[u32]>) -> Run {
    let start = ranges[0].0 as usize;
    let (mut end, mut line, mut n) = (start, 0, 0);
    let mut laid = Vec::with_capacity(header.len() + 5 + ranges.len() * 4);
    laid.extend_from_slice(header);
    laid.extend_from_slice(&[u8::from(lines.is_some()), 0, 0, 0, 0]);
    let index = laid.len();
    for (at, &(from, to)) in ranges.iter().enumerate() {
        let (from, to) = (from as usize, to as usize);
        if n > 0 && (from - end > GAP_BYTES || to - start > ROW_BYTES) {
            break;
        }
        push_varint(&mut laid, (from - end) as u64);
        push_varint(&mut laid, (to - from) as u64);
        if let Some(lines) = lines {
            push_varint(&mut laid, u64::from(lines[at] - line));
            line = lines[at];
        }
        (end, n) = (to, n + 1);
    }
    let bytes = (laid.len() - index) as u32;
    laid[index - 4..index].copy_from_slice(&bytes.to_le_bytes());
    let (from, to) = ranges[n as usize - 1];
    let last = Last::Body((to - from) as usize, lines.map(|_| u64::from(line)));
    let mut run = Run { n, laid, body: body.slice(start..end), last };
    run.close(IN_BODY);
    run
}

/// Lays records of one request out, each copied; runs where the caller is, not in the writer thread.
pub struct Encoder {
    encoded: Encoded,
    header: Vec<u8>,
    run: Run,
}

impl Encoder {
    /// Starts an append. Of `format` the first 255 bytes are kept; `received_at_us` is µs since 1970 UTC.
    pub fn new(request: i64, received_at_us: i64, format: &str) -> Self {
        let header = header(request, received_at_us, format);
        let run = empty(&header);
        Encoder { encoded: Encoded::none(request, received_at_us), header, run }
    }

    /// Adds a record after those before it.
    pub fn push(&mut self, record: RecordRef<'_>) {
        let more = record.value.map_or(0, <[u8]>::len) + record.key.map_or(0, <[u8]>::len);
        if self.run.n > 0 && self.run.laid.len() + more > ROW_BYTES {
            self.close_run();
        }
        self.run.last = Last::LaidOut(self.run.laid.len());
        self.run.n += 1;
        record.lay_out(|bytes| self.run.laid.extend_from_slice(bytes));
    }

    /// Ends the append.
    pub fn finish(mut self) -> Encoded {
        if self.run.n > 0 {
            self.close_run();
        }
        self.encoded
    }

    fn close_run(&mut self) {
        let mut run = std::mem::replace(&mut self.run, empty(&self.header));
        run.close(0);
        self.encoded.add(run);
    }
}

fn empty(header: &[u8]) -> Run {
    Run { n: 0, laid: header.to_vec(), body: Bytes::new(), last: Last::LaidOut(header.len()) }
}

fn varint(mut value: u64, bytes: &mut [u8; 10]) -> &[u8] {
    let mut length = 0;
    while value >= 0x80 {
        bytes[length] = value as u8 | 0x80;
        value >>= 7;
        length += 1;
    }
    bytes[length] = value as u8;
    &bytes[..=length]
}

fn push_varint(bytes: &mut Vec<u8>, value: u64) {
    bytes.extend_from_slice(varint(value, &mut [0; 10]));
}

/// CRC-32C of a row: its place and its body, so that a row moved elsewhere does not pass for another. The body may come in pieces.
pub(crate) fn row_checksum(first: i64, n: i64, body: &[&[u8]]) -> u32 {
    let place = crc32c::crc32c_append(crc32c::crc32c(&first.to_le_bytes()), &n.to_le_bytes());
    body.iter().fold(place, |crc, piece| crc32c::crc32c_append(crc, piece))
}

/// CRC-32C of a record with its place and the facts of its request: the `check` of a position.
///
/// The facts are in it, so that a log restored from a backup and grown again with equal records is told apart.
pub(crate) fn record_check(offset: i64, request: i64, received_at_us: i64, record: RecordRef<'_>) -> u32 {
    let facts = [offset, request, received_at_us];
    let mut crc = facts.into_iter().fold(0, |crc, fact| crc32c::crc32c_append(crc, &fact.to_le_bytes()));
    record.lay_out(|bytes| crc = crc32c::crc32c_append(crc, bytes));
    crc
}

#[cfg(test)]
mod tests {
    use super::super::decode::runs;
    use super::*;
    use proptest::prelude::*;

    type Owned = (Option<Vec<u8>>, Option<Vec<u8>>, Option<u64>);

    fn record() -> impl Strategy<Value = Owned> {
        let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200));
        (bytes(), bytes(), proptest::option::of(any::<u64>()))
    }

    fn body_of(records: &[Owned]) -> Vec<u8> {
        let mut encoder = Encoder::new(7, -1, "ndjson");
        for (value, key, line) in records {
            encoder.push(RecordRef { value: value.as_deref(), key: key.as_deref(), line: *line });
        }
        bytes_of(&encoder.finish())
    }

    fn bytes_of(encoded: &Encoded) -> Vec<u8> {
        encoded.runs.iter().flat_map(|run| [&run.laid[..], &run.body].concat()).collect()
    }

    fn decode(body: &[u8]) -> Option<Vec<Owned>> {
        let mut records = Vec::new();
        for run in runs(body) {
            for record in run?.records() {
                let record = record?;
                records.push((record.value.map(<[u8]>::to_vec), record.key.map(<[u8]>::to_vec), record.line));
            }
        }
        Some(records)
    }

    proptest! {
        #[test]
        fn what_was_laid_out_is_read_back(records in proptest::collection::vec(record(), 0..50)) {
            prop_assert_eq!(decode(&body_of(&records)), Some(records));
        }

        #[test]
        fn records_in_a_body_are_read_back_and_checked_as_if_laid_out_one_by_one(
            parts in proptest::collection::vec((0usize..150, proptest::collection::vec(any::<u8>(), 0..200), 0u32..3), 1..40),
            lines: bool,
        ) {
            let (mut body, mut ranges, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
            for (gap, value, more) in &parts {
                body.extend(std::iter::repeat_n(b' ', *gap));
                ranges.push((body.len() as u32, (body.len() + value.len()) as u32));
                body.extend_from_slice(value);
                numbers.push(numbers.last().copied().unwrap_or(0) + more);
            }
            let encoded = Encoded::of_body(7, -1, "ndjson", &body.into(), &ranges, lines.then_some(&numbers[..]));
            let records: Vec<Owned> = parts.iter().zip(&numbers)
                .map(|((_, value, _), &line)| (Some(value.clone()), None, lines.then_some(u64::from(line)))).collect();
            prop_assert_eq!(decode(&bytes_of(&encoded)), Some(records.clone()));
            prop_assert_eq!(encoded.len(), records.len());
            let (value, _, line) = records.last().expect("one at least");
            let last = RecordRef { value: value.as_deref(), key: None, line: *line };
            prop_assert_eq!(encoded.runs.last().expect("one").last_record(), last);
            let mut laid = Vec::new();
            last.lay_out(|bytes| laid.extend_from_slice(bytes));
            let facts = [5i64, 7, -1].into_iter().flat_map(i64::to_le_bytes).chain(laid).collect::<Vec<u8>>();
            prop_assert_eq!(record_check(5, 7, -1, last), crc32c::crc32c(&facts));
        }

        #[test]
        fn any_index_is_read_without_panic(n in 0u32..5, lines: bool, index in proptest::collection::vec(any::<u8>(), 0..12), body in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut laid = header(1, 2, "json");
            laid.push(u8::from(lines));
            laid.extend_from_slice(&(index.len() as u32).to_le_bytes());
            laid.extend_from_slice(&index);
            let mut run = Run { n, laid, body: body.into(), last: Last::LaidOut(0) };
            run.close(IN_BODY);
            let _ = decode(&[&run.laid[..], &run.body].concat());
        }

        #[test]
        fn any_bytes_are_read_without_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&body);
        }

        #[test]
        fn a_cut_body_is_refused(records in proptest::collection::vec(record(), 1..20), cut in 1usize..40) {
            let body = body_of(&records);
            let cut = body.len() - cut.min(body.len() - 1);
            prop_assert_eq!(decode(&body[..cut]), None);
        }
    }

    #[test]
    fn large_appends_are_split_into_runs_that_keep_order() {
        let value = vec![b'x'; 100_000];
        let mut encoder = Encoder::new(1, 2, "json");
        for line in 1..=30 {
            encoder.push(RecordRef { value: Some(&value), key: None, line: Some(line) });
        }
        let encoded = encoder.finish();
        assert!(encoded.runs.len() >= 3 && encoded.runs.iter().all(|run| run.size() <= ROW_BYTES + 200));
        let body = bytes_of(&encoded);
        let lines: Vec<_> = decode(&body).expect("whole").into_iter().map(|record| record.2).collect();
        assert_eq!(lines, (1..=30).map(Some).collect::<Vec<_>>());
    }
}
