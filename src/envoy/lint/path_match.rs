//! Which operations a route of Envoy takes.
//!
//! An operation is many requests: its placeholders stand for anything, and a client chooses its headers. So a route takes
//! all of them, some or none. In doubt it is some.

use regex::Regex;

use crate::catalog::Operation;
use crate::envoy::document::Node;

/// How many of an operation's requests match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    Never,
    Sometimes,
    Always,
}

/// What a placeholder stands for in a sample of an operation's paths.
const SAMPLE: &str = "01234567-89ab-cdef-0123-456789abcdef";

/// A route's `match`.
#[derive(Debug)]
pub(super) struct Matcher<'a> {
    node: &'a Node,
    /// Compiled once: it is tried on every operation.
    regex: Option<Regex>,
}

impl<'a> Matcher<'a> {
    pub(super) fn new(node: &'a Node) -> Self {
        let regex = node.at("safe_regex.regex").and_then(Node::text);
        // One that Rust can't compile takes some, as others that are not understood.
        Self { node, regex: regex.and_then(|regex| Regex::new(&format!("^(?:{regex})$")).ok()) }
    }

    /// How many of an operation's requests it takes.
    pub(super) fn reach(&self, operation: &Operation) -> Reach {
        let headers = self.node.list("headers").iter().map(|header| header_reach(header, &operation.method));
        let rest = if self.has_other_conditions() { Reach::Sometimes } else { Reach::Always };
        headers.chain([rest, self.path_reach(&operation.route)]).min().unwrap_or(Reach::Sometimes)
    }

    /// Whether something besides path and method decides: what a client chooses, or chance.
    pub(super) fn is_selective(&self) -> bool {
        let is_method = |header: &Node| header.text_of("name") == Some(":method");
        self.has_other_conditions() || !self.node.list("headers").iter().all(is_method)
    }

    fn has_other_conditions(&self) -> bool {
        CONDITIONS.into_iter().any(|name| self.node.get(name).is_some())
    }

    fn path_reach(&self, template: &str) -> Reach {
        let text = |name| self.node.text_of(name);
        if self.node.get("connect_matcher").is_some() {
            return Reach::Never;
        }
        let reach = match (text("prefix"), text("path"), text("path_separated_prefix")) {
            (Some(prefix), ..) => unify(prefix, template, Ending::AnywhereAfter),
            (_, Some(path), _) => unify(path, template, Ending::Here),
            (.., Some(prefix)) => unify(prefix, template, Ending::AtSegment),
            (None, None, None) => {
                self.regex.as_ref().map_or(Reach::Sometimes, |regex| regex_reach(regex, template))
            }
        };
        // Without case, more paths match than compared here.
        let folds_case = self.node.get("case_sensitive").is_some_and(|it| it.truth() == Some(false));
        if folds_case && reach == Reach::Never { Reach::Sometimes } else { reach }
    }
}

/// Conditions of a match besides path and headers.
const CONDITIONS: [&str; 7] = [
    "query_parameters",
    "cookies",
    "grpc",
    "runtime_fraction",
    "tls_context",
    "dynamic_metadata",
    "filter_state",
];

fn header_reach(header: &Node, method: &str) -> Reach {
    let exact = header.at("string_match.exact").or_else(|| header.get("exact_match")).and_then(Node::text);
    let is_plain = header.get("invert_match").is_none() && header.text_of("name") == Some(":method");
    match exact.filter(|_| is_plain) {
        Some(exact) if exact == method => Reach::Always,
        Some(_) => Reach::Never,
        None => Reach::Sometimes,
    }
}

/// Where a pattern's last segment ends in a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// At the path's end.
    Here,
    /// At the end of a segment.
    AtSegment,
    /// Anywhere.
    AnywhereAfter,
}

/// Compares a literal pattern with a template, segment by segment.
fn unify(pattern: &str, template: &str, ending: Ending) -> Reach {
    let (pattern, template): (Vec<&str>, Vec<&str>) =
        (pattern.split('/').collect(), template.split('/').collect());
    if pattern.len() > template.len() || (ending == Ending::Here && pattern.len() < template.len()) {
        return Reach::Never;
    }
    let last = pattern.len() - 1;
    let pairs = pattern.iter().zip(&template).enumerate();
    let reaches = pairs.map(|(index, (part, segment))| {
        let is_open = index == last && ending == Ending::AnywhereAfter;
        match segment.starts_with('{') {
            _ if is_open && part.is_empty() => Reach::Always,
            true if part.is_empty() => Reach::Never,
            true => Reach::Sometimes,
            false if *part == *segment || (is_open && segment.starts_with(part)) => Reach::Always,
            false => Reach::Never,
        }
    });
    reaches.min().unwrap_or(Reach::Sometimes)
}

/// Tries samples: a common id for each placeholder, then what the expression itself has at its place.
fn regex_reach(regex: &Regex, template: &str) -> Reach {
    let own: Vec<&str> = regex.as_str().split('/').collect();
    let sample = |value: &dyn Fn(usize) -> String| {
        let segments = template.split('/').enumerate();
        let segments = segments.map(
            |(index, segment)| {
                if segment.starts_with('{') { value(index) } else { segment.to_owned() }
            },
        );
        segments.collect::<Vec<_>>().join("/")
    };
    if regex.is_match(&sample(&|_| SAMPLE.to_owned())) {
        Reach::Always
    } else if regex.is_match(&sample(&|index| own.get(index).copied().unwrap_or(SAMPLE).to_owned())) {
        Reach::Sometimes
    } else {
        Reach::Never
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    /// How many requests of an operation a `match` takes.
    fn reach_of(matcher: &str, route: &str) -> Reach {
        let catalog = Catalog::published().unwrap();
        let (method, template) = route.split_once(' ').unwrap();
        let mut operations = catalog.operations().iter();
        let operation = operations.find(|it| it.method == method && it.route == template).unwrap();
        Matcher::new(&Node::parse(matcher).unwrap()).reach(operation)
    }

    #[test]
    fn a_match_takes_all_some_or_none_of_an_operation() {
        use Reach::{Always, Never, Sometimes};
        let detail = "GET /v1/{project_id}/cloudservers/detail";
        let cases = [
            ("prefix: /", Always),
            ("prefix: /v1", Always),
            ("prefix: /v1/", Always),
            ("prefix: /v2/", Never),
            ("prefix: /v1/admin/", Sometimes),
            ("prefix: /v1/admin/cloudservers/de", Sometimes),
            ("prefix: /v1/admin/cloudserverz", Never),
            ("prefix: /v1/a/b/c/d", Never),
            ("path_separated_prefix: /v1", Always),
            ("path_separated_prefix: /v", Never),
            ("path: /healthz", Never),
            ("path: /v1/admin/cloudservers/detail", Sometimes),
            ("path: /v1/admin/cloudservers", Never),
            ("{prefix: /V1/, case_sensitive: false}", Sometimes),
            ("safe_regex: {regex: \"/v1/[^/]+/cloudservers/detail\"}", Always),
            ("safe_regex: {regex: \"/v1/[^/]+/cloudservers\"}", Never),
            ("safe_regex: {regex: \"/v1/admin/.*\"}", Sometimes),
            ("safe_regex: {regex: \"(\"}", Sometimes),
            ("{prefix: /, headers: [{name: \":method\", string_match: {exact: GET}}]}", Always),
            ("{prefix: /, headers: [{name: \":method\", string_match: {exact: POST}}]}", Never),
            ("{prefix: /, headers: [{name: x-debug, present_match: true}]}", Sometimes),
            ("{prefix: /, query_parameters: [{name: debug, present_match: true}]}", Sometimes),
            ("{prefix: /, runtime_fraction: {default_value: {numerator: 5}}}", Sometimes),
            ("connect_matcher: {}", Never),
            ("path_match_policy: {name: x}", Sometimes),
        ];
        for (matcher, reach) in cases {
            assert_eq!(reach_of(matcher, detail), reach, "{matcher}");
        }
    }
}
