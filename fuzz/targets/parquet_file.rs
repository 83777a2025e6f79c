#![no_main]
// The reader of pages panics on some lies of a footer: that is caught and told as a file that cannot be read, so no panic ends the
// process before anybody could catch it. One that nobody catches still does.
libfuzzer_sys::fuzz_target!(init: drop(std::panic::take_hook()), |bytes: &[u8]| frazil_fuzz::targets::parquet_file(bytes));
