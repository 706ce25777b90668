//! The provider's published system policies, built in and read-only.
//!
//! Source: ECS user guide, service overview, Permissions; the documents stand in `src/policy/system/`.

use std::sync::Arc;

use super::compile::CompiledPolicy;
use super::document::Document;
use super::error::DocumentError;
use crate::catalog::Catalog;

/// Name and document of each system policy, sorted by name.
pub const SYSTEM_POLICIES: [(&str, &str); 4] = [
    ("ECS CommonOperations", include_str!("system/ecs_common_operations.json")),
    ("ECS FullAccess", include_str!("system/ecs_full_access.json")),
    ("ECS ReadOnlyAccess", include_str!("system/ecs_read_only_access.json")),
    ("Server Administrator", include_str!("system/server_administrator.json")),
];

/// Whether a name is that of a system policy, in whatever letter case: a domain can't use it for one of its own.
#[must_use]
pub fn is_system_policy(name: &str) -> bool {
    SYSTEM_POLICIES.iter().any(|(system, _)| system.eq_ignore_ascii_case(name))
}

/// Compiles the system policies.
///
/// # Errors
///
/// None in practice: a test compiles them.
pub fn compile(catalog: &Catalog) -> Result<Vec<Arc<CompiledPolicy>>, Vec<DocumentError>> {
    SYSTEM_POLICIES
        .iter()
        .map(|(name, text)| CompiledPolicy::compile(name, &Document::parse(text)?, catalog).map(Arc::new))
        .collect()
}
