//! Which keys cannot be in the file: most events are new, and then nothing need be looked up.

/// Keys per filter: 2 MiB.
const MOST: usize = 1 << 20;
/// Two bytes per key: of keys that are not there, about one in a thousand is looked up in vain.
const BLOCKS: usize = MOST * 2 / 32;
const SALT: [u32; 8] = [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// Keys by age; a filter is let go of once all of its keys are forgotten.
///
/// Source: split-block Bloom filters (Putze, Sanders, Singler 2009; salts of the Parquet format).
#[derive(Debug, Default)]
pub(super) struct Filters {
    filters: Vec<Filter>,
}

#[derive(Debug)]
struct Filter {
    blocks: Vec<[u32; 8]>,
    keys: usize,
    newest: i64,
}

impl Filters {
    /// Whether a key may be there; false is certain.
    pub(super) fn may_hold(&self, key: u128) -> bool {
        self.filters.iter().rev().any(|filter| filter.may_hold(key))
    }

    /// Takes a key, and the event time up to which it is kept, µs.
    pub(super) fn add(&mut self, key: u128, time: i64) {
        if self.filters.last().is_none_or(|last| last.keys == MOST) {
            self.filters.push(Filter { blocks: vec![[0; 8]; BLOCKS], keys: 0, newest: i64::MIN });
        }
        if let Some(last) = self.filters.last_mut() {
            let (block, bits) = place(key);
            last.blocks[block].iter_mut().zip(bits).for_each(|(word, bit)| *word |= bit);
            last.keys += 1;
            last.newest = last.newest.max(time);
        }
    }

    /// Lets go of filters whose keys are all forgotten: those at or before an instant.
    pub(super) fn forget(&mut self, oldest: i64) {
        self.filters.retain(|filter| filter.newest > oldest);
    }
}

impl Filter {
    fn may_hold(&self, key: u128) -> bool {
        let (block, bits) = place(key);
        self.blocks[block].iter().zip(bits).all(|(word, bit)| word & bit != 0)
    }
}

/// Keys are codes of a keyed hash already: their halves are as good as two hashes.
fn place(key: u128) -> (usize, [u32; 8]) {
    let block = (((key >> 96) as u64 * BLOCKS as u64) >> 32) as usize;
    (block, SALT.map(|salt| 1 << ((key as u32).wrapping_mul(salt) >> 27)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(number: u64) -> u128 {
        let mix = |seed: u64| {
            let mut z = number.wrapping_add(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z ^ (z >> 27)
        };
        u128::from(mix(1)) << 64 | u128::from(mix(u64::MAX / 3))
    }

    #[test]
    fn no_key_is_overlooked_and_few_are_looked_up_in_vain() {
        let mut filters = Filters::default();
        let count = MOST as u64 + 1_000;
        (0..count).for_each(|number| filters.add(code(number), number as i64));
        assert!((0..count).all(|number| filters.may_hold(code(number))));
        let vain = (count..count + 100_000).filter(|number| filters.may_hold(code(*number))).count();
        assert!(vain < 400, "{vain} of 100,000");
        filters.forget(MOST as i64 - 1);
        assert_eq!(filters.filters.len(), 1);
        assert!((MOST as u64..count).all(|number| filters.may_hold(code(number))));
    }
}
