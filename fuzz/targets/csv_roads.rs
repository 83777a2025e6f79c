#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| frazil_fuzz::targets::csv_roads(bytes));
