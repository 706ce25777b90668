//! The configuration: a file of TOML, variables of the environment and flags, all read strictly.
//!
//! Every option has one name: `tls.client_ca` in the file is `ECS_AUTHZ_TLS_CLIENT_CA` in the environment, and those that
//! are set most often have a flag, too. `deploy/config.toml` holds all of them.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decision::DependencyMode;
use crate::decision_log::DecisionLogConfig;
use crate::grpc::ext_authz::ExtAuthzConfig;
pub use admin::{AdminConfig, AdminTls, SecretError, TokenConfig};
pub use callers::CallersConfig;
pub use connections::ConnectionsConfig;
pub use database::{DatabaseConfig, DatabaseUrlError};
pub use layers::{Flag, Layers, Loaded, Origin, PREFIX};
pub use limits::LimitsConfig;
pub use listeners::{GrpcConfig, HttpConfig};
pub use log::{LogConfig, LogFormat};
pub use schema::schema;
pub use shutdown::ShutdownConfig;
pub use tls::{ClientAuth, MinimumVersion, TlsConfig};
pub use traces::TracesConfig;

pub mod admin;
mod callers;
mod connections;
mod database;
mod effective;
mod layers;
mod limits;
mod listeners;
mod log;
mod schema;
mod shutdown;
mod tls;
mod traces;

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The directory of policies: `DIR/DOMAIN/grants.toml` and `DIR/DOMAIN/policies/NAME.json`. Either it or a database is
    /// needed.
    #[schemars(extend("format" = "path"))]
    pub policies: Option<PathBuf>,
    /// Additional action tables, besides the published ones.
    #[schemars(extend("items" = {"type": "string", "format": "path"}))]
    pub tables: Vec<PathBuf>,
    /// What dependency actions do to a decision at least.
    pub dependency_mode: Dependencies,
    /// The region of the API, as resources and conditions of policies name it.
    pub region: Option<String>,
    /// Listen beyond loopback without TLS, because something else protects the traffic.
    pub insecure: bool,
    /// How long answers from the cache are given while the database can't be reached; then requests fail.
    pub max_stale_seconds: u64,
    /// Policies in PostgreSQL.
    pub database: DatabaseConfig,
    /// The cache of policies.
    pub cache: CacheConfig,
    /// The gRPC listener.
    pub grpc: GrpcConfig,
    /// TLS of the gRPC listener.
    pub tls: Option<TlsConfig>,
    /// Who may call the services of the gRPC listener.
    pub callers: CallersConfig,
    /// The HTTP listener.
    pub http: HttpConfig,
    /// How long connections of the gRPC listener live.
    pub connections: ConnectionsConfig,
    /// How the server stops.
    pub shutdown: ShutdownConfig,
    /// What may be asked of the gRPC listeners.
    pub limits: LimitsConfig,
    /// Envoy's external authorization. Served only if it is configured: without a source of identity, there is
    /// nobody to decide about.
    pub ext_authz: Option<ExtAuthzConfig>,
    /// The policy admin service. Served only if it is configured.
    pub admin: Option<AdminConfig>,
    /// The decision log. Kept only if it is configured.
    pub decision_log: Option<DecisionLogConfig>,
    /// The log of the program itself.
    pub log: LogConfig,
    /// Traces. Recorded only if they are configured.
    pub traces: Option<TracesConfig>,
}

/// The cache of policies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// The most memory for cached policies, in MiB. Without it a quarter of the container's limit, or 64.
    pub mib: Option<u64>,
}

/// What dependency actions do to a decision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dependencies {
    /// They are reported.
    #[default]
    Report,
    /// A call with a dependency that is not allowed is denied.
    Enforce,
}

impl From<Dependencies> for DependencyMode {
    fn from(dependencies: Dependencies) -> Self {
        match dependencies {
            Dependencies::Report => Self::Report,
            Dependencies::Enforce => Self::Enforce,
        }
    }
}

/// Why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("the configuration `{}` can't be read: {cause}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The file is well-formed, and something in it can't be meant.
    #[error("{}: {message}", .path.display())]
    Meaning {
        /// The file.
        path: PathBuf,
        /// What was expected.
        message: String,
    },
    /// The file is not what it should be.
    #[error("{}:{line}: {message}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The line, counted from one.
        line: usize,
        /// What was expected.
        message: String,
    },
    /// A variable or a flag says what can't be meant.
    #[error("{origin}: {message}")]
    Layer {
        /// Which.
        origin: Origin,
        /// What was expected.
        message: String,
    },
    /// What variables and flags say together can't be meant.
    #[error("{0}")]
    Unmeant(String),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            policies: None,
            tables: Vec::new(),
            dependency_mode: Dependencies::default(),
            region: None,
            insecure: false,
            max_stale_seconds: 60,
            database: DatabaseConfig::default(),
            cache: CacheConfig::default(),
            grpc: GrpcConfig::default(),
            tls: None,
            callers: CallersConfig::default(),
            http: HttpConfig::default(),
            connections: ConnectionsConfig::default(),
            shutdown: ShutdownConfig::default(),
            limits: LimitsConfig::default(),
            ext_authz: None,
            admin: None,
            decision_log: None,
            log: LogConfig::default(),
            traces: None,
        }
    }
}

impl Config {
    /// Reads a configuration file alone.
    ///
    /// # Errors
    ///
    /// If it can't be read, or something in it is not known.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let layers = Layers { file: Some(path.to_owned()), ..Layers::default() };
        Ok(layers.load()?.config)
    }

    /// How long answers from the cache are given while the database can't be reached.
    #[must_use]
    pub fn max_stale(&self) -> Duration {
        Duration::from_secs(self.max_stale_seconds)
    }

    /// What is well-formed and yet can't be meant.
    fn fault(&self) -> Option<String> {
        let of_database = self.database.fault();
        let of_ext_authz = || self.ext_authz.as_ref()?.fault();
        let of_admin = || self.admin.as_ref()?.fault();
        let of_callers = || self.callers.fault(self.tls.as_ref());
        let of_decision_log = || self.decision_log.as_ref()?.fault();
        let of_connections = || self.connections.fault();
        let of_shutdown = || self.shutdown.fault();
        let of_limits = || self.limits.fault();
        let of_traces = || self.traces.as_ref()?.fault();
        of_database
            .or_else(of_ext_authz)
            .or_else(of_admin)
            .or_else(of_callers)
            .or_else(of_decision_log)
            .or_else(of_connections)
            .or_else(of_shutdown)
            .or_else(of_limits)
            .or_else(|| self.grpc.fault())
            .or_else(|| self.log.fault())
            .or_else(of_traces)
    }
}
