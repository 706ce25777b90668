//! What a principal may do: allowed, denied, or what it depends on, held against decisions on real calls.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use ecs_authz::catalog::ActionId;
use ecs_authz::decision::{DenyReason, Effect, StatementRef, Verdict};
use ecs_authz::grpc::pb;
use ecs_authz::pdp::{Pdp, Response};
use ecs_authz::policy::{Pending, Permission};
use ecs_authz::request::{Caller, Context, PrincipalParts, Request, RequestParts};
use ecs_authz::server::RunningServer;
use libtest_mimic::Trial;
use proptest::prelude::*;
use serde_json::{Value, json};
use tonic::Code;

use crate::evaluators::{pdp, request_parts};
use crate::random::{directory, domain, questions, run};
use crate::support::{PolicyDir, block_on, client, serve, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        what_each_statement_leaves_open_is_told,
        a_deny_behind_what_depends_is_told,
        what_is_told_of_other_keys_leaves_none_open,
        no_call_comes_out_otherwise_than_its_permission_says,
        what_depends_comes_out_both_ways,
        permissions_are_listed_over_grpc,
        a_long_answer_fits_into_a_message,
        a_malformed_question_names_its_fields,
        a_revision_that_is_not_there_is_unavailable,
    ]
}

fn permission(pdp: &Pdp, caller: &Caller, action: &str) -> Permission {
    let action = pdp.catalog().action_id(action).expect("an action");
    block_on(pdp.permissions(caller, None)).expect("permissions").of(action)
}

/// `allowed by p[0]`, `denied`, or the statements that it depends on with their parts.
fn told(permission: &Permission) -> String {
    let part = |part: &ecs_authz::policy::PendingPart| format!("{}={}", part.element, part.wanted.join("|"));
    let pending = |Pending { statement, parts }: &Pending| {
        let parts: Vec<String> = parts.iter().map(part).collect();
        format!("{}[{}] if {}", statement.policy, statement.index, parts.join(" and "))
    };
    match permission {
        Permission::Allowed(statement) => format!("allowed by {}[{}]", statement.policy, statement.index),
        Permission::Denied(Some(statement)) => format!("denied by {}[{}]", statement.policy, statement.index),
        Permission::Denied(None) => "denied".to_owned(),
        Permission::Depends(statements) => statements.iter().map(pending).collect::<Vec<_>>().join("; "),
    }
}

fn principal() -> PrincipalParts {
    PrincipalParts {
        domain_id: "acme".into(),
        user_id: "alice".into(),
        user_name: "Alice".into(),
        project_id: "p".into(),
        ..Default::default()
    }
}

const ALL: &str = r#"{"Effect":"Allow","Action":["ecs:*:*"]}"#;
const START: &str = "ecs:servers:start";

/// Statements of the policies `a`, `b`… in the project, and of `e` in the enterprise project `ep`; the action; and
/// what becomes of it.
type Row = (&'static [&'static str], &'static str, &'static str, &'static str);

const ROWS: [Row; 22] = [
    (&[], "", START, "denied"),
    (&[ALL], "", START, "allowed by a[0]"),
    (&[ALL], "", "vpc:ports:get", "denied"),
    (&[ALL, r#"{"Effect":"Deny","Action":["ecs:servers:*"]}"#], "", START, "denied by b[0]"),
    // The object.
    (
        &[r#"{"Effect":"Allow","Action":["ecs:*:*"],"Resource":["ecs:*:*:instance:7"]}"#],
        "",
        START,
        "a[0] if Resource=ecs:*:*:instance:7",
    ),
    (
        &[r#"{"Effect":"Allow","Action":["ecs:*:*"],"Resource":["ecs:*:*:instance:*"]}"#],
        "",
        START,
        "allowed by a[0]",
    ),
    (
        &[r#"{"Effect":"Allow","Action":["ecs:*:*"],"Resource":["ecs:*:*:instance:*"]}"#],
        "",
        "ecs:servers:list",
        "denied",
    ),
    (&[r#"{"Effect":"Allow","Action":["ecs:*:*"],"Resource":["ecs:*:*:volume:*"]}"#], "", START, "denied"),
    (
        &[r#"{"Effect":"Allow","Action":["ecs:*:*"],"Resource":["ecs:*:*:instance:7"]}"#],
        "",
        "ecs:cloudServers:createServers",
        "denied",
    ),
    (
        &[r#"{"Effect":"Allow","Action":["ecs:*:*"],"Resource":["ecs:eu-de:acme:instance:*"]}"#],
        "",
        START,
        "a[0] if Resource=ecs:eu-de:acme:instance:*",
    ),
    // Operations that need one action touch different objects.
    (
        &[r#"{"Effect":"Allow","Action":["ecs:*:*"],"Resource":["ecs:*:*:volume:*"]}"#],
        "",
        "ecs:serverVolumes:use",
        "a[0] if Resource=ecs:*:*:volume:*",
    ),
    // Conditions: what is known is decided, what only calls tell is open.
    (
        &[r#"{"Effect":"Allow","Action":["ecs:*:*"],"Condition":{"StringEquals":{"g:UserName":["Alice"]}}}"#],
        "",
        START,
        "allowed by a[0]",
    ),
    (
        &[r#"{"Effect":"Allow","Action":["ecs:*:*"],"Condition":{"StringEquals":{"g:UserName":["Bob"]}}}"#],
        "",
        START,
        "denied",
    ),
    (
        &[
            r#"{"Effect":"Allow","Action":["ecs:*:*"],"Condition":{"IpAddress":{"g:SourceIp":["10.0.0.0/8"]},"StringEquals":{"g:UserName":["Alice"]}}}"#,
        ],
        "",
        START,
        "a[0] if IpAddress['g:SourceIp']=10.0.0.0/8",
    ),
    (
        &[
            r#"{"Effect":"Allow","Action":["ecs:*:*"],"Condition":{"StringEquals":{"ecs:FlavorId":["c1","c2"]}}}"#,
        ],
        "",
        "ecs:servers:resize",
        "a[0] if StringEquals['ecs:FlavorId']=c1|c2",
    ),
    (
        &[ALL, r#"{"Effect":"Deny","Action":["ecs:*:*"],"Condition":{"Bool":{"g:MFAPresent":["false"]}}}"#],
        "",
        START,
        "b[0] if Bool['g:MFAPresent']=false",
    ),
    // What is behind a sure statement does not matter.
    (
        &[ALL, r#"{"Effect":"Allow","Action":["ecs:*:*"],"Resource":["ecs:*:*:instance:7"]}"#],
        "",
        START,
        "allowed by a[0]",
    ),
    (&[r#"{"Effect":"Deny","Action":["ecs:*:*"],"Resource":["ecs:*:*:instance:7"]}"#], "", START, "denied"),
    // The second stage.
    (&[], ALL, START, "e[0] if g:EnterpriseProjectId=ep"),
    (&[ALL], r#"{"Effect":"Deny","Action":["ecs:*:*"]}"#, START, "allowed by a[0]"),
    (&[], r#"{"Effect":"Deny","Action":["ecs:*:*"]}"#, START, "denied"),
    (
        &[r#"{"Effect":"Allow","Action":["ecs:*:*"],"Resource":["ecs:*:*:instance:7"]}"#],
        ALL,
        START,
        "a[0] if Resource=ecs:*:*:instance:7; e[0] if g:EnterpriseProjectId=ep",
    ),
];

fn what_is_told_of_other_keys_leaves_none_open() {
    let ask = |condition: &str, parts: PrincipalParts, attributes: &[(&str, &str)]| {
        let document = format!(
            r#"{{"Version":"1.1","Statement":[{{"Effect":"Allow","Action":["ecs:*:*"],"Condition":{condition}}}]}}"#
        );
        let grants = "[[grant]]\nsubject = { user = \"alice\" }\npolicy = \"a\"\nscope = \"all_projects\"\n";
        let dir = PolicyDir::acme(&[("a", &document)], grants);
        let attributes = attributes.iter().map(|(key, value)| (key.to_string(), vec![value.to_string()]));
        let context = Context { attributes: attributes.collect(), ..Default::default() };
        told(&permission(&pdp(dir.path()), &Caller::new(parts, context).expect("a caller"), START))
    };
    let tag = r#"{"StringNotEquals":{"g:ResourceTag/owner":["bob"]}}"#;
    assert_eq!(ask(tag, principal(), &[]), "a[0] if StringNotEquals['g:ResourceTag/owner']=bob");
    assert_eq!(ask(tag, principal(), &[("g:ResourceTag/env", "prod")]), "allowed by a[0]");
    let age = r#"{"NumberLessThan":{"g:MFAAge":["60"]}}"#;
    assert_eq!(ask(age, principal(), &[]), "a[0] if NumberLessThan['g:MFAAge']=60");
    let without = PrincipalParts { mfa_present: Some(false), ..principal() };
    assert_eq!(ask(age, without, &[]), "denied");
}

/// Whatever the first stage leaves, the told enterprise project denies.
fn a_deny_behind_what_depends_is_told() {
    let allow = r#"{"Version":"1.1","Statement":[{"Effect":"Allow","Action":["ecs:*:*"],"Condition":{"StringEquals":{"g:RequestTag/team":["x"]}}}]}"#;
    let deny = r#"{"Version":"1.1","Statement":[{"Effect":"Deny","Action":["ecs:*:*"]}]}"#;
    let grants = "[[grant]]\nsubject = { user = \"alice\" }\npolicy = \"a\"\nscope = \"all_projects\"\n\
                  [[grant]]\nsubject = { user = \"alice\" }\npolicy = \"e\"\nscope = { enterprise_project = \"ep\" }\n";
    let dir = PolicyDir::acme(&[("a", allow), ("e", deny)], grants);
    let attributes = [("g:EnterpriseProjectId".to_owned(), vec!["ep".to_owned()])].into();
    let context = Context { attributes, ..Default::default() };
    let caller = Caller::new(principal(), context).expect("a caller");
    let found = permission(&pdp(dir.path()), &caller, "ecs:serverKeypairs:create");
    assert_eq!(told(&found), "a[0] if StringEquals['g:RequestTag/team']=x; e[0] if ");
}

fn what_each_statement_leaves_open_is_told() {
    for (statements, enterprise, action, expected) in ROWS {
        let dir = PolicyDir::new();
        let mut grants = String::new();
        let mut grant = |name: &str, statement: &str, scope: &str| {
            let document = format!(r#"{{"Version":"1.1","Statement":[{statement}]}}"#);
            dir.write(&format!("acme/policies/{name}.json"), &document);
            grants.push_str(&format!(
                "[[grant]]\nsubject = {{ user = \"alice\" }}\npolicy = \"{name}\"\nscope = {scope}\n"
            ));
        };
        for (name, statement) in ["a", "b"].into_iter().zip(statements) {
            grant(name, statement, "\"all_projects\"");
        }
        if !enterprise.is_empty() {
            grant("e", enterprise, "{ enterprise_project = \"ep\" }");
        }
        dir.write("acme/grants.toml", &grants);
        let caller = Caller::new(principal(), Context::default()).expect("a caller");
        let found = permission(&pdp(dir.path()), &caller, action);
        assert_eq!(told(&found), expected, "{statements:?} {enterprise} {action}");
    }
}

/// Holds the verdicts on a call's actions against permissions. Tells which kinds of permission there were.
fn hold(pdp: &Pdp, request: &Request, caller: &Caller) -> BTreeSet<&'static str> {
    let response = block_on(pdp.decide(request)).expect("a decision");
    let Response::Evaluated { evaluation, .. } = response else { return BTreeSet::new() };
    let permissions = block_on(pdp.permissions(caller, None)).expect("permissions");
    let actions = evaluation.call().operation.actions.iter();
    let kind = |action: &ActionId| {
        let verdict = evaluation.verdict(*action);
        let permission = permissions.of(*action);
        let is_so = match &permission {
            Permission::Allowed(_) => verdict.denied().is_none(),
            Permission::Denied(Some(_)) => verdict.denied() == Some(DenyReason::ExplicitDeny),
            Permission::Denied(None) => verdict.denied().is_some(),
            Permission::Depends(statements) => {
                // Who decides is told. An Allow that always applies is not, where it depends on a Deny.
                let is_told = |place: &StatementRef| statements.iter().any(|it| it.statement == *place);
                let has_deny = statements.iter().any(|it| it.statement.effect == Effect::Deny);
                match verdict {
                    Verdict::Denied(place) => is_told(place),
                    Verdict::Allowed(place) => is_told(place) || has_deny,
                    Verdict::Unmatched => !statements.is_empty(),
                }
            }
        };
        assert!(is_so, "{} {}: {verdict:?}, {}", request.method(), request.path(), told(&permission));
        match permission {
            Permission::Allowed(_) => "allowed",
            Permission::Denied(_) => "denied",
            Permission::Depends(_) => "depends",
        }
    };
    actions.map(kind).collect()
}

fn no_call_comes_out_otherwise_than_its_permission_says() {
    let kinds = RefCell::new(BTreeMap::<&str, usize>::new());
    run((domain(), questions()), |(domain, questions)| {
        let dir = directory(&domain);
        let pdp = pdp(dir.path());
        for question in questions {
            let parts = request_parts(&question);
            let RequestParts { principal, context, .. } = parts.clone();
            let Ok(request) = Request::new(parts) else { continue };
            // All that is known of the call's circumstances, and next to nothing.
            let bare = PrincipalParts {
                domain_name: String::new(),
                user_name: String::new(),
                project_name: String::new(),
                mfa_present: None,
                ..principal.clone()
            };
            let nowhere = Context { time: context.time, ..Default::default() };
            for (principal, context) in [(principal, context), (bare, nowhere)] {
                let caller = Caller::new(principal, context).expect("a caller");
                for kind in hold(&pdp, &request, &caller) {
                    *kinds.borrow_mut().entry(kind).or_default() += 1;
                }
            }
        }
    });
    let kinds = kinds.into_inner();
    assert!(["allowed", "denied", "depends"].iter().all(|kind| kinds.contains_key(kind)), "{kinds:?}");
}

/// A statement about starting servers, limited by things that no other statement asks for.
fn independent(index: usize) -> impl Strategy<Value = Value> {
    let effect = prop_oneof![2 => Just("Allow"), 1 => Just("Deny")];
    let own = format!("ecs:*:*:instance:s{index}");
    let resources = vec![None, Some(own), Some("ecs:*:*:instance:*".into()), Some("ecs:*:*:volume:*".into())];
    let action = prop_oneof![4 => Just("ecs:servers:start"), 1 => Just("ecs:servers:stop")];
    (effect, action, prop::sample::select(resources), any::<bool>()).prop_map(
        move |(effect, action, resource, is_conditional)| {
            let mut statement = json!({"Effect": effect, "Action": [action]});
            if let Some(resource) = resource {
                statement["Resource"] = json!([resource]);
            }
            if is_conditional {
                statement["Condition"] = json!({"StringEquals": {format!("g:ResourceTag/k{index}"): ["on"]}});
            }
            statement
        },
    )
}

/// All calls that differ for such statements: every server, with every set of tags.
fn calls() -> Vec<Request> {
    let mut calls = Vec::new();
    for server in ["s0", "s1", "s2", "s9"] {
        for set in 0..8_u8 {
            let tag = |index: u8| {
                let value = if set & (1 << index) == 0 { "off" } else { "on" };
                (format!("g:ResourceTag/k{index}"), vec![value.to_owned()])
            };
            let parts = RequestParts {
                principal: principal(),
                method: "POST".into(),
                path: format!("/v2.1/p/servers/{server}/action"),
                body: ecs_authz::catalog::Body::Content {
                    bytes: br#"{"os-start":{}}"#.to_vec(),
                    truncated: false,
                },
                context: Context { attributes: (0..3).map(tag).collect(), ..Default::default() },
                ..Default::default()
            };
            calls.push(Request::new(parts).expect("a request"));
        }
    }
    calls
}

fn what_depends_comes_out_both_ways() {
    let calls = calls();
    let caller = Caller::new(principal(), Context::default()).expect("a caller");
    run((independent(0), independent(1), independent(2)), |(first, second, third)| {
        let document = json!({"Version": "1.1", "Statement": [first, second, third]});
        let grants = "[[grant]]\nsubject = { user = \"alice\" }\npolicy = \"a\"\nscope = \"all_projects\"\n";
        let dir = PolicyDir::acme(&[("a", &document.to_string())], grants);
        let pdp = pdp(dir.path());
        let allowed = |call: &&Request| block_on(pdp.decide(call)).expect("a decision").decision().is_allow();
        let count = calls.iter().filter(allowed).count();
        let expected = match count {
            0 => "denied",
            count if count == calls.len() => "allowed",
            _ => "depends",
        };
        let found = permission(&pdp, &caller, START);
        let kind = match found {
            Permission::Allowed(_) => "allowed",
            Permission::Denied(_) => "denied",
            Permission::Depends(_) => "depends",
        };
        assert_eq!(kind, expected, "{document} {}", told(&found));
    });
}

async fn list(
    server: &RunningServer,
    request: pb::ListPermissionsRequest,
) -> Result<pb::ListPermissionsResponse, tonic::Status> {
    Ok(client(server).await.list_permissions(request).await?.into_inner())
}

fn alice() -> pb::Principal {
    let PrincipalParts { domain_id, user_id, user_name, project_id, .. } = principal();
    pb::Principal { domain_id, user_id, user_name, project_id, ..Default::default() }
}

/// Alice operates the servers of `p`, but for server 7.
fn operators() -> PolicyDir {
    let document = r#"{"Version":"1.1","Statement":[
        {"Effect":"Deny","Action":["ecs:servers:stop"],"Resource":["ecs:*:*:instance:7"]},
        {"Effect":"Deny","Action":["ecs:servers:delete"]}]}"#;
    let grant = |policy: &str| {
        format!(
            "[[grant]]\nsubject = {{ user = \"alice\" }}\npolicy = \"{policy}\"\nscope = {{ project = \"p\" }}\n"
        )
    };
    PolicyDir::acme(&[("but", document)], &(grant("but") + &grant("ECS FullAccess")))
}

fn permissions_are_listed_over_grpc() {
    let dir = operators();
    block_on(async {
        let server = serve(dir.path()).await;
        let ask = |pattern: &str, principal| pb::ListPermissionsRequest {
            principal: Some(principal),
            pattern: pattern.into(),
            ..Default::default()
        };
        let all = list(&server, ask("", alice())).await.unwrap();
        assert_eq!((all.permissions.len(), all.revision, all.stale), (102, 1, false));
        assert!(all.permissions.is_sorted_by(|a, b| a.action < b.action));
        let some = list(&server, ask("ecs:servers:st*", alice())).await.unwrap();
        let told: Vec<_> = some.permissions.iter().map(|it| (it.action.as_str(), it.state())).collect();
        let expected =
            [(START, pb::PermissionState::Allowed), ("ecs:servers:stop", pb::PermissionState::Depends)];
        assert_eq!(told, expected);
        let [start, stop] = some.permissions.as_slice() else { panic!("two") };
        assert_eq!(start.statement.as_ref().unwrap().policy, "ECS FullAccess");
        let [pending] = stop.depends_on.as_slice() else { panic!("one statement") };
        assert_eq!(pending.statement.as_ref().unwrap().policy, "but");
        let part = pb::PendingPart { element: "Resource".into(), wanted: vec!["ecs:*:*:instance:7".into()] };
        assert_eq!(pending.parts, [part]);
        let delete = list(&server, ask("ecs:servers:delete", alice())).await.unwrap().permissions.remove(0);
        assert_eq!(delete.state(), pb::PermissionState::Denied);
        assert_eq!(delete.statement.unwrap().policy, "but");
        // Without a project, nothing is granted.
        let nowhere = pb::Principal { project_id: String::new(), ..alice() };
        let none = list(&server, ask("", nowhere)).await.unwrap().permissions;
        assert!(none.iter().all(|it| it.state() == pb::PermissionState::Denied && it.statement.is_none()));
    });
}

/// Policies as long as policies may be, all of them limited, all about everything.
fn a_long_answer_fits_into_a_message() {
    let ids: Vec<String> = (0..150).map(|number| format!("{number:0>30}")).collect();
    let document = json!({"Version": "1.1", "Statement": [
        {"Effect": "Allow", "Action": ["*"], "Condition": {"StringEquals": {"ecs:ServerId": ids}}}
    ]});
    let document = document.to_string();
    let names: Vec<String> = (0..70).map(|number| format!("p{number}")).collect();
    let policies: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), document.as_str())).collect();
    let grant = |name: &String| {
        format!(
            "[[grant]]\nsubject = {{ user = \"alice\" }}\npolicy = \"{name}\"\nscope = \"all_projects\"\n"
        )
    };
    let dir = PolicyDir::acme(&policies, &names.iter().map(grant).collect::<String>());
    block_on(async {
        let server = serve(dir.path()).await;
        let request = pb::ListPermissionsRequest { principal: Some(alice()), ..Default::default() };
        // The client takes 4 MiB, as clients do.
        let all = list(&server, request).await.unwrap();
        assert_eq!(all.permissions.len(), 102);
        let is_depending = |it: &pb::Permission| it.state() == pb::PermissionState::Depends;
        assert!(all.permissions.iter().all(is_depending));
        assert!(all.permissions.iter().any(|it| it.truncated));
        let request = pb::ListPermissionsRequest {
            principal: Some(alice()),
            pattern: START.into(),
            ..Default::default()
        };
        let one = list(&server, request).await.unwrap().permissions.remove(0);
        assert_eq!((one.depends_on.len(), one.truncated), (64, false));
    });
}

fn a_malformed_question_names_its_fields() {
    let dir = operators();
    block_on(async {
        let server = serve(dir.path()).await;
        let no_principal = pb::ListPermissionsRequest::default();
        let status = list(&server, no_principal).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("principal.domain_id: expected a value"), "{status:?}");
        let request = pb::ListPermissionsRequest {
            principal: Some(alice()),
            pattern: "ecs:servers".into(),
            ..Default::default()
        };
        let status = list(&server, request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("pattern"), "{status:?}");
    });
}

fn a_revision_that_is_not_there_is_unavailable() {
    let dir = operators();
    block_on(async {
        let server = serve(dir.path()).await;
        let mut request = tonic::Request::new(pb::ListPermissionsRequest {
            principal: Some(alice()),
            min_revision: 9,
            ..Default::default()
        });
        request.set_timeout(std::time::Duration::from_millis(200));
        let status = client(&server).await.list_permissions(request).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    });
}
