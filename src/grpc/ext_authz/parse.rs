//! From Envoy's attributes to a [`Request`].

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::ExtAuthzConfig;
use super::denial::Denial;
use super::headers::{Headers, Known};
use super::identity;
use super::message::{Check, Extensions};
use crate::catalog::Body;
use crate::decision::DependencyMode;
use crate::decision_log::Unread;
use crate::request::{Context, ENTERPRISE_PROJECT, InvalidRequest, MAX_CONTENT_BYTES, Request, RequestParts};
use crate::traces::TraceContext;

/// Parses what Envoy asks about, at this time.
pub(super) fn request(
    config: &ExtAuthzConfig,
    check: &Check<'_>,
    time: Option<u64>,
) -> Result<Request, Denial> {
    if check.has_both_forms {
        return Err(Denial::Twice("headers"));
    }
    refuse(check)?;
    let principal = identity::principal(&config.principal, check)?;
    let request = Request::new(RequestParts {
        principal,
        method: check.method.to_owned(),
        path: check.path.to_owned(),
        body: body(check)?,
        context: Context {
            source_ip: check.source_ip.to_owned(),
            attributes: route_attributes(&check.extensions),
            time,
            region: check.extensions.region.unwrap_or_default().to_owned(),
        },
        dependency_mode: dependency_mode(&check.extensions),
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
fn refuse(check: &Check<'_>) -> Result<(), Denial> {
    // Envoy forwards it, and it shows what intermediaries added.
    if check.method == "TRACE" {
        return Err(Denial::Method("TRACE"));
    }
    if let Some(name) = check.headers.override_header() {
        return Err(Denial::OverrideHeader(name));
    }
    let content_type = joined(&check.headers, Known::ContentType);
    if may_switch_version(&content_type) || may_switch_version(&joined(&check.headers, Known::Accept)) {
        return Err(Denial::VersionParameter);
    }
    if is_form(&content_type) {
        return Err(Denial::Form);
    }
    Ok(())
}

fn is_form(media_types: &[u8]) -> bool {
    let has = |word: &[u8]| media_types.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word));
    has(b"x-www-form-urlencoded") || has(b"multipart/")
}

/// All values of a header in one, as a server that joins them reads it.
fn joined<'a>(headers: &Headers<'a>, known: Known) -> Cow<'a, [u8]> {
    let mut values = headers.values(known);
    let first = values.next().unwrap_or_default();
    match values.next() {
        None => Cow::Borrowed(first),
        Some(second) => [first, second].into_iter().chain(values).collect::<Vec<_>>().join(&b',').into(),
    }
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
fn body(check: &Check<'_>) -> Result<Body, Denial> {
    let Check { headers, body, raw_body, .. } = check;
    if !body.is_empty() && !raw_body.is_empty() {
        return Err(Denial::Twice("body"));
    }
    let is_identity = |value: &[u8]| value.trim_ascii().eq_ignore_ascii_case(b"identity");
    if !headers.values(Known::ContentEncoding).all(is_identity) {
        return Ok(Body::Encoded);
    }
    let bytes = if raw_body.is_empty() { body } else { raw_body };
    if bytes.len() > MAX_CONTENT_BYTES {
        // Too large to be read, which matters only where somebody needs it.
        return Ok(Body::Content { bytes: Vec::new(), truncated: true });
    }
    // Envoy's own word: a copy from the client never reaches us.
    let truncated = headers.values(Known::PartialBody).any(|value| value != b"false");
    if bytes.is_empty() && !truncated {
        return Ok(Body::Absent);
    }
    Ok(Body::Content { bytes: bytes.to_vec(), truncated })
}

/// What is known of a request that could not be read.
pub(super) fn unread<'a>(check: &Check<'a>) -> Unread<'a> {
    let Check { method, path, source_ip, .. } = *check;
    Unread { method, path, source_ip }
}

/// The id by which Envoy's access log knows the request. A client may have sent it, so it is for people alone.
pub(super) fn request_id<'a>(check: &Check<'a>) -> Cow<'a, str> {
    String::from_utf8_lossy(check.headers.values(Known::RequestId).next().unwrap_or_default())
}

/// The trace of the request behind Envoy, where Envoy makes none of its own: what Envoy tells of its own trace is in the metadata
/// of its call. A client may have sent this, so it decides nothing but what is recorded.
pub(super) fn trace(check: &Check<'_>) -> Option<TraceContext> {
    let mut parents = check.headers.values(Known::Traceparent);
    let parent = parents.next().filter(|_| parents.next().is_none())?;
    TraceContext::parse(parent, check.headers.values(Known::Tracestate))
}

/// Condition keys that the route knows. Who writes Envoy's configuration says them, never a client.
fn route_attributes(extensions: &Extensions<'_>) -> BTreeMap<String, Vec<String>> {
    let enterprise_project = extensions.enterprise_project;
    enterprise_project.map(|id| (ENTERPRISE_PROJECT.to_owned(), vec![id.to_owned()])).into_iter().collect()
}

/// A word that is not known asks for the stricter mode.
fn dependency_mode(extensions: &Extensions<'_>) -> DependencyMode {
    match extensions.dependency_mode {
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
