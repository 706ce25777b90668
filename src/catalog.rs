//! The catalog: which action each API call is.
//!
//! It is compiled from the provider's published permission tables (`src/catalog/tables/`, by `build.rs`) and from
//! `--table` files read at start-up. Names become indices here: an [`ActionId`] is a position in the closed table
//! of actions, and everything after loading works with it. [`Catalog::resolve`] turns method, path and body into
//! a [`Call`]: an operation and what its placeholders stand for.
//!
//! Pure: no I/O, no clock.

use std::collections::{BTreeMap, BTreeSet, HashMap};

pub use action_set::ActionSet;
pub use body::{Body, BodyFault, BodySummary, Presence};
pub use compile::Source;
pub use member::{Seen, Values};
pub use operation::{Call, Operation, Told};
pub use path::{CanonicalPath, PathFault};
pub use row::{Absence, Form, MemberSource, Origin, RowKey, RowResource, Text, ValueSource};
pub use table::{TableError, TableFault};
pub use template::TemplateFault;

use route::RouteTable;
use row::{Route, Row};
use segments::Segments;

mod action_set;
mod body;
mod compile;
pub mod json_reader;
mod member;
mod object;
mod operation;
mod path;
mod published;
mod route;
mod row;
mod segments;
mod table;
mod template;

/// The index of an action in the catalog that it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActionId(u16);

impl ActionId {
    const fn new(index: u16) -> Self {
        Self(index)
    }

    /// The position in the table of actions.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// An action of the table: one that an operation needs or depends on.
#[derive(Debug)]
pub struct Action {
    /// The name, such as `ecs:servers:start`.
    pub name: Text,
    /// Older names: a pattern that covers one of them covers the action.
    pub older_names: Vec<Text>,
    /// The types of objects that the operations that need the action touch; nothing for those that name no object. Empty if
    /// no operation needs it.
    pub touches: Box<[Option<Text>]>,
    /// All names, folded to lower case, as patterns are.
    folded_names: Vec<Box<str>>,
}

impl Action {
    /// The name and the older names in lower case, which is how policy patterns are compared.
    pub fn folded_names(&self) -> impl Iterator<Item = &str> {
        self.folded_names.iter().map(AsRef::as_ref)
    }
}

/// Why method, path and body are not an operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The path has more than one reading.
    #[error("the path is not canonical: {0}")]
    Path(#[from] PathFault),
    /// No operation has this method and path.
    #[error("no operation is published for this method and path{}", hint(.methods))]
    UnknownOperation {
        /// The methods for which the path has operations.
        methods: Vec<String>,
    },
    /// Several operations share the route, and the body does not tell which.
    #[error(transparent)]
    Body(#[from] BodyFault),
    /// Several operations share the route, and the body's key is none of theirs.
    #[error("the body's key `{}` is none of {}", shorten(.found), .known.join(", "))]
    UnknownKey {
        /// The key, escapes decoded.
        found: String,
        /// The keys of the route's operations.
        known: Vec<String>,
    },
}

fn hint(methods: &[String]) -> String {
    if methods.is_empty() {
        return String::new();
    }
    format!(": the path has operations for {}, and letter case matters", methods.join(", "))
}

/// Names from outside are cut before they stand in a message.
fn shorten(name: &str) -> String {
    name.chars().take(64).flat_map(char::escape_debug).collect()
}

/// Why a catalog can't be built from its tables.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Faults in the table files, each with its place.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Tables(Vec<TableError>),
    /// More actions than an index can count.
    #[error("the tables have more than {MAX_ACTIONS} actions")]
    TooManyActions,
}

/// The most actions a catalog can have. The published tables have 102.
const MAX_ACTIONS: usize = 32_000;

/// The closed table of operations and actions.
#[derive(Debug)]
pub struct Catalog {
    /// Sorted by name.
    actions: Vec<Action>,
    by_name: HashMap<Text, ActionId>,
    operations: Vec<Operation>,
    routes: RouteTable,
    /// What each route leads to, by the route's index.
    targets: Vec<Target>,
    row_count: usize,
}

/// What a route leads to: an index into the operations.
#[derive(Debug)]
enum Target {
    Operation(usize),
    /// By the one top-level key of the body.
    BodyKey(Vec<(Text, usize)>),
}

impl Catalog {
    /// The published tables alone.
    ///
    /// # Errors
    ///
    /// None in practice: `build.rs` checked the tables.
    pub fn published() -> Result<Self, CatalogError> {
        Self::with_tables(&[])
    }

    /// The published tables and those in `sources`, which may not clash with them or each other.
    ///
    /// # Errors
    ///
    /// Every fault of the sources, with file and line.
    pub fn with_tables(sources: &[Source]) -> Result<Self, CatalogError> {
        let added = compile::compile(published::ROWS, sources).map_err(CatalogError::Tables)?;
        let rows: Vec<&Row> = published::ROWS.iter().chain(&added).collect();
        let mut catalog = Self { row_count: rows.len(), ..Self::of_actions(actions(&rows)?) };
        for row in rows {
            for route in row.routes.iter() {
                catalog.add(row, route);
            }
        }
        Ok(catalog)
    }

    fn of_actions(actions: Vec<Action>) -> Self {
        // INVARIANT: `actions` checked that an index fits.
        let by_name = (0..).zip(&actions).map(|(i, action)| (action.name.clone(), ActionId(i)));
        Self {
            by_name: by_name.collect(),
            actions,
            operations: Vec::new(),
            routes: RouteTable::default(),
            targets: Vec::new(),
            row_count: 0,
        }
    }

    /// Adds the operation that a row is on one of its routes. The rows were checked: none is ambiguous.
    fn add(&mut self, row: &Row, route: &Route) {
        let index = self.operations.len();
        self.operations.push(Operation::new(row, route, |names| self.ids(names)));
        let target = self.routes.add(route).index();
        match (self.targets.get_mut(target), &row.body_key) {
            (Some(Target::BodyKey(operations)), Some(key)) => operations.push((key.clone(), index)),
            (_, Some(key)) => self.targets.push(Target::BodyKey(vec![(key.clone(), index)])),
            (_, None) => self.targets.push(Target::Operation(index)),
        }
    }

    fn ids(&self, names: &[Text]) -> Box<[ActionId]> {
        names.iter().filter_map(|name| self.action_id(name)).collect()
    }

    /// The operation that a call is.
    ///
    /// `target` is the request target as received, query included.
    ///
    /// # Errors
    ///
    /// If the call has more than one reading, or none.
    pub fn resolve<'p>(
        &self,
        method: &str,
        target: &'p str,
        body: &Body,
    ) -> Result<Call<'_, 'p>, ResolveError> {
        let segments = match Segments::plain(target) {
            Some(segments) => segments,
            None => {
                let segments = Segments::of(&CanonicalPath::parse(target)?);
                segments.ok_or(ResolveError::UnknownOperation { methods: Vec::new() })?
            }
        };
        let unknown = || self.unknown_operation(&segments);
        let route = self.routes.find(method, &segments).ok_or_else(unknown)?;
        let operation = match self.targets.get(route.index()).ok_or_else(unknown)? {
            Target::Operation(index) => *index,
            Target::BodyKey(operations) => {
                let key = body.sole_key()?;
                let known = operations.iter().find(|(known, _)| *known == key);
                known.ok_or_else(|| unknown_key(&key, operations))?.1
            }
        };
        let operation = self.operations.get(operation).ok_or_else(unknown)?;
        Ok(Call::new(operation, segments))
    }

    fn unknown_operation(&self, segments: &Segments<'_>) -> ResolveError {
        let mut methods: Vec<String> = self.routes.methods(segments).map(ToOwned::to_owned).collect();
        methods.sort();
        ResolveError::UnknownOperation { methods }
    }

    /// The actions of the table, sorted by name.
    pub fn actions(&self) -> impl ExactSizeIterator<Item = (ActionId, &Action)> {
        // INVARIANT: there are no more actions than an index can count.
        self.actions.iter().enumerate().map(|(index, action)| (ActionId(index as u16), action))
    }

    /// An action by its index.
    #[must_use]
    pub fn action(&self, id: ActionId) -> Option<&Action> {
        self.actions.get(id.index())
    }

    /// The name of an action of this catalog, or nothing for one of another catalog.
    #[must_use]
    pub fn action_name(&self, id: ActionId) -> &str {
        self.action(id).map_or("", |action| &action.name)
    }

    /// The index of the action with exactly this name.
    #[must_use]
    pub fn action_id(&self, name: &str) -> Option<ActionId> {
        self.by_name.get(name).copied()
    }

    /// How many actions there are.
    #[must_use]
    pub fn action_count(&self) -> usize {
        self.actions.len()
    }

    /// The operations, in the order of the tables.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// How many rows the tables have.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.row_count
    }
}

fn unknown_key(found: &str, operations: &[(Text, usize)]) -> ResolveError {
    let mut known: Vec<String> = operations.iter().map(|(key, _)| key.to_string()).collect();
    known.sort();
    ResolveError::UnknownKey { found: found.to_owned(), known }
}

/// The closed table of actions: every name that a row needs or depends on, sorted.
fn actions(rows: &[&Row]) -> Result<Vec<Action>, CatalogError> {
    let mut older: BTreeMap<&Text, Vec<Text>> = BTreeMap::new();
    for row in rows {
        let by_body = row.body_dependencies.iter().flat_map(|entry| entry.dependencies.iter());
        for name in row.actions.iter().chain(row.dependencies.iter()).chain(by_body) {
            older.entry(name).or_default();
        }
        for alias in row.aliases.iter() {
            older.entry(&alias.action).or_default().push(alias.older.clone());
        }
    }
    if older.len() > MAX_ACTIONS {
        return Err(CatalogError::TooManyActions);
    }
    Ok(older.into_iter().map(|(name, older_names)| action(name, older_names, touches(name, rows))).collect())
}

fn action(name: &Text, older_names: Vec<Text>, touches: Box<[Option<Text>]>) -> Action {
    let folded = std::iter::once(name).chain(&older_names).map(|name| name.to_ascii_lowercase());
    let folded_names = folded.map(String::into_boxed_str).collect();
    Action { folded_names, name: name.clone(), older_names, touches }
}

fn touches(action: &Text, rows: &[&Row]) -> Box<[Option<Text>]> {
    let needing = rows.iter().filter(|row| row.actions.contains(action));
    let kinds: BTreeSet<_> =
        needing.map(|row| row.resource.as_ref().map(|resource| resource.kind.clone())).collect();
    kinds.into_iter().collect()
}
