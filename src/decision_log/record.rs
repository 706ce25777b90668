//! A record: one JSON object on one line. `deploy/decision-log/record.schema.json` describes each field.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::line::Line;
use super::mask::{Field, Mask};
use super::settings::Paths;
use super::time;
use super::{Origin, Peer, Unread};
use crate::catalog::Catalog;
use crate::decision::{Decision, Effect, StatementRef};
use crate::pdp::Response;
use crate::request::{Request, Subject};

/// What a record begins with. The version of the schema grows when a field changes its meaning or goes, not when one comes;
/// and an error is not a decision.
const DECISION: &str = r#"{"v":1,"kind":"decision""#;
const ERROR: &str = r#"{"v":1,"kind":"error""#;
/// The most bytes of a name or an id that are recorded, and of a path or a resource.
const MAX_ID_BYTES: usize = 256;
const MAX_PATH_BYTES: usize = 1_024;

/// How records are written.
pub(super) struct Style {
    pub(super) mask: Mask,
    pub(super) paths: Paths,
}

/// A decision of the decision point.
#[derive(Clone, Copy)]
pub(super) struct Decided<'a, 'r> {
    pub(super) response: &'a Response<'r>,
    /// The resource that decided, or nothing.
    pub(super) resource: &'a str,
    pub(super) catalog: &'a Catalog,
    /// How many decisions the record stands for.
    pub(super) sample: NonZeroU32,
}

impl Style {
    fn field<'a>(&self, field: Field, value: impl Into<Cow<'a, str>>) -> Option<Cow<'a, str>> {
        let value = Some(value.into()).filter(|value| !value.is_empty())?;
        let limit =
            if matches!(field, Field::Path | Field::Resource) { MAX_PATH_BYTES } else { MAX_ID_BYTES };
        Some(cut(self.mask.apply(field, value)?, limit))
    }

    /// What every record tells first. Fields that are not known are not there.
    fn begin(&self, start: &str, origin: &Origin<'_>, now: Instant) -> Line {
        let mut line = Line::begin(start);
        let since_1970 = origin.moment.since_1970.unwrap_or_default() + elapsed(origin, now);
        line.plain(r#","time":"#, &time::rfc3339(since_1970));
        line.text(r#","decision_id":"#, origin.decision_id);
        line.optional(r#","request_id":"#, self.field(Field::RequestId, origin.request_id));
        if let Some(trace) = &origin.trace {
            line.plain(r#","trace_id":"#, trace.trace_hex().as_bytes());
            line.plain(r#","span_id":"#, trace.span_hex().as_bytes());
        }
        line.plain(r#","rpc":"#, origin.rpc.name().as_bytes());
        let Peer(peer) = origin.peer;
        line.optional(r#","peer":"#, self.field(Field::Peer, peer.as_deref().unwrap_or_default()));
        line
    }

    /// What a request tells that could be read.
    fn request(&self, line: &mut Line, request: &Request) {
        self.principal(line, request);
        line.optional(r#","source_ip":"#, self.field(Field::SourceIp, request.caller().source_ip()));
        line.text(r#","method":"#, &cut(request.method().into(), MAX_ID_BYTES));
    }

    /// The principal. Groups and roles are counted: there may be hundreds, and the statements name the policies that decided.
    fn principal(&self, line: &mut Line, request: &Request) {
        let identity = request.identity();
        let (user, agency) = match &identity.subject {
            Subject::User(user) => (user.as_str(), ""),
            Subject::Agency(agency) => ("", agency.as_str()),
        };
        let project = identity.project_id.as_deref().unwrap_or_default();
        line.raw(r#","principal":{"#);
        for (name, field, value) in [
            (r#""domain_id":"#, Field::DomainId, identity.domain_id.as_str()),
            (r#""user_id":"#, Field::UserId, user),
            (r#""agency_id":"#, Field::AgencyId, agency),
            (r#""project_id":"#, Field::ProjectId, project),
        ] {
            if let Some(value) = self.field(field, value) {
                line.text(name, &value);
                line.raw(",");
            }
        }
        line.number(r#""groups":"#, count(identity.group_ids.len()));
        line.number(r#","roles":"#, count(identity.role_names.len()));
        line.raw("}");
    }

    /// A query may hold whatever clients put there, tokens too.
    fn path(&self, line: &mut Line, path: &str) {
        if self.paths == Paths::WithoutQuery {
            let path = path.split(['?', '#']).next().unwrap_or_default();
            line.optional(r#","path":"#, self.field(Field::Path, path));
        }
    }

    /// A decision of the decision point.
    pub(super) fn decided(
        &self,
        origin: &Origin<'_>,
        request: Option<&Request>,
        decided: Decided<'_, '_>,
    ) -> Vec<u8> {
        let Decided { response, resource, catalog, sample } = decided;
        let now = Instant::now();
        let mut line = self.begin(DECISION, origin, now);
        let operation = response.call().map(|call| call.operation);
        if let Some(request) = request {
            self.request(&mut line, request);
            line.optional(r#","route":"#, operation.map(|operation| &operation.route));
            self.path(&mut line, request.path());
        }
        line.optional(r#","operation":"#, operation.map(|operation| &operation.title));
        line.optional(r#","action":"#, response.action().map(|action| catalog.action_name(action)));
        line.optional(r#","resource":"#, self.field(Field::Resource, resource));
        line.plain(r#","decision":"#, decision_name(response.decision()).as_bytes());
        if let Some(reason) = response.decision().reason() {
            line.plain(r#","reason":"#, reason.name().as_bytes());
        }
        evaluated(&mut line, response, catalog);
        if sample.get() > 1 {
            line.number(r#","sample":"#, sample.get().into());
        }
        finish(line, origin, now)
    }

    /// A denial that no policy made: the request was not even read.
    pub(super) fn denied(&self, origin: &Origin<'_>, reason: &str, unread: &Unread<'_>) -> Vec<u8> {
        let Unread { method, path, source_ip } = *unread;
        let now = Instant::now();
        let mut line = self.begin(DECISION, origin, now);
        line.optional(r#","source_ip":"#, self.field(Field::SourceIp, source_ip));
        if !method.is_empty() {
            line.text(r#","method":"#, &cut(method.into(), MAX_ID_BYTES));
        }
        self.path(&mut line, path);
        line.plain(r#","decision":"#, b"deny");
        line.text(r#","reason":"#, reason);
        finish(line, origin, now)
    }

    /// An error.
    pub(super) fn failed(&self, origin: &Origin<'_>, request: Option<&Request>, error: &str) -> Vec<u8> {
        let now = Instant::now();
        let mut line = self.begin(ERROR, origin, now);
        if let Some(request) = request {
            self.request(&mut line, request);
            self.path(&mut line, request.path());
        }
        line.text(r#","error":"#, error);
        finish(line, origin, now)
    }
}

/// What the policies said, if they were looked at.
fn evaluated(line: &mut Line, response: &Response<'_>, catalog: &Catalog) {
    let Response::Evaluated { evaluation, revision, is_stale } = response else { return };
    line.list(r#","statements":"#, evaluation.deciding_statements(), |line, statement| {
        let StatementRef { policy, index, effect } = statement;
        line.text(r#"{"policy":"#, policy);
        line.number(r#","index":"#, count(*index));
        line.raw(match effect {
            Effect::Allow => r#","effect":"Allow"}"#,
            Effect::Deny => r#","effect":"Deny"}"#,
        });
    });
    line.list(r#","missing_dependencies":"#, evaluation.missing_dependencies(), |line, action| {
        line.text("", catalog.action_name(action));
    });
    line.number(r#","revision":"#, revision.0);
    line.raw(if *is_stale { r#","stale":true"# } else { r#","stale":false"# });
}

fn finish(mut line: Line, origin: &Origin<'_>, now: Instant) -> Vec<u8> {
    let micros = elapsed(origin, now).as_micros();
    line.number(r#","latency_us":"#, u64::try_from(micros).unwrap_or(u64::MAX));
    line.finish()
}

fn elapsed(origin: &Origin<'_>, now: Instant) -> Duration {
    now.saturating_duration_since(origin.moment.instant)
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn decision_name(decision: Decision) -> &'static str {
    match decision {
        Decision::Allow(_) => "allow",
        Decision::Deny(_) => "deny",
    }
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
