//! What windows add up: accumulators that merge, and their spelling in bytes.

use arrow_buffer::i256;
use siphasher::sip::SipHasher13;
use std::hash::Hasher;

use super::sketch::{Distinct, Quantiles};
use super::spec::{AggregateSpec, Kind, Values};

/// One value of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// There is none; rows are counted all the same.
    Missing,
    /// A row where no column is asked for.
    Row,
    /// Digits of a decimal, an integer, or µs.
    Exact(i128),
    /// A finite double.
    Float(f64),
    /// Text.
    Text(&'a str),
}

/// A smallest or largest value.
#[derive(Clone, Debug, PartialEq)]
pub enum Extreme {
    /// No value yet.
    Nothing,
    /// Of exact values.
    Exact(i128),
    /// Of doubles.
    Float(f64),
    /// Of texts.
    Text(Box<str>),
}

/// What one column of one window has added up to so far.
#[derive(Clone, Debug, PartialEq)]
pub enum Accumulator {
    /// Values that are there.
    Count(u64),
    /// Exact: cannot overflow for fewer than 2^128 values.
    Sum(i256, u64),
    /// Sum, what its rounding lost (Neumaier), number of values.
    FloatSum(f64, f64, u64),
    /// Smallest.
    Min(Extreme),
    /// Largest.
    Max(Extreme),
    /// Different values.
    Distinct(Distinct),
    /// Quantiles.
    Quantiles(Quantiles),
}

impl Accumulator {
    /// The empty one for a column.
    pub fn new(spec: &AggregateSpec) -> Accumulator {
        match (spec.kind, spec.values) {
            (Kind::Count, _) => Accumulator::Count(0),
            (Kind::Sum | Kind::Avg, Values::Float) => Accumulator::FloatSum(0.0, 0.0, 0),
            (Kind::Sum | Kind::Avg, _) => Accumulator::Sum(i256::ZERO, 0),
            (Kind::Min, _) => Accumulator::Min(Extreme::Nothing),
            (Kind::Max, _) => Accumulator::Max(Extreme::Nothing),
            (Kind::Distinct, _) => Accumulator::Distinct(Distinct::new()),
            (Kind::Quantile, _) => Accumulator::Quantiles(Quantiles::default()),
        }
    }

    /// Takes one row's value; a missing one changes nothing.
    pub fn add(&mut self, value: Value<'_>, scale: u8) {
        if value == Value::Missing {
            return;
        }
        match self {
            Accumulator::Count(count) => *count += 1,
            Accumulator::Sum(sum, count) => {
                if let Value::Exact(digits) = value {
                    *sum = sum.wrapping_add(i256::from_i128(digits));
                    *count += 1;
                }
            }
            Accumulator::FloatSum(sum, lost, count) => {
                if let Value::Float(one) = value {
                    neumaier(sum, lost, one);
                    *count += 1;
                }
            }
            Accumulator::Min(extreme) => extreme.take(value, std::cmp::Ordering::Less),
            Accumulator::Max(extreme) => extreme.take(value, std::cmp::Ordering::Greater),
            Accumulator::Distinct(distinct) => distinct.add(hash(value)),
            Accumulator::Quantiles(quantiles) => match value {
                Value::Exact(digits) => quantiles.add(digits as f64 / 10_f64.powi(i32::from(scale))),
                Value::Float(one) => quantiles.add(one),
                _ => {}
            },
        }
    }

    /// About how much memory it takes.
    pub fn bytes(&self) -> usize {
        let beside = match self {
            Accumulator::Distinct(Distinct::Few(hashes)) => 16 * hashes.len(),
            Accumulator::Distinct(Distinct::Many(registers)) => registers.len(),
            Accumulator::Quantiles(buckets) => 24 * (buckets.below.len() + buckets.above.len()),
            Accumulator::Min(Extreme::Text(text)) | Accumulator::Max(Extreme::Text(text)) => text.len(),
            _ => 0,
        };
        std::mem::size_of::<Accumulator>() + beside
    }

    /// As if the other's values had been added to this one.
    pub fn merge(&mut self, other: &Accumulator) {
        match (self, other) {
            (Accumulator::Count(a), Accumulator::Count(b)) => *a += b,
            (Accumulator::Sum(a, n), Accumulator::Sum(b, m)) => {
                *a = a.wrapping_add(*b);
                *n += m;
            }
            (Accumulator::FloatSum(a, lost, n), Accumulator::FloatSum(b, more, m)) => {
                neumaier(a, lost, *b);
                *lost += more;
                *n += m;
            }
            (Accumulator::Min(a), Accumulator::Min(b)) => a.take(b.value(), std::cmp::Ordering::Less),
            (Accumulator::Max(a), Accumulator::Max(b)) => a.take(b.value(), std::cmp::Ordering::Greater),
            (Accumulator::Distinct(a), Accumulator::Distinct(b)) => a.merge(b),
            (Accumulator::Quantiles(a), Accumulator::Quantiles(b)) => a.merge(b),
            _ => unreachable!("accumulators of one column are of one kind"),
        }
    }

    /// The result as JSON text: exact numbers with all their digits, `null` without values.
    pub fn result(&self, spec: &AggregateSpec) -> String {
        match self {
            Accumulator::Count(count) => count.to_string(),
            Accumulator::Sum(_, 0) | Accumulator::FloatSum(_, _, 0) => "null".into(),
            Accumulator::Sum(sum, count) if spec.kind == Kind::Avg => {
                let total = sum.to_string().parse::<f64>().unwrap_or(f64::NAN);
                float(total / 10_f64.powi(i32::from(spec.scale)) / *count as f64)
            }
            Accumulator::Sum(sum, _) => point(&sum.to_string(), spec.scale),
            Accumulator::FloatSum(sum, lost, count) => {
                float(if spec.kind == Kind::Avg { (sum + lost) / *count as f64 } else { sum + lost })
            }
            Accumulator::Min(extreme) | Accumulator::Max(extreme) => match extreme {
                Extreme::Nothing => "null".into(),
                Extreme::Exact(digits) => point(&digits.to_string(), spec.scale),
                Extreme::Float(value) => float(*value),
                Extreme::Text(text) => quoted(text),
            },
            Accumulator::Distinct(distinct) => distinct.count().to_string(),
            Accumulator::Quantiles(quantiles) => quantiles.quantile(spec.q).map_or("null".into(), float),
        }
    }
}

impl Extreme {
    fn take(&mut self, value: Value<'_>, wanted: std::cmp::Ordering) {
        let better = match (&*self, value) {
            (_, Value::Missing | Value::Row) => false,
            (Extreme::Nothing, _) => true,
            (Extreme::Exact(a), Value::Exact(b)) => b.cmp(a) == wanted,
            (Extreme::Float(a), Value::Float(b)) => b.total_cmp(a) == wanted,
            (Extreme::Text(a), Value::Text(b)) => b.cmp(a) == wanted,
            _ => false,
        };
        if better {
            *self = match value {
                Value::Exact(digits) => Extreme::Exact(digits),
                Value::Float(one) => Extreme::Float(one),
                Value::Text(text) => Extreme::Text(text.into()),
                Value::Missing | Value::Row => Extreme::Nothing,
            };
        }
    }

    fn value(&self) -> Value<'_> {
        match self {
            Extreme::Nothing => Value::Missing,
            Extreme::Exact(digits) => Value::Exact(*digits),
            Extreme::Float(value) => Value::Float(*value),
            Extreme::Text(text) => Value::Text(text),
        }
    }
}

fn neumaier(sum: &mut f64, lost: &mut f64, value: f64) {
    let next = *sum + value;
    *lost += if sum.abs() >= value.abs() { (*sum - next) + value } else { (value - next) + *sum };
    *sum = next;
}

/// The same on every machine and in every run: results are compared.
fn hash(value: Value<'_>) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0x6672_617a_696c, 0x7769_6e64_6f77);
    match value {
        Value::Missing | Value::Row => {}
        Value::Exact(digits) => hasher.write(&digits.to_le_bytes()),
        Value::Float(one) => hasher.write(&(one + 0.0).to_le_bytes()),
        Value::Text(text) => hasher.write(text.as_bytes()),
    }
    hasher.finish()
}

fn float(value: f64) -> String {
    if value.is_finite() { serde_json::json!(value).to_string() } else { "null".into() }
}

/// Text as a JSON string.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Digits with a point `scale` places from the right.
fn point(digits: &str, scale: u8) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    let scale = usize::from(scale);
    if scale == 0 {
        return format!("{sign}{digits}");
    }
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, part) = padded.split_at(padded.len() - scale);
    format!("{sign}{whole}.{part}")
}
