//! Values of typed formats (Avro, Parquet) as canonical JSON: what the log holds of them, and what every verdict is about.
//!
//! Lossless under the contract; a value that JSON cannot say (NaN, a year beyond 9999) keeps its text, which no type admits.

use std::io::Write;

use super::syntax::{Limits, whole_value};
use super::text::{PAD, escape_into};
use super::time::DAY_US;
use crate::contract::Kind;

/// Days since 1970 of 0001-01-01 and of the day after 9999-12-31.
const YEARS: (i64, i64) = (super::time::days_from_civil(1, 1, 1), super::time::days_from_civil(10_000, 1, 1));

/// How often a second is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Not at all.
    Second,
    /// By a thousand.
    Milli,
    /// By a million.
    Micro,
    /// By a thousand million.
    Nano,
}

impl Unit {
    /// Digits after the second's point.
    pub fn digits(self) -> usize {
        match self {
            Unit::Second => 0,
            Unit::Milli => 3,
            Unit::Micro => 6,
            Unit::Nano => 9,
        }
    }

    /// Parts of a second.
    pub fn parts(self) -> i64 {
        10i64.pow(self.digits() as u32)
    }

    /// A count of this unit in µs, cut toward minus infinity; None beyond 64 bit.
    #[inline(always)]
    pub fn to_us(self, value: i64) -> Option<i64> {
        match self {
            Unit::Second => value.checked_mul(1_000_000),
            Unit::Milli => value.checked_mul(1_000),
            Unit::Micro => Some(value),
            Unit::Nano => Some(value.div_euclid(1_000)),
        }
    }
}

/// Whether the contract asks for a number here: then a logical type's own number is meant.
pub fn wants_number(target: Option<Kind>) -> bool {
    matches!(target, Some(Kind::Integer(_) | Kind::Number(_) | Kind::Decimal(_)))
}

fn number(value: i64, out: &mut Vec<u8>) {
    let _ = write!(out, "{value}"); // a vector takes all that is written
}

/// Appends a whole number.
pub fn integer(value: i128, out: &mut Vec<u8>) {
    let _ = write!(out, "{value}");
}

/// Appends a text as a JSON string. Bytes that are no UTF-8 stay what they are: the record is refused for them.
pub fn quoted(text: &[u8], out: &mut Vec<u8>) {
    let special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = rest.iter().position(special) {
        out.extend_from_slice(&rest[..at]);
        escape_into(&char::from(rest[at]).to_string(), out);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Appends a text; where the contract has any JSON, a text that is JSON stands for itself.
pub fn text(text: &[u8], target: Option<Kind>, out: &mut Vec<u8>) {
    if matches!(target, Some(Kind::Json(_))) && is_json(text) { out.extend_from_slice(text) } else { quoted(text, out) }
}

/// Whether a text is one JSON value.
fn is_json(text: &[u8]) -> bool {
    let mut padded = Vec::with_capacity(text.len() + PAD);
    padded.extend_from_slice(text);
    padded.resize(text.len() + PAD, 0);
    let mut limits = Limits { depth: usize::MAX, members: 0 };
    std::str::from_utf8(text).is_ok() && whole_value(&padded, text.len(), &mut limits).is_ok()
}

/// Appends bytes: a UUID where one belongs, text where the contract has text, base64 (RFC 4648 §4) elsewhere.
pub fn bytes(value: &[u8], target: Option<Kind>, out: &mut Vec<u8>) {
    match (target, <[u8; 16]>::try_from(value)) {
        (Some(Kind::Uuid(_)), Ok(value)) => uuid(value, out),
        (Some(Kind::Text(_) | Kind::Uuid(_) | Kind::Timestamp(_) | Kind::Date(_) | Kind::Json(_)), _) => text(value, target, out),
        _ => base64(value, out),
    }
}

/// Appends the text of a UUID.
pub fn uuid(value: [u8; 16], out: &mut Vec<u8>) {
    out.push(b'"');
    for (at, byte) in value.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        let _ = write!(out, "{byte:02x}");
    }
    out.push(b'"');
}

fn base64(value: &[u8], out: &mut Vec<u8>) {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.push(b'"');
    for chunk in value.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place)) as usize & 63];
            out.push(if place <= chunk.len() { letter } else { b'=' });
        }
    }
    out.push(b'"');
}

/// Appends a double with the fewest digits that name it; what is no number as its name.
///
/// From 1e16 on and below 1e-4 with an exponent; a whole number ends in `.0`.
pub fn double(value: f64, out: &mut Vec<u8>) {
    if !value.is_finite() {
        let name = if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        };
        return quoted(name.as_bytes(), out);
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let (digits, power) = shortest(value.abs());
    let point = power + 1; // digits before it
    let count = digits.len() as i32;
    match power {
        0..16 if point >= count => {
            out.extend_from_slice(digits.as_bytes());
            out.extend(std::iter::repeat_n(b'0', (point - count) as usize));
            out.extend_from_slice(b".0");
        }
        0..16 => {
            let (whole, fraction) = digits.split_at(point as usize);
            let _ = write!(out, "{whole}.{fraction}");
        }
        -4..0 => {
            let _ = write!(out, "0.{:0>width$}", digits, width = (count - point) as usize);
        }
        _ => {
            let (first, rest) = digits.split_at(1);
            let (point, sign) = (if rest.is_empty() { "" } else { "." }, if power < 0 { '-' } else { '+' });
            let _ = write!(out, "{first}{point}{rest}e{sign}{:02}", power.abs());
        }
    }
}

/// The digits of the shortest decimal that names a double (of two as short the nearer, of two as near the even), and the power of
/// ten of the first.
fn shortest(value: f64) -> (String, i32) {
    let spelled = serde_json::to_string(&value).unwrap_or_default(); // finite: it has a spelling
    let (mantissa, exponent) = spelled.split_once('e').unwrap_or((&spelled, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let zeros = all.len() - all.trim_start_matches('0').len();
    let digits = all.trim_matches('0');
    if digits.is_empty() {
        return ("0".into(), 0);
    }
    let power = exponent.parse::<i32>().unwrap_or(0) + whole.len() as i32 - 1 - zeros as i32;
    (digits.to_string(), power)
}

/// Appends a decimal, exactly: `unscaled` / 10^scale, `scale` digits after the point; a negative scale adds zeros.
pub fn decimal(unscaled: &str, scale: i32, out: &mut Vec<u8>) {
    let (sign, digits) = unscaled.strip_prefix('-').map_or(("", unscaled), |digits| ("-", digits));
    out.extend_from_slice(sign.as_bytes());
    let Some(scale) = usize::try_from(scale).ok().filter(|scale| *scale > 0) else {
        out.extend_from_slice(digits.as_bytes());
        let zeros = if digits == "0" { 0 } else { scale.unsigned_abs() as usize };
        return out.extend(std::iter::repeat_n(b'0', zeros));
    };
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let _ = write!(out, "{whole}.{fraction}");
}

/// The decimal digits of a big-endian number in two's complement.
pub fn big_endian(value: &[u8]) -> String {
    if value.len() <= 16 {
        return small(value).to_string();
    }
    let negative = value[0] & 0x80 != 0;
    let mut bytes = value.to_vec();
    if negative {
        let mut carry = true;
        for byte in bytes.iter_mut().rev() {
            let (flipped, over) = (!*byte).overflowing_add(u8::from(carry));
            (*byte, carry) = (flipped, over);
        }
    }
    let mut groups: Vec<u64> = vec![0]; // of nine digits, the last first
    for byte in bytes {
        let mut carry = u64::from(byte);
        for group in &mut groups {
            let grown = (*group << 8) + carry;
            (*group, carry) = (grown % 1_000_000_000, grown / 1_000_000_000);
        }
        if carry > 0 {
            groups.push(carry);
        }
    }
    let mut digits = if negative { "-".to_string() } else { String::new() };
    digits.push_str(&groups[groups.len() - 1].to_string());
    groups.iter().rev().skip(1).for_each(|group| digits.push_str(&format!("{group:09}")));
    digits
}

/// A big-endian number of at most sixteen bytes in two's complement.
#[inline(always)]
pub fn small(value: &[u8]) -> i128 {
    let sign = if value.first().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
    let mut wide = [sign; 16];
    wide[16 - value.len()..].copy_from_slice(value);
    i128::from_be_bytes(wide)
}

/// Appends a date given in days since 1970.
pub fn date(days: i64, target: Option<Kind>, out: &mut Vec<u8>) {
    if wants_number(target) {
        return number(days, out);
    }
    if !(YEARS.0..YEARS.1).contains(&days) {
        return quoted(days.to_string().as_bytes(), out);
    }
    out.push(b'"');
    calendar(days, out);
    out.push(b'"');
}

fn calendar(days: i64, out: &mut Vec<u8>) {
    // Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let _ = write!(out, "{year:04}-{month:02}-{day:02}");
}

/// Appends an instant (`utc`) or a local time given since 1970.
pub fn instant(value: i64, unit: Unit, utc: bool, target: Option<Kind>, out: &mut Vec<u8>) {
    if wants_number(target) {
        return number(value, out);
    }
    let day_parts = DAY_US / 1_000_000 * unit.parts();
    let days = value.div_euclid(day_parts);
    if !(YEARS.0..YEARS.1).contains(&days) {
        return quoted(value.to_string().as_bytes(), out);
    }
    out.push(b'"');
    calendar(days, out);
    out.push(b'T');
    clock(value.rem_euclid(day_parts), unit, out);
    out.extend_from_slice(if utc { b"Z\"" } else { b"\"" });
}

/// Appends a time of day.
pub fn time_of_day(value: i64, unit: Unit, target: Option<Kind>, out: &mut Vec<u8>) {
    if wants_number(target) {
        return number(value, out);
    }
    if !(0..86_400 * unit.parts()).contains(&value) {
        return quoted(value.to_string().as_bytes(), out);
    }
    out.push(b'"');
    clock(value, unit, out);
    out.push(b'"');
}

fn clock(value: i64, unit: Unit, out: &mut Vec<u8>) {
    let (second, part) = (value / unit.parts(), value % unit.parts());
    let _ = write!(out, "{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
    if part != 0 {
        let _ = write!(out, ".{part:0width$}", width = unit.digits());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_have_the_fewest_digits_that_name_them() {
        let cases = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (70_368_744_177_664.13, "70368744177664.12"),
            (123.456, "123.456"),
            (100.0, "100.0"),
            (0.00012, "0.00012"),
            (-9007199254740993.0, "-9007199254740992.0"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (f64::NAN, "\"NaN\""),
            (f64::NEG_INFINITY, "\"-Infinity\""),
        ];
        for (value, expected) in cases {
            assert_eq!(spelled(|out| double(value, out)), expected);
        }
    }

    #[test]
    fn decimals_keep_every_digit() {
        for (unscaled, scale, expected) in [
            ("5", 2, "0.05"),
            ("-5", 2, "-0.05"),
            ("123", 0, "123"),
            ("-12345", 3, "-12.345"),
            ("12", -2, "1200"),
            ("0", -2, "0"),
        ] {
            assert_eq!(spelled(|out| decimal(unscaled, scale, out)), expected);
        }
        assert_eq!(big_endian(&[0xff]), "-1");
        assert_eq!(big_endian(&[]), "0");
        assert_eq!(big_endian(&[0x7f; 17]), "43385334562092358133808765634594698395519");
        assert_eq!(big_endian(&[0xff; 40]), "-1");
        let mut far = [0; 33];
        far[0] = 1;
        assert_eq!(big_endian(&far), "115792089237316195423570985008687907853269984665640564039457584007913129639936");
    }

    #[test]
    fn times_beyond_the_calendar_keep_their_number_as_text() {
        assert_eq!(spelled(|out| instant(-1, Unit::Nano, true, None, out)), "\"1969-12-31T23:59:59.999999999Z\"");
        assert_eq!(spelled(|out| instant(1_500, Unit::Milli, false, None, out)), "\"1970-01-01T00:00:01.500\"");
        assert_eq!(spelled(|out| instant(i64::MAX, Unit::Milli, true, None, out)), "\"9223372036854775807\"");
        assert_eq!(spelled(|out| date(YEARS.0, None, out)), "\"0001-01-01\"");
        assert_eq!(spelled(|out| date(YEARS.1 - 1, None, out)), "\"9999-12-31\"");
        assert_eq!(spelled(|out| date(YEARS.1, None, out)), "\"2932897\"");
        assert_eq!(spelled(|out| time_of_day(86_399_999, Unit::Milli, None, out)), "\"23:59:59.999\"");
        assert_eq!(spelled(|out| time_of_day(-1, Unit::Milli, None, out)), "\"-1\"");
    }

    #[test]
    fn bytes_are_text_where_the_contract_has_text_and_base64_elsewhere() {
        assert_eq!(spelled(|out| bytes(b"a\"b", Some(Kind::Text(0)), out)), r#""a\"b""#);
        assert_eq!(spelled(|out| bytes(b"any carnal pleas", None, out)), "\"YW55IGNhcm5hbCBwbGVhcw==\"");
        assert_eq!(spelled(|out| bytes(&[7; 16], Some(Kind::Uuid(0)), out)), "\"07070707-0707-0707-0707-070707070707\"");
        assert_eq!(spelled(|out| bytes(br#"{"a":1}"#, Some(Kind::Json(0)), out)), r#"{"a":1}"#);
        assert_eq!(spelled(|out| text(b"{", Some(Kind::Json(0)), out)), "\"{\"");
    }
}
