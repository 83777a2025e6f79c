//! Statistics of column chunks in the file's footer.

use parquet::basic::Type as Physical;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::file::statistics::{Statistics, ValueStatistics};

use super::bounds::{Edges, Extent};
use super::schema::Kind;

/// Longest text or binary value kept whole in the footer.
const WHOLE: usize = 64;

/// Smallest and largest value as the footer spells them. Zeros are spelled so that readers that compare bits find both;
/// doubles that are not a number are left out.
pub fn statistics(extent: &Extent, physical: Physical, width: usize, nulls: u64) -> Statistics {
    let nulls = Some(nulls);
    let empty = || match physical {
        Physical::BOOLEAN => Statistics::boolean(None, None, None, nulls, false),
        Physical::INT32 => Statistics::int32(None, None, None, nulls, false),
        Physical::INT64 => Statistics::int64(None, None, None, nulls, false),
        Physical::FLOAT => Statistics::float(None, None, None, nulls, false),
        Physical::DOUBLE => Statistics::double(None, None, None, nulls, false),
        Physical::FIXED_LEN_BYTE_ARRAY => Statistics::fixed_len_byte_array(None, None, None, nulls, false),
        _ => Statistics::byte_array(None, None, None, nulls, false),
    };
    let fixed = |value: &[u8]| Some(FixedLenByteArray::from(value.to_vec()));
    match &extent.edges {
        Edges::Bool(a, b) => Statistics::boolean(Some(*a), Some(*b), None, nulls, false),
        Edges::I32(a, b) => Statistics::int32(Some(*a), Some(*b), None, nulls, false),
        Edges::I64(a, b) => Statistics::int64(Some(*a), Some(*b), None, nulls, false),
        Edges::F32(a, b) => Statistics::float(Some(if *a == 0.0 { -0.0 } else { *a }), Some(*b + 0.0), None, nulls, false),
        Edges::F64(a, b) => Statistics::double(Some(if *a == 0.0 { -0.0 } else { *a }), Some(*b + 0.0), None, nulls, false),
        Edges::Decimal(a, b) => match physical {
            Physical::INT32 => Statistics::int32(Some(*a as i32), Some(*b as i32), None, nulls, false),
            Physical::INT64 => Statistics::int64(Some(*a as i64), Some(*b as i64), None, nulls, false),
            _ => {
                let (a, b) = (a.to_be_bytes(), b.to_be_bytes());
                Statistics::fixed_len_byte_array(fixed(&a[16 - width..]), fixed(&b[16 - width..]), None, nulls, false)
            }
        },
        Edges::Bytes(a, b) if physical == Physical::FIXED_LEN_BYTE_ARRAY => {
            Statistics::fixed_len_byte_array(fixed(a), fixed(b), None, nulls, false)
        }
        Edges::Bytes(a, b) if a.len() <= WHOLE && b.len() <= WHOLE => {
            Statistics::byte_array(Some(ByteArray::from(a.clone())), Some(ByteArray::from(b.clone())), None, nulls, false)
        }
        Edges::Bytes(a, b) => cut(extent, a, b, nulls).unwrap_or_else(empty),
        Edges::None => empty(),
    }
}

/// Long values are cut like Iceberg's bounds and marked as not exact; None when the upper one cannot be raised.
fn cut(extent: &Extent, a: &[u8], b: &[u8], nulls: Option<u64>) -> Option<Statistics> {
    let kind = if std::str::from_utf8(a).is_ok() && std::str::from_utf8(b).is_ok() { Kind::String } else { Kind::Binary };
    let (Some(low), Some(high)) = extent.bounds(&kind) else { return None };
    let (low_exact, high_exact) = (low == a, high == b);
    let values = ValueStatistics::new(Some(ByteArray::from(low)), Some(ByteArray::from(high)), None, nulls, false);
    Some(Statistics::ByteArray(values.with_min_is_exact(low_exact).with_max_is_exact(high_exact)))
}
