//! `ecs-authz` against other policy engines: the same policies, the same requests, the same run. `benches/peers/run` starts it.
//!
//! Every part compares all answers before anything is measured, and an answer that differs is an error. What can't be run here,
//! because a program is missing, is left out, and the table says so.
#![expect(clippy::print_stderr, reason = "progress is told where it is run")]

use std::error::Error;
use std::io::{self, Write as _};
use std::path::Path;
use std::{env, fs};

#[path = "../../decision/at_once.rs"]
mod at_once;
mod engine;
#[path = "../../server/histogram.rs"]
#[expect(dead_code, reason = "its own bench checks its arithmetic")]
mod histogram;
mod in_process;
#[path = "../../decision/machine.rs"]
mod machine;
#[path = "../../decision/median.rs"]
mod median;
#[path = "../../decision/mix.rs"]
mod mix;
mod policies;
mod questions;
#[path = "../../server/receive.rs"]
mod receive;
mod report;
mod wire;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The numbers of policies that a principal has.
const SIZES: [usize; 3] = [4, 100, 1_000];

fn main() -> Outcome<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let is_written = match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--write"] if env::var_os("BENCH_ONLY").is_some() => {
            return Err("the page tells of all parts, and BENCH_ONLY leaves some out".into());
        }
        ["--write"] => true,
        _ => return Err("usage: benches/peers/run [--write]".into()),
    };
    let rounds = env::var("BENCH_ROUNDS").map_or(Ok(9), |text| text.parse())?;
    let questions = questions::Questions::draw()?;
    let mut report = report::Report::new(rounds);
    if is_wanted("process") {
        in_process::measure(&questions, &mut report)?;
    }
    wire::measure(&questions, &mut report)?;
    fs::create_dir_all("target/bench")?;
    fs::write("target/bench/peers.json", report.json())?;
    if is_written {
        report.write_into(Path::new("benches/peers/README.md"))?;
    }
    Ok(io::stdout().write_all(report.table().as_bytes())?)
}

/// Whether a part is measured: all are, unless `BENCH_ONLY` names one.
fn is_wanted(part: &str) -> bool {
    env::var("BENCH_ONLY").map_or(true, |only| only == part)
}

/// Tells how far it is.
fn tell(what: &str) {
    eprintln!("==> {what}");
}
