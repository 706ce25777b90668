//! `ecs-authz config`

use std::io::{self, Write};

use super::options::{OptionArgs, server_config};
use super::{CommandError, SUCCESS};
use crate::config::schema;

#[derive(Debug, clap::Args)]
pub(super) struct ConfigArgs {
    #[command(flatten)]
    options: OptionArgs,
    /// Print the JSON Schema of the configuration file instead, for editors
    #[arg(long)]
    schema: bool,
}

pub(super) fn run(args: &ConfigArgs, out: &mut dyn Write) -> Result<u8, CommandError> {
    if args.schema {
        writeln!(out, "{:#}", schema())?;
        return Ok(SUCCESS);
    }
    let loaded = args.options.load()?;
    let effective = loaded.effective().map_err(|error| CommandError::Usage(error.to_string()))?;
    // What can't be served is told here, too.
    for variable in &loaded.unknown_variables {
        let _closed = writeln!(
            io::stderr(),
            "ecs-authz: warning: {} is no option, nothing heeds it",
            variable.escape_debug()
        );
    }
    server_config(loaded)?;
    out.write_all(effective.as_bytes())?;
    Ok(SUCCESS)
}
