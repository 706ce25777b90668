//! What the tables call the kinds of subjects and scopes.

use crate::store::content::{ScopeEntry, SubjectEntry};

/// The kind and the id of a subject.
pub(super) fn of_subject(subject: &SubjectEntry) -> (&'static str, &str) {
    match subject {
        SubjectEntry::User(id) => ("user", id),
        SubjectEntry::Group(id) => ("group", id),
        SubjectEntry::Agency(id) => ("agency", id),
    }
}

/// The subject of a kind that a row has.
pub(super) fn subject(kind: &str, id: String) -> SubjectEntry {
    match kind {
        "user" => SubjectEntry::User(id),
        "group" => SubjectEntry::Group(id),
        // The schema has one more.
        _ => SubjectEntry::Agency(id),
    }
}

/// Whether subjects can be of this kind.
pub(super) fn is_subject_kind(kind: &str) -> bool {
    of_subject(&subject(kind, String::new())).0 == kind
}

/// The kind and, where it has one, the id of a scope.
pub(super) fn of_scope(scope: &ScopeEntry) -> (&'static str, Option<&str>) {
    match scope {
        ScopeEntry::Project(id) => ("project", Some(id)),
        ScopeEntry::EnterpriseProject(id) => ("enterprise_project", Some(id)),
        ScopeEntry::AllProjects => ("all_projects", None),
        ScopeEntry::Domain => ("domain", None),
    }
}

/// The scope of a kind that a row has. Where the kind has no id, none is looked at.
pub(super) fn scope(kind: &str, id: String) -> ScopeEntry {
    match kind {
        "project" => ScopeEntry::Project(id),
        "enterprise_project" => ScopeEntry::EnterpriseProject(id),
        "all_projects" => ScopeEntry::AllProjects,
        // The schema has one more.
        _ => ScopeEntry::Domain,
    }
}

/// Whether scopes can be of this kind.
pub(super) fn is_scope_kind(kind: &str) -> bool {
    of_scope(&scope(kind, String::new())).0 == kind
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let id = || "x".to_owned();
        for entry in [SubjectEntry::User(id()), SubjectEntry::Group(id()), SubjectEntry::Agency(id())] {
            let (kind, id) = of_subject(&entry);
            assert!(is_subject_kind(kind));
            assert_eq!(subject(kind, id.to_owned()), entry);
        }
        let of_ids = [ScopeEntry::Project(id()), ScopeEntry::EnterpriseProject(id())];
        for entry in of_ids.into_iter().chain([ScopeEntry::AllProjects, ScopeEntry::Domain]) {
            let (kind, id) = of_scope(&entry);
            assert!(is_scope_kind(kind));
            assert_eq!(scope(kind, id.unwrap_or_default().to_owned()), entry);
        }
        assert!(!is_subject_kind("role") && !is_scope_kind("region"));
    }
}
