//! Allocations of a decision that allows.

use std::hint::black_box;

use allocation_counter::measure;

use super::Outcome;
use super::engine::{Engine, Step};
use super::world::{Shape, World};

/// Checks that a call without conditions is decided without an allocation, by a principal that is cached, for any request of
/// the mix.
///
/// # Errors
///
/// The steps that allocate.
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
        if count > 0 {
            faults.push(format!("{} allocates {count} times in 1,000 runs", step.name()));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join(", ").into()) }
}
