//! The `ecs-authz` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    ecs_authz::cli::run()
}
