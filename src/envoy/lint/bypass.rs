//! What undoes from elsewhere in the file what a connection manager does.

use super::{Findings, Rule};
use crate::envoy::document::Node;

/// Checks that no TCP proxy leads to where the routes of a connection manager lead.
pub(super) fn check_proxies(manager: &Node, nodes: &[&Node], findings: &mut Findings) {
    let routes = manager.descendants();
    let behind: Vec<&str> = routes.iter().filter_map(|node| node.get("route")).flat_map(clusters).collect();
    let is_proxy =
        |node: &&&Node| node.type_name().is_some_and(|name| name.ends_with(".tcp_proxy.v3.TcpProxy"));
    for proxy in nodes.iter().filter(is_proxy) {
        if let Some(name) = clusters(proxy.message()).into_iter().find(|name| behind.contains(name)) {
            let message =
                format!("expected no TCP proxy to the cluster `{name}`: nobody asks about what it forwards");
            findings.add(Rule::NoExtAuthz, proxy.line, message);
        }
    }
}

/// The clusters that a route or a TCP proxy leads to.
fn clusters(action: &Node) -> Vec<&str> {
    let weighted = action.at("weighted_clusters.clusters").map_or(&[][..], Node::items);
    let weighted = weighted.iter().filter_map(|cluster| cluster.text_of("name"));
    action.text_of("cluster").into_iter().chain(weighted).collect()
}

/// With it, the address is what the proxy says. Without, it is what anybody says.
pub(super) fn check_proxy_protocol(config: &Node, findings: &mut Findings) {
    findings.expect_false(
        Rule::ClientAddress,
        config,
        "allow_requests_without_proxy_protocol",
        "where clients connect without a proxy, they can also claim to be one and write the address themselves",
    );
}

/// A fraction at run time, in one name with dots or in nested ones, that takes an action back.
const SLASHES: &str = "path_with_escaped_slashes_action_enabled";

/// Checks a mapping of the layered runtime.
pub(super) fn check_runtime(node: &Node, findings: &mut Findings) {
    for (name, value) in node.fields() {
        if name.ends_with(SLASHES) && value.number() != Some(100.0) {
            let message = "expected no such fraction: `path_with_escaped_slashes_action` would not count";
            findings.add(Rule::PathNormalization, value.line, message);
        }
    }
}
