#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/fuzzed/path.rs"]
mod path;

fuzz_target!(|input: &[u8]| path::holds(input));
