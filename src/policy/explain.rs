//! Why a decision came out as it did: each statement that was looked at, and what kept it from applying.

use super::compile::CompiledStatement;
use super::outcome::Outcome;
use super::policy_set::PolicySet;
use super::resource::Resource;
use super::scene::Scene;
use crate::catalog::ActionId;
use crate::decision::StatementRef;

/// The most statements that are told: the nearest ones.
const MAX_CONSIDERED: usize = 64;

/// What was asked of the policies, and what each statement said.
#[derive(Debug)]
pub struct Explanation<'a> {
    /// The action that decided.
    pub action: ActionId,
    /// The resource that decided: of several that the call touches, the first on which it came out so.
    pub resource: Resource<'a>,
    /// The statements: those that apply first, then those of which the least failed.
    pub considered: Vec<Considered>,
}

/// A statement that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Considered {
    /// The statement.
    pub statement: StatementRef,
    /// Whether it applies to the call.
    pub applies: bool,
    /// What does not hold, or can't be told.
    pub failed: Vec<FailedPart>,
}

/// A part of a statement that does not hold, or can't be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedPart {
    /// `Action`, `Resource`, or a clause of the condition: `StringEquals['g:UserName']`.
    pub element: String,
    /// What the statement wants. Not told of actions.
    pub wanted: Vec<String>,
    /// What was seen. Nothing if it is not there, or can't be told.
    pub found: Vec<String>,
    /// Whether it can't be told.
    pub is_unclear: bool,
}

impl PolicySet {
    /// Explains the verdict on an action, by the resource that decided.
    pub(super) fn explain<'a>(
        &self,
        action: ActionId,
        scene: &Scene<'a>,
        resource: Resource<'a>,
    ) -> Explanation<'a> {
        let statements = self.statements(action, scene, &resource);
        let considered = statements.map(|(place, statement)| {
            let failed = statement.failed(action, scene, &resource);
            let is_about = statement.actions.contains(action);
            let applies = is_about && statement.applies(action, scene, &resource);
            Considered { statement: place, applies, failed }
        });
        let mut considered: Vec<Considered> = considered.collect();
        // Stable: statements that failed alike stay in the order of policy names.
        considered.sort_by_key(|considered| (!considered.applies, considered.failed.len()));
        considered.truncate(MAX_CONSIDERED);
        Explanation { action, resource, considered }
    }
}

impl CompiledStatement {
    fn applies(&self, action: ActionId, scene: &Scene<'_>, resource: &Resource<'_>) -> bool {
        let outcome = self.condition_outcome(scene, action).min(self.resource_outcome(resource));
        outcome.applies(self.effect)
    }

    fn failed(&self, action: ActionId, scene: &Scene<'_>, resource: &Resource<'_>) -> Vec<FailedPart> {
        let mut failed = Vec::new();
        if !self.actions.contains(action) {
            let found = vec![scene.setting.catalog.action_name(action).to_owned()];
            let element = "Action".to_owned();
            failed.push(FailedPart { element, wanted: Vec::new(), found, is_unclear: false });
        }
        let resources = self.resource_outcome(resource);
        if resources != Outcome::Met {
            let patterns = self.resources.iter().flatten();
            failed.push(FailedPart {
                element: "Resource".to_owned(),
                wanted: patterns.map(ToString::to_string).collect(),
                found: vec![resource.to_string()],
                is_unclear: resources == Outcome::Unclear,
            });
        }
        for condition in &self.conditions {
            let seen = scene.see(&condition.key, action);
            let outcome = condition.outcome(seen);
            if outcome != Outcome::Met {
                failed.push(FailedPart {
                    element: condition.element(),
                    wanted: condition.values.iter().map(ToString::to_string).collect(),
                    found: seen.values().map(|value| value.text().into_owned()).collect(),
                    is_unclear: outcome == Outcome::Unclear,
                });
            }
        }
        failed
    }
}
