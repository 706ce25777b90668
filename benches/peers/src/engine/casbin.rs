//! `casbin`: a line for each pattern, and deny beats allow. Its patterns are ours, by a function of our own: its `globMatch`
//! compiles the pattern in every call.

use casbin::function_map::OperatorFunction;
use casbin::rhai::Dynamic;
use casbin::{CoreApi as _, DefaultModel, Enforcer, MemoryAdapter, MgmtApi as _};
use ecs_authz::catalog::Catalog;
use ecs_authz::decision::Effect;
use tokio::runtime::Builder;

use super::Engine;
use crate::Outcome;
use crate::policies::{self, Statement, folded_name};
use crate::questions::{Asked, Question};

pub(crate) const MODEL: &str = "
[request_definition]
r = act
[policy_definition]
p = act, eft
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = covers(p.act, r.act)
";

pub(crate) struct Casbin {
    enforcer: Enforcer,
    /// The names of the catalog's actions, by their index.
    names: Vec<String>,
}

impl Casbin {
    pub(crate) fn new(catalog: &Catalog, statements: &[Statement]) -> Outcome<Self> {
        let runtime = Builder::new_current_thread().build()?;
        let enforcer = runtime.block_on(async {
            let model = DefaultModel::from_str(MODEL).await?;
            let mut enforcer = Enforcer::new(model, MemoryAdapter::default()).await?;
            enforcer.add_function("covers", OperatorFunction::Arg2(covers));
            enforcer.add_policies(lines(statements)).await?;
            Ok::<_, casbin::Error>(enforcer)
        })?;
        Ok(Self { enforcer, names: catalog.actions().map(|(_, action)| folded_name(action)).collect() })
    }
}

/// Each pattern and its effect, once: casbin refuses a line that it has.
fn lines(statements: &[Statement]) -> Vec<Vec<String>> {
    let mut lines: Vec<Vec<String>> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for Statement { effect, patterns } in statements {
        let effect = match effect {
            Effect::Allow => "allow",
            Effect::Deny => "deny",
        };
        for pattern in patterns {
            let line = vec![pattern.clone(), effect.to_owned()];
            if seen.insert(line.clone()) {
                lines.push(line);
            }
        }
    }
    lines
}

fn covers(pattern: Dynamic, name: Dynamic) -> Dynamic {
    let texts = (pattern.into_immutable_string(), name.into_immutable_string());
    matches!(texts, (Ok(pattern), Ok(name)) if policies::covers(&pattern, &name)).into()
}

impl Engine for Casbin {
    fn answer(&mut self, question: &Question, asked: Asked, answers: &mut Vec<bool>) -> Outcome<()> {
        for action in question.actions(asked) {
            let name = self.names.get(action.index()).ok_or("no such action")?;
            answers.push(self.enforcer.enforce((name.as_str(),))?);
        }
        Ok(())
    }
}
