//! The load generator: a process of its own, on a core of its own, which does what a line of JSON tells it.

use std::io::{self, BufRead as _, Write as _};
use std::time::Instant;

use super::Outcome;
use super::client::{Calls, Client};
use super::plan::{Expected, Load, Method, Outcomes, Plan};
use super::workload::{Requests, Workload, every_principal};

/// Different requests. With more calls they come again, long after the processor forgot their principals.
const MOST_REQUESTS: usize = 22_000;

/// Fills the server's cache, then does one load after the other. Before each, once it is warm, it says so and waits for a
/// line: so whoever reads the server's counters reads them at the right moments.
pub(super) fn run(plan: &str) -> Outcome<()> {
    let plan: Plan = serde_json::from_str(plan)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let count = |load: &Load| match load.method {
            // They need more requests than they make calls, and go around instead.
            Method::Batch(_) => 0,
            _ => load.warm_up + load.calls,
        };
        // A thousand at least, so that a short load has the whole mix.
        let requests = plan.loads.iter().map(count).max().unwrap_or(0).clamp(1_000, MOST_REQUESTS);
        let requests = Requests::draw(&plan, requests).await?;
        if matches!(plan.expected, Expected::Decided(_)) {
            Client::connect(&plan.addr, 1).await?.send_all(every_principal(plan.principals)?).await?;
        }
        for load in &plan.loads {
            Box::pin(measure(&plan, *load, &requests)).await?;
        }
        Ok(())
    })
}

async fn measure(plan: &Plan, load: Load, requests: &Requests) -> Outcome<()> {
    let workload = Workload::new(load.method, requests);
    let client = Client::connect(&plan.addr, load.connections).await?;
    let warm = client.make(load, &workload, Calls::new(0, load.warm_up)).await?;
    say("warm")?;
    let mut go = String::new();
    io::stdin().lock().read_line(&mut go)?;
    if go.is_empty() {
        return Err("whoever measures is gone".into());
    }
    let began = Instant::now();
    let measured = client.make(load, &workload, Calls::new(load.warm_up, load.calls)).await?;
    let outcomes = Outcomes {
        compared: warm.compared + measured.compared,
        denied: warm.denied + measured.denied,
        answer_bytes: measured.answer_bytes as f64 / load.calls as f64,
        seconds: began.elapsed().as_secs_f64(),
        p50_nanoseconds: measured.times.quantile(0.5),
        p99_nanoseconds: measured.times.quantile(0.99),
    };
    say(&serde_json::to_string(&outcomes)?)
}

fn say(line: &str) -> Outcome<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
