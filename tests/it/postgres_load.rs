//! Faults of the database under steady load. While callers ask and somebody writes: no answer that was not right at its
//! revision, no error for whoever is cached and unchanged, no lost change, and no restart of ours.
//!
//! With `ECS_AUTHZ_FIGURES` set, each test prints what its callers were told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ecs_authz::catalog::Catalog;
use ecs_authz::store::postgres::{PostgresSettings, PostgresStore, causes, migrate};
use ecs_authz::store::{Freshness, PolicyStore as _};
use libtest_mimic::Trial;
use tokio::time::timeout;

use crate::conformance::postgres::{Database, is_there};
use crate::postgres_world::{PATIENCE, Server, World, settings};
use crate::support::{block_on, trials};
use callers::{Callers, Ink, Load};
use proxy::{Proxy, Way, Whose};

mod callers;
mod proxy;

pub(crate) fn trials() -> Vec<Trial> {
    let trials = trials![
        a_database_that_is_killed_and_comes_back,
        connections_that_are_cut_again_and_again,
        a_listener_that_dies_without_a_word,
        a_caller_who_leaves_early_leaves_no_dead_connection_behind,
        a_network_that_swallows_everything,
        a_start_into_silence_fails_in_seconds,
        answers_that_come_too_late,
        a_pool_that_is_exhausted,
        a_document_that_is_poisoned,
    ];
    trials.into_iter().map(|trial| trial.with_ignored_flag(!is_there())).collect()
}

/// Load on a database behind a proxy.
struct Scene {
    load: Load,
    proxy: Proxy,
}

/// A proxy to a database, and the address of the database behind it.
async fn behind_proxy(database: &Database) -> (Proxy, String) {
    let place = database.url().rsplit_once('@').expect("an address").1;
    let server: SocketAddr = place.split('/').next().expect("a server").parse().expect("an address");
    let proxy = Proxy::start(server).await;
    let url = database.url().replacen(&server.to_string(), &proxy.addr.to_string(), 1);
    (proxy, url)
}

impl Scene {
    async fn start(database: &Database, callers: Callers) -> Self {
        let (proxy, url) = behind_proxy(database).await;
        Self { load: Load::start(&settings(&url), database.url(), callers).await, proxy }
    }
}

/// Makes a fault on the way, waits until it is seen by those whom it concerns, and heals it.
fn on_the_way(fault: &'static str, way: Way, freshness: Freshness) {
    let database = Database::create();
    block_on(async {
        let Scene { load, proxy } = Scene::start(&database, Callers::All).await;
        proxy.set(way);
        load.world.await_freshness(freshness).await;
        load.failed(1).await;
        load.answered(20).await;
        proxy.set(Way::Open);
        let recovery = load.recovered().await;
        load.finish(fault, recovery).await;
    });
}

fn a_database_that_is_killed_and_comes_back() {
    let server = Server::start();
    block_on(async {
        migrate::run(&server.url.parse().unwrap()).await.unwrap();
        let load = Load::start(&settings(&server.url), &server.url, Callers::All).await;
        server.kill();
        load.world.await_freshness(Freshness::Stale).await;
        load.failed(3).await;
        load.answered(20).await;
        server.start_again();
        let recovery = load.recovered().await;
        load.finish("killed", recovery).await;
    });
}

fn connections_that_are_cut_again_and_again() {
    let database = Database::create();
    block_on(async {
        let Scene { load, proxy } = Scene::start(&database, Callers::All).await;
        for _ in 0..20 {
            proxy.cut();
            load.answered(5).await;
        }
        let recovery = load.recovered().await;
        load.finish("cut", recovery).await;
    });
}

fn a_listener_that_dies_without_a_word() {
    let database = Database::create();
    block_on(async {
        let Scene { load, proxy } = Scene::start(&database, Callers::Cached).await;
        proxy.silence(Whose::Listener);
        let recovery = load.recovered().await;
        load.finish("listener silent", recovery).await;
    });
}

fn a_caller_who_leaves_early_leaves_no_dead_connection_behind() {
    let database = Database::create();
    block_on(async {
        let (proxy, url) = behind_proxy(&database).await;
        let world = World::open(&PostgresSettings { max_connections: 1, ..settings(&url) }).await;
        assert_eq!(world.ask("alice").await.unwrap(), "deny");
        // As a firewall does that forgets a connection which was idle for long.
        proxy.silence(Whose::Readers);
        // Less than an answer may take, as Envoy does it.
        let left = timeout(Duration::from_millis(200), world.ask("bob")).await;
        assert!(left.is_err(), "{left:?}");
        assert_eq!(world.ask("bob").await.unwrap(), "deny");
        assert_eq!(world.store.freshness(), Freshness::Current);
    });
}

fn a_network_that_swallows_everything() {
    on_the_way("network silent", Way::Silent, Freshness::Stale);
}

fn a_start_into_silence_fails_in_seconds() {
    let database = Database::create();
    block_on(async {
        let (proxy, url) = behind_proxy(&database).await;
        proxy.set(Way::Silent);
        let catalog = Arc::new(Catalog::published().unwrap());
        let opened = timeout(PATIENCE, PostgresStore::open(&settings(&url), catalog)).await;
        let told = causes(&opened.expect("an answer in time").expect_err("no database"));
        assert!(told.starts_with(&format!("the database at postgresql://{}/", proxy.addr)), "{told}");
        assert!(told.to_lowercase().contains("timeout"), "{told}");
    });
}

fn answers_that_come_too_late() {
    on_the_way("answers late", Way::Slow(Duration::from_secs(3)), Freshness::Stale);
}

fn a_pool_that_is_exhausted() {
    let database = Database::create();
    block_on(async {
        let Scene { load, proxy: _proxy } = Scene::start(&database, Callers::All).await;
        let mut client = database.client().await;
        let lock = client.transaction().await.unwrap();
        // What grants are read from; revisions can be followed.
        lock.batch_execute("LOCK TABLE ecs_authz.policy_grant IN ACCESS EXCLUSIVE MODE").await.unwrap();
        load.failed(2).await;
        load.answered(20).await;
        assert_eq!(load.world.store.freshness(), Freshness::Current);
        drop(lock);
        let recovery = load.recovered().await;
        load.finish("pool exhausted", recovery).await;
    });
}

fn a_document_that_is_poisoned() {
    let database = Database::create();
    block_on(async {
        let Scene { load, proxy: _proxy } = Scene::start(&database, Callers::All).await;
        load.write_with(Ink::Poison);
        load.world.await_faults(&["domain `acme`: policy `alice`: $: expected a member"]).await;
        load.answered(20).await;
        load.write_with(Ink::Policies);
        let recovery = load.recovered().await;
        load.world.await_faults(&[]).await;
        load.finish("document poisoned", recovery).await;
    });
}
