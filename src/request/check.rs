//! The checks of a request, field by field. Each violation is kept, so that all are told at once.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use super::caller::Names;
use super::{
    Context, ENTERPRISE_PROJECT, FieldViolation, Identity, MAX_CONTENT_BYTES, PrincipalParts, Subject,
};
use crate::catalog::Body;

/// The condition keys whose values this service derives: from the principal, the address, the clock and the action.
const DERIVED_KEYS: [&str; 12] = [
    "g:CurrentTime",
    "g:DomainId",
    "g:DomainName",
    "g:MFAPresent",
    "g:PrincipalAccount",
    "g:ProjectName",
    "g:RequestedRegion",
    "g:ServiceName",
    "g:SourceIp",
    "g:UserId",
    "g:UserName",
    "hw:SourceIp",
];
/// The most bytes of an id (IAM.1022) or a name.
pub const MAX_ID_BYTES: usize = 128;
/// The most bytes of a method. The longest registered one has 17.
const MAX_METHOD_BYTES: usize = 32;
/// The most bytes of a path with its query: what common servers accept for a request line.
const MAX_PATH_BYTES: usize = 8_192;
/// The most entries of any list or map.
const MAX_ENTRIES: usize = 256;
/// The most violations that are told: an error travels in headers, whose size clients limit.
pub const MAX_VIOLATIONS: usize = 16;
/// The most bytes of an attribute's value (IAM.1056) or of a body's key.
const MAX_VALUE_BYTES: usize = 1_024;

/// Order and repetition mean nothing, so they must not make another identity: it would be loaded again.
fn normalized(mut ids: Vec<String>) -> Vec<String> {
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The violations that were found so far.
#[derive(Default)]
pub(super) struct Check {
    pub(super) violations: Vec<FieldViolation>,
}

impl Check {
    pub(super) fn call(&mut self, method: &str, path: &str) {
        self.required("method", method, MAX_METHOD_BYTES);
        if path.starts_with('/') {
            self.length("path", path, MAX_PATH_BYTES);
        } else {
            self.violation("path", "expected a path that starts with `/`");
        }
    }

    /// Checks every field and keeps what grants and conditions depend on.
    pub(super) fn principal(&mut self, parts: PrincipalParts) -> Option<(Identity, Names)> {
        let PrincipalParts {
            domain_id,
            domain_name,
            user_id,
            user_name,
            agency_id,
            project_id,
            project_name,
            group_ids,
            role_names,
            mfa_present: _,
        } = parts;
        self.required("principal.domain_id", &domain_id, MAX_ID_BYTES);
        self.length("principal.domain_name", &domain_name, MAX_ID_BYTES);
        self.length("principal.user_id", &user_id, MAX_ID_BYTES);
        self.length("principal.user_name", &user_name, MAX_ID_BYTES);
        self.length("principal.agency_id", &agency_id, MAX_ID_BYTES);
        self.length("principal.project_id", &project_id, MAX_ID_BYTES);
        self.length("principal.project_name", &project_name, MAX_ID_BYTES);
        self.ids("principal.group_ids", &group_ids);
        self.ids("principal.role_names", &role_names);
        let subject = self.subject(user_id, agency_id, &group_ids)?;
        let project_id = Some(project_id).filter(|id| !id.is_empty());
        let (group_ids, role_names) = (normalized(group_ids), normalized(role_names));
        let names = Names { domain: domain_name, user: user_name, project: project_name };
        Some((Identity { domain_id, subject, project_id, group_ids, role_names }, names))
    }

    fn subject(&mut self, user_id: String, agency_id: String, group_ids: &[String]) -> Option<Subject> {
        match (user_id.is_empty(), agency_id.is_empty()) {
            (false, true) => Some(Subject::User(user_id)),
            (true, false) if group_ids.is_empty() => Some(Subject::Agency(agency_id)),
            (true, false) => {
                self.violation("principal.group_ids", "expected no groups: an agency is a member of none");
                None
            }
            (true, true) | (false, false) => {
                self.violation("principal.user_id", "expected exactly one of user_id and agency_id");
                None
            }
        }
    }

    pub(super) fn body(&mut self, body: &Body) {
        match body {
            Body::Absent | Body::Encoded => {}
            Body::Content { bytes, .. } => {
                if bytes.len() > MAX_CONTENT_BYTES {
                    let expected =
                        format!("expected at most {MAX_CONTENT_BYTES} bytes, found {}", bytes.len());
                    self.violation("body.content", expected);
                }
            }
            Body::Summary(summary) => {
                self.entries("body.top_level_keys", summary.top_level_keys.len());
                for (index, key) in summary.top_level_keys.iter().enumerate().take(MAX_ENTRIES) {
                    self.length(format_args!("body.top_level_keys[{index}]"), key, MAX_VALUE_BYTES);
                }
                self.attributes("body.attributes", &summary.attributes);
            }
        }
    }

    /// Tells the address.
    pub(super) fn context(&mut self, context: &Context) -> Option<IpAddr> {
        let mut address = None;
        if !context.source_ip.is_empty() {
            address = context.source_ip.parse().ok();
            if address.is_none() {
                self.violation("context.source_ip", "expected an IPv4 or IPv6 address");
            }
        }
        self.length("context.region", &context.region, MAX_ID_BYTES);
        self.attributes("context.attributes", &context.attributes);
        for key in DERIVED_KEYS {
            if context.attributes.contains_key(key) {
                self.violation(
                    format_args!("context.attributes[{key}]"),
                    "expected no value for a key that this service derives itself",
                );
            }
        }
        let enterprise_projects = context.attributes.get(ENTERPRISE_PROJECT).map_or(0, Vec::len);
        if enterprise_projects > 1 {
            // Two values would be two readings of where the call goes.
            self.violation(format_args!("context.attributes[{ENTERPRISE_PROJECT}]"), "expected one value");
        }
        address
    }

    fn attributes(&mut self, field: &str, attributes: &BTreeMap<String, Vec<String>>) {
        self.entries(field, attributes.len());
        for (key, values) in attributes.iter().take(MAX_ENTRIES) {
            let field = format_args!("{field}[{key:.64}]");
            self.length(field, key, MAX_VALUE_BYTES);
            self.entries(field, values.len());
            for value in values.iter().take(MAX_ENTRIES) {
                self.length(field, value, MAX_VALUE_BYTES);
            }
        }
    }

    fn ids(&mut self, field: &str, ids: &[String]) {
        self.entries(field, ids.len());
        for (index, id) in ids.iter().enumerate().take(MAX_ENTRIES) {
            self.required(format_args!("{field}[{index}]"), id, MAX_ID_BYTES);
        }
    }

    fn required(&mut self, field: impl fmt::Display + Copy, text: &str, max_bytes: usize) {
        if text.is_empty() {
            self.violation(field, "expected a value");
        }
        self.length(field, text, max_bytes);
    }

    fn length(&mut self, field: impl fmt::Display, text: &str, max_bytes: usize) {
        if text.len() > max_bytes {
            self.violation(field, format!("expected at most {max_bytes} bytes, found {}", text.len()));
        }
    }

    fn entries(&mut self, field: impl fmt::Display, found: usize) {
        if found > MAX_ENTRIES {
            self.violation(field, format!("expected at most {MAX_ENTRIES} entries, found {found}"));
        }
    }

    /// The field's name is written only here, for nearly every request has no violation.
    fn violation(&mut self, field: impl fmt::Display, description: impl Into<String>) {
        if self.violations.len() == MAX_VIOLATIONS {
            return;
        }
        self.violations.push(FieldViolation { field: field.to_string(), description: description.into() });
    }
}
