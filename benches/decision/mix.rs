//! Who asks for what: the mix of requests that is measured, in process and over gRPC.

use ecs_authz::catalog::{Body, Operation};
use ecs_authz::request::{PrincipalParts, RequestParts};

use super::Outcome;

pub(super) const DOMAIN: &str = "d0000000000000000000000000000001";
const PROJECT: &str = "p0000000000000000000000000000001";
const OBJECT: &str = "616fb98f-46ca-475e-917e-2563e5a8cd19";
const NEW_SERVER: &str =
    r#"{"server":{"name":"web-1","flavorRef":"s6.large.2","publicip":{"eip":{"iptype":"5_bgp"}}}}"#;
/// What a server is asked to do, most of the time.
pub(super) const ACTIONS: [&str; 4] = ["os-start", "os-stop", "reboot", "resize"];

/// A member of one of the groups, by number.
pub(super) fn principal(number: usize, groups: usize) -> PrincipalParts {
    PrincipalParts {
        domain_id: DOMAIN.into(),
        domain_name: "acme".into(),
        user_id: format!("u{number:031x}"),
        project_id: PROJECT.into(),
        group_ids: vec![group(number % groups)],
        ..Default::default()
    }
}

pub(super) fn group(number: usize) -> String {
    format!("g{number:031x}")
}

/// A grant of a policy to a group, as a file of grants has it.
pub(super) fn grant(group: &str, policy: &str) -> String {
    format!(
        "[[grant]]\nsubject = {{ group = \"{group}\" }}\npolicy = \"{policy}\"\nscope = \"all_projects\"\n"
    )
}

/// Requests for these operations, by principals of so many, each in one of the groups. Of ten, six read servers, two do
/// something to a server, and two are any others.
pub(super) fn draw(
    operations: &[Operation],
    requests: usize,
    principals: usize,
    groups: usize,
) -> Outcome<Vec<RequestParts>> {
    let is_action = |it: &&Operation| {
        let is_asked = it.body_key.as_deref().is_some_and(|key| ACTIONS.contains(&key));
        is_asked && it.route.ends_with("/action")
    };
    let is_reading = |it: &&Operation| {
        it.method == "GET" && (it.route.contains("/cloudservers") || it.route.contains("/servers"))
    };
    let (actions, rest): (Vec<_>, Vec<_>) = operations.iter().partition(is_action);
    let (reading, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(is_reading);
    let mut draw = Draw(1);
    (0..requests)
        .map(|_| {
            let operations = match draw.below(10) {
                0..6 => &reading,
                6..8 => &actions,
                _ => &others,
            };
            let operation =
                operations.get(draw.below(operations.len())).ok_or("the table has no such operation")?;
            Ok(request(operation, principal(draw.below(principals), groups)))
        })
        .collect()
}

fn request(operation: &Operation, principal: PrincipalParts) -> RequestParts {
    let fill = |segment: &str| match segment {
        "{project_id}" => PROJECT.to_owned(),
        placeholder if placeholder.starts_with('{') => OBJECT.to_owned(),
        literal => literal.to_owned(),
    };
    let path: Vec<String> = operation.route.split('/').map(fill).collect();
    let body = match &operation.body_key {
        Some(key) => Some(format!(r#"{{"{key}":{{"type":"SOFT","id":"{OBJECT}"}}}}"#)),
        None => operation.needs_body().then(|| NEW_SERVER.to_owned()),
    };
    RequestParts {
        principal,
        method: operation.method.to_string(),
        path: path.join("/"),
        body: body.map_or(Body::Absent, |text| Body::Content { bytes: text.into_bytes(), truncated: false }),
        ..Default::default()
    }
}

/// Numbers that look random and are the same in every run (Knuth's MMIX generator).
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % end.max(1)
    }
}
