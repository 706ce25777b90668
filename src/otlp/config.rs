//! What the configuration says of a collector.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

/// The longest that a batch may take, in milliseconds: OpenTelemetry's default.
const DEFAULT_TIMEOUT_MS: u64 = 10_000;
/// The longest that may be configured.
const MAX_TIMEOUT_MS: u64 = 60_000;

/// A collector that speaks OTLP over gRPC. What is not said here, the variables `OTEL_EXPORTER_OTLP_…` say.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CollectorConfig {
    /// Where it is: `http://HOST:PORT`, or `https://HOST:PORT` for TLS.
    pub endpoint: Option<String>,
    /// The authorities that sign its certificate, PEM. Without them, those that the machine trusts.
    #[schemars(extend("format" = "path"))]
    pub ca: Option<PathBuf>,
    /// Headers to send along that are no secrets, by name.
    #[serde(serialize_with = "without_values")]
    pub headers: BTreeMap<String, String>,
    /// Files that hold the values of headers that are secrets, by the headers' names.
    #[schemars(extend("additionalProperties" = {"type": "string", "format": "path"}))]
    pub header_files: BTreeMap<String, PathBuf>,
    /// The longest that a batch may take.
    pub timeout_ms: u64,
}

impl Default for CollectorConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            ca: None,
            headers: BTreeMap::new(),
            header_files: BTreeMap::new(),
            timeout_ms: DEFAULT_TIMEOUT_MS,
        }
    }
}

impl fmt::Debug for CollectorConfig {
    /// Without the values of headers: somebody will put a token there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, ca, headers, header_files, timeout_ms } = self;
        f.debug_struct("CollectorConfig")
            .field("endpoint", endpoint)
            .field("ca", ca)
            .field("headers", &headers.keys())
            .field("header_files", header_files)
            .field("timeout_ms", timeout_ms)
            .finish()
    }
}

/// What is printed of headers: somebody will put a token there.
fn without_values<S: Serializer>(
    headers: &BTreeMap<String, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(headers.keys().map(|name| (name, "(not shown)")))
}

/// What is sent: the standard variables may tell places for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Records of decisions.
    Logs,
}

/// Why a collector can't be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// Nothing says where it is.
    #[error("expected `endpoint` in `collector`, or OTEL_EXPORTER_OTLP_ENDPOINT: where is the collector?")]
    NoEndpoint,
    /// The endpoint is none.
    #[error(
        "expected an endpoint such as `http://127.0.0.1:4317` or `https://collector.example:4317`, without credentials or query"
    )]
    Endpoint,
    /// The environment asks for another protocol.
    #[error("OTEL_EXPORTER_OTLP_PROTOCOL: expected `grpc`, which alone is spoken, found `{}`", .0.escape_debug())]
    Protocol(String),
    /// A variable is not understood. Its value may be a secret.
    #[error("{name}: expected {expected}")]
    Variable {
        /// The variable.
        name: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// A header can't be sent. Its value may be a secret.
    #[error("the header `{}`: expected a name in lower case and a value of visible ASCII characters", .0.escape_debug())]
    Header(String),
    /// A file can't be read.
    #[error("`{}` can't be read: {cause}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A secret would be readable on its way.
    #[error("expected an endpoint with https, or on a loopback address: `header_files` hold secrets")]
    Exposed,
    /// TLS can't be set up.
    #[error("TLS to the collector can't be set up: {0}")]
    Tls(#[source] tonic::transport::Error),
}

impl CollectorConfig {
    /// What is well-formed and yet can't be meant.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        if self.endpoint.as_ref().is_some_and(|endpoint| endpoint.contains(['@', '?'])) {
            return Some(format!(
                "collector.endpoint: {}; `header_files` holds secrets",
                OtlpError::Endpoint
            ));
        }
        if !(1..=MAX_TIMEOUT_MS).contains(&self.timeout_ms) {
            let found = self.timeout_ms;
            return Some(format!("collector.timeout_ms: expected 1 to {MAX_TIMEOUT_MS}, found {found}"));
        }
        let twice = self.headers.keys().find(|name| self.header_files.contains_key(*name))?;
        Some(format!("collector: expected `{}` in `headers` or in `header_files`", twice.escape_debug()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_headers_are_not_shown() {
        let text = "headers = { authorization = \"Bearer s3cret\" }";
        let config: CollectorConfig = toml::from_str(text).unwrap();
        let shown = format!("{config:?}");
        assert!(shown.contains("authorization") && !shown.contains("s3cret"), "{shown}");
        let printed = toml::to_string(&config).unwrap();
        assert!(
            printed.contains("authorization = \"(not shown)\"") && !printed.contains("s3cret"),
            "{printed}"
        );
    }

    #[test]
    fn what_can_not_be_meant_is_told() {
        let fault = |text: &str| toml::from_str::<CollectorConfig>(text).unwrap().fault().unwrap_or_default();
        assert_eq!(fault(""), "");
        assert!(fault("timeout_ms = 0").contains("collector.timeout_ms"));
        assert!(fault("headers = { a = 'x' }\nheader_files = { a = 'f' }").contains("`a` in `headers` or"));
        assert!(toml::from_str::<CollectorConfig>("url = 'x'").is_err());
    }
}
