//! Requests as they go over the wire.

use std::collections::HashMap;

use ecs_authz::catalog::Body;
use ecs_authz::grpc::pb;
use ecs_authz::request::{PrincipalParts, RequestParts};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{ListValue, Struct, Timestamp, Value};
use prost::Message;
use prost::bytes::Bytes;

/// Claims of a token, as `serve` is configured to read them.
pub(super) const PAYLOAD_KEY: &str = "jwt_payload";
/// As long as that of a real token of a few claims.
const SIGNED_BYTES: usize = 620;

/// A message as gRPC frames it.
pub(super) fn frame(message: &impl Message) -> Bytes {
    let length = u32::try_from(message.encoded_len()).unwrap_or(u32::MAX);
    let mut bytes = vec![0];
    bytes.extend(length.to_be_bytes());
    bytes.extend(message.encode_to_vec());
    bytes.into()
}

/// What a service of one's own asks, which knows the body.
pub(super) fn authorize(parts: &RequestParts, number: usize) -> pb::AuthorizeRequest {
    let PrincipalParts { domain_id, domain_name, user_id, project_id, group_ids, .. } =
        parts.principal.clone();
    pb::AuthorizeRequest {
        principal: Some(pb::Principal {
            domain_id,
            domain_name,
            user_id,
            project_id,
            group_ids,
            ..Default::default()
        }),
        method: parts.method.clone(),
        path: parts.path.clone(),
        body: content(parts).map(|bytes| pb::BodySummary { content: Some(bytes), ..Default::default() }),
        request_id: request_id(number),
        ..Default::default()
    }
}

/// As long as a request id is.
pub(super) fn request_id(number: usize) -> String {
    format!("{number:032x}")
}

fn content(parts: &RequestParts) -> Option<Vec<u8>> {
    match &parts.body {
        Body::Content { bytes, .. } => Some(bytes.clone()),
        Body::Absent | Body::Encoded | Body::Summary(_) => None,
    }
}

/// What Envoy asks as deploy/envoy/jwt.yaml configures it: with headers as they are, and the claims of a verified token. With all
/// fields that Envoy tells, those too that nobody reads.
pub(super) fn check(parts: &RequestParts, number: usize) -> CheckRequest {
    let body = content(parts).unwrap_or_default();
    let http = HttpRequest {
        id: (10_000_000_000_000_000_000_u64 + number as u64).to_string(),
        method: parts.method.clone(),
        header_map: Some(core::HeaderMap { headers: headers(parts, body.len(), number) }),
        path: parts.path.clone(),
        host: "ecs.eu-de.acme.example".into(),
        scheme: "https".into(),
        protocol: "HTTP/2".into(),
        size: i64::try_from(body.len()).unwrap_or(0),
        raw_body: body,
        ..Default::default()
    };
    let time = Timestamp { seconds: 1_795_443_613, nanos: 123_456_789 };
    let attributes = AttributeContext {
        source: Some(peer("10.11.12.13", 51_234)),
        destination: Some(peer("10.20.30.40", 8_443)),
        request: Some(Request { time: Some(time), http: Some(http) }),
        metadata_context: Some(claims(&parts.principal)),
        ..Default::default()
    };
    CheckRequest { attributes: Some(attributes) }
}

/// Sixteen, and three more of a request with a body.
fn headers(parts: &RequestParts, body_bytes: usize, number: usize) -> Vec<core::HeaderValue> {
    let id = format!("{number:08x}-3f2c-4a57-9d2e-5b8f0c6a1e77");
    let bearer = format!("Bearer {}", "eyJhbGciOiJSUzI1NiIs".repeat(SIGNED_BYTES / 20));
    let mut fields = vec![
        (":authority", "ecs.eu-de.acme.example"),
        (":path", parts.path.as_str()),
        (":method", parts.method.as_str()),
        (":scheme", "https"),
        ("authorization", bearer.as_str()),
        ("user-agent", "openstacksdk/4.4.0 keystoneauth1/5.10.0 python-requests/2.32.3 CPython/3.12.8"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, deflate"),
        ("x-project-id", parts.principal.project_id.as_str()),
        ("x-sdk-date", "20261123T142013Z"),
        ("x-language", "en-us"),
        ("openstack-api-version", "compute 2.79"),
        ("x-forwarded-for", "10.11.12.13"),
        ("x-forwarded-proto", "https"),
        ("x-envoy-external-address", "10.11.12.13"),
        ("x-request-id", id.as_str()),
    ];
    let length = body_bytes.to_string();
    if body_bytes > 0 {
        fields.push(("content-type", "application/json"));
        fields.push(("content-length", &length));
        fields.push(("x-envoy-auth-partial-body", "false"));
    }
    let header = |(name, value): (&str, &str)| core::HeaderValue {
        key: name.to_owned(),
        raw_value: value.as_bytes().to_vec(),
        ..Default::default()
    };
    fields.into_iter().map(header).collect()
}

fn peer(address: &str, port: u32) -> Peer {
    let socket = core::SocketAddress {
        address: address.to_owned(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port)),
        ..Default::default()
    };
    let address = Some(core::address::Address::SocketAddress(socket));
    Peer { address: Some(core::Address { address }), ..Default::default() }
}

fn claims(principal: &PrincipalParts) -> core::Metadata {
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let number = |number: f64| Value { kind: Some(Kind::NumberValue(number)) };
    let record = |fields: Vec<(&str, Value)>| Struct {
        fields: fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    };
    let nested = |fields| Value { kind: Some(Kind::StructValue(record(fields))) };
    let groups = principal.group_ids.iter().map(|id| text(id)).collect();
    let payload = nested(vec![
        ("iss", text("https://iam.example")),
        ("aud", text("ecs-api")),
        ("exp", number(1_795_447_213.0)),
        ("iat", number(1_795_443_613.0)),
        ("sub", text(&principal.user_id)),
        ("domain", nested(vec![("id", text(&principal.domain_id)), ("name", text(&principal.domain_name))])),
        ("project", nested(vec![("id", text(&principal.project_id))])),
        ("groups", Value { kind: Some(Kind::ListValue(ListValue { values: groups })) }),
    ]);
    let metadata = record(vec![(PAYLOAD_KEY, payload)]);
    core::Metadata {
        filter_metadata: HashMap::from([("envoy.filters.http.jwt_authn".to_owned(), metadata)]),
        ..Default::default()
    }
}
