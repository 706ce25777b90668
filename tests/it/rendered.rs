//! Answers are written field by field as they go out. Here they are built a second time, as messages, from what the decision
//! point says: both must say the same, for calls of every operation.

use std::sync::Arc;

use ecs_authz::catalog::{Body, Catalog, Operation};
use ecs_authz::decision::{Decision, DenyReason, DependencyMode, Effect, StatementRef, Verdict};
use ecs_authz::grpc::pb;
use ecs_authz::grpc::render::{self, Rendering, wire_operation, wire_reason};
use ecs_authz::pdp::{Defaults, Pdp, Response};
use ecs_authz::policy::Evaluation;
use ecs_authz::request::{Context, PrincipalParts, Request, RequestParts};
use ecs_authz::server::compose_pdp;
use ecs_authz::store::directory::DirectoryStore;
use libtest_mimic::Trial;

use crate::support::{PolicyDir, block_on, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![answers_say_what_was_decided, a_call_that_is_no_operation_is_told_too]
}

const GRANTS: &str = r#"
[[grant]]
subject = { user = "alice" }
policy = "ECS CommonOperations"
scope = { project = "prod" }

[[grant]]
subject = { user = "alice" }
policy = "no-deletion"
scope = "all_projects"

[[grant]]
subject = { agency = "ops" }
policy = "ECS FullAccess"
scope = { project = "prod" }
"#;
const NO_DELETION: &str = r#"{"Version":"1.1","Statement":[
    {"Effect":"Deny","Action":["ecs:*:delete*"]},
    {"Effect":"Deny","Action":["ecs:*:*"],"Condition":{"StringEquals":{"g:DomainName":["other"]}}}]}"#;

fn pdp() -> Pdp {
    let policies = PolicyDir::acme(&[("no-deletion", NO_DELETION)], GRANTS);
    let catalog = Arc::new(Catalog::published().unwrap());
    let store = DirectoryStore::open(policies.path(), catalog.clone()).unwrap();
    let defaults = Defaults { region: Some("eu-de".into()), ..Defaults::default() };
    compose_pdp(catalog, Arc::new(store), defaults, 1 << 24)
}

/// Nobody, a user, an agency; and each in another project than the path's.
fn principals() -> Vec<PrincipalParts> {
    let of = |user: &str, agency: &str, project: &str| PrincipalParts {
        domain_id: "acme".into(),
        user_id: user.into(),
        agency_id: agency.into(),
        project_id: project.into(),
        ..Default::default()
    };
    let unknown = PrincipalParts { domain_id: "nobody's".into(), ..of("eve", "", "prod") };
    vec![
        of("alice", "", "prod"),
        of("bob", "", "prod"),
        of("", "ops", "prod"),
        of("alice", "", "test"),
        unknown,
    ]
}

fn call(operation: &Operation, principal: PrincipalParts, dependency_mode: DependencyMode) -> Request {
    let fill = |segment: &str| match segment {
        "{project_id}" => "prod".to_owned(),
        placeholder if placeholder.starts_with('{') => "7".to_owned(),
        literal => literal.to_owned(),
    };
    let path: Vec<String> = operation.route.split('/').map(fill).collect();
    let body = match &operation.body_key {
        Some(key) => Body::Content { bytes: format!(r#"{{"{key}":{{}}}}"#).into(), truncated: false },
        None => Body::Absent,
    };
    let (method, path) = (operation.method.to_string(), path.join("/"));
    let context = Context { time: Some(1_795_850_548), ..Default::default() };
    let parts =
        RequestParts { principal, method, path, body, context, dependency_mode, ..Default::default() };
    Request::new(parts).unwrap()
}

/// The answer as a message, but for its explanation.
fn expected(response: &Response<'_>, catalog: &Catalog, rendering: Rendering<'_>) -> pb::AuthorizeResponse {
    let decision = response.decision();
    let (evaluation, revision, stale) = match response {
        Response::Evaluated { evaluation, revision, is_stale } => (Some(evaluation), revision.0, *is_stale),
        Response::Unresolved(_) | Response::ForeignProject(_) => (None, 0, false),
    };
    let wire_decision = match decision {
        Decision::Allow(_) => pb::Decision::Allow,
        Decision::Deny(_) => pb::Decision::Deny,
    };
    pb::AuthorizeResponse {
        decision: wire_decision.into(),
        reason: wire_reason(decision.reason()).into(),
        message: message(response, catalog).unwrap_or_default(),
        action: response.action().map(|action| catalog.action_name(action).to_owned()).unwrap_or_default(),
        operation: response.call().map(|call| wire_operation(call.operation, catalog)),
        resource: evaluation.and_then(Evaluation::resource).map(|it| it.to_string()).unwrap_or_default(),
        dependencies: evaluation.map(|it| dependencies(it, catalog)).unwrap_or_default(),
        missing_dependencies: evaluation.map(|it| missing(it, catalog)).unwrap_or_default(),
        statements: evaluation.map(|it| statements(it, rendering.explain)).unwrap_or_default(),
        revision,
        stale,
        decision_id: rendering.decision_id.into(),
        request_id: rendering.request_id.into(),
        explanation: None,
    }
}

fn message(response: &Response<'_>, catalog: &Catalog) -> Option<String> {
    let reason = response.decision().reason()?;
    let (evaluation, revision) = match response {
        Response::Unresolved(error) => return Some(error.to_string()),
        Response::ForeignProject(_) => {
            let told = "the path's project is not the principal's; a principal without a project has none";
            return Some(told.to_owned());
        }
        Response::Evaluated { evaluation, revision, .. } => (evaluation, revision),
    };
    if reason == DenyReason::MissingDependency {
        return Some(format!("not allowed, and required: {}", missing(evaluation, catalog).join(", ")));
    }
    let action = evaluation.action()?;
    let name = catalog.action_name(action);
    Some(match evaluation.verdict(action) {
        Verdict::Denied(StatementRef { policy, index, .. }) => {
            format!("statement {index} of policy `{policy}` denies `{name}`")
        }
        _ if revision.0 == 0 => format!("no statement allows `{name}`: the principal's domain is not known"),
        Verdict::Unmatched | Verdict::Allowed(_) => format!("no statement allows `{name}`"),
    })
}

fn dependencies(evaluation: &Evaluation<'_>, catalog: &Catalog) -> Vec<pb::DependencyDecision> {
    let dependency = |action| {
        let denied = evaluation.verdict(action).denied();
        let decision = if denied.is_none() { pb::Decision::Allow } else { pb::Decision::Deny };
        let action = catalog.action_name(action).to_owned();
        pb::DependencyDecision { action, decision: decision.into(), reason: wire_reason(denied).into() }
    };
    evaluation.dependencies.iter().copied().map(dependency).collect()
}

fn missing(evaluation: &Evaluation<'_>, catalog: &Catalog) -> Vec<String> {
    evaluation.missing_dependencies().map(|action| catalog.action_name(action).to_owned()).collect()
}

fn statements(evaluation: &Evaluation<'_>, explain: bool) -> Vec<pb::StatementReference> {
    let wire = |StatementRef { policy, index, effect }: &StatementRef| {
        let effect = match effect {
            Effect::Allow => pb::Effect::Allow,
            Effect::Deny => pb::Effect::Deny,
        };
        let statement_index = u32::try_from(*index).unwrap();
        pb::StatementReference { policy: policy.to_string(), statement_index, effect: effect.into() }
    };
    match explain {
        true => evaluation.considered_statements().map(|statement| wire(&statement)).collect(),
        false => evaluation.deciding_statements().into_iter().map(wire).collect(),
    }
}

fn assert_is_told(pdp: &Pdp, request: &Request) -> Option<DenyReason> {
    let response = block_on(pdp.decide(request)).unwrap();
    for explain in [false, true] {
        let rendering = Rendering { decision_id: "d-1", request_id: "r-1", explain };
        let mut answer = render::response(&response, pdp.catalog(), rendering);
        let explanation = answer.explanation.take();
        assert!(explain || explanation.is_none(), "only if it is asked for");
        assert_eq!(answer, expected(&response, pdp.catalog(), rendering));
    }
    response.decision().reason()
}

fn answers_say_what_was_decided() {
    let pdp = pdp();
    let mut reasons = Vec::new();
    for operation in pdp.catalog().operations() {
        for principal in principals() {
            for mode in [DependencyMode::Report, DependencyMode::Enforce] {
                reasons.push(assert_is_told(&pdp, &call(operation, principal.clone(), mode)));
            }
        }
    }
    let all = [
        None,
        Some(DenyReason::ProjectMismatch),
        Some(DenyReason::ExplicitDeny),
        Some(DenyReason::NoMatchingAllow),
        Some(DenyReason::MissingDependency),
    ];
    assert!(all.iter().all(|reason| reasons.contains(reason)), "each kind of decision was seen");
}

fn a_call_that_is_no_operation_is_told_too() {
    let pdp = pdp();
    let [alice, ..] = &principals()[..] else { panic!("some") };
    for path in ["/v9/nothing", "/v1//x"] {
        let (method, path) = ("GET".into(), path.into());
        let parts = RequestParts { principal: alice.clone(), method, path, ..Default::default() };
        assert!(assert_is_told(&pdp, &Request::new(parts).unwrap()).is_some());
    }
}
