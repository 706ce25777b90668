//! How the service grows: `cargo bench --bench scale`.
//!
//! Three ways to run it:
//!
//! - `cargo bench --bench scale`: how long the start takes with more and more policies, in process and as a program; what a
//!   cached principal takes in memory, and a decision about a random one. One table on standard output, JSON in
//!   `target/bench/scale.json`. `BENCH_POLICIES` and `BENCH_PRINCIPALS` in front for less than 100,000 and 1,000,000.
//! - `… --open DOMAINS POLICIES` makes a directory and opens it, `… --decide PRINCIPALS TIMES` decides, and both measure
//!   nothing: for valgrind.
//! - Without an argument, as `cargo test --all-targets` runs it: checks that the cache counts as many bytes as it takes.
#![expect(clippy::print_stderr, reason = "progress is told where it is run")]

use std::error::Error;
use std::io::{self, Write as _};
use std::{env, fs};

use serde_json::json;

#[path = "../decision/at_once.rs"]
mod at_once;
mod calls;
mod crowd;
mod directory;
#[path = "../decision/machine.rs"]
mod machine;
#[path = "../decision/median.rs"]
mod median;
mod principals;
mod report;
mod start;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--open", domains, policies] => start::open(domains.parse()?, policies.parse()?),
        ["--decide", principals, times] => principals::decide(principals.parse()?, times.parse()?),
        _ if arguments.contains(&"--bench") => measure(),
        _ => {
            eprintln!("nothing is measured without --bench: run cargo bench --bench scale");
            principals::check()
        }
    }
}

/// The most that is measured of something: an environment variable, so that a small run takes seconds.
fn most(name: &str, default: usize) -> Outcome<usize> {
    env::var(name).map_or(Ok(default), |text| Ok(text.parse()?))
}

fn progress(what: &str) {
    eprintln!("==> {what}");
}

fn measure() -> Outcome<()> {
    let (policies, principals) = (most("BENCH_POLICIES", 100_000)?, most("BENCH_PRINCIPALS", 1_000_000)?);
    let mut report = report::Report::new(json!({"policies": policies, "principals": principals}));
    start::measure(policies, &mut report)?;
    principals::measure(principals, &mut report)?;
    fs::create_dir_all("target/bench")?;
    fs::write("target/bench/scale.json", report.json())?;
    Ok(io::stdout().write_all(report.table().as_bytes())?)
}
