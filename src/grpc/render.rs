//! From a decision to the wire.

use super::{explanation, pb};
use crate::catalog::{ActionId, Catalog, Operation};
use crate::decision::{Decision, DenyReason, Effect, StatementRef, Verdict};
use crate::pdp::Response;
use crate::policy::Evaluation;

/// What the caller gets besides the decision.
#[derive(Debug, Clone, Default)]
pub struct Rendering {
    /// Names the decision.
    pub decision_id: String,
    /// The request's own id.
    pub request_id: String,
    /// Whether to list every statement that was considered.
    pub explain: bool,
}

/// Renders a response.
#[must_use]
pub fn response(response: &Response<'_>, catalog: &Catalog, rendering: Rendering) -> pb::AuthorizeResponse {
    let Rendering { decision_id, request_id, explain } = rendering;
    let decision = response.decision();
    let operation = response.call().map(|call| call.operation);
    let (evaluation, revision, stale) = match response {
        Response::Evaluated { evaluation, revision, is_stale } => (Some(evaluation), revision.0, *is_stale),
        Response::Unresolved(_) | Response::ForeignProject(_) => (None, 0, false),
    };
    pb::AuthorizeResponse {
        decision: wire_decision(decision).into(),
        reason: wire_reason(decision.reason()).into(),
        message: message(response, catalog).unwrap_or_default(),
        action: response.action().map(|action| catalog.action_name(action).to_owned()).unwrap_or_default(),
        operation: operation.map(|operation| wire_operation(operation, catalog)),
        resource: evaluation.and_then(Evaluation::resource).map(|it| it.to_string()).unwrap_or_default(),
        dependencies: evaluation.map(|it| dependencies(it, catalog)).unwrap_or_default(),
        missing_dependencies: evaluation.map(|it| missing(it, catalog)).unwrap_or_default(),
        statements: evaluation.map(|it| statements(it, explain)).unwrap_or_default(),
        revision,
        stale,
        decision_id,
        request_id,
        explanation: evaluation.filter(|_| explain).and_then(|it| explanation::render(it, catalog)),
    }
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
        return Some(format!("not allowed, and required: {}", missing(evaluation, catalog).join(", ")));
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

fn dependencies(evaluation: &Evaluation<'_>, catalog: &Catalog) -> Vec<pb::DependencyDecision> {
    let dependency = |action: &ActionId| {
        let denied = evaluation.verdict(*action).denied();
        let decision = if denied.is_none() { pb::Decision::Allow } else { pb::Decision::Deny };
        pb::DependencyDecision {
            action: catalog.action_name(*action).to_owned(),
            decision: decision.into(),
            reason: wire_reason(denied).into(),
        }
    };
    evaluation.dependencies.iter().map(dependency).collect()
}

fn missing(evaluation: &Evaluation<'_>, catalog: &Catalog) -> Vec<String> {
    evaluation.missing_dependencies().map(|action| catalog.action_name(action).to_owned()).collect()
}

fn statements(evaluation: &Evaluation<'_>, explain: bool) -> Vec<pb::StatementReference> {
    if explain {
        evaluation.considered_statements().map(|statement| wire_statement(&statement)).collect()
    } else {
        evaluation.deciding_statements().into_iter().map(wire_statement).collect()
    }
}

pub(super) fn wire_statement(statement: &StatementRef) -> pb::StatementReference {
    let StatementRef { policy, index, effect } = statement;
    let effect = match effect {
        Effect::Allow => pb::Effect::Allow,
        Effect::Deny => pb::Effect::Deny,
    };
    pb::StatementReference {
        policy: policy.to_string(),
        // A policy has at most eight statements.
        statement_index: u32::try_from(*index).unwrap_or(u32::MAX),
        effect: effect.into(),
    }
}

/// An operation on the wire.
#[must_use]
pub fn wire_operation(operation: &Operation, catalog: &Catalog) -> pb::Operation {
    let actions = operation.actions.iter();
    pb::Operation {
        title: operation.title.to_string(),
        method: operation.method.to_string(),
        route: operation.route.to_string(),
        body_key: operation.body_key.as_deref().unwrap_or_default().to_owned(),
        actions: actions.map(|action| catalog.action_name(*action).to_owned()).collect(),
    }
}

fn wire_decision(decision: Decision) -> pb::Decision {
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
