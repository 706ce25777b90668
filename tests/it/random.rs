//! Random policies, grants and calls: the compiled evaluator and the reference must agree on every one.
//!
//! `ECS_AUTHZ_CASES=100000 scripts/test random` asks more than every test run does.

use std::collections::BTreeMap;
use std::env;

use libtest_mimic::Trial;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::evaluators::{by_pdp, pdp};
use crate::reference::{self, Body, Domain, Grant, Group, Principal, Question, Scope, Subject};
use crate::support::{PolicyDir, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        both_evaluators_agree,
        one_more_deny_never_allows_more,
        one_more_allow_never_denies_more,
        the_order_of_grants_and_names_of_files_make_no_difference,
    ]
}

/// Each case has several questions on one set of policies.
const QUESTIONS: usize = 8;

fn run<S: Strategy>(strategy: S, test: impl Fn(S::Value)) {
    let cases = env::var("ECS_AUTHZ_CASES").ok().and_then(|count| count.parse().ok()).unwrap_or(2_000_u32);
    let config =
        Config { cases: cases.div_ceil(QUESTIONS as u32), failure_persistence: None, ..Default::default() };
    let outcome = TestRunner::new(config).run(&strategy, |value| {
        test(value);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

fn operations() -> Vec<Value> {
    serde_json::from_str(include_str!("published/operations.json")).expect("published JSON")
}

/// Names that policies are likely to have: those of the table, parts of them, and others.
fn pattern() -> impl Strategy<Value = String> {
    let mut names: Vec<String> = operations()
        .iter()
        .flat_map(|row| row["actions"].as_array().into_iter().chain(row["dependencies"].as_array()).flatten())
        .map(|name| name.as_str().expect("a name").to_owned())
        .collect();
    names.extend(
        ["ecs:cloudServers:create", "ecs:cloudServers:delete", "ecs:cloudServers:put"].map(String::from),
    );
    let service = prop::sample::select(vec!["ecs", "ecs", "ecs", "vpc", "evs", "ims", "*", "e*", "obs"]);
    let kind = prop::sample::select(vec![
        "*",
        "servers",
        "cloudServers",
        "SERVERS",
        "*ervers",
        "cloud*",
        "s*s",
        "v*",
    ]);
    let verb = prop::sample::select(vec![
        "*", "get", "Get*", "list*", "*t*", "start", "st*", "delete", "create*", "use",
    ]);
    prop_oneof![
        3 => prop::sample::select(names),
        4 => (service, kind, verb).prop_map(|(service, kind, verb)| format!("{service}:{kind}:{verb}")),
        1 => prop::sample::select(vec!["*".to_owned(), "ecs:*".to_owned(), "vpc:*".to_owned()]),
    ]
}

fn statement() -> impl Strategy<Value = Value> {
    let effect = prop_oneof![3 => Just("Allow"), 1 => Just("Deny")];
    let member = prop_oneof![4 => Just("Action"), 1 => Just("NotAction")];
    (effect, member, prop::collection::vec(pattern(), 1..4))
        .prop_map(|(effect, member, patterns)| json!({"Effect": effect, member: patterns}))
}

fn document() -> impl Strategy<Value = Value> {
    let statements = prop::collection::vec(statement(), 1..4);
    statements.prop_map(|statements| json!({"Version": "1.1", "Statement": statements}))
}

const POLICIES: [&str; 5] = ["p0", "p1", "p2", "ECS ReadOnlyAccess", "ECS CommonOperations"];

fn grant() -> impl Strategy<Value = Grant> {
    let id = |ids: &[&'static str]| prop::sample::select(ids.to_vec()).prop_map(String::from);
    let subject = prop_oneof![
        3 => id(&["alice", "bob"]).prop_map(Subject::User),
        2 => id(&["g0", "g1"]).prop_map(Subject::Group),
        1 => id(&["alice", "a0"]).prop_map(Subject::Agency),
    ];
    let scope = prop_oneof![
        3 => id(&["p", "q"]).prop_map(Scope::Project),
        2 => Just(Scope::AllProjects),
        2 => id(&["ep", "other"]).prop_map(Scope::EnterpriseProject),
        1 => Just(Scope::Domain),
    ];
    (subject, id(&POLICIES), scope).prop_map(|(subject, policy, scope)| Grant { subject, policy, scope })
}

fn domain() -> impl Strategy<Value = Domain> {
    let grants = prop::collection::vec(grant(), 0..6);
    let members = prop::sample::subsequence(vec!["alice".to_owned(), "bob".to_owned()], 0..=2);
    (prop::array::uniform3(document()), grants, members).prop_map(|(documents, grants, members)| Domain {
        policies: POLICIES.map(String::from).into_iter().zip(documents).collect(),
        groups: vec![Group { id: "g0".into(), members }],
        grants,
    })
}

fn principal() -> impl Strategy<Value = Principal> {
    let user = prop_oneof![4 => Just(("alice", "")), 1 => Just(("bob", "")), 1 => Just(("", "a0")), 1 => Just(("", "alice"))];
    let project = prop_oneof![6 => Just("p"), 1 => Just("q"), 1 => Just("")];
    let groups = prop::sample::subsequence(vec!["g1".to_owned(), "g2".to_owned()], 0..=2);
    let roles = prop::sample::subsequence(
        vec!["p2".to_owned(), "op_gated".to_owned(), POLICIES[3].to_owned()],
        0..=2,
    );
    (user, project, groups, roles).prop_map(|((user, agency), project, groups, roles)| Principal {
        domain_id: "acme".into(),
        user_id: user.into(),
        agency_id: agency.into(),
        project_id: project.into(),
        group_ids: if agency.is_empty() { groups } else { Vec::new() },
        role_names: roles,
    })
}

/// A call of a published operation, mostly of the principal's project, with a body that mostly fits.
fn call() -> impl Strategy<Value = (String, String, Body)> {
    let routes: Vec<(String, Vec<String>)> = operations()
        .iter()
        .flat_map(|row| {
            let examples = row["body"].as_array().into_iter().flatten();
            let bodies: Vec<String> = examples.map(|body| body["example"].to_string()).collect();
            let routes = row["routes"].as_array().expect("routes").iter();
            let routes = routes.map(|route| route.as_str().expect("a route").to_owned());
            routes.map(move |route| (route, bodies.clone())).collect::<Vec<_>>()
        })
        .collect();
    let stray = prop::sample::select(vec![
        "{}",
        "[]",
        "{\"reboot\":1}",
        "{\"x\":1,\"y\":2}",
        "{\"server\":{}}",
        "{",
        "",
    ]);
    let project = prop_oneof![8 => Just("p"), 1 => Just("q")];
    (prop::sample::select(routes), project, any::<prop::sample::Index>(), 0..10_u8, stray).prop_map(
        |((route, bodies), project, index, kind, stray)| {
            let (method, template) = route.split_once(' ').expect("a route");
            let path = template.replacen("{project_id}", project, 1).replace(['{', '}'], "");
            let content = |text: &str| Body::Content { bytes: text.into(), truncated: false };
            let body = match kind {
                0 => Body::None,
                1 => content(stray),
                _ if bodies.is_empty() => Body::None,
                _ => content(index.get::<String>(&bodies)),
            };
            (method.to_owned(), path, body)
        },
    )
}

fn question() -> impl Strategy<Value = Question> {
    let enterprise_project = prop::option::of(prop_oneof![2 => Just("ep"), 1 => Just("unknown")]);
    (principal(), call(), any::<bool>(), enterprise_project).prop_map(
        |(principal, (method, path, body), enforce, enterprise_project)| Question {
            principal,
            method,
            path,
            body,
            enforce,
            enterprise_project: enterprise_project.map(String::from),
        },
    )
}

fn questions() -> impl Strategy<Value = Vec<Question>> {
    prop::collection::vec(question(), QUESTIONS)
}

/// The domain as a directory.
fn directory(domain: &Domain) -> PolicyDir {
    let dir = PolicyDir::new();
    for (name, document) in &domain.policies {
        dir.write(&format!("acme/policies/{name}.json"), &document.to_string());
    }
    dir.write("acme/grants.toml", &reference::grants_file(domain));
    dir
}

fn both_evaluators_agree() {
    run((domain(), questions()), |(domain, questions)| {
        let dir = directory(&domain);
        let pdp = pdp(dir.path());
        let domains = BTreeMap::from([("acme".to_owned(), domain)]);
        for question in questions {
            let (ours, theirs) = (by_pdp(&pdp, &question), reference::decide(&domains, &question));
            assert_eq!(ours, theirs, "{question:?}");
        }
    });
}

/// Grants one more policy, of one statement, to every principal of the questions.
fn with_statement(domain: &Domain, effect: &str, pattern: &str) -> Domain {
    let document = json!({"Version": "1.1", "Statement": [{"Effect": effect, "Action": [pattern]}]});
    let mut more = Domain {
        policies: domain.policies.clone(),
        groups: domain.groups.clone(),
        grants: domain.grants.clone(),
    };
    more.policies.insert("one-more".into(), document);
    let (users, agencies) = (["alice", "bob"].map(String::from), ["alice", "a0"].map(String::from));
    let subjects = users.map(Subject::User).into_iter().chain(agencies.map(Subject::Agency));
    more.grants.extend(subjects.map(|subject| Grant {
        subject,
        policy: "one-more".into(),
        scope: Scope::AllProjects,
    }));
    more
}

/// Whether each question is allowed, before and after.
fn before_and_after(before: &Domain, after: &Domain, questions: &[Question]) -> Vec<(bool, bool)> {
    let (before, after) = (directory(before), directory(after));
    let (before, after) = (pdp(before.path()), pdp(after.path()));
    let is_allowed = |pdp, question| by_pdp(pdp, question).decision == reference::Answer::Allow;
    questions.iter().map(|question| (is_allowed(&before, question), is_allowed(&after, question))).collect()
}

fn one_more_deny_never_allows_more() {
    run((domain(), pattern(), questions()), |(domain, pattern, questions)| {
        let after = with_statement(&domain, "Deny", &pattern);
        for (before, after) in before_and_after(&domain, &after, &questions) {
            assert!(before || !after);
        }
    });
}

fn one_more_allow_never_denies_more() {
    run((domain(), pattern(), questions()), |(domain, pattern, questions)| {
        let after = with_statement(&domain, "Allow", &pattern);
        for (before, after) in before_and_after(&domain, &after, &questions) {
            assert!(after || !before);
        }
    });
}

fn the_order_of_grants_and_names_of_files_make_no_difference() {
    run((domain(), questions()), |(domain, questions)| {
        // Other names sort otherwise, so files are read and statements met in another order.
        let renamed = |name: &str| match name {
            "p0" => "z0".to_owned(),
            "p1" => "a1".to_owned(),
            other => other.to_owned(),
        };
        let grants = domain.grants.iter().rev().cloned();
        let after = Domain {
            policies: domain
                .policies
                .iter()
                .map(|(name, document)| (renamed(name), document.clone()))
                .collect(),
            groups: domain.groups.clone(),
            grants: grants.map(|grant| Grant { policy: renamed(&grant.policy), ..grant }).collect(),
        };
        for (before, after) in before_and_after(&domain, &after, &questions) {
            assert_eq!(before, after);
        }
    });
}
