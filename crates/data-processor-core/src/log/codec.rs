//! How records lie in a row: runs of length-prefixed records, each run with the facts of its request.
//!
//! ```text
//! row  = run*                       at most about ROW_BYTES, or one record that is larger
//! run  = bytes u32, n u32, request i64, received_at_us i64, format length u8, format, record*   (little endian)
//! record = flags u8, [value length, value], [key length, key], [line]                           (lengths, line: LEB128)
//! ```

/// A row is closed when it holds this much: one read decodes little more than it was asked for.
pub(crate) const ROW_BYTES: usize = 1 << 20;

const HEADER: usize = 4 + 4 + 8 + 8 + 1;
const HAS_VALUE: u8 = 1;
const HAS_KEY: u8 = 2;
const HAS_LINE: u8 = 4;

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

/// Records of one request that lie together.
#[derive(Debug)]
pub(crate) struct Run {
    pub n: u32,
    pub bytes: Vec<u8>,
    last: usize,
}

impl Run {
    pub fn last_record(&self) -> &[u8] {
        &self.bytes[self.last..]
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

/// Lays records of one request out; runs where the caller is, not in the writer thread.
pub struct Encoder {
    encoded: Encoded,
    header: Vec<u8>,
    run: Run,
}

impl Encoder {
    /// Starts an append. Of `format` the first 255 bytes are kept; `received_at_us` is µs since 1970 UTC.
    pub fn new(request: i64, received_at_us: i64, format: &str) -> Self {
        let cut = (0..=format.len().min(255)).rev().find(|&at| format.is_char_boundary(at)).unwrap_or(0);
        let format = &format[..cut];
        let mut header = vec![0; 8];
        header.extend_from_slice(&request.to_le_bytes());
        header.extend_from_slice(&received_at_us.to_le_bytes());
        header.push(format.len() as u8);
        header.extend_from_slice(format.as_bytes());
        let run = Run { n: 0, bytes: header.clone(), last: 0 };
        Encoder { encoded: Encoded { runs: Vec::new(), n: 0, size: 0, request, received_at_us }, header, run }
    }

    /// Adds a record after those before it.
    pub fn push(&mut self, record: RecordRef<'_>) {
        let more = record.value.map_or(0, <[u8]>::len) + record.key.map_or(0, <[u8]>::len);
        if self.run.n > 0 && self.run.bytes.len() + more > ROW_BYTES {
            self.close_run();
        }
        let bytes = &mut self.run.bytes;
        self.run.last = bytes.len();
        self.run.n += 1;
        let flag = |present: bool, bit: u8| if present { bit } else { 0 };
        bytes.push(
            flag(record.value.is_some(), HAS_VALUE) | flag(record.key.is_some(), HAS_KEY) | flag(record.line.is_some(), HAS_LINE),
        );
        for text in [record.value, record.key].into_iter().flatten() {
            push_varint(bytes, text.len() as u64);
            bytes.extend_from_slice(text);
        }
        if let Some(line) = record.line {
            push_varint(bytes, line);
        }
    }

    /// Ends the append.
    pub fn finish(mut self) -> Encoded {
        if self.run.n > 0 {
            self.close_run();
        }
        self.encoded
    }

    fn close_run(&mut self) {
        let mut run = std::mem::replace(&mut self.run, Run { n: 0, bytes: self.header.clone(), last: 0 });
        let after = (run.bytes.len() - 4) as u32;
        run.bytes[..4].copy_from_slice(&after.to_le_bytes());
        run.bytes[4..8].copy_from_slice(&run.n.to_le_bytes());
        self.encoded.n += i64::from(run.n);
        self.encoded.size += run.bytes.len();
        self.encoded.runs.push(run);
    }
}

fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// A run read back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunRef<'a> {
    pub n: u32,
    pub request: i64,
    pub received_at_us: i64,
    pub format: &'a str,
    records: &'a [u8],
}

/// The runs of a row's body; an item is None where the bytes make no sense, and nothing comes after it.
pub(crate) fn runs(mut body: &[u8]) -> impl Iterator<Item = Option<RunRef<'_>>> {
    std::iter::from_fn(move || {
        if body.is_empty() {
            return None;
        }
        let run = take_run(&mut body);
        if run.is_none() {
            body = &[];
        }
        Some(run)
    })
}

fn take_run<'a>(body: &mut &'a [u8]) -> Option<RunRef<'a>> {
    let bytes = take_u32(body)? as usize;
    let mut run = take(body, bytes)?;
    if run.len() < HEADER - 4 {
        return None;
    }
    let n = take_u32(&mut run)?;
    let request = take_i64(&mut run)?;
    let received_at_us = take_i64(&mut run)?;
    let length = take(&mut run, 1)?[0] as usize;
    let format = std::str::from_utf8(take(&mut run, length)?).ok()?;
    Some(RunRef { n, request, received_at_us, format, records: run })
}

impl<'a> RunRef<'a> {
    /// The records in order, each with the bytes it was laid out in; None where they make no sense.
    pub fn records(&self) -> impl Iterator<Item = Option<(RecordRef<'a>, &'a [u8])>> + use<'a> {
        let (mut left, mut bytes) = (self.n, self.records);
        std::iter::from_fn(move || {
            if left == 0 {
                // Bytes after the last record would be records nobody counted.
                return (!std::mem::take(&mut bytes).is_empty()).then_some(None);
            }
            left -= 1;
            let start = bytes;
            let record = take_record(&mut bytes);
            if record.is_none() {
                (left, bytes) = (0, &[]);
            }
            Some(record.map(|record| (record, &start[..start.len() - bytes.len()])))
        })
    }
}

fn take_record<'a>(bytes: &mut &'a [u8]) -> Option<RecordRef<'a>> {
    let flags = take(bytes, 1)?[0];
    let mut text = |bit: u8| -> Option<Option<&'a [u8]>> {
        if flags & bit == 0 {
            return Some(None);
        }
        let length = take_varint(bytes)?;
        take(bytes, usize::try_from(length).ok()?).map(Some)
    };
    let (value, key) = (text(HAS_VALUE)?, text(HAS_KEY)?);
    let line = if flags & HAS_LINE == 0 { None } else { Some(take_varint(bytes)?) };
    Some(RecordRef { value, key, line })
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(n)?;
    *bytes = tail;
    Some(head)
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    take(bytes, 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn take_i64(bytes: &mut &[u8]) -> Option<i64> {
    take(bytes, 8)?.try_into().ok().map(i64::from_le_bytes)
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// CRC-32C of a row: its place and its body, so that a row moved elsewhere does not pass for another.
pub(crate) fn row_checksum(first: i64, n: i64, body: &[u8]) -> u32 {
    let place = crc32c::crc32c_append(crc32c::crc32c(&first.to_le_bytes()), &n.to_le_bytes());
    crc32c::crc32c_append(place, body)
}

/// CRC-32C of a record with its place and the facts of its request: the `check` of a position.
///
/// The facts are in it, so that a log restored from a backup and grown again with equal records is told apart.
pub(crate) fn record_check(offset: i64, request: i64, received_at_us: i64, record: &[u8]) -> u32 {
    let facts =
        [offset, request, received_at_us].into_iter().fold(0, |crc, fact| crc32c::crc32c_append(crc, &fact.to_le_bytes()));
    crc32c::crc32c_append(facts, record)
}

#[cfg(test)]
mod tests {
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
        encoder.finish().runs.into_iter().flat_map(|run| run.bytes).collect()
    }

    fn decode(body: &[u8]) -> Option<Vec<Owned>> {
        let mut records = Vec::new();
        for run in runs(body) {
            for record in run?.records() {
                let (record, _) = record?;
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
        assert!(encoded.runs.len() >= 3 && encoded.runs.iter().all(|run| run.bytes.len() <= ROW_BYTES + 200));
        let body: Vec<u8> = encoded.runs.iter().flat_map(|run| run.bytes.clone()).collect();
        let lines: Vec<_> = decode(&body).expect("whole").into_iter().map(|record| record.2).collect();
        assert_eq!(lines, (1..=30).map(Some).collect::<Vec<_>>());
    }
}
