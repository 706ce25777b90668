//! What the HTTP connection manager must do before anybody is asked.

use super::{Findings, Rule, ext_authz, other_filters, routes, stripping};
use crate::catalog::Catalog;
use crate::envoy::document::Node;

/// Checks a connection manager, given as an `Any`, and all that hangs on it. Answers whether it asks.
pub(super) fn check(any: &Node, nodes: &[&Node], catalog: &Catalog, findings: &mut Findings) -> bool {
    let manager = any.message();
    let filters = manager.list("http_filters");
    let Some(position) = filters.iter().position(is_ext_authz) else {
        if manager.get("http_filters").is_some() {
            findings.add(
                Rule::NoExtAuthz,
                any.line,
                "expected an ext_authz filter in `http_filters`: requests to this listener are not authorized",
            );
        }
        return false;
    };
    let (before, rest) = filters.split_at(position);
    let Some((filter, after)) = rest.split_first() else { return false };
    check_path(manager, findings);
    check_client(manager, findings);
    check_waiting(manager, findings);
    stripping::check(manager, before, findings);
    other_filters::check(before, filter, after, findings);
    ext_authz::check(filter, manager, nodes, findings);
    routes::check(manager, filter, catalog, findings);
    true
}

fn is_ext_authz(filter: &Node) -> bool {
    let name = filter.get("typed_config").and_then(Node::type_name);
    name.is_some_and(|name| name.starts_with("envoy.") && name.ends_with(".ExtAuthz"))
}

fn check_path(manager: &Node, findings: &mut Findings) {
    let rule = Rule::PathNormalization;
    findings.expect_true(rule, manager, "normalize_path", "the API may resolve `/../` where others do not");
    findings.expect_true(rule, manager, "merge_slashes", "the API may read `//` as `/` where others do not");
    let setting = manager.get("path_with_escaped_slashes_action");
    let is_safe = |it: &Node| it.is_enum("REJECT_REQUEST", 2) || it.is_enum("UNESCAPE_AND_REDIRECT", 3);
    if !setting.is_some_and(is_safe) {
        findings.add(
            rule,
            setting.map_or(manager.line, |setting| setting.line),
            "expected `path_with_escaped_slashes_action: REJECT_REQUEST`: the API may read `%2f` as `/` where others do \
             not",
        );
    }
}

fn check_client(manager: &Node, findings: &mut Findings) {
    findings.expect_true(
        Rule::ClientAddress,
        manager,
        "use_remote_address",
        "without it, the address and the x-envoy-* headers are the client's word",
    );
    let underscores = manager.at("common_http_protocol_options.headers_with_underscores_action");
    if !underscores.is_some_and(|it| it.is_enum("REJECT_REQUEST", 1) || it.is_enum("DROP_HEADER", 2)) {
        findings.add(
            Rule::UnderscoreHeaders,
            underscores.map_or(manager.line, |setting| setting.line),
            "expected `common_http_protocol_options.headers_with_underscores_action: REJECT_REQUEST`",
        );
    }
    let is_forwarded = |it: &&Node| {
        let unsafe_values = [("FORWARD_ONLY", 1), ("APPEND_FORWARD", 2), ("ALWAYS_FORWARD_ONLY", 4)];
        unsafe_values.into_iter().any(|(name, number)| it.is_enum(name, number))
    };
    if let Some(setting) = manager.get("forward_client_cert_details").filter(is_forwarded) {
        findings.add(
            Rule::ClientCertificateHeader,
            setting.line,
            "expected `forward_client_cert_details: SANITIZE` or `SANITIZE_SET`: the API would get a certificate of the \
             client's own making",
        );
    }
}

fn check_waiting(manager: &Node, findings: &mut Findings) {
    for path in ["request_headers_timeout", "request_timeout"] {
        let setting = manager.get(path);
        if setting.and_then(Node::duration).is_none_or(|duration| duration.is_zero()) {
            findings.add(
                Rule::Waiting,
                setting.map_or(manager.line, |setting| setting.line),
                format!("expected `{path}`, such as 15s: headers and bodies are waited for before anybody is asked"),
            );
        }
    }
}
