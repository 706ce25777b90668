//! From a decision to Envoy's answer.
//!
//! INVARIANT: `CheckResponse.status` is always set. Envoy takes an answer without it for an allow, so an answer is
//! built by [`allow`], [`deny`] and [`error`] alone.

use std::collections::BTreeMap;

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use serde_json::json;
use tonic::Code;

use super::denial::Denial;
use crate::catalog::Catalog;
use crate::decision::{Decision, DenyReason, Permit};
use crate::grpc::wire::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use crate::grpc::wire::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use crate::grpc::wire::envoy::service::auth::v3::check_response::HttpResponse;
use crate::grpc::wire::envoy::service::auth::v3::{
    AttributeContext, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use crate::grpc::wire::envoy::r#type::v3::{HttpStatus, StatusCode};
use crate::grpc::wire::google::rpc::Status;
use crate::pdp::Response;

/// What every answer tells again or is shaped by.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) decision_id: &'a str,
    /// The request target: the API's versions have their own error shapes.
    pub(super) path: &'a str,
    /// Where the route is, by its own word.
    environment: Option<&'a str>,
    region: Option<&'a str>,
}

impl<'a> Question<'a> {
    pub(super) fn new(decision_id: &'a str, attributes: &'a AttributeContext) -> Self {
        let http = attributes.request.as_ref().and_then(|request| request.http.as_ref());
        let word = |name| attributes.context_extensions.get(name).map(String::as_str);
        Self {
            decision_id,
            path: http.map_or("", |http| &http.path),
            environment: word("environment"),
            region: word("region"),
        }
    }
}

/// Renders a response of the decision point.
pub(super) fn response(response: &Response<'_>, catalog: &Catalog, question: &Question<'_>) -> CheckResponse {
    let mut facts = Facts::new(question);
    if let Response::Evaluated { evaluation, revision, is_stale } = response {
        let missing = evaluation.missing_dependencies().map(|action| catalog.action_name(action));
        facts.list("missing_dependencies", missing);
        facts.text("revision", revision.to_string());
        if *is_stale {
            facts.text("stale", "true");
        }
    }
    let action = response.action().map(|action| catalog.action_name(action));
    if let Some(action) = action {
        facts.text("action", action);
    }
    match response.decision() {
        Decision::Allow(permit) => allow(permit, facts, action.unwrap_or_default(), question),
        Decision::Deny(reason) => {
            let message = policy_message(reason, action, question.path);
            deny(facts, StatusCode::Forbidden, reason.name(), &message, question)
        }
    }
}

/// Renders a denial that no policy made.
pub(super) fn denial(denial: &Denial, question: &Question<'_>) -> CheckResponse {
    let status = match denial {
        Denial::Unauthenticated => StatusCode::Unauthorized,
        Denial::Malformed(_) | Denial::Twice(_) => StatusCode::BadRequest,
        _ => StatusCode::Forbidden,
    };
    deny(Facts::new(question), status, denial.reason().name(), &denial.to_string(), question)
}

/// A fault of ours: Envoy treats it as an error, and its own configuration says what the client gets.
pub(super) fn error(message: &str, question: &Question<'_>) -> CheckResponse {
    let denied = answer(StatusCode::ServiceUnavailable, "ERROR", message, question);
    CheckResponse {
        status: Some(Status { code: Code::Unavailable.into(), message: message.to_owned() }),
        http_response: Some(HttpResponse::ErrorResponse(denied)),
        dynamic_metadata: Some(Facts::new(question).into_struct()),
    }
}

fn allow(_: Permit, facts: Facts, action: &str, question: &Question<'_>) -> CheckResponse {
    let headers = vec![header("x-auth-decision-id", question.decision_id), header("x-auth-action", action)];
    CheckResponse {
        status: Some(Status { code: Code::Ok.into(), message: String::new() }),
        http_response: Some(HttpResponse::OkResponse(OkHttpResponse { headers })),
        dynamic_metadata: Some(facts.into_struct()),
    }
}

fn deny(
    mut facts: Facts,
    status: StatusCode,
    reason: &str,
    message: &str,
    question: &Question<'_>,
) -> CheckResponse {
    facts.text("reason", reason);
    let code =
        if status == StatusCode::Unauthorized { Code::Unauthenticated } else { Code::PermissionDenied };
    let denied = answer(status, reason, message, question);
    CheckResponse {
        status: Some(Status { code: code.into(), message: message.to_owned() }),
        http_response: Some(HttpResponse::DeniedResponse(denied)),
        dynamic_metadata: Some(facts.into_struct()),
    }
}

fn answer(status: StatusCode, reason: &str, message: &str, question: &Question<'_>) -> DeniedHttpResponse {
    DeniedHttpResponse {
        status: Some(HttpStatus { code: status.into() }),
        headers: vec![
            header("content-type", "application/json"),
            header("x-auth-decision-id", question.decision_id),
            header("x-auth-reason", reason),
        ],
        body: body(status, message, question.path),
    }
}

/// The words of the API's own denials (ECS API reference, Error Codes, and the native API's replies).
fn policy_message(reason: DenyReason, action: Option<&str>, path: &str) -> String {
    match (reason, action) {
        (
            DenyReason::ExplicitDeny | DenyReason::NoMatchingAllow | DenyReason::MissingDependency,
            Some(action),
        ) => {
            let does_not = if is_native(path) { "doesn't" } else { "does not" };
            format!("Policy {does_not} allow {action} to be performed.")
        }
        (DenyReason::ProjectMismatch, _) => {
            "The project ID in the URL is different from that in the token.".to_owned()
        }
        (reason, _) => format!("The request is refused: {}.", reason.name()),
    }
}

/// The API's error shape: Nova's fault on native routes, the ECS error on others.
fn body(status: StatusCode, message: &str, path: &str) -> String {
    let code = i32::from(status);
    if is_native(path) {
        let fault = match status {
            StatusCode::BadRequest => "badRequest",
            StatusCode::Unauthorized => "unauthorized",
            StatusCode::ServiceUnavailable => "serviceUnavailable",
            StatusCode::Forbidden | StatusCode::Empty => "forbidden",
        };
        return json!({fault: {"message": message, "code": code}}).to_string();
    }
    let ecs_code = match status {
        StatusCode::BadRequest => "Ecs.0000",
        StatusCode::Unauthorized => "Common.0013",
        StatusCode::ServiceUnavailable => "Ecs.1100",
        StatusCode::Forbidden | StatusCode::Empty => "Pdp.0001",
    };
    json!({"error": {"code": ecs_code, "message": message}}).to_string()
}

/// The native OpenStack routes are those of versions 2 and 2.1.
fn is_native(path: &str) -> bool {
    path.starts_with("/v2/") || path.starts_with("/v2.1/")
}

/// On requests, Envoy replaces a header that is there, whatever is said of appending. The client's own copies are
/// removed before any filter runs, by the shipped configuration.
fn header(key: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: key.to_owned(), value: value.to_owned(), raw_value: Vec::new() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
    }
}

/// What the filters after this one and the access log get to know.
struct Facts {
    fields: BTreeMap<String, Value>,
}

impl Facts {
    fn new(question: &Question<'_>) -> Self {
        let mut facts = Self { fields: BTreeMap::new() };
        facts.text("decision_id", question.decision_id);
        for (name, word) in [("environment", question.environment), ("region", question.region)] {
            if let Some(word) = word {
                facts.text(name, word);
            }
        }
        facts
    }

    fn text(&mut self, name: &str, text: impl Into<String>) {
        let value = Value { kind: Some(Kind::StringValue(text.into())) };
        self.fields.insert(name.to_owned(), value);
    }

    fn list<'a>(&mut self, name: &str, texts: impl Iterator<Item = &'a str>) {
        let values = texts.map(|text| Value { kind: Some(Kind::StringValue(text.to_owned())) }).collect();
        let value = Value { kind: Some(Kind::ListValue(ListValue { values })) };
        self.fields.insert(name.to_owned(), value);
    }

    fn into_struct(self) -> Struct {
        Struct { fields: self.fields }
    }
}
