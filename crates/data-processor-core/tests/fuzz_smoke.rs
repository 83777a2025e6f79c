//! The functions that `make fuzz` runs, on their seeds and on a few thousand alterations of them.

#![allow(dead_code)] // the modules are written for fuzzing, too

mod avro_files;
#[path = "../../../fuzz/src/seed.rs"]
mod seed;
#[path = "../../../fuzz/src/targets.rs"]
mod targets;

use avro_files::Dice;

/// Bytes replaced, removed, doubled or cut.
fn altered(seed: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=dice.roll(3) {
        let at = dice.roll(bytes.len() as u64 + 1) as usize;
        match dice.roll(5) {
            0 if at < bytes.len() => bytes[at] = dice.roll(256) as u8,
            1 if at < bytes.len() => bytes[at] ^= 1 << dice.roll(8),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 => bytes.truncate(at.max(bytes.len() - bytes.len().min(20))),
            _ => bytes.insert(at, b"\"\\{}[],:\x00\xff\x7f019.-e"[dice.roll(17) as usize]),
        }
    }
    bytes
}

fn smoke(name: &str, target: fn(&[u8]), rounds: usize) {
    let seeds = seed::seeds(name);
    assert!(!seeds.is_empty());
    let mut dice = Dice::new(2026);
    for seed in &seeds {
        target(seed);
        (0..rounds).for_each(|_| target(&altered(seed, &mut dice)));
    }
}

#[test]
fn json_parsers_hold_their_laws_on_altered_seeds() {
    smoke("json_roads", targets::json_roads, 2000);
    smoke("ndjson_body", targets::ndjson_body, 1000);
    smoke("json_body", targets::json_body, 1000);
}

#[test]
fn the_csv_parser_holds_its_laws_on_altered_seeds() {
    smoke("csv_body", targets::csv_body, 2000);
    smoke("csv_roads", targets::csv_roads, 600);
}

#[test]
fn avro_readers_hold_their_laws_on_altered_seeds() {
    smoke("avro_file", targets::avro_file, 400);
    smoke("avro_value", targets::avro_value, 400);
}

#[test]
fn the_parquet_reader_holds_its_laws_on_altered_seeds() {
    smoke("parquet_file", targets::parquet_file, 800);
}

#[test]
fn log_rows_and_compressed_bodies_hold_their_laws_on_altered_seeds() {
    smoke("log_rows", targets::log_rows, 3000);
    smoke("compressed_body", targets::compressed_body, 1000);
}

#[test]
fn every_target_has_seeds() {
    seed::TARGETS.iter().for_each(|name| assert!(!seed::seeds(name).is_empty(), "{name}"));
}
