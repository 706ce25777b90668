//! All policies of one principal in one project, merged: a verdict on an action is two bit tests.
//!
//! Grants of the project and of all projects are the first stage. Grants of an enterprise project are the second:
//! looked at only where no statement of the first is about the action, as the provider evaluates them (Enterprise
//! Management user guide, "What Are the Differences Between IAM and Enterprise Management"). The cost of a
//! verdict does not grow with the number of policies.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::compile::CompiledPolicy;
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
    project: Stage,
    /// By enterprise project.
    enterprise: BTreeMap<Box<str>, Stage>,
}

impl PolicySet {
    /// Merges the grants that apply in a project. The order of the grants makes no difference.
    #[must_use]
    pub fn merge(project: Option<&str>, grants: &[Grant], action_count: usize) -> Self {
        let mut in_project = Vec::new();
        let mut in_enterprise: BTreeMap<Box<str>, Vec<Arc<CompiledPolicy>>> = BTreeMap::new();
        for Grant { policy, scope } in grants {
            match scope {
                // ECS is called in a project: without one, no grant applies.
                _ if project.is_none() => {}
                Scope::Project(id) if Some(&**id) == project => in_project.push(policy.clone()),
                Scope::AllProjects => in_project.push(policy.clone()),
                Scope::EnterpriseProject(id) => {
                    in_enterprise.entry((**id).into()).or_default().push(policy.clone());
                }
                Scope::Project(_) | Scope::Domain => {}
            }
        }
        let enterprise = in_enterprise.into_iter();
        Self {
            project: Stage::merge(in_project, action_count),
            enterprise: enterprise.map(|(id, policies)| (id, Stage::merge(policies, action_count))).collect(),
        }
    }

    /// What the policies say of an action, on a resource of this enterprise project.
    #[must_use]
    pub fn verdict(&self, action: ActionId, enterprise_project: Option<&str>) -> Verdict<'_> {
        self.stage(action, enterprise_project).verdict(action)
    }

    /// Every statement about an action in the stage that decides, in the order of policy names.
    pub fn statements_about(
        &self,
        action: ActionId,
        enterprise_project: Option<&str>,
    ) -> impl Iterator<Item = StatementRef> {
        self.stage(action, enterprise_project).statements_about(action)
    }

    fn stage(&self, action: ActionId, enterprise_project: Option<&str>) -> &Stage {
        if self.project.verdict(action) != Verdict::Unmatched || self.enterprise.is_empty() {
            return &self.project;
        }
        enterprise_project.and_then(|id| self.enterprise.get(id)).unwrap_or(&self.project)
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
struct Stage {
    /// Sorted by name, each once.
    policies: Box<[Arc<CompiledPolicy>]>,
    denied: Decided,
    allowed: Decided,
}

/// The actions that statements of one effect are about, and for each the first such statement.
#[derive(Debug)]
struct Decided {
    actions: ActionSet,
    /// By action: an index into `statements`. Meaningless where `actions` has no bit.
    first: Box<[u16]>,
    statements: Vec<StatementRef>,
}

impl Stage {
    fn merge(mut policies: Vec<Arc<CompiledPolicy>>, action_count: usize) -> Self {
        policies.sort_by(|a, b| a.name.cmp(&b.name));
        // INVARIANT: a name is one policy within a domain and its system policies.
        policies.dedup_by(|a, b| a.name == b.name);
        Self {
            denied: Decided::gather(&policies, Effect::Deny, action_count),
            allowed: Decided::gather(&policies, Effect::Allow, action_count),
            policies: policies.into(),
        }
    }

    fn verdict(&self, action: ActionId) -> Verdict<'_> {
        if let Some(statement) = self.denied.statement(action) {
            return Verdict::Denied(statement);
        }
        self.allowed.statement(action).map_or(Verdict::Unmatched, Verdict::Allowed)
    }

    fn statements_about(&self, action: ActionId) -> impl Iterator<Item = StatementRef> {
        self.policies.iter().flat_map(move |policy| {
            let statements = policy.statements.iter().enumerate();
            let about = statements.filter(move |(_, statement)| statement.actions.contains(action));
            about.map(|(index, statement)| StatementRef {
                policy: policy.name.clone(),
                index,
                effect: statement.effect,
            })
        })
    }

    fn heap_bytes(&self) -> usize {
        size_of_val(&*self.policies) + self.denied.heap_bytes() + self.allowed.heap_bytes()
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
            for (index, statement) in statements.filter(|(_, statement)| statement.effect == effect) {
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
