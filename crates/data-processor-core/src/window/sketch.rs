//! Approximate distinct counts and quantiles. Both merge exactly: the order of values never changes a result.

use std::collections::{BTreeMap, BTreeSet};

/// Distinct values: exact up to 256, then HyperLogLog with 4,096 registers (standard error 1.6 %).
///
/// Source: Flajolet et al. 2007, with linear counting for small counts and 64-bit hashes.
#[derive(Clone, Debug, PartialEq)]
pub enum Distinct {
    /// Hashes themselves while they are few.
    Few(BTreeSet<u64>),
    /// One register per leading 12 bits: the longest run of zeros after them, plus one.
    Many(Box<[u8; 4096]>),
}

const FEW: usize = 256;
const BITS: u32 = 12;

impl Distinct {
    /// Nothing seen yet.
    pub fn new() -> Distinct {
        Distinct::Few(BTreeSet::new())
    }

    /// Takes a value by its 64-bit hash.
    pub fn add(&mut self, hash: u64) {
        match self {
            Distinct::Few(hashes) => {
                hashes.insert(hash);
                if hashes.len() > FEW {
                    let mut registers = Box::new([0; 4096]);
                    hashes.iter().for_each(|hash| note(&mut registers, *hash));
                    *self = Distinct::Many(registers);
                }
            }
            Distinct::Many(registers) => note(registers, hash),
        }
    }

    /// As if the other's values had been added.
    pub fn merge(&mut self, other: &Distinct) {
        match (&mut *self, other) {
            (_, Distinct::Few(hashes)) => hashes.iter().for_each(|hash| self.add(*hash)),
            (Distinct::Many(mine), Distinct::Many(theirs)) => {
                mine.iter_mut().zip(theirs.iter()).for_each(|(a, b)| *a = (*a).max(*b));
            }
            (Distinct::Few(hashes), Distinct::Many(theirs)) => {
                let mut registers = theirs.clone();
                hashes.iter().for_each(|hash| note(&mut registers, *hash));
                *self = Distinct::Many(registers);
            }
        }
    }

    /// About how many different values there were.
    pub fn count(&self) -> u64 {
        match self {
            Distinct::Few(hashes) => hashes.len() as u64,
            Distinct::Many(registers) => {
                let m = 4096.0_f64;
                let sum: f64 = registers.iter().map(|rank| (-f64::from(*rank)).exp2()).sum();
                let raw = 0.7213 / (1.0 + 1.079 / m) * m * m / sum;
                let zeros = registers.iter().filter(|rank| **rank == 0).count();
                let small = raw <= 2.5 * m && zeros > 0;
                (if small { m * (m / zeros as f64).ln() } else { raw }).round() as u64
            }
        }
    }
}

impl Default for Distinct {
    fn default() -> Self {
        Distinct::new()
    }
}

fn note(registers: &mut [u8; 4096], hash: u64) {
    let register = (hash >> (64 - BITS)) as usize;
    let rank = ((hash << BITS).leading_zeros().min(64 - BITS) + 1) as u8;
    registers[register] = registers[register].max(rank);
}

/// Quantiles with a relative error of at most 1 %: counts of values by logarithmic buckets.
///
/// Values nearer to zero than 1e-12 count as zero, beyond 1e30 as 1e30, so there are at most 9,672 buckets.
/// Source: DDSketch (Masson, Rim, Lee 2019).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quantiles {
    /// Count by bucket: negative values have bucket numbers below zero mirrored, zero is `None`.
    pub below: BTreeMap<i32, u64>,
    /// Values that count as zero.
    pub zeros: u64,
    /// Positive values.
    pub above: BTreeMap<i32, u64>,
}

const GAMMA: f64 = 1.01 / 0.99;

impl Quantiles {
    /// Takes a finite value.
    pub fn add(&mut self, value: f64) {
        let size = value.abs();
        if size < 1e-12 {
            self.zeros += 1;
            return;
        }
        let bucket = (size.min(1e30).ln() / GAMMA.ln()).ceil() as i32;
        *(if value > 0.0 { &mut self.above } else { &mut self.below }).entry(bucket).or_default() += 1;
    }

    /// As if the other's values had been added.
    pub fn merge(&mut self, other: &Quantiles) {
        self.zeros += other.zeros;
        other.above.iter().for_each(|(bucket, count)| *self.above.entry(*bucket).or_default() += count);
        other.below.iter().for_each(|(bucket, count)| *self.below.entry(*bucket).or_default() += count);
    }

    /// About the value of rank `floor(q * (n - 1))`, from 0; `None` without values.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let total: u64 = self.zeros + self.above.values().sum::<u64>() + self.below.values().sum::<u64>();
        let rank = (q * total.checked_sub(1)? as f64).floor() as u64;
        let middle = |bucket: i32| 2.0 * GAMMA.powi(bucket) / (GAMMA + 1.0);
        let negative = self.below.iter().rev().map(|(bucket, count)| (-middle(*bucket), *count));
        let positive = self.above.iter().map(|(bucket, count)| (middle(*bucket), *count));
        let mut passed = 0;
        negative.chain([(0.0, self.zeros)]).chain(positive).find_map(|(value, count)| {
            passed += count;
            (passed > rank).then_some(value)
        })
    }
}
