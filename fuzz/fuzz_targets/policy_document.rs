#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/fuzzed/policy_document.rs"]
mod policy_document;

fuzz_target!(|input: &[u8]| policy_document::holds(input));
