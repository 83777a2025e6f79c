//! CSV (RFC 4180): rows become records of canonical JSON, typed by the contract.
//!
//! A row with another number of cells than there are columns becomes the array of its cells, which no contract accepts: its one
//! violation is `csv.wrong_cell_count`.

mod cells;
mod dialect;
mod direct;
mod judging;
mod layout;
mod record;
mod scan;
mod shelter;

pub use dialect::Dialect;
pub use judging::Judged;
pub use layout::Layout;

use cells::Rows;
use judging::Judging;
use record::Writer;

use super::judge::Judge;
use super::source::Canonical;
use super::syntax::{Limits, value_end};
use super::text::PAD;
use super::violation::{Stage, Violation};
use crate::contract::Plan;
use crate::error::{Error, ErrorKind, Result};

/// The records of a CSV body, and where its columns stand.
///
/// Errors, with nothing of the body to be stored: `body.invalid_csv` (an open quote, text after a closing one, a name that stands
/// twice in the header), `body.invalid_encoding` for a header that is not UTF-8, `body.empty` without a header,
/// `body.too_large` when the records pass `most` bytes.
pub fn canonical(plan: &Plan, body: &[u8], dialect: &Dialect, most: usize) -> Result<(Canonical, Layout)> {
    let mut rows = Rows::new(body, dialect);
    let mut cells = Vec::new();
    let layout = layout(plan, body, dialect, &mut rows)?;
    let mut records = Canonical::new(body.len() * 2, most);
    while let Some(line) = next_alone(&mut rows, &mut cells)? {
        let writer = Writer { plan, dialect, bytes: body, cells: &cells };
        records.record(line, |out| writer.row(&layout, out))?;
    }
    Ok((records, layout))
}

fn next_alone(rows: &mut Rows, cells: &mut Vec<cells::Cell>) -> Result<Option<u32>> {
    cells.clear();
    rows.next(cells)
}

/// The records of some rows of a CSV body whose rows were all read before: they begin at `starts`. Their lines are not told.
///
/// Errors: as [`canonical`].
pub fn canonical_rows(plan: &Plan, body: &[u8], dialect: &Dialect, starts: impl Iterator<Item = usize>) -> Result<Canonical> {
    let mut rows = Rows::new(body, dialect);
    let mut cells = Vec::new();
    let layout = layout(plan, body, dialect, &mut rows)?;
    let mut records = Canonical::new(0, usize::MAX);
    for start in starts {
        cells.clear();
        rows.again(start, &mut cells)?;
        let writer = Writer { plan, dialect, bytes: body, cells: &cells };
        records.record(0, |out| writer.row(&layout, out))?;
    }
    Ok(records)
}

/// Judges the rows of a CSV body into columns. Errors: as [`canonical`].
pub fn judged<'a>(
    plan: &'a Plan,
    body: &'a [u8],
    dialect: &'a Dialect,
    judge: &mut Judge<'a>,
    received_us: i64,
) -> Result<Judged> {
    let mut rows = Rows::new(body, dialect);
    let layout = layout(plan, body, dialect, &mut rows)?;
    Judging { plan, body, dialect, layout: &layout, judge, received_us }.all(&mut rows)
}

fn too_many() -> Error {
    Error::new(ErrorKind::Body, "body.too_large", "the body holds more than 4294967295 records").hint("send smaller bodies")
}

/// Reads the header, when there is one, and places the columns.
fn layout(plan: &Plan, body: &[u8], dialect: &Dialect, rows: &mut Rows) -> Result<Layout> {
    let mut cells = Vec::new();
    if dialect.header && rows.next(&mut cells)?.is_none() {
        return Err(
            Error::new(ErrorKind::Body, "body.empty", "the body holds no header").hint("send a header and at least one row")
        );
    }
    let named = |cell: &cells::Cell| {
        String::from_utf8(cell.text(body, dialect.quote).into_owned()).map_err(|error| {
            let at = cell.start + error.utf8_error().valid_up_to();
            Error::new(ErrorKind::Body, "body.invalid_encoding", format!("the header is not UTF-8 at byte {at}"))
                .hint("encode the body as UTF-8")
                .int("at", at)
        })
    };
    match &dialect.columns {
        Some(columns) => Layout::new(plan, columns.clone()),
        None => Layout::new(plan, cells.iter().map(named).collect::<Result<_>>()?),
    }
}

/// What a refused record of a CSV body says, when it is the array of its row's cells.
pub fn reworded(record: &[u8], refused: (Stage, Vec<Violation>)) -> (Stage, Vec<Violation>) {
    if refused.1[0].code != "json.not_object" || record.first() != Some(&b'[') {
        return refused;
    }
    let mut padded = record.to_vec();
    padded.resize(record.len() + PAD, 0);
    let mut limits = Limits { depth: usize::MAX, members: 0 };
    let _ = value_end(&padded, 0, &mut limits); // it is JSON, or it would have been refused for that
    let violation = Violation {
        code: "csv.wrong_cell_count",
        path: String::new(),
        message: format!("the number of cells, {}, is not the number of columns", limits.members),
        hint: "give each row one cell per column; quote a cell that holds the delimiter".into(),
        value: None,
    };
    (Stage::Parse, vec![violation])
}
