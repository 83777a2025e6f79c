//! What the values of a file's column become: a column of Arrow, filled page by page.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, make_array};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, Buffer, NullBuffer};
use arrow_data::ArrayData;
use arrow_schema::DataType;
use bytes::Bytes;

use super::Odd;

/// A column that is being filled. Values come without nulls; [`Sink::spread`] makes room for those afterwards.
pub trait Sink {
    /// Begins a batch of about so many rows.
    fn begin(&mut self, rows: usize);
    /// Takes the dictionary of the pages that follow: values in their plain form.
    fn dictionary(&mut self, page: &Bytes, count: usize) -> Result<(), Odd>;
    /// Adds values in their plain form; bytes that they took.
    fn plain(&mut self, page: &[u8], count: usize) -> Result<usize, Odd>;
    /// Adds values by their places in the dictionary.
    fn codes(&mut self, codes: &[u32]) -> Result<(), Odd>;
    /// Puts nulls between the values that were added last: `valid` has a row each.
    fn spread(&mut self, valid: &[bool]);
    /// The column; begins anew. Its type is `kind` or one that holds the same values.
    fn finish(&mut self, kind: &DataType, nulls: Option<NullBuffer>) -> Result<ArrayRef, Odd>;
}

/// Most rows that room is made for before any was read: a file may claim any number.
pub const ROOM: usize = 1 << 20;

/// A value of fixed width.
pub trait Value: Copy + Default {
    /// Bytes in a page.
    const WIDTH: usize;
    /// Reads one of `WIDTH` bytes.
    fn read(bytes: &[u8]) -> Self;
}

macro_rules! little_endian {
    ($($kind:ty)*) => {
        $(impl Value for $kind {
            const WIDTH: usize = size_of::<$kind>();
            #[inline(always)]
            fn read(bytes: &[u8]) -> Self {
                <$kind>::from_le_bytes(bytes.try_into().unwrap())
            }
        })*
    };
}
little_endian!(i32 i64 f32 f64);

impl Value for i128 {
    const WIDTH: usize = 16;
    /// Sixteen bytes as they are.
    #[inline(always)]
    fn read(bytes: &[u8]) -> Self {
        i128::from_ne_bytes(bytes.try_into().unwrap())
    }
}

/// Values of fixed width.
#[derive(Default)]
pub struct Fixed<T> {
    values: Vec<T>,
    dictionary: Vec<T>,
}

/// Moves the values that were added last to the rows that are valid.
pub fn spread<T: Copy + Default>(values: &mut Vec<T>, valid: &[bool]) {
    let mut dense = valid.iter().filter(|valid| **valid).count();
    let start = values.len() - dense;
    values.resize(start + valid.len(), T::default());
    for (row, valid) in valid.iter().enumerate().rev() {
        if row < dense {
            return; // the rest has no nulls
        }
        values[start + row] = if *valid {
            dense -= 1;
            values[start + dense]
        } else {
            T::default()
        };
    }
}

impl<T: Value + ArrowNativeType> Sink for Fixed<T> {
    fn begin(&mut self, rows: usize) {
        self.values.reserve_exact(rows.min(ROOM));
    }

    fn dictionary(&mut self, page: &Bytes, count: usize) -> Result<(), Odd> {
        if count.checked_mul(T::WIDTH) != Some(page.len()) {
            return Err(Odd); // also what old writers made of values of fixed length
        }
        self.dictionary.clear();
        self.dictionary.extend(page.chunks_exact(T::WIDTH).map(T::read));
        Ok(())
    }

    fn plain(&mut self, page: &[u8], count: usize) -> Result<usize, Odd> {
        let bytes = count.checked_mul(T::WIDTH).ok_or(Odd)?;
        self.values.extend(page.get(..bytes).ok_or(Odd)?.chunks_exact(T::WIDTH).map(T::read));
        Ok(bytes)
    }

    fn codes(&mut self, codes: &[u32]) -> Result<(), Odd> {
        let dictionary = within(codes, &self.dictionary)?;
        self.values.extend(codes.iter().map(|code| dictionary[*code as usize]));
        Ok(())
    }

    fn spread(&mut self, valid: &[bool]) {
        spread(&mut self.values, valid);
    }

    fn finish(&mut self, kind: &DataType, nulls: Option<NullBuffer>) -> Result<ArrayRef, Odd> {
        let values = std::mem::take(&mut self.values);
        let array = ArrayData::builder(kind.clone()).len(values.len()).nulls(nulls).add_buffer(Buffer::from_vec(values));
        Ok(make_array(array.build().map_err(|_| Odd)?))
    }
}

/// A dictionary that has a value for each code.
pub fn within<'a, T>(codes: &[u32], dictionary: &'a [T]) -> Result<&'a [T], Odd> {
    let most = codes.iter().copied().fold(0, u32::max);
    if most as usize >= dictionary.len() { Err(Odd) } else { Ok(dictionary) }
}

/// True and false.
#[derive(Default)]
pub struct Booleans(Vec<bool>);

impl Sink for Booleans {
    fn begin(&mut self, rows: usize) {
        self.0.reserve_exact(rows.min(ROOM));
    }

    fn dictionary(&mut self, _page: &Bytes, _count: usize) -> Result<(), Odd> {
        Err(Odd)
    }

    fn plain(&mut self, _page: &[u8], _count: usize) -> Result<usize, Odd> {
        Err(Odd)
    }

    fn codes(&mut self, codes: &[u32]) -> Result<(), Odd> {
        self.0.extend(codes.iter().map(|bit| *bit == 1));
        Ok(())
    }

    fn spread(&mut self, valid: &[bool]) {
        spread(&mut self.0, valid);
    }

    fn finish(&mut self, _kind: &DataType, nulls: Option<NullBuffer>) -> Result<ArrayRef, Odd> {
        let values = BooleanBuffer::from(std::mem::take(&mut self.0));
        Ok(Arc::new(BooleanArray::new(values, nulls)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_move_to_the_rows_that_are_valid() {
        for pattern in 0u32..256 {
            let valid: Vec<bool> = (0..8).map(|row| pattern >> row & 1 == 1).collect();
            let dense = 1..=valid.iter().filter(|valid| **valid).count() as i64;
            let mut values: Vec<i64> = [99].into_iter().chain(dense).collect();
            spread(&mut values, &valid);
            let mut next = 0;
            let expected = valid.iter().map(|valid| {
                next += i64::from(*valid);
                if *valid { next } else { 0 }
            });
            assert_eq!(values, [99].into_iter().chain(expected).collect::<Vec<_>>(), "{pattern:08b}");
        }
    }
}
