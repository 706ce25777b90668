//! What was measured, for people and for programs.

use std::fmt::Write as _;
use std::process::Command;
use std::{fs, thread};

use serde_json::{Value, json};

use super::Outcome;

pub(super) struct Report {
    date: String,
    load: String,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    value: f64,
    unit: &'static str,
}

impl Report {
    pub(super) fn new() -> Self {
        Self { date: date(), load: load(), rows: Vec::new() }
    }

    pub(super) fn add(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.rows.push(Row { name: name.into(), value, unit });
    }

    pub(super) fn table(&self) -> String {
        let cores = thread::available_parallelism().map_or(0, usize::from);
        let mut table =
            format!("{}, {cores} cores, load {} before and {} after\n\n", self.date, self.load, load());
        for Row { name, value, unit } in &self.rows {
            let digits = if *value < 100.0 && value.fract() != 0.0 { 1 } else { 0 };
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
            "rows": self.rows.iter().map(row).collect::<Vec<Value>>(),
        });
        format!("{report:#}\n")
    }
}

/// The middle one.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// What this process holds in memory.
pub(super) fn resident_bytes() -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes: u64 = line.and_then(|rest| rest.split_whitespace().next()).ok_or("no VmRSS")?.parse()?;
    Ok(kibibytes * 1_024)
}

/// As `date` tells it, which is part of every system; nothing where it is not.
fn date() -> String {
    let output = Command::new("date").args(["-u", "+%F %T UTC"]).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// How busy the machine was in the last minute.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}
