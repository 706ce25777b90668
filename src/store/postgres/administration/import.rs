//! A plan is carried out in the database: all of it or nothing, and only if it is still the one that was shown.

use std::collections::BTreeMap;

use deadpool_postgres::{Object, Transaction};
use tokio_postgres::IsolationLevel;
use tokio_postgres::error::SqlState;

use super::content::read_content;
use super::edit::{Edit, Expected};
use super::{AdminError, Administration, Editing, Intent};
use crate::store::Revision;
use crate::store::plan::{Contents, Extent, Plan, Sign, Step};

/// Why a plan was not carried out. Then nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is not the plan any more.
    #[error("the database has changed since the plan was made: make another one")]
    Outdated,
    /// A statement was ended.
    #[error("the database ended a statement, as it does after {STATEMENT_TIMEOUT}; nothing was changed")]
    Ended,
    /// Somebody else is at it.
    #[error("someone else has been changing the same for {LOCK_TIMEOUT}; nothing was changed")]
    Busy(#[source] AdminError),
    /// The database can't be read or changed.
    #[error(transparent)]
    Database(AdminError),
}

/// How long a statement may take: nobody waits for it but the one who moves hundreds of thousands of rows.
const STATEMENT_TIMEOUT: &str = "10 min";
/// How long others may keep us waiting.
const LOCK_TIMEOUT: &str = "10 s";

impl From<AdminError> for ImportError {
    fn from(error: AdminError) -> Self {
        match &error {
            // INVARIANT: it is all one transaction, so nothing of it lasts.
            AdminError::TooLong => Self::Ended,
            _ if error.sql_state() == Some(&SqlState::LOCK_NOT_AVAILABLE) => Self::Busy(error),
            // Others got in the way.
            _ if error.is_passing() => Self::Outdated,
            _ => Self::Database(error),
        }
    }
}

impl Administration {
    /// The content of these domains, or of all that have any, from one state of the database.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn contents(&self, domains: Option<&[&str]>) -> Result<Contents, ImportError> {
        let mut connection = self.pool.get().await.map_err(AdminError::from)?;
        let reading = connection.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
        let reading = reading.read_only(true).start().await.map_err(AdminError::from)?;
        take_time(&reading).await?;
        Ok(read_content(&reading, domains).await?)
    }

    /// Carries out a plan that makes the content of these domains, or of all, the wanted one. `step` is told how many steps
    /// are done. Tells the revision of each domain that was changed.
    ///
    /// # Errors
    ///
    /// If it is not the plan any more, or the database fails.
    pub async fn import(
        &self,
        actor: &str,
        plan: &Plan,
        wanted: &Contents,
        domains: Option<&[&str]>,
        extent: Extent,
        mut step: impl FnMut(usize),
    ) -> Result<BTreeMap<String, Revision>, ImportError> {
        let mut connection = self.pool.get().await.map_err(AdminError::from)?;
        let editing = begin(&mut connection, actor).await?;
        for domain_id in plan.domains.keys() {
            editing.lock(domain_id).await?;
        }
        let current = read_content(editing.transaction(), domains).await?;
        if Plan::between(&current, wanted, extent) != *plan {
            return Err(ImportError::Outdated);
        }
        let (mut revisions, mut done) = (BTreeMap::new(), 0);
        for (domain_id, steps) in &plan.domains {
            for planned in steps {
                editing.apply(domain_id, &edit(planned)).await?;
                done += 1;
                step(done);
            }
            revisions.insert(domain_id.clone(), editing.revision(domain_id).await?);
        }
        editing.finish(Intent::Apply).await?;
        Ok(revisions)
    }
}

/// Begins to edit one state of the database: what others commit meanwhile is not seen, and to change what they have changed
/// is an error.
async fn begin<'c>(connection: &'c mut Object, actor: &str) -> Result<Editing<'c>, AdminError> {
    let transaction = connection.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
    let transaction = transaction.start().await?;
    take_time(&transaction).await?;
    Editing::within(transaction, actor).await
}

/// Lifts the limit that is right for an edit, which somebody waits for.
async fn take_time(transaction: &Transaction<'_>) -> Result<(), AdminError> {
    let limits = format!(
        "SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'; SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"
    );
    Ok(transaction.batch_execute(&limits).await?)
}

fn edit(step: &Step) -> Edit {
    let expected = Expected::Any;
    match step.clone() {
        Step::Policy { sign: Sign::Remove, name, .. } => Edit::DeletePolicy { name, expected },
        Step::Policy { name, document, .. } => Edit::PutPolicy { name, document, expected },
        Step::Group { sign: Sign::Remove, id, .. } => Edit::DeleteGroup { id, expected },
        Step::Group { id, members, .. } => Edit::PutGroup { id, members, expected },
        Step::Grant { sign: Sign::Remove, grant } => Edit::DeleteGrant(grant),
        Step::Grant { grant, .. } => Edit::PutGrant(grant),
    }
}
