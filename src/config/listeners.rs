//! Where the server listens.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread::available_parallelism;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tls::TlsConfig;

/// The most threads: more than processors of any machine. More is a slip.
const MAX_WORKERS: usize = 1_024;

/// The gRPC listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GrpcConfig {
    /// The address and port. Beyond loopback it needs TLS.
    pub addr: SocketAddr,
    /// A Unix domain socket where gRPC is served, too, for processes of this user and group.
    #[schemars(extend("format" = "path"))]
    pub socket: Option<PathBuf>,
    /// How many threads serve its connections, each its own. Without it one for each processor that the process may use, by
    /// its affinity and its container's quota.
    pub workers: Option<usize>,
}

/// The HTTP listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// The address and port. Beyond loopback it needs TLS.
    pub addr: SocketAddr,
    /// Its TLS. A section of its own, because probes rarely have a certificate to show.
    pub tls: Option<TlsConfig>,
}

impl Default for GrpcConfig {
    fn default() -> Self {
        Self { addr: (Ipv4Addr::LOCALHOST, 50_051).into(), socket: None, workers: None }
    }
}

impl GrpcConfig {
    /// How many threads serve connections.
    #[must_use]
    pub fn workers(&self) -> NonZeroUsize {
        let configured = self.workers.and_then(NonZeroUsize::new);
        configured.or_else(|| available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
    }

    /// What is well-formed and yet can't be meant.
    pub(super) fn fault(&self) -> Option<String> {
        let found = self.workers.filter(|workers| !(1..=MAX_WORKERS).contains(workers))?;
        Some(format!("grpc.workers: expected 1 to {MAX_WORKERS}, found {found}"))
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { addr: (Ipv4Addr::LOCALHOST, 8_080).into(), tls: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn there_is_a_worker_at_least_and_no_more_than_can_be_meant() {
        let config = |text: &str| toml::from_str::<Config>(text).unwrap();
        assert_eq!(config("").grpc.workers(), available_parallelism().unwrap());
        for sound in [1, MAX_WORKERS] {
            let config = config(&format!("grpc.workers = {sound}"));
            assert_eq!((config.grpc.workers().get(), config.fault()), (sound, None));
        }
        for found in [0, MAX_WORKERS + 1] {
            let expected = format!("grpc.workers: expected 1 to {MAX_WORKERS}, found {found}");
            assert_eq!(config(&format!("grpc.workers = {found}")).fault(), Some(expected));
        }
    }
}
