//! Replicas of the database: a standby is followed, and one that takes over without the last changes is believed.

use ecs_authz::store::postgres::migrate;
use ecs_authz::store::{Freshness, PolicyStore as _, Revision, StoreHealth};
use libtest_mimic::Trial;
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;

use crate::conformance::postgres::{Database, connect, is_there};
use crate::postgres_world::{ALLOW, DENY, PATIENCE, Server, World, grant, rewrite, settings};
use crate::support::{block_on, trial};

pub(crate) fn trials() -> Vec<Trial> {
    let tests: [(&str, fn()); 4] = [
        (
            "a_standby_is_followed_although_it_announces_nothing",
            a_standby_is_followed_although_it_announces_nothing,
        ),
        ("a_change_that_a_failover_lost_is_forgotten", a_change_that_a_failover_lost_is_forgotten),
        ("a_revision_that_comes_again_is_another_one", a_revision_that_comes_again_is_another_one),
        ("the_same_writes_elsewhere_have_other_etags", the_same_writes_elsewhere_have_other_etags),
    ];
    let named =
        |(name, test)| trial(format!("postgres_failover::{name}"), test).with_ignored_flag(!is_there());
    tests.into_iter().map(named).collect()
}

fn a_standby_is_followed_although_it_announces_nothing() {
    let primary = Server::start();
    block_on(async {
        let client = connect(&primary.url.parse().unwrap()).await;
        migrate::run(&primary.url.parse().unwrap()).await.unwrap();
        grant(&client, "alice", ALLOW).await;
        let standby = primary.standby();
        let world = World::open(&settings(&standby.url)).await;
        assert_eq!(world.ask("alice").await.unwrap(), "allow");
        rewrite(&client, "alice", DENY).await;
        world.ask_until("alice", "deny").await;
        rewrite(&client, "alice", ALLOW).await;
        world.ask_until("alice", "allow").await;
        assert_eq!(world.store.health(), StoreHealth::Current);
    });
}

/// A primary and a standby, of which the standby lacks the last change: that alice is allowed what she was denied.
struct Pair {
    primary: Server,
    standby: Server,
}

impl Pair {
    /// With a world that follows whichever is the primary, and has answered by the change.
    async fn start() -> (Self, World) {
        let primary = Server::start();
        migrate::run(&primary.url.parse().unwrap()).await.unwrap();
        let client = connect(&primary.url.parse().unwrap()).await;
        grant(&client, "alice", DENY).await;
        let pair = Self { standby: primary.standby(), primary };
        let standby = pair.standby_client().await;
        standby.batch_execute("ALTER SYSTEM SET primary_conninfo = ''").await.unwrap();
        standby.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        await_row(&standby, "SELECT count(*) = 0 FROM pg_stat_wal_receiver").await;
        let world = World::open(&settings(&pair.url())).await;
        assert_eq!(world.ask("alice").await.unwrap(), "deny");
        rewrite(&client, "alice", ALLOW).await;
        world.ask_until("alice", "allow").await;
        assert_eq!(world.store.revision("acme"), Revision(2));
        (pair, world)
    }

    fn url(&self) -> String {
        let host = |server: &Server| {
            let url = server.url.strip_prefix("postgresql://authz@").expect("an address");
            url.strip_suffix("/postgres").expect("its database").to_owned()
        };
        let (primary, standby) = (host(&self.primary), host(&self.standby));
        format!("postgresql://authz@{primary},{standby}/postgres?target_session_attrs=read-write")
    }

    async fn standby_client(&self) -> Client {
        connect(&self.standby.url.parse().unwrap()).await
    }

    /// The primary dies, and the standby takes over.
    async fn fail_over(&self) -> Client {
        self.primary.kill();
        let client = self.standby_client().await;
        client.batch_execute("SELECT pg_promote()").await.unwrap();
        await_row(&client, "SELECT NOT pg_is_in_recovery()").await;
        client
    }
}

/// Waits until a question has the answer yes.
async fn await_row(client: &Client, question: &str) {
    let asked = async {
        while !client.query_one(question, &[]).await.unwrap().get::<_, bool>(0) {
            sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("{question}: expected in time"));
}

fn a_change_that_a_failover_lost_is_forgotten() {
    block_on(async {
        let (pair, world) = Pair::start().await;
        let client = pair.fail_over().await;
        // Until it is known, what is cached is said to be stale.
        world.ask_until("alice", "deny").await;
        assert_eq!(
            (world.store.freshness(), world.store.revision("acme")),
            (Freshness::Current, Revision(1))
        );
        rewrite(&client, "alice", ALLOW).await;
        world.ask_until("alice", "allow").await;
    });
}

fn a_revision_that_comes_again_is_another_one() {
    block_on(async {
        let (pair, world) = Pair::start().await;
        world.ask("bob").await.unwrap();
        let client = pair.fail_over().await;
        // Of the same number as the one that was lost, which is still cached.
        grant(&client, "bob", ALLOW).await;
        world.ask_until("bob", "allow").await;
        assert_eq!(world.store.revision("acme"), Revision(2));
        assert_eq!(world.ask("alice").await.unwrap(), "deny");
    });
}

/// So a document that a failover lost is not taken for one that was written in its place.
fn the_same_writes_elsewhere_have_other_etags() {
    let etags = [Database::create(), Database::create()].map(|database| {
        block_on(async {
            let client = database.client().await;
            grant(&client, "alice", ALLOW).await;
            client.query_one("SELECT etag FROM ecs_authz.policy", &[]).await.unwrap().get::<_, i64>(0)
        })
    });
    assert!(etags[0] != etags[1] && etags.iter().all(|etag| *etag >= 0), "{etags:?}");
}
