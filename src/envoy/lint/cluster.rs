//! The replicas of ecs-authz, as Envoy knows them.

use std::net::IpAddr;

use super::{Findings, Rule, certificates};
use crate::envoy::document::Node;

/// Checks the cluster that the filter asks.
pub(super) fn check(service: &Node, nodes: &[&Node], findings: &mut Findings) {
    let name = service.get("envoy_grpc").and_then(|grpc| grpc.get("cluster_name"));
    let Some((name, line)) = name.and_then(|node| Some((node.text()?, node.line))) else { return };
    let Some(cluster) = find(name, nodes) else {
        let message = format!("the cluster `{name}` is not in this file: lint the file that has it too");
        findings.add(Rule::NotInFile, line, message);
        return;
    };
    check_connections(cluster, findings);
    check_health(cluster, findings);
    check_outliers(cluster, findings);
}

fn find<'a>(name: &str, nodes: &[&'a Node]) -> Option<&'a Node> {
    let listed = nodes.iter().flat_map(|node| node.list("clusters"));
    let typed =
        nodes.iter().copied().filter(|node| node.type_name() == Some("envoy.config.cluster.v3.Cluster"));
    listed.chain(typed).find(|cluster| cluster.text_of("name") == Some(name))
}

fn check_connections(cluster: &Node, findings: &mut Findings) {
    let options = cluster.get("typed_extension_protocol_options").map_or(&[][..], Node::fields);
    let options =
        options.iter().find(|(name, _)| name == "envoy.extensions.upstreams.http.v3.HttpProtocolOptions");
    let http2 = options.and_then(|(_, any)| any.message().at("explicit_http_config.http2_protocol_options"));
    let http2 = http2.or_else(|| cluster.get("http2_protocol_options"));
    let Some(http2) = http2 else {
        let message = "expected `explicit_http_config.http2_protocol_options`: gRPC is HTTP/2";
        findings.add(Rule::Protocol, cluster.line, message);
        return;
    };
    findings.expect_set(
        Rule::Keepalive,
        http2,
        "connection_keepalive",
        "a host that froze keeps its connections, and the calls on them wait",
    );
    let addresses = cluster.descendants().into_iter().filter_map(|node| node.get("socket_address"));
    let beyond = addresses.filter_map(|address| Some((address.text_of("address")?, address.line)));
    let mut beyond = beyond.filter(|(address, _)| !is_loopback(address));
    if !is_verified(cluster)
        && let Some((address, line)) = beyond.next()
    {
        let message = format!(
            "expected a `transport_socket` with TLS and a `trusted_ca`: {address} is asked, whoever it is, or in plain \
             text"
        );
        findings.add(Rule::Plaintext, line, message);
    }
}

/// Whether what answers has shown who it is. Of sockets other than ours and TLS, nothing is known.
fn is_verified(cluster: &Node) -> bool {
    let Some(socket) = cluster.at("transport_socket.typed_config") else { return false };
    match socket.type_name().and_then(|name| name.rsplit('.').next()) {
        Some("RawBuffer") => false,
        Some("UpstreamTlsContext") => {
            socket.message().get("common_tls_context").is_some_and(certificates::is_vouched)
        }
        _ => true,
    }
}

fn is_loopback(address: &str) -> bool {
    address == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn check_health(cluster: &Node, findings: &mut Findings) {
    let threshold = cluster.at("common_lb_config.healthy_panic_threshold");
    // A message without its number, as a dump has it, is zero.
    let percent = threshold.map(|it| it.get("value").map_or(Some(0.0), Node::number));
    if percent.flatten() != Some(0.0) {
        findings.add(
            Rule::Panic,
            threshold.map_or(cluster.line, |threshold| threshold.line),
            "expected `common_lb_config: {healthy_panic_threshold: {value: 0}}`: by default, replicas that are not \
             serving are asked when half of them are not",
        );
    }
    if !cluster.list("health_checks").iter().any(|check| check.get("grpc_health_check").is_some()) {
        findings.add(
            Rule::HealthCheck,
            cluster.get("health_checks").map_or(cluster.line, |checks| checks.line),
            "expected `health_checks` with `grpc_health_check: {service_name: envoy.service.auth.v3.Authorization}`",
        );
    }
}

/// What the defaults would eject for: answers, which clients can provoke.
const BY_ANSWERS: [&str; 3] =
    ["enforcing_consecutive_5xx", "enforcing_success_rate", "enforcing_consecutive_gateway_failure"];

fn check_outliers(cluster: &Node, findings: &mut Findings) {
    let Some(detection) = cluster.get("outlier_detection") else { return };
    for name in BY_ANSWERS {
        let setting = detection.get(name);
        // The last one is off by default.
        let default = if name == "enforcing_consecutive_gateway_failure" { 0.0 } else { 100.0 };
        if setting.map_or(Some(default), Node::number) != Some(0.0) {
            findings.add(
                Rule::OutlierDetection,
                setting.map_or(detection.line, |setting| setting.line),
                format!("expected `{name}: 0`: gRPC errors count, and clients can provoke them"),
            );
        }
    }
}
