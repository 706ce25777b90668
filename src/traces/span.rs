//! A call that is recorded, and the span that it becomes. Names are those of OpenTelemetry's conventions for gRPC
//! (Semantic Conventions 1.45, stable); what is ours begins with `ecs_authz.`.

use std::time::{SystemTime, UNIX_EPOCH};

use tonic::Code;

use super::context::TraceContext;
use crate::otlp::attribute;
use crate::otlp::pb::common::v1::KeyValue;
use crate::otlp::pb::trace::v1::span::SpanKind;
use crate::otlp::pb::trace::v1::status::StatusCode;
use crate::otlp::pb::trace::v1::{Span, Status};

/// In the flags of a span: whether its parent is remote is known, and it is.
const HAS_REMOTE_PARENT: u32 = 0x300;
const SAMPLED: u32 = 1;
/// The names of the codes, by their numbers.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// A call that is recorded.
#[derive(Debug)]
pub(super) struct Recording {
    parent: Option<TraceContext>,
    started: SystemTime,
    attributes: Vec<KeyValue>,
}

impl Recording {
    pub(super) fn begin(parent: Option<TraceContext>) -> Self {
        Self { parent, started: SystemTime::now(), attributes: Vec::with_capacity(10) }
    }

    pub(super) fn add(&mut self, attributes: impl IntoIterator<Item = KeyValue>) {
        self.attributes.extend(attributes);
    }

    /// The span. `method` is `SERVICE/METHOD`.
    pub(super) fn into_span(
        self,
        context: &TraceContext,
        method: &str,
        code: Code,
        ended: SystemTime,
    ) -> Span {
        let Self { parent, started, mut attributes } = self;
        let name = usize::try_from(i32::from(code)).ok().and_then(|number| CODES.get(number));
        let name = *name.unwrap_or(&"UNKNOWN");
        attributes.push(attribute("rpc.system.name", "grpc"));
        attributes.push(attribute("rpc.method", method));
        attributes.push(attribute("rpc.response.status_code", name));
        let is_fault = is_fault(code);
        if is_fault {
            attributes.push(attribute("error.type", name));
        }
        let remote = if parent.is_some() { HAS_REMOTE_PARENT } else { 0 };
        Span {
            trace_id: context.trace_id().to_vec(),
            span_id: context.span_id().to_vec(),
            trace_state: context.state().to_owned(),
            parent_span_id: parent.map(|parent| parent.span_id().to_vec()).unwrap_or_default(),
            name: method.to_owned(),
            kind: SpanKind::Server.into(),
            start_time_unix_nano: nanos(started),
            // A clock that is set back must not make a span end before it began.
            end_time_unix_nano: nanos(ended.max(started)),
            attributes,
            status: is_fault.then(|| Status { code: StatusCode::Error.into() }),
            flags: SAMPLED | remote,
        }
    }
}

/// Whether a code is the server's fault (Semantic Conventions for gRPC, Recording errors).
fn is_fault(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_names_of_their_numbers() {
        for (number, name) in (0..).zip(CODES) {
            let code = format!("{:?}", Code::from(number));
            assert!(code.eq_ignore_ascii_case(&name.replace('_', "")), "{number}: {name}");
        }
    }

    #[test]
    fn a_span_does_not_end_before_it_began() {
        let recording = Recording::begin(None);
        let span = recording.into_span(&TraceContext::new_root(), "a/b", Code::Ok, UNIX_EPOCH);
        assert_eq!(span.start_time_unix_nano, span.end_time_unix_nano);
    }
}
