//! What was measured, for people and for programs.

use std::fmt::Write as _;
use std::{fs, thread};

use serde_json::{Value, json};

use super::Outcome;
use super::machine::{date, load};

pub(super) struct Report {
    date: String,
    load: String,
    /// How much is measured, by name.
    sizes: Value,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    value: f64,
    unit: &'static str,
}

impl Report {
    pub(super) fn new(sizes: Value) -> Self {
        Self { date: date(), load: load(), sizes, rows: Vec::new() }
    }

    pub(super) fn add(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.rows.push(Row { name: name.into(), value, unit });
    }

    pub(super) fn table(&self) -> String {
        let cores = thread::available_parallelism().map_or(0, usize::from);
        let Self { date, load, sizes, rows } = self;
        let mut table =
            format!("{date}, {cores} cores, load {load} before and {} after\n{sizes}\n\n", self::load());
        for Row { name, value, unit } in rows {
            let digits = if *value < 100.0 && value.fract() != 0.0 { 2 } else { 0 };
            // INVARIANT: writing to a string does not fail.
            let _infallible = writeln!(table, "{name:<76} {value:>12.digits$} {unit}");
        }
        table
    }

    pub(super) fn json(&self) -> String {
        let row = |Row { name, value, unit }: &Row| json!({"name": name, "value": value, "unit": unit});
        let report = json!({
            "date": self.date,
            "load": {"before": self.load, "after": load()},
            "sizes": self.sizes,
            "rows": self.rows.iter().map(row).collect::<Vec<Value>>(),
        });
        format!("{report:#}\n")
    }
}

/// What this process holds in memory.
pub(super) fn resident_bytes() -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes: u64 = line.and_then(|rest| rest.split_whitespace().next()).ok_or("no VmRSS")?.parse()?;
    Ok(kibibytes * 1_024)
}
