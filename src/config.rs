//! The configuration file: TOML, read strictly. Flags and environment variables say the rest.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::Deserialize;

use crate::decision_log::DecisionLogConfig;
use crate::grpc::ext_authz::ExtAuthzConfig;
pub use admin::{AdminConfig, AdminTls, SecretError, TokenConfig};
pub use callers::CallersConfig;
pub use tls::{ClientAuth, HttpConfig, MinimumVersion, TlsConfig};

pub mod admin;
mod callers;
mod tls;

/// The file's content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Envoy's external authorization. Served only if it is configured: without a source of identity, there is
    /// nobody to decide about.
    pub ext_authz: Option<ExtAuthzConfig>,
    /// The policy admin service. Served only if it is configured.
    pub admin: Option<AdminConfig>,
    /// TLS of the gRPC listener.
    pub tls: Option<TlsConfig>,
    /// Who may call the services of the gRPC listener.
    #[serde(default)]
    pub callers: CallersConfig,
    /// The HTTP listener.
    #[serde(default)]
    pub http: HttpConfig,
    /// The decision log. Kept only if it is configured.
    pub decision_log: Option<DecisionLogConfig>,
}

/// Why a configuration file can't be used.
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
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    ///
    /// If it can't be read, or something in it is not known.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            fs::read_to_string(path).map_err(|cause| ConfigError::Read { path: path.to_owned(), cause })?;
        let mut config: Self = toml::from_str(&text).map_err(|error| {
            let start = error.span().unwrap_or_default().start;
            let before = text.as_bytes().get(..start).unwrap_or_default();
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            ConfigError::Content { path: path.to_owned(), line, message: error.message().to_owned() }
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        config.admin.iter_mut().for_each(|admin| admin.resolve(folder));
        config.tls.iter_mut().chain(&mut config.http.tls).for_each(|tls| tls.resolve(folder));
        config.decision_log.iter_mut().for_each(|log| log.resolve(folder));
        match config.fault() {
            Some(message) => Err(ConfigError::Meaning { path: path.to_owned(), message }),
            None => Ok(config),
        }
    }

    /// What is well-formed and yet can't be meant.
    fn fault(&self) -> Option<String> {
        let of_ext_authz = self.ext_authz.as_ref().and_then(ExtAuthzConfig::fault);
        let of_admin = || self.admin.as_ref()?.fault();
        let of_callers = || self.callers.fault(self.tls.as_ref());
        let of_decision_log = || self.decision_log.as_ref()?.fault();
        of_ext_authz.or_else(of_admin).or_else(of_callers).or_else(of_decision_log)
    }
}
