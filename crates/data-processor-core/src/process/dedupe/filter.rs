//! Filters: sets that answer "certainly not" or "perhaps", in about ten bits per key.

/// Bits per key: one key in a hundred that is not there is perhaps there.
const BITS: usize = 10;
/// Words of a block.
const WORDS: usize = 8;
/// Spreads what the choice of a block left over (2⁶⁴ divided by the golden ratio).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// One cache line: a key sets one bit in each word.
#[derive(Clone)]
#[repr(align(64))]
struct Block([u64; WORDS]);

/// A blocked Bloom filter over hashes. The block rises with the hash: hashes that come in order fill it from front to back.
pub struct Filter {
    blocks: Vec<Block>,
}

impl Filter {
    /// An empty filter for so many hashes.
    pub fn for_keys(keys: usize) -> Filter {
        let blocks = (keys * BITS).div_ceil(WORDS * 64).max(1);
        Filter { blocks: vec![Block([0; WORDS]); blocks] }
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        self.blocks.len() * size_of::<Block>()
    }

    #[inline(always)]
    fn block(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.blocks.len() as u128) >> 64) as usize
    }

    /// Takes a hash over.
    #[inline]
    pub fn add(&mut self, hash: u64) {
        let block = self.block(hash);
        for (at, word) in self.blocks[block].0.iter_mut().enumerate() {
            *word |= 1 << bit(hash, at);
        }
    }

    /// False: the hash was never added.
    #[inline]
    pub fn may_hold(&self, hash: u64) -> bool {
        let block = &self.blocks[self.block(hash)];
        block.0.iter().enumerate().fold(1, |all, (at, word)| all & (word >> bit(hash, at))) & 1 == 1
    }
}

/// The bit of a hash in a word of its block.
#[inline(always)]
fn bit(hash: u64, word: usize) -> u64 {
    (hash.wrapping_mul(SPREAD) >> (16 + 6 * word)) & 63
}

#[cfg(test)]
mod tests {
    use super::super::shards::tests::mixed as hash;
    use super::*;

    #[test]
    fn a_filter_forgets_nothing_and_is_seldom_wrong() {
        for keys in [0, 1, 50, 300_000] {
            let mut filter = Filter::for_keys(keys as usize);
            (0..keys).for_each(|key| filter.add(hash(key)));
            assert!((0..keys).all(|key| filter.may_hold(hash(key))));
            let others = (keys..keys + 300_000).filter(|key| filter.may_hold(hash(*key))).count();
            assert!(others < 4_500, "{others} of 300,000 with {keys} keys");
            assert!(filter.size_bytes() <= keys as usize * 5 / 4 + 64);
        }
    }
}
