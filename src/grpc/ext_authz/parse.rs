//! From Envoy's attributes to a [`Request`].

use std::collections::BTreeMap;

use super::ExtAuthzConfig;
use super::denial::Denial;
use super::headers::Headers;
use super::identity;
use crate::catalog::Body;
use crate::decision::DependencyMode;
use crate::grpc::wire::envoy::config::core::v3::address::Address;
use crate::grpc::wire::envoy::service::auth::v3::AttributeContext;
use crate::grpc::wire::envoy::service::auth::v3::attribute_context::HttpRequest;
use crate::request::{Context, Request, RequestParts};

/// Headers by which some servers replace the method or the path.
const OVERRIDE_HEADERS: [&str; 5] =
    ["x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url"];
/// The route's word on dependencies: `enforce`, or `report`.
const DEPENDENCY_MODE: &str = "dependency_mode";

/// Parses what Envoy asks about.
pub(super) fn request(config: &ExtAuthzConfig, attributes: &AttributeContext) -> Result<Request, Denial> {
    let empty = HttpRequest::default();
    let http = attributes.request.as_ref().and_then(|request| request.http.as_ref()).unwrap_or(&empty);
    let headers = Headers::of(http);
    refuse(http, &headers)?;
    let principal = identity::principal(&config.principal, attributes, &headers)?;
    let request = Request::new(RequestParts {
        principal,
        method: http.method.clone(),
        path: http.path.clone(),
        body: body(http, &headers)?,
        context: Context { source_ip: source_ip(attributes), attributes: BTreeMap::new() },
        dependency_mode: dependency_mode(attributes),
        min_revision: 0,
    })?;
    Ok(request)
}

/// What is refused whoever asks.
fn refuse(http: &HttpRequest, headers: &Headers<'_>) -> Result<(), Denial> {
    // Envoy forwards it, and it shows what intermediaries added.
    if http.method == "TRACE" {
        return Err(Denial::Method("TRACE"));
    }
    if let Some(name) = OVERRIDE_HEADERS.into_iter().find(|name| headers.has(name)) {
        return Err(Denial::OverrideHeader(name));
    }
    let media_types = headers.values("content-type").chain(headers.values("accept"));
    if media_types.into_iter().any(has_version_parameter) {
        return Err(Denial::VersionParameter);
    }
    Ok(())
}

/// Whether a media type has a `version` parameter, by which Nova chooses another API for the same path.
fn has_version_parameter(value: &[u8]) -> bool {
    let text = value.to_ascii_lowercase();
    text.split(|byte| b";,".contains(byte)).skip(1).any(|parameter| {
        let name = parameter.split(|byte| *byte == b'=').next().unwrap_or_default();
        name.trim_ascii() == b"version"
    })
}

/// The body, in whichever form it came.
fn body(http: &HttpRequest, headers: &Headers<'_>) -> Result<Body, Denial> {
    if !http.body.is_empty() && !http.raw_body.is_empty() {
        return Err(Denial::TwoBodies);
    }
    let is_identity = |value: &[u8]| value.trim_ascii().eq_ignore_ascii_case(b"identity");
    if !headers.values("content-encoding").all(is_identity) {
        return Ok(Body::Encoded);
    }
    let bytes = if http.raw_body.is_empty() { http.body.as_bytes() } else { &http.raw_body };
    // Envoy's own word: a copy from the client never reaches us.
    let truncated = headers.values("x-envoy-auth-partial-body").any(|value| value != b"false");
    if bytes.is_empty() && !truncated {
        return Ok(Body::Absent);
    }
    Ok(Body::Content { bytes: bytes.to_vec(), truncated })
}

fn source_ip(attributes: &AttributeContext) -> String {
    let address = attributes.source.as_ref().and_then(|source| source.address.as_ref()?.address.as_ref());
    match address {
        Some(Address::SocketAddress(socket)) => socket.address.clone(),
        None => String::new(),
    }
}

/// A word that is not known asks for the stricter mode.
fn dependency_mode(attributes: &AttributeContext) -> DependencyMode {
    match attributes.context_extensions.get(DEPENDENCY_MODE).map(String::as_str) {
        None | Some("report") => DependencyMode::Report,
        Some(_) => DependencyMode::Enforce,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_parameter_is_found_wherever_it_stands() {
        for value in [
            "application/json;version=2.1",
            "application/json; Version=\"2.1/x\"",
            "text/html, application/json ;q=1; version = 2",
        ] {
            assert!(has_version_parameter(value.as_bytes()), "{value}");
        }
        for value in ["application/json", "application/json; charset=utf-8", "version/json", "a/b;versions=1"]
        {
            assert!(!has_version_parameter(value.as_bytes()), "{value}");
        }
    }
}
