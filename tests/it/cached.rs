//! Random policies and questions: whatever the cache keeps, the decisions are those of no cache.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ecs_authz::catalog::Catalog;
use ecs_authz::pdp::{Defaults, Pdp};
use ecs_authz::request::Identity;
use ecs_authz::store::cache::PolicyCache;
use ecs_authz::store::directory::DirectoryStore;
use ecs_authz::store::{LoadFuture, PolicyStore, PrincipalGrants, Revision, StoreHealth};
use libtest_mimic::Trial;
use tokio::sync::watch;

use crate::evaluators::by_pdp;
use crate::random::{directory, domain, questions, run};
use crate::support::trials;

pub(crate) fn trials() -> Vec<Trial> {
    trials![the_cache_makes_no_difference]
}

/// A store whose policies are replaced as a whole: at revision `n`, those of the `n`th directory.
#[derive(Debug)]
struct ReplacedStore {
    states: Vec<DirectoryStore>,
    at: AtomicUsize,
}

impl ReplacedStore {
    fn open(states: &[&Path], catalog: &Arc<Catalog>) -> Self {
        let open =
            |path: &&Path| DirectoryStore::open(path, catalog.clone()).expect("policies without faults");
        Self { states: states.iter().map(open).collect(), at: AtomicUsize::new(0) }
    }

    fn replace(&self, at: usize) {
        self.at.store(at, Ordering::SeqCst);
    }
}

impl PolicyStore for ReplacedStore {
    fn revision(&self, _domain_id: &str) -> Revision {
        Revision(self.at.load(Ordering::SeqCst) as u64 + 1)
    }

    fn load<'a>(&'a self, identity: &'a Identity) -> LoadFuture<'a> {
        let at = self.at.load(Ordering::SeqCst);
        Box::pin(async move {
            let grants = self.states[at].load(identity).await?.grants;
            Ok(PrincipalGrants { revision: Revision(at as u64 + 1), grants })
        })
    }

    fn changes(&self) -> watch::Receiver<()> {
        watch::channel(()).1
    }

    fn health(&self) -> StoreHealth {
        StoreHealth::Current
    }
}

fn the_cache_makes_no_difference() {
    let catalog = Arc::new(Catalog::published().expect("the published tables"));
    run((domain(), domain(), questions()), |(first, second, questions)| {
        let folders = [directory(&first), directory(&second)];
        let store = Arc::new(ReplacedStore::open(&[folders[0].path(), folders[1].path()], &catalog));
        let pdp = |bytes: u64| {
            let cache = PolicyCache::new(store.clone(), catalog.action_count(), bytes);
            Pdp::new(catalog.clone(), cache, Defaults::default())
        };
        let (none, small, large) = (pdp(0), pdp(8_192), pdp(16 * 1_024 * 1_024));
        for at in [0, 1] {
            store.replace(at);
            // The second time, from the cache.
            for question in questions.iter().chain(&questions) {
                let expected = by_pdp(&none, question);
                assert_eq!(by_pdp(&small, question), expected, "{question:?}");
                assert_eq!(by_pdp(&large, question), expected, "{question:?}");
            }
        }
    });
}
