//! Who answers a [`Question`]: a decision point in this process, or a server over gRPC. The third is
//! [`crate::reference`].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ecs_authz::catalog::{self, ActionId, Catalog};
use ecs_authz::decision::{DenyReason, DependencyMode, Effect, StatementRef, Verdict};
use ecs_authz::grpc::{pb, render};
use ecs_authz::pdp::{Defaults, Pdp, Response};
use ecs_authz::request::{Context, PrincipalParts, Request, RequestParts};
use ecs_authz::server::compose_pdp;
use ecs_authz::store::directory::DirectoryStore;
use tonic::Code;

use crate::reference::{Answer, Body, Outcome, Question, Time};
use crate::support::{Client, block_on};

/// A decision point over a directory of policies, composed as the server's is.
pub(crate) fn pdp(policies: &Path) -> Pdp {
    let catalog = Arc::new(Catalog::published().expect("the published tables"));
    let store = DirectoryStore::open(policies, catalog.clone()).expect("policies without faults");
    compose_pdp(catalog, Arc::new(store), Defaults::default(), 16 * 1_024 * 1_024)
}

/// The answer of a decision point in this process.
pub(crate) fn by_pdp(pdp: &Pdp, question: &Question) -> Outcome {
    block_on(not_older_than(pdp, question, 0)).1
}

/// The answer by policies that are not older than a revision, and the revision that it rests on, if policies were asked.
pub(crate) async fn not_older_than(
    pdp: &Pdp,
    question: &Question,
    min_revision: u64,
) -> (Option<u64>, Outcome) {
    let request = match Request::new(RequestParts { min_revision, ..request_parts(question) }) {
        Ok(request) => request,
        Err(error) => {
            let mut fields = error.violations.iter().map(|violation| &violation.field);
            assert!(fields.all(|field| field.starts_with("context.attributes[")), "{error}");
            return (None, invalid());
        }
    };
    let response = pdp.decide(&request).await.expect("a decision");
    let revision = match &response {
        Response::Evaluated { revision, .. } => Some(revision.0),
        Response::Unresolved(_) | Response::ForeignProject(_) => None,
    };
    (revision, outcome(&response, pdp))
}

fn outcome(response: &Response<'_>, pdp: &Pdp) -> Outcome {
    let name = |action| pdp.catalog().action_name(action).to_owned();
    let decision = response.decision();
    let mut outcome = Outcome {
        decision: if decision.is_allow() { Answer::Allow } else { Answer::Deny },
        reason: reason_name(decision.reason()),
        action: String::new(),
        dependencies: BTreeMap::new(),
        statement: None,
    };
    match response {
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

/// What policies say of an action.
#[derive(Debug)]
pub(crate) struct Ruling {
    /// `allow`, or the reason why not.
    pub(crate) word: String,
    /// The statement that says it, as `policy[index]`.
    pub(crate) statement: Option<String>,
}

/// What policies say of a call, by action.
#[derive(Debug)]
pub(crate) struct Rulings {
    pub(crate) required: BTreeMap<String, Ruling>,
    pub(crate) dependencies: BTreeMap<String, Ruling>,
}

/// What a decision point in this process says of each action of a call. The call must be one that policies are asked
/// for.
pub(crate) fn rulings_by_pdp(pdp: &Pdp, question: &Question) -> Rulings {
    let request = Request::new(request_parts(question)).expect("a well-formed request");
    let response = block_on(pdp.decide(&request)).expect("a decision");
    let Response::Evaluated { evaluation, .. } = &response else { panic!("not evaluated: {question:?}") };
    let ruling = |action: &ActionId| {
        let verdict = evaluation.verdict(*action);
        let place = |statement: &StatementRef| format!("{}[{}]", statement.policy, statement.index);
        let ruling = Ruling {
            word: reason_name(verdict.denied()).unwrap_or("allow".to_owned()),
            statement: verdict.statement().map(place),
        };
        (pdp.catalog().action_name(*action).to_owned(), ruling)
    };
    Rulings {
        required: evaluation.call().operation.actions.iter().map(ruling).collect(),
        dependencies: evaluation.dependencies.iter().map(ruling).collect(),
    }
}

/// What a refused request comes to.
fn invalid() -> Outcome {
    Outcome {
        decision: Answer::Invalid,
        reason: None,
        action: String::new(),
        dependencies: BTreeMap::new(),
        statement: None,
    }
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

pub(crate) fn request_parts(question: &Question) -> RequestParts {
    let Question { principal, method, path, body, enforce, source_ip, attributes, time, region } =
        question.clone();
    let time = match time {
        Time::Now => Some(SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs()),
        Time::At(seconds) => Some(seconds),
        Time::Unknown => None,
    };
    RequestParts {
        principal: PrincipalParts {
            domain_id: principal.domain_id,
            domain_name: principal.domain_name,
            user_id: principal.user_id,
            user_name: principal.user_name,
            agency_id: principal.agency_id,
            project_id: principal.project_id,
            project_name: principal.project_name,
            group_ids: principal.group_ids,
            role_names: principal.role_names,
            mfa_present: principal.mfa_present,
        },
        method,
        path,
        body: match body {
            Body::None => catalog::Body::Absent,
            Body::Encoded => catalog::Body::Encoded,
            Body::Content { bytes, truncated } => catalog::Body::Content { bytes, truncated },
            Body::Summary { keys, attributes, truncated } => {
                catalog::Body::Summary(catalog::BodySummary { top_level_keys: keys, attributes, truncated })
            }
        },
        context: Context { source_ip, attributes, time, region },
        dependency_mode: if enforce { DependencyMode::Enforce } else { DependencyMode::Report },
        min_revision: 0,
    }
}

/// Whether a server can be asked: the wire has no place for everything. The region is the server's own.
pub(crate) fn is_for_server(question: &Question) -> bool {
    question.time == Time::Now && !matches!(question.body, Body::Encoded)
}

/// The answer of a server of the question's region, and what must hold of every answer.
pub(crate) fn by_server(client: &Client, request_id: &str, question: &Question) -> Outcome {
    let mut client = client.clone();
    let request = wire_request(request_id, question);
    let answer = match block_on(client.authorize(request)) {
        Ok(answer) => answer.into_inner(),
        Err(status) if status.code() == Code::InvalidArgument => {
            assert!(status.message().contains("context.attributes["), "{status}");
            return invalid();
        }
        Err(status) => panic!("{status}"),
    };
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
    let Question { principal, method, path, body, enforce, source_ip, attributes, .. } = question.clone();
    let values = |(key, values)| (key, pb::Values { values });
    let body = match body {
        Body::None => None,
        Body::Encoded => panic!("the wire has no place for an encoded body"),
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
    pb::AuthorizeRequest {
        principal: Some(pb::Principal {
            domain_id: principal.domain_id,
            domain_name: principal.domain_name,
            user_id: principal.user_id,
            user_name: principal.user_name,
            agency_id: principal.agency_id,
            project_id: principal.project_id,
            project_name: principal.project_name,
            group_ids: principal.group_ids,
            role_names: principal.role_names,
            mfa_present: principal.mfa_present,
        }),
        method,
        path,
        body,
        context: Some(pb::RequestContext {
            source_ip,
            attributes: attributes.into_iter().map(values).collect(),
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
