//! The PostgreSQL store: policies that several replicas share.
//!
//! Replicas hold no state of their own. Each follows the changes of the database (`feed`) and reads what concerns a
//! principal when it is asked for (`load`); in front stands the cache. While the database can't be reached, answers are
//! given from the cache for a limited time and said to be stale; then, and for whoever is not cached, there is an error.
//!
//! The tables guard themselves ([`migrate`]): whoever writes to them, a change raises the domain's revision, is recorded
//! and announced in its own transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use deadpool_postgres::{GenericClient, Object, PoolError};
use moka::policy::EvictionPolicy;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_postgres::IsolationLevel;

use super::{
    Freshness, LoadFuture, PolicyStore, PrincipalGrants, Revision, StoreCounters, StoreError, StoreHealth,
    role_grants,
};
use crate::catalog::Catalog;
use crate::policy::system::SystemPolicies;
use crate::policy::{CompiledPolicy, Document, Grant, system};
use crate::request::Identity;
use connector::Connector;
use faults::PolicyFault;
use feed::{Feed, FeedError};
use known::{Diverged, Known};
use load::{Compiled, GrantRow, PolicyName, Read};
use pool::{ANSWER_TIMEOUT, ReadPool};

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
mod settings;
mod words;

/// How often grants and documents are read one after the other, in the hope that no policy changes in between.
const HOPEFUL_ATTEMPTS: usize = 2;
/// What health says while changes are not followed.
const OUT_OF_REACH: &str = "the database can't be reached: changes of policies are not followed";
/// The most compiled policies that are kept.
const MAX_COMPILED: u64 = 100_000;

/// Policies in a database.
#[derive(Debug)]
pub struct PostgresStore {
    pool: ReadPool,
    known: Arc<Known>,
    catalog: Arc<Catalog>,
    system: SystemPolicies,
    /// By etag: a policy is compiled once, however many principals have it.
    compiled: moka::sync::Cache<i64, Arc<CompiledPolicy>>,
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
        // By recency: a new version of a policy is worth more than an old one that was popular.
        let compiled = moka::sync::Cache::builder().max_capacity(MAX_COMPILED);
        let compiled = compiled.eviction_policy(EvictionPolicy::lru()).build();
        Ok(Self { pool, known, catalog, system, compiled, _feed: feed })
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
        self.read(identity, Some(policy)).await.map_err(|error| self.unavailable(identity, error))
    }

    async fn read(
        &self,
        identity: &Identity,
        passed_over: Option<&str>,
    ) -> Result<PrincipalGrants, ReadError> {
        let mut lent = self.pool.lend().await?;
        let read = timeout(ANSWER_TIMEOUT, self.read_with(lent.client_mut()?, identity, passed_over)).await;
        match &read {
            Ok(Err(ReadError::Diverged(_))) | Err(_) => self.pool.forget_idle(),
            Ok(_) => lent.give_back(),
        }
        read?
    }

    async fn read_with(
        &self,
        client: &mut Object,
        identity: &Identity,
        passed_over: Option<&str>,
    ) -> Result<PrincipalGrants, ReadError> {
        for _ in 0..HOPEFUL_ATTEMPTS {
            if let Some(read) = self.read_once(client, identity, passed_over).await? {
                return Ok(read);
            }
        }
        // Policies that change all the time are read from one state of the database, which takes a round trip more.
        let snapshot = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
        let snapshot = snapshot.read_only(true).start().await?;
        let read = self.read_once(&snapshot, identity, passed_over).await?;
        snapshot.commit().await?;
        read.ok_or(ReadError::Restless)
    }

    /// Nothing if a policy changed between its grant and its document.
    async fn read_once(
        &self,
        client: &impl GenericClient,
        identity: &Identity,
        passed_over: Option<&str>,
    ) -> Result<Option<PrincipalGrants>, ReadError> {
        let before = self.known.revision(&identity.domain_id);
        let read = load::grants(client, identity).await?;
        let compiled = self.compile(client, identity, &read, passed_over).await?;
        let Some(compiled) = compiled else { return Ok(None) };
        // It may have been read before its announcement arrives.
        self.known.learn_read(&identity.domain_id, before, read.mark)?;
        self.grants(identity, read, &compiled).map(Some)
    }

    /// The compiled policies of the grants; nothing if one has changed meanwhile.
    async fn compile(
        &self,
        client: &impl GenericClient,
        identity: &Identity,
        read: &Read,
        passed_over: Option<&str>,
    ) -> Result<Option<Compiled>, ReadError> {
        let mut compiled = Compiled::new();
        let mut missing: BTreeMap<&str, i64> = BTreeMap::new();
        for GrantRow { policy, .. } in &read.grants {
            let PolicyName::Own { name, etag } = policy else { continue };
            match self.compiled.get(etag) {
                _ if passed_over == Some(name) => {
                    drop(compiled.insert(*etag, CompiledPolicy::empty(name).into()))
                }
                Some(policy) => drop(compiled.insert(*etag, policy)),
                None => drop(missing.insert(name, *etag)),
            }
        }
        if missing.is_empty() {
            return Ok(Some(compiled));
        }
        let statement = client.prepare_cached(load::DOCUMENTS).await?;
        let names: Vec<&str> = missing.keys().copied().collect();
        for row in client.query(&statement, &[&identity.domain_id, &names]).await? {
            let (name, etag, text): (&str, i64, &str) = (row.get(0), row.get(1), row.get(2));
            if missing.get(name) != Some(&etag) {
                return Ok(None);
            }
            let document =
                Document::parse(text).map_err(|errors| PolicyFault::document(name, etag, &errors))?;
            let policy = Arc::new(CompiledPolicy::compile(name, &document, &self.catalog));
            // Who compiled it meanwhile was first: equal policy sets are known by the very same policies.
            compiled.insert(etag, self.compiled.entry(etag).or_insert(policy).into_value());
            missing.remove(name);
        }
        Ok(missing.is_empty().then_some(compiled))
    }

    fn grants(
        &self,
        identity: &Identity,
        read: Read,
        compiled: &Compiled,
    ) -> Result<PrincipalGrants, ReadError> {
        let (mut grants, mut roles) = (Vec::new(), BTreeMap::new());
        for GrantRow { policy: name, scope } in read.grants {
            let policy = match &name {
                PolicyName::Own { etag, .. } => compiled.get(etag).cloned(),
                PolicyName::System(name) => {
                    let policy = self.system.get(name.as_str()).cloned();
                    Some(policy.ok_or_else(|| PolicyFault::system(name.clone()))?)
                }
            };
            // INVARIANT: each document was compiled.
            let policy = policy.ok_or(ReadError::Restless)?;
            match scope {
                Some(scope) => grants.push(Grant { policy, scope }),
                None => drop(roles.insert(name.name().to_owned(), policy)),
            }
        }
        let role = |name: &str| roles.get(name).or_else(|| self.system.get(name)).cloned();
        grants.extend(role_grants(identity, role));
        Ok(PrincipalGrants { revision: read.mark.revision, grants })
    }
}

impl PostgresStore {
    /// The error of a load. The same fault of a policy is logged once.
    fn unavailable(&self, identity: &Identity, error: ReadError) -> StoreError {
        let is_news = match &error {
            ReadError::Policy(fault) => self.known.faults.meet(&identity.domain_id, fault),
            _ => true,
        };
        if is_news {
            tracing::warn!(%error, domain = identity.domain_id, "policies can't be read");
        }
        StoreError::Unavailable(Arc::new(error))
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
        let loaded =
            async { self.read(identity, None).await.map_err(|error| self.unavailable(identity, error)) };
        Box::pin(loaded)
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
