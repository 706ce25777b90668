//! `cedar-policy`, in the encoding that is the fastest: a statement is a group of actions, and each action is in the groups of
//! the statements that cover it. So no text is compared; the requests are made beforehand, and the call's operation is known.

use std::collections::HashSet;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityUid, Policy, PolicyId, PolicySet, Request,
};
use ecs_authz::catalog::Catalog;
use ecs_authz::decision::Effect;

use super::Engine;
use crate::Outcome;
use crate::policies::{Statement, folded_name};
use crate::questions::{Asked, Question};

pub(crate) struct Cedar {
    authorizer: Authorizer,
    policies: PolicySet,
    entities: Entities,
    /// One for each action of the catalog, by its index.
    requests: Vec<Request>,
}

fn entity(kind: &str, id: &str) -> Outcome<EntityUid> {
    Ok(format!("{kind}::{id:?}").parse()?)
}

/// A statement of the principal's own policies, so the principal and the resource are any.
pub(crate) fn policy(number: usize, statement: &Statement) -> String {
    let effect = match statement.effect {
        Effect::Allow => "permit",
        Effect::Deny => "forbid",
    };
    format!("{effect}(principal, action in Action::\"statement {number}\", resource);")
}

impl Cedar {
    pub(crate) fn new(catalog: &Catalog, statements: &[Statement]) -> Outcome<Self> {
        let mut policies = PolicySet::new();
        for (number, statement) in statements.iter().enumerate() {
            let id = PolicyId::new(format!("statement {number}"));
            policies.add(Policy::parse(Some(id), policy(number, statement))?)?;
        }
        let (mut actions, mut requests) = (Vec::new(), Vec::new());
        for (_, action) in catalog.actions() {
            let name = folded_name(action);
            let covering = statements.iter().enumerate().filter(|(_, statement)| statement.covers(&name));
            let groups = covering.map(|(number, _)| entity("Action", &format!("statement {number}")));
            let uid = entity("Action", &name)?;
            actions.push(Entity::new_no_attrs(uid.clone(), groups.collect::<Outcome<HashSet<_>>>()?));
            let (principal, resource) = (entity("User", "u")?, entity("Server", "s")?);
            requests.push(Request::new(principal, uid, resource, Context::empty(), None)?);
        }
        let entities = Entities::from_entities(actions, None)?;
        Ok(Self { authorizer: Authorizer::new(), policies, entities, requests })
    }
}

impl Engine for Cedar {
    fn answer(&mut self, question: &Question, asked: Asked, answers: &mut Vec<bool>) -> Outcome<()> {
        for action in question.actions(asked) {
            let request = self.requests.get(action.index()).ok_or("no such action")?;
            let response = self.authorizer.is_authorized(request, &self.policies, &self.entities);
            // It would skip a policy that it can't evaluate.
            if let Some(error) = response.diagnostics().errors().next() {
                return Err(error.to_string().into());
            }
            answers.push(response.decision() == Decision::Allow);
        }
        Ok(())
    }
}
