//! The program under a clock that jumps, as after a wrong time or a machine that slept: it decides by the clock where policies
//! ask for it, and how old its knowledge is by none.

use std::fs;
use std::path::PathBuf;

use ecs_authz::grpc::pb;
use ecs_authz::grpc::pb::authorization_service_client::AuthorizationServiceClient;
use ecs_authz::store::postgres::migrate;
use libtest_mimic::Trial;
use tempfile::TempDir;

use crate::conformance::postgres::{connect, is_there};
use crate::postgres_world::{DENY, Server, grant, rewrite, until};
use crate::serving::Serving;
use crate::support::{Client, block_on, trials};

pub(crate) fn trials() -> Vec<Trial> {
    let is_missing = !is_there() || library().is_none();
    let trials = trials![a_clock_that_jumps_makes_nothing_stale_and_keeps_nothing_fresh];
    trials.into_iter().map(|trial| trial.with_ignored_flag(is_missing)).collect()
}

/// What fakes the wall clock of a program, from Debian; `scripts/tools` installs it.
fn library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten();
    folders.map(|folder| folder.path().join("faketime/libfaketime.so.1")).find(|library| library.exists())
}

/// Allows until the year 2090.
const FOR_LONG: &str = r#"{"Version":"1.1","Statement":[{"Effect":"Allow","Action":["ecs:*:*"],
    "Condition":{"DateLessThan":{"g:CurrentTime":["2090-01-01T00:00:00Z"]}}}]}"#;

/// The program under a clock of its own, and a client.
struct Faked {
    clock: PathBuf,
    client: Client,
    _serving: Serving,
}

impl Faked {
    async fn start(server: &Server, folder: &TempDir, max_stale_seconds: &str) -> Self {
        let clock = folder.path().join(max_stale_seconds);
        fs::write(&clock, "+0").unwrap();
        let library = library().unwrap();
        let environment = [
            ("ECS_AUTHZ_DATABASE_URL", server.url.as_str()),
            ("ECS_AUTHZ_MAX_STALE_SECONDS", max_stale_seconds),
            ("LD_PRELOAD", library.to_str().unwrap()),
            ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            // As for every program whose clock is set.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        let mut serving = Serving::start(&[], &environment);
        let ready = serving.await_ready();
        let addr = ready.trim_start_matches("ready on ").split(',').next().unwrap();
        let client = AuthorizationServiceClient::connect(format!("http://{addr}")).await.unwrap();
        Self { clock, client, _serving: serving }
    }

    fn leap(&self, offset: &str) {
        fs::write(&self.clock, offset).unwrap();
    }

    /// The decision, and whether it may be outdated.
    async fn ask(&mut self) -> Result<(bool, bool), tonic::Status> {
        let request = pb::AuthorizeRequest {
            principal: Some(pb::Principal {
                domain_id: "acme".into(),
                user_id: "alice".into(),
                project_id: "p".into(),
                ..Default::default()
            }),
            method: "GET".into(),
            path: "/v1/p/cloudservers/7".into(),
            ..Default::default()
        };
        let response = self.client.authorize(request).await?.into_inner();
        Ok((response.decision() == pb::Decision::Allow, response.stale))
    }

    async fn ask_until(&mut self, expected: (bool, bool)) {
        let mut told = None;
        let is_so = async || told.insert(self.ask().await).as_ref().is_ok_and(|answer| *answer == expected);
        until(is_so).await.unwrap_or_else(|_| panic!("expected {expected:?}, found {told:?}"));
    }
}

fn a_clock_that_jumps_makes_nothing_stale_and_keeps_nothing_fresh() {
    let server = Server::start();
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    block_on(async {
        migrate::run(&server.url.parse().unwrap()).await.unwrap();
        let database = connect(&server.url.parse().unwrap()).await;
        grant(&database, "alice", FOR_LONG).await;
        let mut patient = Faked::start(&server, &folder, "3600").await;
        let mut strict = Faked::start(&server, &folder, "2").await;

        // Conditions go by the clock, so it is seen that it jumps; nothing is stale for it. Before 1970 they are unclear.
        for (offset, allows) in [("+36500d", false), ("-3650d", true), ("-36500d", false), ("+1d", true)] {
            patient.leap(offset);
            patient.ask_until((allows, false)).await;
        }
        // Changes are followed in a wrong time.
        patient.leap("-3650d");
        rewrite(&database, "alice", DENY).await;
        patient.ask_until((false, false)).await;
        rewrite(&database, "alice", FOR_LONG).await;
        patient.ask_until((true, false)).await;
        strict.ask_until((true, false)).await;

        // Without the database, a leap forward ends nothing early, and one back keeps nothing for longer.
        server.kill();
        patient.ask_until((true, true)).await;
        patient.leap("+3650d");
        assert_eq!(patient.ask().await.unwrap(), (true, true));
        strict.leap("-3650d");
        until(async || strict.ask().await.is_err()).await.expect("an error in time");
        server.start_again();
        patient.ask_until((true, false)).await;
        strict.ask_until((true, false)).await;
    });
}
