//! `ecs-authz serve`

use std::io::{self, Write as _};

use super::options::{OptionArgs, server_config};
use super::signals::Signals;
use super::{CommandError, SUCCESS, lifecycle};
use crate::server::{OpenStore, RunningServer, ServerConfig};
use crate::telemetry;

#[derive(Debug, clap::Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    options: OptionArgs,
}

pub(super) fn run(args: &ServeArgs) -> Result<u8, CommandError> {
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(serve(args));
    // A task that does not end must not keep the process.
    runtime.shutdown_background();
    outcome
}

async fn serve(args: &ServeArgs) -> Result<u8, CommandError> {
    // Before the ready line: whoever reads it may signal at once.
    let mut signals = Signals::listen()?;
    let loaded = args.options.load()?;
    let _logging = telemetry::init(&loaded.config.log)?;
    for variable in &loaded.unknown_variables {
        tracing::warn!("{variable} is no option: nothing heeds it");
    }
    let config = server_config(loaded)?;
    let (place, shutdown) = (ReadyLine::of(&config), config.config.shutdown);
    let server = tokio::select! {
        server = RunningServer::start(config) => server?,
        // A database may be awaited for long.
        _ = signals.stop() => return Ok(SUCCESS),
    };
    announce(&server, place)?;
    lifecycle::run(server, signals, shutdown).await
}

/// Where the ready line stands.
#[derive(Debug, Clone, Copy)]
enum ReadyLine {
    Stdout,
    /// Standard output holds records alone, so that every line of it is JSON.
    Stderr,
}

impl ReadyLine {
    fn of(config: &ServerConfig) -> Self {
        let log = config.config.decision_log.as_ref();
        if log.is_some_and(|log| log.stdout.is_some()) { Self::Stderr } else { Self::Stdout }
    }
}

/// The one line that says that the server is ready, with a call to copy.
fn announce(server: &RunningServer, place: ReadyLine) -> io::Result<()> {
    let RunningServer { grpc_addr, http_addr, .. } = server;
    if let Some(admin_addr) = server.admin_addr {
        tracing::info!(%admin_addr, "policies are administered here");
    }
    match &server.store {
        OpenStore::Directory { store, .. } => {
            tracing::info!(%http_addr, domains = store.domain_count(), "health is served at /readyz");
        }
        OpenStore::Postgres(_) => tracing::info!(%http_addr, "health is served at /readyz"),
    }
    let mut out: Box<dyn io::Write> = match place {
        ReadyLine::Stdout => Box::new(io::stdout().lock()),
        ReadyLine::Stderr => Box::new(io::stderr().lock()),
    };
    if server.is_grpc_over_tls {
        writeln!(out, "ready on {grpc_addr}, over TLS")?;
        return out.flush();
    }
    writeln!(
        out,
        "ready on {grpc_addr}, try: grpcurl -plaintext -d '{{\"pattern\":\"ecs:servers:st*\"}}' {grpc_addr} \
         ecs.authz.v1.AuthorizationService/ListActions"
    )?;
    out.flush()
}
