//! What the HTTP connection manager must do before anybody is asked.

use super::{Findings, Rule, ext_authz, other_filters, routes, stripping};
use crate::catalog::Catalog;
use crate::envoy::document::Node;

/// Checks a connection manager, given as an `Any`, and all that hangs on it. Answers whether it asks.
pub(super) fn check(any: &Node, nodes: &[&Node], catalog: &Catalog, findings: &mut Findings) -> bool {
    let manager = any.message();
    let filters = manager.list("http_filters");
    let questions = questions(filters);
    if questions.is_empty() {
        if manager.get("http_filters").is_some() && !answers_itself(manager) {
            findings.add(
                Rule::NoExtAuthz,
                any.line,
                "expected an ext_authz filter in `http_filters`: requests to this listener are not authorized",
            );
        }
        return false;
    }
    check_path(manager, findings);
    check_client(manager, findings);
    check_waiting(manager, findings);
    check_upgrades(manager, nodes, findings);
    let first = questions.first().copied().unwrap_or_default();
    stripping::check(manager, filters.get(..first).unwrap_or_default(), findings);
    check_chain(filters, &questions, manager, nodes, findings);
    for filter in questions.iter().filter_map(|position| filters.get(*position)) {
        routes::check(manager, filter, nodes, catalog, findings);
    }
    true
}

/// The places of the filters that ask us. Others of this type may ask a service over HTTP, which we are not.
fn questions(filters: &[Node]) -> Vec<usize> {
    let is_grpc = |filter: &Node| {
        let config = filter.get("typed_config").map(Node::message);
        config.is_some_and(|config| config.get("grpc_service").is_some())
    };
    let asking = filters.iter().enumerate().filter(|(_, filter)| is_ext_authz(filter));
    let (ours, others): (Vec<_>, Vec<_>) = asking.partition(|(_, filter)| is_grpc(filter));
    let chosen = if ours.is_empty() { others } else { ours };
    chosen.into_iter().map(|(position, _)| position).collect()
}

fn check_chain(
    filters: &[Node],
    questions: &[usize],
    manager: &Node,
    nodes: &[&Node],
    findings: &mut Findings,
) {
    for position in questions {
        let (before, rest) = filters.split_at(*position);
        let Some((filter, after)) = rest.split_first() else { continue };
        other_filters::check(before, filter, after, nodes, findings);
        ext_authz::check(filter, manager, nodes, findings);
    }
}

/// An upgrade may have filters of its own: then its requests pass none of the others.
fn check_upgrades(manager: &Node, nodes: &[&Node], findings: &mut Findings) {
    for upgrade in manager.list("upgrade_configs") {
        let filters = upgrade.list("filters");
        let questions = questions(filters);
        if !filters.is_empty() && questions.is_empty() {
            findings.add(
                Rule::NoExtAuthz,
                upgrade.line,
                "expected an ext_authz filter in the upgrade's own `filters`, or none: these replace `http_filters`, \
                 so who asks for the upgrade is not authorized",
            );
        }
        check_chain(filters, &questions, manager, nodes, findings);
    }
}

/// Whether no request to it leads anywhere, such as one that redirects to https or answers probes.
fn answers_itself(manager: &Node) -> bool {
    let is_inline = manager.get("route_config").is_some_and(|routes| routes.get("vhds").is_none());
    let is_plain = manager.list("http_filters").iter().all(other_filters::is_plain);
    is_inline && is_plain && manager.descendants().iter().all(|node| node.get("route").is_none())
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
    if let Some(hops) = manager.get("xff_num_trusted_hops").filter(|hops| hops.number() != Some(0.0)) {
        findings.add(
            Rule::ClientAddress,
            hops.line,
            "expected `xff_num_trusted_hops: 0`: unless nobody but so many proxies can connect here, clients write the \
             address themselves",
        );
    }
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
