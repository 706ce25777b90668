//! Reads what concerns one principal, with what is compiled already.

use std::collections::BTreeMap;
use std::sync::Arc;

use deadpool_postgres::{GenericClient, Object};
use moka::policy::EvictionPolicy;
use tokio::time::timeout;
use tokio_postgres::IsolationLevel;

use super::ReadError;
use super::faults::PolicyFault;
use super::known::Known;
use super::load::{self, Compiled, GrantRow, PolicyName, Read};
use super::pool::{ANSWER_TIMEOUT, ReadPool};
use crate::catalog::Catalog;
use crate::policy::system::SystemPolicies;
use crate::policy::{CompiledPolicy, Document, Grant};
use crate::request::Identity;
use crate::store::{PrincipalGrants, StoreError, role_grants};

/// How often grants and documents are read one after the other, in the hope that no policy changes in between.
const HOPEFUL_ATTEMPTS: usize = 2;
/// The most compiled policies that are kept.
const MAX_COMPILED: u64 = 100_000;

/// Reads the policies of principals.
#[derive(Debug)]
pub(super) struct Reader {
    pool: ReadPool,
    known: Arc<Known>,
    catalog: Arc<Catalog>,
    system: SystemPolicies,
    /// By etag: a policy is compiled once, however many principals have it.
    compiled: moka::sync::Cache<i64, Arc<CompiledPolicy>>,
}

impl Reader {
    pub(super) fn new(
        pool: ReadPool,
        known: Arc<Known>,
        catalog: Arc<Catalog>,
        system: SystemPolicies,
    ) -> Self {
        // By recency: a new version of a policy is worth more than an old one that was popular.
        let compiled = moka::sync::Cache::builder().max_capacity(MAX_COMPILED);
        let compiled = compiled.eviction_policy(EvictionPolicy::lru()).build();
        Self { pool, known, catalog, system, compiled }
    }

    /// Reads what concerns a principal, but for the document of one policy, for which an empty one stands.
    pub(super) async fn load(
        &self,
        identity: &Identity,
        passed_over: Option<&str>,
    ) -> Result<PrincipalGrants, StoreError> {
        self.read(identity, passed_over).await.map_err(|error| self.unavailable(identity, error))
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
