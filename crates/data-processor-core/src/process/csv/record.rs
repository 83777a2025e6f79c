//! A row as canonical JSON: lossless under the contract, a cell that does not fit its type keeps its text.

use std::borrow::Cow;

use super::cells::{Cell, Spelling};
use super::dialect::Dialect;
use super::layout::{Layout, Member};
use crate::contract::{Kind, Plan};
use crate::process::spell::quoted;
use crate::process::syntax::{Limits, whole_value};
use crate::process::text::{PAD, number_end};

/// A row on its way into a record.
pub struct Writer<'a> {
    /// The contract that types cells.
    pub plan: &'a Plan,
    /// How the text is spelled.
    pub dialect: &'a Dialect,
    /// The text.
    pub bytes: &'a [u8],
    /// The row.
    pub cells: &'a [Cell],
}

impl Writer<'_> {
    /// Appends the row as an object, or as the array of its cells when it has not one for each column.
    pub fn row(&self, layout: &Layout, out: &mut Vec<u8>) {
        if self.cells.len() == layout.columns.len() {
            self.object(&layout.members, out);
        } else {
            self.array(out);
        }
    }

    fn array(&self, out: &mut Vec<u8>) {
        for (place, cell) in self.cells.iter().enumerate() {
            out.push(if place == 0 { b'[' } else { b',' });
            match self.present(*cell) {
                Some(text) => quoted(&text, out),
                None => out.extend_from_slice(b"null"),
            }
        }
        out.push(b']');
    }

    fn object(&self, members: &[Member], out: &mut Vec<u8>) {
        out.push(b'{');
        let opened = out.len();
        for member in members {
            let before = out.len();
            if before > opened {
                out.push(b',');
            }
            if !self.member(member, out) {
                out.truncate(before);
            }
        }
        out.push(b'}');
    }

    /// Appends a member; false, and nothing of use appended, when the row has none.
    fn member(&self, member: &Member, out: &mut Vec<u8>) -> bool {
        match member {
            Member::Cell { key, column, kind, .. } => {
                let Some(text) = self.present(self.cells[*column]) else { return false };
                out.extend_from_slice(key);
                self.value(*kind, &text, out);
                true
            }
            Member::Object { key, required, members, .. } => {
                // An optional object is there when some cell of it is; a required one always is, so its fields are named one by one.
                let there = *required || members.iter().any(|member| self.is_there(member));
                if there {
                    out.extend_from_slice(key);
                    self.object(members, out);
                }
                there
            }
        }
    }

    fn is_there(&self, member: &Member) -> bool {
        match member {
            Member::Cell { column, .. } => self.present(self.cells[*column]).is_some(),
            Member::Object { members, .. } => members.iter().any(|member| self.is_there(member)),
        }
    }

    /// The text of a cell; None when it is missing.
    fn present(&self, cell: Cell) -> Option<Cow<'_, [u8]>> {
        let text = cell.text(self.bytes, self.dialect.quote);
        (cell.spelling != Spelling::Plain || !self.dialect.is_missing(&text)).then_some(text)
    }

    fn value(&self, kind: Option<Kind>, text: &[u8], out: &mut Vec<u8>) {
        let bare = match kind {
            Some(Kind::Integer(_) | Kind::Number(_) | Kind::Decimal(_)) => is_number(text),
            Some(Kind::Timestamp(leaf)) => self.plan.timestamps[leaf].epoch_decimals.is_some() && is_number(text),
            Some(Kind::Boolean(_)) if text.eq_ignore_ascii_case(b"true") => return out.extend_from_slice(b"true"),
            Some(Kind::Boolean(_)) if text.eq_ignore_ascii_case(b"false") => return out.extend_from_slice(b"false"),
            Some(Kind::Json(_)) => is_json(text, |_| true),
            Some(Kind::Object(_)) => is_json(text, |first| first == b'{'),
            Some(Kind::Array(_)) => is_json(text, |first| first == b'['),
            _ => false,
        };
        if bare { out.extend_from_slice(text) } else { quoted(text, out) }
    }
}

/// Whether a text is a number as JSON spells it.
fn is_number(text: &[u8]) -> bool {
    let mut short = [0; 32];
    if text.len() + 2 <= short.len() {
        short[..text.len()].copy_from_slice(text);
        return number_end(&short, 0) == Some(text.len());
    }
    number_end(&padded(text), 0) == Some(text.len())
}

fn padded(text: &[u8]) -> Vec<u8> {
    let mut padded = Vec::with_capacity(text.len() + PAD);
    padded.extend_from_slice(text);
    padded.resize(text.len() + PAD, 0);
    padded
}

/// Whether a text is one JSON value that begins as it should.
fn is_json(text: &[u8], begins: impl Fn(u8) -> bool) -> bool {
    let mut limits = Limits { depth: usize::MAX, members: 0 };
    let padded = padded(text);
    whole_value(&padded, text.len(), &mut limits).is_ok_and(|(start, _)| begins(padded[start]))
}
