#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/fuzzed/body.rs"]
mod body;

fuzz_target!(|input: &[u8]| body::holds(input));
