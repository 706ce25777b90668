//! The filters before and after the question.

use super::{Findings, Rule};
use crate::envoy::document::Node;

/// Parts of the type names of filters that leave the request as it is. Any other may change it, or its way.
const PLAIN: [&str; 18] = [
    ".router.",
    ".upstream_codec.",
    ".cors.",
    ".csrf.",
    ".fault.",
    ".rbac.",
    ".ratelimit.",
    ".local_ratelimit.",
    ".rate_limit_quota.",
    ".bandwidth_limit.",
    ".admission_control.",
    ".adaptive_concurrency.",
    ".buffer.",
    ".cache.",
    ".compressor.",
    ".grpc_stats.",
    ".health_check.",
    ".tap.",
];
/// Those that can write into the metadata, where claims stand.
const METADATA_WRITERS: [&str; 6] = [
    ".header_to_metadata.",
    ".json_to_metadata.",
    ".payload_to_metadata.",
    ".set_metadata.",
    ".lua.",
    ".ext_proc.",
];
/// The name under which the claims are sent.
const JWT_AUTHN: &str = "envoy.filters.http.jwt_authn";

/// Checks the neighbours of an ext_authz filter.
pub(super) fn check(
    before: &[Node],
    filter: &Node,
    after: &[Node],
    nodes: &[&Node],
    findings: &mut Findings,
) {
    for other in before.iter().chain(after).filter(|other| other.get("config_discovery").is_some()) {
        let message = "this filter is not in this file: it must not change what was authorized, or who calls";
        findings.add(Rule::NotInFile, other.line, message);
    }
    for later in after {
        if type_name(later).ends_with(".JwtAuthentication") {
            findings.add(
                Rule::Claims,
                later.line,
                "expected jwt_authn before ext_authz: its claims come too late",
            );
        } else {
            check_later(later, findings);
        }
    }
    for cache in before.iter().filter(|filter| type_name(filter).contains(".filters.http.cache")) {
        let message = "expected no cache before ext_authz: what it holds it answers, and what it lacks it fetches, without a decision";
        findings.add(Rule::NoExtAuthz, cache.line, message);
    }
    if let Some(jwt) = before.iter().find(|filter| type_name(filter).ends_with(".JwtAuthentication")) {
        check_claims(jwt, filter, findings);
    }
    check_metadata(filter, nodes, findings);
}

/// Checks the filters that a router or a cluster has: they run after all others.
pub(super) fn check_upstream(node: &Node, findings: &mut Findings) {
    let is_options = node.type_name().is_some_and(|name| name.ends_with(".HttpProtocolOptions"));
    let by_cluster = if is_options { node.message().list("http_filters") } else { &[] };
    for filter in node.list("upstream_http_filters").iter().chain(by_cluster) {
        check_later(filter, findings);
    }
}

fn check_later(filter: &Node, findings: &mut Findings) {
    let is_question = type_name(filter).ends_with(".ExtAuthz");
    if is_plain(filter) || is_question || filter.get("config_discovery").is_some() {
        return;
    }
    let name = type_name(filter);
    let message = format!("expected no filter after ext_authz that can change the request, found {name}");
    findings.add(Rule::LaterFilter, filter.line, message);
}

/// Whether a filter leaves the request as it is.
pub(super) fn is_plain(filter: &Node) -> bool {
    let name = type_name(filter);
    name.starts_with("envoy.extensions.filters.http.") && PLAIN.iter().any(|plain| name.contains(plain))
}

fn type_name(filter: &Node) -> &str {
    filter.get("typed_config").and_then(Node::type_name).unwrap_or_default()
}

/// Nothing but jwt_authn may write where the claims are read, in whichever place it is configured.
fn check_metadata(filter: &Node, nodes: &[&Node], findings: &mut Findings) {
    let Some(config) = filter.get("typed_config").map(Node::message) else { return };
    let namespaces: Vec<&str> =
        config.list("metadata_context_namespaces").iter().filter_map(Node::text).collect();
    let is_writer = |node: &&&Node| {
        let name = node.type_name().unwrap_or_default();
        METADATA_WRITERS.iter().any(|writer| name.contains(writer))
    };
    for writer in nodes.iter().filter(is_writer) {
        let texts = writer.descendants();
        let mut texts = texts.iter().filter_map(|node| Some((node.text()?, node.line)));
        let forged = texts.find(|(text, _)| namespaces.iter().any(|namespace| text.contains(namespace)));
        if let Some((_, line)) = forged {
            let message = "expected nothing but jwt_authn to write the metadata that claims are read from: they would \
                           not be verified";
            findings.add(Rule::Token, line, message);
        }
    }
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
        if !provider.list("audiences").iter().any(|it| it.text().is_some_and(|name| !name.is_empty())) {
            let message =
                format!("expected `audiences` in the provider `{name}`: a token for another API would do");
            findings.add(Rule::Token, provider.line, message);
        }
        findings.expect_true(
            Rule::Token,
            provider,
            "require_expiration",
            "a token that does not say when it ends would never end",
        );
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
