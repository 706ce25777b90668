//! From the wire to edits. Every fault of a message is told at once.

use std::collections::BTreeSet;

use crate::grpc::pb;
use crate::grpc::status::CallError;
use crate::policy::Document;
use crate::policy::system::is_system_policy;
use crate::request::{FieldViolation, InvalidRequest, MAX_VIOLATIONS};
use crate::store::content::{GrantEntry, ScopeEntry, SubjectEntry};
use crate::store::name::{id_fault, policy_name_fault};
use crate::store::postgres::administration::{Expected, Intent, Page, is_grant_key};

/// The most members that one call names.
const MAX_MEMBERS: usize = 10_000;
/// The entries of a page, if the caller does not say.
const DEFAULT_PAGE: u16 = 100;
/// The most entries of a page.
const MAX_PAGE: u16 = 1_000;
/// The most bytes of a name that is looked for: more than any table has.
const MAX_SOUGHT_BYTES: usize = 1_024;

/// Whether a change is to last.
pub(super) fn intent(dry_run: bool) -> Intent {
    if dry_run { Intent::DryRun } else { Intent::Apply }
}

/// The state that something is expected in.
pub(super) fn expected(etag: Option<String>) -> Expected {
    match etag {
        None => Expected::Any,
        Some(etag) if etag.is_empty() => Expected::Absent,
        Some(etag) => Expected::Etag(etag),
    }
}

/// A message that is about one grant.
pub(super) fn sole_grant(
    mut fields: Fields,
    domain_id: &str,
    grant: Option<pb::Grant>,
) -> Result<GrantEntry, CallError> {
    fields.domain(domain_id);
    match fields.grant("grant", grant.unwrap_or_default()) {
        Some(grant) if fields.violations.is_empty() => Ok(grant),
        _ => Err(InvalidRequest { violations: fields.violations }.into()),
    }
}

/// A message that names some members of a group.
pub(super) fn some_members(
    mut fields: Fields,
    domain_id: &str,
    id: &str,
    members: Vec<String>,
) -> Result<BTreeSet<String>, CallError> {
    fields.domain(domain_id);
    fields.id("id", id);
    let members = fields.members(members, 1);
    fields.finish()?;
    Ok(members)
}

/// What was expected of a name that is looked for, if there can be nothing of this one.
fn sought_fault(name: &str) -> Option<String> {
    let can_be = (1..=MAX_SOUGHT_BYTES).contains(&name.len()) && !name.contains('\0');
    (!can_be).then(|| format!("expected 1 to {MAX_SOUGHT_BYTES} bytes, none of them zero"))
}

/// The violations that were found so far.
pub(super) struct Fields {
    purpose: Purpose,
    violations: Vec<FieldViolation>,
}

/// What names and ids are for.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    /// To make something: they are what people can tell from others.
    Make,
    /// To find something. Whoever wrote to the tables may have named it otherwise, and must be able to remove it.
    Seek,
}

impl Fields {
    /// The fields of a message that makes something.
    pub(super) fn making() -> Self {
        Self { purpose: Purpose::Make, violations: Vec::new() }
    }

    /// The fields of a message that reads or removes something.
    pub(super) fn seeking() -> Self {
        Self { purpose: Purpose::Seek, violations: Vec::new() }
    }

    /// The violations, if there are any.
    pub(super) fn finish(self) -> Result<(), CallError> {
        match self.violations {
            violations if violations.is_empty() => Ok(()),
            violations => Err(InvalidRequest { violations }.into()),
        }
    }

    pub(super) fn violation(&mut self, field: &str, description: impl Into<String>) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(FieldViolation { field: field.to_owned(), description: description.into() });
        }
    }

    pub(super) fn domain(&mut self, id: &str) {
        self.id("domain_id", id);
    }

    pub(super) fn id(&mut self, field: &str, id: &str) {
        let fault = match self.purpose {
            Purpose::Make => id_fault(id),
            Purpose::Seek => sought_fault(id),
        };
        if let Some(fault) = fault {
            self.violation(field, fault);
        }
    }

    /// The name of any policy.
    pub(super) fn policy_name(&mut self, field: &str, name: &str) {
        let fault = match self.purpose {
            Purpose::Make => policy_name_fault(name).map(ToOwned::to_owned),
            Purpose::Seek => sought_fault(name),
        };
        if let Some(fault) = fault {
            self.violation(field, fault);
        }
    }

    /// The name of a policy that belongs to the domain.
    pub(super) fn own_policy_name(&mut self, field: &str, name: &str) {
        self.policy_name(field, name);
        if is_system_policy(name) {
            self.violation(
                field,
                "expected another name: a system policy has this one, in whatever letter case",
            );
        }
    }

    /// A policy document.
    pub(super) fn document(&mut self, field: &str, text: &str) -> Option<Document> {
        match Document::parse(text) {
            Ok(document) => Some(document),
            Err(errors) => {
                errors.iter().for_each(|error| self.violation(field, error.to_string()));
                None
            }
        }
    }

    pub(super) fn members(&mut self, members: Vec<String>, fewest: usize) -> BTreeSet<String> {
        if !(fewest..=MAX_MEMBERS).contains(&members.len()) {
            let expected = format!("expected {fewest} to {MAX_MEMBERS} ids, found {}", members.len());
            self.violation("members", expected);
            return BTreeSet::new();
        }
        for (index, id) in members.iter().enumerate() {
            self.id(&format!("members[{index}]"), id);
        }
        members.into_iter().collect()
    }

    pub(super) fn grant(&mut self, field: &str, grant: pb::Grant) -> Option<GrantEntry> {
        let pb::Grant { subject, policy, scope } = grant;
        self.policy_name(&format!("{field}.policy"), &policy);
        let subject = self.subject(&format!("{field}.subject"), subject);
        let scope = self.scope(&format!("{field}.scope"), scope);
        Some(GrantEntry { subject: subject?, policy, scope: scope? })
    }

    pub(super) fn subject(&mut self, field: &str, subject: Option<pb::Subject>) -> Option<SubjectEntry> {
        use pb::subject::Subject;
        let Some(subject) = subject.and_then(|subject| subject.subject) else {
            self.violation(field, "expected exactly one of user, group, agency");
            return None;
        };
        let (kind, id) = match &subject {
            Subject::User(id) => ("user", id),
            Subject::Group(id) => ("group", id),
            Subject::Agency(id) => ("agency", id),
        };
        self.id(&format!("{field}.{kind}"), id);
        Some(match subject {
            Subject::User(id) => SubjectEntry::User(id),
            Subject::Group(id) => SubjectEntry::Group(id),
            Subject::Agency(id) => SubjectEntry::Agency(id),
        })
    }

    fn scope(&mut self, field: &str, scope: Option<pb::Scope>) -> Option<ScopeEntry> {
        use pb::scope::Scope;
        match scope.and_then(|scope| scope.scope) {
            Some(Scope::Project(id)) => {
                self.id(&format!("{field}.project"), &id);
                Some(ScopeEntry::Project(id))
            }
            Some(Scope::EnterpriseProject(id)) => {
                self.id(&format!("{field}.enterprise_project"), &id);
                Some(ScopeEntry::EnterpriseProject(id))
            }
            Some(Scope::AllProjects(pb::AllProjects {})) => Some(ScopeEntry::AllProjects),
            Some(Scope::Domain(pb::WholeDomain {})) => Some(ScopeEntry::Domain),
            None => {
                let expected = "expected exactly one of project, enterprise_project, all_projects, domain";
                self.violation(field, expected);
                None
            }
        }
    }

    /// A page of a list whose keys have this many parts.
    pub(super) fn page(&mut self, page: Option<pb::PageRequest>, key_parts: usize) -> Page {
        let pb::PageRequest { size, token } = page.unwrap_or_default();
        let size = match u16::try_from(size) {
            Ok(0) => DEFAULT_PAGE,
            Ok(size) if size <= MAX_PAGE => size,
            _ => {
                self.violation("page.size", format!("expected at most {MAX_PAGE}, found {size}"));
                DEFAULT_PAGE
            }
        };
        if token.is_empty() {
            return Page { size, after: None };
        }
        let after: Option<Vec<String>> = serde_json::from_str(&token).ok();
        let after = after.filter(|key| key.len() == key_parts && !key.iter().any(|part| part.contains('\0')));
        if after.is_none() {
            self.page_token();
        }
        Page { size, after }
    }

    /// A page of grants.
    pub(super) fn grant_page(&mut self, page: Option<pb::PageRequest>) -> Page {
        let page = self.page(page, 5);
        if page.after.as_ref().is_some_and(|key| !is_grant_key(key)) {
            self.page_token();
        }
        page
    }

    /// A page of a list whose keys are numbers.
    pub(super) fn number_page(&mut self, page: Option<pb::PageRequest>) -> Page {
        let page = self.page(page, 1);
        if page.after.iter().flatten().any(|part| part.parse::<i64>().is_err()) {
            self.page_token();
        }
        page
    }

    fn page_token(&mut self) {
        self.violation("page.token", "expected the `next_page_token` of a page of this list");
    }
}
