//! From a decision to the wire. An answer is written from where its texts lie, in the order of its fields.

use prost::Message;

use super::protobuf::{Encoded, Writer};
use super::{explanation, pb};
use crate::catalog::{ActionId, Catalog, Operation};
use crate::decision::{Decision, DenyReason, Effect, StatementRef, Verdict};
use crate::pdp::Response;
use crate::policy::Evaluation;

/// What the caller gets besides the decision.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rendering<'a> {
    /// Names the decision.
    pub decision_id: &'a str,
    /// The request's own id.
    pub request_id: &'a str,
    /// Whether to list every statement that was considered.
    pub explain: bool,
}

/// A response of the decision point, and what its record tells too.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer<'a, 'r> {
    pub(super) response: &'a Response<'r>,
    /// [`Response::resource`].
    pub(super) resource: &'a str,
}

/// Renders a response, to be looked at here.
#[must_use]
pub fn response(
    response: &Response<'_>,
    catalog: &Catalog,
    rendering: Rendering<'_>,
) -> pb::AuthorizeResponse {
    let answer = Answer { response, resource: &response.resource() };
    decoded(|writer| write(writer, answer, catalog, rendering))
}

/// What is written, to be looked at here: so each message has its fields in one place. What could not be read would say nothing:
/// of a response, that is no allow.
fn decoded<M: Message + Default>(write: impl FnOnce(&mut Writer<'_>)) -> M {
    M::decode(Encoded::of(write).as_ref()).unwrap_or_default()
}

/// Renders a response: writes the fields of `AuthorizeResponse`.
pub(super) fn write(
    writer: &mut Writer<'_>,
    answer: Answer<'_, '_>,
    catalog: &Catalog,
    rendering: Rendering<'_>,
) {
    let Answer { response, resource } = answer;
    let Rendering { decision_id, request_id, explain } = rendering;
    let decision = response.decision();
    writer.choice(1, wire_decision(decision));
    writer.choice(2, wire_reason(decision.reason()));
    writer.text(3, &message(response, catalog).unwrap_or_default());
    writer.text(4, response.action().map(|action| catalog.action_name(action)).unwrap_or_default());
    if let Some(call) = response.call() {
        writer.message(5, |operation| write_operation(operation, call.operation, catalog));
    }
    if let Response::Evaluated { evaluation, revision, is_stale } = response {
        writer.text(6, resource);
        for action in evaluation.dependencies.iter() {
            writer.message(7, |dependency| write_dependency(dependency, *action, evaluation, catalog));
        }
        for action in evaluation.missing_dependencies() {
            writer.item(8, catalog.action_name(action));
        }
        write_statements(writer, evaluation, explain);
        writer.number(10, revision.0);
        writer.flag(11, *is_stale);
    }
    writer.text(12, decision_id);
    writer.text(13, request_id);
    if let Response::Evaluated { evaluation, .. } = response
        && explain
        && let Some(explanation) = explanation::render(evaluation, catalog)
    {
        writer.encoded(14, &explanation.encode_to_vec());
    }
}

fn write_operation(writer: &mut Writer<'_>, operation: &Operation, catalog: &Catalog) {
    writer.text(1, &operation.title);
    writer.text(2, &operation.method);
    writer.text(3, &operation.route);
    writer.text(4, operation.body_key.as_deref().unwrap_or_default());
    operation.actions.iter().for_each(|action| writer.item(5, catalog.action_name(*action)));
}

fn write_dependency(
    writer: &mut Writer<'_>,
    action: ActionId,
    evaluation: &Evaluation<'_>,
    catalog: &Catalog,
) {
    let denied = evaluation.verdict(action).denied();
    let decision = if denied.is_none() { pb::Decision::Allow } else { pb::Decision::Deny };
    writer.text(1, catalog.action_name(action));
    writer.choice(2, decision);
    writer.choice(3, wire_reason(denied));
}

fn write_statements(answer: &mut Writer<'_>, evaluation: &Evaluation<'_>, explain: bool) {
    let mut write = |statement: &StatementRef| answer.message(9, |it| write_statement(it, statement));
    if explain {
        evaluation.considered_statements().for_each(|statement| write(&statement));
    } else {
        evaluation.deciding_statements().into_iter().for_each(write);
    }
}

fn write_statement(writer: &mut Writer<'_>, StatementRef { policy, index, effect }: &StatementRef) {
    writer.text(1, policy);
    // A policy has at most eight statements.
    writer.number(2, u32::try_from(*index).unwrap_or(u32::MAX).into());
    writer.choice(3, wire_effect(*effect));
}

/// Why the call may not pass, as a sentence.
fn message(response: &Response<'_>, catalog: &Catalog) -> Option<String> {
    let reason = response.decision().reason()?;
    let (evaluation, revision) = match response {
        Response::Unresolved(error) => return Some(error.to_string()),
        Response::ForeignProject(_) => {
            return Some(
                "the path's project is not the principal's; a principal without a project has none"
                    .to_owned(),
            );
        }
        Response::Evaluated { evaluation, revision, .. } => (evaluation, revision),
    };
    if reason == DenyReason::MissingDependency {
        return Some(format!("not allowed, and required: {}", missing(evaluation, catalog)));
    }
    let action = evaluation.action()?;
    let name = catalog.action_name(action);
    Some(match evaluation.verdict(action) {
        Verdict::Denied(StatementRef { policy, index, .. }) => {
            format!("statement {index} of policy `{policy}` denies `{name}`")
        }
        _ if revision.0 == 0 => {
            format!("no statement allows `{name}`: the principal's domain is not known")
        }
        Verdict::Unmatched | Verdict::Allowed(_) => format!("no statement allows `{name}`"),
    })
}

fn missing(evaluation: &Evaluation<'_>, catalog: &Catalog) -> String {
    let names = evaluation.missing_dependencies().map(|action| catalog.action_name(action));
    names.collect::<Vec<_>>().join(", ")
}

pub(super) fn wire_statement(statement: &StatementRef) -> pb::StatementReference {
    decoded(|it| write_statement(it, statement))
}

/// An operation on the wire.
#[must_use]
pub fn wire_operation(operation: &Operation, catalog: &Catalog) -> pb::Operation {
    decoded(|it| write_operation(it, operation, catalog))
}

fn wire_effect(effect: Effect) -> pb::Effect {
    match effect {
        Effect::Allow => pb::Effect::Allow,
        Effect::Deny => pb::Effect::Deny,
    }
}

pub(super) fn wire_decision(decision: Decision) -> pb::Decision {
    match decision {
        Decision::Allow(_) => pb::Decision::Allow,
        Decision::Deny(_) => pb::Decision::Deny,
    }
}

/// A reason's name for people and metadata: the wire's without its prefix.
#[must_use]
pub fn reason_name(reason: pb::DenyReason) -> &'static str {
    reason.as_str_name().trim_start_matches("DENY_REASON_")
}

/// A reason on the wire.
#[must_use]
pub fn wire_reason(reason: Option<DenyReason>) -> pb::DenyReason {
    match reason {
        None => pb::DenyReason::Unspecified,
        Some(DenyReason::NonCanonicalPath) => pb::DenyReason::NonCanonicalPath,
        Some(DenyReason::UnknownOperation) => pb::DenyReason::UnknownOperation,
        Some(DenyReason::BodyRequired) => pb::DenyReason::BodyRequired,
        Some(DenyReason::BodyNotAnObject) => pb::DenyReason::BodyNotAnObject,
        Some(DenyReason::BodyKeyCount) => pb::DenyReason::BodyKeyCount,
        Some(DenyReason::BodyKeyUnknown) => pb::DenyReason::BodyKeyUnknown,
        Some(DenyReason::BodyTruncated) => pb::DenyReason::BodyTruncated,
        Some(DenyReason::BodyEncoded) => pb::DenyReason::BodyEncoded,
        Some(DenyReason::ProjectMismatch) => pb::DenyReason::ProjectMismatch,
        Some(DenyReason::ExplicitDeny) => pb::DenyReason::ExplicitDeny,
        Some(DenyReason::NoMatchingAllow) => pb::DenyReason::NoMatchingAllow,
        Some(DenyReason::MissingDependency) => pb::DenyReason::MissingDependency,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_one_name_in_the_contract_and_elsewhere() {
        for reason in DenyReason::ALL {
            assert_eq!(reason_name(wire_reason(Some(reason))), reason.name());
        }
    }
}
