//! Smallest and largest value of a leaf, and how Iceberg spells them.

use std::cmp::Ordering;

use super::encode::gather::runs;
use super::leaf::{Leaf, Source};
use super::schema::Kind;

/// Characters (text) or bytes (binary) of a bound: Iceberg's default `truncate(16)`.
const BOUND_LENGTH: usize = 16;

/// What is known of a leaf's values so far.
#[derive(Clone, Debug, Default)]
pub struct Extent {
    /// Smallest and largest.
    pub edges: Edges,
    /// Doubles that are not a number; they have no place in the edges.
    pub nans: u64,
}

/// Smallest and largest value.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Edges {
    /// No value yet.
    #[default]
    None,
    /// boolean.
    Bool(bool, bool),
    /// int, date.
    I32(i32, i32),
    /// long, timestamps.
    I64(i64, i64),
    /// float, by total order: -0.0 before 0.0.
    F32(f32, f32),
    /// double, by total order.
    F64(f64, f64),
    /// Unscaled decimal.
    Decimal(i128, i128),
    /// Text, binary, uuid, fixed: by bytes.
    Bytes(Vec<u8>, Vec<u8>),
}

impl Edges {
    /// The edges of values under an order.
    pub fn over<T: Copy>(
        values: impl Iterator<Item = T>,
        order: impl Fn(&T, &T) -> Ordering,
        edges: impl Fn(T, T) -> Edges,
    ) -> Edges {
        let spread = values.fold(None, |spread, value| match spread {
            None => Some((value, value)),
            Some((low, high)) => Some((
                if order(&value, &low).is_lt() { value } else { low },
                if order(&value, &high).is_gt() { value } else { high },
            )),
        });
        spread.map_or(Edges::None, |(low, high)| edges(low, high))
    }
}

impl Extent {
    /// Takes in the values of some rows of a leaf.
    pub fn see(&mut self, leaf: &Leaf, rows: &[u32]) {
        let nans = self.count_nans(leaf, rows);
        let present = || rows.iter().map(|row| *row as usize).filter(|row| leaf.present(*row));
        let whole = leaf.levels.is_none();
        let seen = match &leaf.source {
            Source::Bool(values) => Edges::over(present().map(|row| values.value(row)), Ord::cmp, Edges::Bool),
            Source::I32(values) if whole => spread(rows, values, |value| value).map_or(Edges::None, |(a, b)| Edges::I32(a, b)),
            Source::I64(values) if whole => spread(rows, values, |value| value).map_or(Edges::None, |(a, b)| Edges::I64(a, b)),
            Source::F64(values) if whole && nans == 0 => {
                let number = |key| f64::from_bits(turned(key).cast_unsigned());
                let edges = spread(rows, values, |value: f64| turned(value.to_bits().cast_signed()));
                edges.map_or(Edges::None, |(low, high)| Edges::F64(number(low), number(high)))
            }
            Source::I32(values) => Edges::over(present().map(|row| values[row]), Ord::cmp, Edges::I32),
            Source::I64(values) => Edges::over(present().map(|row| values[row]), Ord::cmp, Edges::I64),
            Source::Decimal(values) => Edges::over(present().map(|row| values[row]), Ord::cmp, Edges::Decimal),
            Source::F32(values) => {
                Edges::over(present().map(|row| values[row]).filter(|v| !v.is_nan()), f32::total_cmp, Edges::F32)
            }
            Source::F64(values) => {
                Edges::over(present().map(|row| values[row]).filter(|v| !v.is_nan()), f64::total_cmp, Edges::F64)
            }
            Source::Fixed(values, 16) if whole => {
                let edge = |id: u128| id.to_be_bytes().to_vec();
                let edges = spread(rows, values.as_chunks::<16>().0, u128::from_be_bytes);
                edges.map_or(Edges::None, |(low, high)| Edges::Bytes(edge(low), edge(high)))
            }
            Source::Bytes(ends, bytes) if whole => {
                let value = |row: usize| &bytes[ends[row] as usize..ends[row + 1] as usize];
                texts(runs(rows).flatten().map(value))
            }
            source => texts(present().map(|row| source.bytes(row))),
        };
        self.join(seen);
    }

    /// Counts the values that are not a number; how many there were.
    pub fn count_nans(&mut self, leaf: &Leaf, rows: &[u32]) -> u64 {
        let present = rows.iter().map(|row| *row as usize).filter(|row| leaf.present(*row));
        let nans = match &leaf.source {
            Source::F64(values) if leaf.levels.is_none() => {
                runs(rows).map(|run| values[run].iter().map(|value| u64::from(value.is_nan())).sum::<u64>()).sum()
            }
            Source::F32(values) => present.filter(|row| values[*row].is_nan()).count() as u64,
            Source::F64(values) => present.filter(|row| values[*row].is_nan()).count() as u64,
            _ => 0,
        };
        self.nans += nans;
        nans
    }

    /// Takes in other edges of the same leaf.
    pub fn join(&mut self, seen: Edges) {
        self.edges = match (std::mem::take(&mut self.edges), seen) {
            (Edges::None, seen) | (seen, Edges::None) => seen,
            (Edges::Bool(a, b), Edges::Bool(c, d)) => Edges::Bool(a.min(c), b.max(d)),
            (Edges::I32(a, b), Edges::I32(c, d)) => Edges::I32(a.min(c), b.max(d)),
            (Edges::I64(a, b), Edges::I64(c, d)) => Edges::I64(a.min(c), b.max(d)),
            (Edges::Decimal(a, b), Edges::Decimal(c, d)) => Edges::Decimal(a.min(c), b.max(d)),
            (Edges::Bytes(a, b), Edges::Bytes(c, d)) => Edges::Bytes(a.min(c), b.max(d)),
            (Edges::F32(a, b), Edges::F32(c, d)) => {
                Edges::F32(if c.total_cmp(&a).is_lt() { c } else { a }, if d.total_cmp(&b).is_gt() { d } else { b })
            }
            (Edges::F64(a, b), Edges::F64(c, d)) => {
                Edges::F64(if c.total_cmp(&a).is_lt() { c } else { a }, if d.total_cmp(&b).is_gt() { d } else { b })
            }
            (ours, _) => ours, // a leaf has one type
        };
    }

    /// Lower and upper bound in Iceberg's single-value serialisation (spec, appendix D). Long text is cut: a lower bound may
    /// end early, an upper bound must then be raised and is left out when it cannot be.
    pub fn bounds(&self, kind: &Kind) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let both = |a: &[u8], b: &[u8]| (Some(a.to_vec()), Some(b.to_vec()));
        match &self.edges {
            Edges::None => (None, None),
            Edges::Bool(a, b) => both(&[u8::from(*a)], &[u8::from(*b)]),
            Edges::I32(a, b) => both(&a.to_le_bytes(), &b.to_le_bytes()),
            Edges::I64(a, b) => both(&a.to_le_bytes(), &b.to_le_bytes()),
            Edges::F32(a, b) => both(&a.to_le_bytes(), &b.to_le_bytes()),
            Edges::F64(a, b) => both(&a.to_le_bytes(), &b.to_le_bytes()),
            Edges::Decimal(a, b) => both(&shortest(*a), &shortest(*b)),
            Edges::Bytes(a, b) => match kind {
                Kind::String => (Some(cut_text(a).to_vec()), raised_text(b)),
                Kind::Binary => (Some(a[..a.len().min(BOUND_LENGTH)].to_vec()), raised_bytes(b)),
                _ => both(a, b),
            },
        }
    }
}

/// Smallest and largest of the keys of some rows' values.
fn spread<T: Copy, K: Copy + Ord>(rows: &[u32], values: &[T], key: impl Fn(T) -> K) -> Option<(K, K)> {
    let first = key(values[*rows.first()? as usize]);
    Some(runs(rows).fold((first, first), |spread, run| {
        values[run].iter().fold(spread, |(low, high), value| (low.min(key(*value)), high.max(key(*value))))
    }))
}

/// A double's bits as a number that sorts by total order, and back.
fn turned(bits: i64) -> i64 {
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

/// Smallest and largest by bytes.
fn texts<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Edges {
    let Some(first) = values.next() else { return Edges::None };
    let (mut low, mut high) = ((prefix(first), first), (prefix(first), first));
    // Inner iteration: ranges of rows become plain loops.
    values.for_each(|value| {
        let head = prefix(value);
        // Heads tell nearly all values apart; whole values are compared where one might be an edge.
        if head <= low.0 && (head, value) < low {
            low = (head, value);
        }
        if head >= high.0 && (head, value) > high {
            high = (head, value);
        }
    });
    Edges::Bytes(low.1.to_vec(), high.1.to_vec())
}

/// The first bytes as a number that sorts as they do, so most values are told apart without a call; a zero byte equals none.
#[inline]
fn prefix(value: &[u8]) -> u64 {
    match value.first_chunk::<8>() {
        Some(head) => u64::from_be_bytes(*head),
        None => value.iter().enumerate().fold(0, |head, (at, byte)| head | u64::from(*byte) << (56 - at * 8)),
    }
}

/// Two's complement, big-endian, no byte more than needed.
pub fn shortest(value: i128) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let filler = if value < 0 { 0xff } else { 0 };
    let needed = |at: &usize| bytes[*at] != filler || (bytes[at + 1] ^ filler) & 0x80 != 0;
    bytes[(0..15).find(needed).unwrap_or(15)..].to_vec()
}

/// The first characters of a text; its bytes come from a checked UTF-8 column.
fn cut_text(text: &[u8]) -> &[u8] {
    let starts = text.iter().enumerate().filter(|(_, byte)| **byte & 0xc0 != 0x80);
    starts.map(|(at, _)| at).nth(BOUND_LENGTH).map_or(text, |end| &text[..end])
}

/// The smallest short text above every text that begins like this one.
fn raised_text(text: &[u8]) -> Option<Vec<u8>> {
    let cut = cut_text(text);
    if cut.len() == text.len() {
        return Some(text.to_vec());
    }
    let mut kept: Vec<char> = std::str::from_utf8(cut).ok()?.chars().collect();
    while let Some(last) = kept.pop() {
        let above = if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(last as u32 + 1) };
        if let Some(above) = above {
            kept.push(above);
            return Some(kept.into_iter().collect::<String>().into_bytes());
        }
    }
    None
}

fn raised_bytes(value: &[u8]) -> Option<Vec<u8>> {
    let mut kept = value[..value.len().min(BOUND_LENGTH)].to_vec();
    if kept.len() == value.len() {
        return Some(kept);
    }
    while let Some(last) = kept.pop() {
        if last < u8::MAX {
            kept.push(last + 1);
            return Some(kept);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_bounds(low: &str, high: &str) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let edges = Edges::Bytes(low.into(), high.into());
        Extent { edges, nans: 0 }.bounds(&Kind::String)
    }

    #[test]
    fn a_short_text_is_its_own_bound() {
        assert_eq!(text_bounds("a", "sixteen letters!"), (Some(b"a".to_vec()), Some(b"sixteen letters!".to_vec())));
    }

    #[test]
    fn a_cut_upper_bound_is_raised() {
        let (low, high) = text_bounds("aaaaaaaaaaaaaaaaZ", "aaaaaaaaaaaaaaaaZ");
        assert_eq!(low.as_deref(), Some(&b"aaaaaaaaaaaaaaaa"[..]));
        assert_eq!(high.as_deref(), Some(&b"aaaaaaaaaaaaaaab"[..]));
    }

    #[test]
    fn raising_steps_over_surrogates_and_the_last_character() {
        let high = format!("{}{}", "é".repeat(15), "\u{d7ff}x");
        assert_eq!(text_bounds("", &high).1, Some(format!("{}\u{e000}", "é".repeat(15)).into_bytes()));
        let high = format!("a{}x", "\u{10ffff}".repeat(15));
        assert_eq!(text_bounds("", &high).1, Some(b"b".to_vec()));
        assert_eq!(text_bounds("", &"\u{10ffff}".repeat(17)).1, None);
    }

    #[test]
    fn doubles_sort_as_their_turned_bits() {
        let ordered = [f64::NEG_INFINITY, -2.5, -1e-300, -0.0, 0.0, 5e-324, 1.0, 1.5, f64::INFINITY];
        let keys = ordered.map(|value| turned(value.to_bits().cast_signed()));
        assert!(keys.is_sorted());
        assert_eq!(keys.map(|key| turned(key).cast_unsigned()), ordered.map(f64::to_bits));
    }

    #[test]
    fn decimals_take_no_byte_more_than_needed() {
        for (value, bytes) in
            [(0, vec![0]), (127, vec![127]), (128, vec![0, 128]), (-1, vec![255]), (-128, vec![128]), (-129, vec![255, 127])]
        {
            assert_eq!(shortest(value), bytes);
        }
        assert_eq!(shortest(i128::MIN).len(), 16);
    }
}
