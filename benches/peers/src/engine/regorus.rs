//! `regorus`, OPA's language in Rust, on its virtual machine. One query for all actions of a call; the input is made beforehand.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ecs_authz::catalog::Catalog;
use ecs_authz::decision::Effect;
use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::vm::RegoVM;
use regorus::{Engine as Rego, Value};
use serde_json::json;

use super::Engine;
use crate::Outcome;
use crate::policies::{Statement, folded_name};
use crate::questions::{Asked, Question};

/// Statements as they are, each pattern held against each action.
pub(crate) const LITERAL: &str = r#"package authz
import rego.v1
covered(effect, action) if {
    some statement in data.statements
    statement.effect == effect
    some pattern in statement.patterns
    glob.match(pattern, [":"], action)
}
allowed contains action if {
    some action in input.actions
    covered("allow", action)
    not covered("deny", action)
}
"#;

/// What is allowed is worked out beforehand, for every action.
pub(crate) const EXPANDED: &str = r#"package authz
import rego.v1
allowed contains action if {
    some action in input.actions
    data.allow[action]
    not data.deny[action]
}
"#;

const QUERY: &str = "data.authz.allowed";

pub(crate) struct Regorus {
    machine: RegoVM,
    /// By operation, and which actions are asked for.
    inputs: HashMap<(usize, Asked), Value>,
    /// The names of the catalog's actions, by their index.
    names: Vec<Value>,
}

/// The statements, for [`LITERAL`].
pub(crate) fn literal_data(statements: &[Statement]) -> serde_json::Value {
    let statements = statements.iter().map(|Statement { effect, patterns }| {
        let effect = if *effect == Effect::Allow { "allow" } else { "deny" };
        json!({"effect": effect, "patterns": patterns})
    });
    json!({"statements": statements.collect::<Vec<_>>()})
}

/// The actions that some statement allows, and those that some statement denies, for [`EXPANDED`].
pub(crate) fn expanded_data(catalog: &Catalog, statements: &[Statement]) -> serde_json::Value {
    let covered = |effect| {
        let about = |name: &String| {
            let mut these = statements.iter().filter(|statement| statement.effect == effect);
            these.any(|statement| statement.covers(name))
        };
        let names = catalog.actions().map(|(_, action)| folded_name(action)).filter(about);
        names.map(|name| (name, json!(true))).collect::<serde_json::Map<_, _>>()
    };
    json!({"allow": covered(Effect::Allow), "deny": covered(Effect::Deny)})
}

impl Regorus {
    pub(crate) fn new(
        module: &str,
        data: &serde_json::Value,
        catalog: &Catalog,
        operations: &[&Question],
    ) -> Outcome<Self> {
        let mut engine = Rego::new();
        engine.add_policy("authz.rego".to_owned(), module.to_owned())?;
        let data = Value::from_json_str(&data.to_string())?;
        engine.add_data(data.clone())?;
        let compiled = engine.compile_with_entrypoint(&Arc::from(QUERY))?;
        let program = Compiler::compile_from_policy(&compiled, &[QUERY])?;
        let mut machine = RegoVM::new_with_policy(compiled);
        machine.load_program(program);
        // Patterns by the thousand take more than it lets by itself.
        machine.set_max_instructions(usize::MAX);
        machine.set_data(data)?;
        let names: Vec<Value> =
            catalog.actions().map(|(_, action)| Value::from(folded_name(action))).collect();
        let mut inputs = HashMap::new();
        for question in operations {
            for asked in [Asked::Required, Asked::All] {
                let actions = question.actions(asked).filter_map(|action| names.get(action.index()).cloned());
                let input = BTreeMap::from([("actions".into(), actions.collect::<Vec<_>>().into())]);
                inputs.insert((question.operation, asked), input.into());
            }
        }
        Ok(Self { machine, inputs, names })
    }
}

impl Engine for Regorus {
    fn answer(&mut self, question: &Question, asked: Asked, answers: &mut Vec<bool>) -> Outcome<()> {
        let input = self.inputs.get(&(question.operation, asked)).ok_or("no such operation")?;
        self.machine.set_input(input.clone());
        let allowed = self.machine.execute_entry_point_by_name(QUERY)?;
        let allowed = allowed.as_set()?;
        for action in question.actions(asked) {
            let name = self.names.get(action.index()).ok_or("no such action")?;
            answers.push(allowed.contains(name));
        }
        Ok(())
    }
}
