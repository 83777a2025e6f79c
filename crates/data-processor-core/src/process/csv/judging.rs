//! Judging a CSV body: many rows together while they leave no doubt, one by one where they do, and the doubtful ones by their text.

use super::cells::{Cell, Rows};
use super::dialect::Dialect;
use super::direct::{ROWS, Road};
use super::layout::Layout;
use super::record::Writer;
use super::shelter::Shelter;
use super::{reworded, too_many};
use crate::contract::Plan;
use crate::error::Result;
use crate::process::admit::Indexed;
use crate::process::judge::{Judge, Padded};

/// Rows of a CSV body that were judged straight from their cells where these leave no doubt.
#[derive(Default)]
pub struct Judged {
    /// 1-based line of each record.
    pub lines: Vec<u32>,
    /// First byte of each record.
    pub starts: Vec<usize>,
    /// The record of each good row.
    pub records: Vec<u32>,
    /// Records with doubles of more than fifteen digits, and those whose text was judged.
    pub long: Vec<u32>,
    /// What is wrong with the others.
    pub violations: Vec<Indexed>,
}

/// A body that is being judged.
pub struct Judging<'a, 'j> {
    pub plan: &'a Plan,
    pub body: &'a [u8],
    pub dialect: &'a Dialect,
    pub layout: &'j Layout,
    pub judge: &'j mut Judge<'a>,
    pub received_us: i64,
}

/// Where the rows of a body go.
struct Ways<'a> {
    road: Option<Road<'a>>,
    shelter: Shelter<'a>,
    /// How often rows are taken one by one after some were not taken together, and how often they still are.
    caution: u32,
    left: u32,
    spelled: Vec<u8>,
    padded: Padded,
}

/// Most times that rows are taken one by one before they are tried together again.
const MOST_CAUTION: u32 = 31;

impl<'a> Judging<'a, '_> {
    /// Judges all rows. Errors: as [`Rows::next`].
    pub fn all(&mut self, rows: &mut Rows) -> Result<Judged> {
        let road = Road::new(self.plan, self.dialect, self.layout);
        let shelter = Shelter::new(self.body);
        let mut ways = Ways { road, shelter, caution: 0, left: 0, spelled: Vec::new(), padded: Padded::default() };
        let (mut cells, mut made, mut is_end) = (Vec::new(), Judged::default(), false);
        while !is_end {
            let (first, mut sure, mut odd) = (made.lines.len(), 0, false);
            cells.clear();
            for _ in 0..ROWS {
                let Some(line) = rows.next(&mut cells)? else {
                    is_end = true;
                    break;
                };
                u32::try_from(made.lines.len()).map_err(|_| too_many())?;
                made.lines.push(line);
                made.starts.push(cells[sure].first_byte());
                odd = !ways.are_sure(&cells[sure..]);
                if odd {
                    break;
                }
                sure = cells.len();
            }
            self.together(&mut ways, first, &cells[..sure], &mut made);
            if odd {
                self.alone(&mut ways, made.lines.len() - 1, &cells[sure..], &mut made);
            }
        }
        Ok(made)
    }

    /// Judges rows that may be taken together, if any.
    fn together(&mut self, ways: &mut Ways, first: usize, cells: &[Cell], made: &mut Judged) {
        let Some(road) = ways.road.as_ref().filter(|_| !cells.is_empty()) else { return };
        let count = cells.len() / road.width;
        if ways.left == 0 {
            if let Some(long) = road.rows(self.body, cells, &mut self.judge.columns, self.received_us) {
                ways.caution /= 2;
                made.records.extend((first..first + count).map(|index| index as u32));
                made.long.extend((0..count).filter(|row| long >> row & 1 == 1).map(|row| (first + row) as u32));
                return;
            }
            self.judge.retract();
            ways.caution = (ways.caution * 2 + 1).min(MOST_CAUTION);
            ways.left = ways.caution;
        }
        ways.left -= 1;
        let width = road.width;
        cells.chunks_exact(width).enumerate().for_each(|(row, cells)| self.alone(ways, first + row, cells, made));
    }

    /// Judges a row.
    fn alone(&mut self, ways: &mut Ways, index: usize, cells: &[Cell], made: &mut Judged) {
        let taken = ways.road.as_ref().filter(|road| road.suits(cells)).and_then(|road| {
            let (text, cells) = ways.shelter.row(cells)?;
            road.rows(text, cells, &mut self.judge.columns, self.received_us)
        });
        if taken.is_none() {
            self.judge.retract();
        }
        if taken == Some(0) {
            return made.records.push(index as u32);
        }
        made.long.push(index as u32);
        if taken.is_some() {
            return made.records.push(index as u32);
        }
        let Ways { spelled, padded, .. } = ways;
        spelled.clear();
        Writer { plan: self.plan, dialect: self.dialect, bytes: self.body, cells }.row(self.layout, spelled);
        padded.load(spelled);
        match self.judge.record(padded, 0, spelled.len(), self.received_us) {
            Ok(()) => made.records.push(index as u32),
            Err(refused) => {
                let (_, found) = reworded(spelled, refused);
                made.violations.extend(found.into_iter().map(|violation| Indexed { index, violation }));
            }
        }
    }
}

impl Ways<'_> {
    /// Whether a row may be taken together with others.
    #[inline(always)]
    fn are_sure(&mut self, cells: &[Cell]) -> bool {
        self.road.as_ref().is_some_and(|road| road.suits(cells)) && self.shelter.holds(cells)
    }
}
