//! The `ecs-authz` program.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A call asks for memory dozens of times, in pieces that live as long as it does.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    ecs_authz::cli::run()
}
