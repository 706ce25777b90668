//! All policies of one principal in one project, merged: a verdict on an action is two bit tests, and the statements
//! with a resource or a condition that are about it.
//!
//! Grants of the project and of all projects are the first stage. Grants of an enterprise project are the second:
//! looked at only where no statement of the first is about the action, as the provider evaluates them (Enterprise
//! Management user guide, "What Are the Differences Between IAM and Enterprise Management"). The cost of a
//! verdict does not grow with the number of policies, only with that of conditional statements about the action.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::applicable::{Applicable, Policies};
use super::compile::{CompiledPolicy, CompiledStatement};
use super::outcome::Outcome;
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
}

impl PolicySet {
    /// Merges the policies that apply in a project.
    #[must_use]
    pub fn merge(applicable: &Applicable, action_count: usize) -> Self {
        let Applicable { project, enterprise } = applicable;
        let stage = |policies: &Policies| Stage::merge(policies.clone(), action_count);
        Self {
            project: stage(project),
            enterprise: enterprise.iter().map(|(id, policies)| (id.clone(), stage(policies))).collect(),
        }
    }

    /// What the policies say of an action, on all that the call touches with it.
    #[must_use]
    pub fn verdict(&self, action: ActionId, scene: &Scene<'_>) -> Verdict<'_> {
        let hearing = self.hear(action, scene);
        // Then it is the same on all of them, and a long list need not be read.
        if !hearing.depends_on_resources() {
            return hearing.verdict(None);
        }
        let mut verdict = None;
        for resource in scene.resources(action) {
            match hearing.verdict(Some(&resource)) {
                Verdict::Denied(statement) => return Verdict::Denied(statement),
                Verdict::Unmatched => verdict = Some(Verdict::Unmatched),
                Verdict::Allowed(statement) => verdict = verdict.or(Some(Verdict::Allowed(statement))),
            }
        }
        verdict.unwrap_or(Verdict::Unmatched)
    }

    /// Of the resources that the call touches with an action, the first on which the verdict is that on all.
    pub(super) fn deciding_resource<'a>(
        &self,
        action: ActionId,
        scene: &Scene<'a>,
        verdict: Verdict<'_>,
    ) -> Resource<'a> {
        let mut resources = scene.resources(action);
        if resources.len() > 1 {
            let hearing = self.hear(action, scene);
            let is_deciding = |it: &Resource<'_>| hearing.verdict(Some(it)).denied() == verdict.denied();
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
        let hearing = self.hear(action, scene);
        let is_open = hearing.first.verdict(action, Some(resource)) == Verdict::Unmatched;
        let second = hearing.second.filter(|_| is_open).map(|second| second.stage);
        std::iter::once(&self.project).chain(second).flat_map(Stage::statements)
    }

    /// Whether any statement has a resource or a condition.
    pub(super) fn has_conditions(&self) -> bool {
        let mut stages = std::iter::once(&self.project).chain(self.enterprise.values());
        stages.any(|stage| !stage.conditional.statements.is_empty())
    }

    /// Evaluates the conditions of all statements about an action, once for all resources.
    fn hear(&self, action: ActionId, scene: &Scene<'_>) -> Hearing<'_> {
        let second = scene.enterprise_project.and_then(|id| self.enterprise.get(id));
        Hearing {
            action,
            first: self.project.hear(action, scene),
            second: second.map(|stage| stage.hear(action, scene)),
        }
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
    conditional: Conditional,
}

/// Statements with a resource or a condition.
#[derive(Debug, Default)]
struct Conditional {
    /// In the order of policy names.
    statements: Box<[ConditionalRef]>,
    /// Indices into `statements`: those of the first action, then those of the next one.
    indices: Box<[u32]>,
    /// By action: where its indices end. Empty if there are none.
    ends: Box<[u32]>,
}

#[derive(Debug)]
struct ConditionalRef {
    place: StatementRef,
    /// The statement's policy among the stage's.
    policy: Arc<CompiledPolicy>,
}

/// What is left to ask once the conditions of an action's statements were evaluated: the resource.
#[derive(Debug)]
struct Hearing<'s> {
    action: ActionId,
    first: StageHearing<'s>,
    /// That of the resource's enterprise project, if it has one.
    second: Option<StageHearing<'s>>,
}

#[derive(Debug)]
struct StageHearing<'s> {
    stage: &'s Stage,
    candidates: Vec<Candidate<'s>>,
}

/// A conditional statement whose conditions do not rule it out.
#[derive(Debug)]
struct Candidate<'s> {
    place: &'s StatementRef,
    statement: &'s CompiledStatement,
    conditions: Outcome,
}

impl<'s> Hearing<'s> {
    fn depends_on_resources(&self) -> bool {
        std::iter::once(&self.first).chain(&self.second).any(|stage| !stage.candidates.is_empty())
    }

    fn verdict(&self, resource: Option<&Resource<'_>>) -> Verdict<'s> {
        match (self.first.verdict(self.action, resource), &self.second) {
            (Verdict::Unmatched, Some(second)) => second.verdict(self.action, resource),
            (verdict, _) => verdict,
        }
    }
}

impl<'s> StageHearing<'s> {
    /// A deny before an allow; of each, unconditional statements first, because they cost a bit test. Without a resource,
    /// no conditional statement is about the action.
    fn verdict(&self, action: ActionId, resource: Option<&Resource<'_>>) -> Verdict<'s> {
        let applying = |effect| {
            let resource = resource?;
            let mut candidates =
                self.candidates.iter().filter(|candidate| candidate.statement.effect == effect);
            candidates.find(|candidate| candidate.applies(resource)).map(|candidate| candidate.place)
        };
        if let Some(statement) = self.stage.denied.statement(action).or_else(|| applying(Effect::Deny)) {
            return Verdict::Denied(statement);
        }
        let allowing = self.stage.allowed.statement(action).or_else(|| applying(Effect::Allow));
        allowing.map_or(Verdict::Unmatched, Verdict::Allowed)
    }
}

impl Candidate<'_> {
    fn applies(&self, resource: &Resource<'_>) -> bool {
        self.conditions.min(self.statement.resource_outcome(resource)).applies(self.statement.effect)
    }
}

impl Conditional {
    fn gather(policies: &[Arc<CompiledPolicy>], action_count: usize) -> Self {
        let mut statements = Vec::new();
        let mut by_action = vec![Vec::new(); action_count];
        for policy in policies {
            for (index, statement) in policy.statements.iter().enumerate() {
                if statement.is_unconditional() {
                    continue;
                }
                // INVARIANT: a principal has fewer statements than an index can count: each takes a line of a file.
                let position = u32::try_from(statements.len()).unwrap_or(u32::MAX);
                for action in statement.actions.iter() {
                    by_action.get_mut(action.index()).into_iter().for_each(|list| list.push(position));
                }
                let place = StatementRef { policy: policy.name.clone(), index, effect: statement.effect };
                statements.push(ConditionalRef { place, policy: policy.clone() });
            }
        }
        if statements.is_empty() {
            return Self::default();
        }
        let mut indices = Vec::new();
        let ends = by_action.iter().map(|list| {
            indices.extend(list);
            u32::try_from(indices.len()).unwrap_or(u32::MAX)
        });
        Self { ends: ends.collect(), indices: indices.into(), statements: statements.into() }
    }

    fn about(&self, action: ActionId) -> impl Iterator<Item = &ConditionalRef> {
        let end = |action: usize| self.ends.get(action).map_or(0, |end| usize::try_from(*end).unwrap_or(0));
        let begin = action.index().checked_sub(1).map_or(0, end);
        let indices = self.indices.get(begin..end(action.index())).unwrap_or_default();
        indices.iter().filter_map(|index| self.statements.get(usize::try_from(*index).ok()?))
    }

    fn heap_bytes(&self) -> usize {
        size_of_val(&*self.statements) + size_of_val(&*self.indices) + size_of_val(&*self.ends)
    }
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

    fn hear(&self, action: ActionId, scene: &Scene<'_>) -> StageHearing<'_> {
        if self.conditional.statements.is_empty() {
            return StageHearing { stage: self, candidates: Vec::new() };
        }
        let candidates = self.conditional.about(action).filter_map(|ConditionalRef { place, policy }| {
            let statement = policy.statements.get(place.index)?;
            let conditions = statement.condition_outcome(scene, action);
            (conditions > Outcome::NotMet).then_some(Candidate { place, statement, conditions })
        });
        StageHearing { stage: self, candidates: candidates.collect() }
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
