//! The cache of compiled policy sets in front of a store.
//!
//! An entry is keyed by everything that it depends on: the identity, field by field, and the revision of its domain.
//! So a change makes old entries unreachable at once; there is no invalidation and no clock. Concurrent misses of
//! one key cause one load. "No grants" is an entry like any other; an error is never one.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use equivalent::Equivalent;
use moka::future::Cache;
use moka::policy::EvictionPolicy;

use super::{Freshness, PolicyStore, Revision, StoreError};
use crate::policy::PolicySet;
use crate::request::{Identity, Subject};

/// The policies of one principal, ready to evaluate.
#[derive(Debug, Clone)]
pub struct LoadedPolicies {
    /// The revision of the domain that they were read at.
    pub revision: Revision,
    /// The merged policies.
    pub policies: Arc<PolicySet>,
    /// Whether they may be outdated because the store's changes can't be followed.
    pub is_stale: bool,
}

/// Compiled policy sets by principal and revision.
#[derive(Debug)]
pub struct PolicyCache {
    store: Arc<dyn PolicyStore>,
    entries: Cache<Key, LoadedPolicies>,
    /// The size of the catalog that the store compiles against.
    action_count: usize,
}

/// INVARIANT: holds every input of a policy set. Whole values, not hashes: two principals never share an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    identity: Identity,
    revision: Revision,
}

/// A [`Key`] whose identity is borrowed from a request, so that a hit copies nothing.
#[derive(Debug, Clone, Copy)]
struct KeyRef<'a> {
    identity: &'a Identity,
    revision: Revision,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        KeyRef { identity: &self.identity, revision: self.revision }.hash(state);
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity.hash(state);
        self.revision.hash(state);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self.identity == key.identity && self.revision == key.revision
    }
}

impl PolicyCache {
    /// A cache of at most `max_bytes`, counted by what entries hold, in front of a store.
    #[must_use]
    pub fn new(store: Arc<dyn PolicyStore>, action_count: usize, max_bytes: u64) -> Self {
        let entries = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(weight)
            // By recency alone: entries of an old revision are dead however popular they were.
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self { store, entries, action_count }
    }

    /// The policies of a principal, at the newest revision that the store knows or later.
    ///
    /// # Errors
    ///
    /// If they are not cached and the store can't load them, or what it knows is too old. The next request tries again.
    pub async fn get(&self, identity: &Identity) -> Result<LoadedPolicies, StoreError> {
        match self.store.freshness() {
            Freshness::Current => self.get_known(identity).await,
            Freshness::Stale => {
                let loaded = self.get_known(identity).await?;
                Ok(LoadedPolicies { is_stale: true, ..loaded })
            }
            Freshness::Expired => Err(StoreError::Expired),
        }
    }

    async fn get_known(&self, identity: &Identity) -> Result<LoadedPolicies, StoreError> {
        let revision = self.store.revision(&identity.domain_id);
        let key = KeyRef { identity, revision };
        if let Some(loaded) = self.entries.get(&key).await {
            return Ok(loaded);
        }
        let key = Key { identity: identity.clone(), revision };
        let outcome = self.entries.try_get_with(key, self.load(identity, revision)).await;
        match outcome.map_err(Arc::unwrap_or_clone) {
            Ok(loaded) => Ok(loaded),
            Err(Miss::Failed(error)) => Err(error),
            Err(Miss::Newer(loaded)) => {
                // The domain changed while it was read: what was read belongs under its own revision.
                let key = Key { identity: identity.clone(), revision: loaded.revision };
                self.entries.insert(key, loaded.clone()).await;
                Ok(loaded)
            }
        }
    }

    async fn load(&self, identity: &Identity, known: Revision) -> Result<LoadedPolicies, Miss> {
        let read = self.store.load(identity).await.map_err(Miss::Failed)?;
        if read.revision < known {
            return Err(Miss::Failed(StoreError::Behind { read: read.revision, known }));
        }
        let policies = PolicySet::merge(identity.project_id.as_deref(), &read.grants, self.action_count);
        let loaded =
            LoadedPolicies { revision: read.revision, policies: Arc::new(policies), is_stale: false };
        if read.revision == known { Ok(loaded) } else { Err(Miss::Newer(loaded)) }
    }

    /// The newest revision of a domain that the store knows.
    #[must_use]
    pub fn revision(&self, domain_id: &str) -> Revision {
        self.store.revision(domain_id)
    }

    /// Waits until the store knows a domain at this revision. The caller sets the deadline.
    ///
    /// # Errors
    ///
    /// If the store stops.
    pub async fn wait_for(&self, domain_id: &str, minimum: Revision) -> Result<(), StoreError> {
        let mut changes = self.store.changes();
        while self.store.revision(domain_id) < minimum {
            changes.changed().await.map_err(|_| StoreError::Stopped)?;
        }
        Ok(())
    }
}

/// Why a load did not fill the entry that it was for.
#[derive(Debug, Clone)]
enum Miss {
    Failed(StoreError),
    Newer(LoadedPolicies),
}

/// What an entry holds, in bytes; moka's own share of about 200 bytes is counted too.
fn weight(key: &Key, loaded: &LoadedPolicies) -> u32 {
    let Identity { domain_id, subject, project_id, group_ids, role_names } = &key.identity;
    let (Subject::User(subject) | Subject::Agency(subject)) = subject;
    let lists = group_ids.iter().chain(role_names).map(|text| size_of::<String>() + text.len());
    let project = project_id.as_ref().map_or(0, String::len);
    let key_bytes = size_of::<Key>() + domain_id.len() + subject.len() + project + lists.sum::<usize>();
    u32::try_from(200 + key_bytes + loaded.policies.approximate_bytes()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::store::{LoadFuture, PrincipalGrants, StoreHealth};

    /// A store in which nobody has grants.
    #[derive(Debug)]
    struct EmptyStore;

    impl PolicyStore for EmptyStore {
        fn revision(&self, _: &str) -> Revision {
            Revision(1)
        }

        fn load<'a>(&'a self, _: &'a Identity) -> LoadFuture<'a> {
            Box::pin(async { Ok(PrincipalGrants { revision: Revision(1), grants: Vec::new() }) })
        }

        fn changes(&self) -> watch::Receiver<()> {
            watch::channel(()).1
        }

        fn health(&self) -> StoreHealth {
            StoreHealth::Current
        }
    }

    fn identity(user: usize) -> Identity {
        Identity {
            domain_id: "acme".into(),
            subject: Subject::User(user.to_string()),
            project_id: None,
            group_ids: vec!["x".repeat(1_000)],
            role_names: Vec::new(),
        }
    }

    #[tokio::test]
    async fn entries_are_weighed_by_their_bytes_and_bounded_by_them() {
        let cache = PolicyCache::new(Arc::new(EmptyStore), 102, 100_000);
        for user in 0..1_000 {
            cache.get(&identity(user)).await.unwrap();
        }
        cache.entries.run_pending_tasks().await;
        assert!(cache.entries.weighted_size() <= 100_000, "{}", cache.entries.weighted_size());
        // An entry holds more than its longest text, and less than three times that.
        assert!((33..100).contains(&cache.entries.entry_count()), "{}", cache.entries.entry_count());
    }
}
