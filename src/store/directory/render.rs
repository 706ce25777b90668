//! A domain's content as the text of files.

use toml::Value;

use crate::store::content::{DomainContent, GrantEntry, ScopeEntry, SubjectEntry};

/// A domain's `grants.toml`, in an order of its own, so that the same content is the same file.
pub(super) fn grants_file(content: &DomainContent) -> String {
    let groups = content.groups.iter().map(|(id, members)| {
        let members: Value = members.iter().cloned().map(Value::String).collect::<Vec<_>>().into();
        format!("[[group]]\nid = {}\nmembers = {members}\n", text(id))
    });
    let grants = content.grants.iter().map(|GrantEntry { subject, policy, scope }| {
        let subject = match subject {
            SubjectEntry::Group(id) => format!("{{ group = {} }}", text(id)),
            SubjectEntry::User(id) => format!("{{ user = {} }}", text(id)),
            SubjectEntry::Agency(id) => format!("{{ agency = {} }}", text(id)),
        };
        let scope = match scope {
            ScopeEntry::Project(id) => format!("{{ project = {} }}", text(id)),
            ScopeEntry::EnterpriseProject(id) => format!("{{ enterprise_project = {} }}", text(id)),
            ScopeEntry::AllProjects => "\"all_projects\"".to_owned(),
            ScopeEntry::Domain => "\"domain\"".to_owned(),
        };
        format!("[[grant]]\nsubject = {subject}\npolicy = {}\nscope = {scope}\n", text(policy))
    });
    groups.chain(grants).collect::<Vec<_>>().join("\n")
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}
