//! All that a domain holds, to be compared with files or written to them.

use std::collections::BTreeSet;

use deadpool_postgres::Transaction;

use super::AdminError;
use super::listing::grant_entry;
use crate::store::plan::Contents;

/// Reads domains in one transaction: all that have anything, or those that are named and of them all.
pub(super) async fn read_content(
    transaction: &Transaction<'_>,
    domains: Option<&[&str]>,
) -> Result<Contents, AdminError> {
    let mut content = Contents::new();
    for row in transaction.query(POLICIES, &[&domains]).await? {
        let domain = content.entry(row.get(0)).or_default();
        domain.policies.insert(row.get(1), row.get(2));
    }
    for row in transaction.query(GROUPS, &[&domains]).await? {
        let domain = content.entry(row.get(0)).or_default();
        let members: Vec<String> = row.get(2);
        domain.groups.insert(row.get(1), BTreeSet::from_iter(members));
    }
    for row in transaction.query(GRANTS, &[&domains]).await? {
        content.entry(row.get(5)).or_default().grants.insert(grant_entry(&row));
    }
    Ok(content)
}

const POLICIES: &str = "SELECT domain_id::text, name::text, document FROM ecs_authz.policy
    WHERE $1::text[] IS NULL OR domain_id::text = ANY($1)";
const GROUPS: &str = "SELECT g.domain_id::text, g.id::text, array_remove(array_agg(m.user_id::text), NULL)
    FROM ecs_authz.user_group g
    LEFT JOIN ecs_authz.group_member m ON m.domain_id = g.domain_id AND m.group_id = g.id
    WHERE $1::text[] IS NULL OR g.domain_id::text = ANY($1)
    GROUP BY g.domain_id, g.id";
const GRANTS: &str =
    "SELECT subject_kind::text, subject_id::text, policy, scope_kind::text, coalesce(scope_id::text, ''),
      domain_id::text
    FROM ecs_authz.policy_grant WHERE $1::text[] IS NULL OR domain_id::text = ANY($1)";
