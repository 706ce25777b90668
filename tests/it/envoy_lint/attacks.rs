//! Ways round the question that Envoy 1.40 takes, each of them seen or validated on a real one; and what only looks so.

use ecs_authz::envoy::Rule;

use super::{Case, PER_ROUTE, case, mtls};

/// What stands before the last route.
const BEFORE_LAST: &str = "              # Nobody waits";

const ROUTER: &str = "          - name: envoy.filters.http.router\n";

pub(super) const CASES: &[Case] = &[
    // Envoy drops what is tagged so.
    case(
        Rule::PathNormalization,
        "          normalize_path: true",
        "          !ignore normalize_path: true",
        super::MANAGER_CONFIG,
    ),
    case(
        Rule::UnauthorizedOperation,
        BEFORE_LAST,
        "              - match: {safe_regex: {regex: \"/v2.1/[0-9a-f]{32}/servers/.*\"}}\n                route: {cluster: api}\n                typed_per_filter_config: {envoy.filters.http.ext_authz: {disabled: true}}\n              # Nobody waits",
        "[0-9a-f]{32}",
    ),
    case(
        Rule::UnauthorizedOperation,
        BEFORE_LAST,
        "              - match: {safe_regex: {regex: \"/v2.1/(admin|root)/servers\"}}\n                route: {cluster: api}\n                typed_per_filter_config: {envoy.filters.http.ext_authz: {disabled: true}}\n              # Nobody waits",
        "(admin|root)",
    ),
    case(
        Rule::UnauthorizedOperation,
        "              routes:\n",
        "              matcher: {matcher_list: {matchers: [{on_match: {action: {name: r, typed_config: {\"@type\": t/envoy.config.route.v3.Route, match: {prefix: /v2/}, route: {cluster: api}, typed_per_filter_config: {envoy.filters.http.ext_authz: {disabled: true}}}}}}]}}\n              routes:\n",
        "matcher_list",
    ),
    // A tunnel to the API, in which anything is asked.
    case(
        Rule::DisabledByRequest,
        BEFORE_LAST,
        "              - match: {connect_matcher: {}}\n                route: {cluster: api, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}\n                typed_per_filter_config: {envoy.filters.http.ext_authz: {disabled: true}}\n              # Nobody waits",
        "connect_matcher",
    ),
    case(
        Rule::NotEnforced,
        PER_ROUTE,
        "check_settings: {disable_request_body_buffering: true, grpc_service: {envoy_grpc: {cluster_name: api}}}",
        "grpc_service: {envoy_grpc: {cluster_name: api",
    ),
    case(
        Rule::RouteCache,
        super::ROUTE,
        "route: {cluster_header: x-cluster}\n                typed_per_filter_config",
        "cluster_header",
    ),
    case(
        Rule::RouteCache,
        super::ROUTE,
        "route: {weighted_clusters: {clusters: [{cluster_header: x-cluster, weight: 1}]}}\n                typed_per_filter_config",
        "cluster_header",
    ),
    case(
        Rule::NotInFile,
        "            name: api\n            virtual_hosts:",
        "            vhds: {}\n            virtual_hosts:",
        "vhds",
    ),
    case(
        Rule::NoExtAuthz,
        "          codec_type: AUTO\n",
        "          codec_type: AUTO\n          upgrade_configs:\n          - {upgrade_type: websocket, filters: [{name: r, typed_config: {\"@type\": t/envoy.extensions.filters.http.router.v3.Router}}]}\n",
        "upgrade_type",
    ),
    case(
        Rule::NoExtAuthz,
        "  clusters:\n",
        "  - filter_chains: [{filters: [{name: t, typed_config: {\"@type\": t/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, cluster: api}}]}]\n  clusters:\n",
        "TcpProxy",
    ),
    case(
        Rule::NoExtAuthz,
        "          http_filters:\n",
        "          http_filters:\n          - {name: c, typed_config: {\"@type\": t/envoy.extensions.filters.http.cache.v3.CacheConfig}}\n",
        "CacheConfig",
    ),
    case(
        Rule::Token,
        "          http_filters:\n",
        "          http_filters:\n          - {name: c, typed_config: {\"@type\": t/envoy.extensions.filters.http.header_to_metadata.v3.Config, request_rules: [{header: x-claims, on_header_present: {metadata_namespace: envoy.filters.http.jwt_authn, key: jwt_payload, type: PROTOBUF_VALUE}}]}}\n",
        "x-claims",
    ),
    case(
        Rule::NotInFile,
        "static_resources:\n",
        "dynamic_resources: {lds_config: {path_config_source: {path: lds.yaml}}}\nstatic_resources:\n",
        "lds_config",
    ),
    case(
        Rule::NotInFile,
        "  clusters:\n",
        "  - filter_chains: [{filters: [{name: t, config_discovery: {type_urls: [t/a.B]}}]}]\n  clusters:\n",
        "config_discovery",
    ),
    case(Rule::Token, "                  audiences: [\"ecs-api\"]\n", "", "                iam:"),
    case(Rule::Token, "require_expiration: true", "require_expiration: false", "require_expiration"),
    case(
        Rule::LaterFilter,
        ROUTER,
        "          - {name: d, typed_config: {\"@type\": t/envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig}}\n          - name: envoy.filters.http.router\n",
        "{name: d",
    ),
    case(
        Rule::NotInFile,
        ROUTER,
        "          - {name: d, config_discovery: {type_urls: [t/envoy.extensions.filters.http.lua.v3.Lua]}}\n          - name: envoy.filters.http.router\n",
        "{name: d",
    ),
    case(
        Rule::LaterFilter,
        "suppress_envoy_headers: true\n",
        "suppress_envoy_headers: true\n              upstream_http_filters: [{name: l, typed_config: {\"@type\": t/envoy.extensions.filters.http.lua.v3.Lua}}]\n",
        "upstream_http_filters",
    ),
    case(
        Rule::LaterFilter,
        "        common_http_protocol_options: {idle_timeout: 300s}\n",
        "        http_filters: [{name: l, typed_config: {\"@type\": t/envoy.extensions.filters.http.lua.v3.Lua}}]\n",
        "http_filters: [",
    ),
    case(
        Rule::ForgedHeaders,
        super::ROUTE,
        "route: {cluster: api}\n                request_headers_to_add: [{header: {key: X-Auth-Action, value: \"%REQ(x)%\"}}]\n                typed_per_filter_config",
        "request_headers_to_add:",
    ),
    case(
        Rule::ForgedHeaders,
        "prefix: x-envoy-auth-",
        "prefix: X-Envoy-Auth-",
        "early_header_mutation_extensions",
    ),
    case(Rule::ClientAddress, "xff_num_trusted_hops: 0", "xff_num_trusted_hops: 2", "xff_num_trusted_hops"),
    case(
        Rule::ClientAddress,
        "    per_connection_buffer_limit_bytes",
        "    listener_filters: [{name: p, typed_config: {\"@type\": t/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol, allow_requests_without_proxy_protocol: true}}]\n    per_connection_buffer_limit_bytes",
        "listener_filters",
    ),
    case(
        Rule::PathNormalization,
        "static_resources:\n",
        "layered_runtime: {layers: [{name: s, static_layer: {http_connection_manager.path_with_escaped_slashes_action_enabled: 0}}]}\nstatic_resources:\n",
        "layered_runtime",
    ),
    mtls(
        Rule::ClientCertificate,
        "              trusted_ca:",
        "              allow_expired_certificate: true\n              trusted_ca:",
        "allow_expired_certificate",
    ),
    case(
        Rule::Plaintext,
        "address: \"127.0.0.1\", port_value: 50052}}}\n",
        "address: \"10.0.0.7\", port_value: 50052}}}\n    transport_socket: {typed_config: {\"@type\": t/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext}}\n",
        "10.0.0.7",
    ),
];

/// Edits of `jwt.yaml` that change nothing.
pub(super) const SAFE: &[(&str, &str)] = &[
    // The most specific level counts whole, so the route asks.
    (
        "            virtual_hosts:\n",
        "            virtual_hosts:\n            - name: other\n              domains: [other.example]\n              typed_per_filter_config: {envoy.filters.http.ext_authz: {disabled: true}}\n              routes: [{match: {prefix: /static/}, route: {cluster: api}}, {match: {path: /v2.1/x/flavors}, route: {cluster: api}, typed_per_filter_config: {envoy.filters.http.ext_authz: {check_settings: {}}}}]\n",
    ),
    // Whoever comes here is sent to https.
    (
        "  clusters:\n",
        "  - filter_chains: [{filters: [{name: h, typed_config: {\"@type\": t/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, http_filters: [{name: r, typed_config: {\"@type\": t/envoy.extensions.filters.http.router.v3.Router}}], route_config: {virtual_hosts: [{domains: [\"*\"], routes: [{match: {prefix: /}, redirect: {https_redirect: true}}]}]}}}]}]\n  clusters:\n",
    ),
    (
        "          codec_type: AUTO\n",
        "          codec_type: AUTO\n          upgrade_configs: [{upgrade_type: websocket}]\n",
    ),
    ("healthy_panic_threshold: {value: 0}", "healthy_panic_threshold: {}"),
    (
        "validate_mutations: true",
        "validate_mutations: true\n              filter_enabled: {default_value: {numerator: 100}}",
    ),
    (
        ROUTER,
        "          - {name: l, typed_config: {\"@type\": t/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit}}\n          - name: envoy.filters.http.router\n",
    ),
];
