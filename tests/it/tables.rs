//! The action table guards itself: it is what the provider published, whole, reachable and without ambiguity.

use std::collections::{BTreeMap, BTreeSet};

use ecs_authz::catalog::{Body, BodySummary, Catalog, Operation, ResolveError};
use ecs_authz::policy::system::SYSTEM_POLICIES;
use libtest_mimic::Trial;
use serde_json::Value;

use crate::support::trials;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        the_counts_are_those_of_the_published_tables,
        every_published_row_is_in_the_table_and_no_other,
        every_operation_is_reached_by_its_route_and_key,
        every_published_example_body_selects_its_row,
        no_two_operations_answer_one_request,
        a_literal_beats_a_placeholder_in_every_published_overlap,
        aliases_are_the_published_older_names,
        unlisted_body_keys_are_unknown,
        system_policies_are_the_published_documents,
    ]
}

fn published(text: &str) -> Value {
    serde_json::from_str(text).expect("published JSON")
}

fn published_rows() -> Vec<Value> {
    match published(include_str!("published/operations.json")) {
        Value::Array(rows) => rows,
        other => panic!("expected an array of rows, found {other}"),
    }
}

fn catalog() -> Catalog {
    Catalog::published().expect("the published tables")
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().expect("an array").iter();
    items.map(|item| item.as_str().expect("a string").to_owned()).collect()
}

/// A path of an operation's route, with something in each placeholder.
fn sample_path(route: &str) -> String {
    let segment = |text: &str| if text.starts_with('{') { "x1".to_owned() } else { text.to_owned() };
    route.split('/').map(segment).collect::<Vec<_>>().join("/")
}

fn body_of(operation: &Operation) -> Body {
    let Some(key) = &operation.body_key else { return Body::Absent };
    Body::Summary(BodySummary { top_level_keys: vec![key.to_string()], ..Default::default() })
}

fn the_counts_are_those_of_the_published_tables() {
    let catalog = catalog();
    let needed: BTreeSet<&str> = catalog
        .operations()
        .iter()
        .flat_map(|operation| operation.actions.iter().map(|action| catalog.action_name(*action)))
        .collect();
    let routes: BTreeSet<(&str, &str)> =
        catalog.operations().iter().map(|operation| (&*operation.method, &*operation.route)).collect();
    assert_eq!(catalog.row_count(), 91);
    assert_eq!(needed.len(), 66);
    assert_eq!(catalog.action_count(), 102);
    assert_eq!(routes.len(), 129);
    // 149 are published; the resize row lists v2.1 twice and is taken for v2 as well.
    assert_eq!(catalog.operations().len(), 150);
}

/// A row as both sides tell it: routes, actions, dependencies.
type Row = (BTreeSet<String>, BTreeSet<String>, BTreeSet<String>);

/// By table, title and body key, which together are one row.
fn rows_of(catalog: &Catalog) -> BTreeMap<(String, String, BTreeSet<String>), Row> {
    let mut rows: BTreeMap<_, Row> = BTreeMap::new();
    for operation in catalog.operations() {
        let names = |ids: &[_]| ids.iter().map(|id| catalog.action_name(*id).to_owned()).collect();
        let actions: BTreeSet<String> = names(&operation.actions);
        let key = (operation.table.to_string(), operation.title.to_string(), actions.clone());
        let (routes, all_actions, dependencies) = rows.entry(key).or_default();
        routes.insert(format!("{} {}", operation.method, operation.route));
        all_actions.extend(actions);
        dependencies.extend::<BTreeSet<String>>(names(&operation.dependencies(&Body::Absent)));
    }
    rows
}

fn every_published_row_is_in_the_table_and_no_other() {
    let mut ours = rows_of(&catalog());
    for row in published_rows() {
        let text = |name: &str| row[name].as_str().expect("text").to_owned();
        let actions: BTreeSet<String> = strings(&row["actions"]).into_iter().collect();
        let key = (text("table"), text("title"), actions.clone());
        let (routes, our_actions, dependencies) =
            ours.get_mut(&key).unwrap_or_else(|| panic!("no row {key:?}"));
        for route in strings(&row["routes"]) {
            // The repair of the placeholder that is published twice.
            let repaired = route.replace("os-quota-sets/{project_id}", "os-quota-sets/{target_project_id}");
            assert!(routes.remove(&repaired), "{key:?} lacks {repaired}");
        }
        assert_eq!(*our_actions, actions);
        assert_eq!(*dependencies, strings(&row["dependencies"]).into_iter().collect(), "{key:?}");
    }
    let left: Vec<&String> = ours.values().flat_map(|(routes, ..)| routes).collect();
    assert_eq!(
        left,
        ["POST /v2/{project_id}/servers/{server_id}/action"],
        "the repaired resize, nothing else"
    );
}

fn every_operation_is_reached_by_its_route_and_key() {
    let catalog = catalog();
    for operation in catalog.operations() {
        let path = sample_path(&operation.route);
        let call = catalog.resolve(&operation.method, &path, &body_of(operation)).expect(&path);
        assert!(std::ptr::eq(call.operation, operation), "{path} is {}", call.operation.title);
    }
}

fn every_published_example_body_selects_its_row() {
    let catalog = catalog();
    let mut selected = 0;
    for row in published_rows() {
        for body in row["body"].as_array().into_iter().flatten() {
            for route in strings(&row["routes"]) {
                let (method, template) = route.split_once(' ').expect("a route");
                let bytes = body["example"].to_string().into_bytes();
                let body = Body::Content { bytes, truncated: false };
                let path = sample_path(template);
                let call = catalog.resolve(method, &path, &body).expect(&route);
                assert_eq!(call.operation.title, row["title"].as_str().expect("a title"));
                selected += 1;
            }
        }
    }
    assert_eq!(selected, 28);
}

fn no_two_operations_answer_one_request() {
    let catalog = catalog();
    let mut seen = BTreeSet::new();
    let mut with_key: BTreeMap<(String, String), BTreeSet<bool>> = BTreeMap::new();
    for operation in catalog.operations() {
        let shape = sample_path(&operation.route);
        let request = (operation.method.to_string(), shape.clone(), operation.body_key.clone());
        assert!(seen.insert(request), "{} {} twice", operation.method, operation.route);
        let route = (operation.method.to_string(), shape);
        with_key.entry(route).or_default().insert(operation.body_key.is_some());
    }
    assert!(
        with_key.values().all(|kinds| kinds.len() == 1),
        "a route told by the body has no other operation"
    );
}

fn a_literal_beats_a_placeholder_in_every_published_overlap() {
    let catalog = catalog();
    let operations = catalog.operations();
    let mut overlaps = BTreeSet::new();
    for winner in operations {
        for loser in operations.iter().filter(|loser| loser.method == winner.method) {
            let Some(path) = common_path(&winner.route, &loser.route) else { continue };
            let found = catalog.resolve(&winner.method, &path, &body_of(winner)).expect(&path);
            assert_eq!(found.operation.route, winner.route, "{path} matches {} too", loser.route);
            overlaps.insert((winner.method.clone(), winner.route.clone(), loser.route.clone()));
        }
    }
    // Facts, 1.3: five literals and three crossings under v1 for GET, one crossing for POST, and one pair for each
    // of os-volumes and servers in v2 and v2.1.
    assert_eq!(overlaps.len(), 13);
}

/// A path that both templates match, if the first has the leftmost literal where they differ.
fn common_path(winner: &str, loser: &str) -> Option<String> {
    let (winner, loser): (Vec<&str>, Vec<&str>) = (winner.split('/').collect(), loser.split('/').collect());
    if winner.len() != loser.len() {
        return None;
    }
    let is_placeholder = |text: &str| text.starts_with('{');
    let mut path = Vec::new();
    let mut first_difference = None;
    for (ours, theirs) in winner.into_iter().zip(loser) {
        let (segment, difference) = match (is_placeholder(ours), is_placeholder(theirs)) {
            (false, false) if ours != theirs => return None,
            (false, true) => (ours, Some(true)),
            (true, false) => (theirs, Some(false)),
            (true, true) => ("x1", None),
            (false, false) => (ours, None),
        };
        first_difference = first_difference.or(difference);
        path.push(segment);
    }
    first_difference.filter(|ours_is_literal| *ours_is_literal).map(|_| path.join("/"))
}

fn aliases_are_the_published_older_names() {
    let catalog = catalog();
    let mut ours = BTreeSet::new();
    for (_, action) in catalog.actions() {
        ours.extend(action.older_names.iter().map(|older| (action.name.to_string(), older.to_string())));
    }
    let published = published(include_str!("published/aliases.json"));
    let aliases = published["aliases"].as_array().expect("aliases").iter();
    let text = |value: &Value| value.as_str().expect("a name").to_owned();
    let theirs = aliases.map(|alias| (text(&alias["current"]), text(&alias["older"]))).collect();
    assert_eq!(ours, theirs);
}

fn unlisted_body_keys_are_unknown() {
    let catalog = catalog();
    let unlisted = published(include_str!("published/unlisted.json"));
    let documented = unlisted["documented_body_keys_without_row"].as_array().expect("keys").iter();
    let nova = strings(&unlisted["nova_only_server_action_keys"]);
    let keys = documented.map(|entry| entry["key"].as_str().expect("a key").to_owned()).chain(nova);
    for key in keys {
        for version in ["v2", "v2.1"] {
            let path = format!("/{version}/p/servers/x1/action");
            let body = BodySummary { top_level_keys: vec![key.clone()], ..Default::default() };
            let error = catalog.resolve("POST", &path, &Body::Summary(body)).expect_err(&key);
            assert!(matches!(error, ResolveError::UnknownKey { .. }), "{key}: {error}");
        }
    }
}

fn system_policies_are_the_published_documents() {
    let published = published(include_str!("published/system_policies.json"));
    let theirs = published["policies"].as_object().expect("policies");
    for (name, theirs) in theirs {
        let ours = SYSTEM_POLICIES.into_iter().find(|(other, _)| other == name);
        let ours: Value = serde_json::from_str(ours.expect(name).1).expect("a document");
        assert_eq!(ours, theirs["document"], "{name}");
    }
    // The others are the roles that tokens name.
    assert_eq!(SYSTEM_POLICIES.len(), theirs.len() + 8);
    assert!(SYSTEM_POLICIES.is_sorted());
}
