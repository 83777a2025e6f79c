//! Numbers: the exact value of a token, and quick readers for plain ones.

use std::cmp::Ordering;

use super::text::{Window, number_end, u64_at};
use super::wide::{first_digits, lane, other_than_digits};

/// The exact value of a JSON number: ± 0.DIGITS × 10^point, without zeros at either end of the digits; zero has no digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exact {
    negative: bool,
    digits: Vec<u8>,
    point: i64,
}

/// Exponents beyond this compare like this: nothing that fits a record reaches it otherwise.
const FAR: i64 = 1 << 40;

impl Exact {
    /// Reads a token of the grammar of RFC 8259; None for any other text.
    pub fn parse(token: &[u8]) -> Option<Exact> {
        let mut padded = token.to_vec();
        padded.extend_from_slice(&[0; 2]);
        if number_end(&padded, 0)? != token.len() {
            return None;
        }
        let negative = token[0] == b'-';
        let unsigned = &token[usize::from(negative)..];
        let (mantissa, exponent) = match unsigned.iter().position(|byte| byte | 0x20 == b'e') {
            Some(at) => (&unsigned[..at], exponent(&unsigned[at + 1..])),
            None => (unsigned, 0),
        };
        let whole = mantissa.iter().position(|byte| *byte == b'.').unwrap_or(mantissa.len());
        let all: Vec<u8> = mantissa.iter().filter(|byte| **byte != b'.').map(|byte| byte - b'0').collect();
        let Some(first) = all.iter().position(|digit| *digit != 0) else {
            return Some(Exact { negative: false, digits: Vec::new(), point: 0 });
        };
        let last = all.iter().rposition(|digit| *digit != 0).unwrap_or(first);
        let point = (whole as i64 - first as i64 + exponent).clamp(-FAR, FAR);
        Some(Exact { negative, digits: all[first..=last].to_vec(), point })
    }

    /// Digits before the point; 0 below one.
    pub fn whole_digits(&self) -> i64 {
        if self.digits.is_empty() { 0 } else { self.point.max(0) }
    }

    /// Digits after the point, trailing zeros not counted.
    pub fn fraction_digits(&self) -> i64 {
        (self.digits.len() as i64 - self.point).max(0) * i64::from(!self.digits.is_empty())
    }

    /// The value × 10^scale rounded toward minus infinity, and whether nothing was cut. None beyond 128 bit.
    pub fn scaled(&self, scale: i64) -> Option<(i128, bool)> {
        let keep = self.point + scale; // digits before the new point
        let mut value: i128 = 0;
        if keep > 39 && !self.digits.is_empty() {
            return None;
        }
        for place in 0..keep.max(0) {
            let digit = self.digits.get(place as usize).copied().unwrap_or(0);
            value = value.checked_mul(10)?.checked_add(i128::from(digit))?;
        }
        let exact = self.digits.len() as i64 <= keep.max(0);
        Some(match (self.negative, exact) {
            (false, _) => (value, exact),
            (true, true) => (-value, true),
            (true, false) => (-value - 1, false),
        })
    }

    /// The value as a 64 bit integer; None when it is not whole or too large.
    pub fn integer(&self) -> Option<i64> {
        let (value, exact) = self.scaled(0)?;
        exact.then(|| i64::try_from(value).ok()).flatten()
    }

    /// Whether the sign is minus.
    pub fn is_negative(&self) -> bool {
        self.negative
    }

    /// Significant digits.
    pub fn significant(&self) -> usize {
        self.digits.len()
    }

    /// Power of ten of the first digit's place, plus one.
    pub fn magnitude(&self) -> i64 {
        self.point
    }
}

impl PartialOrd for Exact {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Exact {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |one: &Exact| i8::from(!one.digits.is_empty()) * if one.negative { -1 } else { 1 };
        let size = || (self.point, &self.digits).cmp(&(other.point, &other.digits));
        match sign(self).cmp(&sign(other)) {
            Ordering::Equal if sign(self) == 0 => Ordering::Equal,
            Ordering::Equal if self.negative => size().reverse(),
            Ordering::Equal => size(),
            unequal => unequal,
        }
    }
}

fn exponent(token: &[u8]) -> i64 {
    let negative = token[0] == b'-';
    let digits = if matches!(token[0], b'+' | b'-') { &token[1..] } else { token };
    let size = digits.iter().fold(0i64, |value, digit| (value * 10 + i64::from(digit - b'0')).min(FAR));
    if negative { -size } else { size }
}

const TEN: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// A plain number: digits, at most one point, no exponent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plain {
    /// All digits as one integer; meaningful up to 19 digits.
    pub mantissa: u64,
    /// Whether the sign is minus.
    pub negative: bool,
    /// Digits before the point.
    pub whole: usize,
    /// Digits after the point.
    pub fraction: usize,
    /// The place after the number.
    pub end: usize,
}

/// Reads the plain number at `at`; None for exponents and for everything that is no JSON number.
#[inline(always)]
pub fn plain(bytes: &[u8], at: usize) -> Option<Plain> {
    let negative = bytes[at] == b'-';
    let first = at + usize::from(negative);
    let text = lane(bytes, first);
    // Its last byte is taken for no digit: numbers that reach it are read digit by digit.
    let others = other_than_digits(text) | 1 << 15;
    let whole = others.trailing_zeros() as usize;
    if whole == 0 || (text[0] == b'0' && whole > 1) {
        return None;
    }
    let (mut fraction, mut end) = (0, first + whole);
    let point = text[whole] == b'.' && whole < 14;
    if point {
        fraction = (others >> (whole + 1)).trailing_zeros() as usize;
        if fraction == 0 {
            return None;
        }
    }
    if whole + 1 + fraction > 14 || fraction > 8 {
        return long(bytes, first, negative);
    }
    let mut mantissa = first_digits(u64_at(&text, 0), whole.min(8));
    if whole > 8 {
        mantissa = mantissa * POWER[whole - 8] + first_digits(u64_at(&text, 8), whole - 8);
    }
    if point {
        mantissa = mantissa * POWER[fraction] + first_digits(u64_at(bytes, end + 1), fraction);
        end += 1 + fraction;
    }
    (bytes[end] | 0x20 != b'e').then_some(Plain { mantissa, negative, whole, fraction, end })
}

/// As [`plain`] for a number of at most eight bytes, its sign apart, at the beginning of a window, whose place is 0.
#[inline(always)]
pub fn short(here: &Window) -> Option<Plain> {
    let sign = usize::from(here[0] == b'-');
    let text = lane(here, sign);
    let others = other_than_digits(text) | 1 << 15;
    let whole = others.trailing_zeros() as usize;
    if whole == 0 || whole > 7 || text[0] == b'0' && whole > 1 {
        return None;
    }
    let (word, bits) = (u64_at(&text, 0), 8 * whole);
    let (mut digits, mut fraction, mut length) = (word, 0, whole);
    if (word >> bits) as u8 == b'.' {
        length = (others & (others - 1)).trailing_zeros() as usize;
        fraction = length - whole - 1;
        if fraction == 0 || length > 8 {
            return None;
        }
        let before = (1 << bits) - 1;
        digits = word & before | word >> 8 & !before; // the digits close up
    }
    let mantissa = first_digits(digits, whole + fraction);
    let end = sign + length;
    (here[end] | 0x20 != b'e').then_some(Plain { mantissa, negative: sign == 1, whole, fraction, end })
}

/// A plain number of any length, digit by digit.
#[inline(never)]
fn long(bytes: &[u8], first: usize, negative: bool) -> Option<Plain> {
    let (mut mantissa, mut end) = digits(bytes, first, 0);
    let whole = end - first;
    let mut fraction = 0;
    if bytes[end] == b'.' {
        let point = end + 1;
        (mantissa, end) = digits(bytes, point, mantissa);
        fraction = end - point;
        if fraction == 0 {
            return None;
        }
    }
    (bytes[end] | 0x20 != b'e').then_some(Plain { mantissa, negative, whole, fraction, end })
}

const POWER: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

#[inline(always)]
fn digits(bytes: &[u8], mut at: usize, mut value: u64) -> (u64, usize) {
    loop {
        let digit = bytes[at].wrapping_sub(b'0');
        if digit > 9 {
            return (value, at);
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
}

impl Plain {
    /// The nearest double when one division is exact (at most 15 digits: mantissa and power of ten are both exact doubles).
    #[inline(always)]
    pub fn double(&self) -> Option<f64> {
        if self.whole + self.fraction > 15 {
            return None;
        }
        let value = self.mantissa as i64 as f64 / TEN[self.fraction];
        Some(if self.negative { -value } else { value })
    }

    /// The integer, when it has no point and at most 18 digits.
    #[inline(always)]
    pub fn integer(&self) -> Option<i64> {
        if self.whole > 18 || self.fraction != 0 {
            return None;
        }
        let value = self.mantissa as i64;
        Some(if self.negative { -value } else { value })
    }

    /// The value × 10^scale, when it has at most 18 digits and no more than `scale` after the point.
    #[inline(always)]
    pub fn scaled(&self, scale: usize) -> Option<i128> {
        if self.whole + self.fraction > 18 || self.fraction > scale || scale - self.fraction > 20 {
            return None;
        }
        let value = i128::from(self.mantissa) * 10i128.pow((scale - self.fraction) as u32);
        Some(if self.negative { -value } else { value })
    }
}

/// The nearest double of a JSON number; None when it is not finite.
pub fn nearest_double(token: &[u8]) -> Option<f64> {
    fast_float2::parse::<f64, _>(token).ok().filter(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::super::text::{PAD, window};
    use super::*;

    #[test]
    fn plain_numbers_are_their_digits_however_many() {
        let digits = "9876543210123456789";
        for whole in 1..=18 {
            for fraction in 0..=(18 - whole) {
                for (sign, after) in [("", ","), ("-", "}"), ("", "e5"), ("", "E"), ("-", " "), ("", "x")] {
                    let point = if fraction > 0 { "." } else { "" };
                    let number = format!("{sign}{}{point}{}", &digits[..whole], &digits[whole..whole + fraction]);
                    let mut bytes = format!("{number}{after}").into_bytes();
                    bytes.resize(bytes.len() + PAD, 0);
                    let read = plain(&bytes, 0);
                    assert_eq!(read.is_none(), after.starts_with(['e', 'E']), "{number}{after}");
                    let is_short = whole < 8 && whole + fraction < 8;
                    assert_eq!(short(window(&bytes, 0)), read.filter(|_| is_short), "{number}{after}");
                    if let Some(read) = read {
                        assert_eq!(read.mantissa.to_string(), digits[..whole + fraction], "{number}");
                        assert_eq!((read.whole, read.fraction, read.end), (whole, fraction, number.len()), "{number}");
                        assert_eq!(read.negative, sign == "-", "{number}");
                    }
                }
            }
        }
        for wrong in ["", "-", ".5", "5.", "5.x", "01", "-01", "00", "123456789012345.", "12345678901234.", "1234567890123."] {
            let mut bytes = wrong.as_bytes().to_vec();
            bytes.resize(bytes.len() + PAD, 0);
            assert!(plain(&bytes, 0).is_none(), "{wrong}");
            assert!(short(window(&bytes, 0)).is_none(), "{wrong}");
        }
    }

    fn exact(text: &str) -> Exact {
        Exact::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn equal_values_are_equal_however_they_are_written() {
        for (left, right) in
            [("1", "1.0"), ("100", "1e2"), ("0", "-0.0e5"), ("0.5", "5E-1"), ("1e-3", "0.0010"), ("-120", "-1.2e2")]
        {
            assert_eq!(exact(left).cmp(&exact(right)), Ordering::Equal, "{left} {right}");
        }
    }

    #[test]
    fn order_is_the_order_of_values() {
        let rising = [
            "-1e400",
            "-10",
            "-9.5",
            "-1e-400",
            "0",
            "1e-400",
            "0.1",
            "0.10000000000000000001",
            "1",
            "9",
            "10",
            "1e99999999999999999999",
        ];
        for pair in rising.windows(2) {
            assert!(exact(pair[0]) < exact(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn scaling_cuts_toward_minus_infinity() {
        assert_eq!(exact("1699999999.25").scaled(6), Some((1_699_999_999_250_000, true)));
        assert_eq!(exact("-0.0000001").scaled(6), Some((-1, false)));
        assert_eq!(exact("1.23456789").scaled(2), Some((123, false)));
        assert_eq!(exact("1e50").scaled(0), None);
        assert_eq!(exact("1e-999999999999").scaled(38), Some((0, false)));
        assert_eq!(exact("12e1").integer(), Some(120));
        assert_eq!(exact("0e999999999999").integer(), Some(0));
        assert_eq!(exact("9223372036854775808").integer(), None);
        assert_eq!(exact("-9223372036854775808").integer(), Some(i64::MIN));
    }

    #[test]
    fn only_json_numbers_parse() {
        for text in ["", "+1", ".5", "1.", "01", "1e", "Infinity", "1 ", "0x1"] {
            assert_eq!(Exact::parse(text.as_bytes()), None, "{text}");
        }
    }
}
