//! How the cost of a decision grows with what surrounds it, and what a principal costs that is not cached.

use std::env;
use std::hint::black_box;
use std::time::Instant;

use allocation_counter::measure as count_allocations;
use ecs_authz::request::{Caller, Context};
use ecs_authz::store::cache::PolicyCache;

use super::Outcome;
use super::at_once::at_once;
use super::engine::{Engine, Step};
use super::median::median;
use super::mix::principal;
use super::report::{Comparison, Figure, Report, Row};
use super::world::{Shape, World};

/// Decisions of one step in one round.
const DECISIONS: usize = 20_000;
/// More requests than the processor's caches hold entries of principals.
const MANY_REQUESTS: usize = 100_000;
/// Principals that are loaded to see what it costs.
const LOADS: usize = 64;
const CACHE_BYTES: u64 = 1 << 30;

/// Rounds, and the principals of the largest world. Both are environment variables, so that a small run takes seconds.
struct Sizes {
    rounds: usize,
    principals: usize,
}

impl Sizes {
    fn from_environment() -> Outcome<Self> {
        let size = |name: &str, default| env::var(name).map_or(Ok(default), |text| text.parse());
        Ok(Self { rounds: size("BENCH_ROUNDS", 15)?, principals: size("BENCH_PRINCIPALS", 1_000_000)? })
    }
}

pub(super) fn measure(report: &mut Report) -> Outcome<()> {
    let sizes = Sizes::from_environment()?;
    let base = Shape::BASE;
    let named = |count: usize, shape| (count.to_string(), shape);
    let policies = [4, 100, 1_000].map(|policies| named(policies, Shape { policies, ..base }));
    report.compare(compare("policies of a principal", &policies, &sizes)?);
    let conditions = [0, 1, 10, 100].map(|conditions| named(conditions, Shape { conditions, ..base }));
    report.compare(compare("conditional statements", &conditions, &sizes)?);
    let tables = [1, 10, 100].map(|table| named(table, Shape { table, ..base }));
    report.compare(compare("times the published table", &tables, &sizes)?);
    report.compare(cold()?);
    principals(report, &sizes)
}

/// Each step in each world, in turns.
fn compare(title: &'static str, shapes: &[(String, Shape)], sizes: &Sizes) -> Outcome<Comparison> {
    eprintln!("==> {title}");
    let worlds: Vec<World> = shapes.iter().map(|(_, shape)| World::new(*shape)).collect::<Outcome<_>>()?;
    let engines: Vec<Engine<'_>> = worlds.iter().map(Engine::new).collect::<Outcome<_>>()?;
    Ok(take_turns(title, shapes, &engines, sizes.rounds))
}

fn take_turns(
    title: &'static str,
    shapes: &[(String, Shape)],
    engines: &[Engine<'_>],
    rounds: usize,
) -> Comparison {
    // By world, step and round.
    let mut times = vec![Step::ALL.map(|_| Vec::new()); engines.len()];
    for _ in 0..rounds {
        for (engine, times) in engines.iter().zip(&mut times) {
            for (step, times) in Step::ALL.into_iter().zip(times) {
                times.push(time(engine, step));
            }
        }
    }
    let first = times.first().cloned().unwrap_or_default();
    let row = |((name, _), times): (&(String, Shape), &[Vec<f64>; 4])| Row {
        name: name.clone(),
        figures: times.iter().zip(&first).map(|(times, first)| figure(times, first)).collect(),
    };
    let rows = shapes.iter().zip(&times).map(row).collect();
    Comparison { title, columns: Step::ALL.map(Step::name).to_vec(), rows }
}

fn figure(times: &[f64], first: &[f64]) -> Figure {
    let ratios = times.iter().zip(first).map(|(time, first)| time / first).collect();
    Figure { nanoseconds: median(times.to_vec()), ratio: median(ratios) }
}

/// Nanoseconds of a decision.
fn time(engine: &Engine<'_>, step: Step) -> f64 {
    let began = Instant::now();
    black_box(engine.run(step, DECISIONS));
    began.elapsed().as_secs_f64() * 1e9 / DECISIONS as f64
}

/// What a principal takes that is not cached: with policies of its own, which are merged, and with those of others.
fn cold() -> Outcome<Comparison> {
    eprintln!("==> principals that are not cached");
    let mut rows = Vec::new();
    let mut first = Vec::new();
    for policies in [4, 100, 1_000] {
        let world = World::new(Shape { policies, groups: LOADS, ..Shape::BASE })?;
        let cache = PolicyCache::new(world.store.clone(), world.catalog.action_count(), CACHE_BYTES);
        let load = |number: usize| -> Outcome<f64> {
            let caller = Caller::new(principal(number, LOADS), Context::default())?;
            let began = Instant::now();
            black_box(at_once(cache.get(caller.identity()))?);
            Ok(began.elapsed().as_secs_f64() * 1e9)
        };
        let own = (0..LOADS).map(load).collect::<Outcome<Vec<_>>>()?;
        let shared = (LOADS..2 * LOADS).map(load).collect::<Outcome<Vec<_>>>()?;
        let times = vec![own, shared];
        if first.is_empty() {
            first.clone_from(&times);
        }
        let figures = times.iter().zip(&first).map(|(times, first)| figure(times, first)).collect();
        rows.push(Row { name: policies.to_string(), figures });
    }
    Ok(Comparison { title: "loaded, by policies", columns: vec!["own set", "shared set"], rows })
}

/// Random principals among more and more, all of them cached.
fn principals(report: &mut Report, sizes: &Sizes) -> Outcome<()> {
    let counts = [sizes.principals / 1_000, sizes.principals / 10, sizes.principals];
    let shape = |principals| Shape { principals, requests: MANY_REQUESTS, ..Shape::BASE };
    let shapes = counts.map(|count| (count.to_string(), shape(count)));
    eprintln!("==> principals in the cache");
    let worlds: Vec<World> = shapes.iter().map(|(_, shape)| World::new(*shape)).collect::<Outcome<_>>()?;
    let engines: Vec<Engine<'_>> = worlds.iter().map(Engine::new).collect::<Outcome<_>>()?;
    for (engine, count) in engines.iter().zip(counts) {
        let mut filled = Ok(());
        let counted = count_allocations(|| filled = engine.fill());
        filled?;
        // Those of the requests were there already.
        let before = count.min(MANY_REQUESTS);
        if count > before {
            let bytes = counted.bytes_current as f64 / 2.0 / (count - before) as f64;
            report.size(format!("bytes of a cached principal, of {count}"), bytes, "bytes");
        }
    }
    report.compare(take_turns("principals in the cache", &shapes, &engines, sizes.rounds));
    Ok(())
}
