//! How long it takes from nothing to the first answer.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use ecs_authz::catalog::Catalog;
use ecs_authz::store::directory::DirectoryStore;

use super::directory::{self, Shape};
use super::median::median;
use super::report::Report;
use super::{Outcome, progress};

const ROUNDS: usize = 5;
/// Policies of each domain, where there are several.
const OF_A_DOMAIN: usize = 100;

/// Makes a directory and opens it.
pub(super) fn open(domains: usize, policies: usize) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    directory::write(folder.path(), Shape { domains, policies })?;
    open_store(folder.path()).map(drop)
}

fn open_store(root: &Path) -> Outcome<DirectoryStore> {
    Ok(DirectoryStore::open(root, Arc::new(Catalog::published()?))?)
}

pub(super) fn measure(policies: usize, report: &mut Report) -> Outcome<()> {
    let shape = |policies: usize| Shape { domains: (policies / OF_A_DOMAIN).max(1), policies };
    let many = [0, 100, policies / 10, policies].map(shape);
    for shape in many.into_iter().chain([Shape { domains: 1, policies: policies / 10 }]) {
        progress(&format!("start with {} policies of {} domains", shape.policies, shape.domains));
        let folder = tempfile::tempdir()?;
        directory::write(folder.path(), shape)?;
        // The first one finds files that are just written, and is thrown away.
        open_store(folder.path())?;
        let Shape { domains, policies } = shape;
        let in_process = (0..ROUNDS).map(|_| time(|| open_store(folder.path()).map(drop)));
        let in_process = median(in_process.collect::<Outcome<_>>()?);
        report.add(format!("open {policies} policies of {domains} domains"), in_process, "ms");
        let ready = (0..ROUNDS).map(|_| time_to_ready(folder.path())).collect::<Outcome<_>>()?;
        report.add(format!("ready with {policies} policies of {domains} domains"), median(ready), "ms");
    }
    Ok(())
}

/// Milliseconds.
fn time(run: impl FnOnce() -> Outcome<()>) -> Outcome<f64> {
    let began = Instant::now();
    run()?;
    Ok(began.elapsed().as_secs_f64() * 1_000.0)
}

/// Milliseconds from the start of the program to its ready line.
fn time_to_ready(policies: &Path) -> Outcome<f64> {
    let began = Instant::now();
    let mut program = Command::new(env!("CARGO_BIN_EXE_ecs-authz"));
    let program = program.arg("serve").arg("--policies").arg(policies);
    let program = program.args(["--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"]);
    let mut child = program.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut line = String::new();
    let read = child.stdout.take().map(|stdout| BufReader::new(stdout).read_line(&mut line));
    let took = began.elapsed().as_secs_f64() * 1_000.0;
    child.kill()?;
    child.wait()?;
    read.transpose()?;
    if line.starts_with("ready") { Ok(took) } else { Err("the program ended before it was ready".into()) }
}
