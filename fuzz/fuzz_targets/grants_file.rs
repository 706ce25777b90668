#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/fuzzed/grants_file.rs"]
mod grants_file;

fuzz_target!(|input: &[u8]| grants_file::holds(input));
