//! The PostgreSQL store: policies that several replicas share.
//!
//! Replicas hold no state of their own. Each follows the changes of the database (`feed`) and reads what concerns a
//! principal when it is asked for (`load`); in front stands the cache. While the database can't be reached, answers are
//! given from the cache for a limited time and said to be stale; then, and for whoever is not cached, there is an error.
//!
//! The tables guard themselves ([`migrate`]): whoever writes to them, a change raises the domain's revision, is recorded
//! and announced in its own transaction.

use std::panic::resume_unwind;
use std::sync::Arc;

use deadpool_postgres::PoolError;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{
    Freshness, LoadFuture, PolicyStore, PrincipalGrants, Revision, StoreCounters, StoreError, StoreHealth,
};
use crate::catalog::Catalog;
use crate::policy::system;
use crate::request::Identity;
use connector::Connector;
use faults::PolicyFault;
use feed::{Feed, FeedError};
use known::{Diverged, Known};
use pool::ReadPool;
use reader::Reader;

pub use connector::AuthoritiesError;
pub use open::OpenError;
pub use protection::ProtectionFault;
pub use settings::{DatabaseUrl, PostgresSettings, UrlFault};

mod address;
pub mod administration;
mod connector;
mod faults;
mod feed;
mod known;
mod load;
pub mod migrate;
mod open;
mod pool;
mod protection;
mod reader;
mod settings;
mod words;

/// What health says while changes are not followed.
const OUT_OF_REACH: &str = "the database can't be reached: changes of policies are not followed";

/// Policies in a database.
#[derive(Debug)]
pub struct PostgresStore {
    reader: Arc<Reader>,
    known: Arc<Known>,
    /// The runtime that the connections belong to.
    home: Handle,
    /// Its end ends the following of changes.
    _feed: Feed,
}

/// Why a principal's policies could not be read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Pool(#[from] PoolError),
    #[error(transparent)]
    Database(#[from] tokio_postgres::Error),
    #[error("the database did not answer in time")]
    Silent(#[from] tokio::time::error::Elapsed),
    #[error(transparent)]
    Diverged(#[from] Diverged),
    #[error(transparent)]
    Policy(#[from] PolicyFault),
    #[error("a policy changed within one state of the database")]
    Restless,
}

impl PostgresStore {
    /// Connects, checks the schema, and reads the revision of each domain. Waits for a database as long as the settings say.
    ///
    /// # Errors
    ///
    /// If the database can't be reached within seconds, or has another schema, and that does not pass while it waits.
    pub async fn open(settings: &PostgresSettings, catalog: Arc<Catalog>) -> Result<Self, OpenError> {
        if let Some(weakness) = settings.url.weakness() {
            tracing::warn!(url = %settings.url, "{weakness}");
        }
        let connector = Connector::new(&settings.url)?;
        open::within(settings.start_wait, || Self::attempt(settings, &connector, catalog.clone())).await
    }

    async fn attempt(
        settings: &PostgresSettings,
        connector: &Connector,
        catalog: Arc<Catalog>,
    ) -> Result<Self, OpenError> {
        let system = system::compile(&catalog).map_err(OpenError::System)?;
        let unreachable = |cause| OpenError::Unreachable { url: settings.url.to_string(), cause };
        let pool =
            ReadPool::new(connector, settings.max_connections).map_err(|error| unreachable(error.into()))?;
        pool.check(&settings.url).await?;
        let known = Arc::new(Known::new());
        let feed = Feed::start(connector.clone(), known.clone(), settings.max_stale).await;
        let feed = feed.map_err(|error| match error {
            FeedError::Database(error) => unreachable(error.into()),
            other => unreachable(other.into()),
        })?;
        let reader = Arc::new(Reader::new(pool, known.clone(), catalog, system));
        Ok(Self { reader, known, home: Handle::current(), _feed: feed })
    }

    /// Loads what concerns one principal as [`PolicyStore::load`] does, but looks at no document of the policy of this name: an
    /// empty one stands for it, whatever is wrong with its own.
    ///
    /// # Errors
    ///
    /// As `load`.
    pub async fn load_without(
        &self,
        identity: &Identity,
        policy: &str,
    ) -> Result<PrincipalGrants, StoreError> {
        self.load_at_home(identity, Some(policy)).await
    }

    /// Reads where the connections are driven. The thread of whoever asks may be busy with other calls, and then whoever
    /// waits for an answer that came on a connection of its would wait for those.
    async fn load_at_home(
        &self,
        identity: &Identity,
        passed_over: Option<&str>,
    ) -> Result<PrincipalGrants, StoreError> {
        let (reader, identity) = (self.reader.clone(), identity.clone());
        let passed_over = passed_over.map(ToOwned::to_owned);
        // Dropped, because nobody waits any more, it gives up what it reads.
        let mut reading = JoinSet::new();
        let read = async move { reader.load(&identity, passed_over.as_deref()).await };
        reading.spawn_on(read, &self.home);
        match reading.join_next().await {
            Some(Ok(loaded)) => loaded,
            Some(Err(fault)) => match fault.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_cancelled) => Err(StoreError::Stopped),
            },
            None => Err(StoreError::Stopped),
        }
    }
}

/// The fault of a policy in the database, if that is why policies can't be had.
#[must_use]
pub fn policy_fault(error: &StoreError) -> Option<String> {
    let StoreError::Unavailable(cause) = error else { return None };
    match cause.downcast_ref() {
        Some(ReadError::Policy(fault)) => Some(fault.to_string()),
        _ => None,
    }
}

impl PolicyStore for PostgresStore {
    fn revision(&self, domain_id: &str) -> Revision {
        self.known.revision(domain_id)
    }

    fn timeline(&self) -> u64 {
        self.known.timeline()
    }

    fn freshness(&self) -> Freshness {
        self.known.freshness()
    }

    fn load<'a>(&'a self, identity: &'a Identity) -> LoadFuture<'a> {
        Box::pin(self.load_at_home(identity, None))
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.known.changed.subscribe()
    }

    fn health(&self) -> StoreHealth {
        let mut faults = self.known.faults.lines();
        match self.freshness() {
            Freshness::Current if faults.is_empty() => StoreHealth::Current,
            Freshness::Current => StoreHealth::Degraded { faults },
            Freshness::Stale => {
                faults.insert(0, OUT_OF_REACH.to_owned());
                StoreHealth::Degraded { faults }
            }
            Freshness::Expired => StoreHealth::Expired,
        }
    }

    fn counters(&self) -> StoreCounters {
        self.known.counters()
    }
}

/// An error and its causes on one line: what keeps a server from starting is read where it was started.
#[must_use]
pub fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut shown: Vec<String> = causes.map(ToString::to_string).collect();
    shown.dedup();
    shown.join(": ")
}
