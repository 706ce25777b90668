//! A fault of this program in one call: it harms that call alone.

use std::future::pending;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::sync::Arc;

use ecs_authz::catalog::Catalog;
use ecs_authz::decision_log::DecisionLog;
use ecs_authz::grpc::authorize::Authorize;
use ecs_authz::grpc::ext_authz::ExtAuthz;
use ecs_authz::grpc::guard::GuardCalls;
use ecs_authz::grpc::intake::Intake;
use ecs_authz::grpc::observe::ObserveCalls;
use ecs_authz::grpc::pb;
use ecs_authz::grpc::pb::authorization_service_client::AuthorizationServiceClient;
use ecs_authz::health;
use ecs_authz::metrics::{self, Metrics};
use ecs_authz::pdp::{Defaults, Pdp};
use ecs_authz::request::{Identity, Subject};
use ecs_authz::store::cache::PolicyCache;
use ecs_authz::store::{LoadFuture, PolicyStore, PrincipalGrants, Revision, StoreHealth};
use ecs_authz::traces::Tracer;
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use libtest_mimic::Trial;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_stream::StreamExt as _;
use tonic::Code;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};

use super::start;
use crate::edge::until;
use crate::ext_authz::{CONFIG, Check, object, parsed, text};
use crate::support::{block_on, http, limits, trials};

pub(super) fn trials() -> Vec<Trial> {
    trials![
        a_panic_harms_one_call_only,
        a_panic_in_a_stream_ends_that_stream_only,
        a_panic_is_told_in_the_metrics_and_the_decision_log
    ]
}

/// A store that panics for mallory, waits for bob until he is let go, and has nothing for others.
#[derive(Debug)]
struct FaultyStore {
    bob: Semaphore,
}

impl PolicyStore for FaultyStore {
    fn revision(&self, _: &str) -> Revision {
        Revision(1)
    }

    fn load<'a>(&'a self, identity: &'a Identity) -> LoadFuture<'a> {
        let Subject::User(user) = &identity.subject else { return Box::pin(pending()) };
        Box::pin(async move {
            if user == "mallory" {
                // As a panic, without the hook that would print it.
                resume_unwind(Box::new("a fault that the test has planted"));
            }
            if user == "bob" {
                let _let_go = self.bob.acquire().await.unwrap();
            }
            Ok(PrincipalGrants { revision: Revision(1), grants: Vec::new() })
        })
    }

    fn changes(&self) -> watch::Receiver<()> {
        watch::channel(()).1
    }

    fn health(&self) -> StoreHealth {
        StoreHealth::Current
    }
}

/// The services over a faulty store, surrounded as those of the program are. Few decisions may be made at once.
struct Served {
    store: Arc<FaultyStore>,
    channel: Channel,
    metrics_addr: SocketAddr,
}

impl Served {
    async fn start(log: DecisionLog) -> Self {
        let store = Arc::new(FaultyStore { bob: Semaphore::new(0) });
        let catalog = Arc::new(Catalog::published().unwrap());
        let cache = PolicyCache::new(store.clone(), catalog.action_count(), 1 << 20);
        let pdp = Arc::new(Pdp::new(catalog.clone(), cache, Defaults::default()));
        let metrics = Metrics::new(catalog, ecs_authz::grpc::methods());
        let (limits, decisions) = (limits(3), metrics.decisions.clone());
        let authorize = Authorize::service(pdp.clone(), log.clone(), decisions.clone(), limits.clone());
        let config = parsed(CONFIG).ext_authz.unwrap();
        let router = Server::builder()
            .layer(ObserveCalls { calls: metrics.calls.clone(), tracer: Tracer::off() })
            .layer(GuardCalls::new(
                metrics.calls.clone(),
                std::time::Duration::from_secs(60),
                Arc::new(Intake::new(1 << 20, 1 << 20)),
            ))
            .add_service(authorize)
            .add_service(ExtAuthz::new(pdp.clone(), log, decisions, config, limits).into_service());
        let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let addr = incoming.local_addr().unwrap();
        tokio::spawn(router.serve_with_incoming(incoming));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let metrics_addr = listener.local_addr().unwrap();
        let health = health::Sources {
            store: store.clone(),
            decision_log: DecisionLog::off(),
            certificates: Arc::new(Vec::new),
            is_stopping: Arc::new(|| false),
        };
        let sources = metrics::Sources { metrics, pdp, health, tracer: Tracer::off() };
        let routes = metrics::routes(sources);
        tokio::spawn(async { axum::serve(listener, routes).await.unwrap() });
        let endpoint = Endpoint::from_shared(format!("http://{addr}")).unwrap();
        Self { store, channel: endpoint.connect().await.unwrap(), metrics_addr }
    }

    fn client(&self) -> AuthorizationServiceClient<Channel> {
        AuthorizationServiceClient::new(self.channel.clone())
    }

    async fn metrics(&self) -> String {
        http(self.metrics_addr, "GET", "/metrics").await.1
    }
}

/// The request of a user.
fn of(user: &str) -> pb::AuthorizeRequest {
    let mut request = start();
    request.principal.as_mut().unwrap().user_id = user.into();
    request
}

fn a_panic_in_a_stream_ends_that_stream_only() {
    block_on(async {
        let served = Served::start(DecisionLog::off()).await;
        let open = async |user| {
            let requests = [pb::StreamAuthorizeRequest { request: Some(of(user)) }];
            let requests = tokio_stream::iter(requests).chain(tokio_stream::pending());
            served.client().stream_authorize(requests).await.unwrap().into_inner()
        };
        let mut sound = open("alice").await;
        let mut faulty = open("mallory").await;
        assert_eq!(faulty.message().await.unwrap_err().code(), Code::Internal);
        assert!(sound.message().await.unwrap().is_some(), "an answer on the same connection");
        assert!(served.metrics().await.contains("\necs_authz_panics_total 1\n"));
        // The place of the faulty one is free again: there are three.
        for _ in 0..4 {
            served.client().authorize(of("alice")).await.expect("a decision");
        }
    });
}

fn a_panic_harms_one_call_only() {
    block_on(async {
        let served = Served::start(DecisionLog::off()).await;
        let mut held = served.client();
        let held = tokio::spawn(async move { held.authorize(of("bob")).await });
        let in_flight = r#"grpc_server_in_flight{grpc_service="ecs.authz.v1.AuthorizationService",grpc_method="Authorize"} 1"#;
        until("bob waits", async || served.metrics().await.contains(in_flight)).await;
        let (mut client, mut envoy) = (served.client(), AuthorizationClient::new(served.channel.clone()));
        // More than there are places: each of them is left.
        for _ in 0..10 {
            let status = client.authorize(of("mallory")).await.expect_err("a fault");
            assert_eq!(status.code(), Code::Internal, "{status:?}");
            assert_eq!(status.message(), "the call failed for a fault of the service");
            let requests = vec![of("alice"), of("mallory")];
            let batch = client.batch_authorize(pb::BatchAuthorizeRequest { requests }).await;
            assert_eq!(batch.expect_err("a fault").code(), Code::Internal);
            let check = Check::action(r#"{"os-start":null}"#).claims([
                ("sub", text("mallory")),
                ("domain", object([("id", text("acme"))])),
                ("project", object([("id", text("prod"))])),
            ]);
            let status = envoy.check(check.message()).await.expect_err("a fault, an error for Envoy");
            assert_eq!(status.code(), Code::Internal);
            let response = client.authorize(of("alice")).await.expect("a decision").into_inner();
            assert_eq!(response.decision(), pb::Decision::Deny);
        }
        // It is on the same connection, and was in the making all the time.
        served.store.bob.add_permits(1);
        let response = held.await.unwrap().expect("a decision").into_inner();
        assert_eq!(response.decision(), pb::Decision::Deny);
    });
}

fn a_panic_is_told_in_the_metrics_and_the_decision_log() {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = folder.path().join("decisions.log");
    let config = parsed(&format!("{CONFIG}\n[decision_log.file]\npath = '{}'\n", file.display()));
    block_on(async {
        let catalog = Catalog::published().unwrap();
        let log = DecisionLog::open(&config.decision_log.unwrap(), &catalog).unwrap();
        let served = Served::start(log).await;
        let mut client = served.client();
        client.authorize(of("mallory")).await.expect_err("a fault");
        let scrape = served.metrics().await;
        for line in [
            "ecs_authz_panics_total 1",
            r#"grpc_server_handled_total{grpc_service="ecs.authz.v1.AuthorizationService",grpc_method="Authorize",grpc_code="Internal"} 1"#,
        ] {
            assert!(scrape.lines().any(|it| it == line), "{line}\n{scrape}");
        }
        assert!(!scrape.contains("ecs_authz_decisions_total{"), "an error is no decision");
        let records = async || {
            let text = std::fs::read_to_string(&file).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
        };
        until("there is a record", async || !records().await.is_empty()).await;
        let records = records().await;
        assert_eq!(records.len(), 1);
        assert_eq!((&records[0]["kind"], &records[0]["error"]), (&"error".into(), &"INTERNAL".into()));
        client.authorize(of("alice")).await.expect("a decision");
    });
}
