//! A plan is carried out in the database: all of it or nothing, and only if it is still the one that was shown.

use std::collections::BTreeMap;

use deadpool_postgres::Object;
use tokio_postgres::IsolationLevel;

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
    /// The database can't be read or changed.
    #[error(transparent)]
    Database(#[from] AdminError),
}

impl Administration {
    /// The content of these domains, or of all that have any, from one state of the database.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn contents(&self, domains: Option<&[&str]>) -> Result<Contents, AdminError> {
        let mut connection = self.pool.get().await.map_err(AdminError::from)?;
        let reading = connection.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
        read_content(&reading.read_only(true).start().await?, domains).await
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
                editing.apply(domain_id, &edit(planned)).await.map_err(outdated)?;
                done += 1;
                step(done);
            }
            revisions.insert(domain_id.clone(), editing.revision(domain_id).await?);
        }
        editing.finish(Intent::Apply).await.map_err(outdated)?;
        Ok(revisions)
    }
}

/// Begins to edit one state of the database: what others commit meanwhile is not seen, and to change what they have changed
/// is an error.
async fn begin<'c>(connection: &'c mut Object, actor: &str) -> Result<Editing<'c>, AdminError> {
    let transaction = connection.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
    Editing::within(transaction.start().await?, actor).await
}

/// Others got in the way.
fn outdated(error: AdminError) -> ImportError {
    if error.is_passing() { ImportError::Outdated } else { error.into() }
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
