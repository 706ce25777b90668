//! The values of a body's member.

use super::Body;
use super::body;
use super::facts::Seen;

/// The most values that are read.
const MAX_VALUES: usize = 256;

/// The values of the member at a path joined by dots.
pub(super) fn member(body: &Body, path: &str) -> Seen {
    let names: Vec<&str> = path.split('.').collect();
    match body {
        Body::None | Body::Encoded => Seen::Unknown,
        Body::Content { truncated: true, .. } | Body::Summary { truncated: true, .. } => Seen::Unknown,
        Body::Summary { keys, attributes, .. } => {
            // Twice, or in two letter cases: readers of the body may differ.
            let tops = keys.iter().filter(|key| key.eq_ignore_ascii_case(names[0])).count();
            let alike = attributes.keys().filter(|name| name.eq_ignore_ascii_case(path)).count();
            if tops > 1 || alike > 1 {
                return Seen::Unknown;
            }
            if let Some(values) = attributes.get(path) {
                return Seen::of(values.clone());
            }
            let attributes: Vec<Vec<&str>> =
                attributes.keys().map(|name| name.split('.').collect()).collect();
            let (last, parent) = names.split_last().expect("a path has a name");
            let names_beside = attributes.iter().any(|attribute| {
                attribute.len() > parent.len()
                    && attribute.starts_with(parent)
                    && attribute[parent.len()] != *last
            });
            // Something in the member: it is an object there, which has no value.
            let names_inside = attributes
                .iter()
                .any(|attribute| attribute.len() > names.len() && attribute.starts_with(&names));
            let is_led_to = attributes.iter().any(|attribute| attribute[0] == names[0]);
            let leads_elsewhere = !keys.is_empty() && !keys.iter().any(|key| key == names[0]) && !is_led_to;
            // Some readers fold letter case.
            let names_alike =
                attributes.iter().any(|attribute| attribute.join(".").eq_ignore_ascii_case(path));
            if !names_inside && !names_alike && (names_beside || leads_elsewhere) {
                Seen::Absent
            } else {
                Seen::Unknown
            }
        }
        Body::Content { bytes, .. } => {
            // It must be one JSON object, by the rules for all bodies.
            if body::members(bytes).is_err() {
                return Seen::Unknown;
            }
            let mut rest = std::str::from_utf8(bytes).expect("JSON is UTF-8");
            let json = read(&mut rest);
            let mut values = Vec::new();
            match follow(&json, &names, &mut values) {
                Some(()) if values.len() <= MAX_VALUES => Seen::of(values),
                _ => Seen::Unknown,
            }
        }
    }
}

/// Whether something may stand at a path. A summary says what it has seen.
pub(super) fn may_have(body: &Body, path: &str) -> bool {
    match body {
        Body::Summary { attributes, truncated: false, .. } => {
            let path = path.to_lowercase();
            let names = attributes.keys().map(|name| name.to_lowercase());
            names.into_iter().any(|name| name == path || name.starts_with(&format!("{path}.")))
        }
        _ => body::may_have(body, path),
    }
}

/// Gathers the values at a path. None if it can't be told what they are.
fn follow(json: &Json, names: &[&str], values: &mut Vec<String>) -> Option<()> {
    match (json, names.split_first()) {
        // `null` is as good as missing, wherever it stands.
        (Json::Null, _) => Some(()),
        // An item that tells nothing names its object in another way.
        (Json::Array(items), _) => items.iter().try_for_each(|item| {
            let before = values.len();
            follow(item, names, values)?;
            (values.len() > before).then_some(())
        }),
        (Json::Scalar(text), None) if text.len() > 256 => None,
        (Json::Scalar(text), None) => {
            values.push(text.clone());
            Some(())
        }
        (Json::Object(members), Some((name, below))) => {
            // Some readers fold letter case.
            if members.iter().any(|(key, _)| key != name && key.eq_ignore_ascii_case(name)) {
                return None;
            }
            let found: Vec<&Json> =
                members.iter().filter(|(key, _)| key == name).map(|(_, value)| value).collect();
            match found.as_slice() {
                [] => Some(()),
                [value] => follow(value, below, values),
                // One reader takes the first, another one the last.
                _ => None,
            }
        }
        // An object where a value is expected, or a value where an object is.
        (Json::Object(_), None) | (Json::Scalar(_), Some(_)) => None,
    }
}

/// JSON that keeps repeated members, and numbers as they are written.
enum Json {
    Null,
    /// Text, decoded; a number, as written; `true` or `false`.
    Scalar(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Reads a value from the start of a text that is known to be JSON, and cuts it off.
fn read(rest: &mut &str) -> Json {
    skip_space(rest);
    match rest.as_bytes()[0] {
        b'{' => {
            let mut members = Vec::new();
            while !is_closed(rest, '}') {
                let key = string(rest);
                skip_space(rest);
                *rest = rest.strip_prefix(':').expect("a colon");
                members.push((key, read(rest)));
            }
            Json::Object(members)
        }
        b'[' => {
            let mut items = Vec::new();
            while !is_closed(rest, ']') {
                items.push(read(rest));
            }
            Json::Array(items)
        }
        b'"' => Json::Scalar(string(rest)),
        _ => {
            let end = rest.find(|c: char| ",]} \t\r\n".contains(c)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            *rest = after;
            if word == "null" { Json::Null } else { Json::Scalar(word.to_owned()) }
        }
    }
}

/// Cuts off what stands before the next item, or the end of the items.
fn is_closed(rest: &mut &str, close: char) -> bool {
    // The opening bracket or the comma; there is none of both before the end of items that are there.
    skip_space(rest);
    if let Some(after) = rest.strip_prefix(['{', '[', ',']) {
        *rest = after;
        skip_space(rest);
    }
    match rest.strip_prefix(close) {
        Some(after) => {
            *rest = after;
            true
        }
        None => false,
    }
}

fn string(rest: &mut &str) -> String {
    let mut is_escaped = false;
    let end = rest[1..].find(|c: char| {
        let is_end = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_end
    });
    let (text, after) = rest.split_at(end.expect("a closing quote") + 2);
    *rest = after;
    serde_json::from_str(text).expect("a JSON string")
}

fn skip_space(rest: &mut &str) {
    *rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
}
