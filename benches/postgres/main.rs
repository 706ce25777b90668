//! What the PostgreSQL store and the cache cost at scale: `scripts/bench-postgres` runs it, on the server at
//! `DATABASE_URL`. One table on standard output, JSON in `target/bench/postgres.json`, progress on standard error.
#![expect(clippy::print_stderr, reason = "progress is told where it is run")]

use std::error::Error;
use std::io::{self, Write as _};
use std::str::FromStr;
use std::{env, fs};

use database::Database;
use report::Report;
use serde_json::{Value, json};

#[path = "../scale/calls.rs"]
mod calls;
mod database;
mod generate;
#[path = "../decision/machine.rs"]
mod machine;
#[path = "../decision/median.rs"]
mod median;
mod propagation;
#[path = "../scale/report.rs"]
mod report;
mod scale;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// How much is measured. Each is an environment variable, so that a small run takes seconds.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    principals: usize,
    policies: usize,
    domains: usize,
    writes: usize,
    /// Loads at the same time.
    tasks: usize,
    /// After so many seconds, no more principals are loaded.
    warm_seconds: u64,
}

impl Sizes {
    fn from_environment() -> Outcome<Self> {
        Ok(Self {
            principals: size("BENCH_PRINCIPALS", 1_000_000)?,
            policies: size("BENCH_POLICIES", 100_000)?,
            domains: size("BENCH_DOMAINS", 20)?,
            writes: size("BENCH_WRITES", 500)?,
            tasks: size("BENCH_TASKS", 64)?,
            warm_seconds: size("BENCH_WARM_SECONDS", 1_200)?,
        })
    }

    fn json(self) -> Value {
        let Self { principals, policies, domains, writes, tasks, warm_seconds } = self;
        json!({"principals": principals, "policies": policies, "domains": domains, "writes": writes,
            "tasks": tasks, "warm_seconds": warm_seconds})
    }
}

fn size<T: FromStr<Err: Error + Send + Sync + 'static>>(name: &str, default: T) -> Outcome<T> {
    env::var(name).map_or(Ok(default), |text| Ok(text.parse()?))
}

fn progress(what: &str) {
    eprintln!("==> {what}");
}

fn main() -> Outcome<()> {
    // `cargo test --all-targets` runs benches too, without the argument.
    if !env::args().any(|argument| argument == "--bench") {
        eprintln!("nothing is measured without --bench: run scripts/bench-postgres");
        return Ok(());
    }
    let server =
        env::var("DATABASE_URL").map_err(|_| "DATABASE_URL is not set: run scripts/bench-postgres")?;
    let sizes = Sizes::from_environment()?;
    let mut report = Report::new(sizes.json());
    tokio::runtime::Runtime::new()?.block_on(async {
        let database = Database::create(&server).await?;
        let measured = Box::pin(measure(&database, sizes, &mut report)).await;
        // Whatever came of it, the database goes.
        database.remove().await?;
        measured
    })?;
    fs::create_dir_all("target/bench")?;
    fs::write("target/bench/postgres.json", report.json())?;
    Ok(io::stdout().write_all(report.table().as_bytes())?)
}

async fn measure(database: &Database, sizes: Sizes, report: &mut Report) -> Outcome<()> {
    propagation::measure(database, sizes, report).await?;
    Box::pin(scale::measure(database, sizes, report)).await
}
