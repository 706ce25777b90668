//! All policies of one principal in one project, merged: a verdict on an action is two bit tests, and the statements
//! with a resource or a condition that are about it ([`super::hearing`]).
//!
//! Grants of the project and of all projects are the first stage. Grants of an enterprise project are the second:
//! looked at only where no statement of the first is about the action, as the provider evaluates them (Enterprise
//! Management user guide, "What Are the Differences Between IAM and Enterprise Management"). The cost of a
//! verdict does not grow with the number of policies, only with that of conditional statements about the action.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::applicable::{Applicable, Policies};
use super::compile::{CompiledPolicy, CompiledStatement};
use super::conditional::Conditional;
use super::hearing::{Hearing, Ruling, Said};
use super::resource::Resource;
use super::scene::Scene;
use crate::catalog::{ActionId, ActionSet};
use crate::decision::{Effect, StatementRef, Verdict};

/// A policy attached to a subject, and where it applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The policy.
    pub policy: Arc<CompiledPolicy>,
    /// Where it applies.
    pub scope: Scope,
}

/// Where a grant applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// In one project.
    Project(Arc<str>),
    /// In every project of the domain.
    AllProjects,
    /// To the resources of one enterprise project, in every project.
    EnterpriseProject(Arc<str>),
    /// To global services. ECS belongs to projects, so such a grant never applies to it.
    Domain,
}

/// The merged policies of one principal in one project.
#[derive(Debug)]
pub struct PolicySet {
    pub(super) project: Stage,
    /// By enterprise project.
    pub(super) enterprise: BTreeMap<Box<str>, Stage>,
    has_conditions: bool,
}

impl PolicySet {
    /// Merges the policies that apply in a project.
    #[must_use]
    pub fn merge(applicable: &Applicable, action_count: usize) -> Self {
        let Applicable { project, enterprise } = applicable;
        let stage = |policies: &Policies| Stage::merge(policies.clone(), action_count);
        let project = stage(project);
        let enterprise: BTreeMap<_, _> =
            enterprise.iter().map(|(id, policies)| (id.clone(), stage(policies))).collect();
        let mut stages = std::iter::once(&project).chain(enterprise.values());
        let has_conditions = stages.any(|stage| !stage.conditional.is_empty());
        Self { project, enterprise, has_conditions }
    }

    /// What the policies say of an action, on all that the call touches with it.
    #[must_use]
    pub fn verdict(&self, action: ActionId, scene: &Scene<'_>) -> Verdict<'_> {
        if !self.has_conditions {
            return self.decided(action, scene);
        }
        let actions = std::iter::once(action);
        if !scene.is_read() && self.asks_call(actions.clone(), scene) {
            return self.verdict(action, &scene.clone().read());
        }
        self.verdict_of(self.hear(actions, scene).ruling(action, scene), scene)
    }

    /// The verdict on an action by unconditional statements: two bit tests, and two more in an enterprise project.
    fn decided(&self, action: ActionId, scene: &Scene<'_>) -> Verdict<'_> {
        match self.project.decided(action) {
            Verdict::Unmatched => {
                self.second(scene).map_or(Verdict::Unmatched, |stage| stage.decided(action))
            }
            verdict => verdict,
        }
    }

    /// A ruling of this set, as a verdict.
    pub(super) fn verdict_of(&self, ruling: Ruling, scene: &Scene<'_>) -> Verdict<'_> {
        let Ruling { action, said, conditional } = ruling;
        let (stage, effect) = match said {
            Said::First(effect) => (Some(&self.project), effect),
            Said::Second(effect) => (self.second(scene), effect),
            Said::Nothing => return Verdict::Unmatched,
        };
        stage.map_or(Verdict::Unmatched, |stage| match conditional {
            Some(number) => stage.conditional.verdict(number, effect),
            None => stage.decided(action),
        })
    }

    /// Of the resources that the call touches with an action, the first on which the verdict is that on all.
    pub(super) fn deciding_resource<'a, 'v>(
        &self,
        action: ActionId,
        scene: &Scene<'a>,
        verdict: impl FnOnce() -> Verdict<'v>,
    ) -> Resource<'a> {
        let mut resources = scene.resources(action);
        if resources.len() > 1 {
            let verdict = verdict();
            let hearing = self.hear(std::iter::once(action), scene);
            let on = |it: &Resource<'_>| self.verdict_of(hearing.ruling_on(action, Some(it)), scene);
            let is_deciding = |it: &Resource<'_>| on(it).denied() == verdict.denied();
            // INVARIANT: the verdict on all is that on one of them.
            resources.drain(..resources.iter().position(is_deciding).unwrap_or(0));
        }
        resources.into_iter().next().unwrap_or_else(|| scene.setting.resource(action, None, None))
    }

    /// The statements that are looked at for an action: those of the first stage, and where none of them is about it, of
    /// the second.
    pub(super) fn statements<'s>(
        &'s self,
        action: ActionId,
        scene: &Scene<'_>,
        resource: &Resource<'_>,
    ) -> impl Iterator<Item = (StatementRef, &'s CompiledStatement)> + use<'s> {
        let ruling = self.hear(std::iter::once(action), scene).ruling_on(action, Some(resource));
        let is_open = !matches!(ruling.said, Said::First(_));
        let second = self.second(scene).filter(|_| is_open);
        std::iter::once(&self.project).chain(second).flat_map(Stage::statements)
    }

    /// Whether any statement has a resource or a condition.
    pub(super) fn has_conditions(&self) -> bool {
        self.has_conditions
    }

    /// Whether a conditional statement about one of these actions asks for what the call tells.
    pub(super) fn asks_call(
        &self,
        actions: impl Iterator<Item = ActionId> + Clone,
        scene: &Scene<'_>,
    ) -> bool {
        let stages = std::iter::once(&self.project).chain(self.second(scene));
        let mut asking = stages.filter(|stage| stage.conditional.any_asks_call());
        asking.any(|stage| actions.clone().any(|action| stage.conditional.asks_call(action)))
    }

    /// Evaluates the conditions of all statements that can decide on one of these actions, each once.
    ///
    /// INVARIANT: the scene was read, if [`Self::asks_call`].
    pub(super) fn hear(
        &self,
        actions: impl Iterator<Item = ActionId> + Clone,
        scene: &Scene<'_>,
    ) -> Hearing<'_> {
        Hearing::of(&self.project, self.second(scene), actions, scene)
    }

    /// The stage of the enterprise project that the call goes to.
    fn second(&self, scene: &Scene<'_>) -> Option<&Stage> {
        scene.enterprise_project.and_then(|id| self.enterprise.get(id))
    }

    /// About how many bytes the set holds. Policies are shared with other sets and count as pointers.
    #[must_use]
    pub fn approximate_bytes(&self) -> usize {
        let enterprise = self.enterprise.iter();
        let stages = enterprise.map(|(id, stage)| size_of::<Stage>() + id.len() + stage.heap_bytes());
        size_of::<Self>() + self.project.heap_bytes() + stages.sum::<usize>()
    }
}

/// Policies that apply together.
#[derive(Debug)]
pub(super) struct Stage {
    policies: Policies,
    denied: Decided,
    allowed: Decided,
    pub(super) conditional: Conditional,
}

/// The actions that unconditional statements of one effect are about, and for each the first such statement.
#[derive(Debug)]
struct Decided {
    actions: ActionSet,
    /// By action: an index into `statements`. Meaningless where `actions` has no bit.
    first: Box<[u16]>,
    statements: Vec<StatementRef>,
}

impl Stage {
    fn merge(policies: Policies, action_count: usize) -> Self {
        Self {
            denied: Decided::gather(&policies, Effect::Deny, action_count),
            allowed: Decided::gather(&policies, Effect::Allow, action_count),
            conditional: Conditional::gather(&policies, action_count),
            policies,
        }
    }

    /// What unconditional statements say of an action. A deny before an allow; each costs a bit test.
    pub(super) fn decided(&self, action: ActionId) -> Verdict<'_> {
        if let Some(statement) = self.denied.statement(action) {
            return Verdict::Denied(statement);
        }
        self.allowed.statement(action).map_or(Verdict::Unmatched, Verdict::Allowed)
    }

    fn statements(&self) -> impl Iterator<Item = (StatementRef, &CompiledStatement)> {
        self.policies.iter().flat_map(|policy| {
            let statements = policy.statements.iter().enumerate();
            statements.map(|(index, statement)| {
                let place = StatementRef { policy: policy.name.clone(), index, effect: statement.effect };
                (place, statement)
            })
        })
    }

    /// The statements about an action.
    pub(super) fn about(&self, action: ActionId) -> impl Iterator<Item = (StatementRef, &CompiledStatement)> {
        self.statements().filter(move |(_, statement)| statement.actions.contains(action))
    }

    fn heap_bytes(&self) -> usize {
        size_of_val(&*self.policies)
            + self.denied.heap_bytes()
            + self.allowed.heap_bytes()
            + self.conditional.heap_bytes()
    }
}

impl Decided {
    fn gather(policies: &[Arc<CompiledPolicy>], effect: Effect, action_count: usize) -> Self {
        let mut decided = Self {
            actions: ActionSet::empty(action_count),
            first: vec![0; action_count].into(),
            statements: Vec::new(),
        };
        for policy in policies {
            let statements = policy.statements.iter().enumerate();
            let unconditional =
                |statement: &CompiledStatement| statement.effect == effect && statement.is_unconditional();
            for (index, statement) in statements.filter(|(_, statement)| unconditional(statement)) {
                let place = StatementRef { policy: policy.name.clone(), index, effect };
                decided.add(&statement.actions, place);
            }
        }
        decided.statements.shrink_to_fit();
        decided
    }

    /// Adds a statement, if it is the first about some action. So there are no more than there are actions, and
    /// an index into them is no larger than one into those.
    fn add(&mut self, actions: &ActionSet, statement: StatementRef) {
        let Ok(index) = u16::try_from(self.statements.len()) else { return };
        let mut is_first = false;
        for action in actions.iter() {
            if let Some(first) = self.first.get_mut(action.index())
                && !self.actions.contains(action)
            {
                *first = index;
                self.actions.insert(action);
                is_first = true;
            }
        }
        if is_first {
            self.statements.push(statement);
        }
    }

    fn statement(&self, action: ActionId) -> Option<&StatementRef> {
        if !self.actions.contains(action) {
            return None;
        }
        self.statements.get(usize::from(*self.first.get(action.index())?))
    }

    fn heap_bytes(&self) -> usize {
        self.actions.heap_bytes() + size_of_val(&*self.first) + size_of_val(self.statements.as_slice())
    }
}
