//! A second evaluator: slow, obvious, and independent of the first.
//!
//! It reads the provider's published tables (`published/*.json`) and raw policy documents each time, and follows
//! the rules in the order in which people state them. It shares no code with `ecs_authz::catalog` and
//! `ecs_authz::policy`: plain data in, a plain [`Outcome`] out. Where it and the compiled evaluator differ, one of
//! them is wrong.
//!
//! It takes policy documents to be well-formed; refusing others is not its subject.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use facts::{Facts, Seen};
use object::{Declared, Object};
use policy::{Policies, Verdict};
use resource::Resource;

pub(crate) use value::seconds;

mod body;
mod condition;
mod facts;
mod json;
mod object;
mod path;
mod policy;
mod resource;
mod table;
mod told;
mod value;

/// The policies, groups and grants of one domain, as its files say it.
#[derive(Debug, Default)]
pub(crate) struct Domain {
    /// Documents by name.
    pub(crate) policies: BTreeMap<String, Value>,
    pub(crate) groups: Vec<Group>,
    pub(crate) grants: Vec<Grant>,
}

/// The domain's `grants.toml`.
pub(crate) fn grants_file(domain: &Domain) -> String {
    #[derive(Serialize)]
    struct File<'a> {
        group: &'a [Group],
        grant: &'a [Grant],
    }
    toml::to_string(&File { group: &domain.groups, grant: &domain.grants }).expect("grants as TOML")
}

/// A `[[group]]` of `grants.toml`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    pub(crate) id: String,
    pub(crate) members: Vec<String>,
}

/// A `[[grant]]` of `grants.toml`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grant {
    pub(crate) subject: Subject,
    pub(crate) policy: String,
    pub(crate) scope: Scope,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Subject {
    Group(String),
    User(String),
    Agency(String),
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scope {
    Project(String),
    EnterpriseProject(String),
    AllProjects,
    Domain,
}

/// A request. Empty text means that something is not given.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) principal: Principal,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: Body,
    /// Whether a missing dependency denies.
    pub(crate) enforce: bool,
    /// The address that the call came from.
    pub(crate) source_ip: String,
    /// What the caller says of condition keys.
    pub(crate) attributes: BTreeMap<String, Vec<String>>,
    pub(crate) time: Time,
    pub(crate) region: String,
}

/// When a question is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Time {
    /// By the clock of who answers.
    #[default]
    Now,
    /// In seconds since 1970 UTC.
    At(u64),
    Unknown,
}

/// The condition key by which a caller names the enterprise project that the call goes to.
pub(crate) const ENTERPRISE_PROJECT: &str = "g:EnterpriseProjectId";

#[derive(Debug, Clone, Default)]
pub(crate) struct Principal {
    pub(crate) domain_id: String,
    pub(crate) domain_name: String,
    pub(crate) user_id: String,
    pub(crate) user_name: String,
    pub(crate) agency_id: String,
    pub(crate) project_id: String,
    pub(crate) project_name: String,
    pub(crate) mfa_present: Option<bool>,
    pub(crate) group_ids: Vec<String>,
    pub(crate) role_names: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) enum Body {
    None,
    /// There is one, and nobody reads it: it has a `Content-Encoding`.
    Encoded,
    Content {
        bytes: Vec<u8>,
        truncated: bool,
    },
    Summary {
        keys: Vec<String>,
        attributes: BTreeMap<String, Vec<String>>,
        truncated: bool,
    },
}

/// What a request comes to, in the words of the wire.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outcome {
    pub(crate) decision: Answer,
    /// The wire's name without its prefix; none for an allow.
    pub(crate) reason: Option<String>,
    /// The action that decided; empty if the call is no known operation.
    #[serde(default)]
    pub(crate) action: String,
    /// Every dependency action, and `allow` or the reason why not.
    #[serde(default)]
    pub(crate) dependencies: BTreeMap<String, String>,
    /// The statement that decided, as `policy[index]`.
    pub(crate) statement: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Allow,
    Deny,
    /// The request is refused: there is no decision.
    Invalid,
}

/// Answers a question (design.md, section 3).
pub(crate) fn decide(domains: &BTreeMap<String, Domain>, question: &Question) -> Outcome {
    let Question { principal, method, path, body, enforce, attributes, region, .. } = question;

    // 0. A caller can't say what the server knows by itself, nor name two places that the call goes to.
    let enterprise_project = attributes.get(ENTERPRISE_PROJECT).map_or(&[][..], Vec::as_slice);
    if attributes.keys().any(|key| facts::is_derived(key)) || enterprise_project.len() > 1 {
        return Outcome { decision: Answer::Invalid, reason: None, ..denied_unseen("", "") };
    }

    // 1. Which operation is it? Path, route and body each have their own reasons.
    let operation = match table::resolve(method, path, body) {
        Ok(operation) => operation,
        Err(reason) => return denied_unseen(reason, ""),
    };
    let first_action = &operation.actions[0];

    // 2. Tenant isolation needs no policy. A principal without a project may not call project routes.
    if let Some(project) = &operation.project
        && *project != principal.project_id
    {
        return denied_unseen("PROJECT_MISMATCH", first_action);
    }

    // 3. and 4. Every action and every dependency is judged by the same policies, by the same facts. An action touches
    // the objects of the operation, and so does a dependency on the same type of objects. Else it can be any object of the
    // types that the dependency is about elsewhere.
    let Declared { objects, keys, untold, makes, enterprise_project: named } = &operation.declared;
    // The body may name another place than the one that is told.
    let goes_elsewhere = match named {
        None | Some(Seen::Absent) => false,
        Some(Seen::Known(named)) => named != enterprise_project,
        Some(Seen::Unknown) => true,
    };
    let told = enterprise_project.first().map(String::as_str).filter(|_| !goes_elsewhere);
    let policies = Policies::of(domains, principal, told);
    let facts = Facts { question, declared: keys, untold, is_new: *makes, goes_elsewhere };
    let verdict_on = |action: &str, objects: &[Object]| {
        let touched = objects.iter().map(|object| Resource {
            service: service(action).to_owned(),
            region: Some(region.clone()).filter(|region| !region.is_empty()),
            account: principal.domain_id.clone(),
            kind: object.kind.clone(),
            path: object.path.clone(),
        });
        policies.verdict(action, &touched.collect::<Vec<_>>(), &facts)
    };
    let verdict = |action: &str| verdict_on(action, objects);
    let dependency_verdict = |action: &str| {
        if operation.actions.iter().any(|required| required == action) {
            return verdict(action);
        }
        let kinds = table::kinds_of(action);
        let touched = kinds.iter().flat_map(|kind| match kind {
            Some(kind) if objects[0].kind.as_ref() == Some(kind) => objects.clone(),
            Some(kind) => vec![Object { kind: Some(kind.clone()), path: None }],
            None => vec![Object::none()],
        });
        match kinds.len() {
            0 => verdict_on(action, &[Object { kind: None, path: None }]),
            _ => verdict_on(action, &touched.collect::<Vec<_>>()),
        }
    };
    let dependencies: BTreeMap<String, String> = operation
        .dependencies
        .iter()
        .map(|action| (action.clone(), word(&dependency_verdict(action))))
        .collect();

    // Every required action must be allowed. The first that is denied decides, else the first that nothing allows.
    let is_denied = |action: &&String| matches!(verdict(action), Verdict::Denied(_));
    let is_unmatched = |action: &&String| matches!(verdict(action), Verdict::Unmatched);
    let required = || operation.actions.iter();
    if let Some(action) = required().find(is_denied).or_else(|| required().find(is_unmatched)) {
        let verdict = verdict(action);
        return Outcome {
            decision: Answer::Deny,
            reason: Some(word(&verdict)),
            action: action.clone(),
            dependencies,
            statement: verdict.statement(),
        };
    }
    // Dependencies are reported; only where they are enforced does a missing one deny.
    let is_missing = dependencies.values().any(|word| word != "allow");
    let is_denied = *enforce && is_missing;
    Outcome {
        decision: if is_denied { Answer::Deny } else { Answer::Allow },
        reason: is_denied.then(|| "MISSING_DEPENDENCY".to_owned()),
        action: first_action.clone(),
        dependencies,
        statement: verdict(first_action).statement(),
    }
}

/// The service of an action: what stands before its first colon.
fn service(action: &str) -> &str {
    action.split(':').next().unwrap_or_default()
}

/// A denial before the policies were looked at.
fn denied_unseen(reason: &str, action: &str) -> Outcome {
    Outcome {
        decision: Answer::Deny,
        reason: Some(reason.to_owned()),
        action: action.to_owned(),
        dependencies: BTreeMap::new(),
        statement: None,
    }
}

fn word(verdict: &Verdict) -> String {
    let word = match verdict {
        Verdict::Allowed(_) => "allow",
        Verdict::Denied(_) => "EXPLICIT_DENY",
        Verdict::Unmatched => "NO_MATCHING_ALLOW",
    };
    word.to_owned()
}
