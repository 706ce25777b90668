//! Evaluates a call against a principal's policies. Pure: the same input gives the same decision.

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;

use super::explain::Explanation;
use super::hearing::Ruling;
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
    /// The rulings on the call's actions, where conditions make them costly; else empty.
    rulings: Rulings,
}

/// Few calls have more actions than fit without the heap, and a decision is moved.
type Rulings = SmallVec<[Ruling; 8]>;

/// The statements that decided. Mostly it is one.
pub type Statements<'e> = SmallVec<[&'e StatementRef; 2]>;

/// The verdict on an action: as ruled, or else two bit tests.
fn ruled<'v>(
    rulings: &[Ruling],
    action: ActionId,
    policies: &'v PolicySet,
    scene: &Scene<'_>,
) -> Verdict<'v> {
    let ruling = rulings.iter().find(|ruling| ruling.action == action);
    ruling.map_or_else(|| policies.verdict(action, scene), |ruling| policies.verdict_of(*ruling, scene))
}

/// Evaluates a call. `mode` is the stricter of what the server and the request ask for.
#[must_use]
pub fn evaluate(scene: Scene<'_>, policies: Arc<PolicySet>, mode: DependencyMode) -> Evaluation<'_> {
    let mut scene = scene;
    let operation = scene.call.operation;
    let dependencies = operation.dependencies(scene.request.body());
    let mut rulings = Rulings::new();
    if policies.has_conditions() {
        let actions = operation.actions.iter().chain(dependencies.iter()).copied();
        if policies.asks_call(actions.clone(), &scene) {
            scene = scene.read();
        }
        let hearing = policies.hear(actions.clone(), &scene);
        rulings.extend(actions.map(|action| hearing.ruling(action, &scene)));
    }
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

    /// The first required action that is denied for the reason that decided, if it was one of them that decided.
    fn denied_action(&self) -> Option<ActionId> {
        let Decision::Deny(reason @ (DenyReason::ExplicitDeny | DenyReason::NoMatchingAllow)) = self.decision
        else {
            return None;
        };
        let mut required = self.scene.call.operation.actions.iter().copied();
        required.find(|action| self.verdict(*action).denied() == Some(reason))
    }

    /// The dependency actions that are not allowed.
    pub fn missing_dependencies(&self) -> impl Iterator<Item = ActionId> {
        let dependencies = self.dependencies.iter().copied();
        dependencies.filter(|action| self.verdict(*action).denied().is_some())
    }

    /// The statements that decided: the one that denies, or those that allow the required actions, each once.
    #[must_use]
    pub fn deciding_statements(&self) -> Statements<'_> {
        let denied = self.denied_action();
        let mut statements = Statements::new();
        for action in &self.scene.call.operation.actions {
            if denied.is_none_or(|denied| denied == *action)
                && let Some(statement) = self.verdict(*action).statement()
                && statements.last() != Some(&statement)
            {
                statements.push(statement);
            }
        }
        statements
    }

    /// The resource that decided, if the call is a known operation.
    #[must_use]
    pub fn resource(&self) -> Option<Resource<'a>> {
        self.action().map(|action| self.resource_of(action))
    }

    fn resource_of(&self, action: ActionId) -> Resource<'a> {
        self.policies.deciding_resource(action, &self.scene, || self.verdict(action))
    }

    /// All resources that the action that decided touches.
    #[must_use]
    pub fn resources(&self) -> Vec<Resource<'a>> {
        self.action().map(|action| self.scene.resources(action).into_vec()).unwrap_or_default()
    }

    /// What each statement said of the action that decided.
    #[must_use]
    pub fn explain(&self) -> Option<Explanation<'a>> {
        // Statements about other actions may ask what those about this call's did not.
        let scene = self.scene.clone().read();
        self.action().map(|action| self.policies.explain(action, &scene, self.resource_of(action)))
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
