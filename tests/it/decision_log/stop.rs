//! Callers that go away, and servers that stop: the records are there.

use std::future::pending;
use std::io::{BufRead as _, BufReader};
use std::sync::Arc;

use ecs_authz::catalog::Catalog;
use ecs_authz::decision_log::DecisionLog;
use ecs_authz::grpc::authorize::Authorize;
use ecs_authz::grpc::pb::authorization_service_client::AuthorizationServiceClient;
use ecs_authz::metrics::Metrics;
use ecs_authz::pdp::{Defaults, Pdp};
use ecs_authz::request::Identity;
use ecs_authz::store::cache::PolicyCache;
use ecs_authz::store::{LoadFuture, PolicyStore, Revision, StoreHealth};
use libtest_mimic::Trial;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};

use super::{PATIENCE, PolicyDir, lines, on_server, parse, policies, schema, to_file};
use crate::ext_authz::parsed;
use crate::serving::Serving;
use crate::support::{block_on, limits, trials};

pub(super) fn trials() -> Vec<Trial> {
    trials![
        a_caller_that_goes_away_is_recorded,
        after_the_signal_to_stop_every_answered_decision_is_in_the_file,
        standard_output_holds_records_alone,
    ]
}

/// A store that never answers, and tells when it is asked.
#[derive(Debug, Default)]
struct Silent {
    asked: Notify,
}

impl PolicyStore for Silent {
    fn revision(&self, _: &str) -> Revision {
        Revision(1)
    }

    fn load<'a>(&'a self, _: &'a Identity) -> LoadFuture<'a> {
        self.asked.notify_one();
        Box::pin(pending())
    }

    fn changes(&self) -> watch::Receiver<()> {
        watch::channel(()).1
    }

    fn health(&self) -> StoreHealth {
        StoreHealth::Current
    }
}

fn a_caller_that_goes_away_is_recorded() {
    let dir = PolicyDir::new();
    let path = dir.path().join("decisions.log");
    let mut config = parsed(&to_file("", "")).decision_log.unwrap();
    config.file.as_mut().unwrap().path.clone_from(&path);
    let catalog = Arc::new(Catalog::published().unwrap());
    let log = DecisionLog::open(&config, &catalog).unwrap();
    let store = Arc::new(Silent::default());
    let cache = PolicyCache::new(store.clone(), catalog.action_count(), 1 << 20);
    let decisions = Metrics::new(catalog.clone(), []).decisions;
    let pdp = Arc::new(Pdp::new(catalog, cache, Defaults::default()));
    block_on(async {
        let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let addr = incoming.local_addr().unwrap();
        let server =
            Server::builder().add_service(Authorize::service(pdp, log.clone(), decisions, limits(64)));
        let serving = tokio::spawn(server.serve_with_incoming(incoming));
        let channel = Endpoint::from_shared(format!("http://{addr}")).unwrap().connect().await.unwrap();
        let mut client = AuthorizationServiceClient::new(channel);
        tokio::select! {
            _ = client.authorize(on_server("os-start")) => panic!("expected no answer"),
            // Dropping the call resets its stream.
            () = store.asked.notified() => {}
        }
        while log.counters().sinks[0].written == 0 {
            tokio::task::yield_now().await;
        }
        log.drain(PATIENCE).await;
        serving.abort();
    });
    let lines = lines(&path);
    let record = parse(&lines[0]);
    schema::check(&record);
    assert_eq!((lines.len(), &record["kind"], &record["error"]), (1, &"error".into(), &"CANCELLED".into()));
    assert_eq!(record["principal"]["user_id"], "alice");
}

/// Starts the program with this decision log.
fn program(dir: &PolicyDir, policies: &PolicyDir, log: &str) -> Serving {
    dir.write("config.toml", log);
    let config = dir.path().join("config.toml");
    let args = ["--policies", policies.path().to_str().unwrap(), "--config", config.to_str().unwrap()];
    Serving::start(&args, &[])
}

fn after_the_signal_to_stop_every_answered_decision_is_in_the_file() {
    let (dir, policies) = (PolicyDir::new(), policies());
    let mut serving = program(&dir, &policies, &to_file("", ""));
    let ready = serving.await_ready();
    let addr = ready.trim_start_matches("ready on ").split(',').next().unwrap().to_owned();
    let answered = block_on(async {
        let warm = Arc::new(Notify::new());
        let mut callers = JoinSet::new();
        for _ in 0..4 {
            let endpoint = Endpoint::from_shared(format!("http://{addr}")).unwrap();
            let mut client = AuthorizationServiceClient::new(endpoint.connect().await.unwrap());
            let warm = warm.clone();
            callers.spawn(async move {
                let mut ids = Vec::new();
                // Until the server is gone.
                while let Ok(answer) = client.authorize(on_server("os-start")).await {
                    ids.push(answer.into_inner().decision_id);
                    if ids.len() == 200 {
                        warm.notify_one();
                    }
                }
                ids
            });
        }
        warm.notified().await;
        let stopped = tokio::task::spawn_blocking(|| serving.interrupt());
        let answered: Vec<String> = callers.join_all().await.into_iter().flatten().collect();
        assert!(stopped.await.unwrap().success());
        answered
    });
    let recorded = lines(&dir.path().join("decisions.log"));
    let recorded: std::collections::BTreeSet<String> =
        recorded.iter().map(|line| parse(line)["decision_id"].as_str().unwrap().to_owned()).collect();
    assert!(answered.len() > 200);
    let lost: Vec<_> = answered.iter().filter(|id| !recorded.contains(*id)).collect();
    assert!(lost.is_empty(), "{} of {}", lost.len(), answered.len());
}

fn standard_output_holds_records_alone() {
    let (dir, policies) = (PolicyDir::new(), policies());
    let mut serving = program(&dir, &policies, "[decision_log.stdout]\nqueue = { when_full = \"refuse\" }");
    let out = serving.take_output();
    let ready = serving.await_log("ready on ");
    let addr = ready.trim_start_matches("ready on ").split(',').next().unwrap().to_owned();
    let answer = block_on(async {
        let channel = Endpoint::from_shared(format!("http://{addr}")).unwrap().connect().await.unwrap();
        AuthorizationServiceClient::new(channel).authorize(on_server("os-start")).await.unwrap()
    });
    assert!(serving.interrupt().success());
    let lines: Vec<String> = BufReader::new(out).lines().map(Result::unwrap).collect();
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(parse(line)["decision_id"], answer.into_inner().decision_id);
}
