//! What the compiler does not check about the layout: who may import whom, and what the pure core knows.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;

use crate::support::trials;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        modules_import_what_the_table_says,
        the_core_does_no_io_and_knows_no_clock,
        files_are_rooms_not_halls
    ]
}

/// The modules without I/O, runtime, environment or clock.
const PURE: [&str; 5] = ["bytes", "catalog", "decision", "policy", "request"];
const IMPURE: [&str; 12] = [
    "tokio",
    "tonic",
    "prost",
    "moka",
    "tracing",
    "std::fs",
    "std::env",
    "std::io",
    "std::net::Tcp",
    "std::path",
    "std::time",
    "std::thread",
];

/// The files below `src/` by module, without their unit tests and comments.
fn code() -> BTreeMap<String, Vec<(PathBuf, String)>> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    let mut modules: BTreeMap<String, Vec<(PathBuf, String)>> = BTreeMap::new();
    for path in files {
        let relative = path.strip_prefix(&src).unwrap();
        let first = relative.iter().next().unwrap().to_str().unwrap();
        let module = first.trim_end_matches(".rs").to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        let code = lines.collect::<Vec<_>>().join("\n");
        modules.entry(module).or_default().push((relative.to_owned(), code));
    }
    modules
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The import table of `lib.rs`: each module and what it may import.
fn import_table() -> BTreeMap<&'static str, Vec<&'static str>> {
    let rows = include_str!("../../src/lib.rs").lines().filter_map(|line| line.strip_prefix("//! | [`"));
    let table: BTreeMap<_, Vec<_>> = rows
        .map(|row| {
            let (module, rest) = row.split_once("`] | ").expect("a row of the table");
            (module, rest.trim_end_matches(" |").split(", ").collect())
        })
        .collect();
    assert!(table.len() > 10, "{table:?}");
    table
}

fn modules_import_what_the_table_says() {
    let table = import_table();
    for (module, files) in code() {
        if module == "lib" || module == "main" {
            continue;
        }
        let allowed = table.get(module.as_str()).unwrap_or_else(|| panic!("`{module}` is not in the table"));
        for (file, code) in files {
            for rest in code.split("crate::").skip(1) {
                let imported = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
                let is_allowed = imported == module || allowed.contains(&imported);
                assert!(is_allowed, "{}: `{module}` may not import `{imported}`", file.display());
            }
        }
    }
}

fn the_core_does_no_io_and_knows_no_clock() {
    let modules = code();
    for module in PURE {
        for (file, code) in &modules[module] {
            for name in IMPURE {
                assert!(!code.contains(name), "{}: the core may not know `{name}`", file.display());
                let in_group =
                    name.strip_prefix("std::").is_some_and(|name| std_groups(code).contains(&name));
                assert!(!in_group, "{}: the core may not know `{name}`", file.display());
            }
        }
    }
}

/// What is imported from the standard library in groups: `use std::{env, fs};`.
fn std_groups(code: &str) -> Vec<&str> {
    let groups = code.split("use std::{").skip(1).filter_map(|rest| rest.split("};").next());
    groups.flat_map(|group| group.split([',', '{', '}', ':'])).map(str::trim).collect()
}

fn files_are_rooms_not_halls() {
    for (file, code) in code().into_values().flatten() {
        let lines = code.lines().count();
        assert!(lines <= 400, "{} has {lines} lines: would it read better as two?", file.display());
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(
            !["mod.rs", "util.rs", "utils.rs", "common.rs", "helpers.rs"].contains(&name),
            "{}",
            file.display()
        );
    }
}
