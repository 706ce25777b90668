//! Traces, logs and records by OTLP: what arrives at a collector, and that none harms a decision.

use std::collections::BTreeMap;

use ecs_authz::grpc::pb;
use ecs_authz::server::{RunningServer, ServerConfig};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use libtest_mimic::Trial;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use tonic::Request;

use crate::ext_authz::{CONFIG, parsed};
use crate::support::{PolicyDir, channel, config};
use collector::Collector;

mod collector;
mod logs;
mod program;
mod real;
mod records;
mod traces;

pub(crate) fn trials() -> Vec<Trial> {
    let trials = [logs::trials(), program::trials(), real::trials(), records::trials(), traces::trials()];
    trials.into_iter().flatten().collect()
}

/// Longer than anything takes.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
/// The trace of a caller, its span, and the header that tells them.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const NOT_SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

const GRANTS: &str = r#"
[[grant]]
subject = { user = "alice" }
policy = "ECS CommonOperations"
scope = { project = "prod" }
"#;

fn policies() -> PolicyDir {
    PolicyDir::acme(&[], GRANTS)
}

/// Alice's action on a server of `prod`.
fn action(key: &str) -> pb::AuthorizeRequest {
    let principal = pb::Principal {
        domain_id: "acme".into(),
        user_id: "alice".into(),
        project_id: "prod".into(),
        ..Default::default()
    };
    pb::AuthorizeRequest {
        principal: Some(principal),
        method: "POST".into(),
        path: "/v2.1/prod/servers/i-4711/action".into(),
        body: Some(pb::BodySummary { top_level_keys: vec![key.into()], ..Default::default() }),
        ..Default::default()
    }
}

/// A message with headers.
fn with<T>(message: T, headers: &[(&'static str, &str)]) -> Request<T> {
    let mut request = Request::new(message);
    for (name, value) in headers {
        request.metadata_mut().append(*name, value.parse().unwrap());
    }
    request
}

/// A server with these sections in its configuration, that answers Envoy too.
async fn serve(policies: &PolicyDir, sections: &str) -> RunningServer {
    let config = parsed(&format!("{sections}\n{CONFIG}"));
    RunningServer::start(ServerConfig { config, ..config_of(policies) }).await.expect("a server")
}

fn config_of(policies: &PolicyDir) -> ServerConfig {
    config(policies.path())
}

async fn envoys_client(server: &RunningServer) -> AuthorizationClient<tonic::transport::Channel> {
    AuthorizationClient::new(channel(server).await)
}

/// The section that traces to a collector.
fn traces_to(collector: &Collector, lines: &str) -> String {
    format!("[traces]\n{lines}\ncollector = {{ endpoint = 'http://{}' }}\n", collector.addr)
}

/// Attributes as text by name.
fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute.value.as_ref()))).collect()
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(value)) => value.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
