//! Which headers of clients are removed before anybody reads them.

use super::{Findings, Rule};
use crate::envoy::document::Node;
use crate::request::OVERRIDE_HEADERS;

/// Headers that only we set, or Envoy. `x-auth-token` is the client's own.
const OURS: [&str; 4] =
    ["x-auth-decision-id", "x-auth-action", "x-envoy-auth-partial-body", "x-envoy-auth-failure-mode-allowed"];
/// Headers of proxies, by which some servers replace method or path.
const OF_PROXIES: [&str; 4] =
    ["x-forwarded-method", "x-forwarded-path", "x-forwarded-prefix", "x-forwarded-uri"];

/// All headers that may not come from a client.
fn forged() -> impl Iterator<Item = &'static str> {
    OURS.into_iter().chain(OVERRIDE_HEADERS).chain(OF_PROXIES)
}

/// Checks that each is removed early, or by a filter before the question.
pub(super) fn check(manager: &Node, filters_before: &[Node], findings: &mut Findings) {
    let early =
        manager.list("early_header_mutation_extensions").iter().filter_map(|it| it.get("typed_config"));
    let early = early.flat_map(|config| config.message().list("mutations"));
    let is_on = |filter: &&Node| filter.get("disabled").is_none_or(|it| it.truth() == Some(false));
    let by_filter = filters_before.iter().filter(is_on).filter_map(|filter| filter.get("typed_config"));
    let by_filter =
        by_filter.filter(|config| config.type_name().is_some_and(|name| name.contains(".header_mutation.")));
    let by_filter = by_filter.filter_map(|config| config.message().at("mutations.request_mutations"));
    let mutations: Vec<&Node> = early.chain(by_filter.flat_map(Node::items)).collect();
    let left: Vec<&str> =
        forged().filter(|name| !mutations.iter().any(|mutation| removes(mutation, name))).collect();
    if !left.is_empty() {
        let extensions = manager.get("early_header_mutation_extensions");
        findings.add(
            Rule::ForgedHeaders,
            extensions.map_or(manager.line, |extensions| extensions.line),
            format!(
                "expected `early_header_mutation_extensions` to remove {} (request_headers_to_remove of a route comes \
                 after the question)",
                left.join(", ")
            ),
        );
    }
}

/// Checks what a route, virtual host or cluster adds after the question.
pub(super) fn check_added(node: &Node, findings: &mut Findings) {
    let keys = node.list("request_headers_to_add").iter().filter_map(|it| it.at("header.key"));
    for key in keys {
        if let Some(name) = forged().find(|name| key.text().is_some_and(|key| key.eq_ignore_ascii_case(name)))
        {
            let message =
                format!("expected no `{name}` to be added: it comes after the decision and is not ours");
            findings.add(Rule::ForgedHeaders, key.line, message);
        }
    }
}

fn removes(mutation: &Node, name: &str) -> bool {
    if mutation.text_of("remove").is_some_and(|removed| removed.eq_ignore_ascii_case(name)) {
        return true;
    }
    let Some(matcher) = mutation.at("remove_on_match.key_matcher") else { return false };
    // Names are in lower case by then, so another pattern matches none.
    let folds_case = matcher.get("ignore_case").and_then(Node::truth) == Some(true);
    let fold = |text: &str| if folds_case { text.to_ascii_lowercase() } else { text.to_owned() };
    let text = |kind| matcher.text_of(kind).map(fold);
    text("exact").is_some_and(|exact| exact == name)
        || text("prefix").is_some_and(|prefix| name.starts_with(&prefix))
}
