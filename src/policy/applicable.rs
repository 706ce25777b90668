//! The policies that apply to a principal in a project: all that its [`PolicySet`](super::PolicySet) depends on.
//!
//! A role whose dependency roles are not all granted in the same stage takes no effect there (IAM user guide, Assigning
//! Dependency Roles).

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use super::compile::CompiledPolicy;
use super::policy_set::{Grant, Scope};
use super::system::display_name;

/// What a policy set is merged from. Two that are equal merge to the same set, whoever's they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Applicable {
    pub(super) project: Policies,
    /// By enterprise project.
    pub(super) enterprise: BTreeMap<Box<str>, Policies>,
}

/// Policies that apply together, sorted by name, each once.
///
/// They are equal if each is the very same one in memory. A policy that is held can't be replaced by another at its
/// place, so this is exact, and it costs the same however long the policies are.
#[derive(Debug, Clone, Default)]
pub(super) struct Policies(Arc<[Arc<CompiledPolicy>]>);

impl Applicable {
    /// The grants that apply in a project. The order of the grants makes no difference.
    #[must_use]
    pub fn of(project: Option<&str>, grants: &[Grant]) -> Self {
        // ECS is called in a project: without one, no grant applies.
        let Some(project) = project else { return Self::default() };
        let mut in_project = Vec::new();
        let mut in_enterprise: BTreeMap<&str, Vec<Arc<CompiledPolicy>>> = BTreeMap::new();
        for Grant { policy, scope } in grants {
            match scope {
                Scope::Project(id) if **id == *project => in_project.push(policy.clone()),
                Scope::AllProjects => in_project.push(policy.clone()),
                Scope::EnterpriseProject(id) => in_enterprise.entry(id).or_default().push(policy.clone()),
                Scope::Project(_) | Scope::Domain => {}
            }
        }
        let enterprise = in_enterprise.into_iter();
        Self {
            project: Policies::of(in_project),
            enterprise: enterprise.map(|(id, policies)| (id.into(), Policies::of(policies))).collect(),
        }
    }

    /// How many policies there are, which tells how long they take to merge.
    #[must_use]
    pub fn policy_count(&self) -> usize {
        self.project.len() + self.enterprise.values().map(|policies| policies.len()).sum::<usize>()
    }
}

impl Policies {
    fn of(mut policies: Vec<Arc<CompiledPolicy>>) -> Self {
        policies.sort_by(|a, b| a.name.cmp(&b.name));
        // INVARIANT: a name is one policy within a domain and its system policies.
        policies.dedup_by(|a, b| a.name == b.name);
        drop_roles_without_dependencies(&mut policies);
        Self(policies.into())
    }
}

/// Removes roles until all that are left have theirs. Roles that depend on each other stay.
fn drop_roles_without_dependencies(policies: &mut Vec<Arc<CompiledPolicy>>) {
    while policies.iter().any(|policy| !policy.depends.is_empty()) {
        let names: BTreeSet<String> =
            policies.iter().map(|policy| display_name(&policy.name).to_owned()).collect();
        let before = policies.len();
        policies.retain(|policy| policy.depends.iter().all(|role| names.contains(display_name(role))));
        if policies.len() == before {
            return;
        }
    }
}

impl Deref for Policies {
    type Target = [Arc<CompiledPolicy>];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl PartialEq for Policies {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().zip(other.iter()).all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

impl Eq for Policies {}

impl Hash for Policies {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.len().hash(state);
        self.iter().for_each(|policy| Arc::as_ptr(policy).hash(state));
    }
}
