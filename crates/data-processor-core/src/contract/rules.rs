//! Rules of leaves, compiled: each has a quick verdict for the fast road and keeps what a violation must say.

use std::collections::HashSet;

use regex::Regex;

use crate::process::format;
use crate::process::number::Exact;
use crate::process::time::Zone;
use crate::process::wide;

use super::field::Field;
use super::shape::Shape;

/// Formats of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    /// `local@domain`.
    Email,
    /// Four decimal numbers.
    Ipv4,
    /// RFC 4291 text.
    Ipv6,
    /// `scheme:` and a rest.
    Uri,
}

impl TextFormat {
    /// Reads the contract's word.
    pub fn parse(word: &str) -> Option<TextFormat> {
        Some(match word {
            "email" => TextFormat::Email,
            "ipv4" => TextFormat::Ipv4,
            "ipv6" => TextFormat::Ipv6,
            "uri" => TextFormat::Uri,
            _ => return None,
        })
    }

    /// The contract's word.
    pub fn as_str(self) -> &'static str {
        match self {
            TextFormat::Email => "email",
            TextFormat::Ipv4 => "ipv4",
            TextFormat::Ipv6 => "ipv6",
            TextFormat::Uri => "uri",
        }
    }

    /// The code of its violation.
    pub fn code(self) -> &'static str {
        match self {
            TextFormat::Email => "format.invalid_email",
            TextFormat::Ipv4 => "format.invalid_ipv4",
            TextFormat::Ipv6 => "format.invalid_ipv6",
            TextFormat::Uri => "format.invalid_uri",
        }
    }

    /// Whether a text has this format.
    pub fn admits(self, text: &str) -> bool {
        match self {
            TextFormat::Email => format::is_email(text),
            TextFormat::Ipv4 => format::is_ipv4(text),
            TextFormat::Ipv6 => format::is_ipv6(text),
            TextFormat::Uri => format::is_uri(text),
        }
    }
}

/// Rules of a text leaf.
#[derive(Debug, Default)]
pub struct TextRule {
    /// Fewest code points.
    pub min_length: Option<usize>,
    /// Most code points.
    pub max_length: Option<usize>,
    /// Searched in the text.
    pub pattern: Option<Regex>,
    /// The same for the quick verdict, where it is one.
    pub shape: Option<Shape>,
    /// The only texts allowed, in contract order.
    pub allowed: Option<Vec<String>>,
    /// The same, to look up.
    pub allowed_set: HashSet<String>,
    /// Format of the text.
    pub format: Option<TextFormat>,
}

impl TextRule {
    /// Whether any rule exists.
    pub fn is_free(&self) -> bool {
        self.min_length.is_none()
            && self.max_length.is_none()
            && self.pattern.is_none()
            && self.allowed.is_none()
            && self.format.is_none()
    }

    /// Whether being an IPv4 address is the only rule.
    pub fn is_ipv4_only(&self) -> bool {
        let others = self.min_length.is_some() || self.max_length.is_some() || self.pattern.is_some() || self.allowed.is_some();
        self.format == Some(TextFormat::Ipv4) && !others
    }

    /// Whether a text of so many bytes needs no look: its length is inside, and there is no other rule.
    #[inline(always)]
    pub fn surely_admits(&self, bytes: usize) -> bool {
        self.pattern.is_none() && self.allowed.is_none() && self.format.is_none() && self.length_surely_admits(bytes)
    }

    /// Whether every rule holds; text that is not UTF-8 breaks them all.
    pub fn admits(&self, text: &[u8]) -> bool {
        if self.format == Some(TextFormat::Ipv4) {
            // Mostly the only rule of its column, whose texts are nearly all distinct.
            let (good, alone) = (wide::is_ipv4(text), self.pattern.is_none() && self.allowed.is_none());
            if !good || alone && self.length_surely_admits(text.len()) {
                return good;
            }
        }
        let Ok(text) = std::str::from_utf8(text) else { return false };
        self.length_admits(text)
            && self.allowed.as_ref().is_none_or(|_| self.allowed_set.contains(text))
            && self.format.is_none_or(|format| format.admits(text))
            && self.pattern_admits(text)
    }

    #[inline]
    fn pattern_admits(&self, text: &str) -> bool {
        match (&self.shape, &self.pattern) {
            (Some(shape), _) => shape.admits(text.as_bytes()),
            (None, Some(pattern)) => pattern.is_match(text),
            (None, None) => true,
        }
    }

    fn length_admits(&self, text: &str) -> bool {
        if self.length_surely_admits(text.len()) {
            return true;
        }
        let length = text.chars().count();
        self.min_length.is_none_or(|min| min <= length) && self.max_length.is_none_or(|max| length <= max)
    }

    /// A code point has one to four bytes: most texts need no counting.
    #[inline(always)]
    fn length_surely_admits(&self, bytes: usize) -> bool {
        let (min, max) = (self.min_length.unwrap_or(0), self.max_length.unwrap_or(usize::MAX));
        bytes <= max && bytes >= min.saturating_mul(4)
    }
}

/// One side of a range.
#[derive(Clone, Debug)]
pub struct Bound {
    /// The bound as the contract writes it.
    pub text: String,
    /// Its value.
    pub value: Exact,
    /// Whether the bound itself is outside.
    pub exclusive: bool,
}

/// A range and a list of allowed numbers, both exact.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    /// The lower side.
    pub minimum: Option<Bound>,
    /// The upper side.
    pub maximum: Option<Bound>,
    /// The only numbers allowed: as written, and their values.
    pub allowed: Option<Vec<(String, Exact)>>,
}

impl Bounds {
    /// Whether a number is below the lower side.
    pub fn is_below(&self, number: &Exact) -> bool {
        self.minimum.as_ref().is_some_and(|bound| *number < bound.value || bound.exclusive && *number == bound.value)
    }

    /// Whether a number is above the upper side.
    pub fn is_above(&self, number: &Exact) -> bool {
        self.maximum.as_ref().is_some_and(|bound| *number > bound.value || bound.exclusive && *number == bound.value)
    }

    /// Whether a number is one of the allowed.
    pub fn lists(&self, number: &Exact) -> bool {
        self.allowed.as_ref().is_none_or(|allowed| allowed.iter().any(|(_, value)| value == number))
    }

    /// The allowed whole numbers at a scale, sorted; those that have more digits match nothing.
    fn allowed_scaled(&self, scale: i64) -> Option<Vec<i128>> {
        let allowed = self.allowed.as_ref()?;
        let mut values: Vec<i128> =
            allowed.iter().filter_map(|(_, value)| value.scaled(scale)).filter(|v| v.1).map(|v| v.0).collect();
        values.sort_unstable();
        Some(values)
    }

    /// The least and greatest number inside, × 10^scale.
    fn closed(&self, scale: i64) -> (i128, i128) {
        let low = self.minimum.as_ref().map_or(i128::MIN, |bound| match bound.value.scaled(scale) {
            Some((value, exact)) => value + i128::from(!exact || bound.exclusive),
            None => far(&bound.value),
        });
        let high = self.maximum.as_ref().map_or(i128::MAX, |bound| match bound.value.scaled(scale) {
            Some((value, exact)) => value - i128::from(exact && bound.exclusive),
            None => far(&bound.value),
        });
        (low, high)
    }
}

/// Stands for a number beyond 128 bit.
fn far(value: &Exact) -> i128 {
    if value.is_negative() { i128::MIN } else { i128::MAX }
}

/// Rules of an integer leaf.
#[derive(Debug)]
pub struct IntegerRule {
    /// The exact rules.
    pub bounds: Bounds,
    low: i64,
    high: i64,
    allowed: Option<Vec<i128>>,
}

impl IntegerRule {
    /// Compiles the quick form.
    pub fn new(bounds: Bounds) -> IntegerRule {
        let (low, high) = bounds.closed(0);
        let empty = low > i128::from(i64::MAX) || high < i128::from(i64::MIN);
        let clamp = |value: i128| value.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
        let (low, high) = if empty { (i64::MAX, i64::MIN) } else { (clamp(low), clamp(high)) };
        let allowed = bounds.allowed_scaled(0);
        IntegerRule { bounds, low, high, allowed }
    }

    /// Whether every rule holds.
    #[inline(always)]
    pub fn admits(&self, value: i64) -> bool {
        self.low <= value
            && value <= self.high
            && self.allowed.as_ref().is_none_or(|allowed| allowed.binary_search(&i128::from(value)).is_ok())
    }
}

/// Rules of a decimal leaf.
#[derive(Debug)]
pub struct DecimalRule {
    /// Digits in all.
    pub precision: u8,
    /// Digits after the point.
    pub scale: u8,
    /// The exact rules.
    pub bounds: Bounds,
    low: i128,
    high: i128,
    allowed: Option<Vec<i128>>,
}

impl DecimalRule {
    /// Compiles the quick form.
    pub fn new(precision: u8, scale: u8, bounds: Bounds) -> DecimalRule {
        let (low, high) = bounds.closed(i64::from(scale));
        let limit = 10i128.pow(u32::from(precision)) - 1;
        let allowed = bounds.allowed_scaled(i64::from(scale));
        DecimalRule { precision, scale, bounds, low: low.max(-limit), high: high.min(limit), allowed }
    }

    /// Whether a value × 10^scale fits and every rule holds.
    #[inline(always)]
    pub fn admits(&self, value: i128) -> bool {
        self.low <= value
            && value <= self.high
            && self.allowed.as_ref().is_none_or(|allowed| allowed.binary_search(&value).is_ok())
    }
}

/// Rules of a number leaf.
#[derive(Debug)]
pub struct NumberRule {
    /// The exact rules.
    pub bounds: Bounds,
    low: f64,
    high: f64,
    at_low: bool,
    at_high: bool,
    listed: bool,
}

impl NumberRule {
    /// Compiles the quick form.
    pub fn new(bounds: Bounds) -> NumberRule {
        let double = |bound: &Bound| crate::process::number::nearest_double(bound.text.as_bytes());
        // Two decimals of at most 15 digits with the same nearest double are the same number, so such a bound decides itself.
        let short = |bound: &Bound| bound.value.significant() <= 15 && bound.value.magnitude().abs() < 290;
        let closed = |bound: &Option<Bound>| bound.as_ref().is_some_and(|bound| !bound.exclusive && short(bound));
        let low = bounds.minimum.as_ref().map_or(f64::NEG_INFINITY, |bound| double(bound).unwrap_or(f64::MAX));
        let high = bounds.maximum.as_ref().map_or(f64::INFINITY, |bound| double(bound).unwrap_or(f64::MIN));
        let (at_low, at_high) = (closed(&bounds.minimum), closed(&bounds.maximum));
        NumberRule { listed: bounds.allowed.is_some(), bounds, low, high, at_low, at_high }
    }

    /// Whether every rule certainly holds for the nearest double of a number of at most 15 digits (`short`) or more.
    ///
    /// Rounding keeps order: a double strictly inside belongs to a number strictly inside. On a bound the text decides.
    #[inline(always)]
    pub fn surely_admits(&self, value: f64, short: bool) -> bool {
        let above = value > self.low || value == self.low && short && self.at_low;
        let below = value < self.high || value == self.high && short && self.at_high;
        above && below && !self.listed
    }
}

/// Rules of a timestamp leaf.
#[derive(Clone, Copy, Debug)]
pub struct TimestampRule {
    /// Decimal places from the epoch's unit to µs; None: no numbers.
    pub epoch_decimals: Option<u8>,
    /// Where a text without an offset belongs.
    pub zone: Option<Zone>,
}

/// An array and its items.
#[derive(Debug)]
pub struct ArrayRule {
    /// Fewest items.
    pub min_items: Option<usize>,
    /// Most items.
    pub max_items: Option<usize>,
    /// What each item is; its name is not used.
    pub item: Field,
}

impl ArrayRule {
    /// Whether a number of items is allowed.
    #[inline(always)]
    pub fn admits(&self, items: usize) -> bool {
        self.min_items.is_none_or(|min| items >= min) && self.max_items.is_none_or(|max| items <= max)
    }
}
