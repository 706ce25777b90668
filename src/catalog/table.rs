//! Reads one table file: TOML in, rows out, every fault with its file and line.
//!
//! A file holds the rows of one published table:
//!
//! ```toml
//! table = "ecs_status_management"
//! title = "ECS Status Management"
//!
//! [[operation]]
//! title = "Starting an ECS (native OpenStack API)"
//! routes = ["POST /v2/{project_id}/servers/{server_id}/action"]
//! body_key = "os-start"
//! actions = ["ecs:servers:start"]
//! dependencies = ["ecs:servers:get"]
//! ```
//!
//! `body_key`, `aliases`, `dependencies`, `body_dependencies`, `resource`, `keys` and `enterprise_project` are optional;
//! [`super::object`] describes `resource` and `keys`; the last is the member by which a body names an enterprise project. A route has `{project_id}`, by which
//! tenants are isolated; a row of an API without projects says `tenancy = "none"`.
//!
//! Here stand the checks of one row by itself; the checks between rows are [`super::compile`]'s.
//! `build.rs` includes this module, so it names nothing but its siblings.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::object::{KeyEntry, ResourceEntry};
use super::row::{Alias, BodyDependency, List, Origin, Route, Row, RowKey, Text};
use super::template::{self, Segment, TemplateFault};

/// The placeholder that stands for the project whose tenant the call belongs to.
pub(super) const PROJECT: &str = "project_id";

/// A fault of a table file and its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {fault}")]
pub struct TableError {
    /// The file and line.
    pub origin: Origin,
    /// What is wrong there.
    pub fault: TableFault,
}

/// What can be wrong with a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableFault {
    /// Not TOML, an unknown or missing field, or a value of the wrong type.
    #[error("{0}")]
    Format(String),
    /// A route is not `METHOD /template`.
    #[error("expected a route `METHOD /template`, found `{0}`")]
    Route(String),
    /// The template of a route is malformed.
    #[error("malformed template in `{route}`: {fault}")]
    Template {
        /// The route as written.
        route: String,
        /// What was expected.
        fault: TemplateFault,
    },
    /// A route without the placeholder that tells the tenant, in a row that does not say that it has none.
    #[error(
        "expected `{{project_id}}` in `{0}`, or `tenancy = \"none\"` in the row: nothing else isolates tenants"
    )]
    NoProject(String),
    /// A name is not `service:type:verb`.
    #[error("expected an action `service:type:verb`, found `{0}`")]
    Action(String),
    /// A list that must have an entry has none.
    #[error("expected at least one entry in `{0}`")]
    Empty(&'static str),
    /// A list is not sorted, or has an entry twice.
    #[error("expected `{list}` sorted and without repetition: `{found}` stands after `{before}`")]
    Unsorted {
        /// The list's name.
        list: &'static str,
        /// The entry out of place.
        found: String,
        /// The entry before it.
        before: String,
    },
    /// An action is listed twice in one row.
    #[error("expected each action once, found `{0}` twice")]
    ActionTwice(String),
    /// A row depends on its own action.
    #[error("expected dependencies besides the row's own action `{0}`")]
    DependsOnItself(String),
    /// An alias is given for an action that the row does not need.
    #[error("expected aliases of the row's own actions, found `{0}`")]
    AliasOfForeignAction(String),
    /// A member path is not names joined by dots.
    #[error("expected names joined by dots, such as `server.publicip`, found `{0}`")]
    Member(String),
    /// The type of a resource is not letters, digits and `-`.
    #[error("expected letters, digits and `-` as a resource's type, found `{0}`")]
    ResourceType(String),
    /// A condition key that a call can't tell.
    #[error("expected a condition key `service:Name` other than the global ones, found `{0}`")]
    Key(String),
    /// A placeholder that a route of the row has not.
    #[error("expected `{{{name}}}` in `{route}`")]
    NoPlaceholder {
        /// The placeholder.
        name: String,
        /// The route.
        route: String,
    },
    /// An object from nowhere, or from two places.
    #[error("expected exactly one of `placeholder`, `member` and `new = true`")]
    ResourcePlace,
    /// A key from two places, or with details of a member without one.
    #[error(
        "expected either `placeholder` or `member`, and `unless`, `optional` and `plain` only with `member`"
    )]
    KeyPlace,
    /// A key that the row tells twice.
    #[error("expected each key once, found `{0}` twice")]
    KeyTwice(String),
    /// A row stands before one that sorts after it.
    #[error("expected rows sorted by first route and body key: `{found}` belongs before {before}")]
    UnsortedRow {
        /// The row's first route.
        found: String,
        /// Where the row stands that should come after.
        before: Origin,
    },
    /// Two rows answer one request.
    #[error("`{route}` is matched by the row at {other} too")]
    SameRequest {
        /// The route.
        route: String,
        /// The other row.
        other: Origin,
    },
    /// One row selects by body key, another row of the same route does not.
    #[error("`{route}`: either every row of a route has a `body_key` or none: compare {other}")]
    SelectorWithoutSiblings {
        /// The route.
        route: String,
        /// The other row.
        other: Origin,
    },
    /// Two names differ only in letter case, which policies do not tell apart.
    #[error("`{found}` differs from `{other}` only in letter case")]
    ActionCase {
        /// The name found here.
        found: String,
        /// The name seen before.
        other: String,
    },
}

/// The file as written. Places are kept for messages.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableFile {
    table: String,
    #[expect(dead_code, reason = "for the people who read the file")]
    title: String,
    #[serde(default)]
    operation: Vec<Spanned<OperationEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OperationEntry {
    title: String,
    routes: Vec<Spanned<String>>,
    body_key: Option<String>,
    actions: Vec<Spanned<String>>,
    #[serde(default)]
    aliases: BTreeMap<Spanned<String>, Vec<Spanned<String>>>,
    #[serde(default)]
    dependencies: Vec<Spanned<String>>,
    #[serde(default)]
    body_dependencies: Vec<BodyDependencyEntry>,
    #[serde(default)]
    tenancy: Tenancy,
    resource: Option<Spanned<ResourceEntry>>,
    enterprise_project: Option<Spanned<String>>,
    #[serde(default)]
    keys: Vec<Spanned<KeyEntry>>,
}

/// Whether calls belong to a project.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Tenancy {
    /// To the one in the path.
    #[default]
    Project,
    /// To none: whoever has the action may call.
    None,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BodyDependencyEntry {
    member: Spanned<String>,
    dependencies: Vec<Spanned<String>>,
}

/// Reads the rows of one table file. `file` names it in messages.
///
/// # Errors
///
/// Every fault of a row by itself, in the order of the file; or the one that makes the file unreadable.
pub(super) fn read(file: &str, text: &str) -> Result<Vec<Row>, Vec<TableError>> {
    let mut reader = Reader { file, text, errors: Vec::new() };
    let table: TableFile = match toml::from_str(text) {
        Ok(table) => table,
        Err(error) => {
            let place = error.span().unwrap_or_default();
            reader.fault(&place, TableFault::Format(error.message().to_owned()));
            return Err(reader.errors);
        }
    };
    let rows: Vec<Row> = table
        .operation
        .into_iter()
        .map(|entry| {
            let place = entry.span();
            reader.row(table.table.clone(), &place, entry.into_inner())
        })
        .collect();
    if reader.errors.is_empty() { Ok(rows) } else { Err(reader.errors) }
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    errors: Vec<TableError>,
}

impl Reader<'_> {
    fn row(&mut self, table: String, place: &Range<usize>, entry: OperationEntry) -> Row {
        let OperationEntry {
            title,
            routes,
            body_key,
            actions,
            aliases,
            dependencies,
            body_dependencies,
            tenancy,
            resource,
            enterprise_project,
            keys,
        } = entry;
        if tenancy == Tenancy::Project {
            self.projects(&routes);
        }
        if body_key.as_deref() == Some("") {
            self.fault(place, TableFault::Empty("body_key"));
        }
        let resource = resource.and_then(|entry| {
            let place = entry.span();
            self.checked(&place, entry.into_inner().read(&routes))
        });
        let keys = self.keys(keys, &routes);
        let enterprise_project = enterprise_project.map(|member| self.member(member));
        let actions = self.actions(place, actions);
        let dependencies = self.dependencies(&actions, dependencies);
        let body_dependencies =
            body_dependencies.into_iter().map(|entry| self.body_dependency(&actions, entry)).collect();
        Row {
            origin: self.origin(place),
            table: Text::Owned(table),
            title: Text::Owned(title),
            routes: self.routes(place, routes),
            body_key: body_key.map(Text::Owned),
            aliases: self.aliases(&actions, aliases),
            dependencies: owned(dependencies),
            body_dependencies: List::Owned(body_dependencies),
            actions: owned(actions),
            resource,
            enterprise_project,
            keys,
        }
    }

    fn keys(&mut self, entries: Vec<Spanned<KeyEntry>>, routes: &[Spanned<String>]) -> List<RowKey> {
        let mut keys: Vec<RowKey> = Vec::new();
        for entry in entries {
            let place = entry.span();
            let Some(key) = self.checked(&place, entry.into_inner().read(routes)) else { continue };
            if keys.iter().any(|other| other.name == key.name) {
                self.fault(&place, TableFault::KeyTwice(key.name.to_string()));
            }
            keys.push(key);
        }
        List::Owned(keys)
    }

    /// A typo in the placeholder would be a call without a tenant.
    fn projects(&mut self, routes: &[Spanned<String>]) {
        for route in routes {
            let template = route.get_ref().split_once(' ').map_or("", |(_, template)| template);
            // What is malformed is reported as that.
            let segments = template::parse(template);
            if segments.is_ok_and(|segments| !segments.contains(&Segment::Placeholder(PROJECT))) {
                self.fault(&route.span(), TableFault::NoProject(route.get_ref().clone()));
            }
        }
    }

    fn routes(&mut self, place: &Range<usize>, routes: Vec<Spanned<String>>) -> List<Route> {
        if routes.is_empty() {
            self.fault(place, TableFault::Empty("routes"));
        }
        let parsed: Vec<Route> = routes.iter().filter_map(|route| self.route(route)).collect();
        for (pair, text) in parsed.windows(2).zip(routes.iter().skip(1)) {
            if let [before, found] = pair
                && sort_key(before) >= sort_key(found)
            {
                let (found, before) = (display(found), display(before));
                let fault = TableFault::Unsorted { list: "routes", found, before };
                self.fault(&text.span(), fault);
            }
        }
        List::Owned(parsed)
    }

    fn route(&mut self, text: &Spanned<String>) -> Option<Route> {
        let route = text.get_ref();
        let method_and_path = route
            .split_once(' ')
            .filter(|(method, _)| !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase()));
        let Some((method, template)) = method_and_path else {
            self.fault(&text.span(), TableFault::Route(route.clone()));
            return None;
        };
        if let Err(fault) = template::parse(template) {
            self.fault(&text.span(), TableFault::Template { route: route.clone(), fault });
            return None;
        }
        let (method, template) = (method.to_owned().into(), template.to_owned().into());
        Some(Route { method, template })
    }

    fn actions(&mut self, place: &Range<usize>, actions: Vec<Spanned<String>>) -> Vec<String> {
        if actions.is_empty() {
            self.fault(place, TableFault::Empty("actions"));
        }
        let mut seen: Vec<String> = Vec::new();
        for action in actions {
            self.action(&action);
            if seen.contains(action.get_ref()) {
                self.fault(&action.span(), TableFault::ActionTwice(action.get_ref().clone()));
            }
            seen.push(action.into_inner());
        }
        seen
    }

    fn aliases(
        &mut self,
        actions: &[String],
        aliases: BTreeMap<Spanned<String>, Vec<Spanned<String>>>,
    ) -> List<Alias> {
        let mut parsed = Vec::new();
        for (action, names) in aliases {
            if !actions.contains(action.get_ref()) {
                let fault = TableFault::AliasOfForeignAction(action.get_ref().clone());
                self.fault(&action.span(), fault);
            }
            for older in names {
                self.action(&older);
                parsed.push(Alias {
                    action: action.get_ref().clone().into(),
                    older: older.into_inner().into(),
                });
            }
        }
        List::Owned(parsed)
    }

    fn body_dependency(&mut self, actions: &[String], entry: BodyDependencyEntry) -> BodyDependency {
        let BodyDependencyEntry { member, dependencies } = entry;
        if dependencies.is_empty() {
            self.fault(&member.span(), TableFault::Empty("dependencies"));
        }
        BodyDependency {
            member: self.member(member),
            dependencies: owned(self.dependencies(actions, dependencies)),
        }
    }

    fn member(&mut self, path: Spanned<String>) -> Text {
        if path.get_ref().split('.').any(str::is_empty) {
            self.fault(&path.span(), TableFault::Member(path.get_ref().clone()));
        }
        path.into_inner().into()
    }

    fn dependencies(&mut self, actions: &[String], names: Vec<Spanned<String>>) -> Vec<String> {
        let mut seen: Vec<String> = Vec::new();
        for name in names {
            let place = name.span();
            self.action(&name);
            let name = name.into_inner();
            if actions.contains(&name) {
                self.fault(&place, TableFault::DependsOnItself(name.clone()));
            }
            if let Some(before) = seen.last().filter(|before| **before >= name) {
                let (found, before) = (name.clone(), before.clone());
                let fault = TableFault::Unsorted { list: "dependencies", found, before };
                self.fault(&place, fault);
            }
            seen.push(name);
        }
        seen
    }

    fn action(&mut self, name: &Spanned<String>) {
        if !is_action(name.get_ref()) {
            self.fault(&name.span(), TableFault::Action(name.get_ref().clone()));
        }
    }

    fn checked<T>(&mut self, place: &Range<usize>, read: Result<T, TableFault>) -> Option<T> {
        read.map_err(|fault| self.fault(place, fault)).ok()
    }

    fn fault(&mut self, place: &Range<usize>, fault: TableFault) {
        let origin = self.origin(place);
        self.errors.push(TableError { origin, fault });
    }

    fn origin(&self, place: &Range<usize>) -> Origin {
        let before = self.text.as_bytes().get(..place.start).unwrap_or_default();
        let newlines = before.iter().filter(|byte| **byte == b'\n').count();
        let line = u32::try_from(newlines + 1).unwrap_or(u32::MAX);
        Origin { file: Text::Owned(self.file.to_owned()), line }
    }
}

/// Whether a name is `service:type:verb`: a lower-case service, then two names of letters, digits, `-` and `_`.
fn is_action(name: &str) -> bool {
    let part = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    };
    let mut parts = name.split(':');
    let (Some(service), Some(kind), Some(verb), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    part(service) && service == service.to_ascii_lowercase() && part(kind) && part(verb)
}

/// Rows and routes are sorted by path, segment by segment, then by method: `/v2/…` before `/v2.1/…`.
pub(super) fn sort_key(route: &Route) -> (Vec<Segment<'_>>, &str) {
    (template::parse(&route.template).unwrap_or_default(), &route.method)
}

/// A route as it is written in a table: `GET /v1/{project_id}/cloudservers`.
pub(super) fn display(route: &Route) -> String {
    format!("{} {}", route.method, route.template)
}

fn owned(names: Vec<String>) -> List<Text> {
    List::Owned(names.into_iter().map(Text::Owned).collect())
}
