//! The state of one key: its open windows, and how an event changes them.

use std::collections::{BTreeMap, BTreeSet};

use super::aggregate::{Accumulator, Extreme, Value};
use super::sketch::{Distinct, Quantiles};
use super::spec::{Shape, WindowSpec, starts};
use arrow_buffer::i256;

/// One window of one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// First instant after it, µs.
    pub end: i64,
    /// How many results were given out.
    pub revision: i64,
    /// A session that is final: kept so that an event that touches it is known to be late.
    pub closed: bool,
    /// One per column; empty once closed.
    pub accumulators: Vec<Accumulator>,
}

/// Open windows of one key by start, µs.
pub type KeyState = BTreeMap<i64, Group>;

/// What a batch did to one key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Touched {
    /// Starts of windows that changed.
    pub changed: BTreeSet<i64>,
    /// Sessions that became part of an earlier one: start, end and last revision. Those never given out have revision 0.
    pub merged: Vec<(i64, i64, i64)>,
}

/// Puts one event into the windows of its key; calls `late` with the start of each window it is too late for.
pub fn add(
    spec: &WindowSpec,
    state: &mut KeyState,
    touched: &mut Touched,
    (at, watermark): (i64, Option<i64>),
    values: &[Value<'_>],
    mut late: impl FnMut(i64),
) {
    match spec.shape {
        Shape::Hopping { size_us, hop_us } => {
            for start in starts(at, size_us, hop_us) {
                let end = start.saturating_add(size_us);
                if watermark.is_some_and(|reached| end <= reached) {
                    late(start);
                    continue;
                }
                state.entry(start).or_insert_with(|| Group::new(spec, end)).add(spec, values);
                touched.changed.insert(start);
            }
        }
        Shape::Session { gap_us } => {
            let end = at.saturating_add(gap_us);
            let passed = watermark.is_some_and(|reached| end <= reached);
            if passed || !join(spec, state, touched, (at, end), values) {
                late(at);
            }
        }
    }
}

/// Puts one event into the session it touches, making one of all that it touches; false when one of them is final.
fn join(spec: &WindowSpec, state: &mut KeyState, touched: &mut Touched, (at, end): (i64, i64), values: &[Value<'_>]) -> bool {
    let near: Vec<i64> =
        state.iter().filter(|(start, group)| **start <= end && at <= group.end).map(|(start, _)| *start).collect();
    if near.iter().any(|start| state[start].closed) {
        return false;
    }
    let start = near.first().map_or(at, |first| at.min(*first));
    let mut session = Group::new(spec, end);
    for old in near {
        let Some(group) = state.remove(&old) else { continue };
        session.end = session.end.max(group.end);
        session.accumulators.iter_mut().zip(&group.accumulators).for_each(|(mine, theirs)| mine.merge(theirs));
        touched.changed.remove(&old);
        if old == start {
            session.revision = group.revision;
        } else {
            touched.merged.push((old, group.end, group.revision));
        }
    }
    session.add(spec, values);
    state.insert(start, session);
    touched.changed.insert(start);
    true
}

impl Group {
    /// An empty window that ends at `end`.
    pub fn new(spec: &WindowSpec, end: i64) -> Group {
        Group { end, revision: 0, closed: false, accumulators: spec.aggregates.iter().map(Accumulator::new).collect() }
    }

    /// About how much memory it takes, accumulators included.
    pub fn bytes(&self) -> usize {
        let own = std::mem::size_of::<Group>() + 2 * std::mem::size_of::<i64>();
        own + self.accumulators.iter().map(Accumulator::bytes).sum::<usize>()
    }

    fn add(&mut self, spec: &WindowSpec, values: &[Value<'_>]) {
        for ((accumulator, value), column) in self.accumulators.iter_mut().zip(values).zip(&spec.aggregates) {
            accumulator.add(*value, column.scale);
        }
    }

    /// The result as a JSON object, columns in the order of the specification.
    pub fn result(&self, spec: &WindowSpec) -> String {
        let members: Vec<String> = spec
            .aggregates
            .iter()
            .zip(&self.accumulators)
            .map(|(column, accumulator)| format!("{}:{}", super::aggregate::quoted(&column.name), accumulator.result(column)))
            .collect();
        format!("{{{}}}", members.join(","))
    }

    /// The accumulators as bytes; [`Group::decode`] is the inverse.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.accumulators.iter().for_each(|one| encode(one, &mut out));
        out
    }

    /// Accumulators from their bytes; `None` when they are not what `encode` made.
    pub fn decode(mut bytes: &[u8]) -> Option<Vec<Accumulator>> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            found.push(decode(&mut bytes)?);
        }
        Some(found)
    }
}

fn encode(accumulator: &Accumulator, out: &mut Vec<u8>) {
    match accumulator {
        Accumulator::Count(count) => {
            out.push(0);
            out.extend(count.to_le_bytes());
        }
        Accumulator::Sum(sum, count) => {
            out.push(1);
            out.extend(sum.to_le_bytes());
            out.extend(count.to_le_bytes());
        }
        Accumulator::FloatSum(sum, lost, count) => {
            out.push(2);
            out.extend(sum.to_le_bytes());
            out.extend(lost.to_le_bytes());
            out.extend(count.to_le_bytes());
        }
        Accumulator::Min(extreme) => {
            out.push(3);
            encode_extreme(extreme, out);
        }
        Accumulator::Max(extreme) => {
            out.push(4);
            encode_extreme(extreme, out);
        }
        Accumulator::Distinct(Distinct::Few(hashes)) => {
            out.push(5);
            out.extend((hashes.len() as u32).to_le_bytes());
            hashes.iter().for_each(|hash| out.extend(hash.to_le_bytes()));
        }
        Accumulator::Distinct(Distinct::Many(registers)) => {
            out.push(6);
            out.extend(registers.iter());
        }
        Accumulator::Quantiles(quantiles) => {
            out.push(7);
            encode_quantiles(quantiles, out);
        }
    }
}

fn encode_quantiles(quantiles: &Quantiles, out: &mut Vec<u8>) {
    out.extend(quantiles.zeros.to_le_bytes());
    for buckets in [&quantiles.below, &quantiles.above] {
        out.extend((buckets.len() as u32).to_le_bytes());
        for (bucket, count) in buckets {
            out.extend(bucket.to_le_bytes());
            out.extend(count.to_le_bytes());
        }
    }
}

fn encode_extreme(extreme: &Extreme, out: &mut Vec<u8>) {
    match extreme {
        Extreme::Nothing => out.push(0),
        Extreme::Exact(digits) => {
            out.push(1);
            out.extend(digits.to_le_bytes());
        }
        Extreme::Float(value) => {
            out.push(2);
            out.extend(value.to_le_bytes());
        }
        Extreme::Text(text) => {
            out.push(3);
            out.extend((text.len() as u32).to_le_bytes());
            out.extend(text.as_bytes());
        }
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes).map(u64::from_le_bytes)
}

fn decode(bytes: &mut &[u8]) -> Option<Accumulator> {
    Some(match take::<1>(bytes)?[0] {
        0 => Accumulator::Count(take_u64(bytes)?),
        1 => Accumulator::Sum(i256::from_le_bytes(take(bytes)?), take_u64(bytes)?),
        2 => Accumulator::FloatSum(f64::from_le_bytes(take(bytes)?), f64::from_le_bytes(take(bytes)?), take_u64(bytes)?),
        3 => Accumulator::Min(decode_extreme(bytes)?),
        4 => Accumulator::Max(decode_extreme(bytes)?),
        5 => {
            let count = u32::from_le_bytes(take(bytes)?);
            Accumulator::Distinct(Distinct::Few((0..count).map(|_| take_u64(bytes)).collect::<Option<_>>()?))
        }
        6 => Accumulator::Distinct(Distinct::Many(Box::new(take(bytes)?))),
        7 => {
            let zeros = take_u64(bytes)?;
            let mut buckets = || -> Option<BTreeMap<i32, u64>> {
                let count = u32::from_le_bytes(take(bytes)?);
                (0..count).map(|_| Some((i32::from_le_bytes(take(bytes)?), take_u64(bytes)?))).collect()
            };
            Accumulator::Quantiles(Quantiles { zeros, below: buckets()?, above: buckets()? })
        }
        _ => return None,
    })
}

fn decode_extreme(bytes: &mut &[u8]) -> Option<Extreme> {
    Some(match take::<1>(bytes)?[0] {
        0 => Extreme::Nothing,
        1 => Extreme::Exact(i128::from_le_bytes(take(bytes)?)),
        2 => Extreme::Float(f64::from_le_bytes(take(bytes)?)),
        3 => {
            let length = u32::from_le_bytes(take(bytes)?) as usize;
            let (text, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            Extreme::Text(std::str::from_utf8(text).ok()?.into())
        }
        _ => return None,
    })
}
