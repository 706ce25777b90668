//! Explanations: what kept each statement from applying, and a grant that would allow the call.

use ecs_authz::catalog::{Body, Catalog, ValueSource};
use ecs_authz::grpc::pb;
use ecs_authz::grpc::render::{self, Rendering};
use ecs_authz::pdp::Pdp;
use ecs_authz::request::{Context, PrincipalParts, Request, RequestParts};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::evaluators;
use crate::support::{PolicyDir, block_on, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        each_part_that_failed_is_told_with_what_was_seen,
        the_nearest_miss_stands_first,
        the_smallest_grant_allows_the_call,
        where_a_statement_denies_no_grant_helps,
        without_asking_there_is_no_explanation,
    ]
}

const POLICIES: [(&str, &str); 3] = [
    (
        "far",
        r#"{"Version":"1.1","Statement":[{"Effect":"Allow","Action":["ecs:servers:lock"],
        "Resource":["ecs:*:*:volume:*"]}]}"#,
    ),
    (
        "near",
        r#"{"Version":"1.1","Statement":[{"Effect":"Allow","Action":["ecs:servers:*"],
        "Resource":["ecs:*:*:instance:*"],"Condition":{"StringEquals":{"g:UserName":["root"]},
        "DateGreaterThan":{"g:CurrentTime":["2020-01-01T00:00:00Z"]}}}]}"#,
    ),
    (
        "nearly",
        r#"{"Version":"1.1","Statement":[{"Effect":"Allow","Action":["ecs:servers:stop"],
        "Resource":["ecs:*:*:instance:8"],"Condition":{"Bool":{"g:MFAPresent":["true"]}}}]}"#,
    ),
];

fn grants(policies: &[&str]) -> String {
    let grant = |policy: &&str| {
        format!(
            "[[grant]]\nsubject = {{ user = \"alice\" }}\npolicy = \"{policy}\"\nscope = {{ project = \"prod\" }}\n"
        )
    };
    policies.iter().map(grant).collect()
}

fn request(method: &str, path: &str, body: &str) -> Request {
    let principal = PrincipalParts {
        domain_id: "acme".into(),
        user_id: "alice".into(),
        user_name: "Alice".into(),
        project_id: "prod".into(),
        ..Default::default()
    };
    let body = Body::Content { bytes: body.into(), truncated: false };
    let context = Context { time: Some(1_795_509_000), ..Default::default() };
    Request::new(RequestParts {
        principal,
        method: method.into(),
        path: path.into(),
        body,
        context,
        ..Default::default()
    })
    .unwrap()
}

fn stop() -> Request {
    request("POST", "/v2.1/prod/servers/7/action", r#"{"os-stop":null}"#)
}

fn answer(pdp: &Pdp, request: &Request) -> pb::AuthorizeResponse {
    let response = block_on(pdp.decide(request)).unwrap();
    render::response(&response, pdp.catalog(), Rendering { explain: true, ..Default::default() })
}

fn explained(policies: &[(&str, &str)], request: &Request) -> pb::AuthorizeResponse {
    let names: Vec<&str> = policies.iter().map(|(name, _)| *name).collect();
    let dir = PolicyDir::acme(policies, &grants(&names));
    answer(&evaluators::pdp(dir.path()), request)
}

/// The statements by policy, each with what failed of it.
fn considered(response: pb::AuthorizeResponse) -> Vec<(String, Vec<pb::FailedPart>)> {
    let considered = response.explanation.expect("an explanation").considered.into_iter();
    considered.map(|it| (it.statement.expect("a statement").policy, it.failed)).collect()
}

fn failed(element: &str, wanted: &str, found: &[&str]) -> pb::FailedPart {
    pb::FailedPart {
        element: element.into(),
        wanted: vec![wanted.into()],
        found: found.iter().map(ToString::to_string).collect(),
        unclear: false,
    }
}

fn each_part_that_failed_is_told_with_what_was_seen() {
    let [_, _, nearly] = POLICIES;
    let parts = considered(explained(&[nearly], &stop())).remove(0).1;
    let expected = [
        failed("Resource", "ecs:*:*:instance:8", &["ecs::acme:instance:7"]),
        // Nobody tells whether there was a second factor.
        pb::FailedPart { unclear: true, ..failed("Bool['g:MFAPresent']", "true", &[]) },
    ];
    assert_eq!(parts, expected);
    let [far, ..] = POLICIES;
    let parts = considered(explained(&[far], &stop())).remove(0).1;
    assert_eq!((parts[0].element.as_str(), &parts[0].found[0]), ("Action", &"ecs:servers:stop".to_owned()));
}

fn the_nearest_miss_stands_first() {
    let considered = considered(explained(&POLICIES, &stop()));
    let policies: Vec<&str> = considered.iter().map(|(policy, _)| policy.as_str()).collect();
    assert_eq!(policies, ["near", "far", "nearly"]);
    assert_eq!(considered[0].1, [failed("StringEquals['g:UserName']", "root", &["Alice"])]);
}

/// For every operation of the table: what is told would allow it, and nothing less does.
fn the_smallest_grant_allows_the_call() {
    let catalog = Catalog::published().unwrap();
    let nobody = evaluators::pdp(PolicyDir::acme(&[], "").path());
    for operation in catalog.operations() {
        let segments = operation.route.split('/').map(|segment| match segment {
            "{project_id}" => "prod",
            _ if segment.starts_with('{') => "x-7",
            _ => segment,
        });
        let path = segments.collect::<Vec<_>>().join("/");
        let request = request(&operation.method, &path, &body(operation).to_string());
        let denied = answer(&nobody, &request);
        assert_eq!(denied.reason(), pb::DenyReason::NoMatchingAllow, "{path}");
        let grant = denied.explanation.expect("an explanation").smallest_grant;
        let dir = PolicyDir::acme(&[("smallest", &grant)], &grants(&["smallest"]));
        let allowed = answer(&evaluators::pdp(dir.path()), &request);
        assert_eq!(allowed.decision(), pb::Decision::Allow, "{} {path}: {grant}", operation.method);
        // It names the object, if there is one.
        let names_object = operation.resource.as_ref().is_some_and(|resource| resource.ids.is_some());
        assert_eq!(grant.contains("x-7\"]"), names_object, "{} {path}: {grant}", operation.method);
    }
}

/// A body that tells the operation and its objects.
fn body(operation: &ecs_authz::catalog::Operation) -> Value {
    match operation.resource.as_ref().and_then(|resource| resource.ids.as_ref()) {
        Some(ValueSource::Member(ids)) => {
            let mut names = ids.path.split('.').rev();
            let id = json!({ names.next().unwrap(): "x-7" });
            let list = json!({ names.next().unwrap(): [id] });
            names.fold(list, |inner, name| json!({ name: inner }))
        }
        _ => operation.body_key.as_ref().map_or(json!({}), |key| json!({ &**key: null })),
    }
}

fn where_a_statement_denies_no_grant_helps() {
    let deny = r#"{"Version":"1.1","Statement":[{"Effect":"Deny","Action":["*"],
        "Condition":{"StringEquals":{"g:UserName":["Alice"]}}}]}"#;
    let response = explained(&[("deny", deny)], &stop());
    assert_eq!(response.reason(), pb::DenyReason::ExplicitDeny);
    let explanation = response.explanation.unwrap();
    assert_eq!(explanation.smallest_grant, "");
    assert!(explanation.considered[0].applies && explanation.considered[0].failed.is_empty());
}

fn without_asking_there_is_no_explanation() {
    let dir = PolicyDir::acme(&[], "");
    let pdp = evaluators::pdp(dir.path());
    let request = stop();
    let response = block_on(pdp.decide(&request)).unwrap();
    let rendered = render::response(&response, pdp.catalog(), Rendering::default());
    assert!(rendered.explanation.is_none());
}
