//! What was measured, for people and for programs.

use std::fmt::Write as _;
use std::thread;

use serde_json::{Value, json};

use super::machine::{date, load};

/// A table: things that are compared with the first of them.
pub(super) struct Comparison {
    pub(super) title: &'static str,
    pub(super) columns: Vec<&'static str>,
    pub(super) rows: Vec<Row>,
}

/// What one thing took, by column.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) figures: Vec<Figure>,
}

/// A median, and the median of its ratios to the first row's, round by round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figure {
    pub(super) nanoseconds: f64,
    pub(super) ratio: f64,
}

pub(super) struct Report {
    date: String,
    load: String,
    comparisons: Vec<Comparison>,
    /// Other figures: name, value and unit.
    sizes: Vec<(String, f64, &'static str)>,
}

impl Report {
    pub(super) fn new() -> Self {
        Self { date: date(), load: load(), comparisons: Vec::new(), sizes: Vec::new() }
    }

    pub(super) fn compare(&mut self, comparison: Comparison) {
        self.comparisons.push(comparison);
    }

    pub(super) fn size(&mut self, name: String, value: f64, unit: &'static str) {
        self.sizes.push((name, value, unit));
    }

    pub(super) fn table(&self) -> String {
        let cores = thread::available_parallelism().map_or(0, usize::from);
        let mut table = format!(
            "{}, {cores} cores, load {} before and {} after; medians of a decision, and ratios to the first row\n",
            self.date,
            self.load,
            load()
        );
        // INVARIANT: writing to a string does not fail.
        for Comparison { title, columns, rows } in &self.comparisons {
            let _infallible = write!(table, "\n{title:<28}");
            columns.iter().for_each(|column| {
                let _infallible = write!(table, "{column:>20}");
            });
            for Row { name, figures } in rows {
                let _infallible = write!(table, "\n{name:>28}");
                for Figure { nanoseconds, ratio } in figures {
                    let _infallible = write!(table, "{nanoseconds:>10.0} ns {ratio:>6.3}");
                }
            }
            table.push('\n');
        }
        table.push('\n');
        for (name, value, unit) in &self.sizes {
            let _infallible = writeln!(table, "{name:<48} {value:>12.0} {unit}");
        }
        table
    }

    pub(super) fn json(&self) -> String {
        let figure = |(column, figure): (&&str, &Figure)| json!({"step": column, "nanoseconds": figure.nanoseconds, "ratio": figure.ratio});
        let row = |comparison: &Comparison, row: &Row| {
            let figures: Vec<Value> = comparison.columns.iter().zip(&row.figures).map(figure).collect();
            json!({"name": row.name, "figures": figures})
        };
        let comparison = |it: &Comparison| {
            let rows: Vec<Value> = it.rows.iter().map(|one| row(it, one)).collect();
            json!({"title": it.title, "rows": rows})
        };
        let size =
            |(name, value, unit): &(String, f64, &str)| json!({"name": name, "value": value, "unit": unit});
        let report = json!({
            "date": self.date,
            "load": {"before": self.load, "after": load()},
            "comparisons": self.comparisons.iter().map(comparison).collect::<Vec<Value>>(),
            "sizes": self.sizes.iter().map(size).collect::<Vec<Value>>(),
        });
        format!("{report:#}\n")
    }
}
