//! The routes: whether each operation of the action table is asked about, with the body that it needs.

use std::collections::BTreeMap;

use super::path_match::{Matcher, Reach};
use super::{Findings, Rule, ext_authz};
use crate::catalog::{Catalog, Operation};
use crate::envoy::document::Node;

/// Checks all routes of a connection manager.
pub(super) fn check(manager: &Node, filter: &Node, catalog: &Catalog, findings: &mut Findings) {
    for name in ["rds", "scoped_routes"] {
        if let Some(node) = manager.get(name) {
            let message = "the routes are not in this file: lint the file that has them too";
            findings.add(Rule::NotInFile, node.line, message);
        }
    }
    let Some(config) = manager.get("route_config") else { return };
    let default = Asking::of_filter(filter);
    for host in config.list("virtual_hosts") {
        check_domains(host, findings);
        let name = filter.text_of("name").unwrap_or_default();
        let base = default.refined(config, name).refined(host, name);
        let routes = host.list("routes").iter().filter_map(|node| Route::new(node, base.refined(node, name)));
        let routes: Vec<Route<'_>> = routes.collect();
        for route in &routes {
            check_route(route, manager, name, findings);
        }
        check_operations(&routes, catalog, findings);
    }
}

fn check_domains(host: &Node, findings: &mut Findings) {
    if let Some(domain) = host.list("domains").iter().find(|domain| domain.text() == Some("*")) {
        findings.add(Rule::HostWildcard, domain.line, "expected the names under which the API is called");
    }
}

/// What a route asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asking {
    /// Nothing.
    Off,
    /// Without the body.
    WithoutBody,
    /// With the body.
    WithBody,
}

impl Asking {
    fn of_filter(filter: &Node) -> Self {
        let body = filter.get("typed_config").and_then(|any| any.message().get("with_request_body"));
        if body.is_some() { Self::WithBody } else { Self::WithoutBody }
    }

    /// What a more specific level makes of it. The most specific one counts whole.
    fn refined(self, level: &Node, filter: &str) -> Self {
        let Some(own) = own_config(level, filter) else { return self };
        if is_set(own, "disabled") {
            return Self::Off;
        }
        let settings = own.get("check_settings");
        if settings.is_some_and(|settings| settings.get("with_request_body").is_some()) {
            Self::WithBody
        } else if settings.is_some_and(|settings| is_set(settings, "disable_request_body_buffering")) {
            Self::WithoutBody
        } else {
            self
        }
    }
}

/// A level's configuration of the filter. Envoy finds it under the filter's name alone.
fn own_config<'a>(level: &'a Node, filter: &str) -> Option<&'a Node> {
    let configs = level.get("typed_per_filter_config")?.fields();
    let (_, any) = configs.iter().find(|(name, _)| name == filter)?;
    let message = any.message();
    // `FilterConfig` wraps the filter's own, or disables it.
    let is_wrapper = any.type_name() == Some("envoy.config.route.v3.FilterConfig");
    let inner = message.get("config").filter(|_| is_wrapper && !is_set(message, "disabled"));
    Some(inner.map_or(message, Node::message))
}

/// Whether a flag is there and not false.
fn is_set(node: &Node, name: &str) -> bool {
    node.get(name).is_some_and(|flag| flag.truth() != Some(false))
}

/// A route that leads somewhere or is answered by Envoy.
struct Route<'a> {
    node: &'a Node,
    matcher: Matcher<'a>,
    asking: Asking,
}

impl<'a> Route<'a> {
    fn new(node: &'a Node, asking: Asking) -> Option<Self> {
        Some(Self { node, matcher: Matcher::new(node.get("match")?), asking })
    }

    /// What leads to the API. What Envoy answers itself does not.
    fn action(&self) -> Option<&'a Node> {
        self.node.get("route")
    }
}

fn check_route(route: &Route<'_>, manager: &Node, filter: &str, findings: &mut Findings) {
    let Some(action) = route.action() else { return };
    for name in ["prefix_rewrite", "regex_rewrite", "path_rewrite", "path_rewrite_policy"] {
        if let Some(setting) = action.get(name) {
            let message = format!("expected no `{name}`: the API would get another path than was authorized");
            findings.add(Rule::PathRewrite, setting.line, message);
        }
    }
    let Route { node, matcher, asking } = route;
    if *asking == Asking::Off && matcher.is_selective() {
        let message = "expected ext_authz on a route that a header or parameter of the request selects";
        findings.add(Rule::DisabledByRequest, node.line, message);
    }
    for cluster in action.at("weighted_clusters.clusters").map_or(&[][..], Node::items) {
        if asking.refined(cluster, filter) == Asking::Off {
            let message = "expected ext_authz for all clusters of the route, found one without";
            findings.add(Rule::UnauthorizedOperation, cluster.line, message);
        }
    }
    let settings = own_config(node, filter).and_then(|own| own.get("check_settings"));
    if let Some(body) = settings.and_then(|settings| settings.get("with_request_body")) {
        ext_authz::check_body(body, manager, findings);
    }
    let is_broad = node.at("match.prefix").is_some_and(|prefix| prefix.text() == Some("/"));
    if is_broad && *asking == Asking::WithBody {
        findings.add(
            Rule::BodyEverywhere,
            node.line,
            "expected `check_settings: {disable_request_body_buffering: true}` here, and before it the routes that \
             `ecs-authz envoy-config --routes` prints",
        );
    }
}

/// Sends each operation through the routes, and reports what would not be asked as it should.
fn check_operations(routes: &[Route<'_>], catalog: &Catalog, findings: &mut Findings) {
    let mut faults: BTreeMap<(Rule, usize), Vec<&Operation>> = BTreeMap::new();
    for operation in catalog.operations() {
        for route in routes {
            let reach = route.matcher.reach(operation);
            let rule = match route.asking {
                Asking::Off => Some(Rule::UnauthorizedOperation),
                Asking::WithoutBody if operation.needs_body() => Some(Rule::BodyNotSent),
                Asking::WithoutBody | Asking::WithBody => None,
            };
            if let Some(rule) = rule.filter(|_| reach > Reach::Never && route.action().is_some()) {
                faults.entry((rule, route.node.line)).or_default().push(operation);
            }
            if reach == Reach::Always {
                break;
            }
        }
    }
    for ((rule, line), operations) in faults {
        if let Some(message) = told(rule, &operations) {
            findings.add(rule, line, message);
        }
    }
}

/// One message for all operations that a route gets wrong.
fn told(rule: Rule, operations: &[&Operation]) -> Option<String> {
    let first = operations.first()?;
    let call = format!("{} {}", first.method, first.route);
    let others = match operations.len() {
        1 => String::new(),
        2 => " and another operation".to_owned(),
        count => format!(" and {} other operations", count - 1),
    };
    Some(match rule {
        Rule::UnauthorizedOperation => {
            format!("expected ext_authz on this route: {call}{others} can reach the API without a decision")
        }
        _ => format!(
            "expected the body of {call}{others} to be sent: put the routes that `ecs-authz envoy-config --routes` \
             prints before this one"
        ),
    })
}
