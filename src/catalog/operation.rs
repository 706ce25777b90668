//! Operations: what the rows of the table are on each of their routes, and calls of them.

use std::borrow::Cow;

use super::ActionId;
use super::body::{Body, Presence};
use super::member::Seen;
use super::path;
use super::route::Segments;
use super::row::{Route, Row, Text, ValueSource};
use super::table::PROJECT;
use super::template::{self, Segment};

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
    /// The type of the objects that the call touches and where their ids stand, if it names any.
    pub resource: Option<(Text, ValueSource)>,
    /// The condition keys that the call itself tells, and where their values stand.
    pub keys: Box<[(Text, ValueSource)]>,
    /// The placeholders of the route and their positions among its segments.
    placeholders: Box<[(Box<str>, usize)]>,
}

impl Operation {
    /// The operation that a row is on one of its routes. `ids` finds the actions by name.
    pub(super) fn new(row: &Row, route: &Route, ids: impl Fn(&[Text]) -> Box<[ActionId]>) -> Self {
        let by_body = row.body_dependencies.iter();
        Self {
            title: row.title.clone(),
            method: route.method.clone(),
            route: route.template.clone(),
            table: row.table.clone(),
            body_key: row.body_key.clone(),
            actions: ids(&row.actions),
            dependencies: ids(&row.dependencies),
            body_dependencies: by_body
                .map(|entry| (entry.member.clone(), ids(&entry.dependencies)))
                .collect(),
            resource: row.resource.as_ref().map(|resource| (resource.kind.clone(), resource.ids.clone())),
            keys: row.keys.iter().map(|key| (key.name.clone(), key.values.clone())).collect(),
            placeholders: placeholders(&route.template),
        }
    }

    /// Whether the body tells something that the path does not: which operation it is, what it depends on or touches,
    /// or the value of a condition key.
    #[must_use]
    pub fn needs_body(&self) -> bool {
        let by_body = |source: &ValueSource| matches!(source, ValueSource::Member(_));
        self.body_key.is_some()
            || !self.body_dependencies.is_empty()
            || self.resource.as_ref().is_some_and(|(_, ids)| by_body(ids))
            || self.keys.iter().any(|(_, values)| by_body(values))
    }

    /// The actions that a call with this body depends on.
    ///
    /// Where the body decides and can't be told, every variant is listed.
    #[must_use]
    pub fn dependencies(&self, body: &Body) -> Cow<'_, [ActionId]> {
        if self.body_dependencies.is_empty() {
            return Cow::Borrowed(&self.dependencies);
        }
        let by_body = self
            .body_dependencies
            .iter()
            .filter(|(member, _)| body.has_member(member) != Presence::Absent)
            .flat_map(|(_, actions)| actions);
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
        self.parameters().find(|(name, _)| *name == PROJECT).map(|(_, value)| value)
    }

    /// What the call tells at this place.
    #[must_use]
    pub fn values<'b>(&self, source: &ValueSource, body: &'b Body) -> Seen<'b>
    where
        'p: 'b,
    {
        match source {
            ValueSource::Member(path) => body.member(path),
            ValueSource::Placeholder(name) => {
                let value = self.parameters().find(|(other, _)| other == name).map(|(_, value)| value);
                // As the API reads it: `bob%40host` is `bob@host`.
                let decoded = value.and_then(path::decoded);
                decoded.map_or(Seen::Unknown, |value| Seen::of(vec![value]))
            }
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

fn placeholders(template: &str) -> Box<[(Box<str>, usize)]> {
    let segments = template::parse(template).unwrap_or_default();
    let named = segments.into_iter().enumerate().filter_map(|(index, segment)| match segment {
        Segment::Placeholder(name) => Some((name.into(), index)),
        Segment::Literal(_) => None,
    });
    named.collect()
}
