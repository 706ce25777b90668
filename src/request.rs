//! A request for a decision: who calls what.
//!
//! A [`Request`] that exists is well-formed: [`Request::new`] checks every field and its limits, and reports all
//! violations at once under the names of the wire, so that gRPC and the command line refuse alike. What the path
//! and the body mean is not judged here: that is the catalog's.

use std::collections::BTreeMap;
use std::fmt;

use crate::catalog::Body;
use crate::decision::DependencyMode;
pub use caller::{Caller, Names};
use check::Check;
pub use check::{MAX_ID_BYTES, MAX_VIOLATIONS};

mod caller;
mod check;

/// The condition key by which a caller names the enterprise project of the resource.
pub const ENTERPRISE_PROJECT: &str = "g:EnterpriseProjectId";

/// Headers by which some servers replace the method or the path. Those of proxies, `x-forwarded-…`, are theirs to send.
pub const OVERRIDE_HEADERS: [&str; 8] = [
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-url",
    "x-script-name",
];
/// The most bytes of body content. Nova refuses bodies above 114,688 bytes.
pub const MAX_CONTENT_BYTES: usize = 131_072;

/// Who calls, as far as grants depend on it. Ids are compared byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The account.
    pub domain_id: String,
    /// The user or agency.
    pub subject: Subject,
    /// The project that the caller's token is scoped to.
    pub project_id: Option<String>,
    /// Groups of the user, besides those that the store knows. Sorted, each once.
    pub group_ids: Vec<String>,
    /// Roles in the token: each counts as a grant of the policy of that name on the token's project. Sorted, each
    /// once.
    pub role_names: Vec<String>,
}

/// A user, or an agency that users of another account act as.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A user's id.
    User(String),
    /// An agency's id.
    Agency(String),
}

/// A principal as a caller describes it. Empty text means that a field is not given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is described in proto/ecs/authz/v1/authorization.proto")]
pub struct PrincipalParts {
    pub domain_id: String,
    pub domain_name: String,
    pub user_id: String,
    pub user_name: String,
    pub agency_id: String,
    pub project_id: String,
    pub project_name: String,
    pub group_ids: Vec<String>,
    pub role_names: Vec<String>,
    pub mfa_present: Option<bool>,
}

/// What a caller knows about the circumstances of the call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// The address that the call came from, or nothing.
    pub source_ip: String,
    /// Values of condition keys.
    pub attributes: BTreeMap<String, Vec<String>>,
    /// The time of the call, in seconds since 1970, if it is known.
    pub time: Option<u64>,
    /// The region that the call is made in, or nothing.
    pub region: String,
}

/// A request as a caller sends it: nothing is checked yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestParts {
    /// Who calls.
    pub principal: PrincipalParts,
    /// The HTTP method.
    pub method: String,
    /// The request target as received, query included.
    pub path: String,
    /// The body, as far as it is passed on.
    pub body: Body,
    /// The circumstances.
    pub context: Context,
    /// What dependency actions do to the decision.
    pub dependency_mode: DependencyMode,
    /// The revision of the domain's policies that the decision must not be older than. Zero asks for none.
    pub min_revision: u64,
}

/// A well-formed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    caller: Caller,
    method: String,
    path: String,
    body: Body,
    dependency_mode: DependencyMode,
    min_revision: Option<u64>,
}

/// A field that is not well-formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// The field's path in the wire's names: `principal.domain_id`.
    pub field: String,
    /// What was expected.
    pub description: String,
}

/// Why a request is not well-formed: every violation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct InvalidRequest {
    /// The violations, at least one; of very many, the first.
    pub violations: Vec<FieldViolation>,
}

impl fmt::Display for InvalidRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, FieldViolation { field, description }) in self.violations.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{field}: {description}")?;
        }
        Ok(())
    }
}

impl Request {
    /// Checks a request.
    ///
    /// # Errors
    ///
    /// Every violation, under the names of the wire.
    pub fn new(parts: RequestParts) -> Result<Self, InvalidRequest> {
        let RequestParts { principal, method, path, body, context, dependency_mode, min_revision } = parts;
        let mut check = Check::default();
        check.call(&method, &path);
        check.body(&body);
        match Caller::check(principal, context, &mut check) {
            Some(caller) if check.violations.is_empty() => {
                Ok(Self { caller, method, path, body, dependency_mode, min_revision: revision(min_revision) })
            }
            _ => Err(InvalidRequest { violations: check.violations }),
        }
    }

    /// Who calls, and in which circumstances.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Who calls.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        self.caller.identity()
    }

    /// The HTTP method.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The request target as received, query included.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// What dependency actions do to the decision.
    #[must_use]
    pub fn dependency_mode(&self) -> DependencyMode {
        self.dependency_mode
    }

    /// The revision of the domain's policies that the decision must not be older than.
    #[must_use]
    pub fn min_revision(&self) -> Option<u64> {
        self.min_revision
    }
}

/// A revision that is asked for. Zero asks for none.
#[must_use]
pub fn revision(number: u64) -> Option<u64> {
    Some(number).filter(|number| *number > 0)
}

/// Checks a call by itself, without who makes it.
///
/// # Errors
///
/// Every violation, under the names of the wire.
pub fn check_call(method: &str, path: &str, body: &Body) -> Result<(), InvalidRequest> {
    let mut check = Check::default();
    check.call(method, path);
    check.body(body);
    match check.violations {
        violations if violations.is_empty() => Ok(()),
        violations => Err(InvalidRequest { violations }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::BodySummary;

    fn parts() -> RequestParts {
        RequestParts {
            principal: PrincipalParts {
                domain_id: "acme".into(),
                user_id: "alice".into(),
                project_id: "prod".into(),
                ..Default::default()
            },
            method: "GET".into(),
            path: "/v1/prod/cloudservers".into(),
            ..Default::default()
        }
    }

    /// The fields that are refused when `change` is made to a good request.
    fn refused(change: impl FnOnce(&mut RequestParts)) -> Vec<String> {
        let mut parts = parts();
        change(&mut parts);
        match Request::new(parts) {
            Ok(_) => Vec::new(),
            Err(error) => error.violations.into_iter().map(|violation| violation.field).collect(),
        }
    }

    #[test]
    fn a_good_request_is_taken_as_it_is() {
        let request = Request::new(parts()).unwrap();
        assert_eq!(request.identity().subject, Subject::User("alice".into()));
        assert_eq!(request.identity().project_id.as_deref(), Some("prod"));
        assert_eq!(request.caller().enterprise_project(), None);
    }

    #[test]
    fn what_must_be_there_is_asked_for() {
        assert_eq!(refused(|parts| parts.method.clear()), ["method"]);
        assert_eq!(refused(|parts| parts.path.clear()), ["path"]);
        assert_eq!(refused(|parts| parts.path = "v1/x".into()), ["path"]);
        assert_eq!(refused(|parts| parts.path = "http://h/v1".into()), ["path"]);
        assert_eq!(refused(|parts| parts.principal.domain_id.clear()), ["principal.domain_id"]);
        assert_eq!(refused(|parts| parts.principal.user_id.clear()), ["principal.user_id"]);
        assert!(refused(|parts| parts.principal.project_id.clear()).is_empty());
    }

    #[test]
    fn a_principal_is_a_user_or_an_agency() {
        assert_eq!(refused(|parts| parts.principal.agency_id = "a".into()), ["principal.user_id"]);
        let agency = |parts: &mut RequestParts| {
            parts.principal.agency_id = std::mem::take(&mut parts.principal.user_id);
        };
        assert!(refused(agency).is_empty());
        let with_groups = |parts: &mut RequestParts| {
            agency(parts);
            parts.principal.group_ids = vec!["g".into()];
        };
        assert_eq!(refused(with_groups), ["principal.group_ids"]);
    }

    #[test]
    fn every_field_has_a_limit() {
        type Change = fn(&mut RequestParts);
        let cases: &[(&str, Change)] = &[
            ("method", |parts| parts.method = "X".repeat(33)),
            ("path", |parts| parts.path = "/x".repeat(4_097)),
            ("principal.domain_id", |parts| parts.principal.domain_id = "x".repeat(129)),
            ("principal.domain_name", |parts| parts.principal.domain_name = "x".repeat(129)),
            ("principal.user_id", |parts| parts.principal.user_id = "x".repeat(129)),
            ("principal.user_name", |parts| parts.principal.user_name = "x".repeat(129)),
            ("principal.project_id", |parts| parts.principal.project_id = "x".repeat(129)),
            ("principal.project_name", |parts| parts.principal.project_name = "x".repeat(129)),
            ("principal.group_ids", |parts| parts.principal.group_ids = vec!["g".into(); 257]),
            ("principal.group_ids[0]", |parts| parts.principal.group_ids = vec!["".into()]),
            ("principal.role_names[0]", |parts| parts.principal.role_names = vec!["x".repeat(129)]),
            ("context.source_ip", |parts| parts.context.source_ip = "localhost".into()),
            ("context.attributes[k]", |parts| {
                parts.context.attributes.insert("k".into(), vec!["x".repeat(1_025)]);
            }),
            ("context.attributes[g:UserId]", |parts| {
                parts.context.attributes.insert("g:UserId".into(), vec!["alice".into()]);
            }),
            ("context.attributes[g:EnterpriseProjectId]", |parts| {
                let two = vec!["a".into(), "b".into()];
                parts.context.attributes.insert(ENTERPRISE_PROJECT.into(), two);
            }),
            ("body.content", |parts| {
                parts.body = Body::Content { bytes: vec![b' '; MAX_CONTENT_BYTES + 1], truncated: false };
            }),
            ("body.top_level_keys", |parts| {
                let keys = vec!["k".into(); 257];
                parts.body = Body::Summary(BodySummary { top_level_keys: keys, ..Default::default() });
            }),
        ];
        for (field, change) in cases {
            assert_eq!(refused(change), [*field]);
        }
    }

    #[test]
    fn order_and_repetition_of_groups_and_roles_make_no_other_identity() {
        let mut parts = parts();
        let ids = |text: &str| text.split(' ').map(String::from).collect::<Vec<_>>();
        parts.principal.group_ids = ids("b a b a");
        parts.principal.role_names = ids("y x y");
        let request = Request::new(parts).unwrap();
        assert_eq!(request.identity().group_ids, ids("a b"));
        assert_eq!(request.identity().role_names, ids("x y"));
    }

    #[test]
    fn violations_are_told_up_to_a_limit() {
        let many = refused(|parts| parts.principal.group_ids = vec![String::new(); 200]);
        assert_eq!(many.len(), MAX_VIOLATIONS);
    }

    #[test]
    fn all_violations_are_reported_at_once() {
        let error = Request::new(RequestParts::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "method: expected a value; path: expected a path that starts with `/`; \
             principal.domain_id: expected a value; \
             principal.user_id: expected exactly one of user_id and agency_id"
        );
    }
}
