//! Evaluates a call against a principal's policies. Pure: the same input gives the same decision.

use std::borrow::Cow;
use std::sync::Arc;

use super::explain::Explanation;
use super::policy_set::PolicySet;
use super::resource::Resource;
use super::scene::Scene;
use crate::catalog::{ActionId, Call};
use crate::decision::{Decision, DenyReason, DependencyMode, StatementRef, Verdict};

/// A decision and all that it rests on.
#[derive(Debug)]
pub struct Evaluation<'a> {
    /// The decision.
    pub decision: Decision,
    /// The actions that the call depends on.
    pub dependencies: Cow<'a, [ActionId]>,
    policies: Arc<PolicySet>,
    scene: Scene<'a>,
}

/// Evaluates a call. `mode` is the stricter of what the server and the request ask for.
#[must_use]
pub fn evaluate(scene: Scene<'_>, policies: Arc<PolicySet>, mode: DependencyMode) -> Evaluation<'_> {
    let operation = scene.call.operation;
    let dependencies = operation.dependencies(scene.request.body());
    let verdict = |action: &ActionId| policies.verdict(*action, &scene);
    let required = operation.actions.iter().map(verdict);
    let decision = Decision::of(required, dependencies.iter().map(verdict), mode);
    Evaluation { decision, dependencies, policies, scene }
}

impl<'a> Evaluation<'a> {
    /// The call.
    #[must_use]
    pub fn call(&self) -> &Call<'a, 'a> {
        &self.scene.call
    }

    /// What the policies say of an action.
    #[must_use]
    pub fn verdict(&self, action: ActionId) -> Verdict<'_> {
        self.policies.verdict(action, &self.scene)
    }

    /// The action that decided: the first required one that is denied, else the first that nothing allows, else the
    /// one that the operation is about.
    #[must_use]
    pub fn action(&self) -> Option<ActionId> {
        self.denied_action().or_else(|| self.scene.call.operation.actions.first().copied())
    }

    fn denied_action(&self) -> Option<ActionId> {
        let required = || self.scene.call.operation.actions.iter().copied();
        let first = |reason| required().find(|action| self.verdict(*action).denied() == Some(reason));
        first(DenyReason::ExplicitDeny).or_else(|| first(DenyReason::NoMatchingAllow))
    }

    /// The dependency actions that are not allowed.
    pub fn missing_dependencies(&self) -> impl Iterator<Item = ActionId> {
        let dependencies = self.dependencies.iter().copied();
        dependencies.filter(|action| self.verdict(*action).denied().is_some())
    }

    /// The statements that decided: the one that denies, or those that allow the required actions, each once.
    #[must_use]
    pub fn deciding_statements(&self) -> Vec<&StatementRef> {
        let denied = self.denied_action();
        let required = self.scene.call.operation.actions.iter().copied();
        let deciding = required.filter(move |action| denied.is_none_or(|denied| denied == *action));
        let mut statements: Vec<_> = deciding.filter_map(|action| self.verdict(action).statement()).collect();
        statements.dedup();
        statements
    }

    /// The resource that decided, if the call is a known operation.
    #[must_use]
    pub fn resource(&self) -> Option<Resource<'a>> {
        Some(self.policies.deciding_touch(self.action()?, &self.scene).resource)
    }

    /// All resources that the action that decided touches.
    #[must_use]
    pub fn resources(&self) -> Vec<Resource<'a>> {
        let touches = self.action().map(|action| self.scene.touches(action)).unwrap_or_default();
        touches.into_iter().map(|touch| touch.resource).collect()
    }

    /// What each statement said of the action that decided.
    #[must_use]
    pub fn explain(&self) -> Option<Explanation<'a>> {
        Some(self.policies.explain(self.action()?, &self.scene))
    }

    /// Every statement about a required action, whether it decided or not.
    pub fn considered_statements(&self) -> impl Iterator<Item = StatementRef> {
        let required = self.scene.call.operation.actions.iter();
        required.flat_map(|action| {
            let touch = self.policies.deciding_touch(*action, &self.scene);
            let statements = self.policies.statements(*action, &self.scene, &touch);
            statements.filter(|(_, statement)| statement.actions.contains(*action)).map(|(place, _)| place)
        })
    }
}
