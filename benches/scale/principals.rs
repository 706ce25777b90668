//! What cached principals take in memory, and a decision about one of many.

use std::hint::black_box;
use std::time::Instant;

use allocation_counter::measure as count_allocations;
use ecs_authz::pdp::{Defaults, Pdp};
use ecs_authz::store::cache::{CacheCounters, PolicyCache};

use super::at_once::at_once;
use super::calls::Random;
use super::crowd::{Crowd, Kind, caller, request};
use super::median::median;
use super::report::{Report, resident_bytes};
use super::{Outcome, progress};

/// Larger than what is put into it.
const CACHE_BYTES: u64 = 8 << 30;
/// Decisions of one round. A few requests are made at a time, since they come fresh from the wire.
const AT_A_TIME: usize = 32;
const ROUNDS: usize = 15_000;

/// What was put into a cache.
struct Filled {
    pdp: Pdp,
    /// What was allocated for it, by the allocator's count.
    allocated: u64,
}

impl Filled {
    fn new(crowd: &Crowd, kind: Kind, count: usize) -> Outcome<Self> {
        let cache = PolicyCache::new(crowd.store.clone(), crowd.catalog.action_count(), CACHE_BYTES);
        let pdp = Pdp::new(crowd.catalog.clone(), cache, Defaults::default());
        let mut filled = Ok(());
        let counted = count_allocations(|| {
            filled = (0..count).try_for_each(|number| {
                at_once(pdp.permissions(&caller(number, kind)?, None))?;
                Ok(())
            })
        });
        filled.map(|()| Self { pdp, allocated: u64::try_from(counted.bytes_current).unwrap_or_default() })
    }

    fn counters(&self) -> CacheCounters {
        self.pdp.cache_counters()
    }
}

/// Checks that the cache counts what it takes, within a quarter.
///
/// # Errors
///
/// If it does not.
pub(super) fn check() -> Outcome<()> {
    let crowd = Crowd::new()?;
    for kind in [Kind::InGroups, Kind::Alone] {
        let filled = Filled::new(&crowd, kind, 20_000)?;
        let (counted, allocated) = (filled.counters().bytes, filled.allocated);
        eprintln!(
            "20000 principals, {kind:?}: {counted} bytes by the cache's count, {allocated} by the allocator's"
        );
        if !(allocated * 4 / 5..allocated * 5 / 4).contains(&counted) {
            return Err(format!("{kind:?}: the cache counts {counted} bytes, and takes {allocated}").into());
        }
    }
    Ok(())
}

/// Decides about random principals, so many times, and measures nothing.
pub(super) fn decide(principals: usize, times: usize) -> Outcome<()> {
    let filled = Filled::new(&Crowd::new()?, Kind::InGroups, principals)?;
    let mut random = Random(1);
    for _ in 0..times / AT_A_TIME {
        time(&filled.pdp, principals, &mut random)?;
    }
    Ok(())
}

pub(super) fn measure(most: usize, report: &mut Report) -> Outcome<()> {
    let crowd = Crowd::new()?;
    let counts = [most / 100, most / 10, most];
    let mut all = Vec::new();
    for count in counts {
        progress(&format!("{count} principals in the cache"));
        let before = resident_bytes()?;
        let filled = Filled::new(&crowd, Kind::InGroups, count)?;
        let resident = resident_bytes()?.saturating_sub(before);
        memory(report, &format!("of {count}"), &filled, resident);
        all.push(filled);
    }
    report.add("the process with all of these", resident_bytes()? as f64 / 1e6, "MB");
    decisions(report, &all, &counts)?;
    drop(all);
    let count = most / 10;
    let before = resident_bytes()?;
    let filled = Filled::new(&crowd, Kind::Alone, count)?;
    let resident = resident_bytes()?.saturating_sub(before);
    memory(report, &format!("of {count}, each in a group of its own"), &filled, resident);
    Ok(())
}

fn memory(report: &mut Report, of: &str, filled: &Filled, resident: u64) {
    let counted = filled.counters();
    let each = |bytes: u64| bytes as f64 / counted.entries.max(1) as f64;
    report.add(format!("a cached principal {of}, by the allocator"), each(filled.allocated), "bytes");
    report.add(format!("a cached principal {of}, by the cache's count"), each(counted.bytes), "bytes");
    report.add(format!("a cached principal {of}, resident"), each(resident), "bytes");
    report.add(format!("policy sets {of}"), counted.sets as f64, "");
    report.add(format!("a policy set {of}"), counted.set_bytes as f64 / counted.sets as f64, "bytes");
}

/// Times decisions about random principals of each cache, in turns.
fn decisions(report: &mut Report, all: &[Filled], counts: &[usize]) -> Outcome<()> {
    progress("decisions are timed");
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut times = vec![Vec::new(); all.len()];
    for _ in 0..ROUNDS {
        for ((filled, count), times) in all.iter().zip(counts).zip(&mut times) {
            times.push(time(&filled.pdp, *count, &mut random)?);
        }
    }
    for (times, count) in times.into_iter().zip(counts) {
        report.add(format!("a decision about a random principal of {count}"), median(times), "ns");
    }
    Ok(())
}

/// Nanoseconds of a decision.
fn time(pdp: &Pdp, principals: usize, random: &mut Random) -> Outcome<f64> {
    let requests = (0..AT_A_TIME).map(|_| request(random.below(principals))).collect::<Outcome<Vec<_>>>()?;
    let began = Instant::now();
    for request in &requests {
        black_box(at_once(pdp.decide(black_box(request)))?.decision());
    }
    Ok(began.elapsed().as_secs_f64() * 1e9 / AT_A_TIME as f64)
}
