//! What is counted of stores, also while they are not as they should be.

use std::net::SocketAddr;
use std::sync::Arc;

use ecs_authz::catalog::Catalog;
use ecs_authz::decision_log::DecisionLog;
use ecs_authz::grpc::ext_authz::ExtAuthz;
use ecs_authz::health;
use ecs_authz::metrics::{self, Metrics, Sources};
use ecs_authz::pdp::{Defaults, Pdp};
use ecs_authz::request::Identity;
use ecs_authz::store::cache::PolicyCache;
use ecs_authz::store::directory::DirectoryStore;
use ecs_authz::store::{Freshness, LoadFuture, PolicyStore, PrincipalGrants, Revision, StoreHealth};
use ecs_authz::traces::Tracer;
use libtest_mimic::Trial;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::Request;

use super::{GRANTS, Scrape, directory};
use crate::ext_authz::{CONFIG, Check, parsed};
use crate::replica::BrokenStore;
use crate::support::{block_on, limits, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_stale_decision_is_counted_as_one_and_as_stale,
        a_store_that_has_expired_is_an_error_not_a_denial,
        a_check_that_takes_too_long_is_an_error_of_its_own,
        the_directory_is_watched_over,
    ]
}

/// A store that nobody is granted anything by, and that can't be followed.
#[derive(Debug)]
struct Unfollowed(Freshness);

impl PolicyStore for Unfollowed {
    fn revision(&self, _domain_id: &str) -> Revision {
        Revision(1)
    }

    fn freshness(&self) -> Freshness {
        self.0
    }

    fn load<'a>(&'a self, _identity: &'a Identity) -> LoadFuture<'a> {
        Box::pin(async { Ok(PrincipalGrants { revision: Revision(1), grants: Vec::new() }) })
    }

    fn changes(&self) -> watch::Receiver<()> {
        watch::channel(()).1
    }

    fn health(&self) -> StoreHealth {
        match self.0 {
            Freshness::Expired => StoreHealth::Expired,
            _ => StoreHealth::Degraded { faults: vec!["away".to_owned()] },
        }
    }
}

/// Checks on a store, and what is counted of them.
struct Served {
    service: ExtAuthz,
    addr: SocketAddr,
}

impl Served {
    async fn start(store: Arc<dyn PolicyStore>) -> Self {
        let catalog = Arc::new(Catalog::published().unwrap());
        let metrics = Metrics::new(catalog.clone(), []);
        let cache = PolicyCache::new(store.clone(), catalog.action_count(), 1 << 20);
        let pdp = Arc::new(Pdp::new(catalog, cache, Defaults::default()));
        let config = parsed(CONFIG).ext_authz.unwrap();
        let service =
            ExtAuthz::new(pdp.clone(), DecisionLog::off(), metrics.decisions.clone(), config, limits(64));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let health = health::Sources {
            store,
            decision_log: DecisionLog::off(),
            certificates: Arc::new(Vec::new),
            is_stopping: Arc::new(|| false),
        };
        let routes = metrics::routes(Sources { metrics, pdp, health, tracer: Tracer::off() });
        tokio::spawn(async { axum::serve(listener, routes).await.unwrap() });
        Self { service, addr }
    }

    async fn scrape(&self) -> Scrape {
        Scrape::at(self.addr).await
    }
}

/// What is counted after one check of Envoy on this store.
async fn counted(store: impl PolicyStore + 'static) -> Scrape {
    let served = Served::start(Arc::new(store)).await;
    let message = Check::action(r#"{"os-start":null}"#).message().encode_to_vec();
    let mut request = Request::new(message.into());
    request.metadata_mut().insert("grpc-timeout", "50m".parse().unwrap());
    served.service.check(request).await.expect("never a gRPC error");
    served.scrape().await
}

fn a_stale_decision_is_counted_as_one_and_as_stale() {
    let seen = block_on(counted(Unfollowed(Freshness::Stale)));
    let decided: f64 = seen.of_metric("ecs_authz_decisions_total").values().sum();
    let stale = ["ecs_authz_stale_decisions_total", "ecs_authz_cache_stale_answers_total"];
    assert_eq!((decided, seen.get_all(stale)), (1.0, [1.0, 1.0]));
    assert_eq!(seen.of_metric("ecs_authz_store_health"), [(r#"{state="degraded"}"#, 1.0)].into());
    assert_eq!(seen.of_metric("ecs_authz_readiness"), [(r#"{state="degraded"}"#, 1.0)].into());
    assert!(seen.of_metric("ecs_authz_errors_total").is_empty());
}

fn a_store_that_has_expired_is_an_error_not_a_denial() {
    let seen = block_on(counted(Unfollowed(Freshness::Expired)));
    assert!(seen.of_metric("ecs_authz_decisions_total").is_empty());
    assert_eq!(seen.of_metric("ecs_authz_errors_total"), [(r#"{kind="unavailable"}"#, 1.0)].into());
    assert_eq!(seen.of_metric("ecs_authz_store_health"), [(r#"{state="expired"}"#, 1.0)].into());
    assert_eq!(seen.of_metric("ecs_authz_readiness"), [(r#"{state="unavailable"}"#, 1.0)].into());
    let failed = block_on(counted(BrokenStore::Fails));
    assert_eq!(failed.of_metric("ecs_authz_errors_total"), [(r#"{kind="unavailable"}"#, 1.0)].into());
    assert_eq!(failed.get("ecs_authz_cache_load_errors_total"), 1.0);
}

fn a_check_that_takes_too_long_is_an_error_of_its_own() {
    let seen = block_on(counted(BrokenStore::Waits));
    assert!(seen.of_metric("ecs_authz_decisions_total").is_empty());
    assert_eq!(seen.of_metric("ecs_authz_errors_total"), [(r#"{kind="deadline_exceeded"}"#, 1.0)].into());
}

fn the_directory_is_watched_over() {
    const OUTCOMES: [&str; 5] = [
        r#"ecs_authz_directory_reloads_total{outcome="loaded"}"#,
        r#"ecs_authz_directory_reloads_total{outcome="unchanged"}"#,
        r#"ecs_authz_directory_reloads_total{outcome="failed"}"#,
        "ecs_authz_policy_changes_total",
        "ecs_authz_domains",
    ];
    const HEALTH: [&str; 3] = [
        r#"ecs_authz_store_health{state="current"}"#,
        r#"ecs_authz_store_health{state="degraded"}"#,
        r#"ecs_authz_store_health{state="expired"}"#,
    ];
    let dir = directory();
    block_on(async {
        let catalog = Arc::new(Catalog::published().unwrap());
        // Nothing reads it again but the test.
        let store = Arc::new(DirectoryStore::open(dir.path(), catalog).unwrap());
        let served = Served::start(store.clone()).await;
        let seen = served.scrape().await;
        assert_eq!(seen.get_all(OUTCOMES), [1.0, 0.0, 0.0, 1.0, 1.0]);
        assert_eq!(seen.get_all(HEALTH), [1.0, 0.0, 0.0]);
        store.reload().unwrap();
        dir.write("other/grants.toml", GRANTS);
        store.reload().unwrap();
        assert_eq!(served.scrape().await.get_all(OUTCOMES), [2.0, 1.0, 0.0, 2.0, 2.0]);
        dir.write("other/grants.toml", "no grants");
        store.reload().unwrap_err();
        let (first, second) = (served.scrape().await, served.scrape().await);
        assert_eq!(first.get_all(OUTCOMES), [2.0, 1.0, 1.0, 2.0, 2.0]);
        assert_eq!(first.get_all(HEALTH), [0.0, 1.0, 0.0]);
        let age = |seen: &Scrape| seen.get("ecs_authz_store_age_seconds");
        assert!(age(&second) > age(&first), "it is not renewed by reading faults");
    });
}
