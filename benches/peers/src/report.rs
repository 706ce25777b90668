//! What was measured, as a table for people and as JSON for programs.

use std::fmt::{self, Write as _};
use std::path::Path;
use std::{fs, thread};

use serde_json::{Value, json};

use crate::Outcome;
use crate::machine::{date, load};
use crate::median::median;
use crate::questions::Asked;

/// What stands between them is replaced.
const MARKERS: [&str; 2] = ["<!-- measured -->", "<!-- /measured -->"];

/// What an engine in this process takes.
pub(crate) struct Engines {
    name: &'static str,
    asked: Asked,
    policies: usize,
    nanoseconds: f64,
    /// To the first engine, the median of the rounds.
    ratio: f64,
    /// At least so many times the first engine's.
    pub(crate) goal: Option<f64>,
}

impl Engines {
    pub(crate) fn of_rounds(
        name: &'static str,
        asked: Asked,
        policies: usize,
        own: &[f64],
        reference: &[f64],
    ) -> Self {
        let nanoseconds = median(own.to_vec());
        Self { name, asked, policies, nanoseconds, ratio: ratio(own, reference), goal: None }
    }
}

/// What a server takes for what ours does, too.
pub(crate) struct Servers {
    /// The part of the report that it belongs to.
    pub(crate) part: &'static str,
    pub(crate) what: String,
    pub(crate) policies: usize,
    pub(crate) unit: &'static str,
    pub(crate) ours: f64,
    pub(crate) theirs: f64,
    pub(crate) ratio: f64,
    /// At least so many times ours.
    pub(crate) goal: Option<f64>,
}

impl Servers {
    /// Of figures in microseconds, a pair for each round.
    pub(crate) fn of_rounds(
        part: &'static str,
        what: String,
        policies: usize,
        rounds: &[(f64, f64)],
    ) -> Self {
        let (ours, theirs): (Vec<f64>, Vec<f64>) = rounds.iter().copied().unzip();
        let ratio = ratio(&theirs, &ours);
        Self {
            part,
            what,
            policies,
            unit: "µs",
            ours: median(ours),
            theirs: median(theirs),
            ratio,
            goal: None,
        }
    }
}

pub(crate) struct Report {
    pub(crate) rounds: usize,
    date: String,
    load: String,
    compared: Vec<(String, usize, usize)>,
    engines: Vec<Engines>,
    servers: Vec<Servers>,
    skipped: Vec<String>,
}

impl Report {
    pub(crate) fn new(rounds: usize) -> Self {
        let (compared, engines, servers, skipped) = Default::default();
        Self { rounds, date: date(), load: load(), compared, engines, servers, skipped }
    }

    pub(crate) fn compared(&mut self, what: &str, policies: usize, answers: usize) {
        self.compared.push((what.to_owned(), policies, answers));
    }

    pub(crate) fn engine(&mut self, engine: Engines) {
        self.engines.push(engine);
    }

    pub(crate) fn servers(&mut self, servers: Servers) {
        self.servers.push(servers);
    }

    pub(crate) fn skip(&mut self, what: &str) {
        crate::tell(what);
        self.skipped.push(what.to_owned());
    }

    /// In Markdown.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        // INVARIANT: writing to a string does not fail.
        let _infallible = self.render(&mut text);
        text
    }

    fn render(&self, text: &mut String) -> fmt::Result {
        let (date, load, rounds) = (&self.date, &self.load, self.rounds);
        writeln!(
            text,
            "{date}, {}, load {load} before and {} after, {rounds} rounds.",
            machine(),
            self::load()
        )?;
        let total: usize = self.compared.iter().map(|(.., answers)| answers).sum();
        writeln!(text, "{total} answers were compared before anything was measured; none differs.")?;
        for (what, policies, answers) in &self.compared {
            writeln!(text, "- {what}, {policies} policies: {answers}")?;
        }
        for what in &self.skipped {
            writeln!(text, "- {what}")?;
        }
        self.render_engines(text)?;
        let mut parts: Vec<&str> = self.servers.iter().map(|servers| servers.part).collect();
        parts.dedup();
        parts.into_iter().try_for_each(|part| self.render_servers(text, part))
    }

    fn render_engines(&self, text: &mut String) -> fmt::Result {
        let sizes = crate::SIZES.map(|size| format!("{size} policies"));
        writeln!(text, "\nA decision in process, and how many times the first row's it takes:\n")?;
        writeln!(text, "| engine | actions | {} |", sizes.join(" | "))?;
        writeln!(text, "|---|---|{}", "---:|".repeat(sizes.len()))?;
        let mut rows: Vec<(&str, Asked)> = Vec::new();
        for engine in &self.engines {
            if !rows.contains(&(engine.name, engine.asked)) {
                rows.push((engine.name, engine.asked));
            }
        }
        for (name, asked) in rows {
            write!(text, "| {name} | {} |", asked.name())?;
            let cells = self.engines.iter().filter(|engine| (engine.name, engine.asked) == (name, asked));
            for Engines { nanoseconds, ratio, goal, .. } in cells {
                let goal = goal.map_or(String::new(), |goal| format!(" (goal ≥ {goal})"));
                write!(text, " {}, {}{goal} |", time(*nanoseconds), times(*ratio))?;
            }
            writeln!(text)?;
        }
        Ok(())
    }

    fn render_servers(&self, text: &mut String, part: &str) -> fmt::Result {
        writeln!(
            text,
            "\n{part}:\n\n| | policies | ecs-authz | peer | ratio | goal |\n|---|---:|---:|---:|---:|---:|"
        )?;
        for it in self.servers.iter().filter(|servers| servers.part == part) {
            let goal = it.goal.map_or(String::new(), |goal| format!("≥ {goal}"));
            let Servers { what, policies, ours, theirs, ratio, .. } = it;
            let [ours, theirs] = [ours, theirs].map(|microseconds| time(microseconds * 1_000.0));
            writeln!(text, "| {what} | {policies} | {ours} | {theirs} | {} | {goal} |", times(*ratio))?;
        }
        Ok(())
    }

    pub(crate) fn json(&self) -> String {
        let engine = |it: &Engines| {
            let Engines { name, asked, policies, nanoseconds, ratio, goal } = it;
            let name = name.replace('*', "");
            json!({"name": name, "actions": asked.name(), "policies": policies, "nanoseconds": nanoseconds,
                "ratio": ratio, "goal": goal})
        };
        let servers = |it: &Servers| {
            let Servers { part, what, policies, unit, ours, theirs, ratio, goal } = it;
            json!({"part": part, "what": what, "policies": policies, "unit": unit, "ours": ours, "theirs": theirs,
                "ratio": ratio, "goal": goal})
        };
        let compared = |(what, policies, answers): &(String, usize, usize)| json!({"what": what, "policies": policies, "answers": answers});
        let report = json!({
            "date": self.date,
            "load": {"before": self.load, "after": load()},
            "rounds": self.rounds,
            "compared": self.compared.iter().map(compared).collect::<Vec<Value>>(),
            "in_process": self.engines.iter().map(engine).collect::<Vec<Value>>(),
            "servers": self.servers.iter().map(servers).collect::<Vec<Value>>(),
            "skipped": self.skipped,
        });
        format!("{report:#}\n")
    }

    /// Replaces the table of a page.
    pub(crate) fn write_into(&self, page: &Path) -> Outcome<()> {
        let text = fs::read_to_string(page)?;
        Ok(fs::write(page, replace_table(&text, &self.table())?)?)
    }
}

fn replace_table(text: &str, table: &str) -> Outcome<String> {
    let [begin, end] = MARKERS;
    let parts = text.split_once(begin).and_then(|(before, rest)| Some((before, rest.split_once(end)?.1)));
    let (before, after) = parts.ok_or("the page has no markers for the table")?;
    Ok(format!("{before}{begin}\n{table}{end}{after}"))
}

/// How many times the others, round by round: the middle.
fn ratio(values: &[f64], others: &[f64]) -> f64 {
    median(values.iter().zip(others).map(|(value, other)| value / other).collect())
}

fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        ..1_000.0 => format!("{nanoseconds:.0} ns"),
        ..10_000.0 => format!("{:.2} µs", nanoseconds / 1_000.0),
        ..100_000.0 => format!("{:.1} µs", nanoseconds / 1_000.0),
        ..1_000_000.0 => format!("{:.0} µs", nanoseconds / 1_000.0),
        _ => format!("{:.1} ms", nanoseconds / 1_000_000.0),
    }
}

fn times(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.1}×") } else { format!("{ratio:.0}×") }
}

fn machine() -> String {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!("{cores} cores ({})", model.map_or("unknown", |(_, model)| model))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_a_page_is_replaced() {
        let page = "before\n<!-- measured -->\nold\n<!-- /measured -->\nafter\n";
        let expected = "before\n<!-- measured -->\nnew\n<!-- /measured -->\nafter\n";
        assert_eq!(replace_table(page, "new\n").unwrap(), expected);
        assert!(replace_table("no markers", "new\n").is_err());
    }

    #[test]
    fn a_ratio_is_the_middle_of_its_rounds() {
        assert_eq!(ratio(&[10.0, 30.0, 80.0], &[10.0, 10.0, 10.0]), 3.0);
        assert_eq!((times(3.04), times(41.7)), ("3.0×".to_owned(), "42×".to_owned()));
        assert_eq!(
            (time(41.4), time(1_234.0), time(45_678.0)),
            ("41 ns".to_owned(), "1.23 µs".to_owned(), "45.7 µs".to_owned())
        );
    }
}
