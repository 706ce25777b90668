//! `ecs-authz validate`

use std::io::Write;
use std::path::PathBuf;

use super::{CommandError, ERROR, SUCCESS, TableArgs};
use crate::server::load_catalog;
use crate::store::directory::{OpenError, Reading};

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
    let reading = Reading::of(&args.directory, &catalog).map_err(OpenError::System)?;
    for warning in &reading.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    for fault in &reading.faults {
        writeln!(out, "error: {fault}")?;
    }
    let (domains, policies, grants) = (reading.domains.len(), reading.policy_count, reading.grant_count);
    if reading.faults.is_empty() {
        let counts = [
            counted(domains, "domain", "domains"),
            counted(policies, "policy", "policies"),
            counted(grants, "grant", "grants"),
        ];
        writeln!(out, "ok: {}", counts.join(", "))?;
        return Ok(SUCCESS);
    }
    let faults = counted(reading.faults.len(), "fault", "faults");
    writeln!(out, "{faults}: the directory would not be loaded")?;
    Ok(ERROR)
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
