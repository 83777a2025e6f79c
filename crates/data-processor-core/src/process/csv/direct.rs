//! The direct road: cells that surely meet the contract, straight into columns, many rows at once. It gives up (None) at the first
//! doubt: then its rows are taken one by one, and the canonical text of the doubtful ones decides.
//!
//! Law: whatever this road accepts, the JSON roads accept of the row's canonical text, with the same values.

use super::cells::{Cell, Spelling};
use super::dialect::Dialect;
use super::layout::{Layout, Member};
use crate::contract::{Kind, Plan, Unknown};
use crate::process::columns::Columns;
use crate::process::leaf::{first_instant, in_time};
use crate::process::number::{nearest_double, plain};
use crate::process::text::{PAD, number_end};
use crate::process::time::{self, epoch_us};
use crate::process::wide;

/// Most rows that are taken together: one bit each.
///
/// Taking one column of many rows after the other lets the processor look up several texts at the same time.
pub const ROWS: usize = 64;

/// What is known of rows that were taken.
struct Taken {
    /// One bit for each row with a double of more than fifteen digits.
    long: u64,
    /// Event time of each row, µs.
    times: [Option<i64>; ROWS],
}

/// What becomes of a field of the contract, or of a column that the contract does not have.
enum Step {
    /// The cell of a column.
    Cell { column: usize, kind: Kind, required: bool },
    /// An object with cells below it.
    Object { number: usize, required: bool, steps: Vec<Step>, columns: Vec<usize> },
    /// A field that no column leads to.
    Absent { kind: Kind, required: bool },
    /// A column of the contract's no field, whose cells must be missing.
    Unknown(usize),
}

/// Takes rows of one layout under one contract.
pub struct Road<'a> {
    plan: &'a Plan,
    dialect: &'a Dialect,
    steps: Vec<Step>,
    /// Columns of a row.
    pub width: usize,
    /// Most bytes of a row's cells.
    room: usize,
}

impl<'a> Road<'a> {
    /// A road; None where no row can be taken.
    pub fn new(plan: &'a Plan, dialect: &'a Dialect, layout: &Layout) -> Option<Road<'a>> {
        let steps = steps(plan, 0, &layout.members);
        let (members, bytes) = measured(&layout.members);
        // In JSON each byte of a cell takes at most six.
        let room = plan.max_bytes.checked_sub(bytes + 8)? / 6;
        (plan.fast && members <= plan.max_members).then_some(Road { plan, dialect, steps, width: layout.columns.len(), room })
    }

    /// Whether a row has as many cells as there are columns, and not too many bytes.
    #[inline(always)]
    pub fn suits(&self, cells: &[Cell]) -> bool {
        cells.len() == self.width && cells[cells.len() - 1].end - cells[0].start <= self.room
    }

    /// Reads the cells of so many rows that suit into columns, one column after the other, and accepts the rows; one bit for each
    /// row with a double that is spelled with more than fifteen digits. At most [`ROWS`] rows.
    ///
    /// None: this road does not know some row, and the columns hold part of them. `bytes` is UTF-8 and can be read for `PAD` bytes
    /// after the rows.
    pub fn rows(&self, bytes: &[u8], cells: &[Cell], columns: &mut Columns, received_us: i64) -> Option<u64> {
        let (plan, dialect, width) = (self.plan, self.dialect, self.width);
        let taken = Taken { long: 0, times: [None; ROWS] };
        let mut taking = Taking { plan, dialect, bytes, cells, width, columns, taken };
        let rows = cells.len() / width;
        let all = u64::MAX >> (ROWS - rows);
        self.steps.iter().try_for_each(|step| taking.step(step, all))?;
        let Taken { long, times } = taking.taken;
        let times = &times[..rows];
        if times.iter().flatten().any(|at| !in_time(&plan.event_time, *at, received_us)) {
            return None;
        }
        times.iter().for_each(|at| columns.accept(at.unwrap_or(received_us)));
        Some(long)
    }
}

/// The steps of a node's members.
fn steps(plan: &Plan, node: usize, members: &[Member]) -> Vec<Step> {
    let of_field = |field: usize| members.iter().find(|member| member.field() == Some(field));
    let known = plan.nodes[node].fields.iter().enumerate().map(|(at, field)| match of_field(at) {
        Some(Member::Cell { column, .. }) => Step::Cell { column: *column, kind: field.kind, required: field.required },
        Some(Member::Object { number, members, .. }) => {
            let below = steps(plan, *number, members);
            Step::Object { number: *number, required: field.required, columns: columns_of(members), steps: below }
        }
        None => Step::Absent { kind: field.kind, required: field.required },
    });
    let unknown = members.iter().filter(|member| member.field().is_none() && plan.unknown != Unknown::Drop);
    known.chain(unknown.flat_map(|member| columns_of(std::slice::from_ref(member)).into_iter().map(Step::Unknown))).collect()
}

fn columns_of(members: &[Member]) -> Vec<usize> {
    let below = |member: &Member| match member {
        Member::Cell { column, .. } => vec![*column],
        Member::Object { members, .. } => columns_of(members),
    };
    members.iter().flat_map(below).collect()
}

/// Members of a record and bytes of its text beside the cells, at most.
fn measured(members: &[Member]) -> (usize, usize) {
    members.iter().fold((0, 0), |(count, bytes), member| match member {
        Member::Cell { key, .. } => (count + 1, bytes + key.len() + 3),
        Member::Object { key, members, .. } => {
            let (below, inside) = measured(members);
            (count + 1 + below, bytes + key.len() + 3 + inside)
        }
    })
}

struct Taking<'a, 'c> {
    plan: &'a Plan,
    dialect: &'a Dialect,
    bytes: &'a [u8],
    cells: &'a [Cell],
    width: usize,
    columns: &'c mut Columns,
    taken: Taken,
}

impl Taking<'_, '_> {
    #[inline(always)]
    fn is_there(&self, cell: Cell) -> bool {
        cell.spelling != Spelling::Plain || !self.dialect.is_missing(&self.bytes[cell.start..cell.end])
    }

    /// One bit for each row that has a cell in this column.
    fn rows_with(&self, column: usize) -> u64 {
        let cells = self.cells.iter().skip(column).step_by(self.width);
        cells.rev().fold(0, |rows, cell| rows << 1 | u64::from(self.is_there(*cell)))
    }

    /// A field of the object that the rows in `inside` have.
    fn step(&mut self, step: &Step, inside: u64) -> Option<()> {
        match step {
            Step::Cell { column, kind, required } => self.field(*column, *kind, *required, inside),
            Step::Object { number, required, steps, columns } => {
                let mut there = if *required { inside } else { 0 };
                let mut below = columns.iter();
                while there != inside
                    && let Some(column) = below.next()
                {
                    there |= inside & self.rows_with(*column);
                }
                let objects = &mut self.columns.objects[*number];
                for row in 0..self.cells.len() / self.width {
                    if there >> row & 1 == 1 { objects.append_non_null() } else { objects.append_null() }
                }
                steps.iter().try_for_each(|step| self.step(step, there))
            }
            Step::Absent { required: true, .. } if inside != 0 => None,
            Step::Absent { kind, .. } => {
                (0..self.cells.len() / self.width).for_each(|_| self.columns.push_null(self.plan, *kind));
                Some(())
            }
            Step::Unknown(column) => (inside & self.rows_with(*column) == 0).then_some(()),
        }
    }

    fn field(&mut self, column: usize, kind: Kind, required: bool, inside: u64) -> Option<()> {
        let (plan, bytes) = (self.plan, self.bytes);
        let at = Place { column, kind, required, inside };
        match kind {
            Kind::Text(leaf) => self.each(at, |taking, _, cell| taking.text(leaf, cell)),
            Kind::Uuid(leaf) => self.each(at, |taking, _, Cell { start, end, .. }| {
                taking.columns.uuids[leaf].push(wide::uuid(bytes, start).filter(|_| end - start == 36)?);
                Some(())
            }),
            Kind::Number(leaf) => self.each(at, |taking, row, cell| taking.number(leaf, row, cell)),
            Kind::Integer(leaf) => self.each(at, |taking, _, Cell { start, end, .. }| {
                let value = plain(bytes, start).filter(|number| number.end == end)?.integer()?;
                plan.integers[leaf].admits(value).then(|| taking.columns.integers[leaf].push(value))
            }),
            Kind::Decimal(leaf) => self.each(at, |taking, _, Cell { start, end, .. }| {
                let rule = &plan.decimals[leaf];
                let value = plain(bytes, start).filter(|number| number.end == end)?.scaled(usize::from(rule.scale))?;
                rule.admits(value).then(|| taking.columns.decimals[leaf].push(value))
            }),
            Kind::Boolean(leaf) => self.each(at, |taking, _, Cell { start, end, .. }| {
                let text = &bytes[start..end];
                let value = text.eq_ignore_ascii_case(b"true");
                (value || text.eq_ignore_ascii_case(b"false")).then(|| taking.columns.booleans[leaf].push(value))
            }),
            Kind::Timestamp(leaf) => self.each(at, |taking, row, cell| taking.timestamp(leaf, row, cell)),
            Kind::Date(leaf) => self.each(at, |taking, row, cell| taking.date(leaf, row, cell)),
            Kind::Json(_) | Kind::Object(_) | Kind::Array(_) => self.each(at, |_, _, _| None),
        }
    }

    #[inline(always)]
    fn text(&mut self, leaf: usize, cell: Cell) -> Option<()> {
        let rule = &self.plan.texts[leaf];
        if cell.spelling != Spelling::Doubled {
            let length = cell.end - cell.start;
            return self.columns.texts[leaf].push(self.bytes, cell.start, length, rule).then_some(());
        }
        let single = cell.text(self.bytes, self.dialect.quote);
        let decoded = &mut self.columns.decoded;
        decoded.clear();
        decoded.extend_from_slice(&single);
        decoded.resize(single.len() + PAD, 0);
        self.columns.texts[leaf].push(decoded, 0, single.len(), rule).then_some(())
    }

    #[inline(always)]
    fn number(&mut self, leaf: usize, row: usize, Cell { start, end, .. }: Cell) -> Option<()> {
        let read = plain(self.bytes, start).filter(|number| number.end == end).and_then(|number| number.double());
        let is_short = read.is_some();
        let value = match read {
            Some(value) => value,
            None if number_end(self.bytes, start) == Some(end) => nearest_double(&self.bytes[start..end])?,
            None => return None,
        };
        self.taken.long |= u64::from(!is_short) << row;
        self.plan.numbers[leaf].surely_admits(value, is_short).then(|| self.columns.numbers[leaf].push(value))
    }

    #[inline(always)]
    fn timestamp(&mut self, leaf: usize, row: usize, Cell { start, end, .. }: Cell) -> Option<()> {
        let rule = &self.plan.timestamps[leaf];
        let number = rule.epoch_decimals.and_then(|decimals| Some((decimals, plain(self.bytes, start)?)));
        let value = match number {
            Some((decimals, number)) if number.end == end => epoch_us(number.scaled(usize::from(decimals))?)?,
            _ => time::timestamp(self.bytes, start, end, rule.zone, &mut self.columns.memo).ok()?,
        };
        self.columns.timestamps[leaf].push(value);
        self.at_time(Kind::Timestamp(leaf), row, || value);
        Some(())
    }

    fn date(&mut self, leaf: usize, row: usize, Cell { start, end, .. }: Cell) -> Option<()> {
        let day = time::date(self.bytes, start, end)?;
        self.columns.dates[leaf].push(day);
        let zone = self.plan.dates[leaf];
        self.at_time(Kind::Date(leaf), row, || first_instant(day, zone));
        Some(())
    }

    /// Notes the event time of a row, if this field tells it.
    #[inline(always)]
    fn at_time(&mut self, kind: Kind, row: usize, instant: impl FnOnce() -> i64) {
        if self.plan.event_time.leaf == Some(kind) {
            self.taken.times[row] = Some(instant());
        }
    }

    /// Takes the cells of a column; a cell that is missing is a null where it may be.
    #[inline(always)]
    fn each(&mut self, at: Place, mut take: impl FnMut(&mut Self, usize, Cell) -> Option<()>) -> Option<()> {
        let cells = self.cells;
        for (row, cell) in cells.iter().skip(at.column).step_by(self.width).enumerate() {
            if self.is_there(*cell) {
                if cell.spelling == Spelling::Doubled && !matches!(at.kind, Kind::Text(_)) {
                    return None; // only texts hold quotes
                }
                take(self, row, *cell)?;
            } else if at.required && at.inside >> row & 1 == 1 {
                return None;
            } else {
                self.columns.push_null(self.plan, at.kind);
            }
        }
        Some(())
    }
}

/// A column, and what it must be in which rows.
#[derive(Clone, Copy)]
struct Place {
    column: usize,
    kind: Kind,
    required: bool,
    /// Rows that have the object around it.
    inside: u64,
}
