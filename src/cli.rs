//! The command line.
//!
//! Results go to standard output, logs and errors to standard error. Exit codes: 0 for success and for an allow,
//! 2 for a deny and nothing else, 1 for every error, wrong usage included. So a script that only looks at the code
//! can't take an error for a decision.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::config::ConfigError;
use crate::decision::DependencyMode;
use crate::server::StartError;
use crate::store::directory::{self, WriteError};
use crate::store::postgres;
use crate::store::postgres::administration::ImportError;

mod actions;
mod check;
mod config;
mod database;
mod envoy_config;
mod envoy_lint;
mod explanation;
mod healthcheck;
mod lifecycle;
mod migrate;
mod options;
mod serve;
mod signals;
mod sync;
mod systemd;
mod validate;

/// Success, or an allow.
const SUCCESS: u8 = 0;
/// An error of any kind.
const ERROR: u8 = 1;
/// A deny.
const DENY: u8 = 2;

/// Authorization decisions for the API of an Elastic Cloud Server service.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve decisions over gRPC
    Serve(serve::ServeArgs),
    /// Print the configuration that a server would have, and who set what; secrets are left out
    Config(config::ConfigArgs),
    /// Decide one call offline; exits with 0 for allow, 2 for deny, 1 for an error
    Check(check::CheckArgs),
    /// Bring the schema of a PostgreSQL database to the version that this program needs
    Migrate(migrate::MigrateArgs),
    /// Make the policies of a database those of a directory, or the other way round: a plan first
    Sync(sync::SyncArgs),
    /// Report every fault of a policy directory; exits with 0 if there is none
    Validate(validate::ValidateArgs),
    /// List the operations of the action table
    Actions(actions::ActionsArgs),
    /// Ask a running server whether it can decide; exits with 0 if so
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Print a hardened configuration for Envoy, with the routes that the action table needs
    EnvoyConfig(envoy_config::EnvoyConfigArgs),
    /// Report what is dangerous in a configuration of Envoy; exits with 0 if there is nothing
    EnvoyLint(envoy_lint::EnvoyLintArgs),
}

/// Additional tables, which most commands take.
#[derive(Debug, clap::Args)]
struct TableArgs {
    /// An additional action table (TOML), besides the published ones; may be repeated
    #[arg(long = "table", value_name = "FILE", env = "ECS_AUTHZ_TABLES", value_delimiter = ',')]
    tables: Vec<PathBuf>,
}

/// What dependency actions do to the decision.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum DependencyModeArg {
    /// They are reported
    Report,
    /// A call with a dependency that is not allowed is denied
    Enforce,
}

impl DependencyModeArg {
    /// The mode as the configuration names it.
    fn word(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::Enforce => "enforce",
        }
    }
}

impl From<DependencyModeArg> for DependencyMode {
    fn from(arg: DependencyModeArg) -> Self {
        match arg {
            DependencyModeArg::Report => Self::Report,
            DependencyModeArg::Enforce => Self::Enforce,
        }
    }
}

/// Why a command failed. The message says what to do.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{}", postgres::causes(.0))]
    Database(postgres::OpenError),
    #[error("{}", postgres::causes(.0))]
    Import(#[from] ImportError),
    #[error(transparent)]
    Directory(#[from] directory::OpenError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(
        "the plan is another one by now, {found} and not {expected}: look at it again; nothing was changed"
    )]
    OtherPlan { expected: String, found: String },
    #[error("{0}")]
    Usage(String),
    #[error("no decision: {0}")]
    Undecided(String),
    #[error("writing the result failed: {0}")]
    Output(#[from] io::Error),
    #[error("{0}")]
    NoAnswer(String),
    #[error("a listener failed: {0}")]
    Listener(io::Error),
}

/// Runs the program with the arguments of the process.
#[must_use]
pub fn run() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version are asked for; everything else is wrong usage.
            let _closed = error.print();
            return ExitCode::from(if error.use_stderr() { ERROR } else { SUCCESS });
        }
    };
    let mut out = io::stdout().lock();
    let outcome = match args.command {
        Command::Serve(args) => serve::run(&args),
        Command::Config(args) => config::run(&args, &mut out),
        Command::Check(args) => check::run(args, &mut out),
        Command::Migrate(args) => migrate::run(args, &mut out),
        Command::Sync(args) => sync::run(&args, &mut out),
        Command::Validate(args) => validate::run(&args, &mut out),
        Command::Actions(args) => actions::run(&args, &mut out),
        Command::Healthcheck(args) => healthcheck::run(&args, &mut out),
        Command::EnvoyConfig(args) => envoy_config::run(args, &mut out),
        Command::EnvoyLint(args) => envoy_lint::run(&args, &mut out),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        // Who closed the pipe has read enough, and reads no message either.
        Err(CommandError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::from(ERROR)
        }
        Err(error) => {
            let _closed = writeln!(io::stderr(), "ecs-authz: {error}");
            ExitCode::from(ERROR)
        }
    }
}
