//! Random policies, grants and calls that Cedar can judge.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::random::{QUESTIONS, operations, pattern, resource};
use crate::reference::{Body, Domain, Grant, Group, Principal, Question, Scope, Subject, Time};

/// A question, and what the published tables say of its call.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) question: Question,
    pub(super) call: Call,
}

/// A call of a published operation.
#[derive(Debug, Clone)]
pub(super) struct Call {
    method: String,
    path: String,
    body: Option<String>,
    /// The required ones, sorted.
    pub(super) actions: Vec<String>,
    /// The type and id of what the path names.
    pub(super) object: Option<(String, String)>,
}

const OWN_POLICIES: [&str; 3] = ["p0", "p1", "p2"];
/// Policies of the provider, with long lists of actions.
pub(super) const SYSTEM_POLICIES: [&str; 2] = ["ECS ReadOnlyAccess", "ECS CommonOperations"];

/// Statements about actions only, and any call.
pub(super) fn unconditional() -> impl Strategy<Value = (Domain, Vec<Asked>)> {
    let policies = [&OWN_POLICIES[..], &SYSTEM_POLICIES].concat();
    let statement = statement(Just(None), Just(None));
    (domain(statement, policies), prop::collection::vec(asked(calls()), QUESTIONS))
}

/// Every statement has a condition.
pub(super) fn with_conditions() -> impl Strategy<Value = (Domain, Vec<Asked>)> {
    let statement = statement(Just(None), condition().prop_map(Some));
    (domain(statement, OWN_POLICIES.to_vec()), prop::collection::vec(asked(calls()), QUESTIONS))
}

/// Every statement has a resource, some a condition too; every call names an object in its path.
pub(super) fn with_resources() -> impl Strategy<Value = (Domain, Vec<Asked>)> {
    let statement = statement(resource().prop_map(Some), prop::option::weighted(0.3, condition()));
    let calls = calls().into_iter().filter(|call| call.object.is_some()).collect();
    (domain(statement, OWN_POLICIES.to_vec()), prop::collection::vec(asked(calls), QUESTIONS))
}

/// A statement, mostly about more than one action.
fn statement(
    resource: impl Strategy<Value = Option<Value>>,
    condition: impl Strategy<Value = Option<Value>>,
) -> impl Strategy<Value = Value> {
    let effect = prop_oneof![3 => Just("Allow"), 2 => Just("Deny")];
    let member = prop_oneof![4 => Just("Action"), 1 => Just("NotAction")];
    // Wide ones are needed for a resource or a condition to matter.
    let wide =
        prop::sample::select(vec!["*", "ecs:*", "ecs:*:*", "*:*s:*", "*:*:*e*"]).prop_map(String::from);
    let patterns = prop::collection::vec(prop_oneof![2 => pattern(), 1 => wide], 1..4);
    (effect, member, patterns, resource, condition).prop_map(
        |(effect, member, patterns, resource, condition)| {
            let mut statement = json!({"Effect": effect, member: patterns});
            for (name, value) in [("Resource", resource), ("Condition", condition)] {
                if let Some(value) = value {
                    statement[name] = value;
                }
            }
            statement
        },
    )
}

/// Texts that policies and calls have in common, some with characters that Cedar reads otherwise.
const TEXTS: [&str; 16] = [
    "x1", "x1", "X1", "x", "1", "alice", "Alice", "acme", "eu-de", "ecs", "a*b", "a-b", "a\"b", "a\\b", "ÄB",
    "äb",
];

/// Global keys, which are always known, and keys of other services, which callers may say.
const KEYS: [&str; 8] = [
    "g:DomainName",
    "g:ProjectName",
    "g:UserName",
    "g:ServiceName",
    "g:RequestedRegion",
    "obs:prefix",
    "obs:delimiter",
    "evs:Name",
];

fn condition() -> impl Strategy<Value = Value> {
    const OPERATORS: [&str; 10] = [
        "StringEquals",
        "StringNotEquals",
        "StringEqualsIgnoreCase",
        "StringNotEqualsIgnoreCase",
        "StringLike",
        "StringNotLike",
        "StringStartWith",
        "StringEndWith",
        "StringMatch",
        "StringNotMatch",
    ];
    let clause = (prop::sample::select(&OPERATORS), any::<bool>(), prop::sample::select(&KEYS));
    let clause = clause.prop_flat_map(|(operator, if_exists, key)| {
        let mut values = TEXTS.to_vec();
        if operator.ends_with("Match") {
            values.extend(["x*", "*1", "a*", "*b", "*c*e*", "*"]);
        }
        let operator = if if_exists { format!("{operator}IfExists") } else { operator.to_owned() };
        (Just(operator), Just(key), prop::collection::btree_set(prop::sample::select(values), 1..4))
    });
    prop::collection::vec(clause, 1..3).prop_map(|clauses| {
        let mut condition = json!({});
        for (operator, key, values) in clauses {
            condition[&operator][key] = json!(values);
        }
        condition
    })
}

fn id(ids: &[&'static str]) -> impl Strategy<Value = String> + use<> {
    prop::sample::select(ids.to_vec()).prop_map(String::from)
}

fn domain(
    statement: impl Strategy<Value = Value>,
    policies: Vec<&'static str>,
) -> impl Strategy<Value = Domain> {
    let document = prop::collection::vec(statement, 1..4)
        .prop_map(|statements| json!({"Version": "1.1", "Statement": statements}));
    let documents = prop::collection::vec(document, 3);
    let subject = prop_oneof![
        4 => id(&["alice", "alice", "bob"]).prop_map(Subject::User),
        3 => id(&["g0", "g1"]).prop_map(Subject::Group),
        1 => id(&["alice", "a0"]).prop_map(Subject::Agency),
    ];
    let scope = prop_oneof![
        4 => id(&["p", "p", "q"]).prop_map(Scope::Project),
        4 => Just(Scope::AllProjects),
        1 => Just(Scope::Domain),
    ];
    let grant = (subject, id(&policies), scope);
    let grant = grant.prop_map(|(subject, policy, scope)| Grant { subject, policy, scope });
    let members = prop::sample::subsequence(vec!["alice".to_owned(), "bob".to_owned()], 0..=2);
    (documents, prop::collection::vec(grant, 4..10), members).prop_map(|(documents, grants, members)| {
        Domain {
            policies: OWN_POLICIES.map(String::from).into_iter().zip(documents).collect(),
            groups: vec![Group { id: "g0".into(), members }],
            grants,
        }
    })
}

/// The placeholders that name what is touched. A route's object is the first of these that it has.
const OBJECTS: [(&str, &str); 5] = [
    ("{server_id}", "instance"),
    ("{server_group_id}", "serverGroup"),
    ("{keypair_name}", "keypair"),
    ("{flavors_id}", "flavor"),
    ("{volume_id}", "volume"),
];

/// Every published route with every body that its operation needs. Placeholders still stand in it.
fn calls() -> Vec<Call> {
    let mut calls = Vec::new();
    for row in operations() {
        let bodies = row["body"].as_array().into_iter().flatten();
        let is_needed = bodies.clone().any(|body| body["kind"] == "top_level_key");
        let mut examples: Vec<_> = bodies.map(|body| Some(body["example"].to_string())).collect();
        if !is_needed {
            examples.push(None);
        }
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let mut actions: Vec<String> = row["actions"].as_array().expect("actions").iter().map(text).collect();
        actions.sort();
        for route in row["routes"].as_array().expect("routes").iter().map(text) {
            let (method, template) = route.split_once(' ').expect("a route");
            let object = OBJECTS.iter().find(|(placeholder, _)| template.contains(placeholder));
            calls.extend(examples.iter().map(|body| Call {
                method: method.to_owned(),
                path: template.to_owned(),
                body: body.clone(),
                actions: actions.clone(),
                object: object.map(|(placeholder, kind)| ((*kind).to_owned(), (*placeholder).to_owned())),
            }));
        }
    }
    calls
}

fn principal() -> impl Strategy<Value = Principal> {
    let who = prop_oneof![4 => Just(("alice", "")), 1 => Just(("bob", "")), 1 => Just(("", "a0")), 1 => Just(("", "alice"))];
    let groups = prop::sample::subsequence(vec!["g1".to_owned(), "g2".to_owned()], 0..=2);
    let roles = ["p2", SYSTEM_POLICIES[0], "op_gated"].map(String::from).to_vec();
    let roles = prop_oneof![2 => Just(Vec::new()), 1 => prop::sample::subsequence(roles, 0..=2)];
    let names = (id(&TEXTS), id(&TEXTS), id(&TEXTS));
    (who, id(&["p", "p", "p", "q"]), groups, roles, names).prop_map(
        |((user, agency), project_id, groups, role_names, (domain_name, user_name, project_name))| {
            Principal {
                domain_id: "acme".into(),
                domain_name,
                user_id: user.into(),
                user_name,
                agency_id: agency.into(),
                project_id,
                project_name,
                mfa_present: None,
                // An agency is in no group.
                group_ids: if agency.is_empty() { groups } else { Vec::new() },
                role_names,
            }
        },
    )
}

/// One value of some of the keys that callers may say.
fn attributes() -> impl Strategy<Value = BTreeMap<String, Vec<String>>> {
    let said: Vec<&str> = KEYS.into_iter().filter(|key| !key.starts_with("g:")).collect();
    let one = id(&TEXTS).prop_map(|value| vec![value]);
    prop::collection::btree_map(id(&said), one, 0..3)
}

/// A call of the principal's project.
fn asked(calls: Vec<Call>) -> impl Strategy<Value = Asked> {
    let region = id(&["eu-de", "eu-de", "eu-nl"]);
    let object_id = id(&["s1", "s1", "s2", "x1", "server_id"]);
    let parts = (principal(), prop::sample::select(calls), object_id, attributes(), region);
    parts.prop_map(|(principal, call, object_id, attributes, region)| {
        let mut path = call.path.replacen("{project_id}", &principal.project_id, 1);
        let object = call.object.map(|(kind, placeholder)| {
            path = path.replace(&placeholder, &object_id);
            (kind, object_id)
        });
        let call = Call { path: path.replace(['{', '}'], ""), object, ..call };
        let content = |text: String| Body::Content { bytes: text.into(), truncated: false };
        let question = Question {
            principal,
            method: call.method.clone(),
            path: call.path.clone(),
            body: call.body.clone().map_or(Body::None, content),
            enforce: false,
            source_ip: "192.0.2.7".into(),
            attributes,
            time: Time::Now,
            region,
        };
        Asked { question, call }
    })
}
