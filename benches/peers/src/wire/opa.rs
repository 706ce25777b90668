//! OPA with its Envoy plugin: a rule for each route, which OPA indexes by method and path, and the principal's policies as data.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use ecs_authz::catalog::{ActionId, Catalog};
use serde_json::{Map, Value, json};

use super::asking::Asking;
use super::process::{Core, Server, command, free_port};
use crate::Outcome;
use crate::engine::regorus::{expanded_data, literal_data};
use crate::policies::{Policy, folded_name, statements};

/// What is the same for every policy. `required` and `permitted` are added.
const DECISION: &str = r#"package authz
import rego.v1

claims := input.attributes.metadataContext.filterMetadata["envoy.filters.http.jwt_authn"].jwt_payload

default allow := false

allow if {
    every action in required { permitted(action) }
}

sole_key := key if {
    count(input.parsed_body) == 1
    some key, _ in input.parsed_body
}
"#;

/// How policies are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// What is allowed and denied is worked out beforehand, for every action.
    Expanded,
    /// Each pattern is held against the action.
    Patterns,
}

impl Encoding {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Expanded => "actions expanded beforehand",
            Self::Patterns => "patterns",
        }
    }

    const fn permitted(self) -> &'static str {
        match self {
            Self::Expanded => {
                r#"
permitted(action) if {
    some group in claims.groups
    data.groups[group].allow[action]
    not denied(action)
}

denied(action) if {
    some group in claims.groups
    data.groups[group].deny[action]
}
"#
            }
            Self::Patterns => {
                r#"
permitted(action) if {
    covered("allow", action)
    not covered("deny", action)
}

covered(effect, action) if {
    some group in claims.groups
    some statement in data.groups[group].statements
    statement.effect == effect
    some pattern in statement.patterns
    glob.match(pattern, [":"], action)
}
"#
            }
        }
    }
}

/// A fresh server over these policies.
pub(super) fn start(
    program: &Path,
    policies: &[Policy],
    asking: &Asking<'_>,
    encoding: Encoding,
) -> Outcome<Server> {
    let files = tempfile::tempdir()?;
    let folder = files.path().join("policies");
    fs::create_dir_all(&folder)?;
    let routes = Routes::of(asking.catalog)?;
    fs::write(folder.join("authz.rego"), [DECISION, encoding.permitted(), &routes.rules].concat())?;
    let statements = statements(policies, asking.catalog);
    let of_group = match encoding {
        Encoding::Expanded => expanded_data(asking.catalog, &statements),
        Encoding::Patterns => literal_data(&statements),
    };
    let group = asking.principal().group_ids.first().ok_or("the principal is in no group")?;
    fs::write(
        folder.join("data.json"),
        json!({"groups": {group: of_group}, "by_key": routes.by_key}).to_string(),
    )?;
    let (grpc, http) = (free_port()?, free_port()?);
    let config = json!({"plugins": {"envoy_ext_authz_grpc": {
        "addr": format!("127.0.0.1:{grpc}"), "path": "authz/allow", "dry-run": false, "enable-reflection": false,
    }}});
    let file = files.path().join("config.json");
    fs::write(&file, config.to_string())?;
    let mut command = command(Core::Server, program);
    command.args(["run", "--server", "--disable-telemetry", "--log-level=error"]);
    command
        .arg(format!("--addr=127.0.0.1:{http}"))
        .arg(format!("--config-file={}", file.display()))
        .arg(folder);
    Server::start(command, files, grpc)
}

/// What the published table is for OPA.
struct Routes {
    /// A rule `required` for each route.
    rules: String,
    /// The required actions where a key of the body tells the operation, by route and key.
    by_key: Map<String, Value>,
}

/// A route: its method, and its segments, nothing for a placeholder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Route {
    method: String,
    segments: Vec<Option<String>>,
    /// The position of the project among the segments.
    project: Option<usize>,
}

impl Routes {
    fn of(catalog: &Catalog) -> Outcome<Self> {
        let mut routes: BTreeMap<Route, BTreeMap<Option<String>, Vec<String>>> = BTreeMap::new();
        for operation in catalog.operations() {
            let route = Route::parse(&operation.method, &operation.route);
            let key = operation.body_key.as_ref().map(ToString::to_string);
            routes.entry(route).or_default().insert(key, names(catalog, &operation.actions));
        }
        let all: Vec<Route> = routes.keys().cloned().collect();
        let (mut rules, mut by_key) = (String::new(), Map::new());
        for (number, (route, operations)) in routes.into_iter().enumerate() {
            let value = match operations.get(&None) {
                Some(actions) => json!(actions).to_string(),
                None => {
                    let number = format!("route {number}");
                    let value = format!("data.by_key[{number:?}][sole_key]");
                    let keyed =
                        operations.into_iter().filter_map(|(key, actions)| Some((key?, json!(actions))));
                    by_key.insert(number, keyed.collect::<Map<_, _>>().into());
                    value
                }
            };
            write!(rules, "\nrequired := {value} if {{\n{}}}\n", route.conditions(&all)?)?;
        }
        Ok(Self { rules, by_key })
    }
}

fn names(catalog: &Catalog, actions: &[ActionId]) -> Vec<String> {
    actions.iter().filter_map(|id| catalog.action(*id)).map(folded_name).collect()
}

impl Route {
    fn parse(method: &str, template: &str) -> Self {
        let texts: Vec<&str> = template.trim_start_matches('/').split('/').collect();
        let segment = |text: &&str| (!text.starts_with('{')).then(|| (*text).to_owned());
        Self {
            method: method.to_owned(),
            segments: texts.iter().map(segment).collect(),
            project: texts.iter().position(|text| *text == "{project_id}"),
        }
    }

    /// The conditions of the rule: the method, the path, the principal's project, and that no more literal route fits.
    fn conditions(&self, all: &[Self]) -> Result<String, std::fmt::Error> {
        let variable = |(index, segment): (usize, &Option<String>)| match segment {
            Some(text) => format!("{text:?}"),
            None => format!("p{index}"),
        };
        let path: Vec<String> = self.segments.iter().enumerate().map(variable).collect();
        let mut text = format!("    input.attributes.request.http.method == {:?}\n", self.method);
        writeln!(text, "    input.parsed_path = [{}]", path.join(", "))?;
        if let Some(index) = self.project {
            writeln!(text, "    p{index} == claims.project.id")?;
        }
        for (index, literal) in self.taken(all) {
            writeln!(text, "    p{index} != {literal:?}")?;
        }
        Ok(text)
    }

    /// Literals at the places of placeholders, by which other routes fit as well.
    fn taken<'a>(&self, all: &'a [Self]) -> BTreeSet<(usize, &'a str)> {
        let fits = |other: &&Self| {
            let segments = || self.segments.iter().zip(&other.segments);
            *other != self
                && other.method == self.method
                && other.segments.len() == self.segments.len()
                && segments().all(|(own, theirs)| own.is_none() || own == theirs)
        };
        let literals = |other: &'a Self| {
            let theirs = other.segments.iter().enumerate().zip(&self.segments);
            theirs.filter_map(|((index, theirs), own)| match (theirs, own) {
                (Some(literal), None) => Some((index, literal.as_str())),
                _ => None,
            })
        };
        all.iter().filter(fits).flat_map(literals).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_is_nothing_that_another_route_says() {
        let routes = [
            "/v1/{project_id}/servers/{id}",
            "/v1/{project_id}/servers/detail",
            "/v1/{project_id}/flavors/{id}",
        ];
        let routes = routes.map(|template| Route::parse("GET", template));
        let conditions = routes.each_ref().map(|route| route.conditions(&routes).unwrap());
        let [general, literal, other] = conditions;
        assert!(
            general.contains(
                "[\"v1\", p1, \"servers\", p3]\n    p1 == claims.project.id\n    p3 != \"detail\"\n"
            ),
            "{general}"
        );
        assert!(!literal.contains("!="), "{literal}");
        assert!(!other.contains("!="), "{other}");
    }
}
