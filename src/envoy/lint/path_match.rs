//! Which operations a route of Envoy takes.
//!
//! An operation is many requests: its placeholders stand for anything, and a client chooses its headers. So a route takes
//! all of them, some or none. In doubt it is some.

use std::collections::BTreeSet;

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::primitives::StateID;
use regex_automata::util::{start, syntax};
use regex_automata::{Anchored, MatchKind};

use crate::catalog::Operation;
use crate::envoy::document::Node;

/// How many of an operation's requests match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    Never,
    Sometimes,
    /// Those whose placeholders stand for common ids.
    Usually,
    Always,
}

/// Ids as the API makes them.
const COMMON_IDS: [&str; 2] = ["01234567-89ab-cdef-0123-456789abcdef", "0123456789abcdef0123456789abcdef"];

/// A route's `match`.
#[derive(Debug)]
pub(super) struct Matcher<'a> {
    node: &'a Node,
    /// Compiled once: it is tried on every operation.
    regex: Option<PathRegex>,
}

impl<'a> Matcher<'a> {
    pub(super) fn new(node: &'a Node) -> Self {
        // One that can't be compiled here takes some, as others that are not understood.
        let regex = node.at("safe_regex.regex").and_then(Node::text);
        Self { node, regex: regex.and_then(PathRegex::new) }
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
        // What is in a tunnel is not asked about either.
        self.node.get("connect_matcher").is_some()
            || self.has_other_conditions()
            || !self.node.list("headers").iter().all(is_method)
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
            (None, None, None) => self.regex.as_ref().map_or(Reach::Sometimes, |regex| regex.reach(template)),
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
    let folds_case = header.at("string_match.ignore_case").is_some();
    let is_plain =
        !folds_case && header.get("invert_match").is_none() && header.text_of("name") == Some(":method");
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

/// A regular expression for whole paths, as an automaton: which paths of a template it takes is not guessed by samples.
#[derive(Debug)]
struct PathRegex {
    automaton: dense::DFA<Vec<u32>>,
    start: StateID,
}

/// The most bytes of an automaton. One for paths has some thousand.
const MAX_AUTOMATON: usize = 1 << 17;

impl PathRegex {
    fn new(regex: &str) -> Option<Self> {
        let config = dense::Config::new()
            .start_kind(StartKind::Anchored)
            .match_kind(MatchKind::All)
            .dfa_size_limit(Some(MAX_AUTOMATON))
            .determinize_size_limit(Some(MAX_AUTOMATON));
        let automaton = dense::Builder::new()
            .configure(config)
            .syntax(syntax::Config::new().unicode(false).utf8(false).nest_limit(100))
            .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(MAX_AUTOMATON)))
            .build(&format!("^(?:{regex})$"))
            .ok()?;
        let start = automaton.start_state(&start::Config::new().anchored(Anchored::Yes)).ok()?;
        Some(Self { automaton, start })
    }

    fn reach(&self, template: &str) -> Reach {
        let ends = self.ends(template, |states| self.after_any(states));
        let is_match = |state: &StateID| self.automaton.is_match_state(self.automaton.next_eoi_state(*state));
        let is_usual = || {
            let by_id = |id: &str| self.ends(template, |states| self.after(states, id)).iter().all(is_match);
            COMMON_IDS.into_iter().any(by_id)
        };
        match (ends.iter().any(is_match), ends.iter().all(is_match)) {
            (_, true) => Reach::Always,
            (false, _) => Reach::Never,
            (true, false) if is_usual() => Reach::Usually,
            (true, false) => Reach::Sometimes,
        }
    }

    /// The states after all paths of a template.
    fn ends(&self, template: &str, placeholder: impl Fn(&States) -> States) -> States {
        let mut states = States::from([self.start]);
        for (index, segment) in template.split('/').enumerate() {
            if index > 0 {
                states = self.after(&states, "/");
            }
            states =
                if segment.starts_with('{') { placeholder(&states) } else { self.after(&states, segment) };
        }
        states
    }

    fn after(&self, states: &States, text: &str) -> States {
        let walk =
            |state: &StateID| text.bytes().fold(*state, |state, byte| self.automaton.next_state(state, byte));
        states.iter().map(walk).collect()
    }

    /// After any segment that is not empty.
    fn after_any(&self, states: &States) -> States {
        let mut found = States::new();
        let mut open: Vec<StateID> = states.iter().copied().collect();
        while let Some(state) = open.pop() {
            let in_segment = (b'!'..=b'~').filter(|byte| !b"/?#".contains(byte));
            let next = in_segment.map(|byte| self.automaton.next_state(state, byte));
            open.extend(next.filter(|state| found.insert(*state)));
        }
        found
    }
}

type States = BTreeSet<StateID>;

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
        use Reach::{Always, Never, Sometimes, Usually};
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
            ("safe_regex: {regex: \"/v1/(admin|root)/cloudservers/detail\"}", Sometimes),
            ("safe_regex: {regex: \"/v1/(x/cloud|y/z)servers/detail\"}", Sometimes),
            ("safe_regex: {regex: \"/v1/[0-9a-f]{32}/.*\"}", Usually),
            ("safe_regex: {regex: \"/v1/[0-9a-f-]+/cloud[^/]+/detail\"}", Usually),
            ("safe_regex: {regex: \"/v1/\\\\w+/cloudservers/detail\"}", Usually),
            ("safe_regex: {regex: \"(?i)/V1/.*\"}", Always),
            ("safe_regex: {regex: \"/v1/[0-9a-f]{32}\"}", Never),
            ("safe_regex: {regex: \"/static/.*\"}", Never),
            ("safe_regex: {regex: \"[a-z]{1000}{1000}\"}", Sometimes),
            ("safe_regex: {regex: \"(\"}", Sometimes),
            ("{prefix: /, headers: [{name: \":method\", string_match: {exact: GET}}]}", Always),
            ("{prefix: /, headers: [{name: \":method\", string_match: {exact: POST}}]}", Never),
            (
                "{prefix: /, headers: [{name: \":method\", string_match: {exact: get, ignore_case: true}}]}",
                Sometimes,
            ),
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
