//! The program at its start, while its database is not there, not ready, or refuses.

use std::sync::Arc;

use ecs_authz::catalog::Catalog;
use ecs_authz::store::postgres::migrate::{self, VERSION};
use ecs_authz::store::postgres::{PostgresStore, causes};
use libtest_mimic::Trial;

use crate::conformance::postgres::{Database, connect, is_there};
use crate::postgres_world::{ALLOW, DENY, Server, World, grant, rewrite, settings};
use crate::serving::Serving;
use crate::support::{block_on, trials};

pub(crate) fn trials() -> Vec<Trial> {
    let trials = trials![
        what_does_not_pass_with_time_fails_at_once,
        without_patience_a_database_that_is_away_fails_at_once,
        a_database_that_comes_later_is_awaited,
        a_migration_that_comes_later_is_awaited,
        a_server_that_is_full_is_awaited,
        patience_ends_and_the_last_cause_is_named,
        who_waits_is_stopped_at_once,
        a_migration_that_failed_in_the_middle_is_completed_by_the_next,
        the_privileges_that_the_docs_grant_are_enough_and_each_is_needed,
    ];
    trials.into_iter().map(|trial| trial.with_ignored_flag(!is_there())).collect()
}

/// Longer than a test may take: who waits this long instead of failing is noticed.
const LONG: &str = "600";

fn serve(url: &str, wait_seconds: &str) -> Serving {
    Serving::start(&["--database-wait-seconds", wait_seconds], &[("ECS_AUTHZ_DATABASE_URL", url)])
}

/// What is logged while it waits.
const WAITING: &str = "trying again";

/// The address of the same server, with something replaced.
fn replaced(url: &str, from: &str, to: &str) -> String {
    let replaced = url.replacen(from, to, 1);
    assert_ne!(url, replaced);
    replaced
}

fn what_does_not_pass_with_time_fails_at_once() {
    let server = Server::start();
    server.admit("host all all 127.0.0.1/32 scram-sha-256");
    block_on(async {
        migrate::run(&server.url.parse().unwrap()).await.unwrap();
        let newer = "INSERT INTO ecs_authz.schema_version (version) VALUES (99);
             CREATE ROLE locked LOGIN PASSWORD 'right'";
        connect(&server.url.parse().unwrap()).await.batch_execute(newer).await.unwrap();
    });
    let wrong = [
        (
            replaced(&server.url, "authz@", "locked:wr0ng@"),
            "password authentication failed for user \"locked\"",
        ),
        (replaced(&server.url, "authz@", "locked@"), "password missing"),
        (replaced(&server.url, "/postgres", "/nowhere"), "database \"nowhere\" does not exist"),
        (
            replaced(&server.url, "authz@", "nobody:wr0ng@"),
            "password authentication failed for user \"nobody\"",
        ),
        (server.url.clone(), &format!("the schema is at version 99, and this program knows {VERSION}")),
        ("postgresql://u:wr0ng@host:port/x".to_owned(), "expected an address such as"),
    ];
    for (url, expected) in wrong {
        let said = serve(&url, LONG).fault();
        assert!(said.contains(expected), "expected {expected} in {said}");
        assert!(!said.contains(WAITING) && !said.contains("wr0ng"), "{said}");
    }
}

fn without_patience_a_database_that_is_away_fails_at_once() {
    for url in [
        "postgresql://authz:s3cret@127.0.0.1:1/policies",
        "postgresql://authz:s3cret@nowhere.invalid/policies",
    ] {
        let said = serve(url, "0").fault();
        assert!(said.contains("can't be used: error connecting to server: "), "{said}");
        assert!(!said.contains(WAITING) && !said.contains("s3cret"), "{said}");
    }
}

fn a_database_that_comes_later_is_awaited() {
    let server = Server::start();
    block_on(migrate::run(&server.url.parse().unwrap())).unwrap();
    server.kill();
    let mut serving = serve(&server.url, LONG);
    let line = serving.await_log(WAITING);
    assert!(line.contains("Connection refused") && line.contains("seconds_left=5"), "{line}");
    server.start_again();
    serving.await_ready();
}

fn a_migration_that_comes_later_is_awaited() {
    let database = Database::create();
    block_on(async {
        database.client().await.batch_execute("DROP SCHEMA ecs_authz CASCADE").await.unwrap();
    });
    let mut serving = serve(database.url(), LONG);
    let line = serving.await_log(WAITING);
    assert!(line.contains(&format!("the schema is at version 0, expected {VERSION}")), "{line}");
    block_on(migrate::run(&database.settings().url)).unwrap();
    serving.await_ready();
}

fn a_server_that_is_full_is_awaited() {
    let server = Server::start();
    let owner = block_on(async {
        migrate::run(&server.url.parse().unwrap()).await.unwrap();
        let owner = connect(&server.url.parse().unwrap()).await;
        let full = "CREATE ROLE busy LOGIN CONNECTION LIMIT 0; GRANT pg_read_all_data TO busy";
        owner.batch_execute(full).await.unwrap();
        owner
    });
    let mut serving = serve(&replaced(&server.url, "authz@", "busy@"), LONG);
    let line = serving.await_log(WAITING);
    assert!(line.contains("too many connections for role"), "{line}");
    block_on(owner.batch_execute("ALTER ROLE busy CONNECTION LIMIT 20")).unwrap();
    serving.await_ready();
}

fn patience_ends_and_the_last_cause_is_named() {
    let said = serve("postgresql://authz:s3cret@127.0.0.1:1/policies", "1").fault();
    let expected = "ecs-authz: gave up after 1 s: the database at postgresql://127.0.0.1:1/policies can't be used: \
         error connecting to server: Connection refused";
    assert!(said.contains(expected) && said.contains(WAITING), "{said}");
    assert!(!said.contains("s3cret"), "{said}");
}

fn who_waits_is_stopped_at_once() {
    let mut serving = serve("postgresql://authz@127.0.0.1:1/policies", LONG);
    serving.await_log(WAITING);
    assert_eq!(serving.interrupt().code(), Some(0));
}

/// Keeps the second step of a migration from being completed, from within the database.
const SABOTAGE: &str = "
    CREATE FUNCTION public.sabotage() RETURNS event_trigger LANGUAGE plpgsql AS
      $$ BEGIN RAISE EXCEPTION 'not today'; END $$;
    CREATE EVENT TRIGGER sabotage ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION public.sabotage()";

fn a_migration_that_failed_in_the_middle_is_completed_by_the_next() {
    let database = Database::create();
    let url = database.settings().url;
    let client = block_on(async {
        let client = database.client().await;
        client.batch_execute("DROP SCHEMA ecs_authz CASCADE").await.unwrap();
        client.batch_execute(SABOTAGE).await.unwrap();
        client
    });
    let failed = block_on(migrate::run(&url)).unwrap_err();
    assert!(causes(&failed).ends_with("db error: ERROR: not today"), "{}", causes(&failed));
    let said = serve(database.url(), "0").fault();
    assert!(said.contains(&format!("the schema is at version 1, expected {VERSION}")), "{said}");
    let mut serving = serve(database.url(), LONG);
    serving.await_log(WAITING);
    block_on(client.batch_execute("DROP EVENT TRIGGER sabotage")).unwrap();
    assert_eq!(block_on(migrate::run(&url)).unwrap(), (2..=VERSION).collect::<Vec<_>>());
    serving.await_ready();
}

/// The statements of the docs that make the role.
fn role(name: &str) -> String {
    let page = include_str!("../../docs/postgres.md");
    let statements = page.split("```sql\n").nth(1).and_then(|rest| rest.split("```").next());
    statements.expect("a block of SQL").replace("ecs_authz_reader", name)
}

fn the_privileges_that_the_docs_grant_are_enough_and_each_is_needed() {
    let database = Database::create();
    let name = format!("reader_{}", std::process::id());
    let url = replaced(database.url(), "authz@", &format!("{name}@"));
    block_on(async {
        let client = database.client().await;
        client.batch_execute(&role(&name)).await.unwrap();
        grant(&client, "alice", ALLOW).await;
        let world = World::open(&settings(&url)).await;
        assert_eq!(world.ask("alice").await.unwrap(), "allow");
        rewrite(&client, "alice", "{}").await;
        world.await_revision(2).await;
        assert!(world.ask("alice").await.is_err());
        world.await_faults(&["domain `acme`: policy `alice`: "]).await;
        rewrite(&client, "alice", DENY).await;
        world.ask_until("alice", "deny").await;
        world.await_faults(&[]).await;
        let reader = connect(&url.parse().unwrap()).await;
        for forbidden in [
            "DELETE FROM ecs_authz.policy_grant",
            "SELECT FROM ecs_authz.change",
            "CREATE TABLE ecs_authz.t ()",
        ] {
            assert!(reader.batch_execute(forbidden).await.is_err(), "{forbidden}");
        }

        let catalog = || Arc::new(Catalog::published().unwrap());
        for table in ["schema_version", "domain", "policy", "policy_grant", "group_member"] {
            let privilege = format!("SELECT ON ecs_authz.{table}");
            client.batch_execute(&format!("REVOKE {privilege} FROM {name}")).await.unwrap();
            let error = PostgresStore::open(&settings(&url), catalog()).await.expect_err(table);
            let expected = format!("permission denied for table {table}");
            assert!(causes(&error).ends_with(&expected), "{}", causes(&error));
            client.batch_execute(&format!("GRANT {privilege} TO {name}")).await.unwrap();
        }
        client.batch_execute(&format!("REVOKE USAGE ON SCHEMA ecs_authz FROM {name}")).await.unwrap();
        let error = PostgresStore::open(&settings(&url), catalog()).await.expect_err("a schema out of sight");
        assert!(causes(&error).ends_with("permission denied for schema ecs_authz"), "{}", causes(&error));
        client.batch_execute(&format!("DROP OWNED BY {name}; DROP ROLE {name}")).await.unwrap();
    });
}
