//! What is asked of many principals.

use ecs_authz::catalog::Body;
use ecs_authz::request::{PrincipalParts, Request, RequestParts};

use super::Outcome;

/// A call of a principal with this number. Of ten, six list servers, two start one, and two are others.
pub(super) fn request(principal: PrincipalParts, number: usize) -> Outcome<Request> {
    let project = &principal.project_id;
    let start = Body::Content { bytes: br#"{"os-start":null}"#.to_vec(), truncated: false };
    let (method, path, body) = match number % 10 {
        0..6 => ("GET", format!("/v2.1/{project}/servers"), Body::Absent),
        6..8 => ("POST", format!("/v2.1/{project}/servers/7/action"), start),
        8 => ("DELETE", format!("/v2.1/{project}/servers/7"), Body::Absent),
        _ => ("GET", format!("/v1/{project}/cloudservers/7"), Body::Absent),
    };
    Ok(Request::new(RequestParts { principal, method: method.to_owned(), path, body, ..Default::default() })?)
}

/// Xorshift: the same requests each time.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, count: usize) -> usize {
        let Self(state) = self;
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        usize::try_from(*state >> 1).unwrap_or_default() % count
    }
}
