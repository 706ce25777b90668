//! From Envoy's attributes to a [`Request`].

use std::collections::BTreeMap;

use super::ExtAuthzConfig;
use super::denial::Denial;
use super::headers::Headers;
use super::identity;
use crate::catalog::Body;
use crate::clock;
use crate::decision::DependencyMode;
use crate::decision_log::Unread;
use crate::grpc::wire::envoy::config::core::v3::address::Address;
use crate::grpc::wire::envoy::service::auth::v3::AttributeContext;
use crate::grpc::wire::envoy::service::auth::v3::attribute_context::HttpRequest;
use crate::request::{
    Context, ENTERPRISE_PROJECT, InvalidRequest, MAX_CONTENT_BYTES, OVERRIDE_HEADERS, Request, RequestParts,
};
use crate::traces::TraceContext;

/// The route's word on dependencies: `enforce`, or `report`.
const DEPENDENCY_MODE: &str = "dependency_mode";
/// The route's word on the region that it leads to.
const REGION: &str = "region";
/// The route's word on the enterprise project that its resources belong to.
const ENTERPRISE_PROJECT_ID: &str = "enterprise_project_id";

/// Parses what Envoy asks about.
pub(super) fn request(config: &ExtAuthzConfig, attributes: &AttributeContext) -> Result<Request, Denial> {
    let empty = HttpRequest::default();
    let http = attributes.request.as_ref().and_then(|request| request.http.as_ref()).unwrap_or(&empty);
    if http.header_map.is_some() && !http.headers.is_empty() {
        return Err(Denial::Twice("headers"));
    }
    let headers = Headers::of(http);
    refuse(http, &headers)?;
    let principal = identity::principal(&config.principal, attributes, &headers)?;
    let request = Request::new(RequestParts {
        principal,
        method: http.method.clone(),
        path: http.path.clone(),
        body: body(http, &headers)?,
        context: Context {
            source_ip: source_ip(attributes).to_owned(),
            attributes: route_attributes(attributes),
            time: clock::now(),
            region: attributes.context_extensions.get(REGION).cloned().unwrap_or_default(),
        },
        dependency_mode: dependency_mode(attributes),
        min_revision: 0,
    });
    request.map_err(malformed)
}

/// A principal that is not one is the identity's fault, not the request's. The wire's names of its fields mean nothing
/// to the client.
fn malformed(invalid: InvalidRequest) -> Denial {
    let mut fields = invalid.violations.iter().map(|violation| &violation.field);
    if fields.any(|field| field.starts_with("principal.")) {
        Denial::Identity("the identity is not complete".to_owned())
    } else {
        Denial::Malformed(invalid)
    }
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
    if ["content-type", "accept"].into_iter().any(|name| may_switch_version(&joined(headers, name))) {
        return Err(Denial::VersionParameter);
    }
    if is_form(&joined(headers, "content-type")) {
        return Err(Denial::Form);
    }
    Ok(())
}

fn is_form(media_types: &[u8]) -> bool {
    let folded = media_types.to_ascii_lowercase();
    let has = |word: &[u8]| folded.windows(word.len()).any(|window| window == word);
    has(b"x-www-form-urlencoded") || has(b"multipart/")
}

/// All values of a header in one, as a server that joins them reads it.
fn joined(headers: &Headers<'_>, name: &str) -> Vec<u8> {
    headers.values(name).collect::<Vec<_>>().join(&b',')
}

/// Whether some parser may find a `version` parameter in a list of media types, by which Nova chooses another API for
/// the same path. Parsers differ in quotes, escapes and white space, so the word itself is refused wherever a
/// parameter can stand, and so is what hides it.
fn may_switch_version(media_types: &[u8]) -> bool {
    let is_hidden = media_types.contains(&b'\\') || !media_types.is_ascii();
    let parameters = media_types.iter().position(|byte| b";,".contains(byte));
    let parameters = parameters.and_then(|start| media_types.get(start..)).unwrap_or_default();
    let word = b"version";
    is_hidden || parameters.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
}

/// The body, in whichever form it came.
fn body(http: &HttpRequest, headers: &Headers<'_>) -> Result<Body, Denial> {
    if !http.body.is_empty() && !http.raw_body.is_empty() {
        return Err(Denial::Twice("body"));
    }
    let is_identity = |value: &[u8]| value.trim_ascii().eq_ignore_ascii_case(b"identity");
    if !headers.values("content-encoding").all(is_identity) {
        return Ok(Body::Encoded);
    }
    let bytes = if http.raw_body.is_empty() { http.body.as_bytes() } else { &http.raw_body };
    if bytes.len() > MAX_CONTENT_BYTES {
        // Too large to be read, which matters only where somebody needs it.
        return Ok(Body::Content { bytes: Vec::new(), truncated: true });
    }
    // Envoy's own word: a copy from the client never reaches us.
    let truncated = headers.values("x-envoy-auth-partial-body").any(|value| value != b"false");
    if bytes.is_empty() && !truncated {
        return Ok(Body::Absent);
    }
    Ok(Body::Content { bytes: bytes.to_vec(), truncated })
}

/// What is known of a request that could not be read.
pub(super) fn unread(attributes: &AttributeContext) -> Unread<'_> {
    let http = attributes.request.as_ref().and_then(|request| request.http.as_ref());
    let (method, path) = http.map_or(("", ""), |http| (&http.method, &http.path));
    Unread { method, path, source_ip: source_ip(attributes) }
}

/// The id by which Envoy's access log knows the request. A client may have sent it, so it is for people alone.
pub(super) fn request_id(attributes: &AttributeContext) -> String {
    let http = attributes.request.as_ref().and_then(|request| request.http.as_ref());
    let headers = http.map(Headers::of);
    let value = headers.as_ref().and_then(|headers| headers.values("x-request-id").next());
    String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
}

/// The trace of the request behind Envoy, where Envoy makes none of its own: what Envoy tells of its own trace is in the metadata
/// of its call. A client may have sent this, so it decides nothing but what is recorded.
pub(super) fn trace(attributes: &AttributeContext) -> Option<TraceContext> {
    let http = attributes.request.as_ref().and_then(|request| request.http.as_ref())?;
    let name = "traceparent";
    // Mostly there is none, and then this costs next to nothing.
    let is_told = match &http.header_map {
        Some(map) => map.headers.iter().any(|header| header.key == name),
        None => http.headers.contains_key(name),
    };
    let headers = is_told.then(|| Headers::of(http))?;
    let mut parents = headers.values(name);
    let parent = parents.next().filter(|_| parents.next().is_none())?;
    TraceContext::parse(parent, headers.values("tracestate"))
}

fn source_ip(attributes: &AttributeContext) -> &str {
    let address = attributes.source.as_ref().and_then(|source| source.address.as_ref()?.address.as_ref());
    match address {
        Some(Address::SocketAddress(socket)) => &socket.address,
        None => "",
    }
}

/// Condition keys that the route knows. Who writes Envoy's configuration says them, never a client.
fn route_attributes(attributes: &AttributeContext) -> BTreeMap<String, Vec<String>> {
    let enterprise_project = attributes.context_extensions.get(ENTERPRISE_PROJECT_ID);
    enterprise_project.map(|id| (ENTERPRISE_PROJECT.to_owned(), vec![id.clone()])).into_iter().collect()
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
    fn a_form_is_refused_however_it_is_written() {
        let forms: [&[u8]; 4] = [
            b"application/x-www-form-urlencoded",
            b"Application/X-WWW-Form-Urlencoded; charset=utf-8",
            b"application/json,application/x-www-form-urlencoded",
            b"multipart/form-data; boundary=x",
        ];
        assert!(forms.into_iter().all(is_form));
        assert!(!is_form(b"application/json") && !is_form(b""));
    }

    #[test]
    fn a_version_parameter_is_found_wherever_it_may_stand() {
        let refused: [&[u8]; 9] = [
            b"application/json;version=2.1",
            b"application/json; Version=\"2.1/x\"",
            b"text/html, application/json ;q=1; version = 2",
            b"application/json;\"version\"=2.1",
            b"application/json;\xa0version=2.1",
            b"application/json;\x0bversion=2.1",
            b"application/json;v\\ersion=2.1",
            b"application/json,version=2.1",
            b"\xe9/json",
        ];
        for value in refused {
            assert!(may_switch_version(value), "{}", value.escape_ascii());
        }
        let harmless: [&[u8]; 4] =
            [b"", b"application/json", b"application/json; charset=utf-8", b"version/json"];
        for value in harmless {
            assert!(!may_switch_version(value), "{}", value.escape_ascii());
        }
    }
}
