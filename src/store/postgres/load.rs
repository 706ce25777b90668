//! Reads all that concerns one principal, in one statement: one state of the database.
//!
//! Documents are read apart and only if they are not compiled yet. A document is known by its etag, which is another one
//! after each change, so what was read apart is what the first statement saw, or it is seen that it is not.

use std::collections::HashMap;
use std::sync::Arc;

use deadpool_postgres::GenericClient;
use tokio_postgres::Row;

use super::feed::mark;
use super::known::Mark;
use super::words;
use crate::policy::{CompiledPolicy, Scope};
use crate::request::{Identity, Subject};

/// The grants of a user or agency, of its groups, and the domain's own policies that are roles of the token.
///
/// Each part finds its rows by an index, however many the domain has.
const GRANTS: &str = "
    WITH subject AS (
      SELECT $2::text::ecs_authz.subject_kind AS kind, $3::text AS id
      UNION SELECT 'group', unnest($4::text[]) WHERE $2 = 'user'
      UNION SELECT 'group', group_id::text FROM ecs_authz.group_member WHERE domain_id = $1 AND user_id = $3 AND $2 = 'user'
    ), held AS (
      SELECT g.own_policy::text AS own, g.system_policy::text AS system, g.scope_kind::text AS kind, g.scope_id::text AS id
      FROM subject s
      JOIN ecs_authz.policy_grant g ON g.domain_id = $1 AND g.subject_kind = s.kind AND g.subject_id = s.id
      UNION ALL
      SELECT name::text, NULL, 'role', NULL FROM ecs_authz.policy
      WHERE domain_id = $1 AND name::text = ANY($5::text[])
    )
    SELECT coalesce(d.revision, 0), h.own, h.system, h.kind, h.id, p.etag, coalesce(d.stamp, 0)
    FROM (SELECT 1) one
    LEFT JOIN ecs_authz.domain d ON d.id = $1
    LEFT JOIN held h ON true
    LEFT JOIN ecs_authz.policy p ON p.domain_id = $1 AND p.name = h.own";

/// Documents by name.
pub(super) const DOCUMENTS: &str = "SELECT name::text, etag, document FROM ecs_authz.policy WHERE domain_id = $1 AND name::text = ANY($2::text[])";

/// What was read of a principal's grants.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) mark: Mark,
    pub(super) grants: Vec<GrantRow>,
}

/// A grant, whose policy is known by name.
#[derive(Debug)]
pub(super) struct GrantRow {
    pub(super) policy: PolicyName,
    /// Nothing for a policy that is a role of the token.
    pub(super) scope: Option<Scope>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PolicyName {
    Own { name: String, etag: i64 },
    System(String),
}

impl PolicyName {
    pub(super) fn name(&self) -> &str {
        let (Self::Own { name, .. } | Self::System(name)) = self;
        name
    }
}

/// Compiled documents by etag.
pub(super) type Compiled = HashMap<i64, Arc<CompiledPolicy>>;

/// Reads the grants of a principal.
pub(super) async fn grants(
    client: &impl GenericClient,
    identity: &Identity,
) -> Result<Read, tokio_postgres::Error> {
    let statement = client.prepare_cached(GRANTS).await?;
    let (kind, id) = match &identity.subject {
        Subject::User(id) => ("user", id),
        Subject::Agency(id) => ("agency", id),
    };
    let Identity { domain_id, group_ids, role_names, .. } = identity;
    let rows = client.query(&statement, &[domain_id, &kind, id, group_ids, role_names]).await?;
    Ok(Read {
        mark: rows.first().map(|row| mark(row.get(0), row.get(6))).unwrap_or_default(),
        grants: rows.iter().filter_map(grant).collect(),
    })
}

/// A row without a grant only tells the revision.
fn grant(row: &Row) -> Option<GrantRow> {
    let policy = match (row.get::<_, Option<String>>(1), row.get::<_, Option<String>>(2)) {
        (Some(name), _) => PolicyName::Own { name, etag: row.get(5) },
        (None, system) => PolicyName::System(system?),
    };
    let scope = match row.get::<_, &str>(3) {
        "role" => None,
        kind => Some(words::scope(kind, row.get::<_, Option<String>>(4).unwrap_or_default()).into()),
    };
    Some(GrantRow { policy, scope })
}
