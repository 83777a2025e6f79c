//! Measures the keys of earlier rows: CPU nanoseconds per row, and bytes resident for them.
//!
//! `cargo run --release --example measure_keys MILLIONS [MiB in memory [repeats in a hundred [scratch folder]]]`

use std::time::Instant;

use data_processor_core::process::dedupe::{EarlierKeys, KeyRoom};

/// The wheel's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rows of a batch: about 8 MiB of events.
const ROWS: u64 = 32_768;

/// Numbers that look drawn by chance (SplitMix64).
fn mixed(number: u64) -> u64 {
    let z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The key of a row: new, or that of any row before it.
fn key(row: u64, repeats: u64) -> u128 {
    let draw = mixed(row ^ 0xabc_def);
    let number = if draw % 100 < repeats { mixed(draw) % (row + 1) } else { row };
    u128::from(mixed(number)) << 64 | u128::from(mixed(number ^ 0x5555_0000_0000))
}

/// CPU nanoseconds of the process.
fn cpu_ns() -> f64 {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours, which the call fills.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut at) };
    at.tv_sec as f64 * 1e9 + at.tv_nsec as f64
}

/// Most bytes that were resident, MiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).expect("KiB") / 1024.0
}

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, otherwise: u64| given.get(at).map_or(otherwise, |text| text.parse().expect("a number"));
    let (rows, bytes, repeats) = (number(0, 4) * 1_000_000, (number(1, 256) as usize) << 20, number(2, 2));
    let mut keys = EarlierKeys::new(KeyRoom { bytes, scratch: given.get(3).map(Into::into) });
    let mut batch = vec![0; ROWS as usize];
    let (before, began, mut cpu, mut found) = (resident(), Instant::now(), 0.0, 0);
    for first in (0..rows).step_by(ROWS as usize) {
        (first..).zip(&mut batch).for_each(|(row, place)| *place = key(row, repeats));
        let count = batch.len().min((rows - first) as usize);
        let start = cpu_ns();
        found += keys.repeats(count, |row| batch[row]).expect("a scratch disk").len();
        cpu += cpu_ns() - start;
    }
    println!(
        "{rows} rows, {found} repeats: CPU {:.0} ns/row, {:.0} MiB resident at most, {} bytes in memory and {} on the disk at the end; {:.1} s",
        cpu / rows as f64,
        resident() - before,
        keys.size_bytes(),
        keys.spilled_bytes(),
        began.elapsed().as_secs_f64()
    );
}
