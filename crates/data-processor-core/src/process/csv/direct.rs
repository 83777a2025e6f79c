//! The direct road: cells that surely meet the contract, straight into columns. It gives up (None) at the first doubt, and the
//! row's canonical text decides.
//!
//! Law: whatever this road accepts, the JSON roads accept of the row's canonical text, with the same values.

use super::cells::{Cell, Spelling};
use super::dialect::Dialect;
use super::layout::{Layout, Member};
use crate::contract::{Kind, Plan, Unknown};
use crate::process::columns::Columns;
use crate::process::number::{nearest_double, plain};
use crate::process::text::number_end;
use crate::process::time::{self, epoch_us};
use crate::process::wide;

/// What becomes of a field of the contract, or of a column that the contract does not have.
enum Step {
    /// The cell of a column.
    Cell { column: usize, kind: Kind, required: bool },
    /// An object with cells below it.
    Object { number: usize, required: bool, steps: Vec<Step>, columns: Vec<usize> },
    /// A field that no column leads to.
    Absent(Kind),
    /// A required field that no column leads to.
    Missing,
    /// A column of the contract's no field, whose cells must be missing.
    Unknown(usize),
}

/// Takes rows of one layout under one contract.
pub struct Road<'a> {
    plan: &'a Plan,
    dialect: &'a Dialect,
    steps: Vec<Step>,
    /// Columns of a row.
    width: usize,
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

    /// Reads a row into columns; whether all its doubles are spelled with at most fifteen digits.
    ///
    /// None: this road does not know, and the columns hold part of the row. `bytes` is UTF-8 and can be read for `PAD` bytes after the row.
    #[inline]
    pub fn row(&self, bytes: &[u8], cells: &[Cell], columns: &mut Columns) -> Option<bool> {
        let (first, last) = (cells.first()?, cells.last()?);
        if cells.len() != self.width || last.end - first.start > self.room {
            return None;
        }
        let mut row = Row { plan: self.plan, dialect: self.dialect, bytes, cells, columns, short: true };
        self.steps.iter().try_for_each(|step| row.step(step))?;
        Some(row.short)
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
        None if field.required => Step::Missing,
        None => Step::Absent(field.kind),
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

struct Row<'a, 'c> {
    plan: &'a Plan,
    dialect: &'a Dialect,
    bytes: &'a [u8],
    cells: &'a [Cell],
    columns: &'c mut Columns,
    short: bool,
}

impl Row<'_, '_> {
    #[inline(always)]
    fn is_there(&self, cell: Cell) -> bool {
        cell.spelling != Spelling::Plain || !self.dialect.is_missing(&self.bytes[cell.start..cell.end])
    }

    #[inline(always)]
    fn step(&mut self, step: &Step) -> Option<()> {
        match step {
            Step::Cell { column, kind, required } => self.field(*column, *kind, *required),
            Step::Object { number, required, steps, columns } => self.object(*number, *required, steps, columns),
            Step::Absent(kind) => {
                self.columns.push_null(self.plan, *kind);
                Some(())
            }
            Step::Missing => None,
            Step::Unknown(column) => (!self.is_there(self.cells[*column])).then_some(()),
        }
    }

    #[inline(never)]
    fn object(&mut self, number: usize, required: bool, steps: &[Step], columns: &[usize]) -> Option<()> {
        if !required && !columns.iter().any(|column| self.is_there(self.cells[*column])) {
            self.columns.push_null(self.plan, Kind::Object(number));
            return Some(());
        }
        self.columns.objects[number].append_non_null();
        steps.iter().try_for_each(|step| self.step(step))
    }

    #[inline(always)]
    fn field(&mut self, column: usize, kind: Kind, required: bool) -> Option<()> {
        let cell = self.cells[column];
        if self.is_there(cell) {
            return self.value(kind, cell);
        }
        if required {
            return None;
        }
        self.columns.push_null(self.plan, kind);
        Some(())
    }

    #[inline(always)]
    fn value(&mut self, kind: Kind, Cell { start, end, spelling }: Cell) -> Option<()> {
        let (plan, bytes) = (self.plan, self.bytes);
        if spelling == Spelling::Doubled {
            return None;
        }
        let columns = &mut *self.columns;
        match kind {
            Kind::Text(leaf) => return columns.texts[leaf].push(bytes, start, end - start, &plan.texts[leaf]).then_some(()),
            Kind::Uuid(leaf) => columns.uuids[leaf].push(wide::uuid(bytes, start).filter(|_| end - start == 36)?),
            Kind::Number(leaf) => {
                let read = plain(bytes, start).filter(|number| number.end == end).and_then(|number| number.double());
                let is_short = read.is_some();
                let value = match read {
                    Some(value) => value,
                    None if number_end(bytes, start) == Some(end) => nearest_double(&bytes[start..end])?,
                    None => return None,
                };
                self.short &= is_short;
                plan.numbers[leaf].surely_admits(value, is_short).then(|| columns.numbers[leaf].push(value))?;
            }
            Kind::Integer(leaf) => {
                let value = plain(bytes, start).filter(|number| number.end == end)?.integer()?;
                plan.integers[leaf].admits(value).then(|| columns.integers[leaf].push(value))?;
            }
            Kind::Decimal(leaf) => {
                let rule = &plan.decimals[leaf];
                let value = plain(bytes, start).filter(|number| number.end == end)?.scaled(usize::from(rule.scale))?;
                rule.admits(value).then(|| columns.decimals[leaf].push(value))?;
            }
            Kind::Boolean(leaf) => {
                let text = &bytes[start..end];
                let value = text.eq_ignore_ascii_case(b"true");
                (value || text.eq_ignore_ascii_case(b"false")).then(|| columns.booleans[leaf].push(value))?;
            }
            Kind::Timestamp(leaf) => {
                let rule = &plan.timestamps[leaf];
                let number = rule.epoch_decimals.and_then(|decimals| Some((decimals, plain(bytes, start)?)));
                let value = match number {
                    Some((decimals, number)) if number.end == end => epoch_us(number.scaled(usize::from(decimals))?)?,
                    _ => time::timestamp(bytes, start, end, rule.zone, &mut columns.memo).ok()?,
                };
                columns.timestamps[leaf].push(value);
            }
            Kind::Date(leaf) => columns.dates[leaf].push(time::date(bytes, start, end)?),
            Kind::Json(_) | Kind::Object(_) | Kind::Array(_) => return None,
        }
        Some(())
    }
}
