//! Policies: which of them apply, and what they say of an action (design.md, sections 3 to 5).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{Domain, Principal, Scope, Subject};

/// What policies say of an action, with the statement that says it: `policy[index]`.
#[derive(Debug)]
pub(super) enum Verdict {
    Allowed(String),
    Denied(String),
    Unmatched,
}

impl Verdict {
    pub(super) fn statement(&self) -> Option<String> {
        match self {
            Self::Allowed(statement) | Self::Denied(statement) => Some(statement.clone()),
            Self::Unmatched => None,
        }
    }
}

/// Documents by name: the order in which they are read, each once.
type Stage = BTreeMap<String, Value>;

/// The policies that apply to a principal.
#[derive(Debug, Default)]
pub(super) struct Policies {
    /// Of the project and of all projects.
    project: Stage,
    /// Of the enterprise project that the call goes to.
    enterprise: Stage,
}

impl Policies {
    pub(super) fn of(
        domains: &BTreeMap<String, Domain>,
        principal: &Principal,
        enterprise_project: Option<&str>,
    ) -> Self {
        let no_domain = Domain::default();
        let domain = domains.get(&principal.domain_id).unwrap_or(&no_domain);
        let system = system_policies();
        let document = |name: &str| domain.policies.get(name).or_else(|| system.get(name)).cloned();
        let mut policies = Self::default();
        for grant in domain.grants.iter().filter(|grant| is_held(&grant.subject, principal, domain)) {
            let stage = match &grant.scope {
                Scope::Project(id) if *id == principal.project_id => &mut policies.project,
                Scope::AllProjects => &mut policies.project,
                Scope::EnterpriseProject(id) if Some(id.as_str()) == enterprise_project => {
                    &mut policies.enterprise
                }
                // Another project; the domain scope is for global services, and ECS is none.
                Scope::Project(_) | Scope::EnterpriseProject(_) | Scope::Domain => continue,
            };
            stage.insert(grant.policy.clone(), document(&grant.policy).expect("a granted policy exists"));
        }
        // A role name in the token is a grant of the policy of that name on the token's project. Others are
        // feature gates.
        for name in &principal.role_names {
            policies.project.extend(document(name).map(|document| (name.clone(), document)));
        }
        policies
    }

    /// An enterprise project's policies are looked at only if those of the project say nothing of the action.
    pub(super) fn verdict(&self, action: &str) -> Verdict {
        match verdict_of(&self.project, action) {
            Verdict::Unmatched => verdict_of(&self.enterprise, action),
            matched => matched,
        }
    }
}

fn is_held(subject: &Subject, principal: &Principal, domain: &Domain) -> bool {
    let Principal { user_id, agency_id, group_ids, .. } = principal;
    match subject {
        Subject::User(id) => id == user_id,
        Subject::Agency(id) => id == agency_id,
        // From the domain's files, or from the request.
        Subject::Group(id) => {
            let is_listed =
                domain.groups.iter().any(|group| group.id == *id && group.members.contains(user_id));
            is_listed || group_ids.contains(id)
        }
    }
}

/// Explicit deny, then allow, else nothing. The first statement by policy name, then position, is the one named.
fn verdict_of(stage: &Stage, action: &str) -> Verdict {
    let first = |effect: &str| {
        stage.iter().find_map(|(name, document)| {
            let statements = document["Statement"].as_array()?;
            let index = statements
                .iter()
                .position(|statement| statement["Effect"] == effect && is_about(statement, action))?;
            Some(format!("{name}[{index}]"))
        })
    };
    match (first("Deny"), first("Allow")) {
        (Some(statement), _) => Verdict::Denied(statement),
        (None, Some(statement)) => Verdict::Allowed(statement),
        (None, None) => Verdict::Unmatched,
    }
}

/// `Action`: what a pattern covers. `NotAction`: what no pattern covers.
fn is_about(statement: &Value, action: &str) -> bool {
    let covers = |patterns: &Value| {
        let patterns = patterns.as_array().expect("patterns");
        patterns.iter().any(|pattern| covers(pattern.as_str().expect("a pattern"), action))
    };
    match (statement.get("Action"), statement.get("NotAction")) {
        (Some(patterns), None) => covers(patterns),
        (None, Some(patterns)) => !covers(patterns),
        _ => panic!("expected either Action or NotAction: {statement}"),
    }
}

/// A pattern covers an action if it matches the action or one of its older names.
fn covers(pattern: &str, action: &str) -> bool {
    matches(pattern, action) || older_names(action).iter().any(|older| matches(pattern, older))
}

/// Whether a pattern matches a name, segment by segment: a `*` does not cross a colon.
fn matches(pattern: &str, name: &str) -> bool {
    let mut patterns: Vec<&str> = pattern.split(':').collect();
    let names: Vec<&str> = name.split(':').collect();
    // `*` alone or as the last of fewer segments stands for all that follows: `*`, `identity:*`.
    while patterns.len() < names.len() && patterns.last() == Some(&"*") {
        patterns.push("*");
    }
    patterns.len() == names.len()
        // The service is compared as written.
        && glob(patterns[0].as_bytes(), names[0].as_bytes())
        // Type and verb fold case.
        && patterns[1..].iter().zip(&names[1..]).all(|(pattern, name)| {
            glob(pattern.to_lowercase().as_bytes(), name.to_lowercase().as_bytes())
        })
}

/// `*` stands for any text, also for none.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=text.len()).any(|taken| glob(rest, &text[taken..])),
        (Some((expected, pattern)), Some((found, text))) => expected == found && glob(pattern, text),
        _ => false,
    }
}

fn older_names(action: &str) -> Vec<String> {
    #[derive(Deserialize)]
    struct Aliases {
        aliases: Vec<Alias>,
    }
    #[derive(Deserialize)]
    struct Alias {
        current: String,
        older: String,
    }
    let published: Aliases =
        serde_json::from_str(include_str!("../published/aliases.json")).expect("the older names");
    let aliases = published.aliases.into_iter();
    aliases.filter(|alias| alias.current == action).map(|alias| alias.older).collect()
}

fn system_policies() -> BTreeMap<String, Value> {
    let published: Value =
        serde_json::from_str(include_str!("../published/system_policies.json")).expect("the system policies");
    let policies = published["policies"].as_object().expect("policies");
    policies.iter().map(|(name, policy)| (name.clone(), policy["document"].clone())).collect()
}
