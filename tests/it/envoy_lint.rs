//! `ecs-authz envoy-lint` over the shipped configurations, each with one thing made dangerous.

use std::process::Command;

use ecs_authz::catalog::Catalog;
use ecs_authz::envoy::{Finding, Rule, lint};
use libtest_mimic::Trial;
use serde_json::Value;

use crate::support::{PolicyDir, program, trial, trials};

mod attacks;

const JWT: &str = include_str!("../../deploy/envoy/jwt.yaml");
const MTLS: &str = include_str!("../../deploy/envoy/mtls.yaml");

pub(crate) fn trials() -> Vec<Trial> {
    let fixed = trials![
        the_shipped_configurations_are_what_the_program_writes,
        the_shipped_configurations_have_no_findings,
        what_is_safe_has_no_findings,
        two_edits_together_are_found,
        discovered_routes_are_found_where_they_stand,
        places_are_filled_in_with_sense_or_not_at_all,
        an_operation_of_a_table_of_ones_own_gets_its_body,
        every_rule_has_a_case,
        spelling_makes_no_difference,
        the_program_tells_the_place_and_exits_with_one,
        what_cannot_be_read_is_no_clean_file,
        a_listener_file_is_read_too,
    ];
    let cases = all_cases().enumerate().map(|(index, case)| {
        let name = format!("envoy_lint::case_{index:02}_{}", case.rule.name());
        trial(name, move || case.run())
    });
    fixed.into_iter().chain(cases).collect()
}

fn all_cases() -> impl Iterator<Item = &'static Case> {
    CASES.iter().chain(attacks::CASES)
}

/// An edit of a shipped configuration, and the one rule that it breaks.
struct Case {
    rule: Rule,
    base: &'static str,
    /// A text that stands there once.
    from: &'static str,
    to: &'static str,
    /// A text that ends on the line of the finding.
    at: &'static str,
}

const fn case(rule: Rule, from: &'static str, to: &'static str, at: &'static str) -> Case {
    Case { rule, base: JWT, from, to, at }
}

const fn mtls(rule: Rule, from: &'static str, to: &'static str, at: &'static str) -> Case {
    Case { rule, base: MTLS, from, to, at }
}

/// Where something is missing in the connection manager.
const MANAGER_CONFIG: &str = "        typed_config:";
const ROUTE: &str = "route: {cluster: api, timeout: 60s}\n                typed_per_filter_config";
const PER_ROUTE: &str = "check_settings: {disable_request_body_buffering: true}";
/// Where something is missing in the filter.
const FILTER: &str = "          - name: envoy.filters.http.ext_authz\n            typed_config:";
const LAST_ROUTE: &str = "as they come.\n              - match: {prefix: /}";

const CASES: &[Case] = &[
    case(Rule::NoExtAuthz, ".ext_authz.v3.ExtAuthz\n", ".ext_authz.v3.Other\n", MANAGER_CONFIG),
    case(
        Rule::FailureModeAllow,
        "failure_mode_allow: false",
        "failure_mode_allow: true",
        "failure_mode_allow",
    ),
    case(
        Rule::FailureModeAllow,
        "failure_mode_allow: false",
        "failure_mode_allow: yes",
        "failure_mode_allow",
    ),
    case(
        Rule::FailureModeAllow,
        "failure_mode_allow: false",
        "failureModeAllow: {value: \"true\"}",
        "failureModeAllow",
    ),
    case(
        Rule::NotEnforced,
        "validate_mutations: true",
        "validate_mutations: true\n              shadow_mode: true",
        "shadow_mode",
    ),
    case(
        Rule::NotEnforced,
        "validate_mutations: true",
        "validate_mutations: true\n              filter_enabled: {default_value: {numerator: 50}}",
        "filter_enabled",
    ),
    case(
        Rule::NotEnforced,
        "          - name: envoy.filters.http.ext_authz\n",
        "          - name: envoy.filters.http.ext_authz\n            disabled: true\n",
        "            disabled: true",
    ),
    case(Rule::UnauthorizedOperation, PER_ROUTE, "disabled: true", LAST_ROUTE),
    case(
        Rule::UnauthorizedOperation,
        "              routes:\n",
        "              typed_per_filter_config:\n                envoy.filters.http.ext_authz: {\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}\n              routes:\n",
        "it tells.\n              - match:",
    ),
    case(
        Rule::UnauthorizedOperation,
        ROUTE,
        "route: {weighted_clusters: {clusters: [{name: api, weight: 1}, {name: api, weight: 1, typed_per_filter_config: {envoy.filters.http.ext_authz: {disabled: true}}}]}}\n                typed_per_filter_config",
        "weighted_clusters",
    ),
    case(
        Rule::DisabledByRequest,
        "              # Nobody waits",
        "              - match: {path: /debug, headers: [{name: x-debug, present_match: true}]}\n                route: {cluster: api}\n                typed_per_filter_config: {envoy.filters.http.ext_authz: {disabled: true}}\n              # Nobody waits",
        "x-debug",
    ),
    case(Rule::PathNormalization, "normalize_path: true", "normalize_path: false", "normalize_path: false"),
    case(Rule::PathNormalization, "          merge_slashes: true\n", "", MANAGER_CONFIG),
    case(
        Rule::PathNormalization,
        "action: REJECT_REQUEST\n          strip",
        "action: KEEP_UNCHANGED\n          strip",
        "path_with_escaped_slashes_action",
    ),
    case(
        Rule::PathNormalization,
        "action: REJECT_REQUEST\n          strip",
        "action: UNESCAPE_AND_FORWARD\n          strip",
        "path_with_escaped_slashes_action",
    ),
    case(
        Rule::PathRewrite,
        ROUTE,
        "route: {cluster: api, prefix_rewrite: /v1/}\n                typed_per_filter_config",
        "prefix_rewrite",
    ),
    case(Rule::RouteCache, "clear_route_cache: false", "clear_route_cache: true", "clear_route_cache"),
    case(
        Rule::LaterFilter,
        "          - name: envoy.filters.http.router\n",
        "          - name: lua\n            typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua}\n          - name: envoy.filters.http.router\n",
        "- name: lua",
    ),
    case(
        Rule::UnderscoreHeaders,
        "headers_with_underscores_action: REJECT_REQUEST",
        "headers_with_underscores_action: ALLOW",
        "headers_with_underscores_action",
    ),
    case(Rule::ClientAddress, "use_remote_address: true", "use_remote_address: false", "use_remote_address"),
    case(
        Rule::ForgedHeaders,
        "              - remove: x-auth-action\n",
        "",
        "early_header_mutation_extensions",
    ),
    case(
        Rule::ForgedHeaders,
        "prefix: x-envoy-auth-",
        "prefix: x-envoy-auth-p",
        "early_header_mutation_extensions",
    ),
    case(
        Rule::HiddenHeaders,
        "validate_mutations: true",
        "validate_mutations: true\n              allowed_headers: {patterns: [{exact: authorization}]}",
        "allowed_headers",
    ),
    case(Rule::BodyBytes, ", pack_as_bytes: true", "", "with_request_body:"),
    case(Rule::BodyBytes, "pack_as_bytes: true", "pack_as_bytes: false", "pack_as_bytes: false"),
    case(Rule::ResponseHeaders, "              validate_mutations: true\n", "", FILTER),
    case(Rule::ErrorStatus, "{code: ServiceUnavailable}", "{code: OK}", "status_on_error"),
    case(Rule::ErrorStatus, "              status_on_error: {code: ServiceUnavailable}\n", "", FILTER),
    mtls(
        Rule::ClientCertificate,
        "              trusted_ca: {filename: \"/etc/envoy/tls/ca.crt\"}\n",
        "",
        "validation_context:",
    ),
    mtls(
        Rule::ClientCertificate,
        "            validation_context:\n",
        "            validation_context:\n              trust_chain_verification: ACCEPT_UNTRUSTED\n",
        "trust_chain_verification",
    ),
    mtls(
        Rule::ClientCertificateHeader,
        "forward_client_cert_details: SANITIZE",
        "forward_client_cert_details: APPEND_FORWARD",
        "forward_client_cert_details",
    ),
    case(Rule::HeaderMutations, "disallow_all: true", "disallow_all: false", "decoder_header_mutation_rules"),
    case(Rule::RawHeaders, "encode_raw_headers: true", "encode_raw_headers: false", "encode_raw_headers"),
    case(Rule::HostWildcard, "domains: [\"ecs.example\"]", "domains: [\"*\"]", "domains:"),
    case(Rule::Waiting, "          request_timeout: 15s\n", "", MANAGER_CONFIG),
    case(
        Rule::Waiting,
        "request_headers_timeout: 5s",
        "request_headers_timeout: 0s",
        "request_headers_timeout",
    ),
    case(Rule::BodyLimit, "max_request_bytes: 131072", "max_request_bytes: 8192", "max_request_bytes"),
    case(Rule::BodyLimit, "max_request_bytes: 131072", "max_request_bytes: 1000000", "max_request_bytes"),
    case(Rule::BodyLimit, "max_request_headers_kb: 32", "max_request_headers_kb: 512", "max_request_bytes"),
    case(
        Rule::BodyLimit,
        "allow_partial_message: false",
        "allow_partial_message: true",
        "allow_partial_message",
    ),
    case(
        Rule::BodyNotSent,
        "\"/v2/[^/]+/servers/[^/]+/action\"",
        "\"/v3/[^/]+/servers/[^/]+/action\"",
        LAST_ROUTE,
    ),
    case(
        Rule::BodyEverywhere,
        PER_ROUTE,
        "check_settings: {context_extensions: {region: eu-de}}",
        LAST_ROUTE,
    ),
    case(Rule::Claims, "                  payload_in_metadata: jwt_payload\n", "", "                iam:"),
    case(
        Rule::Claims,
        "              metadata_context_namespaces: [envoy.filters.http.jwt_authn]\n",
        "",
        "- name: envoy.filters.http.ext_authz",
    ),
    case(Rule::Protocol, "grpc_service:", "http_service:", FILTER),
    case(
        Rule::Protocol,
        "http2_protocol_options:\n            # A frozen",
        "http_protocol_options:\n            # A frozen",
        "  - name: ecs_authz",
    ),
    case(Rule::CheckTimeout, "                timeout: 0.25s\n", "", "grpc_service:"),
    case(Rule::CheckTimeout, "max_interval: 0.12s", "max_interval: 0.02s", "retry_back_off"),
    case(Rule::CheckTimeout, ", max_interval: 0.12s", "", "retry_back_off"),
    case(
        Rule::Retry,
        "connect-failure,refused-stream,unavailable,reset",
        "connect-failure,unavailable",
        "retry_on",
    ),
    case(
        Rule::Panic,
        "healthy_panic_threshold: {value: 0}",
        "healthy_panic_threshold: {value: 50}",
        "healthy_panic_threshold",
    ),
    case(
        Rule::HealthCheck,
        "grpc_health_check: {service_name: envoy.service.auth.v3.Authorization}",
        "tcp_health_check: {}",
        "health_checks:",
    ),
    case(
        Rule::Keepalive,
        "            connection_keepalive: {interval: 5s, timeout: 1s, connection_idle_interval: 5s}\n",
        "",
        "explicit_http_config:\n          http2_protocol_options:",
    ),
    case(
        Rule::OutlierDetection,
        "enforcing_consecutive_5xx: 0",
        "enforcing_consecutive_5xx: 100",
        "enforcing_consecutive_5xx",
    ),
    case(Rule::OutlierDetection, "      enforcing_success_rate: 0\n", "", "outlier_detection:"),
    case(
        Rule::Plaintext,
        "address: \"127.0.0.1\", port_value: 50052",
        "address: \"10.0.0.7\", port_value: 50052",
        "10.0.0.7",
    ),
    case(Rule::Admin, "address: 127.0.0.1, port_value: 9901", "address: 0.0.0.0, port_value: 9901", "9901"),
    case(
        Rule::NotInFile,
        "cluster_name: ecs_authz, authority",
        "cluster_name: elsewhere, authority",
        "elsewhere",
    ),
];

fn findings(text: &str) -> Vec<Finding> {
    lint(text, &Catalog::published().unwrap()).unwrap_or_else(|fault| panic!("{}: {fault}", fault.line))
}

impl Case {
    fn text(&self) -> String {
        assert_eq!(self.base.matches(self.from).count(), 1, "`{}` stands once in the base", self.from);
        self.base.replace(self.from, self.to)
    }

    fn run(&self) {
        let text = self.text();
        let found = findings(&text);
        let rules: Vec<Rule> = found.iter().map(|finding| finding.rule).collect();
        assert!(!rules.is_empty() && rules.iter().all(|rule| *rule == self.rule), "{found:?}");
        let place = text.find(self.at).unwrap_or_else(|| panic!("`{}` is in the edited file", self.at));
        let line = 1 + text[..place + self.at.len()].matches('\n').count();
        assert!(found.iter().any(|finding| finding.line == line), "expected line {line}: {found:?}");
    }
}

fn the_shipped_configurations_are_what_the_program_writes() {
    for (identity, shipped) in [("jwt", JWT), ("mtls", MTLS)] {
        let output = Command::new(program()).args(["envoy-config", identity]).output().unwrap();
        let written = String::from_utf8(output.stdout).unwrap();
        assert!(written == shipped, "run `ecs-authz envoy-config {identity} > deploy/envoy/{identity}.yaml`");
        assert!(!written.contains("{{"), "a place was left open");
    }
}

fn the_shipped_configurations_have_no_findings() {
    for shipped in [JWT, MTLS] {
        assert_eq!(findings(shipped), []);
    }
}

/// Routes that a discovery service sent stand elsewhere in the dump of a running Envoy.
fn discovered_routes_are_found_where_they_stand() {
    let rds = "          rds: {route_config_name: api}\n";
    let start = JWT.find("          route_config:\n").unwrap();
    let end = JWT.find("\n  clusters:\n").unwrap();
    let without = format!("{}{rds}{}", &JWT[..start], &JWT[end..]);
    let found: Vec<Rule> = findings(&without).iter().map(|finding| finding.rule).collect();
    assert_eq!(found, [Rule::NotInFile]);
    let routes = JWT[start..end].replace("          route_config:\n", "");
    let dump = format!(
        "{without}\ndump:\n          -\n            \"@type\": type.googleapis.com/envoy.config.route.v3.RouteConfiguration\n\
         {routes}\n"
    );
    assert_eq!(findings(&dump), []);
    let open = dump.replace(PER_ROUTE, "disabled: true");
    let found: Vec<Rule> = findings(&open).iter().map(|finding| finding.rule).collect();
    assert_eq!(found, [Rule::UnauthorizedOperation]);
}

/// What needs two edits: a name that reads as a field's, another's filter before ours, and bodies of routes alone.
fn two_edits_together_are_found() {
    let cases = [
        (
            Rule::UnauthorizedOperation,
            [
                ("envoy.filters.http.ext_authz\n", "ecsAuthz\n"),
                ("envoy.filters.http.ext_authz:\n", "ecsAuthz:\n"),
            ],
            (PER_ROUTE, "disabled: true"),
        ),
        (
            Rule::FailureModeAllow,
            [
                (
                    "          http_filters:\n",
                    "          http_filters:\n          - {name: x, typed_config: {\"@type\": t/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz, http_service: {}}}\n",
                ),
                ("failure_mode_allow: false", "failure_mode_allow: true"),
            ],
            ("stat_prefix: edge", "stat_prefix: edge"),
        ),
        (
            Rule::BodyBytes,
            [
                (", pack_as_bytes: true", ""),
                (
                    PER_ROUTE,
                    "check_settings: {with_request_body: {max_request_bytes: 131072, pack_as_bytes: true}}",
                ),
            ],
            ("match: {prefix: /}\n                route", "match: {prefix: /static/}\n                route"),
        ),
    ];
    for (rule, [first, second], third) in cases {
        let text = [first, second, third].into_iter().fold(JWT.to_owned(), |text, (from, to)| {
            assert_eq!(text.matches(from).count(), 1, "`{from}` stands once");
            text.replace(from, to)
        });
        let found = findings(&text);
        assert!(!found.is_empty() && found.iter().all(|finding| finding.rule == rule), "{found:?}");
    }
}

/// What Envoy takes and what is safe: none of these edits has a finding.
fn what_is_safe_has_no_findings() {
    for (from, to) in attacks::SAFE {
        assert_eq!(JWT.matches(from).count(), 1, "`{from}` stands once in the base");
        assert_eq!(findings(&JWT.replace(from, to)), [], "{to}");
    }
}

/// What would be another configuration than was meant is refused, and what only looks so is taken.
fn places_are_filled_in_with_sense_or_not_at_all() {
    let run = |args: &[&str]| {
        let output = Command::new(program()).arg("envoy-config").args(args).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    for option in ["--issuer=", "--audience=", "--jwks=", "--domain=", "--domain=a:80", "--domain=a b"] {
        assert!(!run(&[option]).0, "{option}");
    }
    let hostile = "a\"b: {{jwks}}\n- {{routes}}";
    let (_, text) =
        run(&["--issuer", hostile, "--domain", "B.test", "--domain", "a.test", "--domain", "b.test"]);
    assert!(text.contains("domains: [\"a.test\", \"b.test\"]"), "{text}");
    assert!(text.contains(r#"issuer: "a\"b: {{jwks}}\n- {{routes}}""#), "{text}");
    assert_eq!(findings(&text), []);
}

/// The routes follow the table: with an operation that its body tells, the shipped file has a finding, and the routes
/// that the program writes for this table have none.
fn an_operation_of_a_table_of_ones_own_gets_its_body() {
    let dir = PolicyDir::new();
    dir.write(
        "own.toml",
        "table = \"own\"\ntitle = \"Own\"\n\n[[operation]]\ntitle = \"Freezing\"\n\
         routes = [\"POST /v9/{project_id}/boxes/{box_id}/action\"]\nactions = [\"ecs:boxes:freeze\"]\n\
         body_key = \"freeze\"\n",
    );
    let table = dir.path().join("own.toml");
    let run = |args: &[&str]| {
        let output = Command::new(program()).args(args).arg("--table").arg(&table).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/envoy/jwt.yaml");
    let (code, found) = run(&["envoy-lint", shipped]);
    assert_eq!(code, Some(1), "{found}");
    assert!(
        found.contains("body-not-sent") && found.contains("/v9/{project_id}/boxes/{box_id}/action"),
        "{found}"
    );
    let (_, written) = run(&["envoy-config"]);
    dir.write("envoy.yaml", &written);
    let (code, found) = run(&["envoy-lint", dir.path().join("envoy.yaml").to_str().unwrap()]);
    assert_eq!(code, Some(0), "{found}");
}

fn every_rule_has_a_case() {
    for rule in Rule::ALL {
        assert!(all_cases().any(|case| case.rule == *rule), "{rule}");
    }
}

/// Field names in either spelling, and JSON: the findings are the same.
fn spelling_makes_no_difference() {
    let camel = JWT.replace("failure_mode_allow: false", "failureModeAllow: on");
    let camel = camel.replace("normalize_path: true", "normalizePath: \"no\"");
    let found: Vec<Rule> = findings(&camel).iter().map(|finding| finding.rule).collect();
    assert_eq!(found, [Rule::PathNormalization, Rule::FailureModeAllow]);
    let json = r#"{"resources": [{"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "httpFilters": [{"name": "a", "typedConfig": {"@type": "t/xds.type.v3.TypedStruct",
        "typeUrl": "t/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz", "value": {"failureModeAllow": true}}}]}]}"#;
    assert!(findings(json).iter().any(|finding| finding.rule == Rule::FailureModeAllow));
}

fn the_program_tells_the_place_and_exits_with_one() {
    let dir = PolicyDir::new();
    dir.write("envoy.yaml", &JWT.replace("failure_mode_allow: false", "failure_mode_allow: true"));
    let file = dir.path().join("envoy.yaml");
    let line = 1 + JWT[..JWT.find("failure_mode_allow").unwrap()].matches('\n').count();
    let run = |args: &[&str]| {
        let output = Command::new(program()).arg("envoy-lint").arg(&file).args(args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = run(&[]);
    let expected = format!(
        "{}:{line}: danger failure-mode-allow: expected no `failure_mode_allow`: while ecs-authz can't be reached, \
         every call would pass\n1 finding\n",
        file.display()
    );
    assert_eq!((code, text), (Some(1), expected));
    let (code, text) = run(&["--json"]);
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (code, &found[0]["rule"], &found[0]["line"]),
        (Some(1), &"failure-mode-allow".into(), &line.into())
    );
    let (code, text) = run(&["--allow", "failure-mode-allow"]);
    assert_eq!((code, text.as_str()), (Some(0), "ok: nothing dangerous found, 1 allowed\n"));
}

fn what_cannot_be_read_is_no_clean_file() {
    let dir = PolicyDir::new();
    dir.write("twice.yaml", "a: 1\na: 2\n");
    dir.write("broken.yaml", "a: [\n");
    for (file, message) in [
        ("twice.yaml", "twice.yaml:2: expected `a` once"),
        ("broken.yaml", "broken.yaml:"),
        ("none.yaml", "none.yaml"),
    ] {
        let output = Command::new(program()).arg("envoy-lint").arg(dir.path().join(file)).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{file}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(message), "{error}");
        assert!(output.stdout.is_empty(), "{file}");
    }
}

/// What discovery services read from files: the listener alone. What is elsewhere is said.
fn a_listener_file_is_read_too() {
    let start = JWT.find("  - name: edge\n").unwrap();
    let end = JWT.find("  clusters:\n").unwrap();
    let listener = JWT[start..end].replace("\n    ", "\n  ").replacen("  - name", "- name", 1);
    let text = format!("resources:\n{listener}");
    let found: Vec<Rule> = findings(&text).iter().map(|finding| finding.rule).collect();
    assert_eq!(found, [Rule::NotInFile]);
}
