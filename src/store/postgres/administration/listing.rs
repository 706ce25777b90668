//! What the database holds, page by page.

use std::time::SystemTime;

use deadpool_postgres::Object;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::{AdminError, Administration};
use crate::store::Revision;
use crate::store::content::{GrantEntry, SubjectEntry};
use crate::store::postgres::feed::revision;
use crate::store::postgres::words;

/// Which part of a list is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The most rows.
    pub size: u16,
    /// The key of the row that it comes after; nothing for the first page.
    pub after: Option<Vec<String>>,
}

/// A policy without its document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyHead {
    /// Its name.
    pub name: String,
    /// Another one after each change.
    pub etag: String,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it was changed last.
    pub updated_at: SystemTime,
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRecord {
    /// What is told of it in lists.
    pub head: PolicyHead,
    /// The document as it was written.
    pub document: String,
}

/// A grant, and whose policy it grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRecord {
    /// The grant.
    pub grant: GrantEntry,
    /// Its key in lists.
    pub key: Vec<String>,
}

/// Which grants are asked for. Both together mean both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GrantFilter {
    /// Those of a subject itself, not by its groups.
    pub subject: Option<SubjectEntry>,
    /// Those of a policy.
    pub policy: Option<String>,
}

/// A group without its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupHead {
    /// The group.
    pub id: String,
    /// How many members it has.
    pub member_count: u64,
}

/// A group with a page of its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRecord {
    /// What is told of it in lists.
    pub head: GroupHead,
    /// Another one for other members.
    pub etag: String,
    /// Users, sorted.
    pub members: Vec<String>,
}

/// One row of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeRecord {
    /// Grows with time.
    pub id: i64,
    /// The revision that it belongs to.
    pub revision: Revision,
    /// When.
    pub at: SystemTime,
    /// Who.
    pub actor: String,
    /// The table: `policy`, `user_group`, `group_member` or `policy_grant`.
    pub what: String,
    /// The row before, as JSON.
    pub before: Option<String>,
    /// The row after, as JSON.
    pub after: Option<String>,
}

impl Page {
    /// The parts of the key that this page comes after, as many as there are in a key.
    fn after<const N: usize>(&self) -> [Option<&str>; N] {
        let key = self.after.as_deref().unwrap_or_default();
        std::array::from_fn(|index| key.get(index).map(String::as_str))
    }

    fn limit(&self) -> i64 {
        self.size.into()
    }
}

impl Administration {
    /// Domains and their revisions, by id.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn domains(&self, page: &Page) -> Result<Vec<(String, Revision)>, AdminError> {
        let query = "SELECT id::text, revision FROM ecs_authz.domain WHERE $1::text IS NULL OR id > $1 ORDER BY id LIMIT $2";
        let [after] = page.after();
        let rows = self.rows(query, &[&after, &page.limit()]).await?;
        Ok(rows.iter().map(|row| (row.get(0), revision(row.get(1)))).collect())
    }

    /// A policy of a domain.
    ///
    /// # Errors
    ///
    /// If it is not there, or the database fails.
    pub async fn policy(&self, domain_id: &str, name: &str) -> Result<PolicyRecord, AdminError> {
        let query = "SELECT name::text, etag, created_at, updated_at, document FROM ecs_authz.policy
            WHERE domain_id = $1 AND name = $2";
        let rows = self.rows(query, &[&domain_id, &name]).await?;
        let policy = rows.first().map(|row| PolicyRecord { head: policy_head(row), document: row.get(4) });
        policy.ok_or_else(|| AdminError::Missing { kind: "policy", name: name.to_owned() })
    }

    /// Policies of a domain, by name.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn policies(&self, domain_id: &str, page: &Page) -> Result<Vec<PolicyHead>, AdminError> {
        let query = "SELECT name::text, etag, created_at, updated_at FROM ecs_authz.policy
            WHERE domain_id = $1 AND ($2::text IS NULL OR name > $2) ORDER BY name LIMIT $3";
        let [after] = page.after();
        Ok(self.rows(query, &[&domain_id, &after, &page.limit()]).await?.iter().map(policy_head).collect())
    }

    /// Which of these names are those of policies of a domain.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn existing_policies(
        &self,
        domain_id: &str,
        names: &[&str],
    ) -> Result<Vec<String>, AdminError> {
        let query =
            "SELECT name::text FROM ecs_authz.policy WHERE domain_id = $1 AND name::text = ANY($2::text[])";
        Ok(self.rows(query, &[&domain_id, &names]).await?.iter().map(|row| row.get(0)).collect())
    }

    /// Grants of a domain, by subject, policy and scope.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn grants(
        &self,
        domain_id: &str,
        filter: &GrantFilter,
        page: &Page,
    ) -> Result<Vec<GrantRecord>, AdminError> {
        let (kind, id) = filter.subject.as_ref().map(words::of_subject).unzip();
        let [subject_kind, subject_id, policy, scope_kind, scope_id] = page.after::<5>();
        let values: [&(dyn ToSql + Sync); 10] = [
            &domain_id,
            &kind,
            &id,
            &filter.policy,
            &subject_kind,
            &subject_id,
            &policy,
            &scope_kind,
            &scope_id,
            &page.limit(),
        ];
        Ok(self.rows(GRANTS, &values).await?.iter().map(grant).collect())
    }

    /// Groups of a domain, by id: all, or those that a user is in.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn groups(
        &self,
        domain_id: &str,
        user_id: Option<&str>,
        page: &Page,
    ) -> Result<Vec<GroupHead>, AdminError> {
        let [after] = page.after();
        let rows = self.rows(GROUPS, &[&domain_id, &user_id, &after, &page.limit()]).await?;
        Ok(rows.iter().map(|row| GroupHead { id: row.get(0), member_count: count(row.get(1)) }).collect())
    }

    /// A group of a domain, with a page of its members.
    ///
    /// # Errors
    ///
    /// If it is not there, or the database fails.
    pub async fn group(&self, domain_id: &str, id: &str, page: &Page) -> Result<GroupRecord, AdminError> {
        let [after] = page.after();
        let rows = self.rows(GROUP, &[&domain_id, &id, &after, &page.limit()]).await?;
        let group = rows.first().map(|row| GroupRecord {
            head: GroupHead { id: id.to_owned(), member_count: count(row.get(1)) },
            etag: row.get(0),
            members: row.get(2),
        });
        group.ok_or_else(|| AdminError::Missing { kind: "group", name: id.to_owned() })
    }

    /// The history of a domain, or of one of its policies, the last change first.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn changes(
        &self,
        domain_id: &str,
        policy: Option<&str>,
        page: &Page,
    ) -> Result<Vec<ChangeRecord>, AdminError> {
        let [before] = page.after();
        let rows = self.rows(CHANGES, &[&domain_id, &policy, &before, &page.limit()]).await?;
        Ok(rows.iter().map(change).collect())
    }

    async fn rows(&self, query: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, AdminError> {
        let lent = self.lend().await?;
        let rows = rows(lent.client()?, query, values).await;
        lent.give_back();
        Ok(rows?)
    }
}

async fn rows(
    client: &Object,
    query: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let statement = client.prepare_cached(query).await?;
    client.query(&statement, values).await
}

fn policy_head(row: &Row) -> PolicyHead {
    let (etag, created_at, updated_at) = (row.get::<_, i64>(1).to_string(), row.get(2), row.get(3));
    PolicyHead { name: row.get(0), etag, created_at, updated_at }
}

fn grant(row: &Row) -> GrantRecord {
    let key: Vec<String> = (0..5).map(|column| row.get(column)).collect();
    GrantRecord { grant: grant_entry(row), key }
}

/// Whether this is the key of a grant: kind and id of the subject, the policy, kind and id of the scope.
#[must_use]
pub fn is_grant_key(key: &[String]) -> bool {
    let [subject_kind, _, _, scope_kind, _] = key else { return false };
    words::is_subject_kind(subject_kind) && words::is_scope_kind(scope_kind)
}

/// A grant from its columns: kind and id of the subject, the policy, kind and id of the scope.
pub(super) fn grant_entry(row: &Row) -> GrantEntry {
    GrantEntry {
        subject: words::subject(row.get(0), row.get(1)),
        policy: row.get(2),
        scope: words::scope(row.get(3), row.get(4)),
    }
}

fn change(row: &Row) -> ChangeRecord {
    ChangeRecord {
        id: row.get(0),
        revision: revision(row.get(1)),
        at: row.get(2),
        actor: row.get(3),
        what: row.get(4),
        before: row.get(5),
        after: row.get(6),
    }
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// Ordered by the table's columns, not by the texts of the same names: kinds have an order of their own.
const GRANTS: &str =
    "SELECT subject_kind::text, subject_id::text, policy, scope_kind::text, coalesce(scope_id::text, '')
    FROM ecs_authz.policy_grant g
    WHERE domain_id = $1
      AND ($2::text IS NULL OR (subject_kind = $2::text::ecs_authz.subject_kind AND subject_id = $3))
      AND ($4::text IS NULL OR policy = $4)
      AND ($5::text IS NULL OR (subject_kind, subject_id, policy, scope_kind, coalesce(scope_id::text, ''))
        > ($5::text::ecs_authz.subject_kind, $6, $7, $8::text::ecs_authz.scope_kind, $9))
    ORDER BY g.subject_kind, g.subject_id, g.policy, g.scope_kind, coalesce(g.scope_id::text, '') LIMIT $10";
/// A group and a page of its members, from one state of the database: a digest of other members than those that are told
/// would let somebody overwrite what nobody has read.
const GROUP: &str = r#"WITH member AS MATERIALIZED (
      SELECT user_id FROM ecs_authz.group_member WHERE domain_id = $1 AND group_id = $2
    )
    SELECT
      encode(sha256(convert_to(coalesce(
        (SELECT string_agg(user_id, E'\n' ORDER BY user_id COLLATE "C") FROM member), ''), 'UTF8')), 'hex'),
      (SELECT count(*) FROM member),
      ARRAY(SELECT user_id::text FROM member WHERE $3::text IS NULL OR user_id > $3 ORDER BY user_id LIMIT $4)
    FROM ecs_authz.user_group WHERE domain_id = $1 AND id = $2"#;
const GROUPS: &str = "SELECT id::text, (SELECT count(*) FROM ecs_authz.group_member m
        WHERE m.domain_id = g.domain_id AND m.group_id = g.id)
    FROM ecs_authz.user_group g
    WHERE domain_id = $1 AND ($3::text IS NULL OR id > $3)
      AND ($2::text IS NULL OR id IN (SELECT group_id FROM ecs_authz.group_member WHERE domain_id = $1 AND user_id = $2))
    ORDER BY id LIMIT $4";
const CHANGES: &str = "SELECT id, revision, at, actor, what, before::text, after::text FROM ecs_authz.change
    WHERE domain_id = $1 AND ($2::text IS NULL OR (what = 'policy' AND coalesce(after, before) ->> 'name' = $2))
      AND ($3::text IS NULL OR id < $3::text::bigint)
    ORDER BY id DESC LIMIT $4";
