//! Who answers a [`Question`]: a decision point in this process, or a server over gRPC. The third is
//! [`crate::reference`].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ecs_authz::catalog::{self, Catalog};
use ecs_authz::decision::{DenyReason, DependencyMode, Effect, Verdict};
use ecs_authz::grpc::{pb, render};
use ecs_authz::pdp::{Pdp, Response};
use ecs_authz::request::{Context, ENTERPRISE_PROJECT, PrincipalParts, Request, RequestParts};
use ecs_authz::server::compose_pdp;
use ecs_authz::store::directory::DirectoryStore;

use crate::reference::{Answer, Body, Outcome, Question};
use crate::support::{Client, block_on};

/// A decision point over a directory of policies, composed as the server's is.
pub(crate) fn pdp(policies: &Path) -> Pdp {
    let catalog = Arc::new(Catalog::published().expect("the published tables"));
    let store = DirectoryStore::open(policies, catalog.clone()).expect("policies without faults");
    compose_pdp(catalog, Arc::new(store), DependencyMode::Report, 16 * 1_024 * 1_024)
}

/// The answer of a decision point in this process.
pub(crate) fn by_pdp(pdp: &Pdp, question: &Question) -> Outcome {
    let request = Request::new(request_parts(question)).expect("a well-formed request");
    let response = block_on(pdp.decide(&request)).expect("a decision");
    let name = |action| pdp.catalog().action_name(action).to_owned();
    let decision = response.decision();
    let mut outcome = Outcome {
        decision: if decision.is_allow() { Answer::Allow } else { Answer::Deny },
        reason: reason_name(decision.reason()),
        action: String::new(),
        dependencies: BTreeMap::new(),
        statement: None,
    };
    match &response {
        Response::Unresolved(_) => {}
        Response::ForeignProject(call) => outcome.action = name(call.operation.actions[0]),
        Response::Evaluated { evaluation, .. } => {
            outcome.action = name(evaluation.action().expect("an action"));
            let word = |verdict: Verdict<'_>| reason_name(verdict.denied()).unwrap_or("allow".to_owned());
            let dependencies = evaluation.dependencies.iter();
            outcome.dependencies =
                dependencies.map(|action| (name(*action), word(evaluation.verdict(*action)))).collect();
            let mut statements = evaluation.deciding_statements().into_iter();
            let effect = statement_effect(&outcome);
            outcome.statement = statements.next().map(|statement| {
                assert_eq!(statement.effect, effect, "{statement:?}");
                format!("{}[{}]", statement.policy, statement.index)
            });
        }
    }
    outcome
}

fn reason_name(reason: Option<DenyReason>) -> Option<String> {
    reason.map(|reason| short_name(render::wire_reason(Some(reason))))
}

fn short_name(reason: pb::DenyReason) -> String {
    let name = reason.as_str_name();
    name.strip_prefix("DENY_REASON_").expect("the prefix of the enum").to_owned()
}

/// A missing dependency denies a call whose action a statement allows.
fn statement_effect(outcome: &Outcome) -> Effect {
    match outcome.reason.as_deref() {
        Some("EXPLICIT_DENY") => Effect::Deny,
        _ => Effect::Allow,
    }
}

fn request_parts(question: &Question) -> RequestParts {
    let Question { principal, method, path, body, enforce, enterprise_project } = question.clone();
    let attributes = enterprise_project.map(|id| (ENTERPRISE_PROJECT.to_owned(), vec![id]));
    RequestParts {
        principal: PrincipalParts {
            domain_id: principal.domain_id,
            user_id: principal.user_id,
            agency_id: principal.agency_id,
            project_id: principal.project_id,
            group_ids: principal.group_ids,
            role_names: principal.role_names,
            ..Default::default()
        },
        method,
        path,
        body: match body {
            Body::None => catalog::Body::Absent,
            Body::Content { bytes, truncated } => catalog::Body::Content { bytes, truncated },
            Body::Summary { keys, attributes, truncated } => {
                catalog::Body::Summary(catalog::BodySummary { top_level_keys: keys, attributes, truncated })
            }
        },
        context: Context { attributes: attributes.into_iter().collect(), ..Default::default() },
        dependency_mode: if enforce { DependencyMode::Enforce } else { DependencyMode::Report },
        min_revision: 0,
    }
}

/// The answer of a server, and what must hold of every answer.
pub(crate) fn by_server(client: &Client, request_id: &str, question: &Question) -> Outcome {
    let mut client = client.clone();
    let request = wire_request(request_id, question);
    let answer = block_on(client.authorize(request)).expect("an answer").into_inner();
    let outcome = wire_outcome(&answer);
    let pb::AuthorizeResponse { operation, dependencies, missing_dependencies, revision, .. } = &answer;

    assert!(!answer.decision_id.is_empty(), "a decision has an id");
    assert_eq!(answer.request_id, request_id, "the request's id comes back");
    assert!(!answer.stale, "the policies are current");
    let is_resolved = !outcome.action.is_empty();
    assert_eq!(operation.is_some(), is_resolved, "an operation stands where there is an action");
    if let Some(operation) = operation {
        assert_eq!(operation.method, question.method, "{operation:?}");
        assert!(operation.actions.contains(&answer.action), "{operation:?}");
    }
    // A denial that no policy was asked for has no revision.
    let is_evaluated = is_resolved && answer.reason() != pb::DenyReason::ProjectMismatch;
    assert!(is_evaluated || *revision == 0, "revision {revision}");
    let denied = dependencies.iter().filter(|dependency| dependency.decision() != pb::Decision::Allow);
    let missing: Vec<&String> = denied.map(|dependency| &dependency.action).collect();
    assert_eq!(missing_dependencies.iter().collect::<Vec<_>>(), missing);
    outcome
}

fn wire_request(request_id: &str, question: &Question) -> pb::AuthorizeRequest {
    let Question { principal, method, path, body, enforce, enterprise_project } = question.clone();
    let values = |(key, values)| (key, pb::Values { values });
    let body = match body {
        Body::None => None,
        Body::Content { bytes, truncated } => {
            Some(pb::BodySummary { content: Some(bytes), truncated, ..Default::default() })
        }
        Body::Summary { keys, attributes, truncated } => Some(pb::BodySummary {
            top_level_keys: keys,
            attributes: attributes.into_iter().map(values).collect(),
            truncated,
            content: None,
        }),
    };
    let mode = if enforce { pb::DependencyMode::Enforce } else { pb::DependencyMode::Report };
    let attributes = enterprise_project.map(|id| (ENTERPRISE_PROJECT.to_owned(), vec![id]));
    pb::AuthorizeRequest {
        principal: Some(pb::Principal {
            domain_id: principal.domain_id,
            user_id: principal.user_id,
            agency_id: principal.agency_id,
            project_id: principal.project_id,
            group_ids: principal.group_ids,
            role_names: principal.role_names,
            ..Default::default()
        }),
        method,
        path,
        body,
        context: Some(pb::RequestContext {
            attributes: attributes.into_iter().map(values).collect(),
            ..Default::default()
        }),
        request_id: request_id.to_owned(),
        dependency_mode: mode.into(),
        ..Default::default()
    }
}

fn wire_outcome(answer: &pb::AuthorizeResponse) -> Outcome {
    let word = |dependency: &pb::DependencyDecision| match dependency.decision() {
        pb::Decision::Allow => {
            assert_eq!(dependency.reason(), pb::DenyReason::Unspecified, "{dependency:?}");
            "allow".to_owned()
        }
        pb::Decision::Deny => short_name(dependency.reason()),
        pb::Decision::Unspecified => panic!("never sent: {dependency:?}"),
    };
    let decision = match answer.decision() {
        pb::Decision::Allow => Answer::Allow,
        pb::Decision::Deny => Answer::Deny,
        pb::Decision::Unspecified => panic!("never sent: {answer:?}"),
    };
    let reason = Some(answer.reason()).filter(|reason| *reason != pb::DenyReason::Unspecified);
    let mut outcome = Outcome {
        decision,
        reason: reason.map(short_name),
        action: answer.action.clone(),
        dependencies: answer.dependencies.iter().map(|it| (it.action.clone(), word(it))).collect(),
        statement: None,
    };
    let effect = match statement_effect(&outcome) {
        Effect::Allow => pb::Effect::Allow,
        Effect::Deny => pb::Effect::Deny,
    };
    outcome.statement = answer.statements.first().map(|statement| {
        assert_eq!(statement.effect(), effect, "{statement:?}");
        format!("{}[{}]", statement.policy, statement.statement_index)
    });
    outcome
}
