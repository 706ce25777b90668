//! What one would write first: matchit for the routes, `serde_json` for the body, and every pattern held against every action.

use std::collections::HashMap;

use ecs_authz::catalog::{Body, Catalog};
use ecs_authz::decision::Effect;
use matchit::Router;
use serde_json::Value;

use super::Engine;
use crate::Outcome;
use crate::policies::{Statement, folded_name};
use crate::questions::{Asked, Question};

/// The names of an operation's actions.
struct Actions {
    required: Vec<String>,
    dependencies: Vec<String>,
    /// Dependencies if the body has a member.
    by_body: Vec<(String, Vec<String>)>,
}

/// What is behind a route: an operation, or one for each key of the body.
#[derive(Default)]
struct Target {
    alone: Option<Actions>,
    by_key: HashMap<String, Actions>,
}

pub(crate) struct Naive {
    routers: HashMap<String, Router<Target>>,
    statements: Vec<Statement>,
}

impl Naive {
    pub(crate) fn new(catalog: &Catalog, statements: &[Statement]) -> Outcome<Self> {
        let names = |ids: &[_]| -> Vec<String> {
            ids.iter().filter_map(|id| catalog.action(*id)).map(folded_name).collect()
        };
        let mut targets: HashMap<(String, String), Target> = HashMap::new();
        for operation in catalog.operations() {
            let actions = Actions {
                required: names(&operation.actions),
                dependencies: names(&operation.dependencies),
                by_body: operation
                    .body_dependencies
                    .iter()
                    .map(|(member, ids)| (member.to_string(), names(ids)))
                    .collect(),
            };
            let key = (operation.method.to_string(), with_plain_names(&operation.route));
            let target = targets.entry(key).or_default();
            match &operation.body_key {
                Some(key) => drop(target.by_key.insert(key.to_string(), actions)),
                None => target.alone = Some(actions),
            }
        }
        let mut routers: HashMap<String, Router<Target>> = HashMap::new();
        for ((method, route), target) in targets {
            routers.entry(method).or_default().insert(route, target)?;
        }
        Ok(Self { routers, statements: statements.to_vec() })
    }

    /// Deny beats allow.
    fn is_allowed(&self, name: &str) -> bool {
        let mut is_allowed = false;
        for statement in self.statements.iter().filter(|statement| statement.covers(name)) {
            match statement.effect {
                Effect::Deny => return false,
                Effect::Allow => is_allowed = true,
            }
        }
        is_allowed
    }
}

impl Engine for Naive {
    fn answer(&mut self, question: &Question, asked: Asked, answers: &mut Vec<bool>) -> Outcome<()> {
        let request = &question.request;
        let router = self.routers.get(request.method()).ok_or("no such method")?;
        let target = router.at(request.path())?.value;
        let needs_body = target.alone.as_ref().is_none_or(|actions| !actions.by_body.is_empty());
        let body: Value = match request.body() {
            Body::Content { bytes, .. } if needs_body => serde_json::from_slice(bytes)?,
            _ => Value::Null,
        };
        let key = || body.as_object().and_then(|object| object.keys().next());
        let by_key = || target.by_key.get(key()?);
        let actions = target.alone.as_ref().or_else(by_key).ok_or("no such operation")?;
        answers.extend(actions.required.iter().map(|name| self.is_allowed(name)));
        if asked == Asked::All {
            answers.extend(actions.dependencies.iter().map(|name| self.is_allowed(name)));
            for (_, names) in actions.by_body.iter().filter(|(member, _)| has_member(&body, member)) {
                answers.extend(names.iter().map(|name| self.is_allowed(name)));
            }
        }
        Ok(())
    }
}

fn has_member(body: &Value, path: &str) -> bool {
    path.split('.').try_fold(body, |value, key| value.get(key)).is_some()
}

/// matchit wants placeholders at the same place to have the same name.
fn with_plain_names(route: &str) -> String {
    let named = |(index, segment): (usize, &str)| match segment.starts_with('{') {
        true => format!("{{p{index}}}"),
        false => segment.to_owned(),
    };
    route.split('/').enumerate().map(named).collect::<Vec<_>>().join("/")
}
