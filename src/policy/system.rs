//! The provider's published system policies, built in and read-only.
//!
//! Source: ECS user guide, service overview, Permissions; the documents stand in `src/policy/system/`.

use std::collections::HashMap;
use std::sync::Arc;

use super::compile::{CompiledPolicy, Compiler};
use super::document::Document;
use super::error::DocumentError;
use crate::catalog::Catalog;

/// Name and document of each system policy, sorted by name.
///
/// The roles stand under their display name and the name in tokens (IAM user guide, Permissions).
pub const SYSTEM_POLICIES: [(&str, &str); 12] = [
    ("Agent Operator", AGENT_OPERATOR),
    ("ECS CommonOperations", include_str!("system/ecs_common_operations.json")),
    ("ECS FullAccess", include_str!("system/ecs_full_access.json")),
    ("ECS ReadOnlyAccess", include_str!("system/ecs_read_only_access.json")),
    ("Security Administrator", SECURITY_ADMINISTRATOR),
    ("Server Administrator", include_str!("system/server_administrator.json")),
    ("Tenant Administrator", TENANT_ADMINISTRATOR),
    ("Tenant Guest", TENANT_GUEST),
    ("readonly", TENANT_GUEST),
    ("secu_admin", SECURITY_ADMINISTRATOR),
    ("te_admin", TENANT_ADMINISTRATOR),
    ("te_agency", AGENT_OPERATOR),
];

const AGENT_OPERATOR: &str = include_str!("system/agent_operator.json");
const SECURITY_ADMINISTRATOR: &str = include_str!("system/security_administrator.json");
const TENANT_ADMINISTRATOR: &str = include_str!("system/tenant_administrator.json");
const TENANT_GUEST: &str = include_str!("system/tenant_guest.json");

/// The name under which `Depends` knows a policy: the display name of a role that tokens name otherwise.
#[must_use]
pub fn display_name(name: &str) -> &str {
    match name {
        "readonly" => "Tenant Guest",
        "secu_admin" => "Security Administrator",
        "te_admin" => "Tenant Administrator",
        "te_agency" => "Agent Operator",
        other => other,
    }
}

/// Whether a name is that of a system policy, in whatever letter case: a domain can't use it for one of its own.
#[must_use]
pub fn is_system_policy(name: &str) -> bool {
    SYSTEM_POLICIES.iter().any(|(system, _)| system.eq_ignore_ascii_case(name))
}

/// The system policies by name.
pub type SystemPolicies = HashMap<Arc<str>, Arc<CompiledPolicy>>;

/// Compiles the system policies.
///
/// # Errors
///
/// None in practice: a test compiles them.
pub fn compile(catalog: &Catalog) -> Result<SystemPolicies, Vec<DocumentError>> {
    let mut compiler = Compiler::new(catalog);
    let compiled = |(name, text): &(&str, &str)| {
        let policy = compiler.compile(name, &Document::parse(text)?);
        Ok((policy.name.clone(), Arc::new(policy)))
    };
    SYSTEM_POLICIES.iter().map(compiled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_one_document_under_both_of_its_names() {
        let document =
            |name: &str| SYSTEM_POLICIES.iter().find(|(known, _)| *known == name).map(|(_, text)| text);
        let renamed = || SYSTEM_POLICIES.iter().filter(|(name, _)| display_name(name) != *name);
        assert_eq!(renamed().count(), 4);
        for (name, text) in renamed() {
            assert_eq!(document(display_name(name)), Some(text), "{name}");
        }
    }
}
