#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/fuzzed/condition_values.rs"]
mod condition_values;

fuzz_target!(|input: &[u8]| condition_values::holds(input));
