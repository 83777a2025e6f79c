//! A request body split into records, each judged: what the door answers and what the log appends.

use bytes::Bytes;

use super::violation::Violation;

/// A violation and the record it belongs to, counted from 0 in its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indexed {
    /// Record of the body.
    pub index: usize,
    /// The broken rule.
    pub violation: Violation,
}

/// The records of one body, as ranges of it: no record is copied.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    /// The whole body.
    pub body: Bytes,
    /// Start and end of each record in `body`.
    pub ranges: Vec<(u32, u32)>,
    /// 1-based line of each record; None for a body without lines.
    pub lines: Option<Vec<u32>>,
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

    /// 1-based line of an NDJSON record.
    pub fn line(&self, index: usize) -> Option<u64> {
        self.lines.as_ref().map(|lines| u64::from(lines[index]))
    }
}
