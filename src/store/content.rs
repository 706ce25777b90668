//! What a domain holds, as people write it: policies as texts, groups and grants by name. Whoever edits policies or moves
//! them from one store to another speaks of these; whoever decides, of what they compile to.

use std::collections::{BTreeMap, BTreeSet};

use crate::policy::Scope;

/// Everything that a domain holds. Two that are equal decide alike.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DomainContent {
    /// Documents by name, as they were written.
    pub policies: BTreeMap<String, String>,
    /// Members by group.
    pub groups: BTreeMap<String, BTreeSet<String>>,
    /// Who has which policy where.
    pub grants: BTreeSet<GrantEntry>,
}

/// A policy that a subject has in a scope. The three tell it from others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GrantEntry {
    /// Who has it.
    pub subject: SubjectEntry,
    /// The name of a policy of the domain, or of a system policy.
    pub policy: String,
    /// Where it applies.
    pub scope: ScopeEntry,
}

/// Who can have a policy, by id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubjectEntry {
    /// All members of a group.
    Group(String),
    /// A user.
    User(String),
    /// An agency.
    Agency(String),
}

/// Where a policy can apply, by id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ScopeEntry {
    /// In one project.
    Project(String),
    /// To the resources of one enterprise project.
    EnterpriseProject(String),
    /// In every project.
    AllProjects,
    /// To global services.
    Domain,
}

impl From<ScopeEntry> for Scope {
    fn from(entry: ScopeEntry) -> Self {
        match entry {
            ScopeEntry::Project(id) => Self::Project(id.into()),
            ScopeEntry::EnterpriseProject(id) => Self::EnterpriseProject(id.into()),
            ScopeEntry::AllProjects => Self::AllProjects,
            ScopeEntry::Domain => Self::Domain,
        }
    }
}
