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
    /// The verdicts on the call's actions, where conditions make them costly; else empty.
    rulings: Box<[(ActionId, Ruling)]>,
}

/// A verdict that stands by itself.
#[derive(Debug)]
enum Ruling {
    Allowed(StatementRef),
    Denied(StatementRef),
    Unmatched,
}

impl From<Verdict<'_>> for Ruling {
    fn from(verdict: Verdict<'_>) -> Self {
        match verdict {
            Verdict::Allowed(statement) => Self::Allowed(statement.clone()),
            Verdict::Denied(statement) => Self::Denied(statement.clone()),
            Verdict::Unmatched => Self::Unmatched,
        }
    }
}

impl Ruling {
    fn verdict(&self) -> Verdict<'_> {
        match self {
            Self::Allowed(statement) => Verdict::Allowed(statement),
            Self::Denied(statement) => Verdict::Denied(statement),
            Self::Unmatched => Verdict::Unmatched,
        }
    }
}

/// The verdict on an action: as ruled, or else two bit tests.
fn ruled<'v>(
    rulings: &'v [(ActionId, Ruling)],
    action: ActionId,
    policies: &'v PolicySet,
    scene: &Scene<'_>,
) -> Verdict<'v> {
    let ruling = rulings.iter().find(|(other, _)| *other == action);
    ruling.map_or_else(|| policies.verdict(action, scene), |(_, ruling)| ruling.verdict())
}

/// Evaluates a call. `mode` is the stricter of what the server and the request ask for.
#[must_use]
pub fn evaluate(scene: Scene<'_>, policies: Arc<PolicySet>, mode: DependencyMode) -> Evaluation<'_> {
    let has_conditions = policies.has_conditions();
    let scene = if has_conditions { scene.read() } else { scene };
    let operation = scene.call.operation;
    let dependencies = operation.dependencies(scene.request.body());
    let rulings = if has_conditions {
        let actions = operation.actions.iter().chain(dependencies.iter());
        actions.map(|action| (*action, Ruling::from(policies.verdict(*action, &scene)))).collect()
    } else {
        Box::default()
    };
    let verdict = |action: &ActionId| ruled(&rulings, *action, &policies, &scene);
    let required = operation.actions.iter().map(verdict);
    let decision = Decision::of(required, dependencies.iter().map(verdict), mode);
    Evaluation { decision, dependencies, policies, scene, rulings }
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
        ruled(&self.rulings, action, &self.policies, &self.scene)
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
        self.action().map(|action| self.resource_of(action))
    }

    fn resource_of(&self, action: ActionId) -> Resource<'a> {
        self.policies.deciding_resource(action, &self.scene, self.verdict(action))
    }

    /// All resources that the action that decided touches.
    #[must_use]
    pub fn resources(&self) -> Vec<Resource<'a>> {
        self.action().map(|action| self.scene.resources(action)).unwrap_or_default()
    }

    /// What each statement said of the action that decided.
    #[must_use]
    pub fn explain(&self) -> Option<Explanation<'a>> {
        self.action().map(|action| self.policies.explain(action, &self.scene, self.resource_of(action)))
    }

    /// Every statement about a required action, whether it decided or not.
    pub fn considered_statements(&self) -> impl Iterator<Item = StatementRef> {
        let required = self.scene.call.operation.actions.iter();
        required.flat_map(|action| {
            let resource = self.resource_of(*action);
            let statements = self.policies.statements(*action, &self.scene, &resource);
            statements.filter(|(_, statement)| statement.actions.contains(*action)).map(|(place, _)| place)
        })
    }
}
