//! What the span of a call tells of its decisions: what the metrics tell, and the id by which the decision log knows it.
//! Principals, paths and resources are in the log alone, which masks them.

use crate::catalog::Catalog;
use crate::decision::Decision;
use crate::metrics::{Failure, Reason};
use crate::otlp::attribute;
use crate::pdp::Response;
use crate::traces;

/// What the decision point decided.
pub(super) fn decided(response: &Response<'_>, catalog: &Catalog, decision_id: &str) {
    traces::note(|| {
        let (decision, reason) = match response.decision() {
            Decision::Allow(_) => ("allow", None),
            Decision::Deny(reason) => ("deny", Some(reason.name())),
        };
        let (revision, is_stale) = match response {
            Response::Evaluated { revision, is_stale, .. } => (Some(revision.0), *is_stale),
            _ => (None, false),
        };
        [
            Some(attribute("ecs_authz.decision_id", decision_id)),
            Some(attribute("ecs_authz.decision", decision)),
            reason.map(|reason| attribute("ecs_authz.reason", reason)),
            response.action().map(|action| attribute("ecs_authz.action", catalog.action_name(action))),
            revision.map(|revision| attribute("ecs_authz.revision", revision)),
            is_stale.then(|| attribute("ecs_authz.stale", true)),
        ]
    });
}

/// A denial that the decision point did not make.
pub(super) fn denied(reason: Reason, decision_id: &str) {
    traces::note(|| {
        [
            Some(attribute("ecs_authz.decision_id", decision_id)),
            Some(attribute("ecs_authz.decision", "deny")),
            Some(attribute("ecs_authz.reason", reason.name())),
        ]
    });
}

/// There is no decision.
pub(super) fn failed(failure: Failure) {
    traces::note(|| [Some(attribute("ecs_authz.error", failure.name()))]);
}

/// How many requests a batch has.
pub(super) fn batch(requests: usize) {
    let requests = u64::try_from(requests).unwrap_or(u64::MAX);
    traces::note(|| [Some(attribute("ecs_authz.requests", requests))]);
}
