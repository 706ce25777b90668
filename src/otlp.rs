//! OTLP: how telemetry is sent to an OpenTelemetry collector, over gRPC.
//!
//! [`Destination`] is a collector as the configuration and the standard `OTEL_*` variables describe it, checked when the
//! server starts; nothing is connected then, so a collector that is away harms no start. A [`Connection`] sends a batch and
//! tells what became of it. Who sends keeps the queue, and decides how often to try again: spans are given up soon
//! ([`crate::traces`]), records of decisions are not ([`crate::decision_log`]).
//!
//! The messages are OpenTelemetry's, in files of our own with the fields that we use, as with Envoy's contract. There are
//! libraries for more than that. The SDK with its exporter and its bridge from `tracing` (17 crates more) has a queue that drops
//! spans without telling how many, makes a span for each call before it is sampled, and knows no queue that decisions wait
//! for: for records, which must keep their masks, modes and counts, all of this would be ours all the same. The crate of the
//! messages alone, `opentelemetry-proto`, is 14 crates more, for it brings the SDK along. It decodes in the tests what is sent here, and
//! a real collector does.

pub use config::{CollectorConfig, OtlpError, Signal};
pub use connection::{Connection, Destination, ExportError};
pub use value::{attribute, list, map};

mod config;
mod connection;
mod environment;
mod value;

/// The messages of OTLP, a module for each part of a package's name.
#[expect(
    missing_docs,
    clippy::allow_attributes_without_reason,
    reason = "generated code; OpenTelemetry documents every message and field"
)]
pub mod wire {
    include!(concat!(env!("OUT_DIR"), "/otlp.rs"));
}

pub use wire::opentelemetry::proto as pb;
