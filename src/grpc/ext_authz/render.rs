//! From a decision to Envoy's answer.
//!
//! INVARIANT: `CheckResponse.status` is always set. Envoy takes an answer without it for an allow, so an answer is
//! built by [`allow`], [`deny`] and [`error`] alone.

use serde_json::json;
use tonic::Code;

use super::denial::Denial;
use super::message::Check;
use crate::catalog::Catalog;
use crate::decision::{Decision, DenyReason, Permit};
use crate::grpc::protobuf::{Encoded, Writer};
use crate::grpc::wire::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use crate::grpc::wire::envoy::r#type::v3::StatusCode;
use crate::pdp::Response;

/// What every answer tells again or is shaped by.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) decision_id: &'a str,
    /// The request target: the API's versions have their own error shapes.
    path: &'a str,
    /// Where the route is, by its own word.
    environment: Option<&'a str>,
    region: Option<&'a str>,
}

impl<'a> Question<'a> {
    pub(super) fn new(decision_id: &'a str, check: &Check<'a>) -> Self {
        let extensions = &check.extensions;
        let (environment, region) = (extensions.environment, extensions.region);
        Self { decision_id, path: check.path, environment, region }
    }
}

/// The fields of `CheckResponse`, and of what is in it.
mod field {
    pub(super) const STATUS: u32 = 1;
    pub(super) const DENIED_RESPONSE: u32 = 2;
    pub(super) const OK_RESPONSE: u32 = 3;
    pub(super) const DYNAMIC_METADATA: u32 = 4;
    pub(super) const ERROR_RESPONSE: u32 = 5;
    /// Of a response of either kind.
    pub(super) const HEADERS: u32 = 2;
}

/// Renders a response of the decision point.
pub(super) fn response(response: &Response<'_>, catalog: &Catalog, question: &Question<'_>) -> Encoded {
    let action = response.action().map(|action| catalog.action_name(action));
    let facts = |facts: &mut Facts<'_, '_>| {
        if let Response::Evaluated { evaluation, revision, is_stale } = response {
            let missing = evaluation.missing_dependencies().map(|action| catalog.action_name(action));
            facts.list("missing_dependencies", missing);
            facts.text("revision", itoa::Buffer::new().format(revision.0));
            if *is_stale {
                facts.text("stale", "true");
            }
        }
        if let Some(action) = action {
            facts.text("action", action);
        }
    };
    match response.decision() {
        Decision::Allow(permit) => allow(permit, facts, action.unwrap_or_default(), question),
        Decision::Deny(reason) => {
            let message = policy_message(reason, action, question.path);
            deny(facts, StatusCode::Forbidden, reason.name(), &message, question)
        }
    }
}

/// Renders a denial that no policy made.
pub(super) fn denial(denial: &Denial, question: &Question<'_>) -> Encoded {
    let status = match denial {
        Denial::Unauthenticated => StatusCode::Unauthorized,
        Denial::Malformed(_) | Denial::Twice(_) => StatusCode::BadRequest,
        _ => StatusCode::Forbidden,
    };
    deny(|_| {}, status, denial.reason().name(), &denial.to_string(), question)
}

/// A fault of ours: Envoy treats it as an error, and its own configuration says what the client gets.
pub(super) fn error(message: &str, question: &Question<'_>) -> Encoded {
    Encoded::of(|answer| {
        status(answer, Code::Unavailable, message);
        answer.message(field::ERROR_RESPONSE, |denied| {
            write_denied(denied, StatusCode::ServiceUnavailable, "ERROR", message, question);
        });
        write_facts(answer, question, |_| {});
    })
}

fn allow(
    _: Permit,
    facts: impl FnOnce(&mut Facts<'_, '_>),
    action: &str,
    question: &Question<'_>,
) -> Encoded {
    Encoded::of(|answer| {
        status(answer, Code::Ok, "");
        answer.message(field::OK_RESPONSE, |allowed| {
            header(allowed, "x-auth-decision-id", question.decision_id);
            header(allowed, "x-auth-action", action);
        });
        write_facts(answer, question, facts);
    })
}

fn deny(
    facts: impl FnOnce(&mut Facts<'_, '_>),
    status_code: StatusCode,
    reason: &str,
    message: &str,
    question: &Question<'_>,
) -> Encoded {
    let is_unauthenticated = status_code == StatusCode::Unauthorized;
    let code = if is_unauthenticated { Code::Unauthenticated } else { Code::PermissionDenied };
    Encoded::of(|answer| {
        status(answer, code, message);
        answer.message(field::DENIED_RESPONSE, |denied| {
            write_denied(denied, status_code, reason, message, question);
        });
        write_facts(answer, question, |it| {
            facts(it);
            it.text("reason", reason);
        });
    })
}

/// Also where the code is zero: without it, every answer is an allow.
fn status(answer: &mut Writer<'_>, code: Code, message: &str) {
    answer.message(field::STATUS, |status| {
        status.choice(1, code);
        status.text(2, message);
    });
}

fn write_denied(
    denied: &mut Writer<'_>,
    status: StatusCode,
    reason: &str,
    message: &str,
    question: &Question<'_>,
) {
    denied.message(1, |http_status| http_status.choice(1, status));
    header(denied, "content-type", "application/json");
    header(denied, "x-auth-decision-id", question.decision_id);
    header(denied, "x-auth-reason", reason);
    denied.text(3, &body(status, message, question.path));
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
fn header(response: &mut Writer<'_>, key: &str, value: &str) {
    response.message(field::HEADERS, |option| {
        option.message(1, |header| {
            header.text(1, key);
            header.text(2, value);
        });
        option.choice(3, HeaderAppendAction::OverwriteIfExistsOrAdd);
    });
}

/// What the filters after this one and the access log get to know.
struct Facts<'w, 'a>(&'w mut Writer<'a>);

fn write_facts(answer: &mut Writer<'_>, question: &Question<'_>, write: impl FnOnce(&mut Facts<'_, '_>)) {
    answer.message(field::DYNAMIC_METADATA, |object| {
        let mut facts = Facts(object);
        facts.text("decision_id", question.decision_id);
        for (name, word) in [("environment", question.environment), ("region", question.region)] {
            if let Some(word) = word {
                facts.text(name, word);
            }
        }
        write(&mut facts);
    });
}

impl Facts<'_, '_> {
    fn text(&mut self, name: &str, text: &str) {
        self.fact(name, |value| value.item(3, text));
    }

    fn list<'a>(&mut self, name: &str, texts: impl Iterator<Item = &'a str>) {
        let items =
            |list: &mut Writer<'_>| texts.for_each(|text| list.message(1, |value| value.item(3, text)));
        self.fact(name, |value| value.message(6, items));
    }

    /// An entry of the fields of `google.protobuf.Struct`.
    fn fact(&mut self, name: &str, value: impl FnOnce(&mut Writer<'_>)) {
        self.0.message(1, |entry| {
            entry.text(1, name);
            entry.message(2, value);
        });
    }
}
