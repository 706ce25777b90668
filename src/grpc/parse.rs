//! From the wire to a [`Request`]. Every field is taken apart here; none is overlooked.

use std::collections::{BTreeMap, HashMap};

use super::pb;
use crate::catalog::{Body, BodySummary};
use crate::clock;
use crate::decision::DependencyMode;
use crate::request::{
    Caller, Context, FieldViolation, InvalidRequest, PrincipalParts, Request, RequestParts,
};

/// The most bytes of a request id.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// A request and what only the edge needs of it.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) request: Request,
    pub(super) explain: bool,
}

/// Parses a request.
pub(super) fn request(message: pb::AuthorizeRequest) -> Result<Parsed, InvalidRequest> {
    let pb::AuthorizeRequest {
        principal,
        method,
        path,
        body,
        context,
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
        principal: parse_principal(principal.unwrap_or_default()),
        method,
        path,
        body,
        context: parse_context(context.unwrap_or_default()),
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

/// Parses who calls.
pub(super) fn caller(
    principal: Option<pb::Principal>,
    context: Option<pb::RequestContext>,
) -> Result<Caller, InvalidRequest> {
    Caller::new(parse_principal(principal.unwrap_or_default()), parse_context(context.unwrap_or_default()))
}

/// Parses the body of a request. Both forms at once would be two readings of it.
pub(super) fn parse_body(message: Option<pb::BodySummary>) -> Result<Body, FieldViolation> {
    let Some(message) = message else { return Ok(Body::Absent) };
    let pb::BodySummary { top_level_keys, attributes, truncated, content } = message;
    match content {
        None => {
            let attributes = parse_attributes(attributes);
            Ok(Body::Summary(BodySummary { top_level_keys, attributes, truncated }))
        }
        Some(bytes) if top_level_keys.is_empty() && attributes.is_empty() => {
            Ok(Body::Content { bytes, truncated })
        }
        Some(_) => Err(violation("body.content", "expected either the content or a summary, not both")),
    }
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
