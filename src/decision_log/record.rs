//! A record: one JSON object on one line. `deploy/decision-log/record.schema.json` describes each field.

use std::borrow::Cow;
use std::num::NonZeroU32;

use serde::Serialize;

use super::mask::{Field, Mask};
use super::settings::Paths;
use super::time;
use super::{Origin, Peer, Rpc, Unread};
use crate::catalog::Catalog;
use crate::decision::{Decision, Effect, StatementRef};
use crate::pdp::Response;
use crate::request::{Request, Subject};
use crate::traces::TraceContext;

/// The version of the schema. It grows when a field changes its meaning or goes, not when one comes.
const VERSION: u8 = 1;
/// The most bytes of a name or an id that are recorded, and of a path or a resource.
const MAX_ID_BYTES: usize = 256;
const MAX_PATH_BYTES: usize = 1_024;

/// A record. Fields that are not known are not there.
#[derive(Debug, Default, Serialize)]
pub(super) struct Record<'a> {
    v: u8,
    kind: Kind,
    time: String,
    decision_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rpc: Option<Rpc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<Principal<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_ip: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    statements: Option<Vec<Statement<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing_dependencies: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stale: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sample: Option<NonZeroU32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    latency_us: u64,
}

/// An error is not a decision.
#[derive(Debug, Default, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Decision,
    #[default]
    Error,
}

/// The principal. Groups and roles are counted: there may be hundreds, and the statements name the policies that decided.
#[derive(Debug, Serialize)]
struct Principal<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    domain_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agency_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project_id: Option<Cow<'a, str>>,
    groups: usize,
    roles: usize,
}

#[derive(Debug, Serialize)]
struct Statement<'a> {
    policy: &'a str,
    index: usize,
    effect: &'static str,
}

/// How records are written.
pub(super) struct Style {
    pub(super) mask: Mask,
    pub(super) paths: Paths,
}

impl Style {
    fn field<'a>(&self, field: Field, value: impl Into<Cow<'a, str>>) -> Option<Cow<'a, str>> {
        let value = Some(value.into()).filter(|value| !value.is_empty())?;
        let limit =
            if matches!(field, Field::Path | Field::Resource) { MAX_PATH_BYTES } else { MAX_ID_BYTES };
        Some(cut(self.mask.apply(field, value)?, limit))
    }

    /// What every record tells.
    pub(super) fn record<'a>(&self, origin: &'a Origin, request: Option<&'a Request>) -> Record<'a> {
        let record = Record {
            v: VERSION,
            time: time::now(),
            decision_id: &origin.decision_id,
            request_id: self.field(Field::RequestId, origin.request_id.as_str()),
            trace_id: origin.trace.as_ref().map(TraceContext::trace_hex),
            span_id: origin.trace.as_ref().map(TraceContext::span_hex),
            rpc: Some(origin.rpc),
            peer: match &origin.peer {
                Peer::Unknown => None,
                Peer::Address(address) => self.field(Field::Peer, address.to_string()),
                Peer::Named(names) => {
                    self.field(Field::Peer, names.first().map(String::as_str).unwrap_or_default())
                }
                Peer::Local => self.field(Field::Peer, "local"),
            },
            latency_us: u64::try_from(origin.started.elapsed().as_micros()).unwrap_or(u64::MAX),
            ..Record::default()
        };
        let Some(request) = request else { return record };
        Record {
            principal: Some(self.principal(request)),
            source_ip: self.field(Field::SourceIp, request.caller().source_ip()),
            method: Some(cut(request.method().into(), MAX_ID_BYTES)),
            path: self.path(request.path()),
            ..record
        }
    }

    fn principal<'a>(&self, request: &'a Request) -> Principal<'a> {
        let identity = request.identity();
        let (user, agency) = match &identity.subject {
            Subject::User(user) => (user.as_str(), ""),
            Subject::Agency(agency) => ("", agency.as_str()),
        };
        Principal {
            domain_id: self.field(Field::DomainId, identity.domain_id.as_str()),
            user_id: self.field(Field::UserId, user),
            agency_id: self.field(Field::AgencyId, agency),
            project_id: self.field(Field::ProjectId, identity.project_id.as_deref().unwrap_or_default()),
            groups: identity.group_ids.len(),
            roles: identity.role_names.len(),
        }
    }

    /// A query may hold whatever clients put there, tokens too.
    fn path<'a>(&self, path: &'a str) -> Option<Cow<'a, str>> {
        match self.paths {
            Paths::Omit => None,
            Paths::WithoutQuery => self.field(Field::Path, path.split(['?', '#']).next().unwrap_or_default()),
        }
    }

    /// A decision of the decision point.
    pub(super) fn decided<'a>(
        &self,
        record: Record<'a>,
        response: &'a Response<'_>,
        catalog: &'a Catalog,
        sample: NonZeroU32,
    ) -> Record<'a> {
        let operation = response.call().map(|call| call.operation);
        let record = Record {
            kind: Kind::Decision,
            decision: Some(decision_name(response.decision())),
            reason: response.decision().reason().map(|reason| reason.name()),
            route: operation.map(|operation| &*operation.route),
            operation: operation.map(|operation| &*operation.title),
            action: response.action().map(|action| catalog.action_name(action)),
            sample: Some(sample).filter(|sample| sample.get() > 1),
            ..record
        };
        let Response::Evaluated { evaluation, revision, is_stale } = response else { return record };
        let missing = evaluation.missing_dependencies().map(|action| catalog.action_name(action));
        Record {
            resource: evaluation.resource().and_then(|it| self.field(Field::Resource, it.to_string())),
            statements: Some(evaluation.deciding_statements().into_iter().map(statement).collect()),
            missing_dependencies: Some(missing.collect()),
            revision: Some(revision.0),
            stale: Some(*is_stale),
            ..record
        }
    }

    /// A denial that no policy made: the request was not even read.
    pub(super) fn denied<'a>(
        &self,
        record: Record<'a>,
        reason: &'static str,
        unread: &Unread<'a>,
    ) -> Record<'a> {
        let Unread { method, path, source_ip } = *unread;
        Record {
            kind: Kind::Decision,
            decision: Some("deny"),
            reason: Some(reason),
            source_ip: self.field(Field::SourceIp, source_ip),
            method: Some(cut(method.into(), MAX_ID_BYTES)).filter(|method| !method.is_empty()),
            path: self.path(path),
            ..record
        }
    }
}

impl Record<'_> {
    /// An error.
    pub(super) fn failed(self, error: &'static str) -> Self {
        Self { error: Some(error), ..self }
    }

    /// The record as a line.
    pub(super) fn into_line(self) -> Vec<u8> {
        let mut line = Vec::with_capacity(1_024);
        // A record has no keys but texts, and memory takes every byte: this can't fail. If it could, half a line would
        // be worse than none.
        if serde_json::to_writer(&mut line, &self).is_err() {
            return Vec::new();
        }
        line.push(b'\n');
        line
    }
}

fn decision_name(decision: Decision) -> &'static str {
    match decision {
        Decision::Allow(_) => "allow",
        Decision::Deny(_) => "deny",
    }
}

fn statement(statement: &StatementRef) -> Statement<'_> {
    let StatementRef { policy, index, effect } = statement;
    let effect = match effect {
        Effect::Allow => "Allow",
        Effect::Deny => "Deny",
    };
    Statement { policy, index: *index, effect }
}

/// At most so many bytes; an ellipsis stands for the rest.
fn cut(value: Cow<'_, str>, limit: usize) -> Cow<'_, str> {
    if value.len() <= limit {
        return value;
    }
    let end = value.floor_char_boundary(limit);
    Cow::Owned(value.split_at(end).0.to_owned() + "…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_cut_between_characters() {
        assert_eq!(cut("abc".into(), 3), "abc");
        assert_eq!(cut("abcd".into(), 3), "abc…");
        assert_eq!(cut("abü".into(), 3), "ab…");
    }
}
