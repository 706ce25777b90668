//! The filters before and after the question.

use super::{Findings, Rule};
use crate::envoy::document::Node;

/// Parts of the type names of filters that can change a request.
const CHANGING: [&str; 8] = [
    ".filters.http.lua.",
    ".filters.http.wasm.",
    ".filters.http.ext_proc.",
    ".filters.http.golang.",
    ".filters.http.dynamic_modules.",
    ".filters.http.header_mutation.",
    ".filters.http.grpc_json_transcoder.",
    ".filters.http.composite.",
];
/// The name under which the claims are sent.
const JWT_AUTHN: &str = "envoy.filters.http.jwt_authn";

/// Checks the neighbours of the ext_authz filter.
pub(super) fn check(before: &[Node], filter: &Node, after: &[Node], findings: &mut Findings) {
    for later in after {
        let name = type_name(later);
        if CHANGING.iter().any(|changing| name.contains(changing)) {
            findings.add(
                Rule::LaterFilter,
                later.line,
                format!("expected no filter after ext_authz that can change the request, found {name}"),
            );
        } else if name.ends_with(".JwtAuthentication") {
            findings.add(
                Rule::Claims,
                later.line,
                "expected jwt_authn before ext_authz: its claims come too late",
            );
        }
    }
    if let Some(jwt) = before.iter().find(|filter| type_name(filter).ends_with(".JwtAuthentication")) {
        check_claims(jwt, filter, findings);
    }
}

fn type_name(filter: &Node) -> &str {
    filter.get("typed_config").and_then(Node::type_name).unwrap_or_default()
}

/// The claims must be left in the metadata by the one filter, and sent by the other.
fn check_claims(jwt: &Node, filter: &Node, findings: &mut Findings) {
    let Some(config) = jwt.get("typed_config").map(Node::message) else { return };
    for (name, provider) in config.get("providers").map_or(&[][..], Node::fields) {
        if provider.get("payload_in_metadata").is_none() {
            findings.add(
                Rule::Claims,
                provider.line,
                format!("expected `payload_in_metadata` in the provider `{name}`: ecs-authz gets no claims"),
            );
        }
    }
    let namespaces = filter.at("typed_config").map(|any| any.message().list("metadata_context_namespaces"));
    let own_name = jwt.text_of("name").unwrap_or(JWT_AUTHN);
    let is_sent = |node: &Node| node.text().is_some_and(|name| name == own_name || name == JWT_AUTHN);
    if !namespaces.unwrap_or_default().iter().any(is_sent) {
        findings.add(
            Rule::Claims,
            filter.line,
            format!("expected `metadata_context_namespaces: [{JWT_AUTHN}]`: ecs-authz gets no claims"),
        );
    }
}
