//! Compiles tables: reads each file and checks the rows against each other.
//!
//! What passes here is unambiguous: where templates overlap, as published ones do, the route table takes the leftmost
//! literal, and no two rows are left for one request. `build.rs` runs it over
//! `src/catalog/tables/`, so a faulty table fails the build; the server runs it over `--table` files together
//! with the published rows, so a clash fails the start.

use std::collections::HashMap;

use super::row::{Route, Row};
use super::table::{self, TableError, TableFault};
use super::template::{self, Segment};

/// A table file: the name for messages and its text.
#[derive(Debug, Clone)]
pub struct Source {
    /// The path, as messages show it.
    pub file: String,
    /// The TOML text.
    pub text: String,
}

/// Reads tables and checks their rows together with the `published` ones.
///
/// # Errors
///
/// All faults of all files: of each row by itself, and only if there are none, those between rows.
pub(super) fn compile(published: &[Row], sources: &[Source]) -> Result<Vec<Row>, Vec<TableError>> {
    let mut rows = Vec::new();
    let mut errors = Vec::new();
    for source in sources {
        match table::read(&source.file, &source.text) {
            Ok(read) => {
                errors.extend(unsorted(&read));
                rows.extend(read);
            }
            Err(faults) => errors.extend(faults),
        }
    }
    if errors.is_empty() {
        let all: Vec<&Row> = published.iter().chain(&rows).collect();
        errors.extend(ambiguous(&all));
        errors.extend(folded_names(&all));
    }
    if errors.is_empty() { Ok(rows) } else { Err(errors) }
}

/// Rows of one file that stand before one that sorts before them.
fn unsorted(rows: &[Row]) -> Vec<TableError> {
    let key = |row: &Row| {
        let route = row.routes.first()?.clone();
        Some((route, row.body_key.clone()))
    };
    let mut errors = Vec::new();
    for pair in rows.windows(2) {
        let [before, found] = pair else { continue };
        let (Some((first, first_key)), Some((second, second_key))) = (key(before), key(found)) else {
            continue;
        };
        // Equal keys are the same request: `ambiguous` reports them with both places.
        if (table::sort_key(&first), first_key) > (table::sort_key(&second), second_key) {
            let fault =
                TableFault::UnsortedRow { found: table::display(&second), before: before.origin.clone() };
            errors.push(TableError { origin: found.origin.clone(), fault });
        }
    }
    errors
}

/// The part of a route that decides which requests it matches: placeholders match alike whatever their names.
fn shape(route: &Route) -> (&str, Vec<Option<&str>>) {
    let segments = template::parse(&route.template).unwrap_or_default();
    let literals = segments
        .iter()
        .map(|segment| match *segment {
            Segment::Literal(text) => Some(text),
            Segment::Placeholder(_) => None,
        })
        .collect();
    (&route.method, literals)
}

/// Pairs of rows that one request matches, or of which only one looks at the body.
fn ambiguous(rows: &[&Row]) -> Vec<TableError> {
    let mut seen: HashMap<(&str, Vec<Option<&str>>), Vec<&Row>> = HashMap::new();
    let mut errors = Vec::new();
    for row in rows {
        for route in row.routes.iter() {
            let siblings = seen.entry(shape(route)).or_default();
            if let Some(fault) = siblings.iter().find_map(|other| clash(route, row, other)) {
                errors.push(TableError { origin: row.origin.clone(), fault });
            }
            siblings.push(row);
        }
    }
    errors
}

fn clash(route: &Route, row: &Row, other: &Row) -> Option<TableFault> {
    let (route, other_origin) = (table::display(route), other.origin.clone());
    match (&row.body_key, &other.body_key) {
        (Some(_), None) | (None, Some(_)) => {
            Some(TableFault::SelectorWithoutSiblings { route, other: other_origin })
        }
        (key, other_key) if key == other_key => Some(TableFault::SameRequest { route, other: other_origin }),
        _ => None,
    }
}

/// Names that a policy can't tell apart, since type and verb fold case.
fn folded_names(rows: &[&Row]) -> Vec<TableError> {
    let mut seen: HashMap<String, &str> = HashMap::new();
    let mut errors = Vec::new();
    for row in rows {
        for name in names(row) {
            let other = *seen.entry(name.to_ascii_lowercase()).or_insert(name);
            if other != name {
                let fault = TableFault::ActionCase { found: name.to_owned(), other: other.to_owned() };
                errors.push(TableError { origin: row.origin.clone(), fault });
            }
        }
    }
    errors
}

/// Every action name of a row: needed, depended on, and older.
fn names(row: &Row) -> impl Iterator<Item = &str> {
    let by_body = row.body_dependencies.iter().flat_map(|entry| entry.dependencies.iter());
    let older = row.aliases.iter().map(|alias| &alias.older);
    row.actions.iter().chain(row.dependencies.iter()).chain(by_body).chain(older).map(AsRef::as_ref)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table whose rows start at line 4.
    fn table(rows: &str) -> Source {
        Source { file: "t.toml".into(), text: format!("table = \"t\"\ntitle = \"T\"\n\n{rows}") }
    }

    fn row(route: &str, more: &str) -> String {
        format!(
            "[[operation]]\ntitle = \"x\"\nroutes = [\"{route}\"]\nactions = [\"ecs:a:b\"]\n{more}\ntenancy = \"none\"\n"
        )
    }

    fn faults(rows: &str) -> Vec<String> {
        match compile(&[], &[table(rows)]) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.iter().map(ToString::to_string).collect(),
        }
    }

    #[track_caller]
    fn assert_fault(rows: &str, expected: &str) {
        assert_eq!(faults(rows), [expected]);
    }

    #[test]
    fn a_sound_table_compiles() {
        let rows = row("GET /s", "") + &row("GET /s/{id}", "dependencies = [\"evs:a:b\", \"vpc:a:b\"]");
        assert_eq!(faults(&rows), [""; 0]);
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let found = faults(&row("GET /s", "dependancies = []"));
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("t.toml:8: unknown field `dependancies`"), "{found:?}");
    }

    #[test]
    fn a_missing_field_is_refused() {
        assert_fault("[[operation]]\ntitle = \"x\"\nactions = []", "t.toml:4: missing field `routes`");
    }

    #[test]
    fn what_is_not_toml_is_refused() {
        assert!(faults("[[operation]").concat().starts_with("t.toml:4: "));
    }

    #[test]
    fn an_unsorted_row_is_refused() {
        assert_fault(
            &(row("GET /s/{id}", "") + &row("GET /s", "")),
            "t.toml:10: expected rows sorted by first route and body key: `GET /s` belongs before t.toml:4",
        );
    }

    #[test]
    fn a_duplicate_row_is_refused() {
        assert_fault(
            &(row("GET /s", "") + &row("GET /s", "")),
            "t.toml:10: `GET /s` is matched by the row at t.toml:4 too",
        );
    }

    #[test]
    fn a_route_without_a_method_is_refused() {
        assert_fault(&row("/s", ""), "t.toml:6: expected a route `METHOD /template`, found `/s`");
        assert_fault(&row("get /s", ""), "t.toml:6: expected a route `METHOD /template`, found `get /s`");
    }

    #[test]
    fn a_malformed_template_is_refused() {
        assert_fault(
            &row("GET /v1{project_id}/s", ""),
            "t.toml:6: malformed template in `GET /v1{project_id}/s`: \
             expected `v1{project_id}` to be a literal or a whole `{name}`: is a slash missing?",
        );
    }

    #[test]
    fn unsorted_or_repeated_routes_are_refused() {
        assert_fault(
            "[[operation]]\ntitle = \"x\"\nactions = [\"ecs:a:b\"]\nroutes = [\n\"GET /s\",\n\"GET /s\"]\ntenancy = \"none\"",
            "t.toml:9: expected `routes` sorted and without repetition: `GET /s` stands after `GET /s`",
        );
    }

    #[test]
    fn two_operations_for_one_request_are_refused() {
        let same = row("GET /s/{id}", "") + &row("GET /s/{name}", "");
        assert_fault(&same, "t.toml:10: `GET /s/{name}` is matched by the row at t.toml:4 too");
        let key = "body_key = \"k\"";
        let same_key = row("POST /s/{id}", key) + &row("POST /s/{name}", key);
        assert_fault(&same_key, "t.toml:10: `POST /s/{name}` is matched by the row at t.toml:4 too");
    }

    #[test]
    fn a_selector_without_siblings_is_refused() {
        assert_fault(
            &(row("POST /s", "") + &row("POST /s", "body_key = \"k\"")),
            "t.toml:10: `POST /s`: either every row of a route has a `body_key` or none: compare t.toml:4",
        );
    }

    #[test]
    fn a_name_that_is_not_an_action_is_refused() {
        for name in ["ecs:a", "ecs:a:b:c", "ECS:a:b", "ecs::b", "ecs:a:*", "", "ecs:a:b c"] {
            let rows = row("GET /s", "").replace("ecs:a:b", name);
            assert_fault(&rows, &format!("t.toml:7: expected an action `service:type:verb`, found `{name}`"));
        }
        assert_fault(
            &row("GET /s", "dependencies = [\"vpc\"]"),
            "t.toml:8: expected an action `service:type:verb`, found `vpc`",
        );
        assert_fault(
            &row("GET /s", "aliases = { \"ecs:a:b\" = [\"old\"] }"),
            "t.toml:8: expected an action `service:type:verb`, found `old`",
        );
    }

    #[test]
    fn an_action_twice_is_refused() {
        let rows = row("GET /s", "").replace("\"ecs:a:b\"", "\"ecs:a:b\", \"ecs:a:b\"");
        assert_fault(&rows, "t.toml:7: expected each action once, found `ecs:a:b` twice");
    }

    #[test]
    fn unsorted_or_repeated_dependencies_are_refused() {
        for (second, first) in [("evs:a:a", "evs:a:b"), ("evs:a:b", "evs:a:b")] {
            assert_fault(
                &row("GET /s", &format!("dependencies = [\"{first}\", \"{second}\"]")),
                &format!(
                    "t.toml:8: expected `dependencies` sorted and without repetition: \
                     `{second}` stands after `{first}`"
                ),
            );
        }
    }

    #[test]
    fn a_row_that_depends_on_itself_is_refused() {
        assert_fault(
            &row("GET /s", "dependencies = [\"ecs:a:b\"]"),
            "t.toml:8: expected dependencies besides the row's own action `ecs:a:b`",
        );
    }

    #[test]
    fn an_alias_of_a_foreign_action_is_refused() {
        assert_fault(
            &row("GET /s", "aliases = { \"ecs:x:y\" = [\"ecs:x:z\"] }"),
            "t.toml:8: expected aliases of the row's own actions, found `ecs:x:y`",
        );
    }

    #[test]
    fn empty_lists_are_refused() {
        assert_fault(
            "[[operation]]\ntitle = \"x\"\nroutes = []\nactions = [\"ecs:a:b\"]",
            "t.toml:4: expected at least one entry in `routes`",
        );
        assert_fault(
            "[[operation]]\ntitle = \"x\"\nroutes = [\"GET /s\"]\nactions = []\ntenancy = \"none\"",
            "t.toml:4: expected at least one entry in `actions`",
        );
        assert_fault(
            &row("GET /s", "body_dependencies = [{ member = \"a.b\", dependencies = [] }]"),
            "t.toml:8: expected at least one entry in `dependencies`",
        );
        assert_fault(
            &row("POST /s", "body_key = \"\""),
            "t.toml:4: expected at least one entry in `body_key`",
        );
    }

    #[test]
    fn a_route_without_a_project_is_refused_unless_the_row_says_so() {
        let rows = row("GET /s/{tenant_id}", "");
        assert_eq!(faults(&rows), [""; 0]);
        assert_fault(
            &rows.replace("tenancy = \"none\"", ""),
            "t.toml:6: expected `{project_id}` in `GET /s/{tenant_id}`, or `tenancy = \"none\"` in the row: \
             nothing else isolates tenants",
        );
        let with_project = row("GET /s/{project_id}", "").replace("tenancy = \"none\"", "");
        assert_eq!(faults(&with_project), [""; 0]);
    }

    #[test]
    fn a_malformed_member_path_is_refused() {
        assert_fault(
            &row("GET /s", "body_dependencies = [{ member = \"a..b\", dependencies = [\"evs:a:b\"] }]"),
            "t.toml:8: expected names joined by dots, such as `server.publicip`, found `a..b`",
        );
    }

    #[test]
    fn names_that_differ_only_in_case_are_refused() {
        assert_fault(
            &row("GET /s", "dependencies = [\"ecs:A:b\"]"),
            "t.toml:4: `ecs:A:b` differs from `ecs:a:b` only in letter case",
        );
    }

    #[test]
    fn all_faults_of_all_files_are_reported_at_once() {
        let sources = [table(&row("/s", "")), table(&row("GET /s/", ""))];
        assert_eq!(compile(&[], &sources).unwrap_err().len(), 2);
    }

    #[test]
    fn a_clash_with_a_published_row_is_refused() {
        let published = compile(&[], &[table(&row("GET /s/{id}", ""))]).unwrap();
        let errors = compile(&published, &[table(&row("GET /s/{x}", ""))]).unwrap_err();
        assert_eq!(errors[0].to_string(), "t.toml:4: `GET /s/{x}` is matched by the row at t.toml:4 too");
    }
}
