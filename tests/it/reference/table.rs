//! The published tables as rows, searched from top to bottom (design.md, section 2).

use std::collections::BTreeSet;

use serde::Deserialize;

use super::object::{self, Declared};
use super::{Body, body, path};

/// The operation that a call is.
#[derive(Debug)]
pub(super) struct Operation {
    /// All of them are needed. Never empty.
    pub(super) actions: Vec<String>,
    pub(super) dependencies: Vec<String>,
    /// The tenant in the path.
    pub(super) project: Option<String>,
    /// What it touches, and what it says of condition keys.
    pub(super) declared: Declared,
}

/// A row of `operations.json`; what is not used here is left out.
#[derive(Debug, Clone, Deserialize)]
struct Row {
    routes: Vec<String>,
    actions: Vec<String>,
    dependencies: Vec<String>,
    #[serde(default)]
    body: Vec<Selector>,
}

/// What the documents say of a row's body.
#[derive(Debug, Clone, Deserialize)]
struct Selector {
    kind: String,
    key: String,
    value: Option<String>,
}

/// A row that a call could be, by one of its routes.
struct Candidate {
    row: Row,
    template: Vec<String>,
}

/// Finds the operation of a call, or the reason why it is none.
pub(super) fn resolve(method: &str, target: &str, body: &Body) -> Result<Operation, &'static str> {
    let segments = path::segments(target).ok_or("NON_CANONICAL_PATH")?;
    let mut candidates = best(method, &segments);
    // `7.json` is an id to some routers, and 7 as JSON to others.
    let has_format = segments.last().is_some_and(|last| last.ends_with(".json") || last.ends_with(".xml"));
    if candidates.is_empty() || has_format {
        return Err("UNKNOWN_OPERATION");
    }
    // The body is looked at only where several operations share method and path.
    let is_told_by_body = candidates.iter().any(|candidate| candidate.row.key().is_some());
    if is_told_by_body {
        let key = body::sole_key(body)?;
        candidates.retain(|candidate| candidate.row.key() == Some(&key));
    }
    assert!(candidates.len() < 2, "two rows are one operation: {method} {target}");
    let Candidate { row, template } = candidates.pop().ok_or("BODY_KEY_UNKNOWN")?;
    // `{project_id}` can stand twice: the first is the tenant.
    let project = template.iter().position(|segment| segment == "{project_id}");
    Ok(Operation {
        declared: object::declared(method, &template, row.key().map(String::as_str), &segments, body),
        dependencies: row.dependencies_with(body),
        actions: row.actions,
        project: project.map(|index| segments[index].to_owned()),
    })
}

/// The rows on the most specific template: a literal beats a placeholder, segment by segment from the left.
fn best(method: &str, segments: &[&str]) -> Vec<Candidate> {
    let mut candidates = candidates(method, segments);
    let best = candidates.iter().map(Candidate::literals).max();
    candidates.retain(|candidate| Some(candidate.literals()) == best);
    candidates
}

fn candidates(method: &str, segments: &[&str]) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for row in rows() {
        for route in row.routes.clone() {
            let (route_method, template) = route.split_once(' ').expect("a method and a template");
            let template: Vec<String> = template[1..].split('/').map(ToOwned::to_owned).collect();
            let is_match = template.len() == segments.len()
                && template.iter().zip(segments).all(|(t, segment)| is_placeholder(t) || t == segment);
            // `HEAD` is not `GET`, and `get` is not either.
            if route_method == method && is_match {
                candidates.push(Candidate { template, row: row.clone() });
            }
        }
    }
    candidates
}

fn is_placeholder(segment: &str) -> bool {
    segment.starts_with('{')
}

impl Candidate {
    /// For each segment whether it is a literal. Of two templates that match one path, the greater is the more
    /// specific one, from the left.
    fn literals(&self) -> Vec<bool> {
        self.template.iter().map(|segment| !is_placeholder(segment)).collect()
    }
}

impl Row {
    /// The top-level key of the body that tells this row from others.
    fn key(&self) -> Option<&String> {
        let selector = self.body.iter().find(|selector| selector.kind == "top_level_key")?;
        Some(&selector.key)
    }

    /// The dependencies, without the variants that the body rules out. (A new EIP or an existing one.)
    fn dependencies_with(&self, body: &Body) -> Vec<String> {
        let mut dependencies = self.dependencies.clone();
        for selector in self.body.iter().filter(|selector| selector.kind == "nested_key") {
            let value = selector.value.as_deref().unwrap_or_default();
            let dependency = value.strip_prefix("present -> dependency ").expect("a dependency");
            if !body::may_have(body, &selector.key) {
                dependencies.retain(|name| name != dependency);
            }
        }
        dependencies
    }
}

/// The types of objects that an action is done to, by the rows that need it; none for a row without an object.
pub(super) fn kinds_of(action: &str) -> BTreeSet<Option<String>> {
    let rows = rows().into_iter().filter(|row| row.actions.iter().any(|needed| needed == action));
    rows.map(|row| object::kind_of(&row.routes, row.key().map(String::as_str))).collect()
}

/// The published rows with the repairs that `operations.json` does not have yet.
fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> =
        serde_json::from_str(include_str!("../published/operations.json")).expect("the published rows");
    for row in &mut rows {
        // Listed for v2.1 twice; its API page documents v2 and v2.1.
        if row.key().is_some_and(|key| key == "resize") {
            row.routes.push("POST /v2/{project_id}/servers/{server_id}/action".to_owned());
        }
        // The row with two actions needs both. Its API page names showServerBlockDevice, so that is the first.
        if row.actions.len() == 2 {
            row.actions.sort_by_key(|action| action != "ecs:cloudServers:showServerBlockDevice");
        }
    }
    rows
}
