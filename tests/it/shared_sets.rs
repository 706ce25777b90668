//! Equal policy sets are one, different ones are not, and what is held stays within its bound and is counted.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use ecs_authz::catalog::Catalog;
use ecs_authz::policy::{CompiledPolicy, Document, Grant, PolicySet, Scope};
use ecs_authz::request::{Identity, Subject};
use ecs_authz::store::cache::{CacheCounters, PolicyCache};
use ecs_authz::store::directory::DirectoryStore;
use ecs_authz::store::{
    Freshness, LoadFuture, PolicyStore, PrincipalGrants, Revision, StoreError, StoreHealth,
};
use libtest_mimic::Trial;
use tokio::sync::{Barrier, watch};

use crate::support::{PolicyDir, block_on, trials, verdict_on_start};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        principals_with_the_same_policies_share_one_set,
        all_without_grants_share_one_set,
        domains_with_the_same_system_policies_share_one_set,
        the_order_of_grants_makes_no_other_set,
        a_grant_that_does_not_apply_makes_no_other_set,
        a_set_survives_a_revision_that_leaves_its_policies,
        concurrent_misses_end_with_one_set,
        a_set_that_differs_in_a_scope_is_another,
        a_set_that_differs_in_a_policy_is_another,
        a_set_that_differs_in_a_version_of_a_document_is_another,
        a_set_is_gone_with_its_last_entry,
        a_set_that_is_in_use_outlives_its_entries,
        distinct_sets_stay_within_the_bound,
        equal_sets_leave_room_for_entries,
        sets_larger_than_the_cache_are_answered_and_not_kept,
        hits_misses_and_loads_are_counted,
        failed_loads_are_counted,
        stale_answers_are_counted,
        shared_sets_are_counted,
    ]
}

/// A store in which each user has the grants that the test told.
#[derive(Debug)]
struct ToldStore {
    told: Mutex<Told>,
    /// Loads that wait for each other, if the test wants them to.
    together: Option<Barrier>,
}

#[derive(Debug)]
struct Told {
    revision: u64,
    freshness: Freshness,
    is_down: bool,
    by_user: HashMap<String, Vec<Grant>>,
}

impl ToldStore {
    fn new(grants: impl IntoIterator<Item = (&'static str, Vec<Grant>)>) -> Arc<Self> {
        let by_user = grants.into_iter().map(|(user, grants)| (user.to_owned(), grants)).collect();
        let told = Told { revision: 1, freshness: Freshness::Current, is_down: false, by_user };
        Arc::new(Self { told: Mutex::new(told), together: None })
    }

    fn tell(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.told.lock().unwrap());
    }
}

impl PolicyStore for ToldStore {
    fn revision(&self, _domain_id: &str) -> Revision {
        Revision(self.told.lock().unwrap().revision)
    }

    fn freshness(&self) -> Freshness {
        self.told.lock().unwrap().freshness
    }

    fn load<'a>(&'a self, identity: &'a Identity) -> LoadFuture<'a> {
        Box::pin(async move {
            if let Some(together) = &self.together {
                together.wait().await;
            }
            let told = self.told.lock().unwrap();
            if told.is_down {
                return Err(StoreError::Unavailable(Arc::new(io::Error::other("down"))));
            }
            let Subject::User(user) = &identity.subject else { panic!("expected a user") };
            let grants = told.by_user.get(user).cloned().unwrap_or_default();
            Ok(PrincipalGrants { revision: Revision(told.revision), grants })
        })
    }

    fn changes(&self) -> watch::Receiver<()> {
        watch::channel(()).1
    }

    fn health(&self) -> StoreHealth {
        StoreHealth::Current
    }
}

const MIB: u64 = 1_024 * 1_024;

fn cache(store: Arc<dyn PolicyStore>, bytes: u64) -> PolicyCache {
    PolicyCache::new(store, Catalog::published().unwrap().action_count(), bytes)
}

fn policy(name: &str, action: &str) -> Arc<CompiledPolicy> {
    let text = format!(r#"{{"Version":"1.1","Statement":[{{"Effect":"Allow","Action":["{action}"]}}]}}"#);
    let document = Document::parse(&text).unwrap();
    Arc::new(CompiledPolicy::compile(name, &document, &Catalog::published().unwrap()))
}

fn everywhere(policy: &Arc<CompiledPolicy>) -> Grant {
    Grant { policy: policy.clone(), scope: Scope::AllProjects }
}

fn user(domain_id: &str, user: &str) -> Identity {
    Identity {
        domain_id: domain_id.into(),
        subject: Subject::User(user.into()),
        project_id: Some("prod".into()),
        group_ids: Vec::new(),
        role_names: Vec::new(),
    }
}

fn set(cache: &PolicyCache, identity: &Identity) -> Arc<PolicySet> {
    block_on(cache.get(identity)).unwrap().policies
}

/// Whether alice and bob, in one domain, have one set.
fn share(alice: Vec<Grant>, bob: Vec<Grant>) -> bool {
    let cache = cache(ToldStore::new([("alice", alice), ("bob", bob)]), MIB);
    Arc::ptr_eq(&set(&cache, &user("acme", "alice")), &set(&cache, &user("acme", "bob")))
}

fn counters(cache: &PolicyCache) -> CacheCounters {
    cache.counters()
}

fn principals_with_the_same_policies_share_one_set() {
    let (all, list) = (policy("all", "*"), policy("list", "ecs:servers:list"));
    let grants = vec![everywhere(&all), everywhere(&list)];
    assert!(share(grants.clone(), grants));
}

fn all_without_grants_share_one_set() {
    let cache = cache(ToldStore::new([]), MIB);
    let nothing = set(&cache, &user("acme", "alice"));
    assert!(Arc::ptr_eq(&nothing, &set(&cache, &user("acme", "bob"))));
    assert!(Arc::ptr_eq(&nothing, &set(&cache, &user("other", "bob"))));
    assert!(Arc::ptr_eq(&nothing, &set(&cache, &Identity { project_id: None, ..user("acme", "eve") })));
    assert_eq!(counters(&cache).sets, 1);
}

fn domains_with_the_same_system_policies_share_one_set() {
    let dir = PolicyDir::new();
    let grant =
        "[[grant]]\nsubject = { user = \"alice\" }\npolicy = \"ECS FullAccess\"\nscope = \"all_projects\"\n";
    dir.write("acme/grants.toml", grant);
    dir.write("other/grants.toml", grant);
    let catalog = Arc::new(Catalog::published().unwrap());
    let cache = cache(Arc::new(DirectoryStore::open(dir.path(), catalog).unwrap()), MIB);
    let roles = Identity { role_names: vec!["te_admin".into()], ..user("acme", "bob") };
    let same_roles = Identity { domain_id: "third".into(), ..roles.clone() };
    assert!(Arc::ptr_eq(&set(&cache, &user("acme", "alice")), &set(&cache, &user("other", "alice"))));
    assert!(Arc::ptr_eq(&set(&cache, &roles), &set(&cache, &same_roles)));
    assert!(!Arc::ptr_eq(&set(&cache, &roles), &set(&cache, &user("acme", "alice"))));
}

fn the_order_of_grants_makes_no_other_set() {
    let (a, b) = (policy("a", "ecs:servers:list"), policy("b", "ecs:servers:get"));
    let in_enterprise = |policy: &Arc<CompiledPolicy>, id: &str| Grant {
        policy: policy.clone(),
        scope: Scope::EnterpriseProject(id.into()),
    };
    let grants = vec![everywhere(&a), everywhere(&b), in_enterprise(&a, "x"), in_enterprise(&b, "y")];
    // Through several groups, the same grant comes more than once.
    let reversed = grants.iter().rev().chain(&grants).cloned().collect();
    assert!(share(grants, reversed));
}

fn a_grant_that_does_not_apply_makes_no_other_set() {
    let (a, b) = (policy("a", "ecs:servers:list"), policy("b", "ecs:servers:get"));
    let elsewhere = Grant { policy: b.clone(), scope: Scope::Project("test".into()) };
    let global = Grant { policy: b, scope: Scope::Domain };
    let here = Grant { policy: a.clone(), scope: Scope::Project("prod".into()) };
    assert!(share(vec![everywhere(&a)], vec![elsewhere, here, global]));
}

fn a_set_survives_a_revision_that_leaves_its_policies() {
    let (a, b) = (policy("a", "ecs:servers:list"), policy("b", "ecs:servers:get"));
    let store = ToldStore::new([("alice", vec![everywhere(&a)])]);
    let cache = cache(store.clone(), MIB);
    let before = set(&cache, &user("acme", "alice"));
    store.tell(|told| {
        told.revision = 2;
        told.by_user.insert("bob".into(), vec![everywhere(&b)]);
    });
    assert!(Arc::ptr_eq(&before, &set(&cache, &user("acme", "alice"))));
    let counted = counters(&cache);
    assert_eq!((counted.loads, counted.shared_sets), (2, 1));
}

fn concurrent_misses_end_with_one_set() {
    const PRINCIPALS: usize = 64;
    let grants = vec![everywhere(&policy("all", "*"))];
    let by_user = (0..PRINCIPALS).map(|index| (index.to_string(), grants.clone())).collect();
    let told = Told { revision: 1, freshness: Freshness::Current, is_down: false, by_user };
    let store = ToldStore { told: Mutex::new(told), together: Some(Barrier::new(PRINCIPALS)) };
    let cache = Arc::new(cache(Arc::new(store), MIB));
    let sets: Vec<Arc<PolicySet>> = block_on(async {
        let get = |index: usize| {
            let cache = cache.clone();
            tokio::spawn(async move { cache.get(&user("acme", &index.to_string())).await.unwrap().policies })
        };
        let tasks: Vec<_> = (0..PRINCIPALS).map(get).collect();
        let mut sets = Vec::new();
        for task in tasks {
            sets.push(task.await.unwrap());
        }
        sets
    });
    assert!(sets.iter().all(|set| Arc::ptr_eq(set, &sets[0])));
    // That of no grants, and theirs.
    assert_eq!(counters(&cache).sets, 2);
}

fn a_set_that_differs_in_a_scope_is_another() {
    let a = policy("a", "ecs:servers:list");
    let in_enterprise =
        |id: &str| vec![Grant { policy: a.clone(), scope: Scope::EnterpriseProject(id.into()) }];
    assert!(!share(vec![everywhere(&a)], in_enterprise("x")));
    assert!(!share(in_enterprise("x"), in_enterprise("y")));
    assert!(!share(in_enterprise("x"), [in_enterprise("x"), in_enterprise("y")].concat()));
    assert!(share(in_enterprise("x"), in_enterprise("x")));
}

fn a_set_that_differs_in_a_policy_is_another() {
    let (a, b) = (policy("a", "ecs:servers:list"), policy("b", "ecs:servers:list"));
    assert!(!share(vec![everywhere(&a)], vec![everywhere(&b)]));
    assert!(!share(vec![everywhere(&a)], vec![everywhere(&a), everywhere(&b)]));
    assert!(!share(vec![everywhere(&a)], Vec::new()));
}

fn a_set_that_differs_in_a_version_of_a_document_is_another() {
    let (old, new) = (policy("a", "ecs:servers:list"), policy("a", "ecs:servers:get"));
    assert!(!share(vec![everywhere(&old)], vec![everywhere(&new)]));
}

/// Asks for principals without grants, until no set but theirs is left. What has left the cache is freed once no thread
/// may still look at it, and that takes the cache some more calls.
fn fill_until_no_other_set_is_left(cache: &PolicyCache) {
    let is_left = |index: usize| {
        set(cache, &user("filling", &index.to_string()));
        counters(cache).sets > 1
    };
    assert!(!(0..100_000).all(is_left), "{:?}", counters(cache));
}

fn a_set_is_gone_with_its_last_entry() {
    let grants = vec![everywhere(&policy("all", "*"))];
    let store = ToldStore::new([("alice", grants.clone()), ("bob", grants)]);
    let cache = cache(store, 100_000);
    let held = Arc::downgrade(&set(&cache, &user("acme", "alice")));
    assert!(held.ptr_eq(&Arc::downgrade(&set(&cache, &user("acme", "bob")))));
    assert_eq!((counters(&cache).sets, held.strong_count()), (2, 1));
    fill_until_no_other_set_is_left(&cache);
    assert_eq!(held.strong_count(), 0);
}

fn a_set_that_is_in_use_outlives_its_entries() {
    let store = ToldStore::new([("alice", vec![everywhere(&policy("all", "*"))])]);
    let cache = cache(store, 100_000);
    let in_use = set(&cache, &user("acme", "alice"));
    fill_until_no_other_set_is_left(&cache);
    assert_eq!(verdict_on_start(&in_use), "allowed");
    // Who asks again has an equal one.
    assert_eq!(verdict_on_start(&set(&cache, &user("acme", "alice"))), "allowed");
}

/// Principals with a policy each.
fn distinct(count: usize) -> Arc<ToldStore> {
    let store = ToldStore::new([]);
    store.tell(|told| {
        let grants = |index: usize| vec![everywhere(&policy(&format!("p{index}"), "ecs:servers:*"))];
        told.by_user.extend((0..count).map(|index| (index.to_string(), grants(index))));
    });
    store
}

fn distinct_sets_stay_within_the_bound() {
    const BYTES: u64 = 200_000;
    let cache = cache(distinct(1_000), BYTES);
    for index in 0..1_000 {
        set(&cache, &user("acme", &index.to_string()));
        if index % 100 == 0 {
            let counted = counters(&cache);
            assert!(counted.bytes <= BYTES && counted.set_bytes < counted.bytes, "{counted:?}");
        }
    }
    let counted = counters(&cache);
    assert!(counted.bytes <= BYTES, "{counted:?}");
    // Each entry has a set of its own, and it is counted: there would be three times as many without.
    assert!(counted.sets > counted.entries, "{counted:?}");
    assert!((1..250).contains(&counted.entries), "{counted:?}");
}

fn equal_sets_leave_room_for_entries() {
    const BYTES: u64 = 200_000;
    let grants = vec![everywhere(&policy("all", "*"))];
    let store = ToldStore::new([]);
    store.tell(|told| told.by_user.extend((0..1_000).map(|index| (index.to_string(), grants.clone()))));
    let cache = cache(store, BYTES);
    for index in 0..1_000 {
        set(&cache, &user("acme", &index.to_string()));
    }
    let counted = counters(&cache);
    assert!(counted.bytes <= BYTES, "{counted:?}");
    assert_eq!((counted.sets, counted.shared_sets), (2, 999));
    assert!(counted.entries > 250, "{counted:?}");
}

fn sets_larger_than_the_cache_are_answered_and_not_kept() {
    let cache = cache(distinct(50), 600);
    // The set of those who have no grants, which is always there.
    let nothing = counters(&cache).bytes;
    for index in 0..50 {
        let policies = set(&cache, &user("acme", &index.to_string()));
        assert!(policies.approximate_bytes() > 600);
    }
    let counted = counters(&cache);
    assert_eq!((counted.entries, counted.sets, counted.bytes), (0, 1, nothing));
    fill_until_no_other_set_is_left(&cache);
}

fn hits_misses_and_loads_are_counted() {
    let cache = cache(ToldStore::new([]), MIB);
    for name in ["alice", "bob", "alice", "alice"] {
        set(&cache, &user("acme", name));
    }
    let counted = counters(&cache);
    assert_eq!((counted.hits, counted.misses, counted.loads, counted.load_errors), (2, 2, 2, 0));
    assert_eq!(counted.entries, 2);
}

fn failed_loads_are_counted() {
    let store = ToldStore::new([]);
    let cache = cache(store.clone(), MIB);
    store.tell(|told| told.is_down = true);
    block_on(cache.get(&user("acme", "alice"))).unwrap_err();
    let counted = counters(&cache);
    assert_eq!((counted.misses, counted.loads, counted.load_errors, counted.entries), (1, 1, 1, 0));
}

fn stale_answers_are_counted() {
    let store = ToldStore::new([]);
    let cache = cache(store.clone(), MIB);
    set(&cache, &user("acme", "alice"));
    store.tell(|told| told.freshness = Freshness::Stale);
    set(&cache, &user("acme", "alice"));
    store.tell(|told| told.is_down = true);
    block_on(cache.get(&user("acme", "bob"))).unwrap_err();
    store.tell(|told| told.freshness = Freshness::Expired);
    block_on(cache.get(&user("acme", "alice"))).unwrap_err();
    let counted = counters(&cache);
    // An answer, not an error; and who is refused at once neither finds an entry nor misses one.
    assert_eq!((counted.stale_answers, counted.hits, counted.misses), (1, 1, 2));
}

fn shared_sets_are_counted() {
    let grants = vec![everywhere(&policy("all", "*"))];
    let store = ToldStore::new([("alice", grants.clone()), ("bob", grants)]);
    let cache = cache(store, MIB);
    for name in ["alice", "bob", "eve"] {
        set(&cache, &user("acme", name));
    }
    let counted = counters(&cache);
    // Bob has alice's, and eve that of no grants, which is always there.
    assert_eq!((counted.loads, counted.shared_sets, counted.sets), (3, 2, 2));
}
