//! What a body says: its one key, and whether it has a member (design.md, section 2, "Body selectors").

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::Body;

/// The one top-level key, or the reason why there is none to tell.
pub(super) fn sole_key(body: &Body) -> Result<String, &'static str> {
    let keys = match body {
        Body::None => return Err("BODY_REQUIRED"),
        Body::Encoded => return Err("BODY_ENCODED"),
        Body::Content { truncated: true, .. } | Body::Summary { truncated: true, .. } => {
            return Err("BODY_TRUNCATED");
        }
        Body::Summary { keys, .. } => keys.clone(),
        Body::Content { bytes, .. } => members(bytes)?.into_iter().map(|(key, _)| key).collect(),
    };
    // A duplicate key counts each time.
    match keys.as_slice() {
        [key] => Ok(key.clone()),
        _ => Err("BODY_KEY_COUNT"),
    }
}

/// Whether a call with this body may have the member. What is not known may be so.
pub(super) fn may_have(body: &Body, path: &str) -> bool {
    match body {
        Body::None | Body::Encoded => true,
        Body::Content { truncated: true, .. } | Body::Summary { truncated: true, .. } => true,
        Body::Content { bytes, .. } => match members(bytes) {
            Ok(members) => Json::Object(members).has(path),
            Err(_) => true,
        },
        Body::Summary { keys, attributes, .. } => summary_may_have(keys, attributes, path),
    }
}

/// A summary says that a member is missing in two ways only: it names something beside it (of the same parent), or
/// it lists top-level keys, and nothing in it leads there. Otherwise it may just have left the member out.
fn summary_may_have(keys: &[String], attributes: &BTreeMap<String, Vec<String>>, path: &str) -> bool {
    let names =
        |path: &str| attributes.keys().any(|name| name == path || name.starts_with(&format!("{path}.")));
    if names(path) {
        return true;
    }
    let top = path.split('.').next().unwrap_or_default();
    let names_beside = path.rsplit_once('.').is_some_and(|(parent, _)| names(parent));
    let leads_elsewhere = !keys.is_empty() && !keys.iter().any(|key| key == top) && !names(top);
    !names_beside && !leads_elsewhere
}

/// The members of a text that is one JSON object, strictly read.
pub(super) fn members(bytes: &[u8]) -> Result<Vec<(String, Json)>, &'static str> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // It ends in the middle of a character.
        Err(error) if error.error_len().is_none() => return Err("BODY_TRUNCATED"),
        Err(_) => return Err("BODY_NOT_AN_OBJECT"),
    };
    let trimmed = text.trim_matches([' ', '\t', '\n', '\r']);
    if trimmed.is_empty() {
        return Err("BODY_REQUIRED");
    }
    // What starts as something else is no object, however it goes on.
    if !trimmed.starts_with('{') {
        return Err("BODY_NOT_AN_OBJECT");
    }
    match serde_json::from_str(text) {
        Ok(Json::Object(members)) => Ok(members),
        Err(error) if error.is_eof() => Err("BODY_TRUNCATED"),
        // serde_json also refuses what nests deeper than 128 levels, and numbers beyond a double.
        _ => Err("BODY_NOT_AN_OBJECT"),
    }
}

/// JSON that keeps every member of an object, also one that is repeated. What is neither object nor list is not
/// kept.
#[derive(Debug)]
pub(super) enum Json {
    Object(Vec<(String, Json)>),
    List(Vec<Json>),
    Other,
}

impl Json {
    /// Whether some reading of the value has the member at a path joined by dots.
    fn has(&self, path: &str) -> bool {
        let members = match self {
            Json::Object(members) => members,
            Json::List(items) => return items.iter().any(|item| item.has(path)),
            Json::Other => return false,
        };
        let (name, below) = match path.split_once('.') {
            Some((name, below)) => (name, Some(below)),
            None => (path, None),
        };
        members
            .iter()
            // Some readers fold letter case.
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .any(|(_, value)| below.is_none_or(|below| value.has(below)))
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = entries.next_entry()? {
            members.push(member);
        }
        Ok(Json::Object(members))
    }
}
