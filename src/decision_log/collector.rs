//! A collector as a place of records. Each becomes a log record of OTLP: its fields are attributes, and its time, trace and span
//! stand where OTLP has a place of its own for them. It is made from the record's line, on the thread that sends, so that a
//! decision is written once, whatever the number of sinks.

use std::io;

use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::time;
use crate::otlp::pb::common::v1::KeyValue;
use crate::otlp::pb::common::v1::any_value::Value as OtlpValue;
use crate::otlp::pb::logs::v1::{LogRecord, SeverityNumber};
use crate::otlp::{Connection, Destination, ExportError, attribute, list, map};

pub(super) use crate::otlp::ExportError as SendError;

/// What the names of attributes begin with.
const PREFIX: &str = "ecs_authz.";

/// A connection, and the runtime that it lives on.
#[derive(Debug)]
pub(super) struct Collector {
    runtime: Runtime,
    connection: Connection,
}

impl Collector {
    pub(super) fn new(destination: Destination) -> io::Result<Self> {
        // With a thread of its own, so that the connection is looked after while there is nothing to send.
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("otlp").enable_all().build()?;
        let connection = {
            let _on_runtime = runtime.enter();
            destination.connect()
        };
        Ok(Self { runtime, connection })
    }

    /// Sends lines. How many records the collector did not take.
    pub(super) fn send(&self, lines: &[u8]) -> Result<u64, ExportError> {
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let observed = time::nanos_now();
        let records = lines.filter_map(|line| log_record(line, observed)).collect();
        self.runtime.block_on(self.connection.export_logs(records))
    }
}

/// A record as OTLP has it. We wrote the line, so it is one.
fn log_record(line: &[u8], observed: u64) -> Option<LogRecord> {
    let Value::Object(fields) = serde_json::from_slice(line).ok()? else { return None };
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let is_error = text("kind") == "error";
    let (severity, severity_text) = match is_error {
        true => (SeverityNumber::Warn, "WARN"),
        false => (SeverityNumber::Info, "INFO"),
    };
    let words = if is_error { ["kind", "error", "action"] } else { ["decision", "reason", "action"] };
    let words = words.map(text).into_iter().filter(|word| !word.is_empty());
    let summary = words.collect::<Vec<_>>().join(" ");
    let mut attributes = Vec::with_capacity(fields.len() + 4);
    for (name, value) in &fields {
        match (name.as_str(), value) {
            ("time" | "trace_id" | "span_id", _) => {}
            (name, Value::Object(members)) => {
                attributes
                    .extend(members.iter().map(|(member, value)| field(&format!("{name}.{member}"), value)));
            }
            (name, value) => attributes.push(field(name, value)),
        }
    }
    Some(LogRecord {
        time_unix_nano: time::parse_nanos(text("time")).unwrap_or(observed),
        observed_time_unix_nano: observed,
        severity_number: severity.into(),
        severity_text: severity_text.to_owned(),
        body: Some(OtlpValue::from(summary).into()),
        attributes,
        flags: 0,
        trace_id: id(text("trace_id")),
        span_id: id(text("span_id")),
        event_name: format!("{PREFIX}{}", text("kind")),
    })
}

fn field(name: &str, value: &Value) -> KeyValue {
    attribute(format!("{PREFIX}{name}"), otlp_value(value))
}

fn otlp_value(value: &Value) -> OtlpValue {
    match value {
        Value::Null => OtlpValue::from(""),
        Value::Bool(value) => OtlpValue::from(*value),
        // There are no others in a record than counts.
        Value::Number(number) => OtlpValue::from(number.as_u64().unwrap_or_default()),
        Value::String(text) => OtlpValue::from(text.as_str()),
        Value::Array(values) => list(values.iter().map(otlp_value)),
        Value::Object(members) => {
            map(members.iter().map(|(name, value)| attribute(name.as_str(), otlp_value(value))))
        }
    }
}

/// The bytes of an id, or none.
fn id(digits: &str) -> Vec<u8> {
    let pair = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    (0..digits.len()).step_by(2).map_while(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_attributes_and_what_otlp_knows_has_its_place() {
        let line = br#"{"v":1,"kind":"decision","time":"2026-11-28T05:00:00.000001Z","decision_id":"d","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7","principal":{"user_id":"alice","groups":2},"action":"ecs:servers:start","decision":"deny","reason":"EXPLICIT_DENY","statements":[{"policy":"p","index":0,"effect":"Deny"}],"stale":false}"#;
        let record = log_record(line, 7).unwrap();
        assert_eq!(record.time_unix_nano, 1_795_842_000_000_001_000);
        assert_eq!((record.observed_time_unix_nano, record.severity_text.as_str()), (7, "INFO"));
        assert_eq!(record.body, Some(OtlpValue::from("deny EXPLICIT_DENY ecs:servers:start").into()));
        assert_eq!(
            (record.trace_id.len(), record.span_id),
            (16, vec![0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 2, 0xb7])
        );
        assert_eq!(record.event_name, "ecs_authz.decision");
        let statement = [attribute("policy", "p"), attribute("index", 0_u64), attribute("effect", "Deny")];
        let expected = [
            attribute("ecs_authz.v", 1_u64),
            attribute("ecs_authz.kind", "decision"),
            attribute("ecs_authz.decision_id", "d"),
            attribute("ecs_authz.principal.user_id", "alice"),
            attribute("ecs_authz.principal.groups", 2_u64),
            attribute("ecs_authz.action", "ecs:servers:start"),
            attribute("ecs_authz.decision", "deny"),
            attribute("ecs_authz.reason", "EXPLICIT_DENY"),
            attribute("ecs_authz.statements", list([map(statement)])),
            attribute("ecs_authz.stale", false),
        ];
        assert_eq!(record.attributes, expected);
    }

    #[test]
    fn an_error_is_a_warning() {
        let line = br#"{"v":1,"kind":"error","time":"2026-11-28T05:00:00.000000Z","error":"UNAVAILABLE"}"#;
        let record = log_record(line, 0).unwrap();
        assert_eq!((record.severity_text.as_str(), record.trace_id), ("WARN", Vec::new()));
        assert_eq!(record.body, Some(OtlpValue::from("error UNAVAILABLE").into()));
        assert_eq!(record.event_name, "ecs_authz.error");
    }
}
