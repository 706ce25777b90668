//! The routes: whether each operation of the action table is asked about, with the body that it needs.

use std::collections::BTreeMap;

use super::path_match::{Matcher, Reach};
use super::{Findings, Rule, ext_authz};
use crate::catalog::{Catalog, Operation};
use crate::envoy::document::{Node, snake_case};

/// Checks all routes of a connection manager.
pub(super) fn check(
    manager: &Node,
    filter: &Node,
    nodes: &[&Node],
    catalog: &Catalog,
    findings: &mut Findings,
) {
    let context = Context { manager, filter: Filter::new(filter) };
    let scoped = manager.get("scoped_routes").map(Node::descendants).unwrap_or_default();
    let scoped: Vec<&Node> = scoped.into_iter().filter_map(|node| node.get("route_configuration")).collect();
    let discovered: Vec<&Node> = manager.get("rds").map(|rds| named(rds, nodes)).unwrap_or_default();
    for (name, found) in [("rds", &discovered), ("scoped_routes", &scoped)] {
        if let Some(node) = manager.get(name).filter(|_| found.is_empty()) {
            let message =
                "the routes are not in this file: lint what `/config_dump` of a running Envoy holds too";
            findings.add(Rule::NotInFile, node.line, message);
        }
    }
    for config in manager.get("route_config").into_iter().chain(discovered).chain(scoped) {
        check_config(config, &context, catalog, findings);
    }
}

/// The discovered routes, if they are in the same file: a dump of a running Envoy has them.
fn named<'a>(rds: &Node, nodes: &[&'a Node]) -> Vec<&'a Node> {
    let name = rds.text_of("route_config_name");
    let is_named = |node: &&Node| {
        node.type_name() == Some("envoy.config.route.v3.RouteConfiguration") && node.text_of("name") == name
    };
    nodes.iter().copied().filter(is_named).collect()
}

fn check_config(config: &Node, context: &Context<'_>, catalog: &Catalog, findings: &mut Findings) {
    if let Some(node) = config.get("vhds") {
        findings.add(Rule::NotInFile, node.line, "the virtual hosts are not in this file: lint them too");
    }
    let base = context.filter.asking.refined(config, &context.filter);
    check_settings(config, &context.filter, findings);
    for host in config.list("virtual_hosts") {
        check_domains(host, findings);
        check_settings(host, &context.filter, findings);
        let base = base.refined(host, &context.filter);
        let route = |node| Route::new(node, base.refined(node, &context.filter));
        let routes: Vec<Route<'_>> = host.list("routes").iter().filter_map(route).collect();
        // A tree has no order that is told here: each of its routes stands for itself.
        let tree = host.get("matcher").map(Node::descendants).unwrap_or_default();
        let in_tree = tree.into_iter().filter(|node| node.type_name() == Some("envoy.config.route.v3.Route"));
        let in_tree: Vec<Route<'_>> = in_tree.map(Node::message).filter_map(route).collect();
        for route in routes.iter().chain(&in_tree) {
            check_route(route, context, findings);
        }
        check_operations(&routes, catalog, findings);
        for route in in_tree {
            check_operations(&[route], catalog, findings);
        }
    }
}

/// What a route is judged by, besides itself.
struct Context<'a> {
    manager: &'a Node,
    filter: Filter<'a>,
}

/// The ext_authz filter, as its routes refine it.
struct Filter<'a> {
    /// In the spelling of fields, as which it stands in `typed_per_filter_config`.
    name: String,
    config: Option<&'a Node>,
    asking: Asking,
}

impl<'a> Filter<'a> {
    fn new(filter: &'a Node) -> Self {
        let config = filter.get("typed_config").map(Node::message);
        let has_body = config.is_some_and(|config| config.get("with_request_body").is_some());
        let asking = if has_body { Asking::WithBody } else { Asking::WithoutBody };
        Self { name: snake_case(filter.text_of("name").unwrap_or_default()), config, asking }
    }

    fn has_body_bytes(&self) -> bool {
        let pack = self.config.and_then(|config| config.at("with_request_body.pack_as_bytes"));
        pack.and_then(Node::truth) == Some(true)
    }

    fn cluster(&self) -> Option<&'a str> {
        self.config?.at("grpc_service.envoy_grpc")?.text_of("cluster_name")
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
    /// What a more specific level makes of it. The most specific one counts whole: what it does not say is as the filter
    /// says.
    fn refined(self, level: &Node, filter: &Filter<'_>) -> Self {
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
            filter.asking
        }
    }
}

/// A level's configuration of the filter. Envoy finds it under the filter's name alone.
fn own_config<'a>(level: &'a Node, filter: &Filter<'_>) -> Option<&'a Node> {
    let configs = level.get("typed_per_filter_config")?.fields();
    let (_, any) = configs.iter().find(|(name, _)| *name == filter.name)?;
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

fn check_route(route: &Route<'_>, context: &Context<'_>, findings: &mut Findings) {
    let Some(action) = route.action() else { return };
    for name in ["prefix_rewrite", "regex_rewrite", "path_rewrite", "path_rewrite_policy"] {
        if let Some(setting) = action.get(name) {
            let message = format!("expected no `{name}`: the API would get another path than was authorized");
            findings.add(Rule::PathRewrite, setting.line, message);
        }
    }
    check_choices(action, findings);
    let filter = &context.filter;
    let Route { node, matcher, asking } = route;
    if *asking == Asking::Off && matcher.is_selective() {
        let message = "expected ext_authz on a route that a header or parameter of the request selects, or that is a tunnel";
        findings.add(Rule::DisabledByRequest, node.line, message);
    }
    for cluster in action.at("weighted_clusters.clusters").map_or(&[][..], Node::items) {
        if asking.refined(cluster, filter) == Asking::Off {
            let message = "expected ext_authz for all clusters of the route, found one without";
            findings.add(Rule::UnauthorizedOperation, cluster.line, message);
        }
        check_settings(cluster, filter, findings);
    }
    check_settings(node, filter, findings);
    if let Some(body) = settings(node, filter).and_then(|settings| settings.get("with_request_body")) {
        ext_authz::check_body(body, context.manager, findings);
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

/// What leads a request elsewhere by what its client says.
const CHOICES: [&str; 4] =
    ["cluster_header", "host_rewrite_header", "cluster_specifier_plugin", "inline_cluster_specifier_plugin"];

fn check_choices(action: &Node, findings: &mut Findings) {
    let weighted = action.at("weighted_clusters.clusters").map_or(&[][..], Node::items);
    for node in weighted.iter().chain([action]) {
        for setting in CHOICES.into_iter().filter_map(|name| node.get(name)) {
            let message =
                "expected the name of a cluster: the client could choose where the authorized call goes";
            findings.add(Rule::RouteCache, setting.line, message);
        }
    }
}

/// Checks what a level, such as a virtual host, changes about the question.
fn check_settings(level: &Node, filter: &Filter<'_>, findings: &mut Findings) {
    let Some(settings) = settings(level, filter) else { return };
    for service in ["grpc_service", "http_service"].into_iter().filter_map(|name| settings.get(name)) {
        let cluster = service.get("envoy_grpc").and_then(|grpc| grpc.text_of("cluster_name"));
        if cluster.is_none() || cluster != filter.cluster() {
            let message = "expected the service of the filter: here another one would be asked";
            findings.add(Rule::NotEnforced, service.line, message);
        }
    }
    if let Some(body) = settings.get("with_request_body").filter(|_| !filter.has_body_bytes()) {
        let message = "expected `with_request_body: {pack_as_bytes: true}` of the filter: it counts there alone, and \
                       without it bytes that are not UTF-8 become `!`";
        findings.add(Rule::BodyBytes, body.line, message);
    }
}

fn settings<'a>(level: &'a Node, filter: &Filter<'_>) -> Option<&'a Node> {
    own_config(level, filter)?.get("check_settings")
}

/// Sends each operation through the routes, and reports what would not be asked as it should.
fn check_operations(routes: &[Route<'_>], catalog: &Catalog, findings: &mut Findings) {
    let mut faults: BTreeMap<(Rule, usize), Vec<&Operation>> = BTreeMap::new();
    for operation in catalog.operations() {
        let mut is_usually_taken = false;
        for route in routes {
            let reach = route.matcher.reach(operation);
            let rule = match route.asking {
                Asking::Off => Some(Rule::UnauthorizedOperation),
                Asking::WithoutBody if operation.needs_body() && !is_usually_taken => Some(Rule::BodyNotSent),
                Asking::WithoutBody | Asking::WithBody => None,
            };
            if let Some(rule) = rule.filter(|_| reach > Reach::Never && route.action().is_some()) {
                faults.entry((rule, route.node.line)).or_default().push(operation);
            }
            if reach == Reach::Always {
                break;
            }
            is_usually_taken |= reach == Reach::Usually;
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
