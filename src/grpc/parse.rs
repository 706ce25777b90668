//! From the wire to a [`Request`]. Every field is taken apart here; none is overlooked.

use std::collections::{BTreeMap, HashMap};

use prost::Message as _;

use super::pb;
use super::protobuf::{Fields, NotPlain};
use crate::catalog::{Body, BodySummary};
use crate::clock;
use crate::decision::DependencyMode;
use crate::request::{
    Caller, Context, FieldViolation, InvalidRequest, PrincipalParts, Request, RequestParts,
};

pub(super) use message::{BodyMessage, Message};

mod message;

/// The most bytes of a request id.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// A request and what only the edge needs of it.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) request: Request,
    pub(super) explain: bool,
}

/// Parses a request that was made at this time.
pub(super) fn request(message: Message<'_>, time: Option<u64>) -> Result<Parsed, InvalidRequest> {
    let Message {
        principal,
        method,
        path,
        body,
        source_ip,
        attributes,
        request_id,
        dependency_mode,
        explain,
        min_revision,
    } = message;
    let mut violations = Vec::new();
    if request_id.len() > MAX_REQUEST_ID_BYTES {
        violations.push(violation("request_id", &format!("expected at most {MAX_REQUEST_ID_BYTES} bytes")));
    }
    let dependency_mode = parse_mode(dependency_mode).unwrap_or_else(|fault| {
        violations.push(fault);
        DependencyMode::Enforce
    });
    let body = parse_body(body).unwrap_or_else(|fault| {
        violations.push(fault);
        Body::Absent
    });
    let request = Request::new(RequestParts {
        principal,
        method: method.to_owned(),
        path: path.to_owned(),
        body,
        context: Context { source_ip: source_ip.to_owned(), attributes, time, region: String::new() },
        dependency_mode,
        min_revision,
    });
    match request {
        Ok(request) if violations.is_empty() => Ok(Parsed { request, explain }),
        Ok(_) => Err(InvalidRequest { violations }),
        Err(mut invalid) => {
            invalid.violations.append(&mut violations);
            Err(invalid)
        }
    }
}

/// Parses a request that prost has read.
pub(super) fn decoded(message: &pb::AuthorizeRequest) -> Result<Parsed, InvalidRequest> {
    let message = message.encode_to_vec();
    let read = Message::read(Fields::of(&message));
    // What prost writes is plain.
    let read = read
        .map_err(|NotPlain| InvalidRequest { violations: vec![violation("request", "expected a request")] });
    request(read?, clock::now())
}

/// Parses who calls.
pub(super) fn caller(
    principal: Option<pb::Principal>,
    context: Option<pb::RequestContext>,
) -> Result<Caller, InvalidRequest> {
    Caller::new(parse_principal(principal.unwrap_or_default()), parse_context(context.unwrap_or_default()))
}

/// Parses the body of a request. Both forms at once would be two readings of it.
fn parse_body(message: Option<BodyMessage<'_>>) -> Result<Body, FieldViolation> {
    let Some(BodyMessage { summary, content }) = message else { return Ok(Body::Absent) };
    match content {
        None => Ok(Body::Summary(summary)),
        Some(bytes) if summary.top_level_keys.is_empty() && summary.attributes.is_empty() => {
            Ok(Body::Content { bytes: bytes.to_vec(), truncated: summary.truncated })
        }
        Some(_) => Err(violation("body.content", "expected either the content or a summary, not both")),
    }
}

/// Parses the body of a call whose message prost has read.
pub(super) fn body(message: Option<pb::BodySummary>) -> Result<Body, FieldViolation> {
    let Some(message) = message else { return parse_body(None) };
    let pb::BodySummary { top_level_keys, attributes, truncated, content } = message;
    let summary = BodySummary { top_level_keys, attributes: parse_attributes(attributes), truncated };
    parse_body(Some(BodyMessage { summary, content: content.as_deref() }))
}

fn parse_principal(message: pb::Principal) -> PrincipalParts {
    let pb::Principal {
        domain_id,
        domain_name,
        user_id,
        user_name,
        agency_id,
        project_id,
        project_name,
        group_ids,
        role_names,
        mfa_present,
    } = message;
    PrincipalParts {
        domain_id,
        domain_name,
        user_id,
        user_name,
        agency_id,
        project_id,
        project_name,
        group_ids,
        role_names,
        mfa_present,
    }
}

fn parse_context(message: pb::RequestContext) -> Context {
    let pb::RequestContext { source_ip, attributes } = message;
    let attributes = parse_attributes(attributes);
    Context { source_ip, attributes, time: clock::now(), region: String::new() }
}

fn parse_attributes(attributes: HashMap<String, pb::Values>) -> BTreeMap<String, Vec<String>> {
    attributes.into_iter().map(|(key, pb::Values { values })| (key, values)).collect()
}

fn parse_mode(mode: i32) -> Result<DependencyMode, FieldViolation> {
    match pb::DependencyMode::try_from(mode) {
        Ok(pb::DependencyMode::Unspecified | pb::DependencyMode::Report) => Ok(DependencyMode::Report),
        Ok(pb::DependencyMode::Enforce) => Ok(DependencyMode::Enforce),
        Err(_) => {
            Err(violation("dependency_mode", "expected DEPENDENCY_MODE_REPORT or DEPENDENCY_MODE_ENFORCE"))
        }
    }
}

fn violation(field: &str, description: &str) -> FieldViolation {
    FieldViolation { field: field.to_owned(), description: description.to_owned() }
}
