//! Policies: which of them apply, and what they say of an action (design.md, sections 3 to 5).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::facts::Facts;
use super::resource::{self, Resource};
use super::told::Told;
use super::{Domain, Principal, Scope, Subject, condition};

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
        Self { project: in_effect(policies.project), enterprise: in_effect(policies.enterprise) }
    }

    /// Every resource is judged by itself. The first that is denied decides, else the first that nothing allows.
    pub(super) fn verdict(&self, action: &str, touched: &[Resource], facts: &Facts<'_>) -> Verdict {
        let verdicts = || touched.iter().map(|resource| self.verdict_on(action, resource, facts));
        verdicts()
            .find(|verdict| matches!(verdict, Verdict::Denied(_)))
            .or_else(|| verdicts().find(|verdict| matches!(verdict, Verdict::Unmatched)))
            .or_else(|| verdicts().next())
            .expect("an action touches something")
    }

    /// An enterprise project's policies are looked at only if no statement of the project's applies.
    fn verdict_on(&self, action: &str, resource: &Resource, facts: &Facts<'_>) -> Verdict {
        match verdict_of(&self.project, action, resource, facts) {
            Verdict::Unmatched => verdict_of(&self.enterprise, action, resource, facts),
            matched => matched,
        }
    }
}

/// The policies that take effect: all but the roles whose dependencies do not. Taking one away can take away others.
fn in_effect(stage: Stage) -> Stage {
    let has_all = |document: &Value| {
        let depends = document["Depends"].as_array().into_iter().flatten();
        let mut names = depends.map(|entry| entry["display_name"].as_str().expect("a name"));
        names.all(|name| stage.keys().any(|other| display_name(other) == display_name(name)))
    };
    let rest: Stage =
        stage.iter().filter(|(_, document)| has_all(document)).map(|(n, d)| (n.clone(), d.clone())).collect();
    if rest.len() == stage.len() { rest } else { in_effect(rest) }
}

/// Four roles have another name in tokens (domain.md, section 5).
fn display_name(name: &str) -> &str {
    let names = [
        ("te_admin", "Tenant Administrator"),
        ("readonly", "Tenant Guest"),
        ("secu_admin", "Security Administrator"),
        ("te_agency", "Agent Operator"),
    ];
    names.iter().find(|(internal, _)| *internal == name).map_or(name, |(_, display)| display)
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

/// Explicit deny, then allow, else nothing. Of the statements that apply, the one named is the first by policy name,
/// then position; those with a resource or a condition stand behind all others.
fn verdict_of(stage: &Stage, action: &str, resource: &Resource, facts: &Facts<'_>) -> Verdict {
    let first = |effect: &str| {
        let mut found = Vec::new();
        for (name, document) in stage {
            for (index, statement) in document["Statement"].as_array().into_iter().flatten().enumerate() {
                let is_meant = statement["Effect"] == effect && is_about(statement, action);
                if is_meant && applies(statement, action, resource, facts) {
                    let is_conditional =
                        statement.get("Resource").is_some() || statement.get("Condition").is_some();
                    found.push((is_conditional, name, index));
                }
            }
        }
        let first = found.into_iter().min();
        first.map(|(_, name, index)| format!("{name}[{index}]"))
    };
    match (first("Deny"), first("Allow")) {
        (Some(statement), _) => Verdict::Denied(statement),
        (None, Some(statement)) => Verdict::Allowed(statement),
        (None, None) => Verdict::Unmatched,
    }
}

/// An allow needs all that it asks for to be met. A deny holds unless something that it asks for is not met. So what
/// can't be told never allows and always denies.
fn applies(statement: &Value, action: &str, touched: &Resource, facts: &Facts<'_>) -> bool {
    let mut told =
        vec![statement.get("Resource").map_or(Told::Met, |listed| resource::told(listed, touched))];
    if let Some(condition) = statement.get("Condition") {
        told.extend(condition::clauses(condition, action, facts));
    }
    match statement["Effect"].as_str() {
        Some("Allow") => told.iter().all(|told| *told == Told::Met),
        Some("Deny") => !told.contains(&Told::NotMet),
        _ => panic!("expected an effect: {statement}"),
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

/// Those of the service's documents, and the roles that every account has.
fn system_policies() -> BTreeMap<String, Value> {
    let published: Value =
        serde_json::from_str(include_str!("../published/system_policies.json")).expect("the system policies");
    let policies = published["policies"].as_object().expect("policies");
    let mut all: BTreeMap<String, Value> =
        serde_json::from_str(include_str!("roles.json")).expect("the roles by name");
    all.extend(policies.iter().map(|(name, policy)| (name.clone(), policy["document"].clone())));
    all
}
