//! The fuzz targets, on stable Rust and in a bounded time: the same properties, held against every file of the corpus,
//! every input that once failed, mutations of the corpus, and raw bytes.
//!
//! `scripts/fuzz` runs the same functions under libFuzzer, which looks for inputs that reach new code. What it finds is a
//! file of `fuzz/regressions/`, and so a test here. `ECS_AUTHZ_CASES=100000 scripts/test fuzzed` tries more.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestError, TestRunner};

use crate::support::{trial, trials};

mod body;
mod condition_values;
mod grants_file;
mod path;
mod policy_document;

/// What is fuzzed.
#[derive(Debug, Clone, Copy)]
struct Target {
    name: &'static str,
    /// What must hold of every input.
    holds: fn(&[u8]),
    /// How many inputs of a cheap target cost as much as one of this.
    cost: u32,
}

const TARGETS: [Target; 5] = [
    Target { name: "body", holds: body::holds, cost: 1 },
    Target { name: "condition_values", holds: condition_values::holds, cost: 1 },
    // Writes files.
    Target { name: "grants_file", holds: grants_file::holds, cost: 5 },
    Target { name: "path", holds: path::holds, cost: 1 },
    Target { name: "policy_document", holds: policy_document::holds, cost: 1 },
];

pub(crate) fn trials() -> Vec<Trial> {
    let own = trials![every_fuzz_target_is_tested_here];
    TARGETS.into_iter().flat_map(of_target).chain(own).collect()
}

fn every_fuzz_target_is_tested_here() {
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).expect("the manifest");
    let named = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")?.strip_suffix(".rs\""));
    assert_eq!(named.collect::<Vec<_>>(), TARGETS.map(|target| target.name));
    let sources = files("fuzz_targets").into_iter().map(|(path, _)| path);
    let expected = TARGETS.map(|target| Path::new("fuzz_targets").join(target.name).with_extension("rs"));
    assert_eq!(sources.collect::<Vec<_>>(), expected);
}

fn of_target(target: Target) -> Vec<Trial> {
    let Target { name, holds, .. } = target;
    let seeds = files(&format!("corpus/{name}"));
    assert!(seeds.len() >= 5, "`fuzz/corpus/{name}` has fewer files than it had");
    let mut trials = Vec::new();
    for (path, content) in seeds.iter().cloned().chain(files(&format!("regressions/{name}"))) {
        trials.push(trial(format!("fuzzed::{}", path.display()), move || holds(&content)));
    }
    let seeds: Vec<Vec<u8>> = seeds.into_iter().map(|(_, content)| content).collect();
    let changed = changed(seeds, tokens(name));
    trials.push(trial(format!("fuzzed::{name}::changed"), move || run(target, changed)));
    let raw = prop::collection::vec(any::<u8>(), 0..256);
    trials.push(trial(format!("fuzzed::{name}::raw"), move || run(target, raw)));
    trials
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The files of a folder below `fuzz/`, by name. There may be no such folder: nothing failed yet.
fn files(folder: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(fuzz().join(folder)) else { return Vec::new() };
    let read = |entry: fs::DirEntry| {
        let content = fs::read(entry.path()).expect("a file");
        (Path::new(folder).join(entry.file_name()), content)
    };
    let mut files: Vec<_> = entries.map(|entry| read(entry.expect("an entry"))).collect();
    files.sort();
    files
}

/// The words of a target's dictionary, which libFuzzer uses too: one a line, in quotes, with `\xNN`, `\\` and `\"`.
fn tokens(target: &str) -> Vec<Vec<u8>> {
    let path = fuzz().join(format!("dictionaries/{target}.dict"));
    let text = fs::read_to_string(path).expect("a dictionary");
    let lines = text.lines().filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
    lines.map(unescaped).collect()
}

fn unescaped(word: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = word;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        rest = match escaped.strip_prefix('x') {
            Some(digits) => {
                bytes.push(u8::from_str_radix(&digits[..2], 16).expect("two digits"));
                &digits[2..]
            }
            None => {
                bytes.push(escaped.as_bytes()[0]);
                &escaped[1..]
            }
        };
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// One change of an input.
#[derive(Debug, Clone)]
enum Change {
    /// Puts a word in, over as many bytes.
    Put(Index, Vec<u8>, usize),
    /// Takes bytes out.
    Take(Index, usize),
    /// Repeats a part.
    Repeat(Index, usize),
    /// Goes on as another seed does from a place in it.
    GoOn(Index, Vec<u8>, Index),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let (Self::Put(at, ..) | Self::Take(at, _) | Self::Repeat(at, _) | Self::GoOn(at, ..)) = self;
        let at = at.index(bytes.len() + 1);
        let end = |length: usize| (at + length).min(bytes.len());
        match self {
            Self::Put(_, word, over) => drop(bytes.splice(at..end(*over), word.iter().copied())),
            Self::Take(_, length) => drop(bytes.drain(at..end(*length))),
            Self::Repeat(_, length) => {
                let part = bytes[at..end(*length)].to_vec();
                bytes.splice(at..at, part);
            }
            Self::GoOn(_, seed, from) => {
                bytes.truncate(at);
                bytes.extend_from_slice(&seed[from.index(seed.len() + 1)..]);
            }
        }
    }
}

/// Seeds with some changes each, most of which have the grammar in mind: words of the dictionary, parts of other seeds.
fn changed(seeds: Vec<Vec<u8>>, tokens: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let seed = prop::sample::select(seeds);
    let at = any::<Index>;
    let length = prop_oneof![4 => 0..4_usize, 2 => 4..40_usize];
    let word = prop_oneof![
        6 => prop::sample::select(tokens),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    let change = prop_oneof![
        6 => (at(), word, length.clone()).prop_map(|(at, word, over)| Change::Put(at, word, over)),
        2 => (at(), length.clone()).prop_map(|(at, length)| Change::Take(at, length)),
        1 => (at(), length).prop_map(|(at, length)| Change::Repeat(at, length)),
        1 => (at(), seed.clone(), at()).prop_map(|(at, seed, from)| Change::GoOn(at, seed, from)),
    ];
    (seed, prop::collection::vec(change, 0..4)).prop_map(|(mut bytes, changes)| {
        changes.iter().for_each(|change| change.apply(&mut bytes));
        bytes
    })
}

fn run(target: Target, strategy: impl Strategy<Value = Vec<u8>>) {
    let Target { name, holds, cost } = target;
    let cases = env::var("ECS_AUTHZ_CASES").ok().and_then(|count| count.parse().ok()).unwrap_or(2_000_u32);
    let config = Config { cases: cases.div_ceil(cost), failure_persistence: None, ..Default::default() };
    let outcome = TestRunner::new(config).run(&strategy, |input| {
        holds(&input);
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, input)) => panic!("{name}: {reason}, with \"{}\"", input.escape_ascii()),
        Err(TestError::Abort(reason)) => panic!("{name}: {reason}"),
    }
}
