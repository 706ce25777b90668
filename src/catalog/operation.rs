//! Operations: what the rows of the table are on each of their routes, and calls of them.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::ActionId;
use super::body::{Body, Presence};
use super::member::Seen;
use super::path;
use super::row::{Route, Row, RowKey, RowResource, Text, ValueSource};
use super::segments::Segments;
use super::table::PROJECT;
use super::template::{self, Segment};
use crate::bytes;

/// One operation of the API: a route, and where several share a route, a key of the body.
#[derive(Debug)]
pub struct Operation {
    /// The published permission, such as `Starting an ECS (native OpenStack API)`.
    pub title: Text,
    /// The HTTP method.
    pub method: Text,
    /// The path template, such as `/v1/{project_id}/cloudservers`.
    pub route: Text,
    /// The published table.
    pub table: Text,
    /// The top-level key of the body that tells this operation from others on the route.
    pub body_key: Option<Text>,
    /// The actions that the call needs, all of them; the first is the one that the operation is about.
    ///
    /// INVARIANT: never empty.
    pub actions: Box<[ActionId]>,
    /// The actions that the call depends on whatever its body.
    pub dependencies: Box<[ActionId]>,
    /// The actions that the call depends on when the body has a member, by the member's path.
    pub body_dependencies: Box<[(Text, Box<[ActionId]>)]>,
    /// The objects that the call touches, if it touches any that it names or makes.
    pub resource: Option<RowResource>,
    /// The member by which a body can name the enterprise project that the call goes to.
    pub enterprise_project: Option<Text>,
    /// The condition keys that the call itself decides.
    pub keys: Box<[RowKey]>,
    /// The placeholders of the route and their positions among its segments.
    placeholders: Box<[(Box<str>, usize)]>,
    /// The position of the project's placeholder, if the route has one. Every call asks for it.
    project: Option<usize>,
    /// The dependencies for every choice of the members of `body_dependencies` that a body may have: the bit of a choice is
    /// the member's position. Empty if there are too many.
    dependency_choices: Box<[Box<[ActionId]>]>,
}

/// The most members for which [`Operation::dependency_choices`] are made. No published row has more than two.
const MAX_CHOSEN: usize = 6;

impl Operation {
    /// The operation that a row is on one of its routes. `ids` finds the actions by name.
    pub(super) fn new(row: &Row, route: &Route, ids: impl Fn(&[Text]) -> Box<[ActionId]>) -> Self {
        let by_body = row.body_dependencies.iter();
        let body_dependencies: Box<[_]> =
            by_body.map(|entry| (entry.member.clone(), ids(&entry.dependencies))).collect();
        let dependencies = ids(&row.dependencies);
        let placeholders = placeholders(&route.template);
        let project = placeholders.iter().find(|(name, _)| **name == *PROJECT);
        Self {
            title: row.title.clone(),
            method: route.method.clone(),
            route: route.template.clone(),
            table: row.table.clone(),
            body_key: row.body_key.clone(),
            actions: ids(&row.actions),
            dependency_choices: dependency_choices(&dependencies, &body_dependencies),
            dependencies,
            body_dependencies,
            resource: row.resource.clone(),
            enterprise_project: row.enterprise_project.clone(),
            keys: row.keys.iter().cloned().collect(),
            project: project.map(|(_, index)| *index),
            placeholders,
        }
    }

    /// Whether the body tells something that the path does not: which operation it is, what it depends on or touches,
    /// or the value of a condition key.
    #[must_use]
    pub fn needs_body(&self) -> bool {
        let by_body = |source: Option<&ValueSource>| matches!(source, Some(ValueSource::Member(_)));
        self.body_key.is_some()
            || !self.body_dependencies.is_empty()
            || self.enterprise_project.is_some()
            || self.resource.as_ref().is_some_and(|resource| by_body(resource.ids.as_ref()))
            || self.keys.iter().any(|key| by_body(key.values.as_ref()))
    }

    /// The actions that a call with this body depends on.
    ///
    /// Where the body decides and can't be told, every variant is listed.
    #[must_use]
    pub fn dependencies(&self, body: &Body) -> Cow<'_, [ActionId]> {
        if self.body_dependencies.is_empty() {
            return Cow::Borrowed(&self.dependencies);
        }
        let may_have = |(member, _): &(Text, _)| body.has_member(member) != Presence::Absent;
        let by_body = self.body_dependencies.iter();
        let choice = by_body.clone().rev().try_fold(0_usize, |choice, entry| {
            choice.checked_mul(2)?.checked_add(usize::from(may_have(entry)))
        });
        if let Some(known) = choice.and_then(|choice| self.dependency_choices.get(choice)) {
            return Cow::Borrowed(known);
        }
        let by_body = by_body.filter(|entry| may_have(entry)).flat_map(|(_, actions)| actions);
        Cow::Owned(self.dependencies.iter().chain(by_body).copied().collect())
    }
}

/// A call that the catalog knows: its operation, bound to a path.
#[derive(Debug, Clone, Copy)]
pub struct Call<'c, 'p> {
    /// The operation.
    pub operation: &'c Operation,
    segments: Segments<'p>,
}

impl<'c, 'p> Call<'c, 'p> {
    pub(super) fn new(operation: &'c Operation, segments: Segments<'p>) -> Self {
        Self { operation, segments }
    }

    /// The project in the path, if the route has one.
    #[must_use]
    pub fn project(&self) -> Option<&'p str> {
        self.segments.get(self.operation.project?)
    }

    /// What the call tells at this place. A value that the API may read as another one is not known.
    #[must_use]
    pub fn values<'b>(&self, source: &ValueSource, body: &'b Body) -> Seen<'b>
    where
        'p: 'b,
    {
        let seen = match source {
            ValueSource::Member(source) => source.values(body),
            ValueSource::Placeholder(name) => {
                let value = self.parameters().find(|(other, _)| other == name).map(|(_, value)| value);
                // As the API reads it: `bob%40host` is `bob@host`.
                let decoded = value.and_then(path::decoded);
                decoded.map_or(Seen::Unknown, |value| Seen::of([value]))
            }
        };
        match &seen {
            Seen::Values(values) if !values.iter().all(|value| has_one_reading(value)) => Seen::Unknown,
            _ => seen,
        }
    }

    /// All that the call tells of its operation's keys and objects.
    #[must_use]
    pub fn told<'b>(&self, body: &'b Body) -> Told<'b>
    where
        'p: 'b,
    {
        let operation = self.operation;
        let seen = |source: Option<&ValueSource>| source.map_or(Seen::Unknown, |it| self.values(it, body));
        let ids = operation.resource.as_ref().and_then(|resource| resource.ids.as_ref());
        Told {
            keys: operation.keys.iter().map(|key| seen(key.values.as_ref())).collect(),
            objects: seen(ids),
        }
    }

    /// What the placeholders stand for, by name, as received.
    pub fn parameters(&self) -> impl Iterator<Item = (&'c str, &'p str)> {
        let segments = self.segments;
        self.operation
            .placeholders
            .iter()
            .filter_map(move |(name, index)| Some((&**name, segments.get(*index)?)))
    }
}

/// What a call tells of its operation's keys and objects.
#[derive(Debug, Clone)]
pub struct Told<'b> {
    /// By the key's position among the operation's.
    pub keys: SmallVec<[Seen<'b>; 1]>,
    /// The ids of the objects that it touches.
    pub objects: Seen<'b>,
}

/// The hexadecimal digits of a UUID.
const UUID_DIGITS: usize = 32;
/// The bytes of a UUID in groups, and where its dashes are.
const GROUPED_UUID_BYTES: usize = 36;
const UUID_DASHES: [usize; 4] = [8, 13, 18, 23];

/// Whether a value is itself to whoever reads it. Databases trim spaces, readers of URLs drop control characters, people
/// don't see what has no width, and a UUID is the same in any spelling.
fn has_one_reading(value: &str) -> bool {
    if looks_usual(value.as_bytes()) {
        return true;
    }
    let is_hidden = |c: char| c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{feff}');
    let is_visible = bytes::all(value.as_bytes(), |byte| byte.is_ascii_graphic())
        || (value.trim() == value && !value.contains(is_hidden));
    is_visible && !is_uuid(value.as_bytes())
}

/// Whether a value looks like nearly all do: small digits, in groups of 8-4-4-4-12 or, as projects have them, without a break.
/// With more dashes than that it is no UUID, and has one reading too. `false` says nothing.
fn looks_usual(value: &[u8]) -> bool {
    let is_dash = |place: &usize| value.get(*place) == Some(&b'-');
    let is_grouped = match value.len() {
        UUID_DIGITS => true,
        GROUPED_UUID_BYTES => UUID_DASHES.iter().all(is_dash),
        _ => false,
    };
    let is_digit = |byte: u8| (byte.wrapping_sub(b'0') < 10) | (byte.wrapping_sub(b'a') < 6);
    is_grouped && bytes::all(value, |byte| is_digit(byte) | (byte == b'-'))
}

/// Whether a value is a UUID in any spelling: it has 32 digits, and dashes and braces anywhere.
fn is_uuid(value: &[u8]) -> bool {
    let digits = || value.iter().filter(|byte| byte.is_ascii_hexdigit()).count();
    let marks = || value.iter().filter(|byte| matches!(byte, b'-' | b'{' | b'}')).count();
    value.len() >= UUID_DIGITS && digits() == UUID_DIGITS && marks() == value.len() - UUID_DIGITS
}

fn dependency_choices(always: &[ActionId], by_body: &[(Text, Box<[ActionId]>)]) -> Box<[Box<[ActionId]>]> {
    if by_body.len() > MAX_CHOSEN {
        return Box::default();
    }
    let choice = |choice: usize| {
        let chosen = by_body.iter().enumerate().filter(move |(bit, _)| choice >> bit & 1 == 1);
        always.iter().chain(chosen.flat_map(|(_, (_, actions))| actions)).copied().collect()
    };
    (0..1 << by_body.len()).map(choice).collect()
}

fn placeholders(template: &str) -> Box<[(Box<str>, usize)]> {
    let segments = template::parse(template).unwrap_or_default();
    let named = segments.into_iter().enumerate().filter_map(|(index, segment)| match segment {
        Segment::Placeholder(name) => Some((name.into(), index)),
        Segment::Literal(_) => None,
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether a value is no UUID, or one in its usual form.
    fn is_usual(value: &str) -> bool {
        let digits: String = value.chars().filter(|c| !"-{}".contains(*c)).collect();
        let is_uuid = digits.len() == 32 && digits.chars().all(|c| c.is_ascii_hexdigit());
        let lengths: Vec<usize> = value.split('-').map(str::len).collect();
        let is_grouped = lengths == [8, 4, 4, 4, 12] || lengths == [32];
        !is_uuid || (is_grouped && digits == digits.to_ascii_lowercase())
    }

    proptest! {
        #[test]
        fn uuids_have_one_reading_in_their_usual_form(
            mut value in "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            removed in prop::collection::vec(0..36_usize, 0..3),
            added in prop::collection::vec((0..36_usize, prop::sample::select(vec!['-', '{', '}', 'A', '0', 'g'])), 0..3),
        ) {
            prop_assert!(has_one_reading(&value) && has_one_reading(&value.replace('-', "")));
            for place in removed {
                value.remove(place.min(value.len() - 1));
            }
            for (place, character) in added {
                value.insert(place.min(value.len()), character);
            }
            prop_assert_eq!(has_one_reading(&value), is_usual(&value), "{}", value);
        }
    }

    #[test]
    fn a_value_that_can_be_read_as_another_one_is_told_apart() {
        let one = [
            "s1",
            "616fb98f-46ca-475e-917e-2563e5a8cd19",
            "616fb98f46ca475e917e2563e5a8cd19",
            "Bob@host",
            "1.5",
            "",
        ];
        let more = [
            "616FB98F-46CA-475E-917E-2563E5A8CD19",
            "{616fb98f-46ca-475e-917e-2563e5a8cd19}",
            "616fb98f46ca-475e-917e-2563e5a8cd19",
            " s1",
            "s1 ",
            "s\t1",
            "s1\0",
            "s\u{200b}1",
        ];
        for value in one {
            assert!(has_one_reading(value), "{value}");
        }
        for value in more {
            assert!(!has_one_reading(value), "{value}");
        }
    }
}
