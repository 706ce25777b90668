//! Instructions of a call, which are the same on a busy machine: valgrind counts those of the server, the load generator runs
//! beside it. Two runs that differ in the number of calls only: what is left of their difference is the calls'.

use super::plan::{BATCH, Load, Method, Plan};
use super::process::LoadGenerator;
use super::subject::{Site, Subject, Under};
use super::{Outcome, progress};

const FEW: usize = 1_000;
const MANY: usize = 5_000;
/// Principals who ask. All are in the cache.
const PRINCIPALS: usize = 1_000;

/// What one call of a method costs a server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count {
    pub(super) subject: Subject,
    pub(super) method: Method,
    pub(super) instructions: u64,
}

/// Counts what is to be compared.
pub(super) fn count() -> Outcome<Vec<Count>> {
    let site = Site::new(PRINCIPALS)?;
    let mut counts = Vec::new();
    for method in [Method::Authorize, Method::Check] {
        for subject in Subject::ALL {
            counts.push(of(&site, subject, method)?);
        }
    }
    for method in [Method::Batch(BATCH), Method::Stream] {
        counts.push(of(&site, Subject::Real, method)?);
    }
    Ok(counts)
}

fn of(site: &Site, subject: Subject, method: Method) -> Outcome<Count> {
    progress(&format!("instructions of {} in {}", method.name(), subject.name()));
    let scale = if matches!(method, Method::Batch(_)) { 10 } else { 1 };
    let (few, many) = (FEW / scale, MANY / scale);
    let difference =
        instructions(site, subject, method, many)?.saturating_sub(instructions(site, subject, method, few)?);
    let instructions = difference / (many - few) as u64;
    Ok(Count { subject, method, instructions })
}

fn instructions(site: &Site, subject: Subject, method: Method, calls: usize) -> Outcome<u64> {
    let mut server = site.start(subject, Under::Valgrind)?;
    let load = Load { method, connections: 4, in_flight: 25, warm_up: 200, calls };
    let plan = Plan {
        addr: server.addr.clone(),
        expected: site.expected(subject),
        principals: PRINCIPALS,
        loads: vec![load],
    };
    LoadGenerator::run(&plan)?;
    counted(&server.end()?)
}

/// Valgrind's last word: `==PID== I refs:  1,234`, or `I   refs`.
fn counted(written: &str) -> Outcome<u64> {
    let line = written.lines().rev().find(|line| line.contains("refs:"));
    let figure = line.and_then(|line| line.rsplit(':').next());
    let figure = figure.ok_or_else(|| format!("valgrind counted nothing:\n{written}"))?;
    Ok(figure.trim().replace(',', "").parse()?)
}

/// As the others, for people.
pub(super) fn table(counts: &[Count]) -> String {
    let mut table = format!(
        "{:<18}{:<20}{:>14}{:>10}{:>14}\n",
        "method", "server", "instructions", "ratio", "a decision"
    );
    for Count { subject, method, instructions } in counts {
        let null = counts.iter().find(|it| it.method == *method && it.subject == Subject::SameBuild);
        let ratio = null.map(|null| format!("{:.3}", *instructions as f64 / null.instructions as f64));
        table += &format!(
            "{:<18}{:<20}{instructions:>14}{:>10}{:>14}\n",
            method.name(),
            subject.name(),
            ratio.unwrap_or_default(),
            instructions / method.decisions() as u64
        );
    }
    table
}

/// Checks the reader of valgrind's words.
pub(super) fn check() -> Outcome<()> {
    let read = counted("==7== \n==7== I   refs:      12,345,678\n")?;
    if read != 12_345_678 || counted("==7== killed").is_ok() {
        return Err(format!("valgrind's words are read as {read}").into());
    }
    Ok(())
}
