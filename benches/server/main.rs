//! What a decision costs the server's process, beside null servers: `scripts/bench` runs it.
//!
//! - `--bench`: rounds that take turns, each with fresh servers; a table on standard output, JSON in `target/bench/server.json`.
//!   Times are those of the machine and of its day; what holds are the ratios.
//! - `--bench --instructions`: instructions of a call, by valgrind.
//! - `--goals table`, `markdown` or `json`: the goals, and what all benches found of them.
//! - `--null stock`, `--null same-build`, `--load PLAN` and `--spin` are the processes that it starts.
//! - Without an argument, as `cargo test --all-targets` runs it: checks its own arithmetic, and has every server answer a little.
#![expect(clippy::print_stderr, reason = "progress is told where it is run")]

use std::error::Error;
use std::io::{self, Write as _};
use std::path::Path;
use std::{env, fs};

mod answers;
mod client;
mod goals;
mod histogram;
mod instructions;
mod load;
mod messages;
#[path = "../decision/mix.rs"]
mod mix;
mod plan;
mod policies;
mod process;
mod receive;
mod report;
mod rounds;
mod stock;
mod subject;
mod workload;

/// Where figures are left, as seen from the folder of the crate, where Cargo and `scripts/bench` run it.
const FOLDER: &str = "target/bench";

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--null", "stock"] => stock::stock(),
        ["--null", "same-build"] => stock::same_build(),
        ["--load", plan] => load::run(plan),
        ["--spin"] => {
            process::spin();
            Ok(())
        }
        ["--goals", form] => tell_goals(form),
        _ if arguments.contains(&"--instructions") => count_instructions(),
        _ if arguments.contains(&"--bench") => measure(),
        _ => {
            eprintln!("nothing is measured without --bench: run scripts/bench");
            histogram::check()?;
            process::check()?;
            instructions::check()?;
            rounds::check()?;
            goals::check()?;
            rounds::rehearse()
        }
    }
}

fn measure() -> Outcome<()> {
    let sizes = rounds::Sizes::from_environment()?;
    let rounds = rounds::measure(sizes)?;
    leave("server.json", &report::json(&rounds, sizes)?)?;
    print(&report::table(&rounds, sizes))
}

fn count_instructions() -> Outcome<()> {
    let counts = instructions::count()?;
    leave("server-instructions.json", &report::instructions_json(&counts))?;
    print(&instructions::table(&counts))
}

fn tell_goals(form: &str) -> Outcome<()> {
    let findings = goals::Findings::read(Path::new(FOLDER))?;
    match form {
        "table" => print(&goals::table(&findings)),
        "markdown" => print(&goals::markdown(&findings)),
        "json" => print(&format!("{:#}\n", goals::json(&findings))),
        other => Err(format!("expected table, markdown or json, found `{other}`").into()),
    }
}

fn leave(name: &str, figures: &serde_json::Value) -> Outcome<()> {
    fs::create_dir_all(FOLDER)?;
    Ok(fs::write(Path::new(FOLDER).join(name), format!("{figures:#}\n"))?)
}

fn print(text: &str) -> Outcome<()> {
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn progress(what: &str) {
    eprintln!("==> {what}");
}
