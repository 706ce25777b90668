//! What it takes to make the content of one store that of another: computed before anything is changed, shown to people,
//! and carried out as it was shown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use sha2::{Digest as _, Sha256};

use super::content::{DomainContent, GrantEntry, ScopeEntry, SubjectEntry};

/// How many bytes of a digest are shown. It guards against a plan that has changed, not against whoever makes one up.
const DIGEST_BYTES: usize = 6;

/// The content of several domains, by id.
pub type Contents = BTreeMap<String, DomainContent>;

/// What is to be done, in this order. Between any two steps no grant is without its policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps by domain. A domain without any is not in it.
    pub domains: BTreeMap<String, Vec<Step>>,
    /// The domains that are there and not wanted, and stay as they are.
    pub left_alone: Vec<String>,
}

/// Which domains a plan is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Those that are wanted; others stay.
    Wanted,
    /// All: those that are not wanted lose everything.
    All,
}

/// One thing to do in a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Of a policy.
    Policy {
        /// What is done.
        sign: Sign,
        /// Its name.
        name: String,
        /// The document that it gets; of one that is removed, nothing.
        document: String,
    },
    /// Of a group.
    Group {
        /// What is done.
        sign: Sign,
        /// Its id.
        id: String,
        /// All members that it gets.
        members: BTreeSet<String>,
        /// How many of them are new.
        joined: usize,
        /// How many it loses.
        left: usize,
    },
    /// Of a grant.
    Grant {
        /// What is done, which is never a change.
        sign: Sign,
        /// The grant.
        grant: GrantEntry,
    },
}

/// What is done with something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It is not there yet.
    Add,
    /// It is another one.
    Change,
    /// It is not wanted.
    Remove,
}

impl Plan {
    /// What makes `current` what is `wanted`.
    #[must_use]
    pub fn between(current: &Contents, wanted: &Contents, extent: Extent) -> Self {
        let (nothing, mut plan) = (DomainContent::default(), Self::default());
        let ids: BTreeSet<&String> = current.keys().chain(wanted.keys()).collect();
        for id in ids {
            let target = match (wanted.get(id), extent) {
                (Some(target), _) => target,
                (None, Extent::All) => &nothing,
                (None, Extent::Wanted) => {
                    let has_any = current.get(id).is_some_and(|content| *content != nothing);
                    plan.left_alone.extend(has_any.then(|| id.clone()));
                    continue;
                }
            };
            let steps = steps(current.get(id).unwrap_or(&nothing), target);
            if !steps.is_empty() {
                plan.domains.insert(id.clone(), steps);
            }
        }
        plan
    }

    /// Whether steps change who has what, and not policies alone.
    #[must_use]
    pub fn changes_grants(steps: &[Step]) -> bool {
        steps.iter().any(|step| !matches!(step, Step::Policy { .. }))
    }

    /// Tells this plan from others, in a few characters that people can pass on: of the steps with all their content.
    #[must_use]
    pub fn digest(&self) -> String {
        // Quoted as Debug does, no two plans are written alike.
        let digest = Sha256::digest(format!("{:?}", self.domains));
        digest.iter().take(DIGEST_BYTES).map(|byte| format!("{byte:02x}")).collect()
    }

    /// How many steps add something, change it, and remove it.
    #[must_use]
    pub fn counts(&self) -> [usize; 3] {
        let count = |sign| self.domains.values().flatten().filter(|step| step.sign() == sign).count();
        [Sign::Add, Sign::Change, Sign::Remove].map(count)
    }
}

/// First what grants need, then the grants, then what they no longer need.
fn steps(current: &DomainContent, wanted: &DomainContent) -> Vec<Step> {
    let mut steps = Vec::new();
    for (name, document) in &wanted.policies {
        let sign = match current.policies.get(name) {
            Some(found) if found == document => continue,
            Some(_) => Sign::Change,
            None => Sign::Add,
        };
        steps.push(Step::Policy { sign, name: name.clone(), document: document.clone() });
    }
    for (id, members) in &wanted.groups {
        let (sign, before) = match current.groups.get(id) {
            Some(found) if found == members => continue,
            Some(found) => (Sign::Change, found.clone()),
            None => (Sign::Add, BTreeSet::new()),
        };
        let (joined, left) = (members.difference(&before).count(), before.difference(members).count());
        steps.push(Step::Group { sign, id: id.clone(), members: members.clone(), joined, left });
    }
    let removed = current.grants.difference(&wanted.grants).map(|grant| (Sign::Remove, grant));
    let added = wanted.grants.difference(&current.grants).map(|grant| (Sign::Add, grant));
    steps.extend(removed.chain(added).map(|(sign, grant)| Step::Grant { sign, grant: grant.clone() }));
    let groups = current.groups.iter().filter(|(id, _)| !wanted.groups.contains_key(*id));
    steps.extend(groups.map(|(id, members)| Step::Group {
        sign: Sign::Remove,
        id: id.clone(),
        members: BTreeSet::new(),
        joined: 0,
        left: members.len(),
    }));
    let policies = current.policies.keys().filter(|name| !wanted.policies.contains_key(*name));
    steps.extend(policies.map(|name| Step::Policy {
        sign: Sign::Remove,
        name: name.clone(),
        document: String::new(),
    }));
    steps
}

impl Step {
    /// What is done.
    #[must_use]
    pub fn sign(&self) -> Sign {
        let (Self::Policy { sign, .. } | Self::Group { sign, .. } | Self::Grant { sign, .. }) = self;
        *sign
    }
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "+",
            Self::Change => "~",
            Self::Remove => "-",
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy { sign, name, .. } => write!(f, "{sign} policy  {name}"),
            Self::Group { sign, id, joined, left, .. } => {
                write!(f, "{sign} group   {id}  (members: +{joined} -{left})")
            }
            Self::Grant { sign, grant } => write!(f, "{sign} grant   {grant}"),
        }
    }
}

impl fmt::Display for GrantEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, policy, scope } = self;
        write!(f, "{policy}  to {subject}, {scope}")
    }
}

impl fmt::Display for SubjectEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(id) => write!(f, "group {id}"),
            Self::User(id) => write!(f, "user {id}"),
            Self::Agency(id) => write!(f, "agency {id}"),
        }
    }
}

impl fmt::Display for ScopeEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Project(id) => write!(f, "project {id}"),
            Self::EnterpriseProject(id) => write!(f, "enterprise project {id}"),
            Self::AllProjects => f.write_str("all projects"),
            Self::Domain => f.write_str("domain"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(
        policies: &[(&str, &str)],
        groups: &[(&str, &[&str])],
        grants: &[(&str, &str)],
    ) -> DomainContent {
        let ids = |members: &[&str]| members.iter().map(|id| (*id).to_owned()).collect();
        DomainContent {
            policies: policies.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect(),
            groups: groups.iter().map(|(id, members)| ((*id).to_owned(), ids(members))).collect(),
            grants: grants
                .iter()
                .map(|(user, policy)| GrantEntry {
                    subject: SubjectEntry::User((*user).to_owned()),
                    policy: (*policy).to_owned(),
                    scope: ScopeEntry::AllProjects,
                })
                .collect(),
        }
    }

    fn shown(current: &DomainContent, wanted: &DomainContent) -> Vec<String> {
        let one = |content: &DomainContent| Contents::from([("acme".to_owned(), content.clone())]);
        let plan = Plan::between(&one(current), &one(wanted), Extent::Wanted);
        plan.domains.values().flatten().map(ToString::to_string).collect()
    }

    #[test]
    fn what_grants_need_comes_before_them_and_goes_after_them() {
        let before = content(&[("old", "1"), ("p", "1")], &[("g", &["a", "b"]), ("h", &[])], &[("a", "old")]);
        let after =
            content(&[("new", "1"), ("p", "2")], &[("g", &["b", "c", "d"]), ("i", &["a"])], &[("a", "new")]);
        assert_eq!(
            shown(&before, &after),
            [
                "+ policy  new",
                "~ policy  p",
                "~ group   g  (members: +2 -1)",
                "+ group   i  (members: +1 -0)",
                "- grant   old  to user a, all projects",
                "+ grant   new  to user a, all projects",
                "- group   h  (members: +0 -0)",
                "- policy  old",
            ]
        );
        assert_eq!(shown(&after, &after), [""; 0]);
    }

    #[test]
    fn domains_that_are_not_wanted_stay_unless_all_are_meant() {
        let current = Contents::from([
            ("acme".to_owned(), content(&[("p", "1")], &[], &[])),
            ("other".to_owned(), content(&[("p", "1"), ("q", "1")], &[], &[])),
        ]);
        let wanted = Contents::from([("new".to_owned(), content(&[("p", "1")], &[], &[]))]);
        let plan = Plan::between(&current, &wanted, Extent::Wanted);
        assert_eq!(
            (plan.counts(), plan.left_alone),
            ([1, 0, 0], vec!["acme".to_owned(), "other".to_owned()])
        );
        let plan = Plan::between(&current, &wanted, Extent::All);
        assert_eq!((plan.counts(), plan.left_alone.len()), ([1, 0, 3], 0));
    }
}
