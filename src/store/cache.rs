//! The cache of compiled policy sets in front of a store.
//!
//! An entry is keyed by everything that it depends on: the identity, field by field, and the revision of its domain, in
//! the store's history of changes. So a change makes old entries unreachable at once; there is no invalidation and no clock.
//! Concurrent misses of one key cause one load. "No grants" is an entry like any other; an error is never one.
//!
//! Entries share their policy sets: principals with the same policies have one set, and it is merged once. A set
//! outlives a revision that did not change it, and is gone with the last entry that has it. They share what their keys have
//! in common, too.
//!
//! The table of entries is our own, where moka was at first: of all of a decision its hits took the most, and of all memory its
//! entries. `benches/README.md` has the figures.

use std::panic::resume_unwind;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::{Freshness, PolicyStore, PrincipalGrants, Revision, StoreError};
use crate::policy::{Applicable, PolicySet};
use crate::request::Identity;
use counters::{Counts, add_one};
use entries::Entries;
use key::KeyRef;
use loading::Loading;
use places::Places;
use sets::{Origin, Sets, SetsInUse, SharedSet};

pub use counters::CacheCounters;

mod counters;
mod entries;
mod key;
mod loading;
mod places;
mod sets;
mod subject;

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
    max_bytes: u64,
    entries: Entries,
    places: Arc<Places>,
    sets: Arc<Sets>,
    /// The set of those who have no grants. Held here, so that it is always there.
    _empty: Arc<SharedSet>,
    loading: Loading<Result<Loaded, StoreError>>,
    counts: Counts,
}

/// From how many policies on it takes longer to merge them than to hand them to another thread: some 60 µs.
const LONG_MERGE: usize = 256;

/// What a load came to.
#[derive(Debug, Clone)]
struct Loaded {
    revision: Revision,
    set: Arc<SharedSet>,
}

impl PolicyCache {
    /// A cache in front of a store that compiles against a catalog of `action_count` actions.
    ///
    /// `max_bytes` bounds what entries, their keys and their policy sets hold together: entries that were not asked for
    /// lately leave until all fit, and with the last entry of a set the set. At the worst, there are besides:
    ///
    /// - for a moment, what misses at the same time bring;
    /// - the set of those who have no grants, which is always there;
    /// - the sets of requests that are being answered;
    /// - compiled policies. They are the store's; but one that the store has replaced lives for as long as a set
    ///   that refers to it.
    #[must_use]
    pub fn new(store: Arc<dyn PolicyStore>, action_count: usize, max_bytes: u64) -> Self {
        let sets = Sets::new(action_count);
        let (empty, _) = sets.share(Applicable::default());
        Self {
            store,
            max_bytes,
            entries: Entries::new(max_bytes),
            places: Places::new(),
            sets,
            _empty: empty,
            loading: Loading::new(),
            counts: Counts::default(),
        }
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
        if let Some(policies) = self.entries.get(key, |set| set.policies.clone()) {
            self.counts.hits.add_one();
            return Ok(LoadedPolicies { revision: key.revision, policies, is_stale: false });
        }
        // The cold path: a hit carries no room for it.
        Box::pin(self.get_missing(key)).await
    }

    async fn get_missing(&self, key: KeyRef<'_>) -> Result<LoadedPolicies, StoreError> {
        add_one(&self.counts.misses);
        let load = async {
            match self.entries.get(key, Arc::clone) {
                // Another load ended between the look at the entries and here.
                Some(set) => Ok(Loaded { revision: key.revision, set }),
                None => self.load(key).await,
            }
        };
        let Loaded { revision, set } = self.loading.join(key, load).await?;
        Ok(LoadedPolicies { revision, policies: set.policies.clone(), is_stale: false })
    }

    async fn load(&self, key: KeyRef<'_>) -> Result<Loaded, StoreError> {
        add_one(&self.counts.loads);
        let read = self.read(key.identity, key.revision).await;
        let read = read.inspect_err(|_| add_one(&self.counts.load_errors))?;
        let applicable = Applicable::of(key.identity.project_id.as_deref(), &read.grants);
        let (set, origin) = self.share(applicable).await?;
        if origin == Origin::Shared {
            add_one(&self.counts.shared_sets);
        }
        // If the domain changed while it was read, what was read belongs under its own revision.
        self.keep(KeyRef { revision: read.revision, ..key }, set.clone());
        Ok(Loaded { revision: read.revision, set })
    }

    /// The set of these policies. To merge many takes longer than others should wait that have their turn on this thread.
    async fn share(&self, applicable: Applicable) -> Result<(Arc<SharedSet>, Origin), StoreError> {
        let elsewhere = Handle::try_current().ok().filter(|_| applicable.policy_count() >= LONG_MERGE);
        let Some(runtime) = elsewhere else { return Ok(self.sets.share(applicable)) };
        let sets = self.sets.clone();
        let shared = runtime.spawn_blocking(move || sets.share(applicable)).await;
        shared.map_err(|fault| match fault.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_cancelled) => StoreError::Stopped,
        })
    }

    /// Makes an entry, if there is room for it once others have left. The place and the set are counted already.
    fn keep(&self, key: KeyRef<'_>, set: Arc<SharedSet>) {
        let place = self.places.share(key);
        let is_too_much =
            || self.bytes(self.sets.in_use()).saturating_add(Entries::bytes_of(key)) > self.max_bytes;
        while is_too_much() && self.entries.evict(key) {}
        if !is_too_much() {
            self.entries.insert(key, place, set);
        }
    }

    fn bytes(&self, sets: SetsInUse) -> u64 {
        sets.bytes + self.places.bytes() + self.entries.bytes()
    }

    async fn read(&self, identity: &Identity, known: Revision) -> Result<PrincipalGrants, StoreError> {
        let read = self.store.load(identity).await?;
        if read.revision < known {
            return Err(StoreError::Behind { read: read.revision, known });
        }
        Ok(read)
    }

    /// What has been counted, and what is held.
    #[must_use]
    pub fn counters(&self) -> CacheCounters {
        let sets = self.sets.in_use();
        CacheCounters {
            entries: u64::try_from(self.entries.count()).unwrap_or(u64::MAX),
            bytes: self.bytes(sets),
            sets: u64::try_from(sets.count).unwrap_or(u64::MAX),
            set_bytes: sets.bytes,
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

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::request::Subject;
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
            // In a place of its own.
            group_ids: vec![format!("{user}{}", "x".repeat(1_000))],
            role_names: Vec::new(),
        }
    }

    #[tokio::test]
    async fn entries_are_weighed_by_their_bytes_and_bounded_by_them() {
        let cache = PolicyCache::new(Arc::new(EmptyStore), 102, 100_000);
        for user in 0..1_000 {
            cache.get(&identity(user)).await.unwrap();
        }
        let counted = cache.counters();
        assert!(counted.bytes <= 100_000, "{counted:?}");
        // An entry holds more than its longest text, and less than twice that.
        assert!((50..100).contains(&counted.entries), "{counted:?}");
    }

    #[tokio::test]
    async fn who_is_asked_for_again_and_again_stays() {
        let cache = PolicyCache::new(Arc::new(EmptyStore), 102, 100_000);
        for user in 0..1_000 {
            cache.get(&identity(0)).await.unwrap();
            cache.get(&identity(user)).await.unwrap();
        }
        let counted = cache.counters();
        // The first was loaded once: it is who makes up for the one hit of the first round.
        assert_eq!((counted.loads, counted.hits), (1_000, 1_000), "{counted:?}");
        assert!(counted.entries < 100, "{counted:?}");
    }
}
