//! Many who miss at once: how often the database is asked, as the database itself counts.

use std::sync::Arc;

use ecs_authz::store::PolicyStore as _;
use ecs_authz::store::postgres::migrate;
use libtest_mimic::Trial;
use tokio_postgres::Client;

use crate::conformance::postgres::{connect, is_there};
use crate::postgres_world::{ALLOW, DENY, Server, World, grant, rewrite, settings};
use crate::support::{block_on, trials};

pub(crate) fn trials() -> Vec<Trial> {
    let trials = trials![ten_thousand_who_miss_at_once_are_one_load];
    trials.into_iter().map(|trial| trial.with_ignored_flag(!is_there())).collect()
}

const HERD: usize = 10_000;

/// How often grants were read, and documents.
async fn loads(client: &Client) -> (i64, i64) {
    let count = "SELECT coalesce(sum(calls) FILTER (WHERE query LIKE '%ecs_authz.group_member%'), 0)::bigint, \
         coalesce(sum(calls) FILTER (WHERE query LIKE 'SELECT name::text, etag, document%'), 0)::bigint \
         FROM pg_stat_statements JOIN pg_roles ON pg_roles.oid = userid WHERE rolname = 'app'";
    let row = client.query_one(count, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

fn ten_thousand_who_miss_at_once_are_one_load() {
    let server = Server::start();
    server.configure("shared_preload_libraries = 'pg_stat_statements'");
    server.start_again();
    block_on(async {
        migrate::run(&server.url.parse().unwrap()).await.unwrap();
        let client = connect(&server.url.parse().unwrap()).await;
        let prepare =
            "CREATE EXTENSION pg_stat_statements; CREATE ROLE app LOGIN; GRANT pg_read_all_data TO app";
        client.batch_execute(prepare).await.unwrap();
        grant(&client, "alice", ALLOW).await;
        let world = Arc::new(World::open(&settings(&server.url.replacen("authz@", "app@", 1))).await);

        // Nobody is cached.
        let before = loads(&client).await;
        let herd: Vec<_> = (0..HERD).map(|_| tokio::spawn(ask(world.clone(), 0))).collect();
        for member in herd {
            assert!(member.await.unwrap());
        }
        assert_eq!(loads(&client).await, (before.0 + 1, before.1 + 1));

        // All wait for the same change, so they miss at one moment.
        let next = world.store.revision("acme").0 + 1;
        let herd: Vec<_> = (0..HERD).map(|_| tokio::spawn(ask(world.clone(), next))).collect();
        tokio::task::yield_now().await;
        rewrite(&client, "alice", DENY).await;
        for member in herd {
            assert!(!member.await.unwrap());
        }
        assert_eq!(loads(&client).await, (before.0 + 2, before.1 + 2));
    });
}

async fn ask(world: Arc<World>, min_revision: u64) -> bool {
    world.decide("acme", "alice", min_revision).await.expect("a decision").allows
}
