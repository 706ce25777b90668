//! Allocations of a decision that allows.

use std::hint::black_box;

use allocation_counter::measure;

use super::Outcome;
use super::engine::{Engine, Step};
use super::world::{Shape, World};

/// How often a step may allocate in 1,000 runs. The cache takes room for what it frees later, for many hits at once.
fn limit(step: Step) -> u64 {
    match step {
        Step::Route | Step::Evaluate => 0,
        Step::Cached | Step::Decide => 150,
    }
}

/// Checks that routing and evaluating a call without conditions allocate nothing, for any request of the mix, and that
/// the rest seldom does.
///
/// # Errors
///
/// The steps that allocate too often.
pub(super) fn check() -> Outcome<()> {
    let world = World::new(Shape { requests: 1_000, ..Shape::BASE })?;
    let engine = Engine::new(&world)?;
    let mut faults = Vec::new();
    for step in Step::ALL {
        let allocations = measure(|| {
            black_box(engine.run(step, 1_000));
        });
        let count = allocations.count_total;
        eprintln!("{:<8} allocates {count} times in 1,000 runs", step.name());
        if count > limit(step) {
            faults.push(format!(
                "{} allocates {count} times in 1,000 runs, not {}",
                step.name(),
                limit(step)
            ));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join(", ").into()) }
}
