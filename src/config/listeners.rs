//! Where the server listens.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tls::TlsConfig;

/// The gRPC listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GrpcConfig {
    /// The address and port. Beyond loopback it needs TLS.
    pub addr: SocketAddr,
    /// A Unix domain socket where gRPC is served, too, for processes of this user and group.
    #[schemars(extend("format" = "path"))]
    pub socket: Option<PathBuf>,
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
        Self { addr: (Ipv4Addr::LOCALHOST, 50_051).into(), socket: None }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { addr: (Ipv4Addr::LOCALHOST, 8_080).into(), tls: None }
    }
}
