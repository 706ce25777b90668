//! A row of the action table, as people write it and as `build.rs` compiles it.
//!
//! A row says which routes it serves, which actions a call needs and which actions that call depends on.
//! The published rows are constants of the program; the rows of `--table` files are read at start-up.
//! Both are the same type, so text is borrowed from the program or owned.

use std::borrow::Cow;
use std::fmt;

/// Text that is part of the program or was read at start-up.
pub type Text = Cow<'static, str>;

/// A list that is part of the program or was read at start-up.
pub(super) type List<T> = Cow<'static, [T]>;

/// One row of an action table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// Where the row is written.
    pub origin: Origin,
    /// The table that the row belongs to, such as `ecs_status_management`.
    pub table: Text,
    /// The published permission, such as `Starting an ECS (native OpenStack API)`.
    pub title: Text,
    /// The routes, sorted by path, then method. Never empty.
    pub routes: List<Route>,
    /// The one top-level key of the body that selects this row among those that share its routes.
    pub body_key: Option<Text>,
    /// The actions that the call needs, all of them; the first is the one that the row is about. Never empty.
    pub actions: List<Text>,
    /// Older names of the actions.
    pub aliases: List<Alias>,
    /// The actions that the call depends on whatever its body, sorted.
    pub dependencies: List<Text>,
    /// The actions that the call depends on when its body has a member.
    pub body_dependencies: List<BodyDependency>,
    /// The object that the call touches, if it touches one or some that it names.
    pub resource: Option<RowResource>,
    /// The member by which a body can name the enterprise project that the call goes to.
    pub enterprise_project: Option<Text>,
    /// The condition keys whose values the call itself decides.
    pub keys: List<RowKey>,
}

/// The objects that a call touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowResource {
    /// The type of a resource: `instance` in `ecs:*:*:instance:*`.
    pub kind: Text,
    /// Where the objects' ids stand. Nothing if the call makes the object, which has no id yet.
    pub ids: Option<ValueSource>,
}

/// A condition key whose values a call decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowKey {
    /// The key: `ecs:FlavorId`.
    pub name: Text,
    /// Where its values stand. Nothing if neither path nor body tells them.
    pub values: Option<ValueSource>,
}

/// Where a call tells something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueSource {
    /// In the path, at this placeholder.
    Placeholder(Text),
    /// In the body.
    Member(MemberSource),
}

/// Where a body tells something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberSource {
    /// The member: names from the top, joined by dots, through lists as well.
    pub path: Text,
    /// Other members that can say something else of it. If one is there, the value can't be told.
    pub unless: List<Text>,
    /// What it means if the member is not there.
    pub absence: Absence,
    /// What a value may look like.
    pub form: Form,
}

/// What a value of a member may look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Anything.
    Any,
    /// A name in lower case. A URL may be read as its last segment, `zone:host` as two names, and capitals as the name that
    /// is published: then it can't be told.
    Plain,
}

/// What it means that a body leaves a member out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// There is no value: a server without a key pair.
    NoValue,
    /// The API finds a value by itself, such as a network, or refuses the call.
    ApiDecides,
}

/// A method and a path template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    /// The HTTP method, in capitals.
    pub method: Text,
    /// The path, with placeholders in braces: `/v1/{project_id}/cloudservers`.
    pub template: Text,
}

/// An older name of an action: a policy pattern that covers it covers the action too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alias {
    /// The action of today.
    pub action: Text,
    /// The name that other editions of the provider's documents print for the same route.
    pub older: Text,
}

/// Dependencies that apply only if the body has a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BodyDependency {
    /// The member's path from the top of the body, joined by dots: `server.publicip.eip`.
    pub member: Text,
    /// The actions, sorted. Never empty.
    pub dependencies: List<Text>,
}

/// A place in a table file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file's path.
    pub file: Text,
    /// The line, counted from one.
    pub line: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}
