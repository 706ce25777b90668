//! The goals, and how far they are reached: one table of what the benches left in `target/bench`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::Outcome;
use super::plan::{BATCH, Method};
use super::subject::Subject;

/// What the benches left, as far as they ran.
pub(super) struct Findings {
    decision: Value,
    instructions: String,
    server: Value,
    server_instructions: Value,
    peers: Value,
}

/// How a figure is to be.
#[derive(Debug, Clone, Copy)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

/// A goal, and what was found.
struct Goal {
    number: u8,
    what: String,
    limit: Limit,
    unit: &'static str,
    found: Option<f64>,
}

impl Findings {
    /// What is not there was not measured.
    pub(super) fn read(folder: &Path) -> Outcome<Self> {
        let json = |name: &str| -> Outcome<Value> {
            let file = folder.join(name).with_extension("json");
            if file.exists() { Ok(serde_json::from_slice(&fs::read(file)?)?) } else { Ok(Value::Null) }
        };
        Ok(Self {
            decision: json("decision")?,
            instructions: fs::read_to_string(folder.join("instructions.txt")).unwrap_or_default(),
            server: json("server")?,
            server_instructions: json("server-instructions")?,
            peers: json("peers")?,
        })
    }

    /// Instructions of a case of the decision bench.
    fn counted(&self, case: &str) -> Option<f64> {
        let line = self.instructions.lines().find_map(|line| line.strip_prefix(case)?.strip_prefix(' '));
        line?.parse().ok()
    }

    /// A figure of the decision bench; of the last row, if none is named.
    fn decided(&self, title: &str, row: Option<&str>, step: &str, figure: &str) -> Option<f64> {
        let rows = at(find(at(&self.decision, "comparisons"), &[("title", title)])?, "rows");
        let row = match row {
            Some(name) => find(rows, &[("name", name)]),
            None => rows.as_array()?.last(),
        };
        find(at(row?, "figures"), &[("step", step)])?.get(figure)?.as_f64()
    }

    /// A figure of the server bench, of `serve` with a log.
    fn served(&self, method: Method, is_alone: bool, figure: &str) -> Option<f64> {
        let mut loads = at(&self.server, "loads").as_array()?.iter();
        let load = loads.find(|load| {
            *at(load, "server") == Subject::Real.name()
                && *at(load, "method") == method.name()
                && *at(load, "decisions") == method.decisions()
                && (*at(load, "connections") == 1) == is_alone
        });
        load?.get(figure)?.as_f64()
    }

    /// Instructions of a call, to those of the null server of the same build.
    fn to_null(&self, method: Method) -> Option<f64> {
        let of = |subject: Subject| {
            let count =
                find(&self.server_instructions, &[("server", subject.name()), ("method", method.name())]);
            count?.get("instructions")?.as_f64()
        };
        Some(of(Subject::Real)? / of(Subject::SameBuild)?)
    }

    fn body(&self, figure: &str) -> Option<f64> {
        find(at(&self.server, "servers"), &[("server", Subject::Real.name())])?.get(figure)?.as_f64()
    }
}

/// A member; null where there is none.
fn at<'v>(value: &'v Value, name: &str) -> &'v Value {
    value.get(name).unwrap_or(&Value::Null)
}

/// The item of an array that says all of this.
fn find<'v>(array: &'v Value, wanted: &[(&str, &str)]) -> Option<&'v Value> {
    array.as_array()?.iter().find(|item| wanted.iter().all(|(name, value)| *at(item, name) == **value))
}

impl Goal {
    fn at_most(
        number: u8,
        what: impl Into<String>,
        limit: f64,
        unit: &'static str,
        found: Option<f64>,
    ) -> Self {
        Self { number, what: what.into(), limit: Limit::AtMost(limit), unit, found }
    }

    fn at_least(number: u8, what: impl Into<String>, limit: f64, found: Option<f64>) -> Self {
        Self { number, what: what.into(), limit: Limit::AtLeast(limit), unit: "×", found }
    }

    fn verdict(&self) -> &'static str {
        match (self.limit, self.found) {
            (_, None) => "not measured",
            (Limit::AtMost(limit), Some(found)) if found <= limit => "reached",
            (Limit::AtLeast(limit), Some(found)) if found >= limit => "reached",
            _ => "MISSED",
        }
    }

    fn limit(&self) -> String {
        let (sign, limit) = match self.limit {
            Limit::AtMost(limit) => ("≤", limit),
            Limit::AtLeast(limit) => ("≥", limit),
        };
        format!("{sign} {limit}{}", self.suffix())
    }

    fn found(&self) -> String {
        let Some(found) = self.found else { return "-".to_owned() };
        let digits = match found {
            0.0 => 0,
            ..10.0 => 3,
            ..1_000.0 => 1,
            _ => 0,
        };
        format!("{found:.digits$}{}", self.suffix())
    }

    fn suffix(&self) -> String {
        match self.unit {
            "" | "×" => self.unit.to_owned(),
            unit => format!(" {unit}"),
        }
    }
}

fn goals(it: &Findings) -> Vec<Goal> {
    let sections = [in_process(it), over_grpc(it), of_the_process(it), beside_others(it)];
    let mut goals: Vec<Goal> = sections.into_iter().flatten().collect();
    goals.sort_by_key(|goal| goal.number);
    goals
}

fn in_process(it: &Findings) -> Vec<Goal> {
    let flat = it.counted("decide-1000-policies").zip(it.counted("decide")).map(|(many, few)| many / few);
    let instructions =
        it.counted("route").zip(it.counted("evaluate")).map(|(route, evaluate)| route + evaluate);
    let policies = "policies of a principal";
    let time = |step| it.decided(policies, Some("4"), step, "nanoseconds");
    let time = time("route").zip(time("evaluate")).map(|(route, evaluate)| route + evaluate);
    let table = it.decided("times the published table", Some("100"), "route", "ratio");
    let random = it.decided("principals in the cache", None, "decide", "nanoseconds");
    // The bench fails where a decision allocates, so its report tells that none did.
    let allocations = it.decision.is_object().then_some(0.0);
    let mut goals = vec![
        Goal::at_most(1, "decision: instructions at 1,000 policies to those at 4", 1.02, "×", flat),
        Goal::at_most(2, "route and evaluate: instructions", 2_000.0, "", instructions),
        Goal::at_most(2, "route and evaluate: allocations", 0.0, "", allocations),
        Goal::at_most(2, "route and evaluate: time", 150.0, "ns", time),
        Goal::at_most(2, "route: 100 times the table", 2.5, "×", table),
        Goal::at_most(4, "decision of a random cached principal", 600.0, "ns", random),
    ];
    for (count, limit) in [("4", 60.0), ("100", 300.0), ("1000", 3_000.0)] {
        let own = it.decided("loaded, by policies", Some(count), "own set", "nanoseconds");
        let what = format!("a principal that is not cached, {count} policies");
        goals.push(Goal::at_most(12, what, limit, "µs", own.map(|nanoseconds| nanoseconds / 1e3)));
    }
    goals
}

fn over_grpc(it: &Findings) -> Vec<Goal> {
    let mut goals = Vec::new();
    for method in [Method::Authorize, Method::Check] {
        let what = |text: &str| format!("{}: {text}", method.name());
        let cost = at(at(&it.server, "cost_of_the_log"), method.name()).as_f64();
        goals.extend([
            Goal::at_most(5, what("instructions to the same-build null's"), 1.06, "×", it.to_null(method)),
            Goal::at_most(
                6,
                what("CPU to the stock null's, 4×25"),
                0.5,
                "×",
                it.served(method, false, "cpu_ratio"),
            ),
            Goal::at_most(6, what("… decoded in place"), 0.33, "×", it.served(method, false, "cpu_ratio")),
            Goal::at_most(
                9,
                what("p99 to the stock null's, 4×25"),
                0.6,
                "×",
                it.served(method, false, "p99_ratio"),
            ),
            Goal::at_most(13, what("CPU with the decision log to that without"), 1.15, "×", cost),
        ]);
    }
    for method in [Method::Batch(BATCH), Method::Stream] {
        let time = it.served(method, false, "cpu_nanoseconds").map(|nanoseconds| nanoseconds / 1e3);
        let ratio = it.served(method, false, "cpu_ratio").map(f64::recip);
        let what = |text: &str| format!("{}: {text}", method.name());
        goals.push(Goal::at_most(8, what("CPU of a decision"), 2.0, "µs", time));
        goals.push(Goal::at_least(8, what("stock null's CPU of a call to it"), 10.0, ratio));
    }
    let alone = |figure| it.served(Method::Authorize, true, figure);
    goals.push(Goal::at_most(9, "Authorize: p50 to the stock null's, 1×1", 1.05, "×", alone("p50_ratio")));
    goals.push(Goal::at_most(9, "Authorize: p99 to the stock null's, 1×1", 1.15, "×", alone("p99_ratio")));
    goals
}

fn of_the_process(it: &Findings) -> Vec<Goal> {
    let principals = at(&it.server, "principals").as_u64().unwrap_or(1_000_000);
    let memory = it.body("peak_kibibytes").map(|kibibytes| kibibytes * 1_024.0 / 1e6);
    let program = at(&it.server, "program_bytes").as_f64().map(|bytes| bytes / 1e6);
    let many = at(&it.server, "ready_with_many_policies_seconds").as_f64();
    vec![
        Goal::at_most(10, format!("memory with {principals} cached principals"), 500.0, "MB", memory),
        Goal::at_most(11, "ready with the table", 30.0, "ms", it.body("ready_milliseconds")),
        Goal::at_most(11, "ready with 100,000 policies", 2.0, "s", many),
        Goal::at_most(11, "the program", 12.0, "MB", program),
    ]
}

/// What the bench of peers has goals for.
fn beside_others(it: &Findings) -> Vec<Goal> {
    let rows = |section| at(&it.peers, section).as_array().into_iter().flatten();
    let goal = |number, row: &Value, what: String| {
        let what = format!("{what}, {} policies", at(row, "policies"));
        Some(Goal::at_least(number, what, at(row, "goal").as_f64()?, at(row, "ratio").as_f64()))
    };
    let text = |row: &Value, name: &str| at(row, name).as_str().unwrap_or_default().to_owned();
    let engines = rows("in_process").filter_map(|row| goal(3, row, text(row, "name")));
    let servers = rows("servers").filter_map(|row| {
        let what = format!("{}: {}", text(row, "part"), text(row, "what"));
        goal(if what.contains("Cerbos") { 7 } else { 14 }, row, what)
    });
    let mut goals: Vec<Goal> = engines.chain(servers).collect();
    for (number, what, limit) in [
        (3, "cedar-policy", 100.0),
        (7, "Cerbos: CPU to ours, 4 policies", 20.0),
        (14, "OPA behind Envoy: CPU to ours", 10.0),
    ] {
        if goals.iter().all(|goal| goal.number != number) {
            goals.push(Goal::at_least(number, what, limit, None));
        }
    }
    goals
}

/// For people, on a terminal or through a pipe.
pub(super) fn table(findings: &Findings) -> String {
    let mut table = format!("{:>4}  {:<62}{:>12}{:>14}  {}\n", "goal", "what", "limit", "found", "verdict");
    for goal in goals(findings) {
        let (limit, found) = (goal.limit(), goal.found());
        // INVARIANT: writing to a string does not fail.
        let _infallible = writeln!(
            table,
            "{:>4}  {:<62}{limit:>12}{found:>14}  {}",
            goal.number,
            goal.what,
            goal.verdict()
        );
    }
    table
}

/// For the page of results.
pub(super) fn markdown(findings: &Findings) -> String {
    let mut table = "| goal | what | limit | found | |\n|---|---|---|---|---|\n".to_owned();
    for goal in goals(findings) {
        let (limit, found) = (goal.limit(), goal.found());
        let _infallible =
            writeln!(table, "| {} | {} | {limit} | {found} | {} |", goal.number, goal.what, goal.verdict());
    }
    table
}

/// For programs.
pub(super) fn json(findings: &Findings) -> Value {
    let goal = |goal: Goal| json!({"goal": goal.number, "what": goal.what, "limit": goal.limit(), "found": goal.found, "verdict": goal.verdict()});
    let Findings { decision, server, server_instructions, peers, instructions: _ } = findings;
    json!({
        "goals": goals(findings).into_iter().map(goal).collect::<Vec<Value>>(),
        "decision": decision, "server": server, "server_instructions": server_instructions, "peers": peers,
    })
}

/// Checks what is called reached.
pub(super) fn check() -> Outcome<()> {
    let verdict = |limit, found| Goal { number: 0, what: String::new(), limit, unit: "", found }.verdict();
    let found = [
        verdict(Limit::AtMost(0.5), Some(0.5)),
        verdict(Limit::AtMost(0.5), Some(0.501)),
        verdict(Limit::AtMost(0.5), Some(f64::NAN)),
        verdict(Limit::AtLeast(10.0), Some(10.0)),
        verdict(Limit::AtLeast(10.0), Some(9.9)),
        verdict(Limit::AtLeast(10.0), None),
    ];
    if found == ["reached", "MISSED", "MISSED", "reached", "MISSED", "not measured"] {
        Ok(())
    } else {
        Err(format!("verdicts are {found:?}").into())
    }
}
