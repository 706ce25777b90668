//! Cases that `scripts/instructions` counts.

use std::hint::black_box;

use super::Outcome;
use super::engine::{Engine, Step};
use super::world::{Shape, World};

/// A step in a world.
pub(super) struct Case {
    name: &'static str,
    step: Step,
    shape: Shape,
}

const CASES: [Case; 7] = [
    Case { name: "route", step: Step::Route, shape: Shape::BASE },
    Case { name: "evaluate", step: Step::Evaluate, shape: Shape::BASE },
    Case { name: "cached", step: Step::Cached, shape: Shape::BASE },
    Case { name: "decide", step: Step::Decide, shape: Shape::BASE },
    Case {
        name: "decide-1000-policies",
        step: Step::Decide,
        shape: Shape { policies: 1_000, groups: 2, ..Shape::BASE },
    },
    Case { name: "decide-10-conditions", step: Step::Decide, shape: Shape { conditions: 10, ..Shape::BASE } },
    Case { name: "decide-table-x10", step: Step::Decide, shape: Shape { table: 10, ..Shape::BASE } },
];

/// The names, one a line.
pub(super) fn names() -> String {
    CASES.iter().map(|case| format!("{}\n", case.name)).collect()
}

/// Runs a case so many times.
pub(super) fn run(name: &str, times: usize) -> Outcome<()> {
    let case = CASES.iter().find(|case| case.name == name);
    let case = case.ok_or_else(|| format!("expected one of these cases, found `{name}`:\n{}", names()))?;
    let world = World::new(case.shape)?;
    let engine = Engine::new(&world)?;
    black_box(engine.run(case.step, times));
    Ok(())
}
