//! The configuration for Envoy: hardened, complete, and with the routes that the action table asks for.
//!
//! The text is `template/`; `deploy/envoy/` holds what comes of it. Only the routes are computed: which bodies Envoy
//! waits for and sends follows from the operations that are told apart, or whose dependencies are told, by the body.
//! Waiting for every body would hang streams and hold uploads in memory.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde_json::json;

use super::template::fill;
use crate::catalog::Catalog;
use crate::request::MAX_CONTENT_BYTES;

/// What is particular to a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvoyConfig {
    /// How callers are known.
    pub identity: Identity,
    /// Where Envoy listens.
    pub listen: SocketAddr,
    /// Where the API is.
    pub api: HostPort,
    /// Where ecs-authz is.
    pub replicas: Vec<HostPort>,
    /// The names under which the API is called.
    pub domains: Vec<String>,
}

/// How callers are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// By a token that Envoy verifies.
    Jwt {
        /// The token's `iss`.
        issuer: String,
        /// What must be in the token's `aud`.
        audience: String,
        /// The file of the issuer's keys, a JSON Web Key Set.
        jwks: String,
    },
    /// By a certificate.
    Mtls {
        /// The file of Envoy's own certificate chain.
        certificate: String,
        /// The file of its key.
        key: String,
        /// The file of the authorities that callers' certificates come from.
        ca: String,
        /// What the SPIFFE ids of callers start with: `spiffe://acme.example/`.
        spiffe_prefix: String,
    },
}

/// A host, by name or address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    host: String,
    port: u16,
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected HOST:PORT, such as 127.0.0.1:8081, found `{text}`");
        let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(expected)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_name = |host: &str| {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        };
        if host.parse::<IpAddr>().is_err() && !is_name(host) {
            return Err(expected());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl HostPort {
    /// As Envoy writes it.
    fn address(&self) -> String {
        format!("{{socket_address: {{address: {}, port_value: {}}}}}", json!(self.host), self.port)
    }

    fn is_name(&self) -> bool {
        self.host.parse::<IpAddr>().is_err()
    }
}

impl From<SocketAddr> for HostPort {
    fn from(addr: SocketAddr) -> Self {
        Self { host: addr.ip().to_string(), port: addr.port() }
    }
}

/// Names are resolved, addresses are taken.
fn cluster_type<'a>(mut hosts: impl Iterator<Item = &'a HostPort>) -> &'static str {
    if hosts.any(HostPort::is_name) { "STRICT_DNS" } else { "STATIC" }
}

impl EnvoyConfig {
    /// The whole configuration, in YAML.
    #[must_use]
    pub fn render(&self, catalog: &Catalog) -> String {
        let endpoint = |host: &HostPort| format!("- endpoint: {{address: {}}}\n", host.address());
        let replicas: String = self.replicas.iter().map(endpoint).collect();
        let identity = self.identity.parts();
        fill(
            include_str!("template/envoy.yaml"),
            &[
                ("title", identity.title),
                ("service_config", identity.service_config),
                ("listen", &HostPort::from(self.listen).address()),
                ("downstream_tls", &identity.downstream_tls),
                ("identity_filter", &identity.filter),
                ("metadata", identity.metadata),
                ("max_request_bytes", &MAX_CONTENT_BYTES.to_string()),
                ("domains", &flow_list(&self.domains)),
                ("routes", &routes(catalog)),
                ("api_type", cluster_type([&self.api].into_iter())),
                ("api", &self.api.address()),
                ("replicas_type", cluster_type(self.replicas.iter())),
                ("replicas", &replicas),
            ],
        )
    }
}

/// A list on one line. JSON's strings are YAML's.
fn flow_list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| json!(item).to_string()).collect();
    format!("[{}]", items.join(", "))
}

/// What depends on how callers are known.
struct IdentityParts {
    title: &'static str,
    service_config: &'static str,
    downstream_tls: String,
    filter: String,
    metadata: &'static str,
}

impl Identity {
    fn parts(&self) -> IdentityParts {
        match self {
            Self::Jwt { issuer, audience, jwks } => {
                let values = [issuer, audience, jwks].map(|text| json!(text).to_string());
                let [issuer, audience, jwks] = values.each_ref().map(String::as_str);
                let values = [("issuer", issuer), ("audience", audience), ("jwks", jwks)];
                IdentityParts {
                    title: "# A hardened Envoy 1.40 in front of an ECS API: Envoy verifies tokens, ecs-authz \
                            authorizes calls.",
                    service_config: "deploy/envoy/ecs-authz.toml",
                    downstream_tls: String::new(),
                    filter: fill(include_str!("template/jwt_filter.yaml"), &values),
                    metadata: "metadata_context_namespaces: [envoy.filters.http.jwt_authn]",
                }
            }
            Self::Mtls { certificate, key, ca, spiffe_prefix } => {
                let values = [certificate, key, ca, spiffe_prefix].map(|text| json!(text).to_string());
                let [certificate, key, ca, prefix] = values.each_ref().map(String::as_str);
                let values =
                    [("certificate", certificate), ("key", key), ("ca", ca), ("spiffe_prefix", prefix)];
                IdentityParts {
                    title: "# A hardened Envoy 1.40 in front of an ECS API: Envoy verifies certificates, \
                            ecs-authz authorizes calls.",
                    service_config: "deploy/envoy/ecs-authz-mtls.toml",
                    downstream_tls: fill(include_str!("template/downstream_tls.yaml"), &values),
                    filter: String::new(),
                    metadata: "",
                }
            }
        }
    }
}

/// The routes of a virtual host: first those whose body is needed, then all others.
#[must_use]
pub fn routes(catalog: &Catalog) -> String {
    let mut text =
        "# By the action table: the operations that the body tells apart, or whose dependencies it tells.\n"
            .to_owned();
    for BodyRoute { regex, method } in body_routes(catalog) {
        let values = [("regex", &*json!(regex).to_string()), ("method", &*method)];
        text.push_str(&fill(include_str!("template/body_route.yaml"), &values));
    }
    text + include_str!("template/other_route.yaml")
}

/// A route on which the body is needed.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct BodyRoute {
    regex: String,
    method: String,
}

fn body_routes(catalog: &Catalog) -> BTreeSet<BodyRoute> {
    let operations = catalog.operations().iter().filter(|operation| operation.needs_body());
    let routes = operations
        .map(|operation| BodyRoute { regex: regex(&operation.route), method: operation.method.to_string() });
    routes.collect()
}

/// The paths of a template, as a regular expression (RE2) for the whole path.
fn regex(template: &str) -> String {
    let segments = template.split('/').map(|segment| {
        // Literals are letters, digits and `-._~`, of which only the dot has a meaning.
        if segment.starts_with('{') { "[^/]+".to_owned() } else { segment.replace('.', "[.]") }
    });
    segments.collect::<Vec<_>>().join("/")
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for text in ["127.0.0.1:80", "api.internal:8081", "[::1]:80"] {
            assert!(HostPort::from_str(text).is_ok(), "{text}");
        }
        for text in ["", "api", ":80", "api:", "api:0", "api:70000", "a b:80", "a\"b:80", "{x}:1"] {
            assert!(HostPort::from_str(text).is_err(), "{text}");
        }
        assert_eq!(
            "[::1]:80".parse::<HostPort>().unwrap().address(),
            "{socket_address: {address: \"::1\", port_value: 80}}"
        );
    }

    #[test]
    fn a_template_is_a_regular_expression_for_its_paths() {
        assert_eq!(
            regex("/v2.1/{project_id}/servers/{server_id}/action"),
            "/v2[.]1/[^/]+/servers/[^/]+/action"
        );
    }
}
