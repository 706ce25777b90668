//! `ecs-authz migrate`

use std::io::Write;

use super::database::DatabaseArgs;
use super::{CommandError, SUCCESS};
use crate::store::postgres::migrate;

#[derive(Debug, clap::Args)]
pub(super) struct MigrateArgs {
    #[command(flatten)]
    database: DatabaseArgs,
}

pub(super) fn run(args: MigrateArgs, out: &mut dyn Write) -> Result<u8, CommandError> {
    let url = args.database.settings()?.url;
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
