//! Envoy's `Check`: by ourselves, and by a real Envoy.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use ecs_authz::catalog::Body;
use ecs_authz::grpc::wire::envoy::config::core::v3::Metadata;
use ecs_authz::grpc::wire::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use ecs_authz::grpc::wire::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use ecs_authz::request::PrincipalParts;
use prost::Message as _;
use prost_types::value::Kind as Is;
use prost_types::{ListValue, Struct, Value};
use serde_json::json;

use super::asking::Asking;
use super::client::{Call, Kind, Reader, Workload, frame, grpc_head};
use super::process::{Core, Server, command, free_port};
use crate::Outcome;
use crate::questions::{Asked, Question};

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
/// Where verified claims stand.
const NAMESPACE: &str = "envoy.filters.http.jwt_authn";
const HOST: &str = "ecs.example";
/// The codes of `google.rpc.Code` that are decisions.
const OK: i32 = 0;
const PERMISSION_DENIED: i32 = 7;

/// What Envoy sends, without Envoy.
pub(super) fn check(asking: &Asking<'_>) -> Outcome<Workload> {
    let mut calls = Vec::new();
    for (question, expected) in asking.iter() {
        let body = frame(&request(question, asking.principal()))?;
        let (name, expected) = (question.name(), expected.answers(Asked::Required));
        calls.push(Call { head: grpc_head(CHECK)?, body, name, expected });
    }
    let read: Reader = Box::new(|_, reply| {
        // Envoy takes an answer without a status for an allow. It is a fault, though.
        match CheckResponse::decode(reply.body.clone())?.status.map(|status| status.code) {
            Some(OK) => Ok(vec![true]),
            Some(PERMISSION_DENIED) => Ok(vec![false]),
            code => Err(format!("{code:?} is no decision").into()),
        }
    });
    Ok(Workload { calls, kind: Kind::Grpc, read })
}

/// What Envoy gets.
pub(super) fn requests(asking: &Asking<'_>) -> Outcome<Workload> {
    let mut calls = Vec::new();
    for (question, expected) in asking.iter() {
        let parts = &question.parts;
        let head = http::Request::builder().method(parts.method.as_str());
        let head = head.uri(format!("http://{HOST}{}", parts.path));
        let head = headers(parts).into_iter().fold(head, |head, (name, value)| head.header(name, value));
        let (name, expected) = (question.name(), expected.answers(Asked::Required));
        calls.push(Call { head: head.body(())?, body: body(&parts.body).to_vec().into(), name, expected });
    }
    let read: Reader = Box::new(|_, reply| match reply.status {
        200 => Ok(vec![true]),
        403 => Ok(vec![false]),
        status => Err(format!("{status} is no decision: {:?}", reply.body).into()),
    });
    Ok(Workload { calls, kind: Kind::Http, read })
}

fn headers(parts: &ecs_authz::request::RequestParts) -> Vec<(&'static str, &'static str)> {
    let mut headers = vec![("accept", "application/json"), ("user-agent", "bench/1")];
    if !matches!(parts.body, Body::Absent) {
        headers.push(("content-type", "application/json"));
    }
    headers
}

fn body(body: &Body) -> &[u8] {
    match body {
        Body::Content { bytes, .. } => bytes,
        _ => &[],
    }
}

fn request(question: &Question, principal: &PrincipalParts) -> CheckRequest {
    let parts = &question.parts;
    let pseudo =
        [(":authority", HOST), (":method", &parts.method), (":path", &parts.path), (":scheme", "http")];
    let own = [("x-forwarded-proto", "http"), ("x-request-id", "8a1e3d1a-2ad5-4d0c-9a3e-2d4e7c8a1b5f")];
    let headers = pseudo.into_iter().chain(own).chain(headers(parts));
    let http = HttpRequest {
        method: parts.method.clone(),
        path: parts.path.clone(),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        body: String::from_utf8_lossy(body(&parts.body)).into_owned(),
        ..Default::default()
    };
    CheckRequest {
        attributes: Some(AttributeContext {
            request: Some(Request { http: Some(http) }),
            metadata_context: Some(Metadata {
                filter_metadata: HashMap::from([(NAMESPACE.to_owned(), claims(principal))]),
            }),
            ..Default::default()
        }),
    }
}

/// Of the principal whose policies all questions are about.
fn claims(principal: &PrincipalParts) -> Struct {
    let text = |text: &str| Value { kind: Some(Is::StringValue(text.to_owned())) };
    let object = |members: Vec<(&str, Value)>| Struct {
        fields: members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    };
    let nested = |members| Value { kind: Some(Is::StructValue(object(members))) };
    let groups = principal.group_ids.iter().map(|id| text(id)).collect();
    let payload = vec![
        ("sub", text(&principal.user_id)),
        ("domain", nested(vec![("id", text(&principal.domain_id))])),
        ("project", nested(vec![("id", text(&principal.project_id))])),
        ("groups", Value { kind: Some(Is::ListValue(ListValue { values: groups })) }),
    ];
    object(vec![("jwt_payload", nested(payload))])
}

/// A fresh Envoy that asks this server and answers by itself what is allowed. In place of a token, its configuration has the
/// claims. It shares the load generator's core.
pub(super) fn start_envoy(program: &Path, asking: &Asking<'_>, server: &str) -> Outcome<Server> {
    let files = tempfile::tempdir()?;
    let port = free_port()?;
    let (_, server_port) = server.rsplit_once(':').ok_or("an address without a port")?;
    let file = files.path().join("envoy.json");
    fs::write(&file, config(port, server_port.parse()?, asking.principal()).to_string())?;
    let mut command = command(Core::Client, program);
    command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "--config-path"]);
    command.arg(&file);
    Server::start(command, files, port)
}

fn config(port: u16, server: u16, principal: &PrincipalParts) -> serde_json::Value {
    let address = |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let claims = json!({"jwt_payload": {
        "sub": principal.user_id, "domain": {"id": principal.domain_id}, "project": {"id": principal.project_id},
        "groups": principal.group_ids,
    }});
    let extension = "type.googleapis.com/envoy.extensions.filters";
    let filters = json!([
        {"name": "claims", "typed_config": {
            "@type": format!("{extension}.http.set_metadata.v3.Config"),
            "metadata": [{"metadata_namespace": NAMESPACE, "value": claims}],
        }},
        {"name": "ext_authz", "typed_config": {
            "@type": format!("{extension}.http.ext_authz.v3.ExtAuthz"),
            "transport_api_version": "V3",
            "grpc_service": {"timeout": "30s", "envoy_grpc": {"cluster_name": "pdp", "skip_envoy_headers": true}},
            "status_on_error": {"code": "ServiceUnavailable"},
            "metadata_context_namespaces": [NAMESPACE],
            "with_request_body": {"max_request_bytes": 8192},
        }},
        {"name": "router", "typed_config": {"@type": format!("{extension}.http.router.v3.Router")}},
    ]);
    let manager = json!({
        "@type": format!("{extension}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "edge",
        "http2_protocol_options": {"max_concurrent_streams": 100},
        "http_filters": filters,
        "route_config": {"virtual_hosts": [{"name": "api", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "direct_response": {"status": 200}},
        ]}]},
    });
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    json!({"static_resources": {
        "listeners": [{"name": "edge", "address": address(port), "filter_chains": [
            {"filters": [{"name": "http", "typed_config": manager}]},
        ]}],
        "clusters": [{
            "name": "pdp", "type": "STATIC",
            "load_assignment": {"cluster_name": "pdp", "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": address(server)}}]},
            ]},
            "typed_extension_protocol_options": {options: {
                "@type": format!("type.googleapis.com/{options}"),
                "explicit_http_config": {"http2_protocol_options": {}},
            }},
        }],
    }})
}
