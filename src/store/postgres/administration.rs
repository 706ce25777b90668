//! Reads and changes what the database holds, for those who administer policies.
//!
//! Decisions have connections of their own, so no amount of editing keeps them waiting. An edit is one transaction: edits
//! of a domain take turns, and what was looked at before a change still holds when it is made. The tables record each
//! change with its actor and announce it, as for any other writer.

use std::time::Duration;

use deadpool_postgres::{Object, Pool, PoolError};
use tokio_postgres::error::SqlState;

use super::connector::Connector;
use super::pool::{Lent, Planning, check, pool};
use super::{OpenError, PostgresSettings};
use crate::store::Revision;

pub use edit::{Change, Edit, Expected, Outcome};
pub use editing::Editing;
pub use import::ImportError;
pub use listing::{
    ChangeRecord, GrantFilter, GrantRecord, GroupHead, GroupRecord, Page, PolicyHead, PolicyRecord,
    is_grant_key,
};

mod content;
mod edit;
mod editing;
mod import;
mod listing;

/// The most connections. Administration is a few people and pipelines.
const MAX_CONNECTIONS: usize = 4;
/// How long a statement may take: one edit can remove a large group.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(60);
/// How often an edit is made again that another writer got in the way of. Two that wait for each other take a second.
const MAX_ATTEMPTS: usize = 10;

/// A database of policies, to be administered.
#[derive(Debug, Clone)]
pub struct Administration {
    pool: Pool,
}

/// Whether an edit is to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// It is.
    Apply,
    /// It is made, with all checks of the database, and undone.
    DryRun,
}

/// What an edit came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// What was done.
    pub outcome: Outcome,
    /// The domain's revision with it.
    pub revision: Revision,
}

/// Why something can't be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// What is asked for is not there.
    #[error("there is no {kind} `{name}` in the domain")]
    Missing {
        /// A policy, a group or a grant.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// It is not in the state that the edit was made for.
    #[error("the {kind} `{name}` {}: read it again", .found.as_ref().map_or("is not there".to_owned(), |etag| format!("is there with the etag `{etag}`")))]
    Conflict {
        /// A policy or a group.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Its etag, if it is there.
        found: Option<String>,
    },
    /// A policy that somebody has can't be removed.
    #[error("the policy `{name}` is granted, such as to {holder}: remove its grants first")]
    Granted {
        /// The policy.
        name: String,
        /// One of those who have it.
        holder: String,
    },
    /// A grant of a policy that is not there.
    #[error("the policy `{0}` is neither one of the domain nor a system policy")]
    UnknownPolicy(String),
    /// It would have taken longer than is allowed, or somebody else held what it needs for so long.
    #[error(
        "it took too long, so nothing was done: change less at once, or try again when nobody else changes the domain"
    )]
    TooLong,
    /// The tables guard themselves.
    #[error("the database refuses it: {0}")]
    Refused(String),
    /// There is no connection.
    #[error("the database can't be reached")]
    Pool(#[from] PoolError),
    /// The database refused, or failed.
    #[error("the database failed")]
    Database(#[source] tokio_postgres::Error),
}

/// A constraint of the tables, or a trigger of theirs or of the operator's.
const REFUSALS: [SqlState; 2] = [SqlState::CHECK_VIOLATION, SqlState::RAISE_EXCEPTION];

impl From<tokio_postgres::Error> for AdminError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(refused) if refused.code() == &SqlState::QUERY_CANCELED => Self::TooLong,
            Some(refused) if REFUSALS.contains(refused.code()) => Self::Refused(refused.message().to_owned()),
            _ => Self::Database(error),
        }
    }
}

impl AdminError {
    /// Whether another writer got in the way, so that the same may well succeed now, or at least be told why not.
    fn is_passing(&self) -> bool {
        const PASSING: [SqlState; 4] = [
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::T_R_SERIALIZATION_FAILURE,
            // Written, or removed, since it was looked for.
            SqlState::UNIQUE_VIOLATION,
            SqlState::FOREIGN_KEY_VIOLATION,
        ];
        self.sql_state().is_some_and(|code| PASSING.contains(code))
    }

    /// What the database calls it.
    fn sql_state(&self) -> Option<&SqlState> {
        let Self::Database(error) = self else { return None };
        error.code()
    }
}

impl Administration {
    /// Administers a database. Connects when it is needed.
    ///
    /// # Errors
    ///
    /// If there is nothing to verify the database with.
    pub fn new(settings: &PostgresSettings) -> Result<Self, OpenError> {
        let connector = Connector::new(&settings.url)?;
        let pool = pool(&connector, MAX_CONNECTIONS, STATEMENT_TIMEOUT, Planning::Free);
        let unreachable = |cause| OpenError::Unreachable { url: settings.url.to_string(), cause };
        Ok(Self { pool: pool.map_err(|error| unreachable(error.into()))? })
    }

    /// Administers a database, once it is known to be there with the schema of this program.
    ///
    /// # Errors
    ///
    /// If it can't be reached, or has another schema.
    pub async fn open(settings: &PostgresSettings) -> Result<Self, OpenError> {
        let administration = Self::new(settings)?;
        check(&administration.pool, &settings.url).await?;
        Ok(administration)
    }

    /// A connection that is left, if its work is: what was begun on it goes on in the database, and would keep others waiting.
    async fn lend(&self) -> Result<Lent, AdminError> {
        Ok(Lent::of(self.pool.get().await?))
    }

    /// Makes one edit in a domain, in the name of an actor.
    ///
    /// # Errors
    ///
    /// If the edit can't be made; then nothing has changed.
    pub async fn change(
        &self,
        actor: &str,
        domain_id: &str,
        edit: &Edit,
        intent: Intent,
    ) -> Result<Changed, AdminError> {
        let mut attempt = 1;
        loop {
            match self.try_change(actor, domain_id, edit, intent).await {
                Err(error) if error.is_passing() && attempt < MAX_ATTEMPTS => attempt += 1,
                outcome => return outcome,
            }
        }
    }

    async fn try_change(
        &self,
        actor: &str,
        domain_id: &str,
        edit: &Edit,
        intent: Intent,
    ) -> Result<Changed, AdminError> {
        let mut lent = self.lend().await?;
        let changed = change(lent.client_mut()?, actor, domain_id, edit, intent).await;
        lent.give_back();
        changed
    }
}

async fn change(
    connection: &mut Object,
    actor: &str,
    domain_id: &str,
    edit: &Edit,
    intent: Intent,
) -> Result<Changed, AdminError> {
    let editing = Editing::begin(connection, actor).await?;
    editing.lock(domain_id).await?;
    let outcome = editing.apply(domain_id, edit).await?;
    let revision = editing.revision(domain_id).await?;
    editing.finish(intent).await?;
    Ok(Changed { outcome, revision })
}
