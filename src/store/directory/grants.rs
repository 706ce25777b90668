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

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::fault::{Fault, Place};
use crate::policy::{Scope, shorten};

/// The most bytes of an id (IAM.1022).
const MAX_ID_BYTES: usize = 128;

/// The file as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantsFile {
    #[serde(default)]
    pub(super) group: Vec<GroupEntry>,
    #[serde(default)]
    pub(super) grant: Vec<GrantEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupEntry {
    pub(super) id: Spanned<String>,
    pub(super) members: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantEntry {
    pub(super) subject: Spanned<SubjectEntry>,
    pub(super) policy: Spanned<String>,
    pub(super) scope: Spanned<ScopeEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SubjectEntry {
    Group(String),
    User(String),
    Agency(String),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ScopeEntry {
    Project(String),
    EnterpriseProject(String),
    AllProjects,
    Domain,
}

impl From<ScopeEntry> for Scope {
    fn from(entry: ScopeEntry) -> Self {
        match entry {
            ScopeEntry::Project(id) => Self::Project(id.into()),
            ScopeEntry::EnterpriseProject(id) => Self::EnterpriseProject(id.into()),
            ScopeEntry::AllProjects => Self::AllProjects,
            ScopeEntry::Domain => Self::Domain,
        }
    }
}

/// Reads the file. `is_policy` tells whether a policy of a name exists.
pub(super) fn parse(
    path: &Path,
    text: &str,
    is_policy: impl Fn(&str) -> bool,
) -> Result<GrantsFile, Vec<Fault>> {
    let line_starts = text.match_indices('\n').map(|(newline, _)| newline + 1).collect();
    let mut faults = Faults { path, line_starts, faults: Vec::new() };
    let file: GrantsFile = match toml::from_str(text) {
        Ok(file) => file,
        Err(error) => {
            faults.add(error.span().unwrap_or_default(), error.message());
            return Err(faults.faults);
        }
    };
    faults.groups(&file.group);
    for GrantEntry { subject, policy, scope } in &file.grant {
        let (SubjectEntry::Group(id) | SubjectEntry::User(id) | SubjectEntry::Agency(id)) = subject.get_ref();
        faults.id(subject.span(), id);
        if let ScopeEntry::Project(id) | ScopeEntry::EnterpriseProject(id) = scope.get_ref() {
            faults.id(scope.span(), id);
        }
        if !is_policy(policy.get_ref()) {
            let expected = "expected the name of a file in `policies/` or of a system policy";
            faults.add(policy.span(), &format!("{expected}, found `{}`", shorten(policy.get_ref())));
        }
    }
    if faults.faults.is_empty() { Ok(file) } else { Err(faults.faults) }
}

struct Faults<'a> {
    path: &'a Path,
    /// Where each line after the first starts.
    line_starts: Vec<usize>,
    faults: Vec<Fault>,
}

impl Faults<'_> {
    fn groups(&mut self, groups: &[GroupEntry]) {
        let mut seen = HashSet::new();
        for GroupEntry { id, members } in groups {
            self.id(id.span(), id.get_ref());
            if !seen.insert(id.get_ref()) {
                let shown = shorten(id.get_ref());
                self.add(id.span(), &format!("expected each group once, found `{shown}` twice"));
            }
            for member in members {
                self.id(member.span(), member.get_ref());
            }
        }
    }

    fn id(&mut self, place: Range<usize>, id: &str) {
        if id.is_empty() || id.len() > MAX_ID_BYTES {
            self.add(place, &format!("expected an id of 1 to {MAX_ID_BYTES} bytes, found {}", id.len()));
        }
    }

    fn add(&mut self, place: Range<usize>, message: &str) {
        let line = 1 + self.line_starts.partition_point(|start| *start <= place.start);
        self.faults.push(Fault::of(self.path, message.trim_end()).at(Place::Line(line)));
    }
}
