//! What was measured, for people and for programs.

use std::fmt::Write as _;
use std::time::Duration;
use std::{env, fs, thread};

use serde_json::{Value, json};

use super::Sizes;

pub(super) struct Report {
    sizes: Sizes,
    /// When, on how busy a machine.
    began: (String, String),
    rows: Vec<Row>,
}

struct Row {
    name: String,
    value: f64,
    unit: &'static str,
}

impl Report {
    pub(super) fn new(sizes: Sizes) -> Self {
        let date = env::var("BENCH_DATE").unwrap_or_default();
        Self { sizes, began: (date, load()), rows: Vec::new() }
    }

    pub(super) fn add(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.rows.push(Row { name: name.into(), value, unit });
    }

    /// The median, the 99th percentile and the largest of some times.
    pub(super) fn add_times(&mut self, name: &str, mut times: Vec<Duration>) {
        times.sort();
        let at = |share: usize| times.get((times.len() * share / 100).min(times.len().saturating_sub(1)));
        for (label, share) in [("p50", 50), ("p99", 99), ("max", 100)] {
            let time = at(share).copied().unwrap_or_default();
            self.add(format!("{name}, {label}"), time.as_secs_f64() * 1_000.0, "ms");
        }
    }

    pub(super) fn table(&self) -> String {
        let (date, load) = &self.began;
        let cores = thread::available_parallelism().map_or(0, usize::from);
        let mut table = format!(
            "{date}, {cores} cores, load {load} before and {} after\n{:?}\n\n",
            self::load(),
            self.sizes
        );
        for Row { name, value, unit } in &self.rows {
            let digits = if *value < 100.0 && value.fract() != 0.0 { 2 } else { 0 };
            let _infallible = writeln!(table, "{name:<72} {value:>12.digits$} {unit}");
        }
        table
    }

    pub(super) fn json(&self) -> String {
        let (date, load) = &self.began;
        let Sizes { principals, policies, domains, writes, tasks, warm_seconds } = self.sizes;
        let row = |Row { name, value, unit }: &Row| json!({"name": name, "value": value, "unit": unit});
        let report = json!({
            "date": date,
            "load": {"before": load, "after": self::load()},
            "sizes": {"principals": principals, "policies": policies, "domains": domains, "writes": writes,
                "tasks": tasks, "warm_seconds": warm_seconds},
            "rows": self.rows.iter().map(row).collect::<Vec<Value>>(),
        });
        format!("{report:#}\n")
    }
}

/// How busy the machine was in the last minute.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}
