//! The filter that asks.

use std::time::Duration;

use super::{Findings, Rule, cluster};
use crate::envoy::document::Node;
use crate::request::MAX_CONTENT_BYTES;

/// The most bytes of a check that ecs-authz decodes (`grpc::ext_authz`).
const MAX_CHECK_BYTES: f64 = 1_048_576.0;
/// The largest body that Nova takes, 112 KiB: a smaller limit refuses good calls.
const LARGEST_BODY: f64 = 114_688.0;
/// Less than this is cut by a busy machine.
const SHORTEST_TRY: Duration = Duration::from_millis(50);
/// What Envoy assumes.
const DEFAULT_HEADERS_KB: f64 = 60.0;

/// Checks the filter and the cluster that it asks.
pub(super) fn check(filter: &Node, manager: &Node, nodes: &[&Node], findings: &mut Findings) {
    check_enforcement(filter, findings);
    let Some(config) = filter.get("typed_config").map(Node::message) else { return };
    check_errors(config, findings);
    check_answers(config, findings);
    check_question(config, findings);
    if let Some(body) = config.get("with_request_body") {
        check_body(body, manager, findings);
        findings.expect_true(
            Rule::BodyBytes,
            body,
            "pack_as_bytes",
            "bytes that are not UTF-8 become `!`, so ecs-authz sees another body than the API",
        );
    }
    match config.get("grpc_service") {
        Some(service) => {
            check_service(service, findings);
            cluster::check(service, nodes, findings);
        }
        None => findings.add(
            Rule::Protocol,
            config.line,
            "expected `grpc_service`: ecs-authz has no HTTP service",
        ),
    }
}

fn check_enforcement(filter: &Node, findings: &mut Findings) {
    let rule = Rule::NotEnforced;
    findings.expect_false(rule, filter, "disabled", "the filter would run only where a route says so");
    let Some(config) = filter.get("typed_config").map(Node::message) else { return };
    findings.expect_false(rule, config, "shadow_mode", "what is denied is forwarded");
    let why = "requests that are left out are not authorized";
    findings.expect_false(rule, config, "filter_enabled_metadata", why);
    if !config.get("filter_enabled").is_some_and(is_always) {
        findings.expect_false(rule, config, "filter_enabled", why);
    }
}

/// Whether a fraction is 100 %, and nothing at run time can change it.
fn is_always(fraction: &Node) -> bool {
    let Some(default) = fraction.get("default_value") else { return false };
    let is_percent = default.get("denominator").is_none_or(|it| it.is_enum("HUNDRED", 0));
    let numerator = default.get("numerator").and_then(Node::number);
    is_percent && numerator == Some(100.0) && fraction.get("runtime_key").is_none()
}

fn check_errors(config: &Node, findings: &mut Findings) {
    findings.expect_false(
        Rule::FailureModeAllow,
        config,
        "failure_mode_allow",
        "while ecs-authz can't be reached, every call would pass",
    );
    let status = config.get("status_on_error");
    let is_server_error = |it: &Node| match it.number() {
        Some(code) => code >= 500.0,
        None => {
            it.text().is_some_and(|name| SERVER_ERRORS.iter().any(|known| known.eq_ignore_ascii_case(name)))
        }
    };
    if !status.and_then(|it| it.get("code")).is_some_and(is_server_error) {
        findings.add(
            Rule::ErrorStatus,
            status.map_or(config.line, |status| status.line),
            "expected `status_on_error: {code: ServiceUnavailable}`: by default an error looks like a denial",
        );
    }
}

/// Names of `envoy.type.v3.StatusCode`.
const SERVER_ERRORS: [&str; 5] =
    ["InternalServerError", "NotImplemented", "BadGateway", "ServiceUnavailable", "GatewayTimeout"];

fn check_answers(config: &Node, findings: &mut Findings) {
    findings.expect_true(
        Rule::ResponseHeaders,
        config,
        "validate_mutations",
        "an answer's header would be sent as it is, line breaks included",
    );
    findings.expect_false(
        Rule::RouteCache,
        config,
        "clear_route_cache",
        "the route would be chosen again after the decision",
    );
    let rules = config.get("decoder_header_mutation_rules");
    if rules.and_then(|rules| rules.get("disallow_all")?.truth()) != Some(true) {
        findings.add(
            Rule::HeaderMutations,
            rules.map_or(config.line, |rules| rules.line),
            "expected `decoder_header_mutation_rules: {disallow_all: true, allow_expression: {regex: \
             \"^x-auth-(decision-id|action)$\"}}`: an answer could change path, method or host",
        );
    }
}

fn check_question(config: &Node, findings: &mut Findings) {
    findings.expect_true(
        Rule::RawHeaders,
        config,
        "encode_raw_headers",
        "repeated headers are joined by commas, and identities with a comma are refused",
    );
    for path in ["allowed_headers", "disallowed_headers"] {
        findings.expect_false(
            Rule::HiddenHeaders,
            config,
            path,
            "ecs-authz refuses encoded bodies, overridden methods and versions by headers that it would not see",
        );
    }
}

/// Checks the limits of a body, of the filter or of a route.
pub(super) fn check_body(body: &Node, manager: &Node, findings: &mut Findings) {
    findings.expect_false(
        Rule::BodyLimit,
        body,
        "allow_partial_message",
        "a body that is cut short is denied where it is needed, instead of a plain 413",
    );
    let limit = body.get("max_request_bytes");
    let bytes = limit.and_then(Node::number).unwrap_or(0.0);
    let line = limit.map_or(body.line, |limit| limit.line);
    let most = MAX_CONTENT_BYTES as f64;
    if bytes < LARGEST_BODY {
        let message =
            format!("expected `max_request_bytes` of at least {LARGEST_BODY}: the API takes bodies as large");
        findings.add(Rule::BodyLimit, line, message);
    } else if bytes > most {
        let message =
            format!("expected `max_request_bytes` of at most {most}: ecs-authz reads no more of a body");
        findings.add(Rule::BodyLimit, line, message);
    }
    let headers =
        manager.get("max_request_headers_kb").and_then(Node::number).unwrap_or(DEFAULT_HEADERS_KB) * 1_024.0;
    if bytes + 2.0 * headers > MAX_CHECK_BYTES {
        findings.add(
            Rule::BodyLimit,
            line,
            format!(
                "expected body and headers that fit a check of {MAX_CHECK_BYTES} bytes: lower `max_request_bytes` or \
                 `max_request_headers_kb`"
            ),
        );
    }
}

fn check_service(service: &Node, findings: &mut Findings) {
    if service.get("envoy_grpc").is_none() {
        findings.add(Rule::Protocol, service.line, "expected `envoy_grpc`: nothing else here was tested");
    }
    let timeout = service.get("timeout").and_then(Node::duration);
    let timeout = timeout.filter(|timeout| !timeout.is_zero());
    if timeout.is_none() {
        findings.add(
            Rule::CheckTimeout,
            service.get("timeout").unwrap_or(service).line,
            "expected a `timeout`, such as 0.25s: 200 ms is assumed, and 0s waits for ever",
        );
    }
    let policy = service.get("retry_policy").or_else(|| service.at("envoy_grpc.retry_policy"));
    let Some(policy) = policy else {
        findings.expect_set(
            Rule::Retry,
            service,
            "retry_policy",
            "without it, calls that were on their way to a replica that goes away fail",
        );
        return;
    };
    let retry_on = policy.text_of("retry_on").unwrap_or_default();
    for cause in ["connect-failure", "reset"] {
        if !retry_on.split(',').any(|on| on.trim() == cause) {
            let message = format!("expected `retry_on` to name `{cause}`: see `ecs-authz envoy-config`");
            findings.add(Rule::Retry, policy.get("retry_on").unwrap_or(policy).line, message);
        }
    }
    check_try(policy, timeout.unwrap_or(Duration::from_millis(200)), findings);
}

/// Envoy takes the longest pause between tries as the timeout of each try.
fn check_try(policy: &Node, timeout: Duration, findings: &mut Findings) {
    let setting = policy.at("retry_back_off.max_interval");
    let interval = setting.and_then(Node::duration);
    if !interval.is_some_and(|interval| SHORTEST_TRY <= interval && interval < timeout) {
        findings.add(
            Rule::CheckTimeout,
            setting.or_else(|| policy.get("retry_back_off")).unwrap_or(policy).line,
            format!(
                "expected `retry_back_off.max_interval` between {SHORTEST_TRY:?} and the timeout of {timeout:?}: Envoy \
                 takes it as the timeout of each try, and ten times base_interval without it"
            ),
        );
    }
}
