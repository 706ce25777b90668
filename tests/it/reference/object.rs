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
    /// Condition keys that it decides without saying how.
    pub(super) untold: Vec<String>,
    /// Whether it makes what it touches.
    pub(super) makes: bool,
    /// What the body says of the enterprise project that the call goes to; nothing if it has no word for it.
    pub(super) enterprise_project: Option<Seen>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    /// None if it can't be told.
    pub(super) kind: Option<String>,
    /// None if it can't be told.
    pub(super) path: Option<String>,
}

impl Object {
    /// What a call touches that names none.
    pub(super) fn none() -> Self {
        Self { kind: Some("*".to_owned()), path: Some("*".to_owned()) }
    }
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
    /// By key: members that can say something else of it.
    #[serde(default)]
    doubts: BTreeMap<String, Vec<String>>,
    /// Keys that a body may do without. For the others, the API finds a value.
    #[serde(default)]
    optional: Vec<String>,
    /// Keys that the call decides without saying how.
    #[serde(default)]
    untold: Vec<String>,
    /// The type of the object that the call makes.
    makes: Option<String>,
    /// The member that names the enterprise project of what is made.
    enterprise_project: Option<String>,
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
        let seen = certain(Seen::Known(vec![super::path::decoded(segments[at])]));
        if kind.is_some() && objects.is_empty() {
            objects.extend(paths(&seen).into_iter().map(|path| Object { kind: kind.clone(), path }));
        }
        keys.extend(key.map(|key| (key, seen)));
    }
    let route = format!("{method} /{}", template.join("/"));
    let members = file
        .members
        .into_iter()
        .filter(|entry| entry.routes.contains(&route) && entry.body_key.as_deref() == body_key);
    let mut untold = Vec::new();
    let mut makes = false;
    let mut enterprise_project = None;
    for mut entry in members {
        if let (Some(_), Some(path)) = (&entry.kind, &entry.path) {
            let seen = match certain(json::member(body, path)) {
                Seen::Known(values) if values.contains(&String::new()) => Seen::Unknown,
                seen => seen,
            };
            let paths = paths(&seen);
            objects.extend(paths.into_iter().map(|path| Object { kind: entry.kind.clone(), path }));
        }
        if entry.makes.is_some() {
            makes = true;
            objects.push(Object { kind: entry.makes.take(), path: Some("*".to_owned()) });
        }
        for (key, path) in &entry.keys {
            let is_doubtful = entry
                .doubts
                .get(key)
                .is_some_and(|paths| paths.iter().any(|path| json::may_have(body, path)));
            let seen = match certain(json::member(body, path)) {
                _ if is_doubtful => Seen::Unknown,
                seen if NAMES.contains(&key.as_str()) && has_no_plain_name(&seen) => Seen::Unknown,
                Seen::Absent if !entry.optional.contains(key) => Seen::Unknown,
                Seen::Known(values) if !entry.optional.contains(key) && values.contains(&String::new()) => {
                    Seen::Unknown
                }
                seen => seen,
            };
            keys.insert(key.clone(), seen);
        }
        untold.extend(entry.untold);
        enterprise_project = entry.enterprise_project.map(|path| json::member(body, &path));
    }
    if objects.is_empty() {
        objects.push(Object::none());
    }
    Declared { objects, keys, untold, makes, enterprise_project }
}

fn paths(seen: &Seen) -> Vec<Option<String>> {
    match seen {
        Seen::Known(values) => values.iter().cloned().map(Some).collect(),
        Seen::Absent | Seen::Unknown => vec![None],
    }
}

/// What is said in a way that can be read otherwise is not known.
fn certain(seen: Seen) -> Seen {
    match seen {
        Seen::Known(values) if values.iter().any(|value| is_ambiguous(value)) => Seen::Unknown,
        seen => seen,
    }
}

/// Keys whose values the API takes out of a URL, or out of `zone:host`.
const NAMES: [&str; 3] = ["ecs:AvailabilityZone", "ecs:FlavorId", "ecs:imageID"];

fn has_no_plain_name(seen: &Seen) -> bool {
    matches!(seen, Seen::Known(values) if values.iter().any(|value| {
        value.contains(['/', '?', '#', ':']) || value.chars().any(char::is_uppercase)
    }))
}

/// Space around it, or a UUID that is not written as UUIDs are.
fn is_ambiguous(value: &str) -> bool {
    let digits: String = value.chars().filter(|c| !"{}-".contains(*c)).collect();
    let is_uuid = digits.len() == 32 && digits.chars().all(|c| c.is_ascii_hexdigit());
    let canonical = {
        let digits = digits.to_lowercase();
        let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default().to_owned();
        [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
    };
    let is_canonical = value == canonical || value == digits.to_lowercase();
    let hidden = ['\u{200b}', '\u{200c}', '\u{200d}', '\u{200e}', '\u{200f}', '\u{feff}'];
    let has_hidden = value.chars().any(|c| c.is_control() || hidden.contains(&c));
    value.trim() != value || has_hidden || (is_uuid && !is_canonical)
}

/// What an action is done to wherever a call needs it, as rows say it.
pub(super) fn kind_of(routes: &[String], body_key: Option<&str>) -> Option<String> {
    let file: File = serde_json::from_str(include_str!("objects.json")).expect("the objects");
    let (_, template) = routes[0].split_once(' ').expect("a method and a template");
    let segments: Vec<&str> = template.split('/').collect();
    let by_path = file.placeholders.into_iter().find(|entry| {
        let at = segments.iter().position(|segment| *segment == format!("{{{}}}", entry.placeholder));
        entry.kind.is_some()
            && at.is_some_and(|at| entry.behind.as_ref().is_none_or(|literal| segments[at - 1] == literal))
    });
    let by_body = || {
        let mut members = file.members.into_iter();
        members.find(|entry| entry.routes.contains(&routes[0]) && entry.body_key.as_deref() == body_key)
    };
    by_path.and_then(|entry| entry.kind).or_else(|| by_body().and_then(|entry| entry.kind.or(entry.makes)))
}
