//! `ecs-authz validate`

use std::io::Write;
use std::path::PathBuf;

use super::{CommandError, ERROR, SUCCESS, TableArgs};
use crate::server::load_catalog;
use crate::store::directory::Reading;

#[derive(Debug, clap::Args)]
pub(super) struct ValidateArgs {
    /// The directory of policies
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    #[command(flatten)]
    tables: TableArgs,
}

pub(super) fn run(args: &ValidateArgs, out: &mut dyn Write) -> Result<u8, CommandError> {
    let catalog = load_catalog(&args.tables.tables)?;
    let reading = Reading::of(&args.directory, &catalog).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        CommandError::Usage(format!("a system policy does not compile: {}", errors.join(", ")))
    })?;
    for warning in &reading.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    for fault in &reading.faults {
        writeln!(out, "error: {fault}")?;
    }
    let (domains, policies, grants) = (reading.domains.len(), reading.policy_count, reading.grant_count);
    if reading.faults.is_empty() {
        writeln!(out, "ok: {domains} domains, {policies} policies, {grants} grants")?;
        return Ok(SUCCESS);
    }
    writeln!(out, "{} faults: the directory would not be loaded", reading.faults.len())?;
    Ok(ERROR)
}
