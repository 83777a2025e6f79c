//! Rows read back: runs, and the records in them. The layout is `codec`'s; bytes that make no sense are None, never a panic.

use super::codec::{HAS_KEY, HAS_LINE, HAS_VALUE, HEADER, IN_BODY, RecordRef};

/// A run read back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunRef<'a> {
    pub request: i64,
    pub received_at_us: i64,
    pub format: &'a str,
    n: u32,
    laid: Laid<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Laid<'a> {
    Records(&'a [u8]),
    Body { has_lines: bool, index: &'a [u8], body: &'a [u8] },
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

/// The records of a row's body; None where the bytes make no sense.
pub fn records_of(body: &[u8]) -> Option<Vec<RecordRef<'_>>> {
    let mut records = Vec::new();
    for run in runs(body) {
        for record in run?.records() {
            records.push(record?);
        }
    }
    Some(records)
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
    let laid = if n & IN_BODY == 0 { Laid::Records(run) } else { take_body(run)? };
    Some(RunRef { request, received_at_us, format, n: n & !IN_BODY, laid })
}

fn take_body(mut run: &[u8]) -> Option<Laid<'_>> {
    let has_lines = take(&mut run, 1)?[0] != 0;
    let bytes = take_u32(&mut run)? as usize;
    let index = take(&mut run, bytes)?;
    Some(Laid::Body { has_lines, index, body: run })
}

impl<'a> RunRef<'a> {
    /// The records in order; None where the bytes make no sense.
    pub fn records(&self) -> impl Iterator<Item = Option<RecordRef<'a>>> + use<'a> {
        let (mut left, mut laid, mut line) = (self.n, self.laid, 0);
        std::iter::from_fn(move || {
            if left == 0 {
                // Bytes after the last record would be records nobody counted.
                return (!std::mem::replace(&mut laid, Laid::Records(&[])).is_used_up()).then_some(None);
            }
            left -= 1;
            let record = laid.take(&mut line);
            if record.is_none() {
                (left, laid) = (0, Laid::Records(&[]));
            }
            Some(record)
        })
    }
}

impl<'a> Laid<'a> {
    fn is_used_up(&self) -> bool {
        match self {
            Laid::Records(bytes) => bytes.is_empty(),
            Laid::Body { index, body, .. } => index.is_empty() && body.is_empty(),
        }
    }

    fn take(&mut self, before: &mut u64) -> Option<RecordRef<'a>> {
        match self {
            Laid::Records(bytes) => take_record(bytes),
            Laid::Body { has_lines, index, body } => {
                let skipped = usize::try_from(take_varint(index)?).ok()?;
                take(body, skipped)?;
                let length = usize::try_from(take_varint(index)?).ok()?;
                let value = take(body, length)?;
                if !*has_lines {
                    return Some(RecordRef { value: Some(value), key: None, line: None });
                }
                *before = before.checked_add(take_varint(index)?)?;
                Some(RecordRef { value: Some(value), key: None, line: Some(*before) })
            }
        }
    }
}

/// The first of records that are laid out one by one.
pub(super) fn take_record<'a>(bytes: &mut &'a [u8]) -> Option<RecordRef<'a>> {
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
