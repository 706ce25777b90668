//! What was measured, for people and for programs.

use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};

use super::Outcome;
use super::instructions::Count;
use super::plan::{Load, Method};
use super::policies;
use super::rounds::{Body, Rounds, Sample, Series, Sizes, median, ratio};
use super::subject::{Subject, server_program};

const COLUMNS: [&str; 6] = ["CPU µs", "ratio", "p50 µs", "ratio", "p99 µs", "ratio"];

/// The figures of one load on one server. Ratios are to the stock null server.
struct Line {
    series: Series,
    /// Nanoseconds of a decision, of the server's processor.
    cpu: f64,
    cpu_ratio: f64,
    p50: f64,
    p50_ratio: f64,
    p99: f64,
    p99_ratio: f64,
}

impl Line {
    fn new(series: &Series, rounds: &Rounds) -> Self {
        let reference = rounds.of(Subject::Stock, &series.reference()).unwrap_or(series);
        // How long a batch takes says nothing beside a single call.
        let is_alike = reference.load.method == series.load.method;
        let both = |figure: fn(&Sample) -> f64| {
            let own = series.figures(figure);
            let ratio = ratio(&own, &reference.figures(figure));
            (median(own), ratio)
        };
        let latency = |figure| {
            let (own, ratio) = both(figure);
            (own, if is_alike { ratio } else { f64::NAN })
        };
        let (cpu, cpu_ratio) = both(|sample| sample.cpu_nanoseconds);
        let (p50, p50_ratio) = latency(|sample| sample.outcomes.p50_nanoseconds as f64);
        let (p99, p99_ratio) = latency(|sample| sample.outcomes.p99_nanoseconds as f64);
        Self { series: series.clone(), cpu, cpu_ratio, p50, p50_ratio, p99, p99_ratio }
    }

    fn load(&self) -> String {
        let Load { method, connections, in_flight, .. } = self.series.load;
        let of = match method {
            Method::Batch(requests) => format!(" of {requests}"),
            Method::Authorize | Method::Check | Method::Stream => String::new(),
        };
        format!("{}{of} {connections}×{in_flight}", method.name())
    }
}

/// What `serve` writes more of with a log: the processor's time with one to that without one.
fn cost_of_the_log(rounds: &Rounds, method: Method) -> Option<f64> {
    let of = |subject| {
        let series = rounds.series.iter().find(|it| it.subject == subject && it.load.method == method);
        series.map(|series| series.figures(|sample| sample.cpu_nanoseconds))
    };
    Some(ratio(&of(Subject::Real)?, &of(Subject::WithoutLog)?))
}

/// For people.
pub(super) fn table(rounds: &Rounds, sizes: Sizes) -> String {
    let mut table = format!(
        "{} rounds, {} principals; medians of a decision, and ratios to the stock null server\n\n{:<29}{:<20}",
        sizes.rounds, sizes.principals, "load", "server"
    );
    // INVARIANT: writing to a string does not fail.
    for column in COLUMNS {
        let _infallible = write!(table, "{column:>11}");
    }
    table.push('\n');
    for line in lines(rounds) {
        let _infallible = write!(table, "{:<29}{:<20}", line.load(), line.series.subject.name());
        for (nanoseconds, ratio) in
            [(line.cpu, line.cpu_ratio), (line.p50, line.p50_ratio), (line.p99, line.p99_ratio)]
        {
            let ratio = if ratio.is_nan() { "-".to_owned() } else { format!("{ratio:.3}") };
            let _infallible = write!(table, "{:>11.2}{ratio:>11}", nanoseconds / 1e3);
        }
        table.push('\n');
    }
    table.push('\n');
    for subject in Subject::ALL {
        let of = |figure: fn(&Body) -> f64| median(rounds.bodies_of(subject, figure));
        let _infallible = writeln!(
            table,
            "{:<20} ready after {:>6.1} ms, {:>7.1} MB of memory, {:>7.1} MB at most",
            subject.name(),
            of(|body| body.ready_milliseconds),
            of(|body| body.resident_kibibytes as f64 * 1_024.0 / 1e6),
            of(|body| body.peak_kibibytes as f64 * 1_024.0 / 1e6)
        );
    }
    let (many, seconds) = (policies::MANY, rounds.ready_with_many);
    let _infallible = writeln!(table, "ecs-authz with {many} policies is ready after {seconds:.2} s");
    let (compared, denied) = compared(rounds);
    let _infallible =
        writeln!(table, "{compared} decisions compared, {denied} of them denials: none differs");
    table
}

/// Decisions of `serve` that were compared with those of the library, and the denials among them.
fn compared(rounds: &Rounds) -> (usize, usize) {
    let real = rounds.series.iter().filter(|series| series.subject.is_real());
    let outcomes = real.flat_map(|series| series.samples.iter().map(|sample| sample.outcomes));
    outcomes.fold((0, 0), |(compared, denied), it| (compared + it.compared, denied + it.denied))
}

/// All figures of each load, by load.
fn lines(rounds: &Rounds) -> Vec<Line> {
    let mut lines: Vec<Line> = rounds.series.iter().map(|series| Line::new(series, rounds)).collect();
    lines.sort_by_key(|line| (line.series.load.connections == 1, line.series.load.method));
    lines
}

/// For programs.
pub(super) fn json(rounds: &Rounds, sizes: Sizes) -> Outcome<Value> {
    let line = |line: Line| {
        let load = line.series.load;
        json!({
            "server": line.series.subject.name(), "method": load.method.name(), "decisions": load.method.decisions(),
            "connections": load.connections, "in_flight": load.in_flight,
            "cpu_nanoseconds": line.cpu, "cpu_ratio": line.cpu_ratio,
            "p50_nanoseconds": line.p50, "p50_ratio": line.p50_ratio,
            "p99_nanoseconds": line.p99, "p99_ratio": line.p99_ratio,
            "answer_bytes": median(line.series.figures(|sample| sample.outcomes.answer_bytes)),
        })
    };
    let body = |subject: Subject| {
        let of = |figure: fn(&Body) -> f64| median(rounds.bodies_of(subject, figure));
        json!({
            "server": subject.name(),
            "ready_milliseconds": of(|body| body.ready_milliseconds),
            "resident_kibibytes": of(|body| body.resident_kibibytes as f64),
            "peak_kibibytes": of(|body| body.peak_kibibytes as f64),
        })
    };
    let (compared, denied) = compared(rounds);
    Ok(json!({
        "rounds": sizes.rounds,
        "principals": sizes.principals,
        "program_bytes": fs::metadata(server_program())?.len(),
        "ready_with_many_policies_seconds": rounds.ready_with_many,
        "compared": compared,
        "denied": denied,
        "loads": lines(rounds).into_iter().map(line).collect::<Vec<Value>>(),
        "servers": Subject::ALL.map(body),
        "cost_of_the_log": {
            Method::Authorize.name(): cost_of_the_log(rounds, Method::Authorize),
            Method::Check.name(): cost_of_the_log(rounds, Method::Check),
        },
    }))
}

/// Instructions, for programs.
pub(super) fn instructions_json(counts: &[Count]) -> Value {
    let count = |Count { subject, method, instructions }: &Count| json!({"server": subject.name(), "method": method.name(), "instructions": instructions});
    Value::Array(counts.iter().map(count).collect())
}
