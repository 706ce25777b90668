//! `ecs-authz serve`

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::database::DatabaseArgs;
use super::{CommandError, DependencyModeArg, SUCCESS, TableArgs};
use crate::config::Config;
use crate::pdp::Defaults;
use crate::server::{CacheSize, Drain, Exposure, OpenStore, PolicySource, RunningServer, ServerConfig};
use crate::telemetry;

/// How long calls in flight are answered after the signal to stop: well below the 30 s after which Kubernetes kills.
const STOP_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub(super) struct ServeArgs {
    /// The directory of policies: DIR/DOMAIN/grants.toml and DIR/DOMAIN/policies/NAME.json
    #[arg(long, value_name = "DIR", env = "ECS_AUTHZ_POLICIES", required_unless_present = "database_url")]
    policies: Option<PathBuf>,
    #[command(flatten)]
    database: DatabaseArgs,
    /// Where to serve gRPC
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:50051", env = "ECS_AUTHZ_GRPC_ADDR")]
    grpc_addr: SocketAddr,
    /// A Unix domain socket to serve gRPC on, too, for processes of this user and group (its mode is 0660)
    #[arg(long, value_name = "PATH", env = "ECS_AUTHZ_GRPC_SOCKET")]
    grpc_socket: Option<PathBuf>,
    /// Where to serve HTTP: /livez, /readyz and /metrics
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080", env = "ECS_AUTHZ_HTTP_ADDR")]
    http_addr: SocketAddr,
    #[command(flatten)]
    tables: TableArgs,
    /// What dependency actions do to a decision at least
    #[arg(long, value_name = "MODE", default_value = "report", env = "ECS_AUTHZ_DEPENDENCY_MODE")]
    dependency_mode: DependencyModeArg,
    /// The region of the API, as resources and conditions of policies name it
    #[arg(long, value_name = "NAME", env = "ECS_AUTHZ_REGION")]
    region: Option<String>,
    /// The most memory for cached policies, in MiB; by default a quarter of the container's limit, or 64
    #[arg(long, value_name = "MIB", env = "ECS_AUTHZ_CACHE_MIB")]
    cache_mib: Option<u64>,
    /// A configuration file (TOML): TLS, Envoy's ext_authz, the policy admin service, the decision log
    #[arg(long, value_name = "FILE", env = "ECS_AUTHZ_CONFIG")]
    config: Option<PathBuf>,
    /// Listen beyond loopback without TLS, because something else protects the traffic
    #[arg(long, env = "ECS_AUTHZ_INSECURE")]
    insecure: bool,
}

impl ServeArgs {
    fn server_config(&self) -> Result<ServerConfig, CommandError> {
        Ok(ServerConfig {
            policies: self.policies()?,
            tables: self.tables.tables.clone(),
            grpc_addr: self.grpc_addr,
            grpc_socket: self.grpc_socket.clone(),
            http_addr: self.http_addr,
            defaults: Defaults { dependency_mode: self.dependency_mode.into(), region: self.region.clone() },
            cache: self.cache_size(),
            exposure: if self.insecure { Exposure::Insecure } else { Exposure::Loopback },
            config: self.config.as_deref().map(Config::load).transpose()?.unwrap_or_default(),
        })
    }
}

impl ServeArgs {
    fn cache_size(&self) -> CacheSize {
        self.cache_mib.map_or(CacheSize::Automatic, |mib| CacheSize::Bytes(mib.saturating_mul(1_024 * 1_024)))
    }

    fn policies(&self) -> Result<PolicySource, CommandError> {
        match (&self.policies, self.database.settings()?) {
            (Some(root), None) => Ok(PolicySource::Directory(root.clone())),
            (None, Some(settings)) => Ok(PolicySource::Postgres(settings)),
            (Some(_), Some(_)) | (None, None) => Err(CommandError::Usage(
                "expected exactly one of --policies and --database-url (ECS_AUTHZ_POLICIES, ECS_AUTHZ_DATABASE_URL)"
                    .to_owned(),
            )),
        }
    }
}

pub(super) fn run(args: &ServeArgs) -> Result<u8, CommandError> {
    telemetry::init();
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(async {
        // Before the ready line: whoever reads it may signal at once.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let config = args.server_config()?;
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
