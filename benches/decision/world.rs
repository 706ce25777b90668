//! What is decided, and by whose policies: a table, a domain whose groups have policies, and requests of its members.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::{fs, iter};

use ecs_authz::catalog::{ActionId, Catalog, Operation, Source};
use ecs_authz::request::Request;
use ecs_authz::store::directory::DirectoryStore;

use super::Outcome;
use super::mix::{self, ACTIONS, DOMAIN, grant, group};

/// How large a world is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// The policies of each principal. The first allows all.
    pub(super) policies: usize,
    /// Statements with a condition, about every action, besides.
    pub(super) conditions: usize,
    /// How many times the published table.
    pub(super) table: usize,
    /// Groups, each with policies of its own. Each principal is in one.
    pub(super) groups: usize,
    /// Principals among whom requests are drawn.
    pub(super) principals: usize,
    /// Requests that are drawn.
    pub(super) requests: usize,
}

impl Shape {
    /// What others are compared with.
    pub(super) const BASE: Self =
        Self { policies: 4, conditions: 0, table: 1, groups: 16, principals: 1_000, requests: 1_000 };
}

/// A catalog, a store, and the requests.
pub(super) struct World {
    pub(super) shape: Shape,
    pub(super) catalog: Arc<Catalog>,
    pub(super) store: Arc<DirectoryStore>,
    pub(super) requests: Vec<Request>,
}

impl World {
    pub(super) fn new(shape: Shape) -> Outcome<Self> {
        let published = Catalog::published()?;
        let copies = (1..shape.table).flat_map(|number| copy_of_the_table(&published, number));
        let catalog = Arc::new(Catalog::with_tables(&copies.collect::<Vec<_>>())?);
        let folder = tempfile::tempdir()?;
        write_policies(&folder.path().join(DOMAIN), shape)?;
        let store = Arc::new(DirectoryStore::open(folder.path(), catalog.clone())?);
        let published = catalog.operations().get(..Catalog::published()?.operations().len());
        let drawn = mix::draw(published.unwrap_or_default(), shape.requests, shape.principals, shape.groups)?;
        let requests = drawn.into_iter().map(Request::new).collect::<Result<_, _>>()?;
        Ok(Self { shape, catalog, store, requests })
    }
}

/// Each group has the policy that allows all, those with conditions, and as many of the others as are missing.
fn write_policies(folder: &Path, shape: Shape) -> Outcome<()> {
    let policies = folder.join("policies");
    fs::create_dir_all(&policies)?;
    let write = |name: &str, statements: String| {
        let text = format!(r#"{{"Version":"1.1","Statement":[{statements}]}}"#);
        fs::write(policies.join(name).with_extension("json"), text)
    };
    write("everything", r#"{"Effect":"Allow","Action":["*"]}"#.into())?;
    let condition = |number: usize| {
        format!(
            r#"{{"Effect":"Deny","Action":["ecs:*:*"],"Condition":{{"StringEquals":{{"g:DomainName":["domain-{number}"]}}}}}}"#
        )
    };
    let conditions: Vec<String> = (0..shape.conditions).map(condition).collect();
    // A document has eight statements at most.
    let conditional: Vec<String> = conditions.chunks(8).map(|statements| statements.join(",")).collect();
    for (number, statements) in conditional.iter().enumerate() {
        write(&format!("conditional-{number}"), statements.clone())?;
    }
    let plain = shape.policies.saturating_sub(1);
    let total = plain + shape.groups;
    for number in 0..total {
        let verb = ACTIONS.get(number % ACTIONS.len()).unwrap_or(&"get").trim_start_matches("os-");
        write(
            &format!("plain-{number}"),
            format!(
                r#"{{"Effect":"Allow","Action":["ecs:*:get*","ecs:*:list*","ecs:servers:{verb}"]}},
                {{"Effect":"Deny","Action":["obs:bucket{number}:*"]}}"#
            ),
        )?;
    }
    let mut grants = String::new();
    for number in 0..shape.groups {
        let own = (number..number + plain).map(|policy| format!("plain-{policy}"));
        let conditional = (0..conditional.len()).map(|policy| format!("conditional-{policy}"));
        for policy in iter::once("everything".to_owned()).chain(conditional).chain(own) {
            grants += &grant(&group(number), &policy);
        }
    }
    Ok(fs::write(folder.join("grants.toml"), grants)?)
}

/// The published operations again, under other names: the last literal of each route and the type of each action have a
/// number behind them. Each stands in a table of its own, because the rows of one must be sorted.
fn copy_of_the_table(published: &Catalog, number: usize) -> impl Iterator<Item = Source> {
    published.operations().iter().enumerate().map(move |(index, operation)| {
        let Operation { title, method, route, .. } = operation;
        let names = |ids: &[ActionId]| {
            let names = ids.iter().map(|id| renamed_action(published.action_name(*id), number));
            names.collect::<BTreeSet<String>>()
        };
        let (actions, dependencies) = (names(&operation.actions), names(&operation.dependencies));
        let dependencies: BTreeSet<_> = dependencies.difference(&actions).collect();
        let mut text =
            format!("table = \"copy_{number}_{index}\"\ntitle = \"Copy {number}\"\n[[operation]]\n");
        text += &format!("title = \"{title}\"\nroutes = [\"{method} {}\"]\n", renamed(route, number));
        text += &format!("actions = {:?}\n", actions.iter().collect::<Vec<_>>());
        if !dependencies.is_empty() {
            text += &format!("dependencies = {:?}\n", dependencies.iter().collect::<Vec<_>>());
        }
        if let Some(key) = &operation.body_key {
            text += &format!("body_key = \"{key}\"\n");
        }
        if !route.contains("{project_id}") {
            text += "tenancy = \"none\"\n";
        }
        Source { file: format!("copy-{number}-{index}.toml"), text }
    })
}

fn renamed_action(name: &str, number: usize) -> String {
    match name.split(':').collect::<Vec<_>>()[..] {
        [service, kind, verb] => format!("{service}:{kind}{number}:{verb}"),
        _ => name.to_owned(),
    }
}

fn renamed(route: &str, number: usize) -> String {
    let mut segments: Vec<String> = route.split('/').map(ToOwned::to_owned).collect();
    if let Some(last) = segments.iter_mut().rev().find(|segment| !segment.starts_with('{')) {
        let _infallible = write!(last, "-{number}");
    }
    segments.join("/")
}
