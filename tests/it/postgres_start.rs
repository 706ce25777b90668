//! The program at its start, while its database is not there, not ready, or refuses.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use ecs_authz::store::postgres::migrate::{self, VERSION};
use libtest_mimic::Trial;

use crate::conformance::postgres::{Database, connect, is_there};
use crate::postgres_world::Server;
use crate::support::{block_on, program, trials};

pub(crate) fn trials() -> Vec<Trial> {
    let trials = trials![
        what_does_not_pass_with_time_fails_at_once,
        without_patience_a_database_that_is_away_fails_at_once,
        a_database_that_comes_later_is_awaited,
        a_migration_that_comes_later_is_awaited,
        a_server_that_is_full_is_awaited,
        patience_ends_and_the_last_cause_is_named,
        who_waits_is_stopped_at_once,
    ];
    trials.into_iter().map(|trial| trial.with_ignored_flag(!is_there())).collect()
}

/// Longer than a test may take: who waits this long instead of failing is noticed.
const LONG: &str = "600";

/// The program, ended with the test.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

impl Serving {
    fn start(url: &str, wait_seconds: &str) -> Self {
        let child = Command::new(program())
            .args(["serve", "--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"])
            .args(["--database-wait-seconds", wait_seconds])
            .env("ECS_AUTHZ_DATABASE_URL", url)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program");
        Self(child)
    }

    /// What the program said before it failed.
    fn fault(mut self) -> String {
        assert_eq!(self.0.wait().expect("an end").code(), Some(1));
        let mut said = String::new();
        self.0.stderr.take().expect("its errors").read_to_string(&mut said).expect("text");
        let mut out = String::new();
        self.0.stdout.take().expect("its output").read_to_string(&mut out).expect("text");
        assert_eq!(out, "", "nothing was served");
        said
    }

    /// Reads what the program logs until it says that it waits. Tells the line.
    fn await_waiting(&mut self) -> String {
        let mut lines = BufReader::new(self.0.stderr.take().expect("its errors")).lines();
        let line = lines.find_map(|line| line.ok().filter(|line| line.contains("trying again")));
        // Goes on reading, so that the program never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        line.expect("a line that tells that it waits")
    }

    /// The line that says that it is ready.
    fn await_ready(&mut self) -> String {
        let mut line = String::new();
        let out: &mut ChildStdout = self.0.stdout.as_mut().expect("its output");
        BufReader::new(out).read_line(&mut line).expect("a line");
        line
    }
}

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
        let said = Serving::start(&url, LONG).fault();
        assert!(said.contains(expected), "expected {expected} in {said}");
        assert!(!said.contains("trying again") && !said.contains("wr0ng"), "{said}");
    }
}

fn without_patience_a_database_that_is_away_fails_at_once() {
    for url in [
        "postgresql://authz:s3cret@127.0.0.1:1/policies",
        "postgresql://authz:s3cret@nowhere.invalid/policies",
    ] {
        let said = Serving::start(url, "0").fault();
        assert!(said.contains("can't be used: error connecting to server: "), "{said}");
        assert!(!said.contains("trying again") && !said.contains("s3cret"), "{said}");
    }
}

fn a_database_that_comes_later_is_awaited() {
    let server = Server::start();
    block_on(migrate::run(&server.url.parse().unwrap())).unwrap();
    server.kill();
    let mut serving = Serving::start(&server.url, LONG);
    let line = serving.await_waiting();
    assert!(line.contains("Connection refused") && line.contains("seconds_left=5"), "{line}");
    server.start_again();
    assert!(serving.await_ready().starts_with("ready on 127.0.0.1:"));
}

fn a_migration_that_comes_later_is_awaited() {
    let database = Database::create();
    block_on(async {
        database.client().await.batch_execute("DROP SCHEMA ecs_authz CASCADE").await.unwrap();
    });
    let mut serving = Serving::start(database.url(), LONG);
    let line = serving.await_waiting();
    assert!(line.contains(&format!("the schema is at version 0, expected {VERSION}")), "{line}");
    block_on(migrate::run(&database.settings().url)).unwrap();
    assert!(serving.await_ready().starts_with("ready on 127.0.0.1:"));
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
    let mut serving = Serving::start(&replaced(&server.url, "authz@", "busy@"), LONG);
    let line = serving.await_waiting();
    assert!(line.contains("too many connections for role"), "{line}");
    block_on(owner.batch_execute("ALTER ROLE busy CONNECTION LIMIT 20")).unwrap();
    assert!(serving.await_ready().starts_with("ready on 127.0.0.1:"));
}

fn patience_ends_and_the_last_cause_is_named() {
    let said = Serving::start("postgresql://authz:s3cret@127.0.0.1:1/policies", "1").fault();
    let expected = "ecs-authz: gave up after 1 s: the database at postgresql://127.0.0.1:1/policies can't be used: \
         error connecting to server: Connection refused";
    assert!(said.contains(expected) && said.contains("trying again"), "{said}");
    assert!(!said.contains("s3cret"), "{said}");
}

fn who_waits_is_stopped_at_once() {
    let mut serving = Serving::start("postgresql://authz@127.0.0.1:1/policies", LONG);
    serving.await_waiting();
    let pid = serving.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(serving.0.wait().unwrap().code(), Some(0));
}
