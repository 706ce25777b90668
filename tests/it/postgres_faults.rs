//! What the PostgreSQL store does while its database fails: no wrong answer, no lost change, and no restart of ours.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ecs_authz::catalog::Catalog;
use ecs_authz::server::{OpenStore, PolicySource, RunningServer, ServerConfig};
use ecs_authz::store::postgres::migrate::{self, VERSION};
use ecs_authz::store::postgres::{OpenError, PostgresSettings, PostgresStore};
use ecs_authz::store::{Freshness, PolicyStore, Revision, StoreError, StoreHealth};
use libtest_mimic::Trial;
use tokio::time::timeout;
use tokio_postgres::Client;

use crate::conformance::postgres::{Database, connect, is_there};
use crate::postgres_world::{ALLOW, DENY, PATIENCE, Server, World, grant, rewrite, settings};
use crate::support::{block_on, config, get, trial};

pub(crate) fn trials() -> Vec<Trial> {
    let tests: [(&str, fn()); 10] = [
        ("a_schema_that_is_not_there_is_named", a_schema_that_is_not_there_is_named),
        ("a_database_that_is_not_there_is_named_at_once", a_database_that_is_not_there_is_named_at_once),
        ("a_listener_that_is_cut_off_misses_no_change", a_listener_that_is_cut_off_misses_no_change),
        ("a_change_that_nobody_announces_is_found", a_change_that_nobody_announces_is_found),
        (
            "a_poisoned_document_is_an_error_of_those_who_have_it",
            a_poisoned_document_is_an_error_of_those_who_have_it,
        ),
        (
            "a_fault_is_told_until_its_policy_or_grant_is_removed",
            a_fault_is_told_until_its_policy_or_grant_is_removed,
        ),
        ("a_locked_table_is_an_error_in_time", a_locked_table_is_an_error_in_time),
        ("a_rolled_back_change_is_none", a_rolled_back_change_is_none),
        ("the_tables_guard_themselves", the_tables_guard_themselves),
        ("a_killed_database_is_outlived", a_killed_database_is_outlived),
    ];
    let named = |(name, test)| trial(format!("postgres_faults::{name}"), test).with_ignored_flag(!is_there());
    tests.into_iter().map(named).collect()
}

fn a_schema_that_is_not_there_is_named() {
    let database = Database::create();
    block_on(async {
        database.client().await.batch_execute("DROP SCHEMA ecs_authz CASCADE").await.unwrap();
        let catalog = Arc::new(Catalog::published().unwrap());
        let error = PostgresStore::open(&database.settings(), catalog.clone()).await.unwrap_err();
        let OpenError::Schema { cause, .. } = &error else { panic!("{error:?}") };
        assert_eq!(
            cause.to_string(),
            format!("the schema is at version 0, expected {VERSION}: run `ecs-authz migrate`")
        );
        let url = database.settings().url;
        assert_eq!(migrate::run(&url).await.unwrap(), (1..=VERSION).collect::<Vec<_>>());
        assert_eq!(migrate::run(&url).await.unwrap(), [0; 0]);
        let newer = "INSERT INTO ecs_authz.schema_version (version) VALUES (99)";
        database.client().await.batch_execute(newer).await.unwrap();
        let error = PostgresStore::open(&database.settings(), catalog).await.unwrap_err();
        let OpenError::Schema { cause, .. } = &error else { panic!("{error:?}") };
        assert_eq!(
            cause.to_string(),
            format!("the schema is at version 99, and this program knows {VERSION}: use a newer ecs-authz")
        );
        assert!(migrate::run(&url).await.is_err());
    });
}

fn a_database_that_is_not_there_is_named_at_once() {
    block_on(async {
        let settings = settings("postgresql://authz:s3cret@127.0.0.1:1/policies");
        let catalog = Arc::new(Catalog::published().unwrap());
        let opened = timeout(Duration::from_secs(5), PostgresStore::open(&settings, catalog)).await;
        let error = opened.expect("an answer in time").unwrap_err();
        assert_eq!(error.to_string(), "the database at postgresql://127.0.0.1:1/policies can't be used");
        assert!(!format!("{error:?}").contains("s3cret"));
    });
}

/// Ends the listening connection of the store, as a firewall or an administrator would.
async fn cut_off(client: &Client) {
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'ecs-authz'";
    assert!(client.query_one(cut, &[]).await.unwrap().get::<_, i64>(0) > 0);
}

fn a_listener_that_is_cut_off_misses_no_change() {
    let database = Database::create();
    block_on(async {
        let client = database.client().await;
        grant(&client, "alice", ALLOW).await;
        let world = World::open(&database.settings()).await;
        assert_eq!(world.ask("alice").await.unwrap(), "allow");
        for (document, expected) in [(DENY, "deny"), (ALLOW, "allow"), (DENY, "deny")] {
            // In one statement: nobody listens when the change is made.
            cut_off(&client).await;
            rewrite(&client, "alice", document).await;
            world.ask_until("alice", expected).await;
        }
        assert_eq!(world.store.freshness(), Freshness::Current);
    });
}

fn a_change_that_nobody_announces_is_found() {
    let database = Database::create();
    block_on(async {
        let client = database.client().await;
        grant(&client, "alice", ALLOW).await;
        let world = World::open(&database.settings()).await;
        assert_eq!(world.ask("alice").await.unwrap(), "allow");
        // As behind a pooler that hands each statement to another connection.
        let mute = "DO $do$ BEGIN EXECUTE replace(pg_get_functiondef('ecs_authz.record_change'::regproc), \
             'PERFORM pg_notify', '-- PERFORM pg_notify'); END $do$";
        client.batch_execute(mute).await.unwrap();
        rewrite(&client, "alice", DENY).await;
        world.ask_until("alice", "deny").await;
    });
}

fn a_poisoned_document_is_an_error_of_those_who_have_it() {
    let database = Database::create();
    block_on(async {
        let client = database.client().await;
        grant(&client, "alice", ALLOW).await;
        grant(&client, "bob", ALLOW).await;
        let world = World::open(&database.settings()).await;
        let pattern = r#"{"Version":"1.1","Statement":[{"Effect":"Deny","Action":["ecs:"]}]}"#;
        for (poison, fault) in [
            ("{}", "$: expected a member `Version` (and 1 more)"),
            ("not json", "$: expected ident at line 1 column 2"),
            (pattern, "$.Statement[0].Action[0]: "),
        ] {
            let before = world.store.revision("acme");
            rewrite(&client, "alice", poison).await;
            world.await_revision(before.0 + 1).await;
            assert!(matches!(world.ask("alice").await, Err(StoreError::Unavailable(_))), "{poison}");
            assert_eq!(world.ask("bob").await.unwrap(), "allow");
            let expected = format!("domain `acme`: policy `alice`: {fault}");
            world.await_faults(&[&expected]).await;
        }
        rewrite(&client, "alice", DENY).await;
        world.ask_until("alice", "deny").await;
        world.await_faults(&[]).await;
    });
}

fn a_fault_is_told_until_its_policy_or_grant_is_removed() {
    let database = Database::create();
    block_on(async {
        let client = database.client().await;
        grant(&client, "alice", "{}").await;
        let newer = "INSERT INTO ecs_authz.policy_grant (domain_id, subject_kind, subject_id, system_policy, scope_kind)
             VALUES ('acme', 'user', 'bob', 'ECS Tomorrow', 'all_projects')";
        client.batch_execute(newer).await.unwrap();
        let config =
            ServerConfig { policies: PolicySource::Postgres(database.settings()), ..config(Path::new("")) };
        let server = RunningServer::start(config).await.unwrap();
        let OpenStore::Postgres(store) = &server.store else { panic!("a database") };
        let world = World::over(store.clone(), 1_024);
        assert_eq!(get(&server, "/readyz").await.1, "{\"status\":\"ready\"}\n");
        for user in ["alice", "bob"] {
            assert!(world.ask(user).await.is_err(), "{user}");
        }
        assert_eq!(world.ask("carol").await.unwrap(), "deny");
        let poison = "domain `acme`: policy `alice`: $: expected a member `Version` (and 1 more)";
        let unknown = "domain `acme`: policy `ECS Tomorrow`: it is granted as a system policy, and this version has none \
             of that name";
        let degraded = format!("{{\"status\":\"degraded\",\"faults\":[\"{poison}\",\"{unknown}\"]}}\n");
        assert_eq!(get(&server, "/readyz").await, ("HTTP/1.1 200 OK".to_owned(), degraded));

        client.execute("DELETE FROM ecs_authz.policy_grant WHERE subject_id = 'bob'", &[]).await.unwrap();
        world.await_faults(&[poison]).await;
        let remove = "DELETE FROM ecs_authz.policy_grant; DELETE FROM ecs_authz.policy";
        client.batch_execute(remove).await.unwrap();
        world.await_faults(&[]).await;
        assert_eq!(get(&server, "/readyz").await.1, "{\"status\":\"ready\"}\n");
        server.stop(PATIENCE).await.unwrap();
    });
}

fn a_locked_table_is_an_error_in_time() {
    let database = Database::create();
    block_on(async {
        let mut client = database.client().await;
        grant(&client, "alice", ALLOW).await;
        let world = World::open(&database.settings()).await;
        assert_eq!(world.ask("alice").await.unwrap(), "allow");
        let lock = client.transaction().await.unwrap();
        lock.batch_execute("LOCK TABLE ecs_authz.policy_grant IN ACCESS EXCLUSIVE MODE").await.unwrap();
        // More than there are connections. Who is cached is not concerned.
        let users: Vec<String> = (0..16).map(|number| format!("u{number}")).collect();
        let asked = users.iter().map(|user| world.ask(user));
        let answers = timeout(Duration::from_secs(8), futures(asked)).await.expect("answers in time");
        assert!(
            answers.iter().all(|answer| matches!(answer, Err(StoreError::Unavailable(_)))),
            "{answers:?}"
        );
        assert_eq!(world.ask("alice").await.unwrap(), "allow");
        drop(lock);
        world.ask_until("u1", "deny").await;
    });
}

/// Runs futures at once, and waits for all.
async fn futures<T>(all: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = all.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<T>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in all.iter_mut().zip(&mut done).filter(|(_, done)| done.is_none()) {
            if let std::task::Poll::Ready(value) = future.as_mut().poll(context) {
                *done = Some(value);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

fn a_rolled_back_change_is_none() {
    let database = Database::create();
    block_on(async {
        let mut client = database.client().await;
        grant(&client, "alice", ALLOW).await;
        let world = World::open(&database.settings()).await;
        let before = world.store.revision("acme");
        let change = client.transaction().await.unwrap();
        change.execute("UPDATE ecs_authz.policy SET document = $1", &[&DENY]).await.unwrap();
        assert_eq!(world.ask("alice").await.unwrap(), "allow");
        change.rollback().await.unwrap();
        grant(&client, "bob", ALLOW).await;
        world.ask_until("bob", "allow").await;
        assert_eq!(world.ask("alice").await.unwrap(), "allow");
        // Two rows of one transaction are one revision, and what was rolled back is none.
        assert_eq!(world.store.revision("acme"), Revision(before.0 + 1));
    });
}

fn the_tables_guard_themselves() {
    let database = Database::create();
    block_on(async {
        let client = database.client().await;
        grant(&client, "alice", ALLOW).await;
        let refused = [
            "DELETE FROM ecs_authz.policy",
            "DELETE FROM ecs_authz.domain",
            "UPDATE ecs_authz.domain SET revision = 0",
            "UPDATE ecs_authz.policy SET domain_id = 'other'",
            "TRUNCATE ecs_authz.policy_grant",
            "DELETE FROM ecs_authz.change",
            "UPDATE ecs_authz.change SET actor = 'nobody'",
            "TRUNCATE ecs_authz.change",
            "INSERT INTO ecs_authz.policy (domain_id, name, document) VALUES ('acme', ' p', '{}')",
            "INSERT INTO ecs_authz.policy (domain_id, name, document) VALUES ('acme', 'a/p', '{}')",
            "INSERT INTO ecs_authz.policy (domain_id, name, document) VALUES ('acme', repeat('ä', 65), '{}')",
            "INSERT INTO ecs_authz.policy (domain_id, name, document) VALUES ('acme', 'p', repeat('x', 33000))",
            "INSERT INTO ecs_authz.policy (domain_id, name, document) VALUES (repeat('x', 129), 'p', '{}')",
            "INSERT INTO ecs_authz.group_member VALUES ('acme', 'gone', 'alice')",
            "INSERT INTO ecs_authz.policy_grant (domain_id, subject_kind, subject_id, own_policy, scope_kind) \
             VALUES ('acme', 'user', 'bob', 'gone', 'all_projects')",
            "INSERT INTO ecs_authz.policy_grant (domain_id, subject_kind, subject_id, scope_kind) \
             VALUES ('acme', 'user', 'bob', 'all_projects')",
            "INSERT INTO ecs_authz.policy_grant (domain_id, subject_kind, subject_id, own_policy, scope_kind) \
             VALUES ('acme', 'user', 'bob', 'alice', 'project')",
        ];
        for statement in refused {
            assert!(client.batch_execute(statement).await.is_err(), "{statement}");
        }
        let rows = client
            .query("SELECT revision, actor, what, before IS NULL, after->>'name' FROM ecs_authz.change ORDER BY id", &[])
            .await
            .unwrap();
        let told: Vec<(i64, String, String, bool, Option<String>)> =
            rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4))).collect();
        let by = "sql:authz".to_owned();
        let expected = [
            (1, by.clone(), "policy".to_owned(), true, Some("alice".to_owned())),
            (1, by, "policy_grant".to_owned(), true, None),
        ];
        assert_eq!(told, expected);
    });
}

fn a_killed_database_is_outlived() {
    let server = Server::start();
    block_on(async {
        let patient = settings(&server.url);
        let strict = PostgresSettings { max_stale: Duration::from_millis(100), ..settings(&server.url) };
        migrate::run(&patient.url).await.unwrap();
        let client = connect(&server.url.parse().unwrap()).await;
        grant(&client, "alice", ALLOW).await;
        grant(&client, "bob", DENY).await;
        let (world, strict) = (World::open(&patient).await, World::open(&strict).await);
        assert_eq!(world.ask("alice").await.unwrap(), "allow");
        assert_eq!(world.ask("bob").await.unwrap(), "deny");
        assert_eq!(strict.ask("alice").await.unwrap(), "allow");

        server.kill();
        world.await_freshness(Freshness::Stale).await;
        // Who is cached is answered and told; who is not gets an error.
        assert_eq!(world.ask("alice").await.unwrap(), "allow stale");
        assert!(matches!(world.store.health(), StoreHealth::Degraded { .. }));
        assert_eq!(world.ask("bob").await.unwrap(), "deny stale");
        assert!(matches!(world.ask("carol").await, Err(StoreError::Unavailable(_))));
        // After the time that is allowed, nobody is.
        strict.await_freshness(Freshness::Expired).await;
        assert!(matches!(strict.ask("alice").await, Err(StoreError::Expired)));
        assert_eq!(strict.store.health(), StoreHealth::Expired);

        server.start_again();
        let client = connect(&server.url.parse().unwrap()).await;
        for world in [world, strict] {
            world.ask_until("alice", "allow").await;
            rewrite(&client, "alice", DENY).await;
            world.ask_until("alice", "deny").await;
            world.ask_until("carol", "deny").await;
            rewrite(&client, "alice", ALLOW).await;
        }
    });
}
