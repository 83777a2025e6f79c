//! What events were parsed from: records as JSON in memory, or a file whose records become JSON when somebody asks.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::admit::Format;
use super::csv::Dialect;
use super::judge::{Judge, Padded};
use super::slow::Refused;
use super::source::Canonical;
use super::{avro, csv, in_blocks, parquet_input};
use crate::contract::Plan;
use crate::error::Result;

/// Records as JSON, and start and end of some of them.
pub type Placed = (Arc<Records>, Vec<(u32, u32)>);

/// Records as JSON: what was given, whatever plan types it.
pub struct Records {
    /// All of them.
    pub body: Bytes,
    /// Start and end of each in `body`.
    pub ranges: Vec<(u32, u32)>,
    /// 1-based line or row of each, where the body has any.
    pub lines: Option<Vec<u32>>,
    /// What they came in.
    pub format: Format,
}

impl Records {
    /// Judges the records in `ranges`; `say` is told the place in `ranges` and the verdict.
    pub fn judge(
        &self,
        judge: &mut Judge,
        ranges: &[(u32, u32)],
        received_us: i64,
        mut say: impl FnMut(usize, std::result::Result<(), Refused>),
    ) {
        let range = |at: usize| (ranges[at].0 as usize, ranges[at].1 as usize);
        let max_bytes = judge.max_bytes();
        in_blocks(&self.body, max_bytes, ranges.len(), range, &mut Padded::default(), |padded, index, from, to| {
            let verdict = judge.record(padded, from, to, received_us);
            let (start, end) = range(index);
            let reworded = |refused| csv::reworded(&self.body[start..end], refused);
            say(index, if self.format == Format::Csv { verdict.map_err(reworded) } else { verdict });
        });
    }
}

/// The records of events.
#[derive(Clone)]
pub enum Given {
    /// In memory.
    Records(Arc<Records>),
    /// In a file that was read whole.
    File(Arc<File>),
}

/// A CSV, Avro or Parquet file, and the contract that it was read by.
pub struct File {
    /// That contract.
    pub plan: Arc<Plan>,
    /// All of the file.
    pub bytes: Bytes,
    /// CSV, Avro or Parquet.
    pub format: Format,
    /// How CSV is spelled.
    pub dialect: Dialect,
    /// 1-based line of each record of CSV.
    pub lines: Option<Vec<u32>>,
    /// First byte of each record of CSV.
    pub starts: Vec<usize>,
    /// Records whose doubles may have more than fifteen digits and not the fewest that name them, in order.
    pub long: Vec<u32>,
    /// Records in it.
    pub count: usize,
    /// Its records as JSON, once somebody asked.
    pub records: OnceLock<Arc<Records>>,
}

impl Given {
    /// How many records there are.
    pub fn len(&self) -> usize {
        match self {
            Given::Records(records) => records.ranges.len(),
            Given::File(file) => file.count,
        }
    }

    /// 1-based line or row of a record, where its body has any.
    pub fn line(&self, index: usize) -> Option<u64> {
        match self {
            Given::Records(records) => records.lines.as_ref().map(|lines| u64::from(lines[index])),
            Given::File(file) => match &file.lines {
                Some(lines) => Some(u64::from(lines[index])),
                None => Some(index as u64 + 1),
            },
        }
    }

    /// The records whose doubles may have more than fifteen digits and not the fewest that name them; None: any.
    pub fn long(&self) -> Option<&[u32]> {
        match self {
            Given::Records(_) => None,
            Given::File(file) => Some(&file.long),
        }
    }

    /// The records as JSON. Errors: `body.too_large` from 4 GiB of it.
    pub fn records(&self) -> Result<Arc<Records>> {
        match self {
            Given::Records(records) => Ok(Arc::clone(records)),
            Given::File(file) => file.spelled(),
        }
    }

    /// Some records as JSON, their numbers rising, and where each of them stands: of a file only these are spelled.
    ///
    /// Errors: `body.too_large` from 4 GiB of it.
    pub fn some_records(&self, wanted: &[u32]) -> Result<Placed> {
        if let Given::File(file) = self
            && file.records.get().is_none()
            && wanted.len() < file.count
        {
            let records = Arc::new(file.records_of(file.spelled_only(wanted)?));
            let ranges = records.ranges.clone();
            return Ok((records, ranges));
        }
        let records = self.records()?;
        let ranges = wanted.iter().map(|record| records.ranges[*record as usize]).collect();
        Ok((records, ranges))
    }
}

impl File {
    fn spelled(&self) -> Result<Arc<Records>> {
        if let Some(records) = self.records.get() {
            return Ok(Arc::clone(records));
        }
        let mut made = Canonical::new(self.bytes.len() * 2, usize::MAX);
        match self.format {
            Format::Csv => made = csv::canonical(&self.plan, &self.bytes, &self.dialect, usize::MAX)?.0,
            Format::Avro => avro::canonical(&self.plan, &self.bytes, |text| made.row(text))?,
            _ => parquet_input::canonical(&self.plan, self.bytes.clone(), |text| made.row(text))?,
        }
        let records = Arc::new(self.records_of(made));
        Ok(Arc::clone(self.records.get_or_init(|| records)))
    }

    fn spelled_only(&self, wanted: &[u32]) -> Result<Canonical> {
        let mut made = Canonical::new(0, usize::MAX);
        let (mut rest, mut index) = (wanted.iter().copied().peekable(), 0);
        let keep = |text: &[u8]| {
            let is_wanted = rest.next_if_eq(&index).is_some();
            index += 1;
            if is_wanted { made.row(text) } else { Ok(()) }
        };
        match self.format {
            Format::Csv => {
                let starts = wanted.iter().map(|record| self.starts[*record as usize]);
                return csv::canonical_rows(&self.plan, &self.bytes, &self.dialect, starts);
            }
            Format::Avro => avro::canonical(&self.plan, &self.bytes, keep)?,
            _ => parquet_input::canonical(&self.plan, self.bytes.clone(), keep)?,
        }
        Ok(made)
    }

    fn records_of(&self, made: Canonical) -> Records {
        let Canonical { text, ranges, lines, .. } = made;
        Records { body: Bytes::from(text), ranges, lines: Some(lines), format: self.format }
    }
}
