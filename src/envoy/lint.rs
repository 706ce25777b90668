//! What is dangerous in an Envoy configuration that asks ecs-authz.
//!
//! The configuration is read as Envoy reads it, and held against what was measured on a real Envoy 1.40. Each rule has a
//! name; each finding has the line of what is wrong, or of the filter that lacks something. What the file does not hold,
//! such as routes that a discovery service sends, is said and not guessed.

use std::fmt;
use std::net::IpAddr;

pub use rule::{Rule, Severity};

use super::document::{DocumentFault, Node};
use crate::catalog::Catalog;

mod bypass;
mod certificates;
mod cluster;
mod connection_manager;
mod ext_authz;
mod other_filters;
mod path_match;
mod routes;
mod rule;
mod stripping;

/// Something dangerous at a place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The line, counted from one.
    pub line: usize,
    /// What it breaks.
    pub rule: Rule,
    /// What was found, what follows from it and what to write instead.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}: {}", self.line, self.rule.severity(), self.rule, self.message)
    }
}

/// Reads a configuration and reports what is dangerous in it, sorted by line.
///
/// # Errors
///
/// If it can't be read, or can be read in two ways.
pub fn lint(text: &str, catalog: &Catalog) -> Result<Vec<Finding>, DocumentFault> {
    let document = Node::parse(text)?;
    let nodes = document.descendants();
    let mut findings = Findings::default();
    check_admin(&document, &mut findings);
    let mut asks = false;
    for node in &nodes {
        check_discovery(node, &mut findings);
        other_filters::check_upstream(node, &mut findings);
        stripping::check_added(node, &mut findings);
        bypass::check_runtime(node, &mut findings);
        let name = node.type_name().unwrap_or_default();
        if name.ends_with(".HttpConnectionManager") {
            if connection_manager::check(node, &nodes, catalog, &mut findings) {
                asks = true;
                bypass::check_proxies(node, &nodes, &mut findings);
            }
        } else if name.ends_with(".DownstreamTlsContext") {
            certificates::check(node.message(), &mut findings);
        } else if name.ends_with(".proxy_protocol.v3.ProxyProtocol") {
            bypass::check_proxy_protocol(node.message(), &mut findings);
        }
    }
    if !asks {
        findings.add(
            Rule::NoExtAuthz,
            document.line,
            "expected an HTTP connection manager with an ext_authz filter: nothing here asks for a decision",
        );
    }
    Ok(findings.sorted())
}

/// Listeners and filters that come from elsewhere.
fn check_discovery(node: &Node, findings: &mut Findings) {
    let filters = node.list("filters").iter().filter_map(|filter| filter.get("config_discovery"));
    for elsewhere in
        ["lds_config", "fcds_config"].into_iter().filter_map(|name| node.get(name)).chain(filters)
    {
        let message = "listeners or filters are not in this file: lint what `/config_dump` of a running Envoy holds too";
        findings.add(Rule::NotInFile, elsewhere.line, message);
    }
}

fn check_admin(document: &Node, findings: &mut Findings) {
    let Some(address) = document.at("admin.address.socket_address.address") else { return };
    let is_loopback = |text: &str| text.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if !address.text().is_some_and(is_loopback) {
        findings.add(
            Rule::Admin,
            address.line,
            "expected a loopback address, such as 127.0.0.1, for `admin`",
        );
    }
}

/// What was found so far.
#[derive(Debug, Default)]
struct Findings {
    all: Vec<Finding>,
}

impl Findings {
    fn add(&mut self, rule: Rule, line: usize, message: impl Into<String>) {
        self.all.push(Finding { line, rule, message: message.into() });
    }

    /// A setting that must be true.
    fn expect_true(&mut self, rule: Rule, node: &Node, path: &str, why: &str) {
        let setting = node.at(path);
        if setting.and_then(Node::truth) != Some(true) {
            let line = setting.map_or(node.line, |setting| setting.line);
            self.add(rule, line, format!("expected `{path}: true`: {why}"));
        }
    }

    /// A setting that must not be there, or be false.
    fn expect_false(&mut self, rule: Rule, node: &Node, path: &str, why: &str) {
        if let Some(setting) = node.at(path).filter(|setting| setting.truth() != Some(false)) {
            self.add(rule, setting.line, format!("expected no `{path}`: {why}"));
        }
    }

    /// A setting that must be there.
    fn expect_set(&mut self, rule: Rule, node: &Node, path: &str, why: &str) {
        if node.at(path).is_none() {
            self.add(rule, node.line, format!("expected `{path}`: {why}"));
        }
    }

    /// By line; the same thing found twice is one finding.
    fn sorted(mut self) -> Vec<Finding> {
        self.all.sort();
        self.all.dedup();
        self.all
    }
}
