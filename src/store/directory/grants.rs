//! `grants.toml`: the groups of a domain, and who has which policy where.
//!
//! ```toml
//! [[group]]
//! id = "operators"
//! members = ["alice"]
//!
//! [[grant]]
//! subject = { group = "operators" }      # or { user = "…" }, { agency = "…" }
//! policy = "ECS CommonOperations"        # a file of policies/, or a system policy
//! scope = { project = "eu-de-prod" }     # or { enterprise_project = "…" }, "all_projects", "domain"
//! ```
//!
//! Read as strictly as policies are: an unknown member, a wrong type, or an id that people can't tell from another is a
//! fault. All faults of a file are reported at once, but for those of TOML itself.

use std::collections::HashSet;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::Fault;
use crate::policy::shorten;
use crate::store::content::{GrantEntry, ScopeEntry, SubjectEntry};
use crate::store::name::id_fault;
use reader::{Reader, Table, sole_member};

mod reader;

/// The file.
#[derive(Debug, Default)]
pub(super) struct GrantsFile {
    pub(super) groups: Vec<GroupEntry>,
    pub(super) grants: Vec<GrantEntry>,
}

#[derive(Debug)]
pub(super) struct GroupEntry {
    pub(super) id: String,
    pub(super) members: Vec<String>,
}

/// Reads the file. `is_policy` tells whether a policy of a name exists.
pub(super) fn parse(
    path: &Path,
    text: &str,
    is_policy: impl Fn(&str) -> bool,
) -> Result<GrantsFile, Vec<Fault>> {
    let mut reader = Reader::new(text);
    let file = match DeTable::parse(text) {
        Ok(table) => reader.file(&table, is_policy),
        Err(error) => {
            reader.no_toml(&error);
            GrantsFile::default()
        }
    };
    let faults = reader.into_faults(path);
    if faults.is_empty() { Ok(file) } else { Err(faults) }
}

type Value<'t> = Spanned<DeValue<'t>>;

impl Reader<'_> {
    fn file(&mut self, table: &Spanned<DeTable<'_>>, is_policy: impl Fn(&str) -> bool) -> GrantsFile {
        let table = Table { name: "", place: table.span(), members: table.get_ref() };
        self.known_members(&table, "group, grant");
        let (groups, grants) = (self.tables(&table, "group"), self.tables(&table, "grant"));
        let mut seen = HashSet::new();
        GrantsFile {
            groups: groups.iter().filter_map(|table| self.group(table, &mut seen)).collect(),
            grants: grants.iter().filter_map(|table| self.grant(table, &is_policy)).collect(),
        }
    }

    fn group(&mut self, table: &Table<'_>, seen: &mut HashSet<String>) -> Option<GroupEntry> {
        self.known_members(table, "id, members");
        let id = self.required(table, "id").and_then(|value| {
            let id = self.id("group.id", value)?;
            if !seen.insert(id.clone()) {
                let fault = format!("group.id: expected each group once, found `{}` twice", shorten(&id));
                self.fault(value.span(), fault);
            }
            Some(id)
        });
        let members = self.required(table, "members").and_then(|value| self.array("group.members", value));
        let members = members?.iter().filter_map(|member| self.id("group.members", member)).collect();
        Some(GroupEntry { id: id?, members })
    }

    fn grant(&mut self, table: &Table<'_>, is_policy: impl Fn(&str) -> bool) -> Option<GrantEntry> {
        self.known_members(table, "subject, policy, scope");
        let subject = self.required(table, "subject").and_then(|value| self.subject(value));
        let policy = self.required(table, "policy").and_then(|value| self.policy(value, is_policy));
        let scope = self.required(table, "scope").and_then(|value| self.scope(value));
        Some(GrantEntry { subject: subject?, policy: policy?, scope: scope? })
    }

    fn subject(&mut self, value: &Value<'_>) -> Option<SubjectEntry> {
        match sole_member(value) {
            Some(("group", id)) => self.id("grant.subject.group", id).map(SubjectEntry::Group),
            Some(("user", id)) => self.id("grant.subject.user", id).map(SubjectEntry::User),
            Some(("agency", id)) => self.id("grant.subject.agency", id).map(SubjectEntry::Agency),
            _ => self.unexpected("grant.subject", "a table with one of group, user, agency", value),
        }
    }

    fn policy(&mut self, value: &Value<'_>, is_policy: impl Fn(&str) -> bool) -> Option<String> {
        let name = self.string("grant.policy", value)?;
        if !is_policy(name) {
            let expected = "expected the name of a file in `policies/` or of a system policy";
            self.fault(value.span(), format!("grant.policy: {expected}, found `{}`", shorten(name)));
        }
        Some(name.to_owned())
    }

    fn scope(&mut self, value: &Value<'_>) -> Option<ScopeEntry> {
        let by_word = value.get_ref().as_str();
        match (by_word, sole_member(value)) {
            (Some("all_projects"), _) => Some(ScopeEntry::AllProjects),
            (Some("domain"), _) => Some(ScopeEntry::Domain),
            (_, Some(("project", id))) => self.id("grant.scope.project", id).map(ScopeEntry::Project),
            (_, Some(("enterprise_project", id))) => {
                self.id("grant.scope.enterprise_project", id).map(ScopeEntry::EnterpriseProject)
            }
            _ => {
                let expected =
                    "\"all_projects\", \"domain\", or a table with one of project, enterprise_project";
                self.unexpected("grant.scope", expected, value)
            }
        }
    }

    fn id(&mut self, name: &str, value: &Value<'_>) -> Option<String> {
        let id = self.string(name, value)?;
        if let Some(expected) = id_fault(id) {
            self.fault(value.span(), format!("{name}: {expected}"));
        }
        Some(id.to_owned())
    }
}
