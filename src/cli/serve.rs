//! `ecs-authz serve`

use std::io::{self, Write as _};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::options::{OptionArgs, server_config};
use super::{CommandError, SUCCESS};
use crate::server::{Drain, OpenStore, RunningServer, ServerConfig};
use crate::telemetry;

/// How long calls in flight are answered after the signal to stop: well below the 30 s after which Kubernetes kills.
const STOP_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    options: OptionArgs,
}

pub(super) fn run(args: &ServeArgs) -> Result<u8, CommandError> {
    telemetry::init();
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(async {
        // Before the ready line: whoever reads it may signal at once.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let loaded = args.options.load()?;
        for variable in &loaded.unknown_variables {
            tracing::warn!("{variable} is no option: nothing heeds it");
        }
        let config = server_config(loaded)?;
        let place = ReadyLine::of(&config);
        let mut server = tokio::select! {
            server = RunningServer::start(config) => server?,
            // A database may be awaited for long.
            _ = terminate.recv() => return Ok(SUCCESS),
            _ = interrupt.recv() => return Ok(SUCCESS),
        };
        announce(&server, place)?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            error = server.ended() => {
                server.decision_log.drain(STOP_LIMIT).await;
                return Err(CommandError::Listener(error));
            }
        }
        tracing::info!("stopping: answering the calls in flight");
        if server.stop(STOP_LIMIT).await.map_err(CommandError::Listener)? == Drain::CutShort {
            tracing::warn!("stopped with calls or connections still open");
        }
        Ok(SUCCESS)
    });
    // A task that does not end must not keep the process.
    runtime.shutdown_background();
    outcome
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
