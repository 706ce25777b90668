//! What holds of every body. The input is its content; another reader, of another make, reads it too.

use std::collections::BTreeMap;
use std::fmt;

use ecs_authz::catalog::json_reader::{JsonFault, MAX_DEPTH};
use ecs_authz::catalog::{Body, BodyFault, BodySummary, Presence, Seen};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

pub(crate) fn holds(input: &[u8]) {
    let body = Body::Content { bytes: input.to_vec(), truncated: false };
    let tree: Result<Tree, _> = serde_json::from_slice(input);
    match &tree {
        Ok(Tree::Object(members)) if depth(input) <= MAX_DEPTH => {
            what_is_read_is_what_another_reads(&body, members);
            a_summary_never_says_otherwise(&body, members);
        }
        // Too large for a float, and a number all the same.
        Err(error) if error.to_string().starts_with("number out of range") => {}
        _ => what_another_refuses_tells_nothing(&body),
    }
    if body.sole_key().is_ok() {
        what_is_cut_or_added_is_seen(input);
    }
    what_is_said_to_be_cut_tells_nothing(input);
}

/// JSON with every member, in its order, and scalars as the other reader has them.
#[derive(Debug)]
enum Tree {
    Scalar(Value),
    Array(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Tree::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Tree, A::Error> {
        let mut object = Vec::new();
        while let Some(member) = members.next_entry()? {
            object.push(member);
        }
        Ok(Tree::Object(object))
    }
}

/// How deep the brackets outside strings are.
fn depth(input: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in input {
        match byte {
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
        in_string ^= *byte == b'"' && !escaped;
        escaped = in_string && *byte == b'\\' && !escaped;
    }
    deepest
}

/// The members that are asked for: those that operations ask for, and some that the body has.
fn paths(members: &[(String, Tree)]) -> Vec<String> {
    let known = ["a", "a.b", "server.publicip.eip", "server.flavorRef", "servers.id", "os-start", ""];
    let mut paths: Vec<String> = known.map(String::from).to_vec();
    gather(members, "", &mut paths);
    paths.truncate(32);
    paths
}

fn gather(members: &[(String, Tree)], above: &str, paths: &mut Vec<String>) {
    for (name, tree) in members.iter().filter(|(name, _)| !name.contains('.')).take(8) {
        let path = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
        let inner = match tree {
            Tree::Array(items) => items.first().unwrap_or(tree),
            other => other,
        };
        if let Tree::Object(members) = inner {
            gather(members, &path, paths);
        }
        paths.push(path);
    }
}

fn what_is_read_is_what_another_reads(body: &Body, members: &[(String, Tree)]) {
    let key = body.sole_key();
    match members {
        [(only, _)] => assert_eq!(key.as_deref(), Ok(only.as_str())),
        several => assert_eq!(key, Err(BodyFault::KeyCount(several.len()))),
    }
    for path in paths(members) {
        let names: Vec<&str> = path.split('.').collect();
        let expected = if has(members, &names) { Presence::Present } else { Presence::Absent };
        assert_eq!(body.has_member(&path), expected, "{path}");
        let mut found = Found::default();
        found.in_object(members, &names);
        let Found { scalars, is_ambiguous } = found;
        let seen = body.member(&path);
        assert!(!is_ambiguous || seen == Seen::Unknown, "{path}: {seen:?}");
        match seen {
            Seen::Unknown => {}
            Seen::Absent => assert!(scalars.is_empty(), "{path}: {scalars:?}"),
            Seen::Values(values) => {
                assert_eq!(values.len(), scalars.len(), "{path}");
                let same = |(text, scalar): (_, &&Value)| is_text_of(text, scalar);
                assert!(values.iter().map(AsRef::as_ref).zip(&scalars).all(same), "{path}: {values:?}");
            }
        }
    }
}

/// Whether some reading of an object has the member, through objects and the items of arrays. Some readers fold letter
/// case.
fn has(members: &[(String, Tree)], names: &[&str]) -> bool {
    let Some((name, rest)) = names.split_first() else { return true };
    let alike = members.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
    alike.into_iter().any(|(_, tree)| rest.is_empty() || leads_to(tree, rest))
}

fn leads_to(tree: &Tree, names: &[&str]) -> bool {
    match tree {
        Tree::Object(members) => has(members, names),
        Tree::Array(items) => items.iter().any(|item| leads_to(item, names)),
        Tree::Scalar(_) => false,
    }
}

/// What the names lead to, through objects and the items of arrays.
#[derive(Default)]
struct Found<'t> {
    /// Every value but `null`.
    scalars: Vec<&'t Value>,
    /// Whether an object on the way has a name twice, to readers that fold letter case.
    is_ambiguous: bool,
}

impl<'t> Found<'t> {
    fn in_object(&mut self, members: &'t [(String, Tree)], names: &[&str]) {
        let Some((name, rest)) = names.split_first() else { return };
        let alike = members.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        self.is_ambiguous |= alike.count() > 1;
        for (_, tree) in members.iter().filter(|(other, _)| other == name) {
            self.in_value(tree, rest);
        }
    }

    fn in_value(&mut self, tree: &'t Tree, names: &[&str]) {
        match tree {
            Tree::Scalar(Value::Null) => {}
            Tree::Scalar(value) if names.is_empty() => self.scalars.push(value),
            Tree::Scalar(_) => {}
            Tree::Array(items) => items.iter().for_each(|item| self.in_value(item, names)),
            Tree::Object(members) => self.in_object(members, names),
        }
    }
}

/// A string is its own text; of numbers, as many texts as there are ways to write one.
fn is_text_of(text: &str, scalar: &Value) -> bool {
    match scalar {
        Value::String(string) => text == string,
        other => serde_json::from_str::<Value>(text).is_ok_and(|read| read == *other),
    }
}

fn what_another_refuses_tells_nothing(body: &Body) {
    let fault = body.sole_key().expect_err("a key of what is no object");
    assert!(!matches!(fault, BodyFault::KeyCount(_) | BodyFault::Encoded), "{fault}");
    for path in ["a", "a.b", "server.publicip.eip"] {
        assert_eq!(body.has_member(path), Presence::Unknown, "{path}");
        assert_eq!(body.member(path), Seen::Unknown, "{path}");
    }
}

/// A summary of all that the content tells may leave a question open, and answers no other way.
fn a_summary_never_says_otherwise(body: &Body, members: &[(String, Tree)]) {
    let mut attributes = BTreeMap::new();
    if !sum_up(body, members, "", &mut attributes) {
        return;
    }
    let top_level_keys = members.iter().map(|(name, _)| name.clone()).collect();
    let summary = Body::Summary(BodySummary { top_level_keys, attributes, truncated: false });
    assert_eq!(summary.sole_key(), body.sole_key());
    for path in paths(members) {
        match (body.member(&path), summary.member(&path)) {
            (Seen::Unknown, _) | (_, Seen::Unknown) => {}
            (told, summed_up) => assert_eq!(told, summed_up, "{path}"),
        }
        match (body.has_member(&path), summary.has_member(&path)) {
            (_, Presence::Unknown) => {}
            (told, summed_up) => assert_eq!(told, summed_up, "{path}"),
        }
    }
}

/// Gathers the values of every member that holds no other. Answers whether all could be told.
fn sum_up(
    body: &Body,
    members: &[(String, Tree)],
    above: &str,
    attributes: &mut BTreeMap<String, Vec<String>>,
) -> bool {
    members.iter().all(|(name, tree)| {
        let path = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
        if name.is_empty() || name.contains('.') {
            return false;
        }
        let values = match (tree, body.member(&path)) {
            (Tree::Object(members), _) if !members.is_empty() => {
                return sum_up(body, members, &path, attributes);
            }
            // `{}`, `null` and an empty list are members without values.
            (Tree::Object(_), _) | (_, Seen::Absent) => Vec::new(),
            (_, Seen::Values(values)) => values.into_iter().map(|value| value.into_owned()).collect(),
            (_, Seen::Unknown) => return false,
        };
        attributes.insert(path, values);
        true
    })
}

fn what_is_cut_or_added_is_seen(input: &[u8]) {
    let sole_key = |bytes: &[u8]| {
        let body = Body::Content { bytes: bytes.to_vec(), truncated: false };
        body.sole_key().map(|key| key.into_owned())
    };
    let end = input.trim_ascii_end().len();
    for cut in (0..end).rev().step_by(1 + end / 64) {
        let fault = sole_key(&input[..cut]).expect_err("a key of what was cut");
        assert!(matches!(fault, BodyFault::Truncated | BodyFault::Required), "{cut}: {fault}");
    }
    assert_eq!(sole_key(&[b" \n", input, b"\t\r\n "].concat()), sole_key(input));
    for added in ["}", "{}", ",", "x", "\0", "\u{feff}", "//"] {
        let longer = sole_key(&[input, added.as_bytes()].concat());
        assert!(matches!(longer, Err(BodyFault::NotAnObject(JsonFault::Syntax(_)))), "{added:?}: {longer:?}");
    }
}

fn what_is_said_to_be_cut_tells_nothing(input: &[u8]) {
    let body = Body::Content { bytes: input.to_vec(), truncated: true };
    assert_eq!(body.sole_key(), Err(BodyFault::Truncated));
    assert_eq!(body.has_member("a"), Presence::Unknown);
    assert_eq!(body.member("a"), Seen::Unknown);
}
