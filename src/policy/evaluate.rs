//! Evaluates a call against a principal's policies. Pure: the same input gives the same decision.

use std::borrow::Cow;
use std::sync::Arc;

use super::policy_set::PolicySet;
use crate::catalog::{ActionId, Call};
use crate::decision::{Decision, DenyReason, DependencyMode, StatementRef, Verdict};
use crate::request::Request;

/// A decision and all that it rests on.
#[derive(Debug)]
pub struct Evaluation<'a> {
    /// The decision.
    pub decision: Decision,
    /// The actions that the call depends on.
    pub dependencies: Cow<'a, [ActionId]>,
    /// The call.
    pub call: Call<'a, 'a>,
    policies: Arc<PolicySet>,
    enterprise_project: Option<&'a str>,
}

/// Evaluates a call. `mode` is the stricter of what the server and the request ask for.
#[must_use]
pub fn evaluate<'a>(
    call: Call<'a, 'a>,
    request: &'a Request,
    policies: Arc<PolicySet>,
    mode: DependencyMode,
) -> Evaluation<'a> {
    let enterprise_project = request.enterprise_project();
    let dependencies = call.operation.dependencies(request.body());
    let verdict = |action: &ActionId| policies.verdict(*action, enterprise_project);
    let required = call.operation.actions.iter().map(verdict);
    let decision = Decision::of(required, dependencies.iter().map(verdict), mode);
    Evaluation { decision, dependencies, call, policies, enterprise_project }
}

impl Evaluation<'_> {
    /// What the policies say of an action.
    #[must_use]
    pub fn verdict(&self, action: ActionId) -> Verdict<'_> {
        self.policies.verdict(action, self.enterprise_project)
    }

    /// The action that decided: the first required one that is denied, else the first that nothing allows, else the
    /// one that the operation is about.
    #[must_use]
    pub fn action(&self) -> Option<ActionId> {
        self.denied_action().or_else(|| self.call.operation.actions.first().copied())
    }

    fn denied_action(&self) -> Option<ActionId> {
        let required = || self.call.operation.actions.iter().copied();
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
        let required = self.call.operation.actions.iter().copied();
        let deciding = required.filter(move |action| denied.is_none_or(|denied| denied == *action));
        let mut statements: Vec<_> = deciding.filter_map(|action| self.verdict(action).statement()).collect();
        statements.dedup();
        statements
    }

    /// Every statement about a required action, whether it decided or not.
    pub fn considered_statements(&self) -> impl Iterator<Item = StatementRef> {
        let required = self.call.operation.actions.iter();
        required.flat_map(|action| self.policies.statements_about(*action, self.enterprise_project))
    }
}
