//! What a call touches, and the `Resource` of a statement: five parts, `service:region:account:type:path`.

use serde_json::Value;

use super::told::Told;

/// Something that an action touches. What is not known is none.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) service: String,
    pub(super) region: Option<String>,
    pub(super) account: String,
    pub(super) kind: Option<String>,
    pub(super) path: Option<String>,
}

/// Whether a statement's `Resource` covers what is touched.
pub(super) fn told(listed: &Value, touched: &Resource) -> Told {
    // `{"uri": […]}` is about agencies.
    let Some(patterns) = listed.as_array() else { return Told::NotMet };
    let told: Vec<Told> =
        patterns.iter().map(|pattern| covers(pattern.as_str().expect("a pattern"), touched)).collect();
    if told.contains(&Told::Met) {
        Told::Met
    } else if told.contains(&Told::Unclear) {
        Told::Unclear
    } else {
        Told::NotMet
    }
}

fn covers(pattern: &str, touched: &Resource) -> Told {
    if pattern == "*" {
        return Told::Met;
    }
    // The path may have colons of its own.
    let patterns: Vec<&str> = pattern.splitn(5, ':').collect();
    assert_eq!(patterns.len(), 5, "a resource has five parts: {pattern}");
    let Resource { service, region, account, kind, path } = touched;
    let parts = [Some(service), region.as_ref(), Some(account), kind.as_ref(), path.as_ref()];
    let pairs = || patterns.iter().zip(parts);
    if pairs().any(|(pattern, part)| part.is_some_and(|part| !glob(pattern, part))) {
        Told::NotMet
    } else if pairs().any(|(pattern, part)| part.is_none() && *pattern != "*") {
        Told::Unclear
    } else {
        Told::Met
    }
}

/// `*` stands for any text, also for none.
fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => {
            let rest = text.strip_prefix(before);
            rest.is_some_and(|rest| {
                let cuts = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
                cuts.into_iter().any(|at| glob(after, &rest[at..]))
            })
        }
    }
}
