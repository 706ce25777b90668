//! What the operations touch and what they say of condition keys: `objects.json`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Body;
use super::facts::Seen;
use super::json;

/// What a call says of itself.
#[derive(Debug)]
pub(super) struct Declared {
    /// What it touches, never empty. A call without an object touches a type `*` with a path `*`.
    pub(super) objects: Vec<Object>,
    /// Condition keys.
    pub(super) keys: BTreeMap<String, Seen>,
}

#[derive(Debug)]
pub(super) struct Object {
    pub(super) kind: String,
    /// None if it can't be told.
    pub(super) path: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    placeholders: Vec<Placeholder>,
    members: Vec<Members>,
}

/// A placeholder of a route. Of those that a route has, the first one with a kind is the object.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Placeholder {
    placeholder: String,
    /// The literal that stands before it, if that matters.
    behind: Option<String>,
    kind: Option<String>,
    key: Option<String>,
}

/// The members of an operation's body that tell something.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    routes: Vec<String>,
    /// The body's top-level key, for the operations that are told by it.
    body_key: Option<String>,
    /// The object, if the body names it: its type, and the member with its path.
    kind: Option<String>,
    path: Option<String>,
    keys: BTreeMap<String, String>,
}

/// What the call of an operation says of itself.
pub(super) fn declared(
    method: &str,
    template: &[String],
    body_key: Option<&str>,
    segments: &[&str],
    body: &Body,
) -> Declared {
    let file: File = serde_json::from_str(include_str!("objects.json")).expect("the objects");
    let mut objects = Vec::new();
    let mut keys = BTreeMap::new();
    for Placeholder { placeholder, behind, kind, key } in file.placeholders {
        let found = template.iter().position(|segment| *segment == format!("{{{placeholder}}}"));
        let Some(at) = found.filter(|at| behind.is_none_or(|literal| template[at - 1] == literal)) else {
            continue;
        };
        let value = super::path::decoded(segments[at]);
        if let Some(kind) = kind.filter(|_| objects.is_empty()) {
            objects.push(Object { kind, path: Some(value.clone()) });
        }
        keys.extend(key.map(|key| (key, Seen::Known(vec![value]))));
    }
    let route = format!("{method} /{}", template.join("/"));
    let members = file
        .members
        .into_iter()
        .filter(|entry| entry.routes.contains(&route) && entry.body_key.as_deref() == body_key);
    for Members { kind, path, keys: members, .. } in members {
        if let (Some(kind), Some(path)) = (kind, path) {
            let paths = match json::member(body, &path) {
                Seen::Known(paths) => paths.into_iter().map(Some).collect(),
                Seen::Absent | Seen::Unknown => vec![None],
            };
            objects.extend(paths.into_iter().map(|path| Object { kind: kind.clone(), path }));
        }
        keys.extend(members.into_iter().map(|(key, path)| (key, json::member(body, &path))));
    }
    if objects.is_empty() {
        objects.push(Object { kind: "*".to_owned(), path: Some("*".to_owned()) });
    }
    Declared { objects, keys }
}
