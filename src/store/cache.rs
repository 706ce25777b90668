//! The cache of compiled policy sets in front of a store.
//!
//! An entry is keyed by everything that it depends on: the identity, field by field, and the revision of its domain, in
//! the store's history of changes. So a change makes old entries unreachable at once; there is no invalidation and no clock. Concurrent misses of
//! one key cause one load. "No grants" is an entry like any other; an error is never one.
//!
//! Entries share their policy sets: principals with the same policies have one set, and it is merged once. A set
//! outlives a revision that did not change it, and is gone with the last entry that has it.

use std::hash::{Hash, Hasher};
use std::panic::resume_unwind;
use std::sync::Arc;

use equivalent::Equivalent;
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use rapidhash::quality::RandomState;
use tokio::runtime::Handle;

use super::{Freshness, PolicyStore, PrincipalGrants, Revision, StoreError};
use crate::policy::{Applicable, PolicySet};
use crate::request::{Identity, Subject};
use counters::{Counts, add_one};
use sets::{Origin, Sets, SetsInUse, SharedSet};

pub use counters::CacheCounters;

mod counters;
mod sets;

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
    entries: Cache<Key, Entry, RandomState>,
    sets: Arc<Sets>,
    /// The set of those who have no grants.
    empty: Arc<SharedSet>,
    counts: Counts,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    /// INVARIANT: holds every input of an entry. Whole values, not hashes: two principals never share one.
    Principal { identity: Identity, timeline: u64, revision: Revision },
    /// Of an entry that weighs what all policy sets in use do.
    Sets,
}

/// A [`Key::Principal`] whose identity is borrowed from a request, so that a hit copies nothing.
#[derive(Debug, Clone, Copy)]
struct KeyRef<'a> {
    identity: &'a Identity,
    timeline: u64,
    revision: Revision,
}

#[derive(Debug, Clone)]
struct Entry {
    revision: Revision,
    set: Arc<SharedSet>,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if let Self::Principal { identity, timeline, revision } = self {
            KeyRef { identity, timeline: *timeline, revision: *revision }.hash(state);
        }
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity.hash(state);
        self.timeline.hash(state);
        self.revision.hash(state);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        match key {
            Key::Principal { identity, timeline, revision } => {
                self.identity == identity && self.timeline == *timeline && self.revision == *revision
            }
            Key::Sets => false,
        }
    }
}

impl KeyRef<'_> {
    fn to_key(self) -> Key {
        let Self { identity, timeline, revision } = self;
        Key::Principal { identity: identity.clone(), timeline, revision }
    }
}

impl PolicyCache {
    /// A cache in front of a store that compiles against a catalog of `action_count` actions.
    ///
    /// `max_bytes` bounds what entries and their policy sets hold together: the entries that were not asked for the
    /// longest time leave until both fit, and with the last entry of a set the set. At the worst, there are besides:
    ///
    /// - for a moment, what some hundred misses have brought, since entries leave in batches;
    /// - the sets of requests that are being answered;
    /// - compiled policies. They are the store's; but one that the store has replaced lives for as long as a set
    ///   that refers to it.
    #[must_use]
    pub fn new(store: Arc<dyn PolicyStore>, action_count: usize, max_bytes: u64) -> Self {
        let sets = Sets::new(action_count);
        let (empty, _) = sets.share(Applicable::default());
        let max_units = max_bytes / UNIT_BYTES;
        let weigher = {
            let sets = sets.clone();
            move |key: &Key, _: &Entry| match key {
                Key::Principal { identity, .. } => units(entry_bytes(identity)),
                // Heavier than the cache, it would not be admitted. As heavy, it drives out all that holds a set.
                Key::Sets => units(sets.in_use().bytes).min(u32::try_from(max_units).unwrap_or(u32::MAX)),
            }
        };
        let entries = Cache::builder()
            .max_capacity(max_units)
            .weigher(weigher)
            // By recency alone: entries of an old revision are dead however popular they were.
            .eviction_policy(EvictionPolicy::lru())
            // Hashing was most of a hit. The seed is random; keys are compared as a whole, so whoever found two with one
            // hash would slow them down and no more.
            .build_with_hasher(RandomState::default());
        Self { store, entries, sets, empty, counts: Counts::default() }
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
                self.counts.stale_answers.add_one();
                Ok(LoadedPolicies { is_stale: true, ..loaded })
            }
            Freshness::Expired => Err(StoreError::Expired),
        }
    }

    async fn get_known(&self, identity: &Identity) -> Result<LoadedPolicies, StoreError> {
        let timeline = self.store.timeline();
        let key = KeyRef { identity, timeline, revision: self.store.revision(&identity.domain_id) };
        if let Some(entry) = self.entries.get(&key).await {
            self.counts.hits.add_one();
            return Ok(entry.loaded());
        }
        // The cold path: a hit carries no room for it.
        Box::pin(self.get_missing(key)).await
    }

    async fn get_missing(&self, key: KeyRef<'_>) -> Result<LoadedPolicies, StoreError> {
        add_one(&self.counts.misses);
        let outcome = self.entries.try_get_with(key.to_key(), self.load(key)).await;
        match outcome.map_err(Arc::unwrap_or_clone) {
            Ok(entry) => Ok(entry.loaded()),
            Err(Miss::Failed(error)) => Err(error),
            Err(Miss::Newer(entry)) => {
                // The domain changed while it was read: what was read belongs under its own revision.
                let key = KeyRef { revision: entry.revision, ..key };
                self.entries.insert(key.to_key(), entry.clone()).await;
                Ok(entry.loaded())
            }
        }
    }

    async fn load(&self, KeyRef { identity, revision: known, .. }: KeyRef<'_>) -> Result<Entry, Miss> {
        add_one(&self.counts.loads);
        let read = self.read(identity, known).await.map_err(|error| {
            add_one(&self.counts.load_errors);
            Miss::Failed(error)
        })?;
        let applicable = Applicable::of(identity.project_id.as_deref(), &read.grants);
        let (set, origin) = self.share(applicable).await?;
        if origin == Origin::Shared {
            add_one(&self.counts.shared_sets);
        }
        self.weigh_sets().await;
        let entry = Entry { revision: read.revision, set };
        if read.revision == known { Ok(entry) } else { Err(Miss::Newer(entry)) }
    }

    /// The set of these policies. To merge many takes longer than others should wait that have their turn on this thread.
    async fn share(&self, applicable: Applicable) -> Result<(Arc<SharedSet>, Origin), Miss> {
        let elsewhere = Handle::try_current().ok().filter(|_| applicable.policy_count() >= LONG_MERGE);
        let Some(runtime) = elsewhere else { return Ok(self.sets.share(applicable)) };
        let sets = self.sets.clone();
        let shared = runtime.spawn_blocking(move || sets.share(applicable)).await;
        shared.map_err(|fault| match fault.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_cancelled) => Miss::Failed(StoreError::Stopped),
        })
    }

    async fn read(&self, identity: &Identity, known: Revision) -> Result<PrincipalGrants, StoreError> {
        let read = self.store.load(identity).await?;
        if read.revision < known {
            return Err(StoreError::Behind { read: read.revision, known });
        }
        Ok(read)
    }

    /// Weighs the sets, as an entry like any other, so that entries leave for them too. Each load does it: so it is
    /// always among the newest entries and does not leave before those that hold sets.
    async fn weigh_sets(&self) {
        let weighed = Entry { revision: Revision::default(), set: self.empty.clone() };
        self.entries.insert(Key::Sets, weighed).await;
    }

    /// What has been counted, and what is held once all that must leave has left.
    pub async fn counters(&self) -> CacheCounters {
        self.entries.run_pending_tasks().await;
        // Sets have left with those entries.
        self.weigh_sets().await;
        self.entries.run_pending_tasks().await;
        let SetsInUse { count, bytes } = self.sets.in_use();
        CacheCounters {
            entries: self.entries.entry_count().saturating_sub(1),
            bytes: self.entries.weighted_size() * UNIT_BYTES,
            sets: u64::try_from(count).unwrap_or(u64::MAX),
            set_bytes: bytes,
            ..self.counts.counted()
        }
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

impl Entry {
    fn loaded(&self) -> LoadedPolicies {
        LoadedPolicies { revision: self.revision, policies: self.set.policies.clone(), is_stale: false }
    }
}

/// From how many policies on it takes longer to merge them than to hand them to another thread: some 60 µs.
const LONG_MERGE: usize = 256;

/// Why a load did not fill the entry that it was for.
#[derive(Debug, Clone)]
enum Miss {
    Failed(StoreError),
    Newer(Entry),
}

/// What weights are counted in: allocators round up to it, and 64 GiB can be told in it.
const UNIT_BYTES: u64 = 16;
/// moka's own share of an entry, and what its allocations cost: measured by `scripts/bench-postgres`.
const MOKA_BYTES: usize = 350;

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

/// What an entry holds besides its set, in bytes.
fn entry_bytes(identity: &Identity) -> u64 {
    let Identity { domain_id, subject, project_id, group_ids, role_names } = identity;
    let (Subject::User(subject) | Subject::Agency(subject)) = subject;
    let lists = group_ids.iter().chain(role_names).map(|text| size_of::<String>() + text.len());
    let project = project_id.as_ref().map_or(0, String::len);
    let texts = domain_id.len() + subject.len() + project + lists.sum::<usize>();
    u64::try_from(MOKA_BYTES + size_of::<Key>() + size_of::<Entry>() + texts).unwrap_or(u64::MAX)
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
        let counted = cache.counters().await;
        assert!(counted.bytes <= 100_000, "{counted:?}");
        // An entry holds more than its longest text, and less than three times that.
        assert!((33..100).contains(&counted.entries), "{counted:?}");
    }
}
