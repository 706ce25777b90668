//! The policy cache: one load for many, errors never kept, no entry for the wrong principal or revision.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ecs_authz::catalog::Catalog;

use ecs_authz::policy::{CompiledPolicy, Document, Grant, Scope};
use ecs_authz::request::{Identity, Subject};
use ecs_authz::store::cache::{LoadedPolicies, PolicyCache};
use ecs_authz::store::{LoadFuture, PolicyStore, PrincipalGrants, Revision, StoreError, StoreHealth};
use libtest_mimic::Trial;
use tokio::sync::{Semaphore, watch};

use crate::support::{block_on, trials, verdict_on_start};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        ten_thousand_concurrent_misses_cause_one_load,
        a_hit_loads_nothing_and_no_grants_is_a_hit,
        an_error_is_not_kept,
        a_new_revision_is_loaded_at_once,
        what_was_read_newer_is_kept_under_its_own_revision,
        an_older_answer_than_announced_is_an_error,
        every_part_of_an_identity_is_part_of_the_key,
        waiting_for_a_revision_ends_when_it_comes,
        waiting_for_a_revision_ends_when_the_store_stops,
    ]
}

/// A store whose answers the test sets.
#[derive(Debug)]
struct ScriptedStore {
    revision: AtomicU64,
    loads: AtomicUsize,
    /// Answers to give before the ordinary one.
    script: Mutex<VecDeque<Result<u64, StoreError>>>,
    /// A load waits for a permit.
    gate: Semaphore,
    grants: Vec<Grant>,
    changed: Mutex<Option<watch::Sender<()>>>,
}

impl ScriptedStore {
    fn new(grants: Vec<Grant>) -> Arc<Self> {
        Arc::new(Self {
            revision: AtomicU64::new(1),
            loads: AtomicUsize::new(0),
            script: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            grants,
            changed: Mutex::new(Some(watch::Sender::new(()))),
        })
    }

    fn next(&self, answer: Result<u64, StoreError>) {
        self.script.lock().unwrap().push_back(answer);
    }

    fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    fn announce(&self, revision: u64) {
        self.revision.store(revision, Ordering::SeqCst);
        if let Some(changed) = &*self.changed.lock().unwrap() {
            changed.send_replace(());
        }
    }
}

impl PolicyStore for ScriptedStore {
    fn revision(&self, _domain_id: &str) -> Revision {
        Revision(self.revision.load(Ordering::SeqCst))
    }

    fn load<'a>(&'a self, _identity: &'a Identity) -> LoadFuture<'a> {
        Box::pin(async {
            let _permit = self.gate.acquire().await.unwrap();
            self.loads.fetch_add(1, Ordering::SeqCst);
            let scripted = self.script.lock().unwrap().pop_front();
            let revision = scripted.unwrap_or(Ok(self.revision.load(Ordering::SeqCst)))?;
            Ok(PrincipalGrants { revision: Revision(revision), grants: self.grants.clone() })
        })
    }

    fn changes(&self) -> watch::Receiver<()> {
        let changed = self.changed.lock().unwrap();
        changed.as_ref().map_or_else(|| watch::channel(()).1, watch::Sender::subscribe)
    }

    fn health(&self) -> StoreHealth {
        StoreHealth::Current
    }
}

fn cache(store: &Arc<ScriptedStore>) -> Arc<PolicyCache> {
    let actions = Catalog::published().unwrap().action_count();
    Arc::new(PolicyCache::new(store.clone(), actions, 1 << 20))
}

fn identity(user: &str) -> Identity {
    Identity {
        domain_id: "acme".into(),
        subject: Subject::User(user.into()),
        project_id: Some("prod".into()),
        group_ids: Vec::new(),
        role_names: Vec::new(),
    }
}

fn allow_everything() -> Vec<Grant> {
    let text = r#"{"Version":"1.1","Statement":[{"Effect":"Allow","Action":["*"]}]}"#;
    let document = Document::parse(text).unwrap();
    let policy = CompiledPolicy::compile("all", &document, &Catalog::published().unwrap());
    vec![Grant { policy: Arc::new(policy), scope: Scope::AllProjects }]
}

fn allows_start(loaded: &LoadedPolicies) -> bool {
    verdict_on_start(&loaded.policies) == "allowed"
}

fn ten_thousand_concurrent_misses_cause_one_load() {
    let store = ScriptedStore::new(allow_everything());
    let cache = cache(&store);
    block_on(async {
        let closed = store.gate.acquire_many(Semaphore::MAX_PERMITS as u32).await;
        let asked = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..10_000)
            .map(|_| {
                let (cache, asked) = (cache.clone(), asked.clone());
                tokio::spawn(async move {
                    asked.fetch_add(1, Ordering::SeqCst);
                    cache.get(&identity("alice")).await
                })
            })
            .collect();
        while asked.load(Ordering::SeqCst) < 10_000 {
            tokio::task::yield_now().await;
        }
        drop(closed);
        for task in tasks {
            assert_eq!(task.await.unwrap().unwrap().revision, Revision(1));
        }
    });
    assert_eq!(store.loads(), 1);
    let counted = cache.counters();
    assert_eq!((counted.loads, counted.hits + counted.misses), (1, 10_000));
}

fn a_hit_loads_nothing_and_no_grants_is_a_hit() {
    let store = ScriptedStore::new(Vec::new());
    let cache = cache(&store);
    for _ in 0..3 {
        assert!(!allows_start(&block_on(cache.get(&identity("alice"))).unwrap()));
    }
    assert_eq!(store.loads(), 1);
}

fn an_error_is_not_kept() {
    let store = ScriptedStore::new(allow_everything());
    let cache = cache(&store);
    store.next(Err(StoreError::Unavailable(Arc::new(io::Error::other("down")))));
    let error = block_on(cache.get(&identity("alice"))).unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)));
    assert!(allows_start(&block_on(cache.get(&identity("alice"))).unwrap()));
    assert_eq!(store.loads(), 2);
}

fn a_new_revision_is_loaded_at_once() {
    let store = ScriptedStore::new(Vec::new());
    let cache = cache(&store);
    assert_eq!(block_on(cache.get(&identity("alice"))).unwrap().revision, Revision(1));
    store.announce(2);
    assert_eq!(block_on(cache.get(&identity("alice"))).unwrap().revision, Revision(2));
    assert_eq!(store.loads(), 2);
}

fn what_was_read_newer_is_kept_under_its_own_revision() {
    let store = ScriptedStore::new(Vec::new());
    let cache = cache(&store);
    // The domain changes between the look at its revision and the load.
    store.next(Ok(7));
    assert_eq!(block_on(cache.get(&identity("alice"))).unwrap().revision, Revision(7));
    store.announce(7);
    assert_eq!(block_on(cache.get(&identity("alice"))).unwrap().revision, Revision(7));
    assert_eq!(store.loads(), 1);
}

fn an_older_answer_than_announced_is_an_error() {
    let store = ScriptedStore::new(allow_everything());
    let cache = cache(&store);
    store.announce(5);
    store.next(Ok(4));
    let error = block_on(cache.get(&identity("alice"))).unwrap_err();
    assert!(matches!(error, StoreError::Behind { read: Revision(4), known: Revision(5) }), "{error}");
}

fn every_part_of_an_identity_is_part_of_the_key() {
    let store = ScriptedStore::new(Vec::new());
    let cache = cache(&store);
    let base = identity("alice");
    let others = [
        base.clone(),
        Identity { domain_id: "other".into(), ..base.clone() },
        Identity { subject: Subject::User("bob".into()), ..base.clone() },
        Identity { subject: Subject::Agency("alice".into()), ..base.clone() },
        Identity { project_id: None, ..base.clone() },
        Identity { project_id: Some("test".into()), ..base.clone() },
        Identity { group_ids: vec!["a".into()], ..base.clone() },
        Identity { group_ids: vec!["a".into(), "b".into()], ..base.clone() },
        Identity { group_ids: vec!["ab".into()], ..base.clone() },
        Identity { role_names: vec!["a".into()], ..base.clone() },
        Identity { domain_id: "acmea".into(), subject: Subject::User("lice".into()), ..base.clone() },
    ];
    for (count, identity) in others.iter().enumerate() {
        block_on(cache.get(identity)).unwrap();
        assert_eq!(store.loads(), count + 1, "{identity:?}");
    }
}

fn waiting_for_a_revision_ends_when_it_comes() {
    let store = ScriptedStore::new(Vec::new());
    let cache = cache(&store);
    block_on(async {
        let waiting = tokio::spawn({
            let cache = cache.clone();
            async move { cache.wait_for("acme", Revision(3)).await }
        });
        store.announce(2);
        store.announce(3);
        waiting.await.unwrap().unwrap();
        cache.wait_for("acme", Revision(1)).await.unwrap();
    });
}

fn waiting_for_a_revision_ends_when_the_store_stops() {
    let store = ScriptedStore::new(Vec::new());
    let cache = cache(&store);
    store.changed.lock().unwrap().take();
    let error = block_on(cache.wait_for("acme", Revision(3))).unwrap_err();
    assert!(matches!(error, StoreError::Stopped));
}
