//! What a decision costs in process, without gRPC: `cargo bench --bench decision`.
//!
//! Three ways to run it:
//!
//! - `cargo bench --bench decision`: times, in rounds that take turns, as the policies, their conditions, the table and the
//!   principals grow; how long a principal takes that is not cached. One table on standard output, JSON in
//!   `target/bench/decision.json`. Times are those of the machine and of its day; what holds are the ratios.
//! - `… --count CASE N` runs a [`Case`](count::Case) exactly N times and measures nothing, for valgrind to count
//!   instructions: `scripts/instructions`.
//!   Callgrind's harnesses for Rust, gungraun and iai-callgrind, count the same, and need a runner of exactly their own version
//!   installed beside; two runs and a subtraction need valgrind alone.
//! - Without an argument, as `cargo test --all-targets` runs it: checks what a decision may allocate.
#![expect(clippy::print_stderr, reason = "progress is told where it is run")]

use std::error::Error;
use std::io::{self, Write as _};
use std::{env, fs};

mod allocations;
mod at_once;
mod count;
mod engine;
mod growth;
mod machine;
mod median;
mod mix;
mod report;
mod world;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--count", case, times] => count::run(case, times.parse()?),
        ["--cases"] => Ok(io::stdout().write_all(count::names().as_bytes())?),
        _ if arguments.contains(&"--bench") => measure(),
        _ => {
            eprintln!("no time is measured without --bench: run cargo bench --bench decision");
            allocations::check()
        }
    }
}

fn measure() -> Outcome<()> {
    allocations::check()?;
    let mut report = report::Report::new();
    growth::measure(&mut report)?;
    fs::create_dir_all("target/bench")?;
    fs::write("target/bench/decision.json", report.json())?;
    Ok(io::stdout().write_all(report.table().as_bytes())?)
}
