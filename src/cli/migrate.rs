//! `ecs-authz migrate`

use std::io::Write;

use super::{CommandError, SUCCESS};
use crate::store::postgres::{DatabaseUrl, migrate};

#[derive(Debug, clap::Args)]
pub(super) struct MigrateArgs {
    /// The database: postgresql://USER:PASSWORD@HOST:PORT/NAME, with the right to create a schema
    #[arg(long, value_name = "URL", env = "ECS_AUTHZ_DATABASE_URL", hide_env_values = true)]
    database_url: String,
}

pub(super) fn run(args: &MigrateArgs, out: &mut dyn Write) -> Result<u8, CommandError> {
    let url: DatabaseUrl =
        args.database_url.parse().map_err(|fault| CommandError::Usage(format!("{fault}")))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let taken = runtime.block_on(migrate::run(&url)).map_err(CommandError::Database)?;
    for version in &taken {
        writeln!(out, "migrated {url} to version {version}")?;
    }
    if taken.is_empty() {
        writeln!(out, "nothing to do: {url} is at version {}", migrate::VERSION)?;
    }
    Ok(SUCCESS)
}
