//! How edits are made: in a transaction, in the name of an actor.

use std::collections::BTreeSet;

use deadpool_postgres::{Object, Transaction};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::edit::{Change, Edit, Expected, Outcome};
use super::{AdminError, Intent};
use crate::policy::system::SYSTEM_POLICIES;
use crate::store::Revision;
use crate::store::content::GrantEntry;
use crate::store::postgres::feed::revision;
use crate::store::postgres::words;

/// A transaction in which domains are edited. Without an end, it is undone.
#[derive(Debug)]
pub struct Editing<'c> {
    transaction: Transaction<'c>,
}

impl<'c> Editing<'c> {
    /// Begins to edit in the name of an actor.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn begin(connection: &'c mut Object, actor: &str) -> Result<Self, AdminError> {
        Self::within(connection.transaction().await?, actor).await
    }

    /// Edits within a transaction in the name of an actor.
    pub(super) async fn within(transaction: Transaction<'c>, actor: &str) -> Result<Self, AdminError> {
        transaction.query_one("SELECT set_config('ecs_authz.actor', $1, true)", &[&actor]).await?;
        Ok(Self { transaction })
    }

    /// Makes other administrators of a domain wait. To lock several, go by the order of their ids.
    ///
    /// INVARIANT: rows are locked before their domain is, by its trigger, as any other writer of the tables does.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn lock(&self, domain_id: &str) -> Result<(), AdminError> {
        self.row("SELECT pg_advisory_xact_lock($1, hashtext($2))", &[&LOCK, &domain_id]).await?;
        Ok(())
    }

    /// The domain's revision with the edits that were made.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn revision(&self, domain_id: &str) -> Result<Revision, AdminError> {
        let row = self.row("SELECT revision FROM ecs_authz.domain WHERE id = $1", &[&domain_id]).await?;
        Ok(row.map(|row| revision(row.get(0))).unwrap_or_default())
    }

    /// The transaction, to read in it.
    pub(super) fn transaction(&self) -> &Transaction<'c> {
        &self.transaction
    }

    /// Ends the editing.
    ///
    /// # Errors
    ///
    /// If the database fails; then it may have happened or not.
    pub async fn finish(self, intent: Intent) -> Result<(), AdminError> {
        match intent {
            Intent::Apply => self.transaction.commit().await?,
            Intent::DryRun => self.transaction.rollback().await?,
        }
        Ok(())
    }

    /// Makes an edit in a domain that is locked.
    ///
    /// # Errors
    ///
    /// If it can't be made.
    pub async fn apply(&self, domain_id: &str, edit: &Edit) -> Result<Outcome, AdminError> {
        match edit {
            Edit::PutPolicy { name, document, expected } => {
                self.put_policy(domain_id, name, document, expected).await
            }
            Edit::DeletePolicy { name, expected } => self.delete_policy(domain_id, name, expected).await,
            Edit::PutGroup { id, members, expected } => {
                self.put_group(domain_id, id, members, expected).await
            }
            Edit::AddMembers { group_id, members } => {
                self.edit_members(domain_id, group_id, ADD_MEMBERS, members).await
            }
            Edit::RemoveMembers { group_id, members } => {
                self.edit_members(domain_id, group_id, REMOVE_MEMBERS, members).await
            }
            Edit::DeleteGroup { id, expected } => self.delete_group(domain_id, id, expected).await,
            Edit::PutGrant(grant) => self.put_grant(domain_id, grant).await,
            Edit::DeleteGrant(grant) => self.delete_grant(domain_id, grant).await,
        }
    }

    async fn put_policy(
        &self,
        domain_id: &str,
        name: &str,
        document: &str,
        expected: &Expected,
    ) -> Result<Outcome, AdminError> {
        let row = self.row(FIND_POLICY, &[&domain_id, &name]).await?;
        let found = row.as_ref().map(|row| row.get::<_, i64>(0).to_string());
        expected.check("policy", name, found.as_deref())?;
        let (change, write) = match row {
            Some(row) if row.get::<_, &str>(1) == document => {
                return Ok(Outcome { change: Change::Unchanged, etag: found });
            }
            Some(_) => (Change::Updated, UPDATE_POLICY),
            None => (Change::Created, INSERT_POLICY),
        };
        let written = self.row(write, &[&domain_id, &name, &document]).await?;
        Ok(Outcome { change, etag: written.map(|row| row.get::<_, i64>(0).to_string()) })
    }

    async fn delete_policy(
        &self,
        domain_id: &str,
        name: &str,
        expected: &Expected,
    ) -> Result<Outcome, AdminError> {
        let row = self.row(FIND_POLICY, &[&domain_id, &name]).await?;
        let found = row.map(|row| row.get::<_, i64>(0).to_string());
        expected.check("policy", name, found.as_deref())?;
        if found.is_none() {
            return Err(AdminError::Missing { kind: "policy", name: name.to_owned() });
        }
        if let Some(row) = self.row(FIND_HOLDER, &[&domain_id, &name]).await? {
            let holder = format!("the {} `{}`", row.get::<_, &str>(0), row.get::<_, &str>(1));
            return Err(AdminError::Granted { name: name.to_owned(), holder });
        }
        self.execute("DELETE FROM ecs_authz.policy WHERE domain_id = $1 AND name = $2", &[&domain_id, &name])
            .await?;
        Ok(Outcome { change: Change::Deleted, etag: None })
    }

    async fn put_group(
        &self,
        domain_id: &str,
        id: &str,
        members: &BTreeSet<String>,
        expected: &Expected,
    ) -> Result<Outcome, AdminError> {
        let found = self.lock_group(domain_id, id).await?;
        expected.check("group", id, found.as_deref())?;
        let insert = "INSERT INTO ecs_authz.user_group (domain_id, id) VALUES ($1::text, $2::text) ON CONFLICT DO NOTHING";
        self.execute(insert, &[&domain_id, &id]).await?;
        let members: Vec<&String> = members.iter().collect();
        self.execute(KEEP_MEMBERS, &[&domain_id, &id, &members]).await?;
        self.execute(ADD_MEMBERS, &[&domain_id, &id, &members]).await?;
        self.group_outcome(domain_id, id, found).await
    }

    async fn edit_members(
        &self,
        domain_id: &str,
        id: &str,
        statement: &str,
        members: &BTreeSet<String>,
    ) -> Result<Outcome, AdminError> {
        let Some(found) = self.lock_group(domain_id, id).await? else {
            return Err(AdminError::Missing { kind: "group", name: id.to_owned() });
        };
        let members: Vec<&String> = members.iter().collect();
        self.execute(statement, &[&domain_id, &id, &members]).await?;
        self.group_outcome(domain_id, id, Some(found)).await
    }

    async fn delete_group(
        &self,
        domain_id: &str,
        id: &str,
        expected: &Expected,
    ) -> Result<Outcome, AdminError> {
        let found = self.lock_group(domain_id, id).await?;
        expected.check("group", id, found.as_deref())?;
        let delete = "DELETE FROM ecs_authz.user_group WHERE domain_id = $1 AND id = $2";
        match self.execute(delete, &[&domain_id, &id]).await? {
            0 => Err(AdminError::Missing { kind: "group", name: id.to_owned() }),
            _ => Ok(Outcome { change: Change::Deleted, etag: None }),
        }
    }

    async fn put_grant(&self, domain_id: &str, grant: &GrantEntry) -> Result<Outcome, AdminError> {
        let policy = &grant.policy;
        let is_own = self.row(IS_POLICY, &[&domain_id, policy]).await?.is_some();
        if !is_own && !SYSTEM_POLICIES.iter().any(|(name, _)| name == policy) {
            return Err(AdminError::UnknownPolicy(policy.clone()));
        }
        let (own, system) = if is_own { (Some(policy), None) } else { (None, Some(policy)) };
        let ((subject_kind, subject_id), (scope_kind, scope_id)) =
            (words::of_subject(&grant.subject), words::of_scope(&grant.scope));
        let values: [&(dyn ToSql + Sync); 7] =
            [&domain_id, &subject_kind, &subject_id, &own, &system, &scope_kind, &scope_id];
        let change = match self.execute(INSERT_GRANT, &values).await? {
            0 => Change::Unchanged,
            _ => Change::Created,
        };
        Ok(Outcome { change, etag: None })
    }

    async fn delete_grant(&self, domain_id: &str, grant: &GrantEntry) -> Result<Outcome, AdminError> {
        let ((subject_kind, subject_id), (scope_kind, scope_id)) =
            (words::of_subject(&grant.subject), words::of_scope(&grant.scope));
        let values: [&(dyn ToSql + Sync); 6] =
            [&domain_id, &subject_kind, &subject_id, &grant.policy, &scope_kind, &scope_id];
        match self.execute(DELETE_GRANT, &values).await? {
            0 => Err(AdminError::Missing { kind: "grant", name: grant.to_string() }),
            _ => Ok(Outcome { change: Change::Deleted, etag: None }),
        }
    }

    /// The group's etag, which nobody changes until the end.
    async fn lock_group(&self, domain_id: &str, id: &str) -> Result<Option<String>, AdminError> {
        self.row(LOCK_GROUP, &[&domain_id, &id]).await?;
        self.group_etag(domain_id, id).await
    }

    async fn group_etag(&self, domain_id: &str, id: &str) -> Result<Option<String>, AdminError> {
        Ok(self.row(GROUP_ETAG, &[&domain_id, &id]).await?.map(|row| row.get(0)))
    }

    async fn group_outcome(
        &self,
        domain_id: &str,
        id: &str,
        before: Option<String>,
    ) -> Result<Outcome, AdminError> {
        let etag = self.group_etag(domain_id, id).await?;
        let change = match before {
            None => Change::Created,
            before if before == etag => Change::Unchanged,
            Some(_) => Change::Updated,
        };
        Ok(Outcome { change, etag })
    }

    async fn row(&self, query: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Option<Row>, AdminError> {
        let statement = self.transaction.prepare_cached(query).await?;
        Ok(self.transaction.query_opt(&statement, values).await?)
    }

    async fn execute(&self, statement: &str, values: &[&(dyn ToSql + Sync)]) -> Result<u64, AdminError> {
        let statement = self.transaction.prepare_cached(statement).await?;
        Ok(self.transaction.execute(&statement, values).await?)
    }
}

/// Names the locks of domains. Any number does, if nobody else takes it.
const LOCK: i32 = 0x6563_735f;

const FIND_POLICY: &str =
    "SELECT etag, document FROM ecs_authz.policy WHERE domain_id = $1 AND name = $2 FOR UPDATE";
const IS_POLICY: &str = "SELECT 1 FROM ecs_authz.policy WHERE domain_id = $1 AND name = $2";
const LOCK_GROUP: &str = "SELECT 1 FROM ecs_authz.user_group WHERE domain_id = $1 AND id = $2 FOR UPDATE";
const INSERT_POLICY: &str = "INSERT INTO ecs_authz.policy (domain_id, name, document)
    VALUES ($1::text, $2::text, $3) RETURNING etag";
const UPDATE_POLICY: &str =
    "UPDATE ecs_authz.policy SET document = $3 WHERE domain_id = $1 AND name = $2 RETURNING etag";
const FIND_HOLDER: &str = "SELECT subject_kind::text, subject_id::text FROM ecs_authz.policy_grant
    WHERE domain_id = $1 AND own_policy = $2 ORDER BY 1, 2 LIMIT 1";
const KEEP_MEMBERS: &str = "DELETE FROM ecs_authz.group_member
    WHERE domain_id = $1 AND group_id = $2 AND user_id::text <> ALL($3::text[])";
const REMOVE_MEMBERS: &str = "DELETE FROM ecs_authz.group_member
    WHERE domain_id = $1 AND group_id = $2 AND user_id::text = ANY($3::text[])";
const ADD_MEMBERS: &str = "INSERT INTO ecs_authz.group_member (domain_id, group_id, user_id)
    SELECT $1::text, $2::text, unnest($3::text[]) ON CONFLICT DO NOTHING";
/// The etag of a group is a digest of its members: two states with the same ones need not be told apart. Ids have no line
/// breaks.
const GROUP_ETAG: &str = r#"SELECT
      encode(sha256(convert_to(coalesce(string_agg(user_id, E'\n' ORDER BY user_id COLLATE "C"), ''), 'UTF8')), 'hex')
    FROM ecs_authz.user_group g
    LEFT JOIN ecs_authz.group_member m ON m.domain_id = g.domain_id AND m.group_id = g.id
    WHERE g.domain_id = $1 AND g.id = $2
    GROUP BY g.domain_id, g.id"#;
const INSERT_GRANT: &str = "INSERT INTO ecs_authz.policy_grant
      (domain_id, subject_kind, subject_id, own_policy, system_policy, scope_kind, scope_id)
    VALUES ($1::text, $2::text::ecs_authz.subject_kind, $3::text, $4::text, $5::text,
      $6::text::ecs_authz.scope_kind, $7::text) ON CONFLICT DO NOTHING";
const DELETE_GRANT: &str = "DELETE FROM ecs_authz.policy_grant
    WHERE domain_id = $1 AND subject_kind = $2::text::ecs_authz.subject_kind AND subject_id = $3 AND policy = $4
      AND scope_kind = $5::text::ecs_authz.scope_kind AND scope_id IS NOT DISTINCT FROM $6::text";
