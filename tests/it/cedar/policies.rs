//! From policies and grants to Cedar policies.
//!
//! A statement is a template, and each of its grants links it to a subject and a scope: the principal is in the subject,
//! the resource is in the scope.

use std::collections::{BTreeMap, HashMap};

use cedar_policy::{EntityUid, PolicyId, PolicySet, SlotId, Template};
use serde_json::Value;

use super::generated::SYSTEM_POLICIES;
use super::request::DERIVED;
use crate::reference::{Domain, Grant, Scope, Subject};

/// What a grant links: Cedar's names for who and where.
struct Link<'a> {
    principal: EntityUid,
    policy: &'a str,
    resource: EntityUid,
}

/// A Cedar entity's name.
fn entity(kind: &str, id: &str) -> EntityUid {
    format!("{kind}::{id:?}").parse().unwrap_or_else(|error| panic!("{kind} {id}: {error}"))
}

/// All grants of a domain.
pub(super) fn translated(domain: &Domain) -> PolicySet {
    let mut set = PolicySet::new();
    let mut statements: BTreeMap<&str, Vec<PolicyId>> = BTreeMap::new();
    let documents = documents(domain);
    for (name, document) in &documents {
        for (index, text) in templates(document).iter().enumerate() {
            let id = PolicyId::new(format!("{name}[{index}]"));
            let template = Template::parse(Some(id.clone()), text);
            let template = template.unwrap_or_else(|error| panic!("{error:?}: {text}"));
            set.add_template(template).expect("one statement at a place");
            statements.entry(name).or_default().push(id);
        }
    }
    let granted = domain.grants.iter().map(link);
    let in_token = documents.keys().map(|name| token_link(name));
    for (number, link) in granted.chain(in_token).enumerate() {
        for id in &statements[link.policy] {
            let slots = HashMap::from([
                (SlotId::principal(), link.principal.clone()),
                (SlotId::resource(), link.resource.clone()),
            ]);
            set.link(id.clone(), PolicyId::new(format!("{id}#{number}")), slots).expect("a link");
        }
    }
    set
}

/// The statement that a link is of, as `policy[index]`.
pub(super) fn statement_of(link: &PolicyId) -> String {
    link.to_string().split_once('#').expect("a link").0.to_owned()
}

/// The domain's own, and those of the provider that are granted here.
fn documents(domain: &Domain) -> BTreeMap<String, Value> {
    let published: Value =
        serde_json::from_str(include_str!("../published/system_policies.json")).expect("published JSON");
    let document = |name: &str| (name.to_owned(), published["policies"][name]["document"].clone());
    let mut all: BTreeMap<_, _> = SYSTEM_POLICIES.into_iter().map(document).collect();
    all.extend(domain.policies.clone());
    all
}

fn link(grant: &Grant) -> Link<'_> {
    Link {
        principal: match &grant.subject {
            Subject::User(id) => entity("User", id),
            Subject::Agency(id) => entity("Agency", id),
            Subject::Group(id) => entity("Group", id),
        },
        policy: &grant.policy,
        resource: match &grant.scope {
            Scope::Project(id) => entity("Project", id),
            Scope::AllProjects => entity("Projects", "all"),
            // That is, in a global service. Nothing that is called here is.
            Scope::Domain => entity("GlobalServices", "all"),
            Scope::EnterpriseProject(_) => panic!("Cedar has no second stage: {grant:?}"),
        },
    }
}

/// A role in the token is the policy of that name, on the token's project: the only one that the token can call.
fn token_link(name: &str) -> Link<'_> {
    Link { principal: entity("TokenRole", name), policy: name, resource: entity("Projects", "all") }
}

/// The statements of a document.
fn templates(document: &Value) -> Vec<String> {
    let members: Vec<&String> = document.as_object().expect("a document").keys().collect();
    assert!(members == ["Version", "Statement"] && document["Version"] == "1.1", "{document}");
    document["Statement"].as_array().expect("statements").iter().map(template).collect()
}

fn template(statement: &Value) -> String {
    let effect = match statement["Effect"].as_str() {
        Some("Allow") => "permit",
        Some("Deny") => "forbid",
        _ => panic!("no translation of {statement}"),
    };
    let members = statement.as_object().expect("a statement").iter();
    let limits = members.filter(|(member, _)| *member != "Effect");
    let limits: String =
        limits.map(|(member, value)| format!("\nwhen {{ {} }}", limit(member, value))).collect();
    format!("{effect}(principal in ?principal, action, resource in ?resource){limits};")
}

fn limit(member: &str, value: &Value) -> String {
    match member {
        "Action" => any_of(&texts(value), &covers_action),
        "NotAction" => format!("!{}", any_of(&texts(value), &covers_action)),
        // `{"uri": […]}` is about agencies, which nothing that is called here is.
        "Resource" if value.get("uri").is_some() => "false".to_owned(),
        "Resource" => any_of(&texts(value), &covers_resource),
        "Condition" => condition(value),
        _ => panic!("no translation of {member}: {value}"),
    }
}

fn texts(list: &Value) -> Vec<&str> {
    let items = list.as_array().unwrap_or_else(|| panic!("no translation of {list}"));
    items.iter().map(|item| item.as_str().expect("a text")).collect()
}

/// Halves of halves, for Cedar limits how deep an expression is.
fn any_of(items: &[&str], test: &dyn Fn(&str) -> String) -> String {
    match items {
        [] => panic!("an empty list"),
        [item] => format!("({})", test(item)),
        _ => {
            let (left, right) = items.split_at(items.len() / 2);
            format!("({} || {})", any_of(left, test), any_of(right, test))
        }
    }
}

/// A name without a wildcard is an action, or one that stands above those which were once called so. Wildcards are held
/// against the texts of the names, part by part. Type and verb fold case.
fn covers_action(pattern: &str) -> String {
    let (service, rest) = pattern.split_once(':').unwrap_or((pattern, "*"));
    let (kind, verb) = rest.split_once(':').unwrap_or((rest, "*"));
    let is_whole = pattern.matches(':').count() == 2 || pattern.ends_with(":*") || pattern == "*";
    assert!(is_whole && !verb.contains(':'), "no translation of {pattern}");
    let (kind, verb) = (kind.to_lowercase(), verb.to_lowercase());
    if !pattern.contains('*') {
        return format!("action in {}", entity("Action", &format!("{service}:{kind}:{verb}")));
    }
    let matches = |name: &str| {
        format!(
            "{name}.service like {} && {name}.type like {} && {name}.verb like {}",
            wildcard(service),
            wildcard(&kind),
            wildcard(&verb)
        )
    };
    format!("{} || context has older && {}", matches("context.name"), matches("context.older"))
}

/// The service of a resource is that of the action.
fn covers_resource(pattern: &str) -> String {
    if pattern == "*" {
        return "true".to_owned();
    }
    let parts: Vec<&str> = pattern.splitn(5, ':').collect();
    let [service, region, account, kind, path] = parts[..] else { panic!("no translation of {pattern}") };
    format!(
        "context.name.service like {} && resource.region like {} && resource.account like {} && resource.kind like {} \
         && resource.path like {}",
        wildcard(service),
        wildcard(region),
        wildcard(account),
        wildcard(kind),
        wildcard(path),
    )
}

/// A Cedar pattern, in which `*` stands for any text.
fn wildcard(pattern: &str) -> String {
    format!("{pattern:?}")
}

/// A Cedar pattern of this very text, between two others.
fn literal(before: &str, text: &str, after: &str) -> String {
    let quoted = format!("{text:?}").replace('*', "\\*");
    format!("\"{before}{}{after}\"", &quoted[1..quoted.len() - 1])
}

fn condition(condition: &Value) -> String {
    let mut clauses = Vec::new();
    for (operator, keys) in condition.as_object().expect("operators") {
        for (key, values) in keys.as_object().expect("keys") {
            clauses.push(format!("({})", clause(operator, key, &texts(values))));
        }
    }
    clauses.join(" && ")
}

/// A missing key is not equal to anything and has nothing in it, so it meets negations. `IfExists` lets it pass.
fn clause(operator: &str, key: &str, values: &[&str]) -> String {
    let is_global = key.starts_with("g:");
    assert!(!key.starts_with("ecs:") && is_global == DERIVED.contains(&key), "no translation of {key}");
    let (operator, if_exists) = match operator.strip_suffix("IfExists") {
        Some(operator) => (operator, true),
        None => (operator, false),
    };
    let (operator, is_negated) = match operator.strip_prefix("StringNot") {
        Some(rest) => (format!("String{rest}"), true),
        None => (operator.to_owned(), false),
    };
    let seen = format!("context.keys[{key:?}]");
    let fits = any_of(values, &|value| match operator.as_str() {
        "StringEquals" => format!("{seen} == {value:?}"),
        "StringEqualsIgnoreCase" => format!("context.folded[{key:?}] == {:?}", value.to_lowercase()),
        "StringLike" => format!("{seen} like {}", literal("*", value, "*")),
        "StringStartWith" => format!("{seen} like {}", literal("", value, "*")),
        "StringEndWith" => format!("{seen} like {}", literal("*", value, "")),
        "StringMatch" if !value.contains('?') => format!("{seen} like {}", wildcard(value)),
        _ => panic!("no translation of {operator} {value:?}"),
    });
    let exists = format!("context.keys has {key:?}");
    match (is_negated, if_exists) {
        (false, false) => format!("{exists} && {fits}"),
        (false, true) => format!("!({exists}) || {fits}"),
        (true, _) => format!("!({exists} && {fits})"),
    }
}
