//! What a listener shows to prove who it is, and what it asks of its clients.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// TLS of a listener. All files are PEM, named as seen from the configuration, and read again when they change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The listener's certificate, and those between it and its authority.
    #[schemars(extend("format" = "path"))]
    pub certificate: PathBuf,
    /// Its private key.
    #[schemars(extend("format" = "path"))]
    pub key: PathBuf,
    /// The authorities that sign the certificates of clients. With them, who has no certificate is not heard.
    #[schemars(extend("format" = "path"))]
    pub client_ca: Option<PathBuf>,
    /// The oldest version of TLS that is spoken.
    #[serde(default)]
    pub minimum_version: MinimumVersion,
}

/// The oldest version of TLS that is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MinimumVersion {
    /// TLS 1.2, with forward secrecy and authenticated encryption only.
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V1_3,
}

/// Whether clients need a certificate where there are authorities for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// Who has none is not heard.
    Required,
    /// Who shows one must show a good one.
    Optional,
}

/// One that can stand in a certificate. Other forms would never match, and a look-alike of `token:NAME` would stand in the
/// history.
pub(super) fn is_client_name(name: &str) -> bool {
    let is_graphic = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    let is_dns = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    match name.split_once("://") {
        Some((scheme, rest)) => is_graphic && is_dns(scheme) && !scheme.is_empty() && !rest.is_empty(),
        None => is_graphic && is_dns(name),
    }
}
